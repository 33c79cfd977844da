"""Packages against advisories, by the algorithm of the OSV schema ("Evaluation"): nothing is guessed.

    matched = match(packages, known, now)
    matched.findings, matched.undecided

Steps, with their numbers in the code: 1. the advisories of a package's ecosystem, release and name; 2. withdrawn ones
are left out; 3. the version is listed; 4. the version lies in a range; 5. aliases are merged into one finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse.core.advisory import Advisory, Affected, Known, Range
from customhouse.core.vulnerability import Package, Rating, Reach, Undecided, Vulnerability, by_weight
from customhouse.trust.vulnerabilities.cvss import worst
from customhouse.trust.vulnerabilities.ecosystems import concerns, family_of, name_key, same_name
from customhouse.trust.vulnerabilities.orders import Order, order_of, pep440, semver

_TIES = {"introduced": 0, "fixed": 1, "limit": 2, "last_affected": 3}
"""Events of one version: what is introduced and fixed in it is not affected."""
_MAX_SYMBOLS = 20
_MAX_DOUBTS = 3


@dataclass(frozen=True, slots=True)
class Matched:
    """The findings, worst first, and what could not be decided."""

    findings: tuple[Vulnerability, ...]
    undecided: tuple[Undecided, ...]


@dataclass(frozen=True, slots=True)
class _Hit:
    """An advisory that is about a package's version: why, and the versions that mend it."""

    advisory: Advisory
    affected: Affected
    why: str
    fixes: tuple[str, ...]


def keys(packages: Iterable[Package]) -> set[tuple[str, str]]:
    """What to ask a store of advisories for: (family, key) of every package."""
    return {_key(package) for package in packages if package.ecosystem}


def match(packages: Iterable[Package], known: Known, now: datetime) -> Matched:
    """What is known of packages at a time. `known` holds the advisories of `keys(packages)`, or of everything."""
    findings: list[Vulnerability] = []
    undecided: list[Undecided] = []
    for package in packages:
        hits: list[_Hit] = []
        advisories = known.get(_key(package), ()) if package.ecosystem else ()  # 1
        if not advisories:
            continue
        version = _Version(package)
        doubts: dict[str, list[str]] = {}
        for advisory in advisories:
            if advisory.withdrawn is not None and advisory.withdrawn <= now:  # 2
                continue
            result = _judged(version, advisory)
            if isinstance(result, _Hit):
                hits.append(result)
            elif result:
                doubts.setdefault(result, []).append(advisory.id)
        findings += _merged(package, hits)  # 5
        undecided += _doubted(package, doubts)
    return Matched(by_weight(findings), tuple(undecided))


def _doubted(package: Package, doubts: Mapping[str, Sequence[str]]) -> Iterator[Undecided]:
    """One for each advisory; where one reason holds for many, one for all of them, with an empty id."""
    for reason, ids in doubts.items():
        if len(ids) <= _MAX_DOUBTS:
            yield from (Undecided(package, name, reason) for name in ids)
        else:
            yield Undecided(package, "", f"{reason} ({len(ids)} advisories, such as {', '.join(ids[:_MAX_DOUBTS])})")


def _key(package: Package) -> tuple[str, str]:
    family = family_of(package.ecosystem)
    return family, name_key(family, package.source or package.name)


class _Version:
    """The version that advisories speak of, in its ecosystem's order. Keys are made when they are first needed."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.family = family_of(package.ecosystem)
        self.name = package.source or package.name
        self.text = (package.source_version if package.source else "") or package.version
        self._order = order_of(package.ecosystem)

    def order(self, kind: str) -> Order:
        """The order for a range of a type. Raises ValueError where there is none."""
        if kind == "SEMVER" and self.family != "Go":
            return semver
        if self._order is None:
            raise ValueError(f"the order of versions of {self.family} is not known here")
        return self._order

    def is_listed(self, versions: Sequence[str]) -> bool:
        """Letter by letter, or equal in the ecosystem's order (`1.0` and `1.0.0` of PyPI)."""
        if self.text in versions:
            return True
        if self._order is None or not versions:
            return False
        try:
            own = _public(self.text, self.family, self._order)
        except ValueError:
            return False
        for text in versions:
            try:
                if self._order(text) == own:
                    return True
            except ValueError:  # listed letter by letter only
                continue
        return False


