"""The control plane: `customhouse up` as a loop of small steps, each safe to be killed in and repeated.

One step: 1. fetch; 2. judge each new commit; 3. reconcile what is allowed, heal what drifted; 4. walk canaries, undo
those that are worse; 5. note Jobs that ended; 6. measure and charge. What is stored is stored before it is acted on,
with the ledger entries that tell of it (`outbox`); ledger keys name events, so a repeated step records nothing twice.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from customhouse.app import journal, wiring, wiring_secrets, wiring_targets
from customhouse.app.clusterkeeping import ClusterTarget, Kept, drift_json
from customhouse.app.driftalerts import DRIFTED, recorded
from customhouse.app.exclusive import Exclusive
from customhouse.app.following import Books, Following
from customhouse.app.governance import Governance
from customhouse.app.keepers import Keepers, keepers_of
from customhouse.app.ledger_watch import WitnessClerk
from customhouse.app.memory import JOB, PENDING, REFUSED, REMOVING, Memory, key_of, ref_of
from customhouse.app.metering import Metering
from customhouse.app.outbox import Outbox
from customhouse.app.reconciled import reconciled
from customhouse.app.rollingback import WAITS, propose_again, why_held, write_revert
from customhouse.app.rollout_looks import degraded, services_beside, signals_of
from customhouse.app.rollout_signals import worth_telling
from customhouse.app.rollouts import Held, Moved, Rollouts
from customhouse.app.settings import Settings
from customhouse.app.settling import Settling
from customhouse.app.several_targets import SeveralTargets
from customhouse.app.standing import Standing
from customhouse.app.succession import concluded, release_name
from customhouse.app.target_spec import places_of
from customhouse.control.reconcile import Drift, ReconcileReport, reconcile
from customhouse.control.rollback import revert_message
from customhouse.control.rollout import Move
from customhouse.control.sealed import Opener
from customhouse.control.source import PushRejectedError, RevertConflictError
from customhouse.core.errors import CustomhouseError, StateError, TargetError
from customhouse.core.ledger import Entry
from customhouse.core.plan import ActionKind, HealthStatus, LiveObject
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.core.workload import workload

__all__ = ["SOURCE", "ControlPlane", "release_name"]

SOURCE = "git"
_FETCH_S = 1.0
_FETCH_MOST_S = 30.0
_DISTANCE_S = 0.2
"""How often a remote on another machine is asked for news, and how seldom when it does not answer."""
_PROPOSE_S = 15.0
"""How soon a forge is asked again for a pull request that it did not open."""


class ControlPlane:
    """One repository, one target, one ledger. Everything but `wake` and the properties belongs to one thread."""

    def __init__(self, settings: Settings, location: str, branch: str = "main", *, key: Path | None = None) -> None:
        """Open state, ledger and mirror. `key` signs what Customhouse commits.

        Raises SourceError, and StateError when another control plane runs on this state: then nothing was touched.
        """
        self.settings = settings
        self.location, self.branch = location, branch
        self.clock = wiring.clock()
        self._exclusive = Exclusive(settings.state)
        try:
            self.source = wiring.repository(settings, location, branch)
            store = self.store = wiring.store(settings)
            self.ledger = wiring.ledger(settings, self.store, write=True)
            self.memory = Memory(self.store.state)
            self.outbox = Outbox(self.memory, self.ledger)
            self.witnesses = WitnessClerk(self.ledger, self.store, wiring.witness_post, self.clock)
            self.rollouts = Rollouts(self.memory)
            self.metering = Metering(self.memory, self.store.measurements)
            self._standing = Standing(settings, self.source, self.memory)
            engine = wiring.engine(settings)
            self.following = Following(
                settings, self.source, self._standing, self.memory, self.outbox, engine, self.clock
            )
            self.following.found()
            provider = wiring_secrets.secret_provider(
                settings, self.declared, lambda: self._opener_for(self.declared())
            )
            self._place = places_of(self.governing().configuration.clusters)
            self._open = partial(wiring_targets.plane_target, settings, secrets=provider)
            self.target = self._open(self.governing().configuration)
        except BaseException:
            self._exclusive.release()
            raise
        self._books = Books(
            store.decisions, store.releases, store.measurements, self.rollouts, self.metering, self.target
        )
        self.keeping = self._keeping()
        self._strangers: object = ()
        self.signing_key = key
        self._wake, self._rest = threading.Event(), threading.Event()
        self._heard, self._stepped_at = False, 0.0
        self.fetching = False
        """Whether the loop waits for the remote: then, and only then, it may be interrupted."""
        self.problem = ""
        self.fault = ""
        """The traceback of the last failure that nobody expected."""
        self.changes = 0
        """Grows with everything that a reader of the board would want to know at once."""
        self._fetch_at, self._fetch_pause, self._propose_at = 0.0, 0.0, 0.0
        self.report: ReconcileReport | None = None
        self.live: Mapping[ResourceRef, LiveObject] = {}
        self._settling = Settling()
        self._drifting: dict[ResourceRef, tuple[str, tuple[str, ...]]] = {}

    def _keeping(self) -> Keepers | None:
        """What keeps clusters as declared; None where the target is this machine."""
        specs = self.governing().configuration.clusters
        if not specs or not isinstance(self.target, ClusterTarget | SeveralTargets):
            return None
        where, told = (self.location, self.branch, self.settings.state), (self.heard, self.wake)
        state, noted_in = self.store.state, self.settings.allowed_in
        return keepers_of(self.target, specs, self.source, state, self.clock, where, told, noted_in=noted_in)

    # life
    def start(self) -> None:
        """Take over or start what runs. Raises TargetError (a port in use) and StateError (a second process)."""
        self.following.admit_deployed()
        self.target.start()

    def close(self, *, keep_serving: bool = False) -> None:
        """End the target (unless it is to go on serving) and close the state."""
        if self.keeping is not None:
            self.keeping.rest()
        self.target.stop(keep_serving=keep_serving)
        self.witnesses.close()
        self.store.close()
        self._exclusive.release()

    def wake(self) -> None:
        """Make `wait` return: something happened."""
        self._wake.set()

    def heard(self) -> None:
        """Something happened in the cluster. Many things do: the steps that follow from it keep their distance."""
        self._heard = True
        self._wake.set()

    def wait(self, seconds: float) -> None:
        """Sleep until the next step is due or somebody wakes it."""
        self._wake.wait(seconds)
        if self._heard:
            self._heard = False
            self._rest.wait(max(0.0, self._stepped_at + _DISTANCE_S - self.clock.monotonic()))
        self._wake.clear()

    @property
    def head(self) -> str:
        """The branch's head as of the last fetch; empty before the first."""
        return self.following.head

    def governing(self) -> Governance:
        """The governance in force: that of the last allowed revision, else of the founding one, else the defaults."""
        return self._standing.governing()

    def declared(self) -> tuple[Declaration, ...]:
        """The Declarations of the last allowed revision, as they were judged."""
        return self._standing.declared()

    # steps
    def step(self) -> None:
        """One round. Errors of one part are kept in `problem` and do not stop the others; StateError is raised."""
        problems = []
        self._stepped_at = self.clock.monotonic()
        for part in (self._resume, self._follow, self._reconcile, self._walk, self._note_jobs, self._measure):
            try:
                part()
            except StateError:
                raise
            except CustomhouseError as error:
                problems.append(str(error))
            except OSError as error:
                raise StateError(f"{error.strerror or error}", where=str(error.filename or "")) from error
            except Exception as error:  # noqa: BLE001 - what serves must go on whatever one part trips over; it is told
                self.fault = traceback.format_exc()
                problems.append(f"internal error in {part.__name__.strip('_')}: {error!r}")
        held = [f"{item.ref} is held: {why_held(item.reason, item.reverted)}" for item in self.rollouts.held().values()]
        refused = self.memory.get(REFUSED)
        if refused is not None and refused["revision"] == self.head:
            problems.append(refused["text"])
        self.witnesses.poke(self.governing().configuration.ledger)
        watched = [self.witnesses.problem] if self.witnesses.problem else []
        problem = "; ".join([*problems, *held, *degraded(self.live, self.rollouts), *watched])
        self.changes += problem != self.problem
        self.problem = problem

    def _resume(self) -> None:
        """What a kill (or a full disk) left half-way: entries that were not delivered, a charge that was begun."""
        self.outbox.deliver()
        if self.metering.interrupted:
            self._charge()

    # 1 and 2
    def _follow(self) -> None:
        self._fetch()
        for commit in self.following.new_commits():
            if not self.following.consider(commit, self._books):
                return
            # Folders of claims and images take effect with the revision that names them.
            self.target.configure(*wiring.target_folders(self.settings, self.governing().configuration))

    def _fetch(self) -> None:
        """Ask the remote, unless it was asked a moment ago; one that is out of reach is asked less and less often."""
        if self.clock.monotonic() < self._fetch_at and not self.source.nearby:
            return
        before, self.fetching = self.following.head, True
        pause = min(max(_FETCH_S, 2 * self._fetch_pause), _FETCH_MOST_S)
        try:
            self.following.head = self.source.fetch()
            pause = _FETCH_S
        finally:
            self.fetching = False
            self._fetch_pause, self._fetch_at = pause, self.clock.monotonic() + pause
        self.changes += self.following.head != before

    # 3
    def _reconcile(self) -> None:
        deployed = self.memory.deployed
        if deployed is None:
            return
        self._go_where_it_says()
        desired = self.rollouts.shaped(self.declared())
        if self.keeping is not None:
            self._keep(self.keeping, desired, deployed.revision)
            return
        report = reconcile(self.target, self.store.state, SOURCE, deployed.revision, desired)
        self.report = report
        self._note_drift(report.drift, deployed.revision)
        done = {r.action.ref for r in report.results if r.ok and r.changed and r.action.kind is not ActionKind.DELETE}
        live = self.target.read([declaration.ref for declaration in desired])
        self.changes += bool(done) or {r: o.health for r, o in live.items()} != {
            r: o.health for r, o in self.live.items()
        }
        self.live = live
        self._note_deployments(desired, done, deployed.revision)
        self._note_removals()
        self._settle()
        failed = [f"{r.action.ref}: {r.message}" for r in report.results if not r.ok]
        if report.blocked or failed:
            raise TargetError("; ".join([*([report.blocked] if report.blocked else []), *failed]))

    def _go_where_it_says(self) -> None:
        """Leave the target for the one that is named by now: its mode is not said of the one before."""
        place = places_of(self.governing().configuration.clusters)
        if place == self._place:
            if isinstance(self.target, SeveralTargets):
                self.target.placing = self.governing().configuration.placing
            return
        if self.keeping is not None and not self.keeping.rest():
            raise TargetError("another target is named now, and the step under way in the one before has not ended")
        if self.live and not (place and self._place):  # what serves on this machine is not ended unasked
            raise TargetError("customhouse.yaml names another target now", hint="start `customhouse up` again")
        found = self._open(self.governing().configuration)
        self.target.stop()
        self.target, self.live = found, {}
        self._books = replace(self._books, target=found)
        self.keeping = self._keeping()
        found.start()
        self._place = place

    def _keep(self, keeping: Keepers, desired: Sequence[Declaration], revision: str) -> None:
        """Step 3 where the target is a cluster, or several."""
        kept = keeping.keep(desired, self.governing(), revision, self.location, self._opener_for)
        self.live = keeping.live
        self.changes += kept.changed
        now = self.clock.now()
        drifts = [(item, drift_json(item)) for item in kept.drift]
        entries = [
            journal.drifted(item.ref, said["found"], said["fields"], revision, now, corrected=item.corrected)
            for item, said in drifts
        ]
        entries += [journal.released(ref, reason, revision, now) for ref, reason in kept.released]
        if keeping.strangers is not self._strangers:
            self._strangers = keeping.strangers
            entries += [journal.undeclared(item.ref, item.uid, revision, now) for item in keeping.strangers[:50]]
        told = [said for _, said in drifts] if self.governing().configuration.alertmanager else []
        waiting = {DRIFTED: recorded(self.memory.get(DRIFTED), told, now)} if told else {}
        theirs = reconciled(kept.statuses, self.memory, desired, now, self.source.is_ancestor)
        self.store.releases.record_all(theirs.releases)
        self.outbox.commit({**waiting, **theirs.documents}, [*entries, *theirs.entries])
        self._note_deployments(desired, kept.done, revision)
        self._note_removals(kept)
        self._settle()
        if kept.problem or theirs.problem:
            raise TargetError("; ".join(filter(None, (theirs.problem, kept.problem))))

    def _opener_for(self, declared: Sequence[Declaration]) -> Opener | None:
        """What opens what SOPS encrypted of the last allowed revision. Raises ConfigError for keys that are none."""
        deployed = self.memory.deployed
        if deployed is None:
            return None
        return wiring_secrets.opener(self.settings, partial(self.source.read, deployed.revision), declared)

    def _note_drift(self, found: Sequence[Drift], revision: str) -> None:
        """Record each drift once, however often it comes back before the object is healthy again."""
        now = self.clock.now()
        entries = []
        for item in found:
            seen = (item.kind.value, tuple(diff.pointer for diff in item.diff))
            if self._drifting.get(item.ref) == seen:
                continue
            self._drifting[item.ref] = seen
            fields = [{"pointer": diff.pointer, "declared": diff.declared, "live": diff.live} for diff in item.diff]
            entries.append(journal.drifted(item.ref, item.kind.value, fields, revision, now))
        self.outbox.commit({}, entries)
        drifting = {item.ref for item in found}
        for ref in [ref for ref in self._drifting if ref not in drifting]:
            live = self.live.get(ref)
            if live is not None and live.health.status is HealthStatus.HEALTHY:
                self._drifting.pop(ref)

    def _note_deployments(self, desired: Sequence[Declaration], done: set[ResourceRef], revision: str) -> None:
        """Record what was handed to the target: now (`done`), or before a kill that came before the record."""
        waiting = self.memory.all(PENDING)
        if not done and all(value["noted"] for value in waiting.values()):
            return
        now = self.clock.now()
        documents: dict[str, Any] = {}
        entries = list[Entry]()
        left = {ref_of(value["resource"]) for value in waiting.values() if not value["noted"]}
        left = done.union(ref for ref in left if ref in self.live)
        for declaration in (item for item in desired if item.ref in left):
            ref, key = declaration.ref, key_of(PENDING, declaration.ref)
            value: Any = waiting.get(key)
            if workload(declaration.manifest, ref) is None:
                continue
            release = release_name(declaration)
            ours = value is not None and value["release"] == release
            if not (ref in done or (ours and not value["noted"] and ref in self.live)):
                continue
            commit, decision = (value["revision"], value["decision"]) if ours else (revision, "")
            entries.append(journal.deployed(declaration, release, commit, decision, now))
            documents |= {key: {**value, "noted": True}} if ours else {}
        self.outbox.commit(documents, entries)

    def _note_removals(self, kept: Kept | None = None) -> None:
        for key, value in self.memory.all(REMOVING).items():
            ref = ref_of(value["resource"])
            if kept is not None and any(ref == released for released, _ in kept.released):
                self.outbox.commit({key: None})  # told once, and held until this is written
            elif self.keeping is not None and self.keeping.holds(ref):
                continue
            elif ref not in self.target.read([ref]):
                self.outbox.commit({key: None}, [journal.deleted(ref, value["revision"], self.clock.now())])

    def _settle(self) -> None:
        """A release that is Healthy and not a canary (any more) is promoted."""
        walking = self.rollouts.unfinished()
        documents: dict[str, Any] = {}
        records, told = list[Release](), list[Entry]()
        for key, value, ref, live in self._settling.healthy(self.memory.all(PENDING), self.live):
            if ref in walking or (self.keeping is not None and not self.keeping.applied(ref)):
                continue  # what is healthy is the version before
            stable = live.status.get("local", {}).get("stable")
            if self.keeping is None and ref.kind == "InferenceService" and stable != value["release"]:
                continue
            record, entries = concluded(value, RolloutPhase.PROMOTED, "", self.clock.now())
            records.append(record)
            documents[key] = None
            told += entries
        self.store.releases.record_all(records)
        self.outbox.commit(documents, told)

    # 4
    def _walk(self) -> None:
        busy = self.keeping is not None and self.keeping.busy  # what is there is not known before that has ended
        if not busy and self.rollouts.land(self.target.read, self.clock.now(), partial(services_beside, self.target)):
            self.changes += 1
            self.wake()
        walks = {} if busy else self.rollouts.walks()
        unknown: Mapping[ResourceRef, str] = {}
        if walks:
            spec = self.governing().configuration.metrics
            signals = signals_of(self.target, self.live, walks, spec, self.clock.now())
            if self.keeping is not None:
                signals = signals.without([ref for ref in walks if not self.keeping.applied(ref)])
            unknown = signals.unknown
            for moved in self.rollouts.advance(
                signals.observations, signals.live, self.clock.now(), unknown, signals.promoted
            ):
                self._move(moved)
        for hold in self.rollouts.held().values():
            at = self.clock.monotonic()
            again = at >= self._propose_at and hold.reverted.startswith(f"!{WAITS}")
            if again or (not hold.reverted and self.rollouts.may_revert(hold, self.live.get(hold.ref), at)):
                self._revert(hold)
        told = worth_telling({**unknown, **self.rollouts.waiting()}, walks, self.clock.now())
        if told:
            raise TargetError("; ".join(told))

    def _move(self, moved: Moved) -> None:
        state, verdict = moved.walk.state, moved.verdict
        documents, entries = dict(moved.documents), list[Entry]()
        now = self.clock.now()
        if verdict.move is Move.STEP or moved.elsewhere:
            phase = "taken-over" if moved.elsewhere else f"canary-{state.weight}"
            entries.append(
                journal.rolled(state.resource, state.candidate, moved.walk.commit, phase, verdict.reason, now)
            )
        key = key_of(PENDING, state.resource)
        value = self.memory.get(key) if verdict.move is Move.ABORT else None
        if value is not None:
            record, entries = concluded(value, RolloutPhase.ROLLED_BACK, verdict.reason, now)
            self.store.releases.record(record)
            documents[key] = None
        self.outbox.put(documents, entries)
        if verdict.move is not Move.WAIT:
            # Traffic first: the target hears of it before the ledger does.
            self._reconcile()
        self.outbox.deliver()

    def _revert(self, hold: Held) -> None:
        """Write the commit that makes Git say what runs. A conflict is said and left to a person."""
        subject = self.source.revision(hold.commit, allowed_signers=None, last_deployed=None).subject
        message = revert_message(subject, hold.commit, hold.ref, hold.reason)
        try:
            self.following.head = self.source.fetch()
            done = (hold.commit, hold.ref)
            rules, key = self.governing().configuration, self.signing_key
            if hold.reverted:
                made = propose_again(self.settings, rules, self.source, hold.ref, self.branch, message)
            else:
                made = write_revert(self.settings, rules, self.source, done, self.branch, message, key)
            self._propose_at = self.clock.monotonic() + _PROPOSE_S
        except PushRejectedError:
            return  # somebody pushed meanwhile: the next step tries again on the new head
        except RevertConflictError as error:
            self.outbox.commit(self.rollouts.reverted(hold, f"!{error}"))
            return
        entry = journal.reverted(hold.ref, hold.commit, made.commit, self.clock.now())
        waits = f"!{WAITS} {made.branch}: {made.unopened}" if made.unopened else made.commit
        self.outbox.commit(self.rollouts.reverted(hold, waits), [entry])
        self.wake()

    # 5
    def _note_jobs(self) -> None:
        governing = self.governing()
        for declaration in self.declared():
            if declaration.ref.kind != "Job":
                continue
            live = self.live.get(declaration.ref)
            outcome = None if live is None else live.status.get("local", {}).get("outcome")
            key = key_of(JOB, declaration.ref)
            # The same manifest declared again after it left Git is another run, with its own record and charge.
            run = "" if outcome is None else f"{declaration.digest}:{outcome.get('finished', '')}"
            if outcome is None or self.memory.get(key) == run:
                continue
            status = "complete" if outcome["succeeded"] else "failed"
            at = self.clock.now()
            message = str(outcome.get("reason", ""))
            revision = self.memory.deployed.revision if self.memory.deployed else ""
            finished = str(outcome.get("finished", ""))
            entries = [journal.job_finished(declaration, revision, status, message, at, finished=finished)]
            release = release_name(declaration)
            entries.extend(self.metering.charge_job(governing, declaration.ref, release, outcome))
            self.outbox.commit({key: run}, entries)

    # 6
    def _measure(self) -> None:
        governing = self.governing()
        now = self.clock.now()
        window = timedelta(seconds=governing.configuration.window_seconds)
        if self.metering.due(now, window):
            self.measure_now()

    def measure_now(self) -> None:
        """Sample and charge up to now, whatever the window says."""
        self.metering.sample(self.target.observe())
        self._charge()

    def _charge(self) -> None:
        charged = self.metering.charge(self.governing(), self.clock.now())
        self.outbox.commit(charged.documents, charged.entries)

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries to the ledger; those whose key is there already are not written again."""
        if entries:
            self.ledger.append(entries)
