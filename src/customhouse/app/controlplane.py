"""The control plane: `customhouse up` as a loop of small steps, each safe to be killed in and repeated.

One step: 1. fetch; 2. judge each new commit; 3. reconcile what is allowed, heal what drifted; 4. walk canaries, undo
those that are worse; 5. note Jobs that ended; 6. measure and charge. What is stored is stored before it is acted on;
ledger keys name events, so a repeated step records nothing twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.app import journal, wiring
from customhouse.app.clearance import Clearance, Judgement, Question, Spend, declarations_of
from customhouse.app.configuration import FILE
from customhouse.app.governance import Governance, governance
from customhouse.app.identity import IDENTITY
from customhouse.app.images import export_images
from customhouse.app.memory import DEPLOYED, FOUNDING, JOB, JUDGED, PENDING, REFUSED, Deployed, Memory, key_of, ref_of
from customhouse.app.metering import Metering
from customhouse.app.rollouts import Held, Rollouts
from customhouse.app.settings import Settings
from customhouse.app.spend import month_charges
from customhouse.control.reconcile import ReconcileReport, reconcile
from customhouse.control.rollback import is_rollback, revert_message
from customhouse.control.rollout import Move
from customhouse.control.source import PushRejectedError, RevertConflictError
from customhouse.core.change import Revision
from customhouse.core.decision import Decision, Verdict
from customhouse.core.errors import CannotDecideError, CustomhouseError, StateError, TargetError
from customhouse.core.ledger import Entry
from customhouse.core.plan import ActionKind, HealthStatus, LiveObject
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.workload import workload
from customhouse.execution.objects import job_run, release_of

SOURCE = "git"
_RETRY_S = 10.0
"""A commit that could not be judged (an artifact that is not there yet) is asked about again this often."""


class ControlPlane:
    """One repository, one target, one ledger. Everything but `wake` and the properties belongs to one thread."""

    def __init__(self, settings: Settings, location: str, branch: str = "main", *, key: Path | None = None) -> None:
        """Open state, ledger and mirror. `key` signs what Customhouse commits. Raises SourceError, StateError."""
        self.settings = settings
        self.location, self.branch = location, branch
        self.clock = wiring.clock()
        self.source = wiring.repository(settings, location, branch)
        self.store = wiring.store(settings)
        self.ledger = wiring.ledger(settings, self.store, write=True)
        self.memory = Memory(self.store.state)
        self.rollouts = Rollouts(self.memory)
        self.metering = Metering(self.memory, self.store.measurements)
        self._clearance = Clearance(wiring.engine(settings), self.clock, settings.workspace)
        self.signing_key = key
        self._wake = threading.Event()
        self._governing: tuple[str | None, Governance] | None = None
        self._declared: tuple[Deployed, tuple[Declaration, ...]] | None = None
        self._retry_at: tuple[str, float] | None = None
        self.head = ""
        self.problem = ""
        self.report: ReconcileReport | None = None
        self.live: Mapping[ResourceRef, LiveObject] = {}
        if self.memory.deployed is None and self.memory.get(FOUNDING) is None:
            self._found()
        self.target = wiring.target(settings, self.governing().configuration)

    # life
    def start(self) -> None:
        """Take over or start what runs. Raises TargetError (a port in use) and StateError (a second process)."""
        self.target.start()

    def close(self, *, keep_serving: bool = False) -> None:
        """End the target (unless it is to go on serving) and close the state."""
        self.target.stop(keep_serving=keep_serving)
        self.store.close()

    def wake(self) -> None:
        """Make `wait` return: something happened."""
        self._wake.set()

    def wait(self, seconds: float) -> None:
        """Sleep until the next step is due or somebody wakes it."""
        self._wake.wait(seconds)
        self._wake.clear()

    # governance
    def governing(self) -> Governance:
        """The governance in force: that of the last allowed revision, else of the founding one, else the defaults."""
        deployed = self.memory.deployed
        revision = deployed.revision if deployed is not None else self.memory.get(FOUNDING)
        if self._governing is None or self._governing[0] != revision:
            tree = None if revision is None else self.source
            self._governing = (revision, governance(tree, revision, self.settings.config))
        return self._governing[1]

    # steps
    def step(self) -> None:
        """One round. Errors of one part are kept in `problem` and do not stop the others; StateError is raised."""
        problems = []
        for part in (self._follow, self._reconcile, self._walk, self._note_jobs, self._measure):
            try:
                part()
            except StateError:
                raise
            except CustomhouseError as error:
                problems.append(str(error))
        held = [f"{item.ref} is held: {item.reason}" for item in self.rollouts.held().values()]
        refused = self.memory.get(REFUSED)
        if refused is not None and refused["revision"] == self.head:
            problems.append(refused["text"])
        self.problem = "; ".join([*problems, *held])

    # 1 and 2
    def _follow(self) -> None:
        self.head = self.source.fetch()
        judged = self.memory.judged
        if self.head == judged:
            return
        for commit in self._new_commits(judged):
            if not self._consider(commit):
                return

    def _new_commits(self, judged: str | None) -> Sequence[str]:
        if judged is None:
            founding = self.memory.get(FOUNDING)
            # Without a founding commit there is no governance to walk through: the head is judged as it stands.
            return (self.head,) if founding is None else (founding, *self.source.commits(founding, self.head))
        if not self.source.is_ancestor(judged, self.head):
            # History was rewritten: the commits between are not a way from what was judged; only the head is left.
            return (self.head,)
        return self.source.commits(judged, self.head)

    def _found(self) -> None:
        """At the first start the oldest commit with a customhouse.yaml is trusted, and recorded as such.

        Its Declarations are judged like those of any commit, under its own governance.
        """
        self.head = self.source.fetch()
        if self.settings.config is not None:
            return
        for commit in self.source.commits(None, self.head):
            data = self.source.read(commit, FILE)
            if data is not None:
                governance(self.source, commit)
                self.append([journal.founded(commit, bytes_digest(data), self.clock.now())])
                self.memory.put({FOUNDING: commit})
                return

    def _consider(self, commit: str) -> bool:
        """Judge one commit and take it over when it is allowed; False: it has to be asked about again."""
        waiting = self._retry_at
        if waiting is not None and waiting[0] == commit and self.clock.monotonic() < waiting[1]:
            return False
        author = "unknown"
        try:
            governing, base = self.governing(), self.declared()
            deployed = self.memory.deployed
            revision = self.source.revision(
                commit,
                allowed_signers=governing.allowed_signers,
                last_deployed=None if deployed is None else deployed.revision,
                gpg_keys=governing.gpg_keys,
            )
            author = revision.author
            judgement = self._clearance.judge(
                Question(governing, self.source, commit, base, revision, author, self._spend())
            )
        except CannotDecideError as error:
            self._refuse(commit, author, error)
            return commit != self.head
        self._retry_at = None
        self._record(judgement, revision)
        if judgement.verdict is Verdict.DENY:
            self._keep_last_good(commit, judgement)
        else:
            self._take_over(commit, judgement, governing)
        return True

    def _spend(self) -> Spend:
        return Spend(month_charges(self.store.measurements, self.clock.now()))

    def _refuse(self, commit: str, author: str, error: CustomhouseError) -> None:
        self.append([journal.refused(commit, author, error.code, str(error), self.clock.now())])
        text = f"could not decide about {commit[:12]}: {error}"
        self.memory.put({REFUSED: {"revision": commit, "text": text}})
        self._retry_at = (commit, self.clock.monotonic() + _RETRY_S)

    def _record(self, judgement: Judgement, revision: Revision) -> None:
        entries: list[Entry] = []
        for change, decision, facts in zip(judgement.changes, judgement.decisions, judgement.facts, strict=True):
            self.store.decisions.record(decision, facts.document)
            entries.extend(journal.judged(revision, decision, facts, change.after))
        self.append(entries)

    def _keep_last_good(self, commit: str, judgement: Judgement) -> None:
        reasons = [
            f"{finding.resource}: {finding.message}"
            for decision in judgement.decisions
            if decision.verdict is Verdict.DENY
            for finding in decision.findings[:1]
        ]
        text = f"{commit[:12]} is denied, the last good state stays: {'; '.join(reasons)}"
        self.memory.put({JUDGED: commit, REFUSED: {"revision": commit, "text": text[:2000]}})

    def _take_over(self, commit: str, judgement: Judgement, governing: Governance) -> None:
        now = self.clock.now()
        export_images(self.source, commit, governing.configuration, self.settings)
        documents: dict[str, Any] = {}
        decisions = {decision.resource: decision for decision in judgement.decisions}
        # Asked now, not remembered: after a restart nothing has been read yet, and a canary would be skipped.
        running = self.target.read([change.ref for change in judgement.changes])
        known = self._known_good() if is_rollback(self.source.message(commit)) else ()
        rolling, walks = self.rollouts.begun_by(judgement.changes, running, commit, known, now)
        documents |= rolling
        for change in judgement.changes:
            if change.after is None or workload(change.after.manifest, change.ref) is None:
                documents[key_of(PENDING, change.ref)] = None
                continue
            documents |= self._pending(change.after, commit, judgement.revision, decisions[change.ref])
        deployed = Deployed(commit, governing.configuration.paths, commit)
        documents |= {JUDGED: commit, DEPLOYED: deployed.to_json(), REFUSED: None}
        # One transaction: a kill before it repeats the judgement, a kill after it goes on with the deployment.
        self.memory.put(documents)
        self._governing = None
        self.target.configure(*wiring.target_folders(self.settings, self.governing().configuration))
        self.append(
            [
                journal.rolled(
                    walk.state.resource, walk.state.candidate, commit, f"canary-{walk.state.weight}", "begun", now
                )
                for walk in walks
            ]
        )

    def _known_good(self) -> frozenset[str]:
        """The releases that were promoted and never rolled back."""
        history = self.store.releases.history(limit=10_000)
        bad = {item.release for item in history if item.phase is RolloutPhase.ROLLED_BACK}
        return frozenset(item.release for item in history if item.phase is RolloutPhase.PROMOTED) - bad

    def _pending(
        self, declaration: Declaration, commit: str, revision: Revision | None, decision: Decision
    ) -> dict[str, Any]:
        release, artifact = release_name(declaration), journal.model_digest(declaration)
        value = {
            "resource": declaration.ref.to_json(),
            "release": release,
            "revision": commit,
            "author": "" if revision is None else revision.author,
            "artifact": artifact,
            "verdict": decision.verdict.value,
            "decision": decision.digest,
        }
        remembered = self.metering.remember(declaration.ref, release, declaration.manifest, artifact)
        return {key_of(PENDING, declaration.ref): value, **remembered}

    # 3
    def declared(self) -> tuple[Declaration, ...]:
        """The Declarations of the last allowed revision, as they were judged."""
        deployed = self.memory.deployed
        if deployed is None:
            return ()
        if self._declared is None or self._declared[0] != deployed:
            found = declarations_of(self.source, deployed.revision, deployed.paths)
            self._declared = (deployed, found)
        return self._declared[1]

    def _reconcile(self) -> None:
        deployed = self.memory.deployed
        if deployed is None:
            return
        desired = self.rollouts.shaped(self.declared())
        report = reconcile(self.target, self.store.state, SOURCE, deployed.revision, desired)
        self.report = report
        now = self.clock.now()
        entries = [
            journal.drifted(
                item.ref,
                item.kind.value,
                [{"pointer": diff.pointer, "declared": diff.declared, "live": diff.live} for diff in item.diff],
                deployed.revision,
                now,
            )
            for item in report.drift
        ]
        by_ref = {declaration.ref: declaration for declaration in desired}
        for result in report.results:
            if result.ok and result.action.kind is ActionKind.DELETE:
                entries.append(journal.deleted(result.action.ref, deployed.revision, now))
            elif result.ok and result.action.ref in by_ref and result.changed:
                entries.extend(self._deployment(by_ref[result.action.ref], deployed.revision))
        self.append(entries)
        self.live = self.target.read([declaration.ref for declaration in desired])
        self._settle()
        failed = [f"{r.action.ref}: {r.message}" for r in report.results if not r.ok]
        if report.blocked or failed:
            raise TargetError("; ".join([*([report.blocked] if report.blocked else []), *failed]))

    def _deployment(self, declaration: Declaration, revision: str) -> Sequence[Entry]:
        if workload(declaration.manifest, declaration.ref) is None:
            return ()
        pending = self.memory.get(key_of(PENDING, declaration.ref))
        decision = "" if pending is None else pending["decision"]
        release = release_name(declaration)
        return (journal.deployed(declaration, release, revision, decision, self.clock.now()),)

    def _settle(self) -> None:
        """A release that is Healthy and not a canary (any more) is promoted."""
        walking = self.rollouts.walks()
        for key, value in self.memory.all(PENDING).items():
            ref = ref_of(value["resource"])
            live = self.live.get(ref)
            if live is None or ref in walking or live.health.status is not HealthStatus.HEALTHY:
                continue
            if ref.kind == "InferenceService" and live.status.get("local", {}).get("stable") != value["release"]:
                continue
            self._release(value, RolloutPhase.PROMOTED, "")
            self.memory.put({key: None})

    def _release(self, value: Mapping[str, Any], phase: RolloutPhase, reason: str) -> None:
        ref = ref_of(value["resource"])
        now = self.clock.now()
        self.store.releases.record(
            Release(
                resource=ref,
                release=value["release"],
                revision=value["revision"],
                author=value["author"],
                artifact=value["artifact"],
                verdict=value["verdict"],
                decision=value["decision"],
                phase=phase,
                at=now,
                reason=reason,
            )
        )
        if ref.kind == "InferenceService":
            entry = journal.rolled(ref, value["release"], value["revision"], phase.value, reason or "healthy", now)
            self.append([entry])

    # 4
    def _walk(self) -> None:
        if self.rollouts.walks():
            for moved in self.rollouts.advance(self.target.observe(), self.live, self.clock.now()):
                state, verdict = moved.walk.state, moved.verdict
                # Traffic first: the target hears of it before anything is written about it.
                self._reconcile()
                if verdict.move is Move.STEP:
                    phase = f"canary-{state.weight}"
                    text = verdict.reason
                    entry = journal.rolled(
                        state.resource, state.candidate, moved.walk.commit, phase, text, self.clock.now()
                    )
                    self.append([entry])
                elif verdict.move is Move.ABORT:
                    self._rolled_back(state.resource, verdict.reason)
        for hold in self.rollouts.held().values():
            if not hold.reverted:
                self._revert(hold)

    def _rolled_back(self, ref: ResourceRef, reason: str) -> None:
        pending = self.memory.get(key_of(PENDING, ref))
        if pending is not None:
            self._release(pending, RolloutPhase.ROLLED_BACK, reason)
            self.memory.put({key_of(PENDING, ref): None})

    def _revert(self, hold: Held) -> None:
        """Write the commit that makes Git say what runs. A conflict is said and left to a person."""
        subject = self.source.revision(hold.commit, allowed_signers=None, last_deployed=None).subject
        message = revert_message(subject, hold.commit, hold.ref, hold.reason)
        try:
            self.head = self.source.fetch()
            commit = self.source.revert(
                hold.commit, self.branch, message, identity=IDENTITY, signing_key=self.signing_key
            )
        except PushRejectedError:
            return  # somebody pushed meanwhile: the next step tries again on the new head
        except RevertConflictError as error:
            self.rollouts.reverted(hold, f"!{error}")
            return
        self.rollouts.reverted(hold, commit)
        self.append([journal.reverted(hold.ref, hold.commit, commit, self.clock.now())])
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
            if outcome is None or self.memory.get(key) == declaration.digest:
                continue
            status = "complete" if outcome["succeeded"] else "failed"
            at = self.clock.now()
            message = str(outcome.get("reason", ""))
            revision = self.memory.deployed.revision if self.memory.deployed else ""
            entries = [journal.job_finished(declaration, revision, status, message, at)]
            release = release_name(declaration)
            entries.extend(self.metering.charge_job(governing, declaration.ref, release, outcome))
            self.append(entries)
            self.memory.put({key: declaration.digest})

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
        self.append(self.metering.charge(self.governing(), self.clock.now()))

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries to the ledger; those whose key is there already are not written again."""
        if entries:
            self.ledger.append(entries)


def release_name(declaration: Declaration) -> str:
    """The digest that names what runs, as the target's Observations name it."""
    manifest: Manifest = declaration.manifest
    if declaration.ref.kind == "InferenceService":
        return release_of(manifest)
    if declaration.ref.kind == "Job":
        return job_run(manifest).digest
    return declaration.digest