def _public(text: str, family: str, order: Order) -> object:
    """A version without what a rebuild appends: `2.0.1+cu118` is PyPI's 2.0.1, and has its flaws (PEP 440, local)."""
    return pep440(pep440(text).public) if family == "PyPI" else order(text)


def _judged(version: _Version, advisory: Advisory) -> _Hit | str:
    """A hit; else why nothing could be decided; else an empty text: not affected."""
    doubt = ""
    for affected in advisory.affected:
        if not concerns(version.package.ecosystem, affected.ecosystem):
            continue
        if not same_name(version.family, version.name, affected.name):
            continue
        if not version.text:
            return "the package has no version"
        if version.is_listed(affected.versions):  # 3
            return _Hit(advisory, affected, _listed(affected), tuple(_fixes(version, affected)))
        if not affected.versions and all(item.type == "GIT" for item in affected.ranges):
            doubt = (
                "the advisory names commits, and no versions" if affected.ranges else "the advisory names no version"
            )
        for item in affected.ranges:  # 4
            if item.type == "GIT":
                continue
            try:
                said = _within(version, item)
            except ValueError as error:
                doubt = str(error)
                continue
            if said:
                return _Hit(advisory, affected, _told(said, affected), tuple(_fixes(version, affected)))
    return doubt


def _within(version: _Version, item: Range) -> str:
    """The events that the version lies between, as text; empty when it lies outside. Raises ValueError."""
    order = version.order(item.type)
    local = version.family == "PyPI" and "+" in version.text
    own = order(version.text)
    bare = _public(version.text, version.family, order) if local else own

    def place(text: str) -> Any:
        return own if local and "+" in text else bare

    if len(item.events) == 2 and item.events[0][0] == "introduced" and item.events[1][0] == "fixed":
        # Most ranges are so; the rest of this function says the same of them, in thrice the time.
        (_, first), (_, fix) = item.events
        end = order(fix)
        if first == "0" or (start := order(first)) <= end:
            inside = (first == "0" or place(first) >= start) and place(fix) < end
            return f"introduced {first}, fixed {fix}" if inside else ""
    limits = [text for kind, text in item.events if kind == "limit" and text != "*"]
    if limits and not any(place(text) < order(text) for text in limits):
        return ""
    found: list[str] = []
    for kind, text, key in _sorted(item, order):
        here = place(text)
        if kind == "introduced" and (key is None or here >= key):
            found = [f"introduced {text}"]
        elif kind != "introduced" and (here > key or (kind == "fixed" and here == key)):
            found = []
        elif len(found) == 1 and kind != "introduced":
            found.append(f"{kind.replace('_', ' ')} {text}")
    return ", ".join(found)


def _sorted(item: Range, order: Order) -> Iterator[tuple[str, str, object]]:
    """The events in the order of their versions; `0` (with the key None) is before every other."""
    keyed = [
        (kind, text, None if text == "0" and kind == "introduced" else order(text))
        for kind, text in item.events
        if kind != "limit"
    ]
    first = [row for row in keyed if row[2] is None]
    rest = [row for row in keyed if row[2] is not None]
    rest.sort(key=lambda row: _TIES[row[0]])
    rest.sort(key=lambda row: row[2])  # type: ignore[arg-type,return-value]  # keys of one order compare
    yield from first
    yield from rest


