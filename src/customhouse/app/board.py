"""The board: builds the Overview of a control plane, of one that runs or of a state directory that lies there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money, total
from customhouse.app.clearance import labels_of, monthly_total
from customhouse.app.controlplane import ControlPlane, release_name
from customhouse.app.memory import PENDING, PROPOSAL, key_of
from customhouse.app.overview import BudgetRow, Costs, DecisionRow, EventRow, Overview, ProposalRow, ReleaseRow
from customhouse.app.proposals import open_proposals
from customhouse.app.spend import HISTORY, forecast_month
from customhouse.core.cost import HOURS_PER_MONTH, Charge
from customhouse.core.observation import Observation
from customhouse.core.plan import LiveObject
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.core.workload import workload
from customhouse.observability.allocate import unit_cost
from customhouse.observability.budgets import budget_state, month_of
from customhouse.observability.estimate import workload_cost
from customhouse.observability.telemetry import window

_ROWS = 50
_EVENTS = 30


def overview(plane: ControlPlane) -> Overview:
    """The picture now. To be called by the thread that runs the control plane."""
    deployed = plane.memory.deployed
    checkpoint = plane.store.ledger.latest_checkpoint()
    size = plane.store.ledger.size()
    state = "waiting" if deployed is None else "refused" if plane.problem else "following"
    if plane.rollouts.walks():
        state = "canary"
    declared = plane.declared()
    return Overview(
        at=to_rfc3339(plane.clock.now()),
        repository=plane.location,
        branch=plane.branch,
        head=plane.head,
        deployed="" if deployed is None else deployed.revision,
        state=state,
        problem=plane.problem,
        gateway=f"127.0.0.1:{plane.target.port}" if plane.target.port else "",
        ledger_size=size,
        ledger_root="" if checkpoint is None else checkpoint.root.hex(),
        releases=tuple(_releases(plane, declared)),
        decisions=tuple(_decisions(plane)),
        costs=_costs(plane, declared),
        events=tuple(_events(plane, size)),
        proposals=tuple(
            ProposalRow(value["id"], value["branch"], value["title"], value["saving"], value["risk"])
            for value in open_proposals(plane.memory.all(PROPOSAL), declared)
        ),
    )


def _releases(plane: ControlPlane, declared: Sequence[Declaration]) -> Iterator[ReleaseRow]:
    """First what runs, then what ran: each release once, with its latest phase."""
    now = plane.clock.now()
    charges: dict[tuple[ResourceRef, str], list[Charge]] = defaultdict(list)
    start, _ = month_of(now)
    for charge in plane.store.measurements.charges(to_rfc3339(start)):
        charges[charge.resource, charge.release].append(charge)
    scene = _Scene(plane, plane.target.observe(), charges, now)
    shown: set[tuple[ResourceRef, str]] = set()
    for declaration in declared:
        if workload(declaration.manifest, declaration.ref) is None:
            continue
        release = release_name(declaration)
        pending = plane.memory.get(key_of(PENDING, declaration.ref))
        walking = declaration.ref in plane.rollouts.walks()
        if pending is not None and pending["release"] == release:
            shown.add((declaration.ref, release))
            phase = "canary" if walking else "pending"
            yield _row(scene, declaration.ref, pending, phase)
    for found in plane.store.releases.history(limit=_ROWS):
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
        yield _row(scene, found.resource, value, found.phase.value)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every row is read from: one moment."""

    plane: ControlPlane
    observations: Sequence[Observation]
    charges: Mapping[tuple[ResourceRef, str], Sequence[Charge]]
    now: datetime


