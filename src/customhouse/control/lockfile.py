"""customhouse.lock.yaml: by which digest a chart or artifact of another place is meant, one line for each.

    sources:
      - {source: "oci://registry.example/charts/web", version: "6.x", resolved: "6.7.1", digest: "sha256:…", …}

Git says what is fetched: a tag or a range of a manifest is looked up here, and in a registry only when somebody runs
`customhouse sources lock`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import is_digest
from customhouse.control import yaml_nodes
from customhouse.control.unpacking import MAX_ARCHIVE
from customhouse.control.version_ranges import fits
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Location

LOCK = "customhouse.lock.yaml"
COMMAND = "customhouse sources lock"
MAX_ENTRIES = 5_000
_HEAD = (
    f"# Written by `{COMMAND}`. What charts and artifacts of other places are here: the digest decides, no tag does.\n"
)
_KEYS = ("source", "chart", "version", "tag", "resolved", "digest", "size", "url", "locked")
_PLACE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9.-]*(?::\d{1,5})?"
    r"(?:/(?:[A-Za-z0-9._~+-]|%(?!2[ef5]|5c|3b|[01]|7f|c[01])[0-9a-f]{2})+)*",
    re.ASCII | re.IGNORECASE,
)
"""A server may decode before it looks for `..`: no encoded dot, slash, percent sign, backslash, semicolon or control
character, and no byte that only overlong UTF-8 has."""

Key = tuple[str, str, str, str]
"""Source, chart, version or range, tag."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One line. `size` is that of the archive in bytes; `url` says where a chart repository has it."""

    source: str
    resolved: str
    digest: str
    size: int
    chart: str = ""
    version: str = ""
    tag: str = ""
    url: str = ""
    locked: str = ""
    location: Location = field(default=Location(LOCK), compare=False)

    @property
    def key(self) -> Key:
        """What of a manifest it answers."""
        return (self.source, self.chart, self.version, self.tag)


def read_lock(data: bytes) -> Mapping[Key, Locked]:
    """The lines of a lock file. Raises DeclarationError with line and column."""
    roots = yaml_nodes.compose(yaml_nodes.decode(data, LOCK), LOCK)
    reads = [Reader(LOCK).read(root) for root in roots]
    if not reads:
        return {}
    value, marks = reads[0].value, reads[0].marks
    listed = value.get("sources") if isinstance(value, dict) and not set(value) - {"sources"} else 0
    listed = [] if listed is None else listed
    if len(reads) > 1 or not isinstance(listed, list):
        raise _wrong("a lock file is one document with a list `sources`", marks.get("", Location(LOCK)))
    if len(listed) > MAX_ENTRIES:
        raise _wrong(f"it has {len(listed)} entries; at most {MAX_ENTRIES} are read", marks.get("", Location(LOCK)))
    found: dict[Key, Locked] = {}
    for index, item in enumerate(listed):
        place = marks.get(f"/sources/{index}", Location(LOCK))
        one = _entry(item, place)
        if one.key in found:
            raise _wrong(f"line {found[one.key].location.line} says it too, and which one counts cannot be told", place)
        found[one.key] = one
    return found


def write_lock(entries: Iterable[Locked]) -> bytes:
    """The file: sorted, one line an entry, so that a new version is a difference of one line."""
    lines = [_HEAD, "sources:"]
    found = sorted(entries, key=lambda item: item.key)
    for item in found:
        said = {name: getattr(item, name) for name in _KEYS if getattr(item, name) not in ("", 0)}
        # A JSON text is a YAML text.
        words = ", ".join(f"{name}: {canonical_json(value).decode()}" for name, value in said.items())
        lines.append(f"\n  - {{{words}}}")
    return ("".join(lines) + (" []\n" if not found else "\n")).encode()


def place_of(address: str) -> str:
    """`host[:port]/path` of an address, as `policy.trustedRegistries` has prefixes of it; empty for what has none."""
    try:
        parts = urlsplit(address)
        user, path = parts.username, parts.path.removeprefix("/").rstrip("/")
    except ValueError:
        return ""
    place = f"{parts.netloc.lower()}/{path}".rstrip("/")
    wrong = (
        user is not None or parts.query or parts.fragment or any(part in ("", ".", "..") for part in path.split("/"))
    )
    if (wrong and path) or not parts.netloc or _PLACE.fullmatch(place) is None:
        return ""
    return place


def is_trusted(place: str, registries: Iterable[str]) -> bool:
    """Whether a place is one of those that are trusted, or below one; the rule for images (images.rego)."""
    prefixes = [entry.rstrip("/") for entry in registries]
    return bool(place) and any(prefix and (place == prefix or place.startswith(prefix + "/")) for prefix in prefixes)


def _entry(item: Any, place: Location) -> Locked:
    if not isinstance(item, dict):
        raise _wrong("an entry is a mapping", place)
    unknown = sorted(set(map(str, item)) - set(_KEYS))
    texts = {name: item.get(name, "") for name in _KEYS if name != "size"}
    size = item.get("size", 0)
    if unknown or not all(isinstance(text, str) and len(text) <= 1_000 for text in texts.values()):
        raise _wrong(f"{unknown[0]!r} is not known here" if unknown else "every field but size is a text", place)
    if type(size) is not int or not 0 <= size <= MAX_ARCHIVE:
        raise _wrong(f"its size is no number of bytes up to {MAX_ARCHIVE}", place)
    found = Locked(size=size, location=place, **texts)
    if not is_digest(found.digest):
        raise _wrong("its digest is not sha256: with 64 hexadecimal digits", place)
    if not place_of(found.source) or not found.source.startswith(("oci://", "https://", "http://")):
        raise _wrong(f"its source {found.source[:200]!r} is no address of a registry or chart repository", place)
    if bool(found.version) == bool(found.tag):
        raise _wrong("it answers a version or a tag, one of them", place)
    if found.source.startswith("oci://") == bool(found.chart) or bool(found.chart) != bool(found.url):
        raise _wrong("what a chart repository has, and nothing else, has a chart and a url", place)
    if found.url and (not place_of(found.url) or not found.url.startswith(("https://", "http://"))):
        raise _wrong(f"its url {found.url[:200]!r} is no address", place)
    try:
        wrong = bool(found.version) and not fits(found.version, found.resolved.replace("_", "+"))
    except ValueError as error:
        raise _wrong(str(error), place) from error
    if wrong or (found.tag and found.tag != found.resolved):
        raise _wrong(f"{found.resolved[:80]!r} is not what {(found.version or found.tag)[:80]!r} asks for", place)
    return found


def _wrong(message: str, place: Location) -> DeclarationError:
    return DeclarationError(message, where=str(place), hint=f"`{COMMAND}` writes this file; edit no line of it by hand")
