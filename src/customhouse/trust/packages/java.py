"""Zip archives that programs run from: Java's (coordinates or manifest, nested ones too), and Python's (egg, pex)."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import BinaryIO

from customhouse.trust.packages.found import Found, Reading, UnreadListError
from customhouse.trust.packages.languages import read_python

SUFFIXES = (".jar", ".war", ".ear", ".jpi", ".hpi", ".par")
_MAX_DEPTH, _MAX_ENTRIES = 4, 200_000
_MAX_TEXT, _MAX_INNER, _MAX_TOTAL = 1 << 20, 256 << 20, 1 << 30
_METADATA = re.compile(r"(?:\.dist-info/METADATA|(?:^|/)EGG-INFO/PKG-INFO|\.egg-info/PKG-INFO)$")
_MAX_NAME = 255
_NAME = re.compile(r"(.+?)-(\d[\w.+-]*)", re.ASCII)


class _Budget:
    def __init__(self) -> None:
        self.left = _MAX_TOTAL


def read_java(data: BinaryIO, name: str, reading: Reading) -> None:
    """One archive and those in it. Raises UnreadListError for what is none."""
    _archive(data, name, reading, 0, _Budget())


def read_python_archive(data: BinaryIO, reading: Reading) -> None:
    """An egg, a pex or another zip that Python runs from. Raises UnreadListError for what is none."""
    budget = _Budget()
    try:
        with zipfile.ZipFile(data) as archive:
            for entry in archive.infolist()[:_MAX_ENTRIES]:
                if _METADATA.search(entry.filename):
                    read_python(_content(archive, entry, _MAX_TEXT * 8, budget), reading)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UnreadListError(f"an archive that cannot be read ({str(error)[:80]})") from error


def _archive(data: BinaryIO, name: str, reading: Reading, depth: int, budget: _Budget) -> None:
    if depth > _MAX_DEPTH:
        raise UnreadListError(f"archives in archives, deeper than {_MAX_DEPTH}")
    try:
        with zipfile.ZipFile(data) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_ENTRIES:
                raise UnreadListError(f"more than {_MAX_ENTRIES} entries")
            before = len(reading.packages)
            for entry in entries:
                if entry.filename.startswith("META-INF/maven/") and entry.filename.endswith("/pom.properties"):
                    _coordinates(_content(archive, entry, _MAX_TEXT, budget), reading)
            if len(reading.packages) == before:
                _manifest(archive, name, reading, budget)
            for entry in entries:
                if entry.filename.lower().endswith(SUFFIXES) and not entry.is_dir():
                    inner = io.BytesIO(_content(archive, entry, _MAX_INNER, budget))
                    _archive(inner, entry.filename, reading, depth + 1, budget)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UnreadListError(f"an archive that cannot be read ({str(error)[:80]})") from error


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int, budget: _Budget) -> bytes:
    with archive.open(entry) as handle:
        data = handle.read(min(most, budget.left) + 1)
    budget.left -= len(data)
    if len(data) > most or budget.left < 0:
        raise UnreadListError(f"{entry.filename[:100]!r} unpacks to more than is read")
    return data


def _coordinates(data: bytes, reading: Reading) -> None:
    said = {}
    for line in data.decode("latin-1").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "!")):
            said[key.strip()] = value.strip()
    group, name, version = (said.get(key, "") for key in ("groupId", "artifactId", "version"))
    if not group or not name or not version or "$" in version:
        raise UnreadListError("pom.properties without coordinates")
    reading.add(Found("maven", f"{group}:{name}", version))


def _manifest(archive: zipfile.ZipFile, name: str, reading: Reading, budget: _Budget) -> None:
    """By the manifest and the file's name; a name alone leads to no group, so nothing is matched by it."""
    said: dict[str, str] = {}
    if "META-INF/MANIFEST.MF" in archive.NameToInfo:
        data = _content(archive, archive.NameToInfo["META-INF/MANIFEST.MF"], _MAX_TEXT, budget)
        text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\n ", "")
        for line in text.split("\n\n")[0].split("\n"):
            key, colon, value = line.partition(":")
            if colon:
                said.setdefault(key.strip(), value.strip())
    stem = name.rpartition("/")[2].rpartition(".")[0]
    match = _NAME.fullmatch(stem) if len(stem) <= _MAX_NAME else None
    version = match[2] if match else said.get("Implementation-Version") or said.get("Bundle-Version") or ""
    artifact = match[1] if match else stem
    group = said.get("Implementation-Vendor-Id") or said.get("Bundle-SymbolicName", "").partition(";")[0].strip()
    if group.endswith(f".{artifact}") or group == artifact:
        group = group.removesuffix(artifact).rstrip(".")
    if not artifact or not version:
        return  # a part of an application: it has no name by which anybody warns
    known = bool(group) and "." in group and " " not in group
    note = "by its manifest" if known else "its group is not known, so no advisory is found for it"
    reading.add(Found("maven", f"{group}:{artifact}" if known else artifact, version, note=note))
