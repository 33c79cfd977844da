"""`customhouse verify FILE`: a custody export looked at on a machine that has nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from customhouse._kit.reading import open_regular
from customhouse.app import wiring
from customhouse.app.custody import governing
from customhouse.core.errors import CannotDecideError, ConfigError, UsageError
from customhouse.trust.cosignature import CosignerKey
from customhouse.trust.custody_check import Ground, verify_export
from customhouse.trust.custody_check_parts import check_parts
from customhouse.trust.custody_export import MAX_BYTES
from customhouse.trust.custody_findings import Findings, Trusted, Verification
from customhouse.trust.keys import PublicKey, TrustRoot, load_public
from customhouse.trust.note import NoteKey

PATIENCE_S = 120.0
"""A release's export takes a second; one that takes this long was made to take long."""
_FINGERPRINT = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)


def verify(
    file: str,
    *,
    keys: Sequence[str] = (),
    checkpoint: str | None = None,
    roots: Sequence[str] = (),
    witnesses: Sequence[str] = (),
) -> Verification:
    """Look at an export. `keys` are verifier keys (`name+hash+base64`), fingerprints, or files with either or a PEM.

    Raises UsageError for files that cannot be read, CannotDecideError when it takes too long.
    """
    data = _read(Path(file), MAX_BYTES)
    named, fingerprints = _keys(keys)
    note = "" if checkpoint is None else _read(Path(checkpoint), 1 << 20).decode("utf-8", "replace")
    believed = tuple(_root(item) for item in roots)
    trusted = Trusted(named, fingerprints, note, believed, tuple(_witness(item) for item in witnesses))

    def parts(ground: Ground, findings: Findings) -> None:
        check_parts(ground, findings, governing)

    return verify_export(data, trusted, parts, _deadline())


def _deadline() -> Callable[[], None]:
    clock = wiring.clock()
    end = clock.monotonic() + PATIENCE_S

    def tick() -> None:
        if clock.monotonic() > end:
            raise CannotDecideError(
                f"not verified within {PATIENCE_S:.0f} s",
                hint="no export of a release takes so long: where is it from?",
            )

    return tick


def _read(place: Path, most: int) -> bytes:
    try:
        with open_regular(place) as handle:
            data = handle.read(most + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(place)) from error
    if len(data) > most:
        raise UsageError(f"larger than {most >> 20} MiB: no custody export", where=str(place))
    return data


def _keys(texts: Sequence[str]) -> tuple[tuple[NoteKey, ...], tuple[str, ...]]:
    named: list[NoteKey] = []
    fingerprints: list[str] = []
    for text in texts:
        said = text.strip()
        if not _FINGERPRINT.fullmatch(said) and "+" not in said.partition("/")[0] and Path(said).is_file():
            place, content = said, _read(Path(said), 1 << 16)
            if content.startswith(b"-----BEGIN"):
                fingerprints.append(load_public(Path(place)).key_id)
                continue
            said = content.decode("utf-8", "replace").strip()
        if _FINGERPRINT.fullmatch(said):
            fingerprints.append(said.removeprefix("sha256:"))
            continue
        try:
            named.append(NoteKey.from_vkey(said))
        except ConfigError as error:
            raise UsageError(
                f"{text[:80]!r} is no key: {error.message}",
                hint="a verifier key (name+hash+base64), its fingerprint (64 hex digits), or a file with one or a PEM",
            ) from error
    return tuple(named), tuple(fingerprints)


def _witness(text: str) -> CosignerKey:
    try:
        return CosignerKey.from_vkey(text)
    except ConfigError as error:
        raise UsageError(f"{text[:80]!r} is no witness: {error.message}", hint=error.hint) from error


def _root(text: str) -> TrustRoot:
    """A key of evidence: `NAME=FILE`, or a file that gives it its name."""
    name, equals, file = text.partition("=")
    place = Path(file if equals else text)
    pem = _read(place, 1 << 16)
    PublicKey.from_pem(pem, str(place))
    return TrustRoot(name if equals else place.stem, pem)
