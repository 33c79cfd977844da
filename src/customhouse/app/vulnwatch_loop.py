"""The watch as a step of `up`: notices what was imported or deployed, looks, and enters what is new."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse.app import journal, wiring
from customhouse.app.evidence_index import FOLDER, STAMP
from customhouse.app.memory import VULNERABILITIES
from customhouse.app.vulnerability_live import Pairs, key_of, undeclared, watched
from customhouse.core.errors import CustomhouseError
from customhouse.core.ledger import Entry
from customhouse.core.ports import PolicyEngine
from customhouse.core.resource import Declaration
from customhouse.trust.custody import Link, LinkKind, Node, NodeKind, entry

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane
    from customhouse.app.vulnerability_inventory import Running
    from customhouse.app.vulnwatch import Notice

_EVERY_S = 6 * 3600.0
"""How often everything is looked at although nothing is new: statements and waivers age."""
_ASK_S = 5.0
"""How often the advisories are asked for their newest import, whatever the file's dates say."""
_RETRY_S = 30.0
_MOST_SAID = 5
_MOST_KEPT = 20_000
"""Names of known vulnerabilities that are kept of one artifact."""


class VulnerabilityWatch:
    """`step` belongs to the control plane's loop. `notice` is what was found last, `problem` why nothing can be."""

    def __init__(self, plane: ControlPlane, live: Callable[[], Sequence[Declaration] | None] = lambda: None) -> None:
        """`live` gives what the audit saw last, None where it saw nothing: what is not declared is watched too."""
        self._plane = plane
        self._live = live
        self._pairs: Pairs = ()
        self._pairs_of: tuple[Any, ...] = (None, None)
        self._engine: PolicyEngine | None = None
        self._running: tuple[Running, ...] = ()
        self._seen: tuple[Any, ...] | None = None
        self._file: tuple[int, ...] = ()
        self._ask_at = self._all_at = 0.0
        self._found = self._denied = 0
        self.notice, self.problem = "", ""

    def step(self) -> None:
        """Look at what is new since the last step. Raises StateError when a notice cannot be entered."""
        plane, now = self._plane, self._plane.clock.monotonic()
        file = self._stat()
        if not file:
            self.problem = ""
            return  # no advisories were ever imported here: there is nothing to watch with
        deployed = plane.memory.deployed
        revision = None if deployed is None else deployed.revision
        try:
            scene = (revision, self._stamp(), self._besides(revision))
        except Exception as error:  # noqa: BLE001 - what lives in a cluster is anybody's, and what serves goes on
            plane.fault = traceback.format_exc()
            self.problem = f"what runs and is not declared is not watched: {error!r}"[:500]
            scene = (revision, self._stamp(), key_of(self._pairs))
        unchanged = scene == self._seen and file == self._file
        if now < self._ask_at and (unchanged or self.problem):
            return
        self._ask_at = now + _ASK_S
        try:
            notices, document = self._look(scene, now)
        except CustomhouseError as error:
            self.problem, self._ask_at = (
                f"what is deployed is not held against advisories: {error}"[:500],
                now + _RETRY_S,
            )
            return
        except Exception as error:  # noqa: BLE001 - what serves goes on whatever a bill or an advisory trips over; it is told
            plane.fault = traceback.format_exc()
            self.problem, self._ask_at = (
                f"internal error in the watch over vulnerabilities: {error!r}"[:500],
                now + _RETRY_S,
            )
            return
        self._seen, self._file = scene, file
        self.problem = ""
        if document is not None:
            plane.outbox.commit({VULNERABILITIES: document}, [found_entry(item, plane.clock.now()) for item in notices])
        if notices:
            plane.changes += 1
            more = f" (and {len(notices) - _MOST_SAID} more releases)" if len(notices) > _MOST_SAID else ""
            self.notice = " ".join(item.text for item in notices[:_MOST_SAID]) + more
        rows = (plane.memory.get(VULNERABILITIES) or {}).get("releases", {}).values()
        self._found = sum(row["count"] for row in rows)
        self._denied = sum(row["verdict"] == "deny" for row in rows)

    def metrics(self) -> str:
        """Prometheus text."""
        rows = (
            ("customhouse_vulnerabilities_deployed", "Known vulnerabilities in what is deployed.", self._found),
            ("customhouse_vulnerable_releases_denied", "Releases that would be denied for them now.", self._denied),
        )
        return "".join(f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {value}\n" for name, text, value in rows)

    def _stat(self) -> tuple[int, ...]:
        """What changes with every import: dates and sizes of the file and of its log; empty when there is none."""
        place = self._plane.settings.state / wiring.ADVISORIES_FILE
        found: list[int] = []
        for name in (place, place.with_name(f"{place.name}-wal")):
            try:
                told = name.stat()
            except OSError:
                continue
            found += [told.st_mtime_ns, told.st_size]
        return tuple(found) if place.exists() else ()

    def _stamp(self) -> int:
        """When evidence was last filed from a registry."""
        try:
            return (self._plane.settings.state / FOLDER / STAMP).stat().st_mtime_ns
        except OSError:
            return 0

    def _besides(self, revision: str | None) -> frozenset[Any]:
        """What runs and is not declared, by name. An audit that failed takes nothing away: what it saw last stays."""
        live = self._live()
        if live is None or revision is None:
            return key_of(self._pairs)
        known, of = self._pairs_of
        if known is not live or of != revision:
            self._pairs = undeclared(self._plane.governing(), self._plane.declared(), live)
            self._pairs_of = (live, revision)
        return key_of(self._pairs)

    def _look(self, scene: tuple[Any, ...], now: float) -> tuple[list[Notice], dict[str, Any] | None]:
        """What is new, and the document to be kept; None where it is as it was."""
        from customhouse.app.vulnwatch import touched

        plane = self._plane
        before: Mapping[str, Any] = plane.memory.get(VULNERABILITIES) or {"number": 0, "releases": {}}
        with wiring.advisories(plane.settings) as store:
            number = store.number()
            fresh = store.touched_since(before["number"]) if number > before["number"] else frozenset()
        whole = now >= self._all_at or number < before["number"]
        chosen: Sequence[Running]
        if scene != self._seen or whole:
            # A revision may bring releases, and waivers, statements and rules for those that are there.
            self._running = chosen = self._inventory()
        else:
            chosen = touched(self._running, fresh)
        notices, releases = self._told(chosen, before["releases"])
        here = {item.key for item in self._running}
        # Until the first audit has told what runs besides, what was known of that stays known.
        waits = self._pairs_of[0] is None and plane.governing().configuration.audit.every_minutes is not None
        stay = {key for key, row in before["releases"].items() if key in here or (waits and row.get("besides"))}
        kept = {key: row for key, row in before["releases"].items() if key in stay} | releases
        if whole:
            self._all_at = now + _EVERY_S
        document = {"number": number, "releases": kept}
        return notices, None if document == before else document

    def _inventory(self) -> tuple[Running, ...]:
        from customhouse.app.vulnerability_inventory import files_of, inventory

        plane = self._plane
        deployed = plane.memory.deployed
        if deployed is None:
            return ()
        governing = plane.governing()
        files = files_of(plane.source, deployed.revision, plane.settings.state, governing, plane.clock)
        now = plane.clock.now()
        return (*inventory(governing, plane.declared(), files, now), *watched(governing, self._pairs, files, now))

    def _told(
        self, chosen: Iterable[Running], before: Mapping[str, Any]
    ) -> tuple[list[Notice], dict[str, dict[str, Any]]]:
        from customhouse.app.vulnwatch import Watch

        plane, moment = self._plane, self._plane.clock.now()
        if self._engine is None:
            self._engine = wiring.engine(plane.settings)
        watch = Watch(plane.settings, plane.governing(), self._engine)
        notices, rows = [], {}
        for item in chosen:
            row = before.get(item.key) or {}
            notice = watch.look(item, row.get("names", {}), moment)
            rows[item.key] = _kept(item, notice)
            if notice is not None and notice.new:
                notices.append(notice)
        return notices, rows


def _kept(item: Running, notice: Notice | None) -> dict[str, Any]:
    """What is remembered of an artifact: what is known of it now, and what its release was judged."""
    from customhouse.app.vulnwatch import described, place_of

    found = () if notice is None else (*notice.new, *notice.known)
    names: dict[str, list[str]] = {}
    for one in found[:_MOST_KEPT]:
        names.setdefault(place_of(one), []).extend(one.names)
    return {
        "artifact": item.artifact.digest,
        "release": item.release,
        "resource": item.declaration.ref.to_json(),
        "count": len(found),
        "names": names,
        "verdict": "" if notice is None else notice.verdict,
        "worst": [described(one) for one in found[:3]],
        "gaps": list(item.gaps[:3]),
        **({} if item.declared else {"besides": True}),
    }


def found_entry(notice: Notice, at: datetime) -> Entry:
    """The Entry of a notice. Its key is what became known of what: a step that is repeated writes nothing twice."""
    told = notice.to_json()
    running = notice.running
    ref, digest = running.declaration.ref, running.artifact.digest or ""
    about = Node.of(NodeKind.MODEL if running.artifact.role == "model" else NodeKind.IMAGE, digest)
    body = {**told, "text": notice.text[:1000], "advisories": notice.report.store}
    names = sorted(f"{item.id} {item.package} {item.version}" for item in notice.new)
    key = f"vulnerability:{ref}:{running.release}:{digest}:{json_digest([to_rfc3339(at)[:10], *names])}"
    nodes, links = [about], []
    if running.declared:
        node = journal.deployment_node(ref, running.release)
        nodes, links = [about, node], [Link.between(about, node, LinkKind.SERVED_AS)]
    return entry("vulnerability-found", key, at, journal.ACTOR, nodes=nodes, links=links, body=body)
