"""Locking: which digest each chart and artifact that a work tree names by version or tag has now, for Git to say.

The one place where a registry is asked what a tag means. What is found is fetched and read before it is written down,
so that what a review approves can be had; lines that nothing asks for any more are left out.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest, same_digest
from customhouse._kit.http import shown
from customhouse.app import wiring, wiring_outside
from customhouse.app.configuration import FILE
from customhouse.app.declared import declarations_of
from customhouse.app.fetching import CachedFetcher, archive_of
from customhouse.app.governance import read_configuration
from customhouse.app.reviewed_registries import common, reviewed_registries
from customhouse.app.settings import Settings
from customhouse.control.lockfile import LOCK, Key, Locked, is_trusted, place_of, read_lock, write_lock
from customhouse.control.outside import Asked, Content, Outside, Pin, chart_of
from customhouse.control.unpacking import MAX_ARCHIVE
from customhouse.control.version_ranges import fits, newest, version_of
from customhouse.core.errors import ArtifactError, CustomhouseError, SourceError, UsageError
from customhouse.core.resource import Declaration, Location
from customhouse.trust.oci import Reference

_GO_ON = "merge that line of policy.trustedRegistries first, or name a revision that you trust: --base"
_ROUNDS = 10
"""A chart may hold objects that name further charts, and so on."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one thing that is named: `locked`, `updated`, `kept`, `pinned` (by the object), or `problem`."""

    asked: Asked
    where: str
    state: str
    before: Locked | None = None
    after: Locked | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """`{"source","chart","asked","where","state","before","after","problem"}`; versions with their digests."""
        return {
            "source": self.asked.source,
            "chart": self.asked.chart,
            "asked": self.asked.version or self.asked.tag or self.asked.digest,
            "where": self.where,
            "state": self.state,
            "before": _said(self.before),
            "after": _said(self.after),
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class LockOutcome:
    """The rows, the lines that went, and whether the file differs from what was there."""

    rows: tuple[Row, ...]
    gone: tuple[Locked, ...]
    changed: bool

    @property
    def complete(self) -> bool:
        """Whether everything that is named is there by digest."""
        return not any(row.problem for row in self.rows)


def lock(
    settings: Settings,
    repo: str,
    *,
    update: bool = False,
    only: Sequence[str] = (),
    check: bool = False,
    base: str | None = None,
) -> LockOutcome:
    """Bring customhouse.lock.yaml of a work tree up to date. With `check` nothing is written.

    `update` asks again for what is locked already; `only` names parts of addresses that are asked for again. What the
    work tree trusts and nothing that was reviewed does (`reviewed_registries`; `base` names that) gets no login, and
    with `check` no request: then a machine looks at a change of anybody's. Raises
    UsageError, ConfigError, DeclarationError; what cannot be resolved is a row with its problem.
    """
    root = Path(repo)
    if not root.is_dir():
        raise UsageError(f"{repo} is no folder", hint="--repo names a work tree: the file is written into it")
    tree = wiring.work_tree(settings, root)
    data = tree.read("worktree", FILE)
    trusted = () if data is None else read_configuration(data).trusted_registries
    written = tree.read("worktree", LOCK)
    before = dict({} if written is None else read_lock(written))
    trust = _Trust(trusted, common(trusted, _reviewed(settings, repo, base)), check)
    locking = _Locking(settings, trust, before, update=update, only=tuple(only))
    for _ in range(_ROUNDS):
        outside = Outside(locking.lines, trust.reviewed if check else trusted, lambda: locking)
        declarations_of(tree, "worktree", (), outside=outside)
        if not locking.resolve(outside.asked):
            break
    kept = {row.after.key: row.after for row in locking.rows.values() if row.after is not None}
    gone = tuple(line for key, line in sorted(before.items()) if key not in {one.key for one in locking.rows})
    # What could not be resolved keeps the line that it had: nobody asked for it to go.
    kept |= {
        row.before.key: row.before for row in locking.rows.values() if row.after is None and row.before is not None
    }
    made = write_lock(kept.values())
    changed = bool(kept or before) and made != written
    if changed and not check:
        draft = root / f".{LOCK}.{secrets.token_hex(6)}"  # that no link of the tree has
        draft.write_bytes(made)
        os.replace(draft, root / LOCK)
    return LockOutcome(tuple(locking.rows.values()), gone, changed)


@dataclass(frozen=True, slots=True)
class _Trust:
    """What the work tree trusts, what of it was reviewed, and whether nothing else may be asked."""

    own: Sequence[str]
    reviewed: Sequence[str]
    check: bool

    def require(self, place: str) -> None:
        """Raise UsageError for a place that may not be asked."""
        if not is_trusted(place, self.own):
            raise UsageError(
                f"{place or 'its address'} is not under policy.trustedRegistries of {FILE}",
                hint="have it added there, by a change of its own: only what the base revision trusts is fetched",
            )
        if self.check and not is_trusted(place, self.reviewed):
            raise UsageError(
                f"{place} is trusted by this change alone, so --check does not ask it: {_GO_ON}",
                hint="the base is the revision in force, else the first parent of HEAD",
            )

    def told(self, place: str) -> str:
        """What there is to know of an answer that is a refusal."""
        if self.check or not is_trusted(place, self.own) or is_trusted(place, self.reviewed):
            return ""
        return f" (asked without a login, since this change alone trusts it: {_GO_ON})"


def _reviewed(settings: Settings, repo: str, base: str | None) -> tuple[str, ...]:
    objects = wiring.commits(settings, repo)
    try:
        head = objects.resolve("HEAD")
    except SourceError:  # no commit yet
        return ()
    return reviewed_registries(settings, objects, head, base)


class _Locking:
    def __init__(
        self,
        settings: Settings,
        trust: _Trust,
        before: Mapping[Key, Locked],
        *,
        update: bool,
        only: Sequence[str],
    ) -> None:
        self._settings, self._trust, self._before = settings, trust, before
        self._fetchers = {
            known: CachedFetcher(partial(wiring_outside.means, settings, logins=known)) for known in (True, False)
        }
        self._update, self._only = update, only
        # What is asked for again need not be there any more as it was locked.
        self.lines = {key: line for key, line in before.items() if not self._is_due(line)}
        self.rows: dict[Asked, Row] = {}

    def content(self, pin: Pin) -> Content:
        """What is rendered here, as a Fetcher. Raises CannotDecideError."""
        return self._fetchers[self._is_reviewed(pin.source)].content(pin)

    def _is_reviewed(self, address: str) -> bool:
        return is_trusted(place_of(address), self._trust.reviewed)

    def resolve(self, asked: Mapping[Asked, tuple[Declaration, str]]) -> bool:
        """Look up what was not yet; whether a line is another one now."""
        changed = False
        for one, (item, pointer) in asked.items():
            if one in self.rows:
                continue
            row = self._row(one, str(item.locate(pointer)))
            self.rows[one] = row
            if row.after is not None and row.after != self.lines.get(one.key):
                self.lines[one.key] = row.after
                changed = True
        return changed

    def _row(self, asked: Asked, where: str) -> Row:
        line = self._before.get(asked.key)
        if asked.problem or not asked.place:
            return Row(asked, where, "problem", problem=asked.problem or f"{asked.source[:200]!r} is no address")
        try:
            self._trust.require(asked.place)
            if asked.digest:
                return Row(asked, where, "pinned")
            if line is not None and not self._is_due(asked):
                return Row(asked, where, "kept", line, line)
            found = self._resolved(asked)
        except CustomhouseError as error:
            return Row(asked, where, "problem", line, problem=f"{error}{self._trust.told(asked.place)}")
        if line is not None and (line.digest, line.url) == (found.digest, found.url):
            return Row(asked, where, "kept", line, line)
        return Row(asked, where, "locked" if line is None else "updated", line, found)

    def _is_due(self, asked: Asked | Locked) -> bool:
        named = any(part in f"{asked.source} {asked.chart}" for part in self._only)
        return named if self._only else self._update

    def _resolved(self, asked: Asked) -> Locked:
        """By digest, as the registry has it now; fetched, and read. Raises UsageError, ArtifactError."""
        if asked.chart:
            return self._of_repository(asked)
        reference = Reference.parse(asked.source)
        known = self._is_reviewed(asked.source)
        registry = wiring_outside.oci(self._settings, reference.host, logins=known)
        resolved = asked.tag
        if asked.version:
            exact = version_of(asked.version) is not None and fits(asked.version, asked.version)
            exact = exact and asked.version.count(".") >= 2
            tag = asked.version.replace("+", "_")
            if not exact or registry.tagged(reference.repository, tag) is None:
                offered = {name.replace("_", "+"): name for name in registry.tags(reference.repository)}
                version = newest(asked.version, offered)
                if version is None:
                    raise ArtifactError(f"no tag of it is {asked.version}", where=asked.source)
                tag = offered[version]
            resolved = tag.replace("_", "+")
        digest = registry.resolve(reference.repository, asked.tag or tag)
        return self._checked(asked, Locked(asked.source, resolved, digest, 0, "", asked.version, asked.tag))

    def _of_repository(self, asked: Asked) -> Locked:
        known = is_trusted(asked.place, self._trust.reviewed)
        charts = wiring_outside.charts(self._settings, logins=known)
        offered = {one.version: one for one in charts.offered(asked.source, asked.chart)}
        version = newest(asked.version, offered)
        if version is None:
            raise ArtifactError(f"no version of {asked.chart} is {asked.version}", where=asked.source)
        found = offered[version]
        place = place_of(found.url)
        if not place:
            raise ArtifactError(f"the address of {asked.chart} {version} cannot be read as one", where=shown(found.url))
        self._trust.require(place)
        data = wiring_outside.charts(self._settings, logins=self._is_reviewed(found.url)).archive(found.url)
        digest = bytes_digest(data)
        if found.digest and not same_digest(digest, found.digest):
            raise ArtifactError(f"the index says {found.digest}, and {digest} came", where=found.url)
        return self._checked(asked, Locked(asked.source, version, digest, 0, asked.chart, asked.version, "", found.url))

    def _checked(self, asked: Asked, line: Locked) -> Locked:
        """With its size; what it holds is what was asked for. Raises ArtifactError, DeclarationError."""
        pin = Pin(line.url or line.source, line.digest, asked.layer)
        data, _ = archive_of(wiring_outside.means(self._settings, logins=self._is_reviewed(pin.source)), pin)
        content = self.content(pin)
        if content.is_chart:
            place = Location(f"{line.url or line.source}")
            name, version = chart_of(content.files, place)
            wanted = asked.chart or asked.source.rpartition("/")[2]
            if asked.version and (name != wanted or not fits(asked.version, version)):
                raise ArtifactError(
                    f"it holds the chart {name} {version}, and {wanted} {asked.version} was asked for", where=str(place)
                )
        now = to_rfc3339(wiring.clock().now())
        return replace(line, size=min(len(data), MAX_ARCHIVE), locked=f"{now[:19]}Z")


def _said(line: Locked | None) -> dict[str, Any] | None:
    return None if line is None else {"version": line.resolved, "digest": line.digest, "size": line.size}