def _fixes(version: _Version, affected: Affected) -> Iterator[str]:
    """The versions that mend it and are above this one, nearest first."""
    above: dict[str, object] = {}
    for item in affected.ranges:
        if item.type == "GIT":
            continue
        try:
            order = version.order(item.type)
            own = order(version.text)
            for kind, text in item.events:
                if kind == "fixed" and (key := order(text)) > own:
                    above[text] = key
        except ValueError:
            continue
    yield from sorted(above, key=lambda text: above[text])  # type: ignore[arg-type,return-value]


def _listed(affected: Affected) -> str:
    return _told("its version is listed", affected)


def _told(said: str, affected: Affected) -> str:
    return f"{said} ({affected.note})" if affected.note else said


def _merged(package: Package, hits: Sequence[_Hit]) -> Iterator[Vulnerability]:
    """One finding for all hits that are aliases of one another, however far around."""
    group_of: dict[str, _Group] = {}
    for hit in hits:
        names = (hit.advisory.id, *hit.advisory.aliases)
        own = _Group(set(names), [hit])
        for group in {id(group): group for name in names if (group := group_of.get(name))}.values():
            own.names |= group.names
            own.hits = [*group.hits, *own.hits]
        for name in own.names:
            group_of[name] = own
    for group in {id(group): group for group in group_of.values()}.values():
        yield _finding(package, group.names, group.hits)


@dataclass(slots=True, eq=False)
class _Group:
    """Hits that are aliases of one another, and all their names."""

    names: set[str]
    hits: list[_Hit]


def _finding(package: Package, names: set[str], hits: Sequence[_Hit]) -> Vulnerability:
    chosen = min(hits, key=_eloquence)
    advisory = chosen.advisory
    # What is said of this package goes before what is said of the vulnerability as a whole.
    own = tuple(vector for hit in hits for vector in (hit.affected.vectors or hit.advisory.vectors))
    rating, score, vector = worst(own)
    if rating is Rating.UNKNOWN:
        words = [word for hit in hits for word in (hit.affected.rating, hit.advisory.rating)]
        rating = max(words, key=lambda word: word.rank)
    upstream = {name for hit in hits for name in hit.advisory.upstream} - names
    fixes = next((hit.fixes for hit in [chosen, *hits] if hit.fixes), ())
    reachable, symbols = _reach(package, hits)
    return Vulnerability(
        id=advisory.id,
        package=package,
        aliases=tuple(sorted(names - {advisory.id})),
        upstream=tuple(sorted(upstream)),
        summary=advisory.summary,
        rating=rating,
        score=score,
        vector=vector,
        fixed=fixes[0] if fixes else "",
        fixes=fixes,
        why=chosen.why,
        reachable=reachable,
        symbols=symbols,
        published=min((hit.advisory.published for hit in hits if hit.advisory.published), default=None),
        modified=max((hit.advisory.modified for hit in hits if hit.advisory.modified), default=None),
        url=advisory.url,
    )


def _eloquence(hit: _Hit) -> tuple[int, int, int, str]:
    """The ecosystem's own database before GitHub's before others; then the one that knows a fix, and a score."""
    own = {"PYSEC": 0, "GO": 0, "RUSTSEC": 0, "GHSA": 1}.get(hit.advisory.group, 2)
    return own, -bool(hit.fixes), -bool(hit.advisory.vectors), hit.advisory.id


def _reach(package: Package, hits: Sequence[_Hit]) -> tuple[Reach, tuple[str, ...]]:
    """Whether a path that an advisory names is imported, and the symbols that it names."""
    named = [(path, symbols) for hit in hits for path, symbols in hit.affected.imports]
    shown = tuple(dict.fromkeys(f"{path}.{symbol}" for path, symbols in named for symbol in symbols or ("*",)))[
        :_MAX_SYMBOLS
    ]
    if package.imports is None or not named or not all(hit.affected.imports for hit in hits):
        return Reach.UNKNOWN, shown
    return (Reach.YES if any(path in package.imports for path, _ in named) else Reach.NO), shown
