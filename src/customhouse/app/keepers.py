"""Keepers: one keeper a cluster, over one judged revision.

Each has a thread for its step, so that a cluster that is gone, or slow, holds up only what is its own: the loop waits
for it a moment once, and from then on takes its results when they are there. Meanwhile Git is followed and judged, and
the ledger written. Of several, what is not its own a keeper never sees: its part is what `Placing` gives it, its
inventory and Lease have its name in theirs, and its documents in the state have a prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import is_
from pathlib import Path
from typing import Any

from customhouse._kit.clock import Clock
from customhouse.app.clusterkeeping import ClusterKeeping, Kept, live_applications
from customhouse.app.governance import Governance
from customhouse.app.in_force import Allowed
from customhouse.app.inventory_owner import (
    addresses,
    identity_of,
    inventory_name,
    place_of,
    repository_identity,
    strange_history,
)
from customhouse.app.leading import candidate
from customhouse.app.memory import DEPLOYED
from customhouse.app.noting import Noting
from customhouse.app.several_targets import Asked, Member, SeveralTargets
from customhouse.app.target_spec import ClusterSpec
from customhouse.app.wiring_health import Judging
from customhouse.control.conducting import Among
from customhouse.control.placing import Placing, bare, unplaced
from customhouse.control.rounds import ObjectDrift
from customhouse.control.sealed import Opener
from customhouse.control.source import Repository
from customhouse.control.tracked import NAMESPACE
from customhouse.core.cluster import Cluster
from customhouse.core.errors import (
    CannotDecideError,
    ConfigError,
    CustomhouseError,
    SourceError,
    StateError,
    TargetError,
)
from customhouse.core.plan import LiveObject
from customhouse.core.ports import StateStore
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.execution.sightings import Stranger

_PATIENCE_S = 2.0
"""How long the loop waits for one cluster's step; of who was late once, until he is in time again, not at all."""
_REST_S = 25.0
"""How long the end of a step is waited for: an API that answers nobody is given up after twenty seconds."""
_LISTS = ("waiting", "drift", "kept", "ignored", "undeclared", "applications")


class PrefixedState:
    """The documents of one keeper among those of the others."""

    def __init__(self, state: StateStore, prefix: str) -> None:
        self._state, self._prefix = state, prefix

    def get(self, key: str) -> Any:
        """See `StateStore`."""
        return self._state.get(self._prefix + key)

    def put(self, values: Mapping[str, Any]) -> None:
        """See `StateStore`."""
        self._state.put({self._prefix + key: value for key, value in values.items()})

    def keys(self, prefix: str) -> Sequence[str]:
        """See `StateStore`."""
        return tuple(key.removeprefix(self._prefix) for key in self._state.keys(self._prefix + prefix))


def of_target(state: StateStore, name: str) -> StateStore:
    """The documents of one target of several; those of a single one, "", have no prefix."""
    return PrefixedState(state, f"targets/{name}/") if name else state


@dataclass(slots=True)
class _Keeper:
    """One keeper with what is known of it between its steps."""

    name: str
    keeping: ClusterKeeping
    judging: Judging
    part: tuple[Declaration, ...] = ()
    """What its cluster is to have now."""
    done: tuple[Declaration, ...] | None = None
    """What the last step that has ended was about."""
    names: Mapping[ResourceRef, ResourceRef] = field(default_factory=dict)
    """As its cluster knows an object → as the revision does."""
    guests: Mapping[ResourceRef, str] = field(default_factory=dict)
    """Applications of which it has objects, and the target that each stands in."""
    work: Asked[Kept] | None = None
    given: tuple[Declaration, ...] = ()
    late: bool = False
    failed: bool = False
    """Whether the last step ended without having come to anything."""
    problem: str = ""
    opened: tuple[Sequence[Declaration], Opener | None] | None = None
    live: dict[ResourceRef, LiveObject] = field(default_factory=dict)
    strangers: tuple[Stranger, ...] = ()
    document: dict[str, Any] = field(default_factory=dict)

    @property
    def current(self) -> bool:
        """Whether its last step was about what is declared now, and none is under way."""
        return self.work is None and self.done is self.part

    def full(self, ref: ResourceRef) -> ResourceRef:
        """As the revision calls an object of this cluster."""
        return self.names.get(ref, ref)


