"""Following a branch: each new commit is judged under what stood before it, and taken over when it is allowed.

What is done about a commit is one transaction: a kill before it repeats the judgement at the same moment (so that it
comes out the same), a kill after it goes on with the deployment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from customhouse._kit.clock import Clock, FixedClock, from_rfc3339, to_rfc3339
from customhouse._kit.digest import bytes_digest
from customhouse.app import fetchednotes, journal, wiring
from customhouse.app.admitted import write_admitted
from customhouse.app.clearance import Clearance, Judgement, Question, Spend
from customhouse.app.configuration import FILE
from customhouse.app.governance import GOVERNANCE, Governance, governance
from customhouse.app.images import export_images
from customhouse.app.judging import canonical
from customhouse.app.memory import (
    DEPLOYED,
    FOUNDING,
    JUDGED,
    JUDGING,
    PENDING,
    REFUSED,
    REMOVING,
    Deployed,
    Memory,
    key_of,
)
from customhouse.app.metering import Metering
from customhouse.app.outbox import Outbox
from customhouse.app.pricing import Monthly, serving_rate
from customhouse.app.reviewing import review_of
from customhouse.app.rollouts import Rollouts
from customhouse.app.settings import Settings
from customhouse.app.spend import month_charges
from customhouse.app.standing import Standing
from customhouse.app.succession import pending, replaced, require_local
from customhouse.control.rollback import is_rollback
from customhouse.control.source import Repository
from customhouse.core.change import Operation, Revision
from customhouse.core.decision import Severity, Verdict
from customhouse.core.errors import CannotDecideError, CustomhouseError, StateError, TamperError, UsageError
from customhouse.core.forge import Review
from customhouse.core.ledger import Entry
from customhouse.core.ports import DecisionLog, Measurements, PolicyEngine, ReleaseLog, Target
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.remembering import remembering
from customhouse.core.resource import Declaration
from customhouse.core.workload import workload

_RETRY_S = 1.0
_RETRY_MOST_S = 10.0
"""A commit that could not be judged (an artifact that is not there yet) is asked about again: soon, then less often."""
_AT_ONCE, _ENTERED = 200, 500
"""Decisions that are recorded together, and that are entered together in the ledger."""
_RESUMED = timedelta(minutes=10)
"""How old an interrupted judgement may be to be repeated as of its moment; an older one is made anew."""


class Following:
    """Steps 1 and 2 of the control plane. Belongs to its thread."""

    def __init__(
        self,
        settings: Settings,
        source: Repository,
        standing: Standing,
        memory: Memory,
        outbox: Outbox,
        engine: PolicyEngine,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._source = source
        self._standing = standing
        self._memory = memory
        self._outbox = outbox
        self._engine = engine
        self._clock = clock
        self._monthly = Monthly()
        self._retry: dict[str, tuple[float, float]] = {}
        """Commit → when it is asked about again (monotonic), and how long was waited for that."""
        self.head = ""
        """The branch's head as of the last fetch."""

    def found(self) -> None:
        """At the first start the oldest commit with a customhouse.yaml is trusted, and recorded as such.

        Its Declarations are judged like those of any commit, under its own governance.
        """
        if self._memory.deployed is not None or self._memory.get(FOUNDING) is not None:
            return
        self.head = self._source.fetch()
        if self._settings.config is not None:
            return
        for commit in self._source.commits(None, self.head):
            data = self._source.read(commit, FILE)
            if data is not None:
                governance(self._source, commit, shelf=wiring.shelf(self._settings))
                entry = journal.founded(commit, bytes_digest(data), self._clock.now())
                self._outbox.commit({FOUNDING: commit}, [entry])
                return

    def new_commits(self) -> Sequence[str]:
        """The commits of the last fetched head that were not judged yet, oldest first."""
        judged = self._memory.judged
        if not self.head or self.head == judged:
            return ()
        if judged is None:
            founding = self._memory.get(FOUNDING)
            # Without a founding commit there is no governance to walk through: the head is judged as it stands.
            return (self.head,) if founding is None else (founding, *self._source.commits(founding, self.head))
        if not self._source.is_ancestor(judged, self.head):
            # History was rewritten: the commits between are not a way from what was judged; only the head is left.
            return (self.head,)
        return self._source.commits(judged, self.head)

    def consider(self, commit: str, books: Books) -> bool:
        """Judge one commit and take it over when it is allowed; False: it has to be asked about again."""
        if self._clock.monotonic() < self._retry.get(commit, (0.0, 0.0))[0]:
            return commit != self.head
        with remembering():
            return self._consider(commit, books)

    def _consider(self, commit: str, books: Books) -> bool:
        author = "unknown"
        try:
            governing, deployed = self._standing.governing(), self._memory.deployed
            revision = self._source.revision(
                commit,
                allowed_signers=governing.allowed_signers,
                last_deployed=None if deployed is None else deployed.revision,
                gpg_keys=governing.gpg_keys,
            )
            author = revision.author
            at = self._moment(commit)
            spend = Spend(month_charges(books.measurements, at))
            question = Question(
                governing,
                self._source,
                commit,
                self._standing.declared(),
                revision,
                author,
                spend,
                review=self._review(governing, None if deployed is None else deployed.revision, revision),
            )
            judgement = Clearance(
                self._engine,
                FixedClock(at),
                self._settings.workspace,
                index=lambda governing: wiring.evidence_index(self._settings, governing.configuration),
                monthly=self._monthly,
            ).judge(question)
            # What it says about its successors must hold together too: nothing could be judged after it otherwise.
            following = governance(self._source, commit, self._settings.config, governing.proposed_shelf)
            following.configuration.placing.checked(judgement.declarations)
        except (StateError, TamperError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001 - the gate stays shut, and what serves goes on, whatever it trips over
            return self._put_off(commit, author, _as_refusal(error))
        reasons = _denials(judgement, revision)
        entries: list[Entry] = [*fetchednotes.entries(judgement, at)]
        for start in range(0, len(judgement.decisions), _AT_ONCE):
            # Facts of thousands of changes are not unpacked at once; a part that is recorded again adds nothing.
            some = slice(start, start + _AT_ONCE)
            facts_of = canonical(judgement.facts, some)
            books.decisions.record_all(zip(judgement.decisions[some], facts_of, strict=True))
        if len(judgement.decisions) <= _AT_ONCE:
            entries += _entries(revision, judgement, slice(None))
        if reasons:
            if not judgement.changes:
                entries.append(journal.refused(commit, author, "denied", reasons[0], at))
            self._enter(revision, judgement)
            self._keep_last_good(commit, reasons, entries)
            self._retry.clear()
            return True
        try:
            self._take_over(commit, judgement, revision, books, entries)
        except CannotDecideError as error:
            # Allowed, yet this target cannot read it (a Job of two pods): later commits must not wait for it.
            return self._put_off(commit, author, error)
        self._retry.clear()
        return True

    def admit_deployed(self) -> None:
        """Write what serving processes ask for, where a state is from before they did. Raises CannotDecideError."""
        deployed = self._memory.deployed
        if deployed is not None and not (self._settings.state / wiring.ADMITTED).is_dir():
            governing = self._standing.governing()
            if governing.configuration.clusters:
                return  # nothing serves on this machine
            self._admit(deployed.revision, self._standing.declared(), governing, self._clock.now())

    def _admit(self, commit: str, declared: Sequence[Declaration], governing: Governance, at: datetime) -> None:
        index = wiring.evidence_index(self._settings, governing.configuration, ask=False)
        write_admitted(self._source, commit, declared, governing, index, self._settings.state / wiring.ADMITTED, at)

    def _review(self, governing: Governance, base: str | None, revision: Revision) -> Review | None:
        """What the forge says; the founding commit is trusted on first use, so nobody is asked about it."""
        forge, spec = wiring.forge(self._settings, governing.configuration), governing.configuration.forge
        founding = self._memory.get(FOUNDING)
        if forge is None or spec is None or revision.id == founding:
            return None
        return review_of(forge, spec, self._source, base or founding, revision)

    def _put_off(self, commit: str, author: str, error: CustomhouseError) -> bool:
        """Say why a commit is not taken over, and when it is asked about again; whether to go on to the next."""
        waited = self._retry.get(commit, (0.0, 0.0))[1]
        self._refuse(commit, author, error)
        waited = min(max(_RETRY_S, 2 * waited), _RETRY_MOST_S)
        self._retry[commit] = (self._clock.monotonic() + waited, waited)
        return commit != self.head

    def _moment(self, commit: str) -> datetime:
        """As of when a commit is judged: the same again when the judgement was interrupted by a kill."""
        now, begun = self._clock.now(), self._memory.get(JUDGING)
        if begun is not None and begun["revision"] == commit:
            at = from_rfc3339(begun["at"])
            if timedelta() <= now - at < _RESUMED:
                return at
        self._memory.put({JUDGING: {"revision": commit, "at": to_rfc3339(now)}})
        return now

    def _refuse(self, commit: str, author: str, error: CustomhouseError) -> None:
        entry = journal.refused(commit, author, error.code, str(error), self._clock.now())
        text = f"could not decide about {commit[:12]}: {error}"
        refused = {"revision": commit, "text": text[:2000], "denied": False}
        self._outbox.commit({REFUSED: refused, JUDGING: None}, [entry])

    def _enter(self, revision: Revision, judgement: Judgement) -> None:
        """Bring the Decisions on a large commit to the ledger, some at a time, right before what is done about it.

        Thousands of entries are not held at once, nor written twice. A kill in between repeats the judgement as of the
        same moment, and what is entered already is not entered again.
        """
        count = len(judgement.decisions)
        for start in range(0, count if count > _AT_ONCE else 0, _ENTERED):
            self._outbox.enter(_entries(revision, judgement, slice(start, start + _ENTERED)))

    def _keep_last_good(self, commit: str, reasons: Sequence[str], entries: Sequence[Entry]) -> None:
        text = f"{commit[:12]} is denied, nothing of it is applied from here: {'; '.join(reasons)}"
        refused = {"revision": commit, "text": text[:2000]}
        self._outbox.commit({JUDGED: commit, REFUSED: refused, JUDGING: None}, entries)

    def _take_over(
        self, commit: str, judgement: Judgement, revision: Revision, books: Books, entries: list[Entry]
    ) -> None:
        now, message, governing = self._clock.now(), self._source.message(commit), judgement.question.governing
        if not governing.configuration.clusters:
            for change in judgement.changes:
                if change.after is not None:
                    require_local(change.after)
            export_images(self._source, commit, governing.configuration, self._settings)
            self._admit(commit, judgement.declarations, governing, now)
        documents: dict[str, Any] = {}
        decisions = {decision.resource: decision for decision in judgement.decisions}
        # Asked now, not remembered: after a restart nothing has been read yet, and a canary would be skipped.
        changed = (item for item in judgement.changes if item.operation is not Operation.CREATE)
        # Rules run nowhere: a commit that moves away from a cluster is not held up by that cluster's being away.
        live = books.target.read([item.ref for item in changed if item.ref.kind != GOVERNANCE])
        known = books.known_good() if is_rollback(message) else frozenset()
        rolling, walks = books.rollouts.begun_by(
            judgement.changes, live, commit, known, now, partial(serving_rate, governing)
        )
        documents |= rolling
        ended: list[Release] = []
        entries.extend(books.rollouts.undone_by(judgement.changes, commit, message, now))
        for change in judgement.changes:
            key = key_of(PENDING, change.ref)
            before = self._memory.get(key)
            documents[key] = None
            documents[key_of(REMOVING, change.ref)] = None
            if change.operation is Operation.DELETE and change.ref in live:
                documents[key_of(REMOVING, change.ref)] = {"resource": change.ref.stored(), "revision": commit}
            if change.after is not None and workload(change.after.manifest, change.ref) is not None:
                value = pending(change.after, commit, revision, decisions[change.ref])
                documents[key] = value
                documents |= books.metering.remember(
                    change.ref, value["release"], change.after.manifest, value["artifact"]
                )
            if before is not None and (documents[key] is None or documents[key]["release"] != before["release"]):
                record, entry = replaced(before, commit, now)
                ended.append(record)
                entries.append(entry)
        entries.extend(
            journal.rolled(
                walk.state.resource, walk.state.candidate, commit, f"canary-{walk.state.weight}", "begun", now
            )
            for walk in walks
        )
        books.releases.record_all(ended)
        deployed = Deployed(commit, governing.configuration.paths, commit)
        documents |= {JUDGED: commit, DEPLOYED: deployed.to_json(), REFUSED: None, JUDGING: None}
        self._enter(revision, judgement)
        self._outbox.commit(documents, entries)


@dataclass(frozen=True, slots=True)
class Books:
    """What a commit that is judged or taken over is entered in, and the target that it is meant for."""

    decisions: DecisionLog
    releases: ReleaseLog
    measurements: Measurements
    rollouts: Rollouts
    metering: Metering
    target: Target

    def known_good(self) -> frozenset[str]:
        """The releases that were promoted and never rolled back."""
        history = self.releases.history(limit=10_000)
        bad = {item.release for item in history if item.phase is RolloutPhase.ROLLED_BACK}
        return frozenset(item.release for item in history if item.phase is RolloutPhase.PROMOTED) - bad


def _entries(revision: Revision, judgement: Judgement, some: slice) -> list[Entry]:
    judged = zip(judgement.decisions[some], judgement.facts[some], strict=True)
    return [entry for decision, facts in judged for entry in journal.judged(revision, decision, facts)]


def _as_refusal(error: Exception) -> CustomhouseError:
    if isinstance(error, CustomhouseError):
        return error
    return CannotDecideError(f"internal error: {error!r}"[:500], hint="report this; the commit is asked about again")


def _denials(judgement: Judgement, revision: Revision) -> list[str]:
    """Why a commit is denied; empty when it is not.

    Rules judge Changes; also without any, a branch whose history was rewritten is not followed.
    """
    if judgement.changes:
        return [
            f"{finding.resource}: {finding.message}"
            for decision in judgement.decisions
            if decision.verdict is Verdict.DENY
            for finding in decision.findings
            if finding.waiver is None and finding.severity is Severity.ERROR
        ][:20]
    if not revision.descends:
        return ["it does not descend from the revision that was deployed last: history was rewritten"]
    return []
