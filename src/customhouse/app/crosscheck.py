"""The rows beside the ledger against what its entries bind: Charges, Decisions with their Facts, releases.

The ledger proves its own bytes; reports and `explain` are made of rows, which anybody with the state may edit. A row is
stored before its entry (a kill may come between), so what is not entered *yet* is no problem: a charge that was begun,
a release or a Job that is not concluded, an entry in the outbox. A control plane may be at work meanwhile; everything
is therefore read in the order in which it moves: entries, rows, documents, outbox, the entries added since.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse._kit.money import total
from customhouse.app import journal
from customhouse.app.configuration import CURRENCY
from customhouse.app.memory import CHARGED, CHARGING, JOB, OUTBOX, PENDING, WORKLOAD, key_of, ref_of
from customhouse.core.cost import Charge
from customhouse.core.errors import StateError, TamperError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef
from customhouse.trust.ledger import LedgerProblem

if TYPE_CHECKING:
    from customhouse.store import Store

_KINDS = ("charge", "decision", "rollout")
_BATCH = 1024
_MOST_ROWS = 10_000
"""How many rows the logs of decisions and releases answer with at most."""
_AT_ONCE = 500
"""How many decisions, with their Facts, are read at once."""
_NAMED = 5
_UNREADABLE = (StateError, ValueError, TypeError, AttributeError, KeyError)
"""What damaged rows raise when they are read."""
_PHASES = {
    RolloutPhase.PROMOTED.value: RolloutPhase.PROMOTED,
    RolloutPhase.ROLLED_BACK.value: RolloutPhase.ROLLED_BACK,
    "replaced": RolloutPhase.ROLLED_BACK,
}
"""The entries that end a release, and the phase of its row."""


@dataclass(slots=True)
class _Bound:
    """Entries by kind and key: (index, document). Those that cannot be read are `Ledger.verify`'s to name."""

    charge: dict[str, tuple[int, Any]] = field(default_factory=dict)
    decision: dict[str, tuple[int, Any]] = field(default_factory=dict)
    rollout: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def add(self, index: int, data: bytes | str) -> None:
        try:
            found = json.loads(data)
            if found["kind"] in _KINDS and isinstance(found["body"], dict):
                getattr(self, found["kind"])[str(found["key"])] = (index, found)
        except (ValueError, TypeError, KeyError, RecursionError):
            return

    def verdicts(self) -> set[tuple[str, str]]:
        """(Decision's digest, verdict) of every decision that was entered."""
        return {
            (item["body"].get("decision", ""), item["body"].get("verdict", "")) for _, item in self.decision.values()
        }


def crosscheck(store: Store) -> Iterator[LedgerProblem]:
    """Every row that is not what its entry says, every entry whose rows are gone, every row that none covers.

    Never raises for damage. What the entries say is taken as it stands: `Ledger.verify` is asked about them first.
    """
    bound = _Bound()
    size = store.ledger.size()
    _read(store, 0, size, bound.add)
    yield from _guarded("charges", _charges(store, bound, size))
    yield from _guarded("decisions", _decisions(store, bound))
    yield from _guarded("releases", _releases(store, bound, size))


def _guarded(where: str, found: Iterator[LedgerProblem]) -> Iterator[LedgerProblem]:
    try:
        yield from found
    except _UNREADABLE as error:
        yield LedgerProblem(f"the stored rows cannot be read: {error}"[:300], where=where)


def _read(store: Store, start: int, end: int, add: Callable[[int, bytes], None]) -> None:
    for first in range(start, end, _BATCH):
        try:
            for index, data in enumerate(store.ledger.read(first, min(first + _BATCH, end)), first):
                add(index, data)
        except StateError:  # rows of the ledger itself are missing, which its own verification says
            continue


def _coming(store: Store, size: int) -> _Bound:
    """What waits in the outbox, and what was delivered from it since the ledger had `size` entries."""
    bound = _Bound()
    for text in store.state.get(OUTBOX) or ():
        bound.add(-1, text)
    _read(store, size, store.ledger.size(), bound.add)
    return bound


