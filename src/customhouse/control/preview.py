"""Preview: what a step of convergence would do, without doing it: `customhouse plan` on a cluster.

Everything is asked by dry runs, also of objects that do not exist yet. What cannot be tried, since its namespace or its
kind arrives by the same plan, is tried as far as that goes and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from customhouse.control import drift as drifting
from customhouse.control.additions import found_additions, removable
from customhouse.control.drift import FieldDrift
from customhouse.control.plan import keeps
from customhouse.control.pruning import foreign, too_many
from customhouse.control.sealed import is_sealed
from customhouse.control.shaping import shaped, unspared
from customhouse.control.stages import Wanted, in_place, scaled, stage_of
from customhouse.control.tracked import Tracked
from customhouse.core.cluster import Apply, Cluster, Refusal, Written, managers_of
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import Key, fingerprint

_AT_ONCE = 500


class Step(StrEnum):
    """What would be done with one object."""

    CREATE = "create"
    PATCH = "patch"
    ADOPT = "adopt"
    """It is there and was not applied from here: it would be from then on, changed by `fields`."""
    DELETE = "delete"
    REFUSED = "refused"
    """The API, or its admission, says no to what is declared."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One object that would not be left as it is."""

    step: Step
    ref: ResourceRef
    fields: tuple[FieldDrift, ...] = ()
    note: str = ""


def preview(cluster: Cluster, wanted: Sequence[Wanted], entries: Mapping[Key, Tracked]) -> Iterator[Planned]:
    """What would be applied, in that order. Raises TargetError when the API is out of reach."""
    ordered = sorted(wanted, key=lambda item: (item.order, item.ref))
    namespaces = {item.ref.name for item in wanted if item.ref.kind == "Namespace"}
    others = scaled([item.declaration for item in wanted])
    for start in range(0, len(ordered), _AT_ONCE):
        part = [item for item in ordered[start : start + _AT_ONCE] if not item.hold]
        lives = cluster.get([item.ref for item in part])
        both = list(zip(part, lives, strict=True))
        sent = [shaped(item, live, scaled=item.key in others, look=True) for item, live in both]
        answers = cluster.write([Apply(manifest, force=True, dry_run=True) for manifest in sent])
        for item, live, answer in zip(part, lives, answers, strict=True):
            if item.care.hook is not None:
                yield from _hooked(item, entries.get(item.key))
            elif live is None:
                yield _made(cluster, item, answer, namespaces)
            elif (found := _altered(cluster, item, live, answer, entries.get(item.key))) is not None:
                yield found


def _hooked(item: Wanted, entry: Tracked | None) -> Iterator[Planned]:
    """A hook is run when what it goes with is new; what it was run for, only a store knows."""
    if entry is None or (entry.digest and entry.digest != item.digest):
        when = "when another hook fails" if item.dormant else "as what it goes with has changed"
        yield Planned(Step.CREATE, item.ref, note=f"a hook: it is run {when}")


def _made(cluster: Cluster, item: Wanted, answer: Written, namespaces: set[str]) -> Planned:
    note = ""
    if answer.refusal is Refusal.NO_NAMESPACE and item.ref.namespace in namespaces:
        # Its namespace comes with it: what the API thinks of the object itself is asked elsewhere.
        metadata = {**item.declaration.manifest["metadata"], "namespace": "default"}
        elsewhere = {**item.declaration.manifest, "metadata": metadata}
        (answer,) = cluster.write([Apply(elsewhere, force=True, dry_run=True)])
        note = f"with its namespace {item.ref.namespace}"
    if answer.ok:
        return Planned(Step.CREATE, item.ref, note=note)
    if answer.refusal is Refusal.NO_KIND:
        return Planned(Step.CREATE, item.ref, note="the API serves no such kind yet, so it could not be tried")
    return Planned(Step.REFUSED, item.ref, note=answer.problem)


def _altered(cluster: Cluster, item: Wanted, live: Manifest, answer: Written, entry: Tracked | None) -> Planned | None:
    if not answer.ok or answer.manifest is None:
        return Planned(Step.REFUSED, item.ref, note=answer.problem)
    same = fingerprint(answer.manifest) == fingerprint(live)
    managers = managers_of(live)
    placed = in_place(item.declaration.manifest, item.ref)
    known = same and entry is not None and item.correct
    added = found_additions(cluster, placed, live, item.ignored) if known else ()
    added = unspared(item, live, added)
    taken = removable(live, managers, added)
    if same and entry is not None and not taken:
        return None
    diff = drifting.object_diff(answer.manifest, live)
    if is_sealed(item.declaration.manifest):
        diff = drifting.hidden(diff)
    fields = drifting.who_wrote(diff, live, managers)
    fields += tuple(
        one for one in added if f"{one.diff.pointer}/".startswith(tuple(f"{pointer}/" for pointer in taken))
    )
    return Planned(Step.PATCH if entry is not None else Step.ADOPT, item.ref, fields)


def leaving(
    cluster: Cluster,
    wanted: Mapping[Key, Wanted],
    entries: Mapping[Key, Tracked],
    others: Mapping[Key, tuple[str, str]],
    budget_percent: int,
) -> tuple[tuple[Planned, ...], str]:
    """What would be deleted, in that order, and why it would not be after all (empty: it would)."""
    gone = {key: entry for key, entry in entries.items() if key not in wanted and not entry.keep and key not in others}
    found = []
    for entry, live in zip(gone.values(), cluster.get([entry.ref for entry in gone.values()]), strict=True):
        if live is not None and not foreign(live, entry) and not keeps(live):
            found.append(entry)
    found.sort(key=lambda entry: (-stage_of(entry.ref), entry.ref))
    reason = too_many([entry.ref for entry in found], bool(wanted), len(entries), budget_percent)
    return tuple(Planned(Step.DELETE, entry.ref) for entry in found), reason
