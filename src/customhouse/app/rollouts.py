"""Rollouts: walks canaries by what the target measures, and undoes those that are worse.

A rollback is two things: the last good state at once (traffic goes back before anything else is done), then a revert
commit, so that Git stays the truth. Until that commit is deployed the release is *held*: what Git still declares for
it is replaced by the stable manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from customhouse.app import journal
from customhouse.app.landings import Landing, landing_of
from customhouse.app.memory import HELD, LANDING, LANE, ROLLOUT, Memory, key_of, ref_of
from customhouse.app.rollout_argo import UNMARKED, Marks, marks_of
from customhouse.app.rollout_kinds import (
    Course,
    comparable,
    course_of,
    stable_release,
    taken_back,
    unwalked,
    walked,
    walked_release,
)
from customhouse.app.rollout_plain import Lane, PlainCourse, Read, Services, is_plain, lay_out, looked_at
from customhouse.app.rollout_scene import Scene, scenes_of
from customhouse.control.rollback import is_rollback
from customhouse.control.rollout import (
    Move,
    RolloutState,
    RolloutVerdict,
    abort,
    advance,
    arm_stats,
    begin,
    plan_of,
    promote,
)
from customhouse.core.change import Change, Operation
from customhouse.core.ledger import Entry
from customhouse.core.observation import Observation
from customhouse.core.plan import HealthStatus, LiveObject
from customhouse.core.release import RolloutPhase
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.execution.health.revisions import declared_share
from customhouse.execution.kserve import weighted_inference

_TAKEN_BACK_S = 15.0
"""How long a revert waits for KServe to say that the traffic is back: it has to be in Git within half a minute."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One rollout as stored: its state machine, the manifest to go back to, and the commit that brought the change."""

    state: RolloutState
    stable: Manifest
    commit: str
    rates: tuple[float | None, float | None] = (None, None)
    """What a second of serving costs, candidate and stable, in micro-units of the currency; None: not known."""
    course: Course | None = None
    """Where KServe keeps the stable version as a revision: then going back is a matter of weights."""
    marks: Marks = UNMARKED
    """Of an Argo Rollout, its revisions when the walk began."""

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {
            "state": self.state.to_json(),
            "stable": dict(self.stable),
            "commit": self.commit,
            "rates": list(self.rates),
            "course": None if self.course is None else asdict(self.course),
            "marks": asdict(self.marks),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Walk:
        """The inverse of `to_json`."""
        candidate, stable = value.get("rates") or (None, None)
        course = value.get("course")
        return cls(
            RolloutState.from_json(value["state"]),
            value["stable"],
            value["commit"],
            (candidate, stable),
            None if course is None else Course(**course),
            Marks(**value.get("marks", {})),
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A release that was rolled back and that Git still declares."""

    ref: ResourceRef
    release: str
    stable: Manifest
    commit: str
    reason: str
    reverted: str = ""
    """The revert commit, once it is written; a text that begins with `!` says why none could be."""
    routed: bool = False
    """What Git declares stays, without traffic, since KServe has the stable version as it was: as revision `serves`."""
    serves: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {
            "resource": self.ref.stored(),
            "release": self.release,
            "stable": dict(self.stable),
            "commit": self.commit,
            "reason": self.reason,
            "reverted": self.reverted,
            "routed": self.routed,
            "serves": self.serves,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Held:
        """The inverse of `to_json`."""
        return cls(
            ref_of(value["resource"]),
            value["release"],
            value["stable"],
            value["commit"],
            value["reason"],
            value["reverted"],
            value.get("routed", False),
            value.get("serves", ""),
        )


@dataclass(frozen=True, slots=True)
class Moved:
    """A rollout that was looked at and learned something: that it goes on, by how much, or that it ended."""

    walk: Walk
    verdict: RolloutVerdict
    documents: Mapping[str, Any]
    elsewhere: bool = False
    """Somebody else did it, in the cluster; the verdict's reason tells."""


class Rollouts:
    """All canaries of one control plane."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._shaped: tuple[Sequence[Declaration], Any, tuple[Declaration, ...]] | None = None
        self._scenes: tuple[Sequence[Declaration], Mapping[ResourceRef, Scene]] | None = None
        self._aborted: dict[tuple[ResourceRef, str], float] = {}
        self._courses: dict[ResourceRef, PlainCourse] = {}
        """Of plain Deployments, what each is to be, as of the last shape."""

    def lanes(self) -> dict[ResourceRef, Lane]:
        """What is remembered of plain Deployments that are rolled out step by step."""
        found = (Lane.from_json(value) for value in self._memory.all(LANE).values())
        return {item.ref: item for item in found}

    def landings(self) -> dict[ResourceRef, Landing]:
        """What is on its way without a walk (KServe)."""
        found = (Landing.from_json(value) for value in self._memory.all(LANDING).values())
        return {item.ref: item for item in found}

    def unfinished(self) -> frozenset[ResourceRef]:
        """What is not to be called promoted yet, however healthy it is."""
        busy = (ref for ref, lane in self.lanes().items() if lane.busy)
        return frozenset((*self.walks(), *self.landings(), *busy))

    def land(self, read: Read, now: datetime, services: Services = lambda _: ()) -> bool:
        """Look at what is on its way once, if there is any; whether anything about it is otherwise now.

        Raises TargetError when the API does not tell.
        """
        landings = self.landings()
        live = read(list(landings)) if landings else {}
        ended = [ref for ref, item in landings.items() if ref in live and item.landed(live[ref], now)]
        if ended:
            self._memory.put({key_of(LANDING, ref): None for ref in ended})
        return self._keep_lanes(read, now, services) or bool(ended)

    def _keep_lanes(self, read: Read, now: datetime, services: Services) -> bool:
        lanes, walks, changed = self.lanes(), self.walks(), {}
        for ref, course in self._courses.items():
            lane, walk = lanes.get(ref, Lane(ref)), walks.get(ref)
            if walk is None and not lane.busy and lane.apart == course.scene.weighted:
                continue  # it runs one version, and nothing is prepared for another
            found = looked_at(lane, course, read, services, None if walk is None else walk.state, now)
            if found != lane:
                changed[key_of(LANE, ref)] = found.to_json()
        if changed:
            self._memory.put(changed)
        return bool(changed)

    def waiting(self) -> dict[ResourceRef, str]:
        """Why plain Deployments do not have the share that their step is to give them."""
        walks = self.walks()
        return {ref: lane.why for ref, lane in self.lanes().items() if lane.why and ref in walks}

    def walks(self) -> dict[ResourceRef, Walk]:
        """The canaries in progress."""
        found = (Walk.from_json(value) for value in self._memory.all(ROLLOUT).values())
        return {walk.state.resource: walk for walk in found}

    def held(self) -> dict[ResourceRef, Held]:
        """The releases that were rolled back and are still declared."""
        found = (Held.from_json(value) for value in self._memory.all(HELD).values())
        return {item.ref: item for item in found}

    def begun_by(
        self,
        changes: Iterable[Change],
        running: Mapping[ResourceRef, LiveObject],
        commit: str,
        known_good: Collection[str],
        now: datetime,
        rate: Callable[[ResourceRef, Manifest], float | None] = lambda _ref, _manifest: None,
    ) -> tuple[dict[str, Any], tuple[Walk, ...]]:
        """The documents and walks that the changes of an allowed revision start; canaries they supersede are dropped.

        A canary needs something to be compared with: a first release, or one whose stable version does not run, goes
        straight to all of the traffic. So do the releases in `known_good`: what a rollback brings back. A commit's
        message alone never skips a canary, since anybody can write one. `rate` prices a second of serving.
        """
        documents: dict[str, Any] = {}
        walks = []
        walking, held, landings, lanes = self.walks(), self.held(), self.landings(), self.lanes()
        for change in changes:
            key = key_of(ROLLOUT, change.ref)
            if change.ref in lanes:
                documents[key_of(LANE, change.ref)] = _lane_after(change, lanes[change.ref])
            documents[key] = documents[key_of(HELD, change.ref)] = documents[key_of(LANDING, change.ref)] = None
            if change.operation is not Operation.UPDATE or change.before is None or change.after is None:
                continue
            hold, current = held.get(change.ref), walking.get(change.ref)
            release = _release(change.after)
            if hold is not None and release == hold.release:
                documents[key_of(HELD, change.ref)] = hold.to_json()  # touched, but still what was found to be worse
                continue
            if current is not None and release == current.state.candidate:
                documents[key] = current.to_json()  # touched (a label), but still what is being looked at
                continue
            # What is compared with is what serves, not what Git last said: a held or half-walked release serves nobody.
            stable: Manifest = change.before.manifest
            if hold is not None:
                stable = hold.stable
            elif current is not None:
                stable = current.stable
            live, landing = running.get(change.ref), landings.get(change.ref)
            walk = _start(change.after, stable, live is not None and comparable(live), commit, now)
            if walk is not None and live is not None and walk.state.candidate not in known_good:
                rates = (rate(change.ref, change.after.manifest), rate(change.ref, stable))
                if change.ref in lanes:
                    documents[key_of(LANE, change.ref)] = lanes[change.ref].begun().to_json()
                marks = marks_of(live) if change.ref.kind == "Rollout" else UNMARKED
                course = course_of(live, stable, change.after.manifest, _serving(hold, current))
                walk = replace(walk, rates=rates, course=course, marks=marks)
                documents[key] = walk.to_json()
                walks.append(walk)
            elif landing is not None and landing.release == release:
                documents[key_of(LANDING, change.ref)] = landing.to_json()
            elif live is not None and release is not None and release != _release(change.before):
                back = hold is not None or current is not None or (landing is not None and landing.still)
                landing = landing_of(release, change.after.manifest, live, now, back=back)
                documents[key_of(LANDING, change.ref)] = None if landing is None else landing.to_json()
        return documents, tuple(walks)

    def undone_by(self, changes: Iterable[Change], commit: str, message: str, now: datetime) -> list[Entry]:
        """The ledger entries of a revert commit of ours that is deployed.

        Usually they were written when it was pushed; not when the process was killed right after the push.
        """
        if not is_rollback(message):
            return []
        held = self.held()
        return [
            journal.reverted(change.ref, held[change.ref].commit, commit, now)
            for change in changes
            if change.ref in held
        ]

    def shaped(self, declarations: Sequence[Declaration]) -> tuple[Declaration, ...]:
        """What the target is to be now: canaries with their present weight, held releases as the stable one.

        The same answer, not an equal one, as long as nothing changes: who asks looks at nothing again then.
        """
        walks, held, landings, lanes = self.walks(), self.held(), self.landings(), self.lanes()
        state = (walks, held, landings, lanes)
        if self._shaped is not None and self._shaped[0] is declarations and self._shaped[1] == state:
            return self._shaped[2]
        result = []
        for declaration in declarations:
            walk, hold = walks.get(declaration.ref), held.get(declaration.ref)
            landing, manifest = landings.get(declaration.ref), declaration.manifest
            if is_plain(manifest):
                pass  # laid out below
            elif hold is not None and walked_release(manifest) == hold.release:
                manifest = weighted_inference(manifest, 0) if hold.routed else unwalked(hold.stable)
            elif walk is not None and walked_release(manifest) == walk.state.candidate:
                manifest = walked(manifest, walk.state, walk.course)
            elif landing is not None and landing.still and walked_release(manifest) == landing.release:
                manifest = weighted_inference(manifest, 0)
            else:
                manifest = unwalked(manifest)
            result.append(declaration if manifest is declaration.manifest else replace(declaration, manifest=manifest))
        same = all(one is other for one, other in zip(result, declarations, strict=True))
        shaped = tuple(declarations) if same else tuple(result)
        plain = [item for item in declarations if is_plain(item.manifest)]
        if self._scenes is None or self._scenes[0] is not declarations:
            self._scenes = (declarations, scenes_of(plain, declarations))
        scenes, self._courses = self._scenes[1], {}
        placed = {item.ref: item for item in shaped} if plain else {}
        for item in plain:
            ref = item.ref
            lane = lanes.get(ref, Lane(ref))
            self._courses[ref] = _plain_course(item, walks.get(ref), held.get(ref), lane, scenes[ref])
            lay_out(self._courses[ref], lane, placed)
        shaped = tuple(placed.values()) if plain else shaped
        self._shaped = (declarations, state, shaped)
        return shaped

    def advance(
        self,
        observations: Sequence[Observation],
        live: Mapping[ResourceRef, LiveObject],
        now: datetime,
        unknown: Collection[ResourceRef] = (),
        promoted: Mapping[ResourceRef, str] | None = None,
    ) -> tuple[Moved, ...]:
        """Look at every canary once. The caller stores `documents` of each before it tells the target.

        Those in `unknown` have no numbers now: they wait, unless their candidate does not come up. Those in `promoted`
        have everything already, for the reason that is given.
        """
        moved = []
        for ref, walk in self.walks().items():
            if promoted and ref in promoted:
                state, verdict = promote(walk.state, promoted[ref])
                following = replace(walk, state=state)
            elif walk.course is not None and not walk.course.arrived:
                following, verdict = _arrival(walk, walk.course, live.get(ref), now)
            else:
                state, verdict = self._look(walk, observations, live.get(ref), now, known=ref not in unknown)
                following = replace(walk, state=state)
            if following != walk or verdict.move is not Move.WAIT:
                elsewhere = ref in (promoted or {})
                documents = self._documents(ref, following, verdict)
                if ref.kind == "Deployment":
                    documents |= self._lane_decided(ref, following, now)
                moved.append(Moved(following, verdict, documents, elsewhere))
        return tuple(moved)

    def _look(
        self, walk: Walk, observations: Sequence[Observation], live: LiveObject | None, now: datetime, *, known: bool
    ) -> tuple[RolloutState, RolloutVerdict]:
        state = walk.state
        if live is not None and live.health.status is HealthStatus.DEGRADED:
            return abort(state, f"the new release does not become ready: {live.health.message}")
        why, told = self._lane_of(state)
        late = (now - state.started_at).total_seconds() >= state.plan.max_duration_s
        if why and late and self.lanes().get(state.resource, Lane(state.resource)).ours:  # it was not even tried
            return abort(state, f"it has not got so far within {state.plan.max_duration_s:g} s: {why}")
        if not known:
            return state, RolloutVerdict(Move.WAIT, state.weight, "inconclusive: its numbers are not known")
        candidate = arm_stats(observations, state.candidate, state.resource, walk.rates[0])
        stable = arm_stats(observations, state.stable, state.resource, walk.rates[1])
        following, verdict = advance(state, candidate, stable, now)
        ready = live is not None and live.health.status is HealthStatus.HEALTHY and not why
        if verdict.move in (Move.STEP, Move.PROMOTE) and not ready:
            # However little a plan asks to be seen: what does not run yet is given no more traffic.
            return state, replace(verdict, move=Move.WAIT, reason=why or "the new release is not ready yet")
        if told and verdict.move is not Move.WAIT:
            verdict = replace(verdict, reason=f"{verdict.reason}; {told}")
            following = replace(following, reason=verdict.reason if following.reason else "")
        return following, verdict

    def _lane_of(self, state: RolloutState) -> tuple[str, str]:
        """Of a plain Deployment, why it has not got its share (empty: it has), and how replicas make that share."""
        course = self._courses.get(state.resource)
        if state.resource.kind != "Deployment" or course is None:
            return "", ""
        lane = self.lanes().get(state.resource, Lane(state.resource))
        if lane.clear == state.candidate and lane.share == state.weight:
            return lane.why, course.told()
        return lane.why or "the new release is not ready yet", ""

    def _documents(self, ref: ResourceRef, walk: Walk, verdict: RolloutVerdict) -> dict[str, Any]:
        key = key_of(ROLLOUT, ref)
        if walk.state.phase is RolloutPhase.ROLLED_BACK:
            hold = Held(ref, walk.state.candidate, walk.stable, walk.commit, verdict.reason)
            if walk.course is not None:
                hold = replace(hold, routed=True, serves=walk.course.serves)
            return {key: None, key_of(HELD, ref): hold.to_json()}
        if walk.state.phase is RolloutPhase.PROMOTED:
            return {key: None}
        return {key: walk.to_json()}

    def _lane_decided(self, ref: ResourceRef, walk: Walk, now: datetime) -> dict[str, Any]:
        """What is left to be done for a plain Deployment after the decision; nothing before it."""
        lane, state = self.lanes().get(ref, Lane(ref)), walk.state
        if state.phase is RolloutPhase.PROMOTED:
            lane = lane.promoted(state.candidate, state.plan.drain_s)
        elif state.phase is RolloutPhase.ROLLED_BACK:
            course = self._courses.get(ref)
            lane = lane.aborted(None if course is None else course.second, state.plan.drain_s, now)
        else:
            return {}
        return {key_of(LANE, ref): lane.to_json()}

    def may_revert(self, hold: Held, live: LiveObject | None, at: float) -> bool:
        """Whether the traffic is back, as of `at` (monotonic seconds); after a while a revert is not kept waiting.

        What a revert brings is one more revision to KServe. Of one that it hears of before it has moved the traffic, it
        says that the bad revision serves until the new one is ready.
        """
        if not hold.routed or taken_back(live, hold.serves):
            return True
        return at - self._aborted.setdefault((hold.ref, hold.commit), at) > _TAKEN_BACK_S

    def reverted(self, hold: Held, outcome: str) -> dict[str, Any]:
        """The document that remembers the revert commit (or why there is none)."""
        return {key_of(HELD, hold.ref): replace(hold, reverted=outcome).to_json()}


def _plain_course(
    declaration: Declaration, walk: Walk | None, hold: Held | None, lane: Lane, scene: Scene
) -> PlainCourse:
    """Which version of a plain Deployment serves, and which one stands beside it with which weight."""
    manifest, release = declaration.manifest, walked_release(declaration.manifest)
    if hold is not None and release == hold.release:
        return PlainCourse(declaration, hold.stable, lane.bad if lane.leaving else None, 0, scene)
    if walk is not None and release == walk.state.candidate:
        return PlainCourse(declaration, walk.stable, manifest, walk.state.weight, scene)
    if lane.landing and lane.landing == release:
        return PlainCourse(declaration, manifest, manifest, lane.share, scene)
    return PlainCourse(declaration, manifest, (lane.bad or manifest) if lane.leaving else None, lane.share, scene)


def _lane_after(change: Change, lane: Lane) -> dict[str, Any] | None:
    """A lane after a change of its Deployment that begins no walk; None: there is none any more."""
    if change.after is None or not is_plain(change.after.manifest):
        return None
    kept = not lane.landing or _release(change.after) == lane.landing
    return (lane if kept else lane.begun()).to_json()


def _arrival(walk: Walk, course: Course, live: LiveObject | None, now: datetime) -> tuple[Walk, RolloutVerdict]:
    """A look at a candidate whose revision is not ready yet: nothing is counted before it is."""
    state = walk.state
    status = None if live is None else live.health.status
    if live is not None and status is HealthStatus.DEGRADED:
        following, verdict = abort(state, f"the new release does not become ready: {live.health.message}")
        return replace(walk, state=following), verdict
    wait = RolloutVerdict(Move.WAIT, 0, "the new release is not ready yet")
    if status is HealthStatus.HEALTHY:
        return replace(walk, state=replace(state, step_at=now), course=replace(course, arrived=True)), wait
    late = (now - state.started_at).total_seconds() >= state.plan.max_duration_s
    if late and live is not None and declared_share(live.manifest) == 0:  # it was applied, and nothing came of it
        following, verdict = abort(state, f"the new release is not ready after {state.plan.max_duration_s:g} s")
        return replace(walk, state=following), verdict
    return walk, wait


def _serving(hold: Held | None, current: Walk | None) -> str:
    """The revision that serves, as who took the traffic back or holds it knows; empty: KServe is to say."""
    if hold is not None:
        return hold.serves
    return "" if current is None or current.course is None else current.course.serves


def _release(declaration: Declaration) -> str | None:
    """What an InferenceService or a Rollout runs; None for anything else: nothing else is walked or held."""
    return walked_release(declaration.manifest)


def _start(after: Declaration, stable: Manifest, runs: bool, commit: str, now: datetime) -> Walk | None:
    plan = plan_of(after.manifest)
    if plan is None or not runs:
        return None
    before, new = stable_release(stable), walked_release(after.manifest)
    if before is None or new is None:
        return None
    if before == new:  # scaled, or a comment: nothing new is served
        return None
    return Walk(begin(plan, after.ref, stable=before, candidate=new, now=now), stable, commit)
