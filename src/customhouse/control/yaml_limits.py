"""What one file of YAML may hold, and its text: for every reader of it."""

from __future__ import annotations

from dataclasses import dataclass

from customhouse.core.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may hold. The largest manifests in use (CRDs) have 1.5 MB, depth 35 and 40,000 nodes."""

    file_bytes: int = 4 * 1024 * 1024
    depth: int = 64
    nodes: int = 200_000
    """Counted after aliases are expanded, so a file of nested aliases is charged what it would grow to."""
    characters: int = 48 * 1024 * 1024
    """Of expanded text and of the JSON pointers to it: one long text that is aliased often, or long keys around many
    values, would otherwise multiply 4 MiB into gigabytes."""


LIMITS = Limits()


def decode(data: bytes, file: str, limits: Limits = LIMITS) -> str:
    """The text of a YAML file, byte order mark kept. Raises DeclarationError: too large, not UTF-8."""
    if len(data) > limits.file_bytes:
        raise DeclarationError(
            f"the file has {len(data)} bytes; at most {limits.file_bytes} are read",
            where=file,
            hint="split it into several files",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise DeclarationError(
            "the file is not UTF-8 text", where=f"{file}:{line}:{column}", hint="save it as UTF-8"
        ) from error
