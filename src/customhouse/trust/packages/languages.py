"""What package managers of languages leave beside what they installed: Python, conda, npm, Ruby, PHP, .NET."""

from __future__ import annotations

import json
import re
from typing import Any

from customhouse.trust.libraries import licence_of, plain_name
from customhouse.trust.packages.found import Found, Reading, UnreadListError

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_VENDORED = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*==\s*([^\s#;]+)\s*(?:[#;].*)?", re.ASCII)
_GEM = re.compile(r"(.+?)-(\d[\w.]*?)(?:-([a-z][\w.-]*))?\.gemspec", re.ASCII)
_HEADERS = 10_000
_MAX_REQUIRES = 500


def read_python(data: bytes, reading: Reading) -> None:
    """METADATA of a `.dist-info`, PKG-INFO of an `.egg-info`: headers as in mail. Raises UnreadListError."""
    fields: dict[str, list[str]] = {}
    lines = data.decode("utf-8-sig", "backslashreplace").split("\n", _HEADERS)[:_HEADERS]
    for line in lines:
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and line[0] not in " \t":
            fields.setdefault(key.strip().lower(), []).append(value.strip())
    name, version = _one(fields, "name"), _one(fields, "version")
    if not name or not version:
        raise UnreadListError("metadata of a Python package without a name or a version")
    licence = licence_of(_one(fields, "license-expression"), fields.get("classifier", []), _one(fields, "license"))
    needs = {
        plain_name(match[1])
        for text in fields.get("requires-dist", [])[:_MAX_REQUIRES]
        if "extra ==" not in text and (match := _REQUIREMENT.match(text))
    }
    reading.add(Found("pypi", plain_name(name), version, licence=licence[:200], requires=tuple(sorted(needs))))


def read_vendored(data: bytes, reading: Reading) -> None:
    """`pip/_vendor/vendor.txt`: what pip carries copies of, whose metadata it leaves out."""
    for line in data.decode("utf-8", "backslashreplace").split("\n"):
        match = _VENDORED.fullmatch(line)
        if match is not None:
            reading.add(Found("pypi", plain_name(match[1]), match[2], note="a copy that another package carries"))


def read_conda(data: bytes, reading: Reading) -> None:
    """One file of `conda-meta`. Raises UnreadListError."""
    said = _object(data)
    name, version = said.get("name"), said.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        raise UnreadListError("a record of conda without a name or a version")
    channel = str(said.get("channel") or "")[:200]
    licence = str(said.get("license") or "")[:200]
    reading.add(Found("conda", name, version, licence=licence, note=f"channel {channel}" if channel else ""))


def read_npm(data: bytes, reading: Reading) -> None:
    """`package.json` of an installed package; one without a name or a version installs nothing that has advisories."""
    said = _object(data)
    name, version = said.get("name"), said.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not name or not version:
        return
    licence = said.get("license")
    if isinstance(licence, dict):
        licence = licence.get("type")
    needs = said.get("dependencies")
    requires = tuple(sorted(str(key)[:214] for key in needs)[:_MAX_REQUIRES]) if isinstance(needs, dict) else ()
    reading.add(Found("npm", name, version, licence=str(licence or "")[:200], requires=requires))


def read_npm_lock(data: bytes, reading: Reading) -> None:
    """`package-lock.json`: what would be installed. Raises UnreadListError."""
    from customhouse.core.errors import ArtifactError
    from customhouse.trust.lockfiles import read_lock

    try:
        shelf = read_lock(data, "package-lock.json")
    except ArtifactError as error:
        raise UnreadListError(error.message) from error
    for item in shelf.libraries:
        reading.add(Found("npm", item.name, item.version, licence=item.licence, note="declared by a lock file"))


def read_gem(path: str, reading: Reading) -> None:
    """A gem's name and version stand in the name of its specification: `rack-2.2.3.gemspec`."""
    match = _GEM.fullmatch(path.rpartition("/")[2])
    if match is None:
        raise UnreadListError("the name of a gem's specification has no version")
    reading.add(Found("gem", match[1], match[2], architecture=match[3] or ""))


def read_composer(data: bytes, reading: Reading) -> None:
    """`vendor/composer/installed.json`, version 1 (a list) and 2. Raises UnreadListError."""
    said = _parsed(data)
    items = said.get("packages") if isinstance(said, dict) else said
    if not isinstance(items, list):
        raise UnreadListError("not a list of what composer installed")
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise UnreadListError("a package of composer's without a name")
        reading.add(Found("composer", item["name"], str(item.get("version") or "").removeprefix("v")))


def read_dotnet(data: bytes, reading: Reading) -> None:
    """`*.deps.json`: the libraries of a .NET application. Raises UnreadListError."""
    libraries = _object(data).get("libraries")
    if not isinstance(libraries, dict):
        raise UnreadListError("a list of dependencies of .NET without libraries")
    for key, item in libraries.items():
        name, _, version = str(key).partition("/")
        if isinstance(item, dict) and item.get("type") == "package":
            reading.add(Found("nuget", name, version))


def _one(fields: dict[str, list[str]], name: str) -> str:
    return next(iter(fields.get(name, [])), "")


def _object(data: bytes) -> dict[str, Any]:
    said = _parsed(data)
    if not isinstance(said, dict):
        raise UnreadListError("not a JSON object")
    return said


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UnreadListError(f"no JSON: {str(error)[:120]}") from error
