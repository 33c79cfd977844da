"""Keeping a cluster: the control plane's step 3 where the target is a Kubernetes API.

What changed since the last step is all that is looked at; `live` is brought up to date in place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import is_
from typing import Any, Protocol, runtime_checkable

from customhouse._kit.clock import Clock
from customhouse.app.in_force import Allowed
from customhouse.app.inventory_owner import REPOSITORY_KEY, SOURCE_KEY
from customhouse.app.lasting import Lasting
from customhouse.app.leading import LeadersCluster
from customhouse.app.noting import Noting
from customhouse.app.podwords import PodWords
from customhouse.app.target_spec import MANAGE, ClusterSpec
from customhouse.app.unsealing import UnsealingCluster
from customhouse.control.beside import otherwise, told_otherwise
from customhouse.control.conducting import ALONE, Among, Conducted, conduct
from customhouse.control.convergence import Conduct, Convergence
from customhouse.control.ownbooks import HELD, is_book, without_books
from customhouse.control.reconcilers import status_of
from customhouse.control.rounds import Found, ObjectDrift, Round
from customhouse.control.sealed import Opener
from customhouse.control.sources import applications
from customhouse.control.stages import IGNORE, ignored_fields
from customhouse.control.touching import Touching
from customhouse.control.tracked import ForeignInventoryError, Inventories
from customhouse.core.application import Engine, ReconcilerStatus
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.plan import Health, LiveObject
from customhouse.core.ports import StateStore
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.sight import Key, key_of
from customhouse.execution.sightings import Sightings, Stranger

_UNSURE_S = 30.0
"""How soon another cluster is asked again that did not tell of its Applications."""
_BARRED_S, _BARRED_MOST_S = 1.0, 15.0
"""How soon it is looked again whether an inventory is still another's: each look asks the API for all its kinds."""
_TOLD = 5
"""Objects named in the problem; `status` lists all of them."""


@runtime_checkable
class ClusterTarget(Protocol):
    """A target that is a cluster."""

    cluster: Cluster
    sight: Sightings

    def stand(self, namespace: str, name: str, identity: str, told: Callable[[bool], None]) -> Leadership:
        """Stand for election."""

    def resign(self) -> None:
        """Stand no longer, and give back what was won."""

    def judge_by(self, rule: Callable[[Manifest], Health], end: Callable[[], None]) -> None:
        """Say by another rule how objects are; `end` is called when it is no longer asked."""


class Leadership(Protocol):
    """What an election came to so far."""

    problem: str

    @property
    def leads(self) -> bool:
        """Whether this process may write."""

    @property
    def holder(self) -> str:
        """Who may, as far as is known."""


@dataclass(slots=True)
class Kept:
    """What one step did, as the control plane records it."""

    done: set[ResourceRef] = field(default_factory=set)
    """Workloads and other objects that a write changed."""
    removed: tuple[ResourceRef, ...] = ()
    released: tuple[tuple[ResourceRef, str], ...] = ()
    drift: tuple[ObjectDrift, ...] = ()
    statuses: Mapping[ResourceRef, ReconcilerStatus] = field(default_factory=dict)
    """What Argo CD and Flux say of what they reconcile."""
    changed: bool = False
    """Whether anything is otherwise than before for who looks at the board."""
    problem: str = ""


