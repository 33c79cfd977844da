"""Packages from lock files of many ecosystems, each with its line. Python's and npm's are read by `trust.lockfiles`.

Also go.mod, Cargo.lock, Gemfile.lock, composer.lock, gradle.lockfile, packages.lock.json (NuGet), yarn.lock and
pnpm-lock.yaml. Read as data, line by line or as JSON and TOML; nothing is resolved, no program is run.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from customhouse.core.errors import ArtifactError
from customhouse.core.vulnerability import Package
from customhouse.trust.libraries import plain_name
from customhouse.trust.lockfiles import MAX_BYTES, MAX_LIBRARIES, read_lock
from customhouse.trust.vulnerabilities.ecosystems import package_of
from customhouse.trust.vulnerabilities.paths import ways

Row = tuple[str, str, str, int]
"""Ecosystem's type of package URL, name, version, line."""
_MAX_LINE = 8192
"""Longer ones are not looked at: patterns over lines take time."""
_GO_REQUIRE = re.compile(r"(?:require\s+)?([^\s()]+\.[^\s()]+|[^\s()]+/[^\s()]+)\s+(v[^\s]+)")
_GO_REPLACE = re.compile(r"(?:replace\s+)?(\S+)(?:\s+(v\S+))?\s+=>\s+(\S+)(?:\s+(v\S+))?")
_GEM = re.compile(r" {4}([A-Za-z0-9._-]+) \(([^()\s]+)\)")
_GRADLE = re.compile(r"([^:=#\s]+):([^:=\s]+):([^:=\s]+)=.*")
_YARN_HEAD = re.compile(r'"?((?:@[^/@"\s]+/)?[^@"\s,]+)@')
_YARN_VERSION = re.compile(r'\s+version:?\s+"?([^"\s]+)"?')
_PNPM = re.compile(r"  '?/?((?:@[^/@']+/)?[^@'(/]+)[@/]([0-9][^'(:_]*)[^:]*'?:")
_NAMED = re.compile(r'\s*name = "([^"]+)"')
_PINNED = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*==")
_NODE = re.compile(r'\s*"(?:[^"]*/)?node_modules/((?:@[^/"]+/)?[^/"]+)"\s*:')
_KEYED = re.compile(r'\s*"([^"]+)"\s*:\s*\{')
NAMES = frozenset(
    {
        "uv.lock", "poetry.lock", "pdm.lock", "pipfile.lock", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock",
        "pnpm-lock.yaml", "go.mod", "cargo.lock", "gemfile.lock", "composer.lock", "gradle.lockfile",
        "packages.lock.json",
    }
)  # fmt: skip
"""Names of lock files, in lower case; besides them requirements*.txt and pylock*.toml."""


def is_lock(name: str) -> bool:
    """Whether a file is called as lock files are."""
    low = name.lower()
    return low in NAMES or bool(re.fullmatch(r"(requirements.*\.txt|pylock.*\.toml)", low))


def read_packages(data: bytes, where: str) -> tuple[Package, ...]:
    """The packages of a lock file. Raises ArtifactError, with file and line, for what is none or pins nothing."""
    base = where.rpartition("/")[2].lower()
    reader = _READERS.get(base) or next((one for name, one in _READERS.items() if base.endswith(f".{name}")), None)
    if reader is None:
        return tuple(_libraries(data, where))
    if len(data) > MAX_BYTES:
        raise ArtifactError(f"over {MAX_BYTES >> 20} MiB, which is no lock file", where=where)
    try:
        rows = list(reader(_text(data, bounded=not base.endswith((".json", "composer.lock")))))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"cannot be read as a lock file: {error}", where=where, hint="lock again") from error
    if len(rows) > MAX_LIBRARIES:
        raise ArtifactError(f"more than {MAX_LIBRARIES} packages", where=where)
    if not rows and data.strip() and base != "go.mod":
        raise ArtifactError("it lists nothing that could be read", where=where, hint="lock again, or give a bill")
    return tuple(dict.fromkeys(_package(row, where) for row in rows))


def _text(data: bytes, *, bounded: bool) -> str:
    text = data.decode("utf-8-sig")
    longest = max(map(len, text.splitlines()), default=0) if bounded else 0
    if longest > _MAX_LINE:
        raise ValueError(f"a line of {longest} characters")
    return text


def _package(row: Row, where: str) -> Package:
    kind, name, version, line = row
    found = package_of(f"pkg:{kind}/{quote(name, safe='/')}@{quote(version, safe='.-_~')}", file=where, line=line)
    if found is None:
        raise ArtifactError(f"{name[:80]!r} is no package", where=f"{where}:{line}")
    return found


def _libraries(data: bytes, where: str) -> Iterator[Package]:
    """Of Python and npm, with the way in which each comes in."""
    shelf = read_lock(data, where)
    text = data.decode("utf-8-sig", "replace")
    lines = _lines_of(text, where)
    named: dict[str, list[str]] = {}
    for item in shelf.libraries:
        named.setdefault(item.name, []).append(item.purl)
    purls = {item.purl for item in shelf.libraries}
    needs = {
        item.purl: [purl for need in item.requires for purl in ([need] if need in purls else named.get(need, ()))]
        for item in shelf.libraries
    }
    way = ways(needs)
    names = {item.purl: item.name for item in shelf.libraries}
    for item in shelf.libraries:
        waiting = lines.get(item.name, [])
        line = waiting.pop(0) if len(waiting) > 1 else (waiting[0] if waiting else 0)
        before = tuple(names.get(one, one) for one in way.get(item.purl, ()))
        found = package_of(item.purl, file=where, line=line, path=before)
        if found is not None:
            yield found