def _row(scene: _Scene, ref: ResourceRef, value: Mapping[str, str], phase: str) -> ReleaseRow:
    release, live, now = value["release"], scene.plane.live.get(ref), scene.now
    weights = _weights(live)
    serving = ref.kind != "InferenceService" or release in weights
    # Counters of the target are cumulative: over all time they are what it has counted so far.
    stats = window(scene.observations, ref, release, now - timedelta(days=3650), now + timedelta(seconds=1))
    charged = scene.charges.get((ref, release), ())
    unit = unit_cost(total(charge.amount for charge in charged), stats.requests) if charged else None
    return ReleaseRow(
        name=ref.name,
        namespace=ref.namespace,
        kind=ref.kind,
        release=release,
        artifact=value["artifact"],
        revision=value["revision"],
        author=value["author"].partition(" <")[0],
        phase=phase,
        health=live.health.status.value if live is not None and serving else "",
        message=value.get("reason", "") or (live.health.message if live is not None and serving else ""),
        weight=weights.get(release) if ref.kind == "InferenceService" else None,
        requests=stats.requests,
        errors=stats.errors,
        p95_ms=None if stats.p95 is None else round(stats.p95 * 1000, 3),
        per_hour=_per_hour(scene.plane, ref, release) if serving else None,
        per_thousand_predictions=None if unit is None else unit.rounded(6),
        at=value.get("at", to_rfc3339(now)),
    )


def _weights(live: LiveObject | None) -> dict[str, int]:
    if live is None:
        return {}
    traffic = live.status.get("components", {}).get("predictor", {}).get("traffic", ())
    return {item["revisionName"]: item["percent"] for item in traffic}


def _per_hour(plane: ControlPlane, ref: ResourceRef, release: str) -> str | None:
    found = plane.memory.get(f"release/{release}")
    work = None if found is None else workload(found["manifest"], ref)
    if work is None or work.batch:
        return None
    governing = plane.governing()
    monthly = workload_cost(work, governing.book, governing.prices, found["manifest"]).monthly
    return monthly.scale(1, HOURS_PER_MONTH).rounded(4)


def _decisions(plane: ControlPlane) -> Iterator[DecisionRow]:
    for item in plane.store.decisions.recent(_ROWS):
        body, envelope = item["body"], item["envelope"]
        resource = envelope["resource"]
        findings = [finding for finding in body["findings"] if finding["waiver"] is None]
        yield DecisionRow(
            digest=item["digest"],
            at=envelope["decided_at"],
            verdict=body["verdict"],
            point=envelope["point"],
            resource=f"{resource['kind']} {resource['namespace']}/{resource['name']}",
            revision=envelope["revision"] or "",
            findings=len(findings),
            reason=findings[0]["message"] if findings else "",
        )


def _costs(plane: ControlPlane, declared: Sequence[Declaration]) -> Costs | None:
    governing, now = plane.governing(), plane.clock.now()
    charges = plane.store.measurements.charges(to_rfc3339(now - HISTORY))
    start, _ = month_of(now)
    month = [charge for charge in charges if charge.start >= start]
    monthly = monthly_total(governing, declared)
    forecast = forecast_month(charges, monthly, now)
    book = governing.book.reference(governing.prices.provider, governing.prices.region)
    budgets = []
    for budget in governing.budgets:
        covered = [item for item in declared if budget.covers(item.ref, labels_of(item))]
        rest = forecast_month([], monthly_total(governing, covered), now).rest
        state = budget_state(budget, month, rest, now)
        budgets.append(
            BudgetRow(
                state.name,
                state.limit.rounded(),
                state.month_to_date.rounded(4),
                state.forecast.rounded(),
                state.left.rounded(),
            )
        )
    return Costs(
        currency="USD",
        month_to_date=_exact(month).rounded(6),
        month_forecast=forecast.total.rounded(),
        month_low=forecast.low.rounded(),
        month_high=forecast.high.rounded(),
        declared_monthly=monthly.rounded(),
        book=book.digest,
        book_as_of=book.as_of[:10],
        unpriced=tuple(sorted({charge.release[:19] for charge in month if charge.category == "unpriced"})),
        budgets=tuple(budgets),
    )


def _exact(charges: Sequence[Charge]) -> Money:
    return total((charge.amount for charge in charges), "USD")


def _events(plane: ControlPlane, size: int) -> Iterator[EventRow]:
    found = list(islice(plane.ledger.entries(max(0, size - _EVENTS)), _EVENTS))
    for index, entry in reversed(found):
        text = str(entry.body.get("text", "")) or ", ".join(entry.subjects)[:200]
        yield EventRow(index, to_rfc3339(entry.at), entry.kind, entry.actor.partition(" <")[0], text)