class ClusterKeeping:
    """Belongs to the control plane's thread."""

    def __init__(
        self,
        cluster: Cluster,
        sight: Sightings,
        state: StateStore,
        clock: Clock,
        source: str,
        identify: Callable[[str], str],
    ) -> None:
        """`identify`: whose the inventory is, of a deployed revision."""
        self.source, self._identify, self._repository = source, identify, ""
        self.live: dict[ResourceRef, LiveObject] = {}
        self.spec = ClusterSpec()
        self.conducted = Conducted((), {}, {}, {})
        self.reconciled_by: Mapping[Engine, Engine] = {}
        self.remotes: tuple[str, ...] = ()
        self.among = ALONE
        self.look: Callable[[Sequence[ResourceRef]], Mapping[ResourceRef, Manifest | str]] | None = None
        """Of several: the Applications that stand in another cluster as they are there, or why that is not known."""
        self._sure, self._looked_at = True, 0.0
        self.stand: Callable[[], Leadership] | None = None
        """Begins to stand for election; None where nobody else can be there."""
        self.resign: Callable[[], None] = lambda: None
        self._leadership: Leadership | None = None
        self.place = ""
        """Where deployed commits are fetched from (`place_of`)."""
        self.unlike: Callable[[str, str], str] = lambda _found, _own: ""
        """Why one commit is no part of the history of another (`strange_history`)."""
        self.noting: Noting | None = None
        self.allowed: Allowed | None = None
        """What is noted for the webhook in this cluster."""
        self._revision = ""
        self._barred: tuple[float, float, ForeignInventoryError] | None = None
        """Until when the inventory is not asked for again that was another's, after which pause, and what it said."""
        self.opener_for: Callable[[Sequence[Declaration]], Opener | None] = lambda _: None
        self._cluster = UnsealingCluster(LeadersCluster(cluster, self._leads))
        self._sight, self._state, self._clock = sight, state, clock
        self._convergence: Convergence | None = None
        self._began: Convergence | None = None
        """Whose step was the last one that came to something."""
        self._round = Round()
        """Of the step under way; one that raises is told with the next."""
        self._declared: Sequence[Declaration] = ()
        self._refs: dict[Key, ResourceRef] = {}
        self._ignored: Sequence[tuple[ResourceRef, tuple[str, ...]]] = ()
        """Fields that are left to others, by object."""
        self._passed_at, self._passed = clock.monotonic(), False
        self._lasting = Lasting()
        self._words = PodWords(self._cluster, sight, clock)
        self._touching = Touching(self._cluster, sight, clock)
        self.strangers: tuple[Stranger, ...] = ()
        """What somebody put into namespaces that are declared here, as of the last full pass."""

    def keep(self, desired: Sequence[Declaration], spec: ClusterSpec, revision: str) -> Kept:
        """One step. Raises TargetError (the API is out of reach) and StateError; the next call goes on from there."""
        self.identify(revision)
        now, barred = self._clock.monotonic(), self._barred
        if barred is not None and revision == self._revision and now < barred[0]:
            raise barred[2].with_traceback(None)
        self._revision = revision
        try:
            kept, self._barred = self._keep(desired, spec), None
        except ForeignInventoryError as error:
            pause = _BARRED_S if barred is None else min(2 * barred[1], _BARRED_MOST_S)
            self._barred = (now + pause, pause, error)
            # The Lease is that of the other repository's control plane too, which could not write while it is held.
            if self._leadership is not None:
                self.resign()
            self._convergence = self._leadership = None
            raise
        return kept

    def identify(self, revision: str) -> None:
        """Find out whose the inventory is, where that is not known. Raises SourceError."""
        self._repository = self._repository or self._identify(revision)

    def _keep(self, desired: Sequence[Declaration], spec: ClusterSpec) -> Kept:
        found = self._converging(spec)
        if spec.mode == MANAGE and self.stand is not None and self._leadership is None:
            self._leadership = self.stand()  # not before the inventory is seen to be nobody else's
        found.inventory.revision = self._revision
        if found.conduct.writes:
            found.inventory.follow()
        if self.noting is not None and self.allowed is not None and (found.conduct.writes or spec.mode != MANAGE):
            self.noting.note(self.allowed)
        if not self._sure and self._clock.monotonic() - self._looked_at >= _UNSURE_S:
            self._declared = ()
        if len(desired) != len(self._declared) or not all(map(is_, desired, self._declared)):
            found_out = conducted(self._cluster, desired, self.remotes, self.reconciled_by, *self._beside())
            self.conducted = _without_books(found_out, "" if self.noting is None else self.noting.name)
            self._cluster.opener = self.opener_for(desired)
            found.declare(self.conducted.declarations)
            self._ignored = _ignored(self.conducted.declarations)
            self._declared, self._round.applied = desired, []  # of what was declared before
            self._refs = {key_of(item.ref): item.ref for item in self.conducted.declarations if not _is_held(item)}
            gone = self.live.keys() - self._refs.values()
            for ref in gone:
                del self.live[ref]
        self._pass_when_due(found, spec)
        made = found.step(self._round)
        self._touching.step(self._to_touch(found, made), self._refs if found.conduct.writes else {})
        self._lasting.see(len(self._refs), settled=found.settled)
        kept, self._round = self._kept(found, made), Round()
        return kept

    def _to_touch(self, found: Convergence, made: Round) -> Collection[Key]:
        """What something happened to; of who begins to write all of it: it may have happened before he could."""
        before, self._began = self._began, found
        entries = found.inventory.entries  # what another source has is declared here too, and not ours
        return {key for key in (made.touched if before is found else self._refs) if key in entries}

    def _beside(self) -> tuple[Among, Mapping[ResourceRef, Manifest]]:
        """What is said of this cluster among several, with the Applications of the others as they are there."""
        if self.look is None or not self.among.guests:
            return self.among, {}
        said = self.look(tuple(self.among.guests))
        why = {ref: found for ref, found in said.items() if isinstance(found, str)}
        self._sure, self._looked_at = not why, self._clock.monotonic()
        there = {ref: item for ref, item in said.items() if not isinstance(item, str)}
        return replace(self.among, guests={ref: why.get(ref, "") for ref in self.among.guests}), there

    @property
    def leads(self) -> bool:
        """Whether this process may write into the cluster now. Any thread may ask."""
        return self._leads()

    def _leads(self) -> bool:
        return self._leadership.leads if self._leadership is not None else self.stand is None

    def _converging(self, spec: ClusterSpec) -> Convergence:
        conduct = Conduct(
            writes=spec.mode == MANAGE and self._leads(),
            correct=spec.drift == "correct",
            prune=spec.prune,
            prune_budget_percent=spec.prune_budget_percent,
        )
        if self._convergence is None or self._convergence.conduct != conduct:
            inventory = Inventories(self._cluster, self._state, "kubernetes", self.source, repository=self._repository)
            inventory.revision, inventory.place = self._revision, self.place
            inventory.unlike = lambda found: self.unlike(found, self._revision)
            made = Convergence(self._cluster, self._sight, inventory, self._clock, conduct)
            self._cluster.discover()  # of all questions this one is the soonest to say that the API is away
            made.load()
            if (self._state.get(SOURCE_KEY), self._state.get(REPOSITORY_KEY)) != (self.source, self._repository):
                self._state.put({SOURCE_KEY: self.source, REPOSITORY_KEY: self._repository})
            self._convergence, self._declared, self.spec = made, (), spec
        return self._convergence

    def _pass_when_due(self, found: Convergence, spec: ClusterSpec) -> None:
        """The scheduled full pass: a watch may have missed something, and somebody may have altered the inventory."""
        now = self._clock.monotonic()
        due = now - self._passed_at >= spec.full_pass_minutes * 60
        # The first one as soon as everything is applied: what was put there before is told then.
        if not due and (self._passed or not found.settled or found.waiting()):
            return
        self._passed_at, self._passed = now, True
        if self.noting is not None:
            self.noting.forget()
        rooms = {ref.name for ref in self._refs.values() if ref.kind == "Namespace"}
        self.strangers = self._sight.look_again(rooms)
        if self.conducted.by:
            self._declared = ()  # who reconciles may be another one by now
        if found.conduct.writes:
            found.inventory.restore()

    def _kept(self, found: Convergence, made: Round) -> Kept:
        changed = bool(made.applied or made.removed or made.released or made.drift)
        changed |= self._heard_of(made)
        for key in made.touched:
            ref = self._refs.get(key) or self._refs.get((key[0], key[1], "default", key[3]))
            if ref is None:
                continue
            seen = found.seen(ref)
            before = self.live.get(ref)
            if seen is None:
                changed |= self.live.pop(ref, None) is not None
                continue
            health = self._words.with_words(ref, seen.health)
            if before is None or before.health != health:
                self.live[ref] = LiveObject(ref, {}, health)
                changed = True
        changed |= self._words.look(self.live)
        done = {ref for key in map(key_of, made.applied) if (ref := self._refs.get(key)) is not None}
        said = self._problem(found, made)
        told = (tuple(made.removed), tuple(made.released), tuple(made.drift))
        return Kept(done, *told, self.statuses, changed, said)

    @property
    def statuses(self) -> Mapping[ResourceRef, ReconcilerStatus]:
        """What Argo CD and Flux say of what they reconcile here."""
        outside = self.conducted.elsewhere
        theirs = {ref: said for ref, said in self.conducted.statuses.items() if self._is_theirs(ref)}
        return {ref: replace(said, elsewhere=True) if ref in outside else said for ref, said in theirs.items()}

    def _is_theirs(self, ref: ResourceRef) -> bool:
        by = self.conducted.by.get(ref)
        return by is not None and by[0] is not Engine.CUSTOMHOUSE

    def _heard_of(self, made: Round) -> bool:
        """Take what Argo CD's and Flux's own objects say by now; whether that is something else."""
        heard = made.touched | made.heard
        owners = {key_of(ref): ref for ref in self.conducted.by} if heard else {}
        news: dict[ResourceRef, ReconcilerStatus] = {}
        differing, changed = dict[ResourceRef, tuple[str, ...]](), False
        for key in heard & owners.keys():
            live, ref = self._sight.live(key), owners[key]
            said = None if live is None else status_of(ref, live.manifest)
            if said is not None and said != self.conducted.statuses.get(ref):
                news[ref] = said
            if live is not None and ref in self.conducted.foreign:
                differing[ref] = otherwise(self.conducted.foreign[ref], live.manifest)
        if differing:
            found = {ref: pointers for ref, pointers in {**self.conducted.otherwise, **differing}.items() if pointers}
            changed = found != self.conducted.otherwise
            self.conducted = replace(self.conducted, otherwise=found)
        if news:
            if any(ref not in self.conducted.statuses for ref in news):
                self._declared = ()  # somebody has begun to reconcile it
            self.conducted = replace(self.conducted, statuses={**self.conducted.statuses, **news})
        return bool(news) or changed

    def _problem(self, found: Convergence, made: Round) -> str:
        said = [f"the API does not answer: {made.unanswered}"] if made.unanswered else []
        if self._leadership is not None and self._leadership.problem:
            said.append(f"it cannot stand for election: {self._leadership.problem}")
        if self.noting is not None and self.noting.problem:
            said.append(self.noting.problem)
        said += found.unfit[:_TOLD]
        said += [f"{ref} is left alone: {why}" for ref, why in list(self.conducted.held.items())[:_TOLD]]
        differing = list(self.conducted.otherwise.items())[:_TOLD]
        said += [told_otherwise(ref, self.conducted.by[ref][0], pointers) for ref, pointers in differing]
        if found.blocked:
            said.append(f"nothing is deleted: {found.blocked}")
        problems = [f"{ref}: {text}" for ref, text in found.problems.items() if text]
        problems += self._touching.problems()
        said += problems[:_TOLD]
        if len(problems) > _TOLD:
            said.append(f"and {len(problems) - _TOLD} objects more")
        said += [f"{kind} cannot be watched: {text}" for kind, text in self._sight.problems().items()]
        left = [item for item in found.drifting.values() if not item.corrected]
        said += [told(item) for item in left[:_TOLD]]
        return "; ".join(said)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be applied, tried again or deleted; observing, there never is."""
        found = self._convergence
        if found is None:
            return False
        if not found.conduct.writes:
            return self.spec.mode != MANAGE
        return found.settled and not found.waiting()

    def holds(self, ref: ResourceRef) -> bool:
        """Whether the object is in the inventory; before the first step nothing is known, and it may be."""
        return self._convergence is None or key_of(ref) in self._convergence.inventory.entries

    def applied(self, ref: ResourceRef) -> bool:
        """Whether the object is applied as it is declared now."""
        if self._convergence is None:
            return False
        entry = self._convergence.inventory.entries.get(key_of(ref))
        declared = self._convergence.declared_digest(key_of(ref))
        return entry is not None and declared is not None and entry.digest == declared

    def document(self) -> dict[str, Any]:
        """For `customhouse status`: what is waiting, what drifts, what cannot be done."""
        found = self._convergence
        if found is None:
            return {}
        return {
            "target": "kubernetes",
            "mode": self.spec.mode,
            "leads": self._leads(),
            "leader": "" if self._leadership is None else self._leadership.holder,
            "source": self.source,
            "objects": len(self._refs),
            "waiting": [{"resource": ref.to_json(), "for": text} for ref, text in list(found.waiting().items())[:100]],
            "drift": [drift_json(item) for item in list(found.drifting.values())[:100]],
            "kept": [ref.to_json() for ref in found.kept[:100]],
            "blocked": found.blocked,
            "ignored": [{"resource": ref.to_json(), "fields": list(named)} for ref, named in self._ignored[:100]],
            "undeclared": [item.ref.to_json() for item in self.strangers[:100]],
            "applications": [self._application_json(ref) for ref in list(self.conducted.by)[:100]],
        }

    def _application_json(self, ref: ResourceRef) -> dict[str, Any]:
        """`{"resource","by","why","held"}`, and what its own reconciler says: sync, health, revision, message, at."""
        by, why = self.conducted.by[ref]
        said = self.conducted.statuses.get(ref)
        shown: dict[str, Any] = {"resource": ref.to_json(), "by": by.value, "why": why}
        if ref in self.conducted.held:
            shown["held"] = self.conducted.held[ref]
        if ref in self.conducted.otherwise:
            shown["otherwise"] = list(self.conducted.otherwise[ref])
        if said is not None:
            shown["status"] = {
                "sync": said.sync.value,
                "health": said.health,
                "revision": said.revision,
                "attempted": said.attempted,
                "message": said.message,
                "at": said.at,
                "current": said.current,
            }
        return shown


def conducted(
    cluster: Cluster,
    desired: Sequence[Declaration],
    remotes: Sequence[str],
    reconciled_by: Mapping[Engine, Engine],
    among: Among = ALONE,
    guests: Mapping[ResourceRef, Manifest] | None = None,
) -> Conducted:
    """With what Applications say put onto their objects; those of another reconciler are not ours to write.

    `guests` are Applications that stand in another cluster, as they are there.
    """
    owners = [item.ref for item in applications(desired)]
    kinds = {(kind.group, kind.kind) for kind in cluster.discover().kinds} if owners else set()
    known = [ref for ref in owners if ref not in among.guests and _kind_of(ref) in kinds]
    live = dict(zip(known, cluster.get(known), strict=True)) if known else {}
    live |= guests or {}
    return conduct(
        desired,
        remotes=remotes,
        reconciled_by=reconciled_by,
        live={ref: manifest for ref, manifest in live.items() if manifest is not None},
        served=lambda ref: _kind_of(ref) in kinds,
        among=among,
    )


def live_applications(cluster: Cluster, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, Manifest]:
    """Those that a cluster has. Raises TargetError."""
    kinds = {(kind.group, kind.kind) for kind in cluster.discover().kinds}
    known = [ref for ref in refs if _kind_of(ref) in kinds]
    found = zip(known, cluster.get(known) if known else (), strict=True)
    return {ref: manifest for ref, manifest in found if manifest is not None}


def _without_books(found: Conducted, note: str) -> Conducted:
    """With what Customhouse keeps its books in left alone, whatever a commit says of it."""
    books = {item.ref: HELD for item in found.declarations if is_book(item, note)}
    if not books:
        return found
    return replace(found, declarations=without_books(found.declarations, note), held={**found.held, **books})


def _ignored(declarations: Sequence[Declaration]) -> list[tuple[ResourceRef, tuple[str, ...]]]:
    found = []
    for item in declarations:
        if item.annotation(IGNORE):
            with suppress(TargetError):  # what cannot be read is told as the reason why it is not applied
                found.append((item.ref, ignored_fields(item)))
    return found


def _is_held(item: Declaration) -> bool:
    return item.care is not None and bool(item.care.hold)


def _kind_of(ref: ResourceRef) -> tuple[str, str]:
    group, slash, _ = ref.api_version.rpartition("/")
    return (group if slash else "", ref.kind)


def drift_json(item: ObjectDrift) -> dict[str, Any]:
    """`{"resource","found","corrected","fields":[{"pointer","declared","live","manager","at"}]}`."""
    fields = [one.to_json() for one in item.fields]
    return {"resource": item.ref.to_json(), "found": item.found.value, "corrected": item.corrected, "fields": fields}


def told(item: ObjectDrift) -> str:
    """One drift in a line."""
    if item.found is Found.MISSING:
        return f"{item.ref} was deleted in the cluster"
    word = "has fields that nobody declared" if item.found is Found.ADDED else "is not as declared"
    shown = ", ".join(str(one) for one in item.fields[:3]) + (", …" if len(item.fields) > 3 else "")
    return f"{item.ref} {word}: {shown}"
