"""`customhouse vuln watch`: the watch without a control plane, over what a revision declares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from customhouse.app import wiring
from customhouse.app.declared import declarations_of
from customhouse.app.governance import Governance, governance
from customhouse.app.settings import Settings
from customhouse.app.vulnerability_inventory import Running, files_of, inventory
from customhouse.app.vulnwatch import Notice, Watch, place_of, touched
from customhouse.core.vulnerability import MAX_AGE_DAYS

_PAUSE_S = 1.0


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


def look_once(settings: Settings, repo: str, revision: str, db: str | None = None) -> Seen:
    """Everything that a revision declares. Raises SourceError, ConfigError, and StateError without advisories."""
    governing, running = _scene(settings, repo, revision)
    now = wiring.clock().now()
    with wiring.advisories(settings, db) as store:
        fresh = store.freshness()
    watch = Watch(settings, governing, wiring.engine(settings), db)
    found = [notice for item in running if (notice := watch.look(item, {}, now)) is not None and notice.new]
    left = [f"{item.name}: {item.artifact.reference}: {gap}" for item in running for gap in item.gaps]
    stale = [item for item in fresh if item.is_stale(now, MAX_AGE_DAYS)]
    left += [f"the advisories of {item.ecosystem} are older than {MAX_AGE_DAYS} days" for item in stale]
    order = {"deny": 0, "unknown": 1, "warn": 2, "allow": 3}
    notices = sorted(found, key=lambda item: (order[item.verdict], item.running.name, item.running.artifact.reference))
    return Seen(tuple(notices), sum(bool(item.packages) for item in running), tuple(dict.fromkeys(left)))


def keep_watching(
    settings: Settings, repo: str, revision: str, db: str | None, on_problem: Callable[[str], None]
) -> Iterator[Notice]:
    """What is found at first, and then what each import of advisories, or new commit, brings; until it is interrupted.

    Raises what `look_once` does.
    """
    known: dict[str, dict[str, list[str]]] = {}
    scene: tuple[str, int] = ("", -1)
    told = ""
    running: tuple[Running, ...] = ()
    governing: Governance | None = None
    engine = wiring.engine(settings)
    while True:
        commit = wiring.commits(settings, repo).resolve(revision)
        with wiring.advisories(settings, db) as store:
            number = store.number()
            fresh = store.touched_since(scene[1]) if number > scene[1] >= 0 else frozenset()
        if commit != scene[0] or governing is None:
            governing, running = _scene(settings, repo, commit)
            chosen = running
            gaps = "; ".join(f"{item.name}: {gap}" for item in running for gap in item.gaps[:1])
            if gaps != told:
                told = gaps
                on_problem(f"not watched: {gaps}" if gaps else "everything is watched now")
        else:
            chosen = touched(running, fresh)
        watch, now = Watch(settings, governing, engine, db), wiring.clock().now()
        for item in chosen:
            names = known.setdefault(item.key, {})
            notice = watch.look(item, names, now)
            if notice is not None and notice.new:
                for one in notice.new:
                    names.setdefault(place_of(one), []).extend(one.names)
                yield notice
        scene = (commit, number)
        time.sleep(_PAUSE_S)


def _scene(settings: Settings, repo: str, revision: str) -> tuple[Governance, tuple[Running, ...]]:
    tree = wiring.commits(settings, repo)
    commit = tree.resolve(revision)
    governing = governance(tree, commit, settings.config, wiring.shelf(settings))
    configuration = governing.configuration
    declared = declarations_of(tree, commit, configuration.paths, configuration.render)
    clock = wiring.clock()
    files = files_of(tree, commit, settings.state, governing, clock)
    return governing, inventory(governing, declared, files, clock.now())
