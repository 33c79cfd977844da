"""`customhouse vuln watch`: the watch without a control plane, over what a revision declares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.app import wiring
from customhouse.app.declared import declarations_of
from customhouse.app.governance import Governance, governance
from customhouse.app.settings import Settings
from customhouse.app.vulnerability_inventory import Files, Running, files_of, inventory
from customhouse.app.vulnerability_live import (
    DEFAULT,
    ClusterWish,
    Pairs,
    everywhere,
    key_of,
    live_now,
    undeclared,
    watched,
)
from customhouse.app.vulnwatch import Notice, Watch, place_of, touched
from customhouse.core.resource import Declaration
from customhouse.core.vulnerability import MAX_AGE_DAYS

_PAUSE_S = 1.0
LIVE_S = 60.0
"""Seconds between two questions to the cluster."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found; `open` says in sentences what could not be looked at, and which advisories are old."""

    notices: tuple[Notice, ...]
    looked_at: int
    open: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """`{"notices","looked_at","open"}`."""
        return {
            "notices": [item.to_json() for item in self.notices],
            "looked_at": self.looked_at,
            "open": list(self.open),
        }


def look_once(settings: Settings, repo: str, revision: str, db: str | None = None, wish: ClusterWish = DEFAULT) -> Seen:
    """Everything that a revision declares, and what runs besides where a cluster is asked.

    Raises SourceError, ConfigError, and StateError without advisories.
    """
    scene = _scene(settings, repo, revision)
    governing = scene.governing
    opened = wish.opened(settings, governing.configuration)
    seen, unseen = live_now(opened)
    live = everywhere(seen)
    running = scene.running(undeclared(governing, scene.declared, live))
    now = wiring.clock().now()
    with wiring.advisories(settings, db) as store:
        fresh = store.freshness()
    watch = Watch(settings, governing, wiring.engine(settings), db)
    found = [notice for item in running if (notice := watch.look(item, {}, now)) is not None and notice.new]
    left = [*unseen, *(text for item in running for text in gaps_of(item))]
    stale = [item for item in fresh if item.is_stale(now, MAX_AGE_DAYS)]
    left += [f"the advisories of {item.ecosystem} are older than {MAX_AGE_DAYS} days" for item in stale]
    order = {"deny": 0, "unknown": 1, "warn": 2, "allow": 3}
    notices = sorted(found, key=lambda item: (order[item.verdict], item.running.name, item.running.artifact.reference))
    return Seen(tuple(notices), sum(bool(item.packages) for item in running), tuple(dict.fromkeys(left)))


def gaps_of(item: Running) -> Iterator[str]:
    """In sentences why an artifact is not, or not wholly, watched."""
    where = item.artifact.reference if item.declared else f"{item.artifact.reference} runs and is not declared"
    yield from (f"{item.name}: {where}: {gap}" for gap in item.gaps)


def keep_watching(
    settings: Settings,
    repo: str,
    revision: str,
    db: str | None,
    on_problem: Callable[[str], None],
    wish: ClusterWish = DEFAULT,
) -> Iterator[Notice]:
    """What is found at first, and then what each import of advisories, or new commit, brings; until it is interrupted.

    What runs is asked anew every LIVE_S seconds. Raises what `look_once` does.
    """
    known: dict[str, dict[str, list[str]]] = {}
    commit, before = "", -1
    told = ""
    scene: _Scene | None = None
    running: tuple[Running, ...] = ()
    pairs: Pairs = ()
    seen: Mapping[str, tuple[Declaration, ...]] = {}
    unseen: tuple[str, ...] = ()
    ask_at, clock = 0.0, wiring.clock()
    engine = wiring.engine(settings)
    while True:
        resolved = wiring.commits(settings, repo).resolve(revision)
        with wiring.advisories(settings, db) as store:
            number = store.number()
            fresh = store.touched_since(before) if number > before >= 0 else frozenset()
        anew = resolved != commit or scene is None
        if anew or scene is None:
            scene = _scene(settings, repo, resolved)
        opened = wish.opened(settings, scene.governing.configuration)
        if opened and (anew or clock.monotonic() >= ask_at):
            (found, unseen), ask_at = live_now(opened), clock.monotonic() + LIVE_S
            # Of a cluster that does not answer, what was seen last goes on being watched.
            seen = {name: items for name, items in {**seen, **found}.items() if name in opened}
            if found:
                besides = undeclared(scene.governing, scene.declared, everywhere(seen))
                anew, pairs = anew or key_of(besides) != key_of(pairs), besides
        if anew:
            running = scene.running(pairs)
        chosen = running if anew else touched(running, fresh)
        gaps = "; ".join([*unseen, *(text for item in running for text in list(gaps_of(item))[:1])])
        if gaps != told:
            told = gaps
            on_problem(f"not watched: {gaps}" if gaps else "everything is watched now")
        watch, now = Watch(settings, scene.governing, engine, db), clock.now()
        for item in chosen:
            names = known.setdefault(item.key, {})
            notice = watch.look(item, names, now)
            if notice is not None and notice.new:
                for one in notice.new:
                    names.setdefault(place_of(one), []).extend(one.names)
                yield notice
        commit, before = resolved, number
        time.sleep(_PAUSE_S)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a revision declares, and where its evidence is."""

    governing: Governance
    declared: tuple[Declaration, ...]
    files: Files

    def running(self, pairs: Pairs) -> tuple[Running, ...]:
        """What is declared, and what runs besides."""
        now = wiring.clock().now()
        besides = watched(self.governing, pairs, self.files, now)
        return (*inventory(self.governing, self.declared, self.files, now), *besides)


def _scene(settings: Settings, repo: str, revision: str) -> _Scene:
    tree = wiring.commits(settings, repo)
    commit = tree.resolve(revision)
    governing = governance(tree, commit, settings.config, wiring.shelf(settings))
    configuration = governing.configuration
    declared = declarations_of(tree, commit, configuration.paths, configuration.render)
    return _Scene(governing, tuple(declared), files_of(tree, commit, settings.state, governing, wiring.clock()))