# Charges
def _charges(store: Store, bound: _Bound, size: int) -> Iterator[LedgerProblem]:
    groups: dict[str, list[Charge]] = defaultdict(list)
    intervals: dict[Any, str] = {}
    for row in store.measurements.charges():
        times = (row.start, row.end)
        if times not in intervals:
            intervals[times] = f"charge:{to_rfc3339(row.start)}/{to_rfc3339(row.end)}"
        key = intervals[times]  # as `journal.charged` makes it: a Job has an interval of its own
        groups[f"{key}:{row.resource}" if row.resource.kind == "Job" else key].append(row)
    for key, (index, item) in bound.charge.items():
        rows = groups.get(key, ())
        models = {f"model:{row.artifact}" for row in rows if row.artifact}
        if (
            journal.rows_digest(rows) != item["body"].get("rows")
            or any(row.amount.currency != CURRENCY for row in rows)
            or models != {name for name in item["subjects"] if name.startswith("model:")}
        ):
            text = f"the charges of {_interval(key)} are not those that were entered: {_difference(rows, item)}"
            yield LedgerProblem(text, index)
        elif item["body"].get("labels", "") not in ("", journal.labels_digest(rows)):
            yield LedgerProblem(f"the charges of {_interval(key)} have other labels than were entered", index)
    alone = [key for key in groups if key not in bound.charge]
    if not alone:
        return
    begun = _begun(store)
    alone = [key for key in alone if key != begun and not _job_is_open(store, groups[key])]
    coming = _coming(store, size)
    for key in alone:
        if key not in coming.charge:
            amounts = _named(f"{name} {amount}" for name, amount in sorted(_amounts(groups[key])))
            yield LedgerProblem(f"no entry covers the charges: {amounts}", where=f"charges of {_interval(key)}")


def _interval(key: str) -> str:
    return key.removeprefix("charge:")


def _amounts(rows: Iterable[Charge]) -> set[tuple[str, str]]:
    """(`namespace/name@release`, amount) as `journal.charged` names them in its nodes."""
    parts: dict[tuple[ResourceRef, str, str], list[Charge]] = defaultdict(list)
    for row in rows:
        parts[row.resource, row.release, row.artifact].append(row)
    found = set()
    for (ref, release, _), charges in parts.items():
        currency = charges[0].amount.currency
        amount = total((charge.amount for charge in charges), currency)
        found.add((f"{ref.namespace}/{ref.name}@{release[7:19]}", f"{amount} {currency}"))
    return found


def _difference(rows: Sequence[Charge], item: Mapping[str, Any]) -> str:
    try:
        stored = _amounts(rows)
    except ValueError as error:  # two currencies
        return str(error)
    nodes = [node for node in item["body"].get("nodes", ()) if node["kind"] == "charge"]
    entered = {(node["name"].partition(":")[0], next(iter(node["aliases"]), "")) for node in nodes}
    if stored == entered:
        names = _named(sorted({name for name, _ in stored})) or "nothing was charged"
        return f"the same amounts in other rows, {names}"
    then, now = dict(entered - stored), dict(stored - entered)
    return _named(
        f"{name} {now.get(name, 'nothing')} stored, {then.get(name, 'nothing')} entered"
        for name in sorted({*then, *now})
    )


def _begun(store: Store) -> str:
    """The key of the interval that is being charged: its rows come before its entry."""
    end = store.state.get(CHARGING)
    return "" if end is None else f"charge:{store.state.get(CHARGED)}/{end}"


def _job_is_open(store: Store, rows: Sequence[Charge]) -> bool:
    """Whether the end of a Job is not noted yet: it is charged before that is, and a kill may come between."""
    ref, releases = rows[0].resource, {row.release for row in rows}
    if ref.kind != "Job" or len(releases) > 1:
        return False
    known = store.state.get(f"{key_of(WORKLOAD, ref)}/{rows[0].release}")
    return known is not None and store.state.get(key_of(JOB, ref)) != json_digest(known["manifest"])


# Decisions
def _decisions(store: Store, bound: _Bound) -> Iterator[LedgerProblem]:
    """A decision without an entry is none too many: a judgement may be interrupted, or end in a refusal."""
    entered = {str(item["body"].get("decision", "")) for _, item in bound.decision.values()}
    try:
        recent = {str(row["digest"]) for row in store.decisions.recent(_MOST_ROWS)}
    except StateError:  # one row is damaged: those that were entered are looked for one by one
        recent = set()
    stored: dict[str, set[tuple[str, str]]] = defaultdict(set)
    bad: dict[str, str] = {}
    _sift(store, "", sorted(entered | recent), stored, bad)
    where = {item["body"].get("decision"): (index, item) for index, item in bound.decision.values()}
    for digest in sorted({*bad, *(recent - stored.keys())}):
        index, item = where.get(digest, (None, None))
        about = "" if item is None else f" about {ref_of(item['body']['resource'])}"
        message = bad.get(digest, "its facts are missing")
        yield LedgerProblem(f"decision {digest}{about}: {message}", index, "" if item else "decisions")
    for key, (index, item) in bound.decision.items():
        digest, resource = str(item["body"].get("decision", "")), ref_of(item["body"]["resource"])
        if digest in bad or digest in recent - stored.keys():
            continue
        if digest not in stored:
            yield LedgerProblem(f"decision {digest} about {resource} is not stored any more", index)
        elif (key, item["at"]) not in stored[digest]:
            said = "is stored with another commit, resource, point or time"
            yield LedgerProblem(f"decision {digest} about {resource} {said}", index)


