"""`customhouse health`: objects from files, folders or standard input through the execution plane's health rules."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from customhouse._kit.reading import absent
from customhouse.control.render import holds_items, read_file
from customhouse.control.yaml_limits import Limits
from customhouse.core.errors import DeclarationError, SourceError, UsageError
from customhouse.core.plan import Health, HealthStatus
from customhouse.core.resource import Manifest
from customhouse.execution.health import health

STDIN = "-"
_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_FILES = 100_000
_MAX_DEPTH = 64
LIMITS = Limits(file_bytes=64 * 1024 * 1024, nodes=2_000_000, characters=128 * 1024 * 1024)
"""A dump of a cluster is larger than a manifest; whoever asks gave the file, and it is read once and forgotten."""
FINE = (HealthStatus.HEALTHY, HealthStatus.SUSPENDED)


def health_of(
    paths: Sequence[str], stdin: BinaryIO | None = None, judge: Callable[[Manifest], Health] = health
) -> list[dict[str, Any]]:
    """`[{"resource","status","message"}]`, one per object, in the order of the arguments and of the files.

    Raises UsageError where there is nothing at a path, SourceError for a file that cannot be read, DeclarationError for
    broken YAML or JSON and for what is no Kubernetes object (with file and line). Objects need no name here.
    """
    return [_row(manifest, judge(manifest)) for path in paths for manifest in _objects(path, stdin)]


def _row(manifest: Manifest, found: Health) -> dict[str, Any]:
    metadata = manifest.get("metadata")
    names = metadata if isinstance(metadata, dict) else {}
    resource = {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "namespace": names.get("namespace") if isinstance(names.get("namespace"), str) else "",
        "name": names.get("name") if isinstance(names.get("name"), str) else "",
    }
    return {"resource": resource, "status": found.status.value, "message": found.message}


def _objects(path: str, stdin: BinaryIO | None) -> Iterator[Manifest]:
    if path == STDIN:
        if stdin is None:
            raise UsageError("standard input is not read here")
        data = stdin.read(LIMITS.file_bytes + 1)
        if not data.strip():
            # A pipe whose first program failed gives nothing, and nothing would look fine.
            raise SourceError("standard input is empty", where="stdin", hint="look at the program before the pipe")
        yield from objects_in("stdin", data)
        return
    place = Path(path)
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.suffix in _SUFFIXES and _visible(file, place))
        if not files:
            raise UsageError(f"there is no .yaml, .yml or .json file in {path}", hint="name the files themselves")
        if len(files) > _MAX_FILES:
            raise UsageError(f"more than {_MAX_FILES} files in {path}", hint="name a smaller folder")
        for file in files:
            yield from objects_in(str(file), _bytes(file), whole=False)
        return
    if not place.is_file():
        hint = "pipe it in: `customhouse health -`" if place.exists() else "check the path"
        raise UsageError(absent(path), hint=hint)
    yield from objects_in(path, _bytes(place))


def _visible(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as handle:
            return handle.read(LIMITS.file_bytes + 1)
    except OSError as error:
        raise SourceError(
            f"it cannot be read: {error.strerror}", where=str(file), hint="check who may read it"
        ) from error


def objects_in(name: str, data: bytes, *, whole: bool = True) -> Iterator[Manifest]:
    """The objects of one file, those of a List one by one. A folder's data files (not `whole`) are passed over.

    Raises DeclarationError.
    """
    if len(data) > LIMITS.file_bytes:
        limit = f"a file over {LIMITS.file_bytes >> 20} MiB is not read"
        raise DeclarationError(limit, where=name, hint="split it: by namespace, for example")
    if data.lstrip()[:1] in (b"{", b"["):
        parsed = _json(name, data)
        if parsed is not None:
            for value in parsed if isinstance(parsed, list) else [parsed]:
                yield from _checked(value, name, whole=whole)
            return
    found, _ = read_file(name, data, LIMITS)
    for item in found:
        yield from _checked(item.value, str(item.location), whole=whole)
    if whole and not found:
        raise DeclarationError(
            "there is no object in it", where=name, hint="give objects as `kubectl get -o yaml` does"
        )


def _json(name: str, data: bytes) -> Any:
    """JSON as `kubectl get -o json` gives it; None for what is YAML in flow style, or several documents."""
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except _TwiceError as error:
        hint = "readers differ in which of the two they take: write one"
        raise DeclarationError(f"the key {error} is there twice in one object", where=name, hint=hint) from error
    except json.JSONDecodeError as error:
        if name.endswith(".json"):
            where = f"{name}:{error.lineno}:{error.colno}"
            raise DeclarationError(f"this is no JSON: {error.msg}", where=where, hint="was it cut off?") from error
        return None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DeclarationError("the file is no JSON that is read", where=name, hint="save it as UTF-8") from error
    if _deeper(value, _MAX_DEPTH):
        raise DeclarationError(f"it is nested deeper than {_MAX_DEPTH} levels", where=name, hint="is it an object?")
    return value


class _TwiceError(Exception):
    """A key that one object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwiceError(repr(Counter(key for key, _ in pairs).most_common(1)[0][0][:100]))
    return found


def _deeper(value: Any, levels: int) -> bool:
    """Whether a value is nested deeper than that many levels."""
    level = [value]
    for _ in range(levels):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
            if isinstance(part, (dict, list))
        ]
        if not level:
            return False
    return True


def _checked(value: Any, where: str, *, whole: bool) -> Iterator[Manifest]:
    if isinstance(value, dict):
        held = next((key for key in value if isinstance(key, str) and holds_items(key)), None)
        if held is not None and isinstance(value[held], list) and str(value.get("kind", "")).endswith("List"):
            for item in value[held]:
                yield from _checked(item, where, whole=whole)
            return
        if all(isinstance(value.get(key), str) and value[key] for key in ("apiVersion", "kind")):
            yield value
            return
    if whole:
        hint = "an object has apiVersion and kind, as `kubectl get -o yaml` gives it"
        raise DeclarationError("this is no Kubernetes object", where=where, hint=hint)
