"""The releases of a board: what runs and what ran, each release once, with what it was asked and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import total
from customhouse.app.controlplane import ControlPlane, release_name
from customhouse.app.governance import Governance
from customhouse.app.memory import PENDING, RELEASE, VULNERABILITIES, ref_of
from customhouse.app.overview import ReleaseRow
from customhouse.app.releaseevidence import ReleaseEvidence, vulnerable
from customhouse.core.cost import HOURS_PER_MONTH, Charge
from customhouse.core.errors import CustomhouseError
from customhouse.core.observation import Observation
from customhouse.core.plan import LiveObject
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.core.workload import Workload, workload
from customhouse.observability.allocate import unit_cost
from customhouse.observability.estimate import workload_cost
from customhouse.observability.telemetry import window

_ROWS = 50
_COMING = 200
"""Releases on their way that are shown at once: a page of thousands is read by nobody, and is made every second."""
_JOB_STATES = {"Healthy": "complete", "Degraded": "failed", "Suspended": "suspended", "Progressing": "running"}
_OVERTAKEN = "replaced by "
"""How `app.succession` begins the reason of a release that a later commit replaced during its canary."""
_STATES = {
    RolloutPhase.PENDING.value: "starting",
    RolloutPhase.CANARY.value: "canary",
    RolloutPhase.ROLLED_BACK.value: "rolled back",
}


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every row is read from: one moment."""

    observations: Mapping[tuple[ResourceRef, str], Sequence[Observation]]
    charges: Mapping[tuple[ResourceRef, str], Sequence[Charge]]
    declared: Collection[ResourceRef]
    now: datetime
    governing: Governance
    prices: tuple[object, ...]
    """By which the releases are priced: few commits bring others."""
    remembered: Mapping[str, Any] | None
    before: Mapping[tuple[ResourceRef, str], tuple[tuple[Any, ...], ReleaseRow]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a release is, which never changes: its name says so."""

    work: Workload | None
    version: str
    source: str
    manifest: Mapping[str, Any]


class ReleaseRows:
    """Reads the releases of one control plane."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._evidence = ReleaseEvidence(plane.store.decisions)
        self._known: dict[tuple[ResourceRef, str], _Known] = {}
        self._by_ref: tuple[Sequence[Declaration], Mapping[ResourceRef, Declaration]] = ((), {})
        self._names: dict[ResourceRef, tuple[Declaration, str]] = {}
        self._prices: tuple[tuple[object, ...], dict[tuple[ResourceRef, str], str | None]] = ((), {})
        self._made: dict[tuple[ResourceRef, str], tuple[tuple[Any, ...], ReleaseRow]] = {}
        """Rows of the last picture that nothing was measured of, with all that they were made of."""

    def rows(self, declared: Sequence[Declaration], charges: Iterable[Charge], now: datetime) -> Iterator[ReleaseRow]:
        """First what is on its way, then what ran, the newest first: each release with its latest phase.

        `charges` are those of this month.
        """
        by_release: dict[tuple[ResourceRef, str], list[Charge]] = defaultdict(list)
        for charge in charges:
            by_release[charge.resource, charge.release].append(charge)
        seen: dict[tuple[ResourceRef, str], list[Observation]] = defaultdict(list)
        for observation in self._plane.target.observe():
            seen[observation.resource, observation.release].append(observation)
        if self._by_ref[0] is not declared:
            self._by_ref = (declared, {item.ref: item for item in declared})
        by_ref = self._by_ref[1]
        before, self._made = self._made, {}
        governing, remembered = self._plane.governing(), self._plane.memory.get(VULNERABILITIES)
        prices = (governing.book.reference(governing.prices.provider, governing.prices.region), governing.prices)
        if self._prices[0] != prices:
            self._prices = (prices, {})
        scene = _Scene(seen, by_release, by_ref.keys(), now, governing, prices, remembered, before)
        shown: set[tuple[ResourceRef, str]] = set()
        walks = self._plane.rollouts.walks()
        for coming in self._plane.memory.all(PENDING).values():
            declaration = by_ref.get(ref_of(coming["resource"]))
            if declaration is not None and coming["release"] == self._name(declaration):
                shown.add((declaration.ref, coming["release"]))
                phase = RolloutPhase.CANARY if declaration.ref in walks else RolloutPhase.PENDING
                yield self._row(scene, declaration.ref, coming, phase.value)
                if len(shown) == _COMING:
                    break
        for found in self._plane.store.releases.history(limit=_ROWS):
            key = (found.resource, found.release)
            if key in shown:
                continue
            shown.add(key)
            value = {
                "release": found.release,
                "artifact": found.artifact,
                "revision": found.revision,
                "author": found.author,
                "reason": found.reason,
                "at": to_rfc3339(found.at),
            }
            yield self._row(scene, found.resource, value, found.phase.value)

    def _name(self, declaration: Declaration) -> str:
        known = self._names.get(declaration.ref)
        if known is None or known[0] is not declaration:
            known = self._names[declaration.ref] = (declaration, release_name(declaration))
        return known[1]

    def _row(self, scene: _Scene, ref: ResourceRef, value: Mapping[str, str], phase: str) -> ReleaseRow:
        key, live = (ref, value["release"]), self._plane.live.get(ref)
        if scene.observations.get(key) or scene.charges.get(key) or "at" not in value:
            return self._new_row(scene, ref, value, phase)
        # Compared, not only looked at: what is read from the store is another object each time.
        made_of = (value, phase, live, scene.prices, ref in scene.declared, self._plane.target.port, scene.remembered)
        known = scene.before.get(key)
        if known is None or known[0] != made_of:
            known = (made_of, self._new_row(scene, ref, value, phase))
        if key in self._known:  # what is not told of a release yet may be told later
            self._made[key] = known
        return known[1]

    def _new_row(self, scene: _Scene, ref: ResourceRef, value: Mapping[str, str], phase: str) -> ReleaseRow:
        release, live, now = value["release"], self._plane.live.get(ref), scene.now
        weights = _weights(live)
        service = ref.kind == "InferenceService"
        serving = not service or release in weights
        health = live.health if live is not None and serving else None
        # Counters of the target are cumulative: over all time they are what it has counted so far.
        seen = scene.observations.get((ref, release), ())
        stats = window(seen, ref, release, now - timedelta(days=3650), now + timedelta(seconds=1))
        charged = scene.charges.get((ref, release), ())
        amount = total(charge.amount for charge in charged)
        unit = unit_cost(amount, stats.requests) if charged else None
        known = self._what(ref, release)
        weight = weights.get(release) if service else None
        state = _state(ref, phase, weight, health.status.value if health is not None else "")
        if state == "rolled back" and value.get("reason", "").startswith(_OVERTAKEN):
            state = "replaced"
        return ReleaseRow(
            name=ref.name,
            namespace=ref.namespace,
            kind=ref.kind,
            release=release,
            artifact=value["artifact"],
            revision=value["revision"],
            author=value["author"].partition(" <")[0],
            phase=phase,
            health=health.status.value if health is not None else "",
            message=value.get("reason", "") or (health.message if health is not None else ""),
            weight=weight,
            requests=stats.requests,
            errors=stats.errors,
            p95_ms=None if stats.p95 is None else round(stats.p95 * 1000, 3),
            per_hour=self._per_hour(scene.governing, ref, release, known) if serving else None,
            per_thousand_predictions=None if unit is None else unit.rounded(6),
            at=value.get("at", to_rfc3339(now)),
            version=known.version,
            source=known.source,
            state="removed" if ref not in scene.declared and state != "rolled back" else state,
            charged=str(amount),
            endpoint=self._endpoint(ref) if weight else "",
            evidence=self._evidence.of(ref, value["revision"], value["artifact"]) if value["artifact"] else (),
            vulnerabilities=vulnerable(scene.remembered, ref, release),
        )

    def _what(self, ref: ResourceRef, release: str) -> _Known:
        if (ref, release) not in self._known:
            found = self._plane.memory.get(f"{RELEASE}{release}")
            if found is None:
                return _Known(None, "", "", {})
            self._known[ref, release] = _known(ref, found["manifest"])
        return self._known[ref, release]

    def _per_hour(self, governing: Governance, ref: ResourceRef, release: str, known: _Known) -> str | None:
        if known.work is None or known.work.batch:
            return None
        prices = self._prices[1]
        if (ref, release) not in prices:
            monthly = workload_cost(known.work, governing.book, governing.prices, known.manifest).monthly
            prices[ref, release] = monthly.scale(1, HOURS_PER_MONTH).rounded(4)
        return prices[ref, release]

    def _endpoint(self, ref: ResourceRef) -> str:
        port = self._plane.target.port
        return f"http://127.0.0.1:{port}/{ref.namespace}/{ref.name}/v2/models/{ref.name}" if port else ""


def _known(ref: ResourceRef, manifest: Mapping[str, Any]) -> _Known:
    try:
        work = workload(manifest, ref)
    except CustomhouseError:
        work = None
    artifacts = () if work is None else work.artifacts
    model = next((item.reference for item in artifacts if item.role == "model"), "")
    if model:
        return _Known(work, model.partition("@")[0].rstrip("/").rpartition("/")[2], model, manifest)
    image = next((item.reference for item in artifacts if item.role == "image"), "")
    return _Known(work, image.partition("@")[0].rpartition("/")[2], image, manifest)


def _state(ref: ResourceRef, phase: str, weight: int | None, health: str) -> str:
    if ref.kind == "Job":
        return _JOB_STATES.get(health, "complete" if phase == RolloutPhase.PROMOTED.value else "starting")
    if phase != RolloutPhase.PROMOTED.value:
        return _STATES[phase]
    if ref.kind != "InferenceService":
        return "running"
    return "serving" if weight else "replaced"


def _weights(live: LiveObject | None) -> dict[str, int]:
    if live is None:
        return {}
    traffic = live.status.get("components", {}).get("predictor", {}).get("traffic", ())
    return {item["revisionName"]: item["percent"] for item in traffic}