def _sift(
    store: Store, prefix: str, digests: Sequence[str], stored: dict[str, set[tuple[str, str]]], bad: dict[str, str]
) -> None:
    """Have the store check every decision; where it refuses, look closer until it is one digest that it refuses."""
    if len(digests) <= _AT_ONCE:
        try:
            found = store.decisions.find(digests[0] if len(digests) == 1 else prefix)
        except (TamperError, StateError) as error:
            if len(digests) == 1:
                bad[digests[0]] = error.message
                return
        else:
            if len(found) < _MOST_ROWS:
                for row in found:
                    stored[row["digest"]].add(_entered_as(row))
                return
    groups: dict[str, list[str]] = defaultdict(list)
    for digest in digests:
        groups[digest.removeprefix("sha256:")[: len(prefix) + 1].lower()].append(digest)
    for longer, group in groups.items():
        if len(longer) > len(prefix):
            _sift(store, longer, group, stored, bad)
        else:
            bad.update(dict.fromkeys(group, "not a digest"))


def _entered_as(row: Mapping[str, Any]) -> tuple[str, str]:
    """The key and the time of the entry that `journal.judged` makes of a stored decision."""
    said, digest = row["envelope"], row["digest"]
    ref = ref_of(said["resource"])
    return f"decision:{said['revision']}:{ref}:{said['point']}:{digest[7:19]}", said["decided_at"]


# Releases
def _releases(store: Store, bound: _Bound, size: int) -> Iterator[LedgerProblem]:
    history = store.releases.history(limit=_MOST_ROWS)
    recorded = {key for row in history for key in _ends(row)}
    for key, (index, item) in bound.rollout.items():
        # What is older than the log answers with cannot be said to be missing.
        if item["body"].get("phase") in _PHASES and key not in recorded and len(history) < _MOST_ROWS:
            yield LedgerProblem(f"the history has no such release: {key.removeprefix('rollout:')}", index)
    yield from _words(history, bound)
    verdicts = bound.verdicts()
    suspects = [row for row in history if not _is_entered(row, bound.rollout, verdicts)]
    if not suspects:
        return
    pending = {row: _is_pending(store, row) for row in suspects}
    coming = _coming(store, size)
    rollouts, verdicts = {**bound.rollout, **coming.rollout}, verdicts | coming.verdicts()
    for row in suspects:
        if not pending[row] and not _is_entered(row, rollouts, verdicts):
            what = f"{row.verdict} by {row.decision[7:19]}, {row.phase.value} with commit {row.revision[:12]}"
            place = f"release {row.release[7:19]} of {row.resource}"
            yield LedgerProblem(f"no entry says what the history says: {what}", where=place)


def _words(history: Iterable[Release], bound: _Bound) -> Iterator[LedgerProblem]:
    """Who a release is said to be of, and why it ended, against the entries that tell of it."""
    authors = {
        (str(item["body"].get("decision", "")), key.split(":", 2)[1]): (index, str(item["actor"]))
        for key, (index, item) in bound.decision.items()
    }
    for row in history:
        place = f"release {row.release[7:19]} of {row.resource}"
        index, author = authors.get((row.decision, row.revision), (None, row.author))
        if author != row.author:
            said = f"{place} is by {author} and not by {row.author or 'nobody'}"
            yield LedgerProblem(f"the history has another author: {said}", index)
        for name, phase in _PHASES.items():
            found = bound.rollout.get(f"rollout:{row.revision}:{row.resource}:{row.release}:{name}")
            if phase is not row.phase or found is None:
                continue
            if found[1]["body"].get("text") != f"{row.resource} {name}: {row.reason or 'healthy'}"[:1000]:
                yield LedgerProblem(f"the history has another reason: {place}, {row.reason[:200]!r}", found[0])


def _ends(row: Release) -> Iterator[str]:
    """The keys that an entry about the end of a release may have (`journal.rolled`)."""
    for name, phase in _PHASES.items():
        if phase is row.phase:
            yield f"rollout:{row.revision}:{row.resource}:{row.release}:{name}"


def _is_entered(row: Release, rollouts: Mapping[str, Any], verdicts: set[tuple[str, str]]) -> bool:
    if (row.decision, row.verdict) not in verdicts:
        return False
    # Of what is no service only its replacement is entered (`succession.concluded`).
    plain = row.resource.kind != "InferenceService" and row.phase is RolloutPhase.PROMOTED
    return plain or any(key in rollouts for key in _ends(row))


def _is_pending(store: Store, row: Release) -> bool:
    found = store.state.get(key_of(PENDING, row.resource))
    return found is not None and (found["release"], found["revision"]) == (row.release, row.revision)


def _named(items: Iterable[str]) -> str:
    """The first few, and that there are more."""
    names = list(islice(items, _NAMED + 1))
    return "; ".join(names[:_NAMED]) + ("; …" if len(names) > _NAMED else "")