def _lines_of(text: str, where: str) -> dict[str, list[int]]:
    """Name → the lines at which a lock file says so, in order."""
    low = where.lower()
    pattern, plain = (_NAMED, True) if low.endswith((".lock", ".toml")) else (_PINNED, True)
    if text.lstrip().startswith("{"):
        pattern, plain = (_KEYED, True) if "_meta" in text[:65536] else (_NODE, False)
    found: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = pattern.match(line[:1024])
        if match:
            found.setdefault(plain_name(match[1]) if plain else match[1], []).append(number)
    return found


def _go_mod(text: str) -> Iterator[Row]:
    """Module paths as required, or as what replaces them; the toolchain that is named is a package too (`stdlib`).

    What a folder replaces is looked up by its own name and version: what the folder holds nobody says.
    """
    required: dict[str, tuple[str, int]] = {}
    replaced: dict[str, tuple[str, str]] = {}
    block = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("//")[0].strip()
        opened = re.fullmatch(r"(\w+)\s*\(", line)
        if opened:
            block = opened[1]
            continue
        if line == ")":
            block = ""
            continue
        word = block or line.split(" ", 1)[0]
        if word == "require" and (match := _GO_REQUIRE.fullmatch(line)):
            required[match[1]] = (match[2], number)
        elif word == "replace" and (match := _GO_REPLACE.fullmatch(line)):
            if match[4]:
                replaced[match[1]] = (match[3], match[4])
        elif word == "toolchain" and line.startswith("toolchain go"):
            required["stdlib"] = (line.removeprefix("toolchain go").partition("-")[0], number)
        elif word == "require" and line:
            raise ValueError(f"line {number}: {line[:80]!r} requires nothing that could be read")
    for name, (version, number) in required.items():
        path, exact = replaced.get(name, (name, version))
        yield "golang", path, exact, number


def _cargo(text: str) -> Iterator[Row]:
    lines: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _NAMED.match(line):
            lines.setdefault(match[1], []).append(number)
    for item in tomllib.loads(text)["package"]:
        number = lines.get(str(item["name"]), [0]).pop(0)
        lines.setdefault(str(item["name"]), []).append(number)
        if "source" in item:  # else it is the project's own
            yield "cargo", str(item["name"]), str(item["version"]), number


def _gemfile(text: str) -> Iterator[Row]:
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith(" "):
            inside = line == "GEM"
        elif inside and (match := _GEM.fullmatch(line.rstrip())):
            # A gem that is built for a platform: 1.15.4-x86_64-linux.
            yield (
                "gem",
                match[1],
                re.sub(r"-(x86|x64|arm|aarch|java|universal|ruby|mswin|mingw).*", "", match[2]),
                number,
            )


def _composer(text: str) -> Iterator[Row]:
    said = json.loads(text)
    lines = _keyed_lines(text, "name")
    for section in ("packages", "packages-dev"):
        for item in said.get(section) or ():
            name = str(item["name"])
            yield "composer", name, str(item["version"]).removeprefix("v"), lines.get(name, 0)


def _gradle(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        if match := _GRADLE.fullmatch(line.strip()):
            yield "maven", f"{match[1]}/{match[2]}", match[3], number


def _nuget(text: str) -> Iterator[Row]:
    said: Mapping[str, Any] = json.loads(text)
    for listed in said["dependencies"].values():
        for name, item in listed.items():
            if item.get("type") != "Project":
                yield "nuget", name, str(item["resolved"]), 0


def _yarn(text: str) -> Iterator[Row]:
    """Version 1 and later ones: a head that names what is asked for, and below it the version."""
    name, number = "", 0
    for count, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith((" ", "#")):
            match = _YARN_HEAD.match(line)
            alias = re.search(r"@npm:((?:@[^/@]+/)?[^@\"]+)@", line)
            name, number = (alias or match)[1] if (alias or match) else "", count  # type: ignore[index]
            if "@workspace:" in line or line.startswith("__metadata"):
                name = ""
        elif name and (found := _YARN_VERSION.fullmatch(line.rstrip())):
            yield "npm", name, found[1], number
            name = ""


def _pnpm(text: str) -> Iterator[Row]:
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith(" "):
            inside = line.startswith("packages:")
        elif inside and (match := _PNPM.fullmatch(line.rstrip().removesuffix(" {}"))):
            yield "npm", match[1], match[2], number


def _keyed_lines(text: str, key: str) -> dict[str, int]:
    found: dict[str, int] = {}
    pattern = re.compile(rf'\s*"{key}"\s*:\s*"([^"]+)"')
    for number, line in enumerate(text.splitlines(), 1):
        if match := pattern.match(line[:1024]):
            found.setdefault(match[1], number)
    return found


_READERS: Mapping[str, Callable[[str], Iterator[Row]]] = {
    "go.mod": _go_mod,
    "cargo.lock": _cargo,
    "gemfile.lock": _gemfile,
    "composer.lock": _composer,
    "gradle.lockfile": _gradle,
    "packages.lock.json": _nuget,
    "yarn.lock": _yarn,
    "pnpm-lock.yaml": _pnpm,
}
