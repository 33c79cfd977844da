"""What distributions installed: dpkg's status files and apk's database. RPM's is in `rpm`."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

from customhouse.trust.packages.found import Found, Reading, UnreadListError

FILE_LISTS = "var/lib/dpkg/info"
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^()\s]+)\))?")
_FIELD = re.compile(r"([!-9;-~]+):\s*(.*)")


def read_dpkg(data: bytes, reading: Reading, *, whole: bool = True) -> None:
    """`/var/lib/dpkg/status`, or one file of `status.d` (distroless), where no state is written and all is installed.

    Raises UnreadListError for what is none.
    """
    for number, fields in _paragraphs(data):
        name, version = fields.get("package", ""), fields.get("version", "")
        state = fields.get("status", "" if whole else "install ok installed").split()
        if not name or (whole and len(state) != 3):
            reading.lack(f"line {number}: a paragraph that is no package of dpkg's")
            continue
        if state[2] in ("not-installed", "config-files"):
            # Nothing of it is there but its settings, and the list of those: that list has nothing to hide.
            reading.owned.append(f"{FILE_LISTS}/{name}.list")
            continue
        if not version:
            reading.lack(f"line {number}: {name[:80]!r} has no version")
            continue
        match = _SOURCE.fullmatch(fields.get("source", "")) if fields.get("source") else None
        if fields.get("source") and match is None:
            reading.lack(f"line {number}: a source that is none")
        source = match[1] if match else name
        built = (match[2] if match else None) or version
        note = "" if state[2] == "installed" else f"dpkg left it {state[2]}"
        reading.add(Found("deb", name, version, source, built, fields.get("architecture", ""), note=note))


def read_apk(data: bytes, reading: Reading, worth: Callable[[str], bool]) -> None:
    """`/lib/apk/db/installed`: fields of one letter; F: names a folder, R: a file in it. Raises UnreadListError."""
    fields: dict[str, str] = {}
    folder = ""
    for number, line in _lines(data):
        if not line:
            if fields:
                _apk(fields, reading, number)
            fields, folder = {}, ""
            continue
        if len(line) < 2 or line[1] != ":":
            raise UnreadListError(f"line {number}: not a field of apk's database")
        key, value = line[0], line[2:]
        if key == "F":
            folder = value
        elif key == "R":
            path = f"{folder}/{value}" if folder else value
            if worth(path):
                reading.owned.append(path)
        elif key in "PVALo":
            if key in fields:
                raise UnreadListError(f"line {number}: the field {key} stands twice in one package")
            fields[key] = value


def read_file_list(data: bytes, reading: Reading, worth: Callable[[str], bool]) -> None:
    """`/var/lib/dpkg/info/*.list`: a path a line; of distroless' `*.md5sums` a digest stands before each."""
    for _, line in _lines(data):
        path = line.rpartition("  ")[2].lstrip("/")
        if path and worth(path):
            reading.owned.append(path)


def _apk(fields: dict[str, str], reading: Reading, number: int) -> None:
    name, version = fields.get("P", ""), fields.get("V", "")
    if not name or not version:
        reading.lack(f"line {number}: a package without a name or a version")
        return
    source = fields.get("o") or name
    reading.add(Found("apk", name, version, source, version, fields.get("A", ""), licence=fields.get("L", "")))


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, an empty one at the end; one at a time, since a stranger says how many there are."""
    number = 0
    for number, raw in enumerate(io.BytesIO(data), 1):
        yield number, raw.removesuffix(b"\n").decode("utf-8", "backslashreplace")
    yield number + 1, ""


def _paragraphs(data: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Paragraphs of deb822: the line that each begins at and its fields, whose names have no case."""
    fields: dict[str, str] = {}
    begun, last = 1, ""
    for number, line in _lines(data):
        if not line.strip():
            if fields:
                yield begun, fields
            fields, last, begun = {}, "", number + 1
        elif line[0] in " \t":
            if not last:
                raise UnreadListError(f"line {number}: goes on with no field")
        else:
            match = _FIELD.fullmatch(line)
            if match is None:
                raise UnreadListError(f"line {number}: not a field of dpkg's")
            last = match[1].lower()
            if last in fields:
                raise UnreadListError(f"line {number}: the field {last} stands twice")
            fields[last] = match[2].strip()
