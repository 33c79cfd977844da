"""OSV records read (ossf.github.io/osv-schema, 1.7): strictly where a verdict depends on it, and with limits.

What is not known is passed over, as the schema asks of readers; what is known and malformed makes the record a broken
one, since half of a range would say "not affected" of versions that are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn

from customhouse._kit.clock import from_rfc3339
from customhouse.core.advisory import Advisory, Affected, Range
from customhouse.core.vulnerability import Rating
from customhouse.trust import strict_json
from customhouse.trust.vulnerabilities.ecosystems import canonical, family_of, name_key

MAX_RECORD = 32 << 20
"""Bytes of one record: the largest that we know of, of the Linux kernel, list some 100,000 versions (2 MB)."""
MAX_ITEMS = 200_000
"""Of packages, versions or events in one record."""
MAX_TEXT = 1024
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")
_EVENTS = ("introduced", "fixed", "last_affected", "limit")
_TYPES = frozenset({"SEMVER", "ECOSYSTEM", "GIT"})
_WORDS = {
    "critical": Rating.CRITICAL,
    "high": Rating.HIGH,
    "important": Rating.HIGH,
    "moderate": Rating.MEDIUM,
    "medium": Rating.MEDIUM,
    "low": Rating.LOW,
    "minor": Rating.LOW,
    "negligible": Rating.LOW,
    "unimportant": Rating.LOW,
}
"""GitHub's, Red Hat's, Debian's and Ubuntu's words."""


def parse_record(data: bytes) -> tuple[Advisory, dict[str, Any]]:
    """One record from its bytes, and the JSON object. Raises ValueError that names the member and what is wrong."""
    if len(data) > MAX_RECORD:
        raise ValueError(f"a record of {len(data)} bytes, more than {MAX_RECORD}")
    try:
        said = strict_json.parse_many(data)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    return read_record(said), said


def read_record(said: Any) -> Advisory:
    """One record from its JSON value. Raises ValueError."""
    if not isinstance(said, dict):
        _wrong("the record", "is no JSON object")
    name = said.get("id")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ValueError(f"id: {str(name)[:60]!r} is no id of an advisory")
    version = said.get("schema_version", "1.0.0")
    if not isinstance(version, str) or not version.startswith("1."):
        raise ValueError(f"schema_version: {str(version)[:40]!r} is not read here; 1.x is")
    if "modified" not in said:
        _wrong("modified", "is not there")
    specific = _object(said, "database_specific", "")
    affected = _list(said, "affected", "")
    return Advisory(
        id=name,
        modified=_time(said, "modified"),
        published=_time(said, "published"),
        withdrawn=_time(said, "withdrawn"),
        aliases=_texts(said, "aliases", ""),
        upstream=_texts(said, "upstream", ""),
        summary=_summary(said),
        vectors=_vectors(said, ""),
        rating=_rating(said, specific),
        url=_url(said, specific),
        affected=tuple(_affected(item, f"affected[{index}]") for index, item in enumerate(affected)),
    )


def _affected(item: Any, where: str) -> Affected:
    if not isinstance(item, dict):
        _wrong(where, "is no object")
    package = _object(item, "package", where)
    ecosystem, name = (_text(package, key, f"{where}.package") for key in ("ecosystem", "name"))
    if bool(ecosystem) != bool(name):
        _wrong(f"{where}.package", "needs both an ecosystem and a name")
    ranges = tuple(_range(one, f"{where}.ranges[{index}]") for index, one in enumerate(_list(item, "ranges", where)))
    own, other = _object(item, "ecosystem_specific", where), _object(item, "database_specific", where)
    family = family_of(ecosystem)
    vectors = _vectors(item, where)
    cvss = other.get("cvss")  # RustSec's place for it
    if not vectors and isinstance(cvss, str) and cvss.startswith("CVSS:"):
        vectors = (cvss[:MAX_TEXT],)
    return Affected(
        ecosystem=ecosystem if family == "Maven" else canonical(ecosystem),
        name=name,
        family=family,
        key=name_key(family, name),
        ranges=ranges,
        versions=_texts(item, "versions", where),
        vectors=vectors,
        rating=_rating(item, {**other, **own}),
        imports=tuple(_imports(own.get("imports"), f"{where}.ecosystem_specific.imports")),
        note=_note(own),
    )


def _note(own: Mapping[str, Any]) -> str:
    """What Go's records say besides: ranges of versions that Go does not know, and systems that are affected alone."""
    said = ["the advisory has custom ranges"] if own.get("custom_ranges") else []
    imports = [item for item in own.get("imports") or () if isinstance(item, dict)]
    systems = [item["goos"] for item in imports if isinstance(item.get("goos"), list) and item["goos"]]
    if systems and len(systems) == len(imports):
        named = sorted({str(name)[:20] for listed in systems for name in listed})
        said.append(f"on {', '.join(named[:8])} alone")
    return "; ".join(said)