class Keepers:
    """Belongs to the control plane's thread."""

    def __init__(self, keepers: Mapping[str, _Keeper], placing: Placing, wake: Callable[[], None]) -> None:
        """`keepers` by target; a single target is called ""."""
        self._keepers = keepers
        self._placing = placing
        self._wake = wake
        self._single = keepers.get("") if len(keepers) == 1 else None
        self._split: tuple[Sequence[Declaration], Mapping[str, tuple[Declaration, ...]]] | None = None
        self._unplaced: dict[int, tuple[Declaration, Declaration]] = {}
        self._live: dict[ResourceRef, LiveObject] = {}
        self._strangers: tuple[Stranger, ...] = ()
        self.allowed: Callable[[str], Allowed | None] = lambda _: None
        """What is noted for webhooks of a deployed revision."""
        self._noted: tuple[str, Allowed | None] | None = None

    # what is known
    @property
    def live(self) -> dict[ResourceRef, LiveObject]:
        """What lives of what is declared."""
        return self._live

    @property
    def strangers(self) -> tuple[Stranger, ...]:
        """What somebody put into declared namespaces."""
        return self._strangers

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be done in any of them."""
        return all(
            item.current and not item.failed and item.keeping.settled and not (item.name and item.problem)
            for item in self._keepers.values()
        )

    @property
    def busy(self) -> bool:
        """Whether the step of a single cluster is still under way: nothing is known of it until that has ended."""
        return self._single is not None and self._single.work is not None

    def rest(self, seconds: float = _REST_S) -> bool:
        """Wait until no step is under way, before what they work with is taken from them; whether none is."""
        left = [item.work for item in self._keepers.values() if item.work is not None]
        end = [work.ended(seconds) for work in left]
        return all(end)

    def holds(self, ref: ResourceRef) -> bool:
        """Whether the object is in the inventory of its cluster, as far as is known; else it may be."""
        found = self._keepers.get(self._placing.of(ref))
        return found is None or not found.current or found.keeping.holds(bare(ref))

    def applied(self, ref: ResourceRef) -> bool:
        """Whether the object is applied as it is declared now."""
        found = self._keepers.get(self._placing.of(ref))
        return found is not None and found.current and found.keeping.applied(bare(ref))

    def leads(self, name: str) -> bool:
        """Whether this process may write into the cluster of that name. Any thread may ask."""
        found = self._keepers.get(name)
        return found is not None and found.keeping.leads

    def document(self) -> dict[str, Any]:
        """For `customhouse status`: that of the one, or of all together with a row for each under `targets`."""
        if self._single is not None:
            if not self.busy:
                self._single.document = self._single.keeping.document()
            return self._single.document
        rows = []
        found: dict[str, Any] = {name: [] for name in _LISTS}
        for item in self._keepers.values():
            own = item.document
            rows.append(
                {
                    "name": item.name,
                    "mode": own.get("mode", item.keeping.spec.mode),
                    "leads": own.get("leads", False),
                    "leader": own.get("leader", ""),
                    "source": item.keeping.source,
                    "objects": own.get("objects", 0),
                    "waiting": len(own.get("waiting", ())),
                    "drift": len(own.get("drift", ())),
                    "problem": item.problem,
                }
            )
            for name in _LISTS:
                found[name] += [{**row, "target": item.name} for row in own.get(name, ())]
        modes = sorted({str(row["mode"]) for row in rows})
        told = ((item.name, item.document.get("blocked")) for item in self._keepers.values())
        blocked = [f"{name}: {why}" for name, why in told if why]
        return {
            "target": "kubernetes",
            "mode": " and ".join(modes),
            "leads": all(row["leads"] for row in rows),
            "leader": "",
            "source": "",
            "objects": sum(row["objects"] for row in rows),
            **found,
            "blocked": "; ".join(blocked),
            "targets": rows,
        }

    # a step
    def keep(
        self,
        desired: Sequence[Declaration],
        governing: Governance,
        revision: str,
        location: str,
        opener_for: Callable[[Sequence[Declaration]], Opener | None],
    ) -> Kept:
        """One step of each. Raises StateError, and what nobody expected of a single cluster; `problem` has the rest."""
        configuration = governing.configuration
        sources, specs = configuration.sources, configuration.clusters
        if self._single is None and configuration.placing != self._placing:
            self._placing, self._split = configuration.placing, None
        parts = self._parts(desired)
        remotes = addresses(location, sources.repositories)
        begun = []
        made = Kept()
        if self._noted is None or self._noted[0] != revision:
            self._noted = (revision, self.allowed(revision))
        allowed = self._noted[1]
        for name, item in self._keepers.items():
            spec, part = specs[name], parts[name]
            if item.work is not None:
                item.part = part
                if item.work.ended():
                    self._take(item, made)  # and is looked at before the next one begins
                    self._wake()
                continue
            item.part = part
            item.keeping.reconciled_by, item.keeping.remotes = sources.reconciled_by, remotes
            item.keeping.place = place_of(location)
            item.keeping.among = replace(item.keeping.among, guests=dict.fromkeys(item.guests, ""))
            item.judging.by(governing.health)
            item.keeping.allowed = None if allowed is None else replace(allowed, target=name)
            try:
                self._begin(item, spec, revision, opener_for)
            except (CannotDecideError, ConfigError, SourceError) as error:
                item.problem, item.failed = str(error), True
                continue
            begun.append(item)
        for item in begun:
            work = item.work
            if work is not None and not item.late and work.ended(_PATIENCE_S):
                self._take(item, made)
            elif work is not None:
                item.late = True
        made.statuses = {
            item.full(ref): said for item in self._keepers.values() for ref, said in item.keeping.statuses.items()
        }
        made.problem = "; ".join(_named(item) for item in self._keepers.values() if item.problem)
        late = [item for item in self._keepers.values() if item.name and item.work is not None and item.late]
        unheard = [item.name for item in late if not item.problem]
        if unheard and any(item.done is None for item in late):
            made.problem = "; ".join(filter(None, [made.problem, f"not heard of yet: {', '.join(unheard)}"]))
        return made

    def _begin(
        self,
        item: _Keeper,
        spec: ClusterSpec,
        revision: str,
        opener_for: Callable[[Sequence[Declaration]], Opener | None],
    ) -> None:
        """Have its step taken. Raises what says that its part cannot be read: the repository is read by one thread."""
        part = item.part
        item.keeping.identify(revision)
        if item.opened is None or item.opened[0] is not part:
            item.opened = (part, opener_for(part))
        item.keeping.opener_for = partial(_given, item.opened[1])
        item.given = part
        item.work = Asked(partial(item.keeping.keep, part, spec, revision), partial(self._ended, item))

    def _ended(self, item: _Keeper) -> None:
        """In the thread of a step: who waits for it need not be woken."""
        if item.late:
            self._wake()

    def _parts(self, desired: Sequence[Declaration]) -> Mapping[str, tuple[Declaration, ...]]:
        if self._single is not None:
            before = self._single.part
            same = before is desired or (len(before) == len(desired) and all(map(is_, before, desired)))
            return {"": before if same else tuple(desired)}
        if self._split is not None and self._split[0] is desired:
            return self._split[1]
        kept: dict[int, tuple[Declaration, Declaration]] = {}
        parts = {}
        for name, items in self._placing.split(desired).items():
            own = []
            keeper = self._keepers[name]
            guests = self._placing.guests(items, desired)
            keeper.guests = {bare(item.ref): where for item, where in guests}
            for declared in (*items, *(item for item, _ in guests)):
                known = self._unplaced.get(id(declared))
                pair = known if known is not None and known[0] is declared else (declared, unplaced(declared))
                kept[id(declared)] = pair
                own.append(pair[1])
            keeper.names = {**keeper.names, **{bare(item.ref): item.ref for item in items}}
            same = len(own) == len(keeper.part) and all(map(is_, own, keeper.part))
            parts[name] = keeper.part if same else tuple(own)
        self._unplaced = kept
        self._split = (desired, parts)
        return parts

    def _take(self, item: _Keeper, made: Kept) -> None:
        """The outcome of a step that has ended. Raises StateError: then nothing is done anywhere."""
        work, item.work = item.work, None
        assert work is not None  # noqa: S101 - asked for by who has one
        try:
            found = work.answer()
        except StateError:
            raise
        except Exception as error:
            said = str(error) if isinstance(error, CustomhouseError) else f"internal error: {error!r}"
            made.changed |= item.problem != said
            item.problem, item.failed = said, True
            if item is not self._single:
                item.document = item.keeping.document()
            elif not isinstance(error, CustomhouseError):
                raise  # with its traceback
            return
        item.late = item.failed = False
        item.done, item.problem = item.given, found.problem
        # What was declared anew meanwhile is another release, which was not handed over yet.
        done = found.done
        if item.part is not item.given:
            now = {id(one) for one in item.part}
            done = {one.ref for one in item.given if one.ref in done and id(one) in now}
        made.done |= {item.full(ref) for ref in done}
        made.removed += tuple(item.full(ref) for ref in found.removed)
        made.released += tuple((item.full(ref), why) for ref, why in found.released)
        made.drift += tuple(self._told(item, one) for one in found.drift)
        made.changed |= found.changed
        if item is not self._single or found.changed or not item.document:  # else when somebody asks
            item.document = item.keeping.document()
        if found.changed or len(item.live) != len(item.keeping.live):
            self._know(item)
        if item.strangers is not item.keeping.strangers:
            item.strangers = item.keeping.strangers
            self._strangers = tuple(
                replace(one, ref=replace(one.ref, scene=other.name))
                for other in self._keepers.values()
                for one in other.strangers
            )

    def _know(self, item: _Keeper) -> None:
        """What lives there, as of the step that has ended: the next one alters it while it is looked at."""
        if item is self._single:
            self._live = item.live = dict(item.keeping.live)
            return
        item.live = {item.full(ref): replace(one, ref=item.full(ref)) for ref, one in item.keeping.live.items()}
        self._live = {ref: one for other in self._keepers.values() for ref, one in other.live.items()}

    @staticmethod
    def _told(item: _Keeper, one: ObjectDrift) -> ObjectDrift:
        return replace(one, ref=replace(one.ref, scene=item.name))


def _named(item: _Keeper) -> str:
    return f"{item.name}: {item.problem}" if item.name else item.problem


def _given(opener: Opener | None, _: Sequence[Declaration]) -> Opener | None:
    return opener


def keepers_of(
    target: Member | SeveralTargets,
    specs: Mapping[str, ClusterSpec],
    source: Repository,
    state: StateStore,
    clock: Clock,
    where: tuple[str, str, Path],
    told: tuple[Callable[[], None], Callable[[], None]],
    *,
    noted_in: str = "",
) -> Keepers:
    """A keeper for each cluster of a target. `where`: address and branch of the repository, the state's folder.

    `told`: what is called at news of a cluster, and when a step may go on. `noted_in`: the ConfigMap in which the last
    allowed commit is noted for webhooks. Raises SourceError and ConfigError.
    """
    location, branch, folder = where
    heard, wake = told
    members = target.members if isinstance(target, SeveralTargets) else {"": target}
    placing = target.placing if isinstance(target, SeveralTargets) else Placing()
    identity = candidate(folder)
    found: dict[str, _Keeper] = {}
    for name, member in members.items():
        own = of_target(state, name)
        called = inventory_name(specs[name].source, source, own, location, branch, name)
        member.sight.on_news = heard
        identify = partial(repository_identity, source, own, branch)
        keeping = ClusterKeeping(member.cluster, member.sight, own, clock, called, identify)
        keeping.unlike = partial(strange_history, source)
        keeping.noting = Noting(member.cluster, noted_in) if noted_in else None
        keeping.resign = member.resign
        keeping.stand = partial(member.stand, NAMESPACE, f"customhouse-{called}", identity, lambda _: wake())
        found[name] = _Keeper(name, keeping, Judging(member.judge_by))
    for name, keeper in found.items():
        if name:
            keeper.keeping.among = Among(name, tuple(other for other in members if other != name))
            keeper.keeping.look = partial(_looked, keeper, {other: member.cluster for other, member in members.items()})
    made = Keepers(found, placing, wake)
    if noted_in:
        made.allowed = partial(_allowed, source, state, branch)
    return made


def _allowed(source: Repository, state: StateStore, branch: str, revision: str) -> Allowed | None:
    """What is noted of the deployed revision. Raises SourceError."""
    value = state.get(DEPLOYED)
    if value is None or value["revision"] != revision:
        return None
    return Allowed(revision, tuple(value["paths"]), identity_of(branch, source.first_commit(revision)))


def _looked(
    keeper: _Keeper, clusters: Mapping[str, Cluster], refs: Sequence[ResourceRef]
) -> Mapping[ResourceRef, Manifest | str]:
    """Applications as the clusters have them that they stand in, or why that is not known."""
    asked: dict[str, list[ResourceRef]] = {}
    for ref in refs:
        asked.setdefault(keeper.guests.get(ref, ""), []).append(ref)
    found: dict[ResourceRef, Manifest | str] = {}
    questions = [
        (name, items, Asked(partial(live_applications, clusters[name], items))) for name, items in asked.items() if name
    ]
    for name, items, one in questions:
        try:
            if not one.ended(_PATIENCE_S):
                raise TargetError("it does not answer")
            found |= one.answer()
        except CustomhouseError as error:
            found |= dict.fromkeys(items, f"who reconciles it is not known: {name}: {error}")
    return found
