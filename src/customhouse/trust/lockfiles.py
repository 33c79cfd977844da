"""Libraries from lock files: what is installed, from where, by which digests. Read as data; nothing is resolved.

Known by content and name: uv.lock and poetry.lock, pylock.toml (PEP 751), requirements.txt with pins, Pipfile.lock,
`pip inspect` JSON, `conda list --json` and `conda list --explicit`, package-lock.json (versions 2 and 3). A line that
pins nothing, or a file of another kind, is refused with its place: half a list of libraries is a wrong one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from customhouse._kit.single_keys import each_once
from customhouse.core.errors import ArtifactError
from customhouse.trust.bom_parts import is_hash
from customhouse.trust.libraries import Archive, Library, licence_of, plain_name
from customhouse.trust.scan.words import words

MAX_BYTES = 32 * 1024 * 1024
MAX_LIBRARIES = 50_000
PUBLIC = "https://pypi.org/simple"
_PUBLIC = frozenset({"pypi.org", "files.pythonhosted.org", "registry.npmjs.org"})
_HARMLESS = words(
    """--no-binary --only-binary --prefer-binary --pre --trusted-host --require-hashes --use-feature --no-index -f
    --find-links"""
)
"""Options of a requirements file that add no library."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*==\s*([\w.!+-]+)\s*(?:;.*)?")


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a lock file lists, and the package indexes that it names besides the public ones."""

    libraries: tuple[Library, ...]
    indexes: tuple[str, ...] = ()


def read_lock(data: bytes, where: str) -> Shelf:
    """The libraries of a lock file. Raises ArtifactError, with file and line, for what is none or pins nothing."""
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"over {MAX_BYTES >> 20} MiB, which is no lock file", where=where)
    try:
        text = data.decode("utf-8-sig")
        shelf = _reader(text, where)(text, where)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ArtifactError(f"cannot be read as a lock file: {error}", where=where, hint="lock again") from error
    if len(shelf.libraries) > MAX_LIBRARIES:
        raise ArtifactError(f"more than {MAX_LIBRARIES} libraries", where=where)
    return shelf


def _reader(text: str, where: str) -> Callable[[str, str], Shelf]:
    start = text.lstrip()[:3]
    base = where.rpartition("/")[2].lower()
    if start[:1] == "{" or (start[:1] == "[" and start != "[[p"):  # `[[package]]` and `[[packages]]` are TOML
        return _toml if base.endswith(".toml") else _json
    if base.endswith((".lock", ".toml")) or start == "[[p":
        return _toml
    return _conda_explicit if "@EXPLICIT" in text else _requirements


def _toml(text: str, _: str) -> Shelf:
    said = tomllib.loads(text)
    if "lock-version" in said:
        return _pylock(said)
    listed = said["package"]
    return Shelf(tuple(_locked(item) for item in listed if not _is_own(item)), _indexes(map(_source, listed)))


def _is_own(item: Mapping[str, Any]) -> bool:
    """The project that is locked, and members of its workspace: no libraries of its."""
    source = item.get("source")
    return isinstance(source, dict) and bool({"virtual", "editable"} & set(source))


def _locked(item: Mapping[str, Any]) -> Library:
    """A package of uv.lock, or of poetry.lock (whose files have no address)."""
    name, version = plain_name(str(item["name"])), str(item.get("version", ""))
    needs = item.get("dependencies", [])
    names = (need["name"] for need in needs) if isinstance(needs, list) else needs
    files = [*item.get("wheels", []), *([item["sdist"]] if "sdist" in item else []), *item.get("files", [])]
    found = [
        Archive(str(file.get("url") or f"{_source(item) or PUBLIC}/{name}/#{file.get('file', '')}"), str(file["hash"]))
        for file in files
        if "hash" in file
    ]
    return _python(name, version, sorted({plain_name(str(need)) for need in names}), found, _source(item))


def _source(item: Mapping[str, Any]) -> str:
    """The index, repository or folder that a package comes from."""
    source = item.get("source")
    if not isinstance(source, dict):
        return ""
    return str(source.get("registry") or source.get("url") or source.get("git") or source.get("path") or "")


def _pylock(said: Mapping[str, Any]) -> Shelf:
    found = []
    for item in said["packages"]:
        files = [*item.get("wheels", []), *([item["sdist"]] if "sdist" in item else [])]
        files += [item["archive"]] if "archive" in item else []
        archives = [
            Archive(str(file.get("url") or file.get("path") or ""), f"{algorithm}:{value}")
            for file in files
            for algorithm, value in file.get("hashes", {}).items()
        ]
        needs = sorted({plain_name(str(need["name"])) for need in item.get("dependencies", [])})
        index = str(item.get("index") or item.get("vcs", {}).get("url", ""))
        found.append(_python(plain_name(str(item["name"])), str(item.get("version", "")), needs, archives, index))
    return Shelf(tuple(found), _indexes(item.note for item in found))


def _requirements(text: str, where: str) -> Shelf:
    indexes: list[str] = []
    libraries: list[Library] = []
    for line, number in _logical(text):
        if line.startswith(("-i ", "--index-url", "--extra-index-url")):
            indexes.append(line.replace("=", " ", 1).split()[-1])
            continue
        if line.startswith("-"):
            if line.replace("=", " ").split()[0] not in _HARMLESS:
                raise ArtifactError(
                    f"{line.split()[0][:40]} adds what is not listed here",
                    where=f"{where}:{number}",
                    hint="give one list with all pins (`uv export`, `pip-compile --generate-hashes`, `pip freeze`)",
                )
            continue
        hashes = re.findall(r"--hash=(\w+:[0-9a-fA-F]+)", line)
        match = _REQUIREMENT.fullmatch(line.split(" --hash")[0].strip())
        if match is None:
            raise ArtifactError(
                f"{line[:80]!r} pins no version",
                where=f"{where}:{number}",
                hint="pin it (`name==version`), by `uv export`, `pip-compile --generate-hashes` or `pip freeze`",
            )
        name = plain_name(match[1])
        files = [Archive(f"{PUBLIC}/{name}/", digest) for digest in hashes]
        libraries.append(_python(name, match[2], (), files, ""))
    return Shelf(tuple(libraries), _indexes(indexes))


def _logical(text: str) -> Iterator[tuple[str, int]]:
    """Lines joined at their backslashes, without comments, each with the number of its first."""
    waiting, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first or number
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        waiting = f"{waiting} {bare.removesuffix(chr(92)).strip()}".strip()
        if bare.endswith("\\"):
            continue
        if waiting:
            yield waiting, first
        waiting, first = "", 0
    if waiting:
        yield waiting, first


def _json(text: str, where: str) -> Shelf:
    said = json.loads(text, object_pairs_hook=each_once)
    if isinstance(said, list):
        return Shelf((*(_conda(item) for item in said if item.get("channel") != "pypi"), *_pip_of_conda(said)))
    if "lockfileVersion" in said:
        return _npm(said, where)
    if "pip_version" in said and "installed" in said:
        return _pip_inspect(said)
    if "_meta" in said and "default" in said:
        sections = (said.get("default", {}), said.get("develop", {}))
        found = [
            _python(
                plain_name(name), str(item["version"]).removeprefix("=="), (),
                [Archive(f"{PUBLIC}/{plain_name(name)}/", digest) for digest in item.get("hashes", [])], "",
            )
            for section in sections
            for name, item in section.items()
            if "version" in item
        ]  # fmt: skip
        return Shelf(tuple(found), _indexes(str(source["url"]) for source in said["_meta"].get("sources", [])))
    raise ArtifactError(
        "of no kind of lock file that is known here",
        where=where,
        hint="uv.lock, poetry.lock, pylock.toml, requirements.txt, Pipfile.lock, pip inspect, conda list, package-lock",
    )


def _pip_inspect(said: Mapping[str, Any]) -> Shelf:
    found = []
    for item in said["installed"]:
        metadata = item["metadata"]
        name = plain_name(str(metadata["name"]))
        direct = item.get("direct_url") or item.get("download_info") or {}
        url = str(direct.get("url", ""))
        hashes = direct.get("archive_info", {}).get("hashes", {})
        files = [Archive(url, f"{algorithm}:{value}") for algorithm, value in hashes.items()]
        wanted = [str(text) for text in metadata.get("requires_dist", []) if "extra ==" not in text]
        needs = {plain_name(re.split(r"[^\w.-]", text.strip(), maxsplit=1)[0]) for text in wanted}
        expression, words = str(metadata.get("license_expression", "")), str(metadata.get("license", ""))
        licence = licence_of(expression, metadata.get("classifier", []), words)
        found.append(_python(name, str(metadata["version"]), sorted(needs - {name}), files, url, licence))
    return Shelf(tuple(found))


def _python(name: str, version: str, needs: Any, files: list[Archive], source: str, licence: str = "") -> Library:
    kept = tuple(file for file in files if file.url and is_hash(file.digest))
    address = f"pkg:pypi/{name}" + (f"@{quote(version, safe='.-_~')}" if version else "")
    return Library(name, version, address, licence, tuple(needs), kept, "" if _is_public(source) else _shown(source))


def _conda(item: Mapping[str, Any]) -> Library:
    name, version = str(item["name"]), str(item["version"])
    details = {
        "build": str(item.get("build_string", "")),
        "channel": str(item.get("channel", "")),
        "subdir": str(item.get("platform", "")),
    }
    return Library(name, version, f"pkg:conda/{quote(name)}@{quote(version)}{_qualifiers(details)}")


def _pip_of_conda(said: list[Any]) -> tuple[Library, ...]:
    """What pip installed into a conda environment: conda lists it under a channel of that name."""
    return tuple(
        _python(plain_name(str(item["name"])), str(item["version"]), (), [], "")
        for item in said
        if item.get("channel") == "pypi"
    )


def _conda_explicit(text: str, where: str) -> Shelf:
    found = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith(("#", "@")):
            continue
        url, _, digest = line.partition("#")
        parts = url.rsplit("/", 2)
        match = re.fullmatch(r"(.+)-([^-]+)-([^-]+)\.(?:conda|tar\.bz2)", parts[-1])
        if match is None or len(parts) != 3:
            raise ArtifactError(f"{line[:80]!r} names no conda package", where=f"{where}:{number}")
        algorithm = {32: "md5", 64: "sha256"}.get(len(digest.removeprefix("sha256:")), "")
        archive = Archive(url, f"{algorithm}:{digest.removeprefix('sha256:')}")
        details = {"build": match[3], "channel": parts[0].rpartition("/")[2], "subdir": parts[1]}
        purl = f"pkg:conda/{quote(match[1])}@{quote(match[2])}{_qualifiers(details)}"
        found.append(Library(match[1], match[2], purl, files=(archive,) if is_hash(archive.digest) else ()))
    return Shelf(tuple(found))


def _qualifiers(details: Mapping[str, str]) -> str:
    said = "&".join(f"{key}={quote(value, safe='')}" for key, value in sorted(details.items()) if value)
    return f"?{said}" if said else ""


def _npm(said: Mapping[str, Any], where: str) -> Shelf:
    if "packages" not in said:
        raise ArtifactError("a package-lock.json of version 1", where=where, hint="lock again with npm 7 or later")
    packages: Mapping[str, Any] = said["packages"]
    found = []
    for place, item in packages.items():
        if not place or item.get("link"):
            continue
        name = str(item.get("name") or place.rpartition("node_modules/")[2])
        needs = sorted(
            {purl for need in item.get("dependencies", {}) if (purl := _npm_resolved(packages, place, need))}
        )
        files = [
            Archive(str(item["resolved"]), digest)
            for digest in map(_integrity, str(item.get("integrity", "")).split())
            if digest and "resolved" in item
        ]
        resolved = str(item.get("resolved", ""))
        licence = item.get("license")
        found.append(
            Library(
                name, str(item.get("version", "")), _npm_purl(name, item), licence if isinstance(licence, str) else "",
                tuple(needs), tuple(files), "" if _is_public(resolved) else _shown(resolved),
            )
        )  # fmt: skip
    return Shelf(tuple(found), _indexes(item.note for item in found))


def _npm_purl(name: str, item: Mapping[str, Any]) -> str:
    return f"pkg:npm/{quote(name, safe='/')}@{quote(str(item.get('version', '')))}"


def _npm_resolved(packages: Mapping[str, Any], place: str, need: str) -> str:
    """As Node looks it up: beside, then in every folder above."""
    while True:
        inner = f"{place}/node_modules/{need}" if place else f"node_modules/{need}"
        if inner in packages:
            return _npm_purl(str(packages[inner].get("name") or need), packages[inner])
        if not place:
            return ""
        place = place.rpartition("node_modules/")[0].rstrip("/")


def _integrity(text: str) -> str:
    """`sha512-base64` as `sha512:hex`."""
    algorithm, dash, value = text.partition("-")
    return f"{algorithm}:{base64.b64decode(value, validate=True).hex()}" if dash else ""


def _is_public(source: str) -> bool:
    return not source or urlsplit(source).hostname in _PUBLIC


def _indexes(sources: Any) -> tuple[str, ...]:
    """Indexes that are not public ones, each once, without credentials."""
    return tuple(dict.fromkeys(_shown(source) for source in sources if source and not _is_public(source)))


def _shown(source: str) -> str:
    """Without the user and password that addresses of private indexes may hold."""
    parts = urlsplit(source)
    if "@" not in parts.netloc:
        return source[:300]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()[:300]