def _range(said: Any, where: str) -> Range:
    if not isinstance(said, dict) or str(said.get("type")) not in _TYPES:
        _wrong(f"{where}.type", "is none of SEMVER, ECOSYSTEM and GIT")
    found: list[tuple[str, str]] = []
    for index, event in enumerate(_list(said, "events", where)):
        place = f"{where}.events[{index}]"
        if not isinstance(event, dict) or not event:
            _wrong(place, "is no event")
        for kind, version in event.items():
            if kind not in _EVENTS:
                _wrong(place, f"has {str(kind)[:40]!r}, which is no event")
            if not isinstance(version, str) or not 0 < len(version) <= MAX_TEXT:
                _wrong(f"{place}.{kind}", "is no version")
            found.append((kind, version))
    if not any(kind == "introduced" for kind, _ in found):
        _wrong(f"{where}.events", "say nowhere that something was introduced")
    return Range(said["type"], tuple(found))


def _imports(said: Any, where: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Go's: what of a module is vulnerable."""
    if said is None:
        return
    if not isinstance(said, list) or len(said) > MAX_ITEMS:
        _wrong(where, "is no list")
    for index, item in enumerate(said):
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            _wrong(f"{where}[{index}]", "names no import path")
        yield item["path"][:MAX_TEXT], _texts(item, "symbols", f"{where}[{index}]")


def _vectors(said: Mapping[str, Any], where: str) -> tuple[str, ...]:
    found = []
    for index, item in enumerate(_list(said, "severity", where)):
        if not isinstance(item, dict) or not isinstance(item.get("score"), str):
            _wrong(f"{where}.severity[{index}]".lstrip("."), "has no score")
        if str(item.get("type", "")).startswith("CVSS"):
            found.append(item["score"][:MAX_TEXT])
    return tuple(found)


def _rating(said: Mapping[str, Any], specific: Mapping[str, Any]) -> Rating:
    """A word: Ubuntu's severity, GitHub's and Red Hat's `severity`, Debian's `urgency`."""
    words = [item.get("score") for item in said.get("severity") or [] if isinstance(item, dict)]
    words += [specific.get(key) for key in ("severity", "urgency", "ubuntu_priority")]
    known = (_WORDS.get(word.lower()) for word in words if isinstance(word, str))
    return max((item for item in known if item), key=lambda rating: rating.rank, default=Rating.UNKNOWN)


def _summary(said: Mapping[str, Any]) -> str:
    for key in ("summary", "details"):
        text = said.get(key)
        if text is not None and not isinstance(text, str):
            _wrong(key, "is no text")
        lines = (text or "").strip().splitlines()
        if lines:
            first = next((line.strip("# ").strip() for line in lines if line.strip("# ").strip()), "")
            return first if len(first) <= 300 else first[:299] + "…"
    return ""


def _url(said: Mapping[str, Any], specific: Mapping[str, Any]) -> str:
    """Where a person reads it: the database's own page, else the first advisory that is referred to."""
    own = specific.get("url")
    if isinstance(own, str) and own.startswith("https://"):
        return own[:MAX_TEXT]
    for item in _list(said, "references", ""):
        if isinstance(item, dict) and item.get("type") == "ADVISORY" and str(item.get("url")).startswith("https://"):
            return str(item["url"])[:MAX_TEXT]
    return f"https://osv.dev/vulnerability/{said['id']}"


def _time(said: Mapping[str, Any], key: str) -> datetime | None:
    """A time; None for the year 1, with which some databases say that they know none."""
    value = said.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        _wrong(key, "is no time")
    if value.startswith("0001-01-01"):
        return None
    try:
        return from_rfc3339(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _object(said: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = said.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        _wrong(f"{where}.{key}".lstrip("."), "is no object")
    return value


def _list(said: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = said.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        _wrong(f"{where}.{key}".lstrip("."), f"is no list of at most {MAX_ITEMS}")
    return value


def _texts(said: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    found = _list(said, key, where)
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in found):
        _wrong(f"{where}.{key}".lstrip("."), "is no list of texts")
    return tuple(found)


def _text(said: Mapping[str, Any], key: str, where: str) -> str:
    value = said.get(key, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        _wrong(f"{where}.{key}", "is no text")
    return value


def _wrong(where: str, what: str) -> NoReturn:
    raise ValueError(f"{where} {what}")
