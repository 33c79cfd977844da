"""Contract suites of the storage ports: LedgerStore, StateStore, DecisionLog, ReleaseLog, Measurements.

Needs pytest and hypothesis. Subclass a suite in a test file and give it the fixture `open_store`: a function that
opens the same storage each time it is called, as a second process would (a fake may return the same object). Suites
that subclass in this project: tests/contracts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

try:
    import pytest
except ImportError as error:  # a dependency of tests, not of the product
    raise ImportError("customhouse.testing.storage_contracts needs pytest and hypothesis: pip install both") from error

from customhouse._kit.canonical import CanonicalError
from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest, json_digest
from customhouse._kit.money import Money, total
from customhouse.core.cost import Charge
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, verdict_of
from customhouse.core.errors import CustomhouseError, StateError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.core.observation import Observation
from customhouse.core.ports import DecisionLog, LedgerStore, Measurements, ReleaseLog, StateStore
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef
from customhouse.testing.strategies import START

REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "risk", "fraud")
OTHER = ResourceRef("batch/v1", "Job", "risk", "train")
REFUSED = (CustomhouseError, CanonicalError, TypeError, ValueError)
"""What an adapter may raise for a value that cannot be stored at all; what matters is that nothing was stored."""


def entry(key: str, **body: Any) -> Entry:
    """An Entry that differs by its key and body alone."""
    return Entry(key, "decision", START, "Ada", (bytes_digest(key.encode()),), body)


class LedgerStoreContract:
    """What any LedgerStore does. Fixture: `open_store: Callable[[], LedgerStore]`."""

    def test_entries_are_numbered_from_zero_and_read_back(self, open_store: Callable[[], LedgerStore]) -> None:
        """Leaf data is the entry's canonical JSON, byte for byte."""
        store, entries = open_store(), [entry(f"k{number}", n=number) for number in range(5)]
        assert list(store.append(entries[:3])) == [0, 1, 2]
        assert list(store.append(entries[3:])) == [3, 4]
        assert store.size() == 5
        assert list(store.read(0, 5)) == [item.to_bytes() for item in entries]
        assert list(store.read(2, 4)) == [item.to_bytes() for item in entries[2:4]]
        assert list(store.read(5, 5)) == []

    def test_a_key_is_written_once_with_its_first_text(self, open_store: Callable[[], LedgerStore]) -> None:
        """A restart repeats itself: the old index is the answer, and the old leaf stays."""
        store = open_store()
        store.append([entry("a", n=1), entry("b")])
        assert list(store.append([entry("b"), entry("c"), entry("a", n=2), entry("c")])) == [1, 2, 0, 2]
        assert store.size() == 3
        assert list(store.read(0, 1)) == [entry("a", n=1).to_bytes()]

    def test_nothing_is_nothing(self, open_store: Callable[[], LedgerStore]) -> None:
        """An empty ledger has a size, no leaves and no checkpoint."""
        store = open_store()
        assert list(store.append([])) == []
        assert (store.size(), list(store.read(0, 0)), store.latest_checkpoint()) == (0, [], None)

    def test_entries_that_are_not_there_are_an_error_and_not_left_out(
        self, open_store: Callable[[], LedgerStore]
    ) -> None:
        """A shorter answer would pass for a smaller ledger."""
        store = open_store()
        store.append([entry("a")])
        with pytest.raises(StateError):
            store.read(0, 2)

    def test_a_batch_with_an_entry_that_cannot_be_written_stores_none_of_it(
        self, open_store: Callable[[], LedgerStore]
    ) -> None:
        """All or nothing per call."""
        store = open_store()
        with pytest.raises(REFUSED):
            store.append([entry("good"), entry("bad", value=float("nan"))])
        assert store.size() == 0
        assert list(store.append([entry("good")])) == [0]

    def test_what_was_stored_is_there_after_opening_again(self, open_store: Callable[[], LedgerStore]) -> None:
        """Durable, checkpoint included."""
        open_store().append([entry("a"), entry("b")])
        open_store().save_checkpoint(Checkpoint("example", 2, b"\1" * 32, "note 2\n"))
        again = open_store()
        assert again.size() == 2
        assert again.latest_checkpoint() == Checkpoint("example", 2, b"\1" * 32, "note 2\n")
        assert list(again.append([entry("b"), entry("c")])) == [1, 2]

    def test_a_checkpoint_never_shrinks(self, open_store: Callable[[], LedgerStore]) -> None:
        """One that is smaller is refused with StateError and the latest stays."""
        store = open_store()
        store.append([entry(f"k{number}") for number in range(5)])
        latest = Checkpoint("example", 5, b"\5" * 32, "note 5\n")
        store.save_checkpoint(Checkpoint("example", 3, b"\3" * 32, "note 3\n"))
        store.save_checkpoint(latest)
        with pytest.raises(StateError):
            store.save_checkpoint(Checkpoint("example", 4, b"\4" * 32, "note 4\n"))
        assert store.latest_checkpoint() == latest


class StateStoreContract:
    """What any StateStore does. Fixture: `open_store: Callable[[], StateStore]`."""

    def test_documents_read_back_as_they_were(self, open_store: Callable[[], StateStore]) -> None:
        """Any JSON value, also false and empty ones; a key may hold any text."""
        values = {"a/1": {"b": [1, None, "ü"]}, "a/2": [], "b": 0, "c": False, "d": "", "ключ %_": {"deep": {"er": 1}}}
        open_store().put(values)
        store = open_store()
        assert {key: store.get(key) for key in values} == values
        assert store.get("nothing") is None

    def test_the_last_word_counts_and_none_deletes(self, open_store: Callable[[], StateStore]) -> None:
        """Deleting what is not there is no error."""
        store = open_store()
        store.put({"a": 1, "b": 1})
        store.put({"a": 2, "b": None, "never": None})
        assert (store.get("a"), store.get("b"), list(store.keys(""))) == (2, None, ["a"])

    def test_keys_are_found_by_prefix_as_text_and_sorted(self, open_store: Callable[[], StateStore]) -> None:
        """`_` and `%` are letters like others, and capitals are not small letters."""
        store = open_store()
        store.put(dict.fromkeys(["a_/2", "a_/10", "ab/1", "a%/1", "A_/1", "b"], 1))
        assert list(store.keys("a_/")) == ["a_/10", "a_/2"]
        assert list(store.keys("a%")) == ["a%/1"]
        assert list(store.keys("")) == sorted(["a_/2", "a_/10", "ab/1", "a%/1", "A_/1", "b"])
        assert list(store.keys("zz")) == []

    def test_a_document_that_is_not_json_stores_none_of_its_transaction(
        self, open_store: Callable[[], StateStore]
    ) -> None:
        """Several in one transaction."""
        store = open_store()
        store.put({"a": 1})
        with pytest.raises(REFUSED):
            store.put({"a": 2, "b": object()})
        assert (store.get("a"), store.get("b")) == (1, None)

    def test_an_edit_of_what_was_read_or_written_changes_nothing(self, open_store: Callable[[], StateStore]) -> None:
        """The store keeps its own copy."""
        store, value = open_store(), {"list": [1]}
        store.put({"a": value})
        value["list"].append(2)
        store.get("a")["list"].append(3)
        assert store.get("a") == {"list": [1]}


def facts(number: int = 0) -> dict[str, Any]:
    """The Facts that `decision(number)` rests on."""
    return {"as_of": "2026-01-01T00:00:00Z", "n": number}


def decision(number: int = 0, point: Point = Point.GATE, revision: str | None = "r1", minutes: int = 0) -> Decision:
    """A denial whose body differs by `number` alone."""
    found = Finding("rule", Category.COST, Severity.ERROR, REF, f"message {number}", "fix", "/spec", Money(5))
    bundle, at = bytes_digest(b"bundle"), START + timedelta(minutes=minutes)
    return Decision(
        REF, verdict_of([found]), (found,), json_digest(facts(number)), bundle, point, at, (None,), revision
    )


class DecisionLogContract:
    """What any DecisionLog does. Fixture: `open_store: Callable[[], DecisionLog]`."""

    def test_a_decision_is_found_by_the_start_of_its_digest_with_its_facts(
        self, open_store: Callable[[], DecisionLog]
    ) -> None:
        """With or without `sha256:`; what is found is what was recorded."""
        made = decision(1)
        open_store().record(made, facts(1))
        open_store().record(decision(2), facts(2))
        for prefix in (made.digest, made.digest[:20], made.digest.removeprefix("sha256:")[:12]):
            (row,) = open_store().find(prefix)
            assert row["digest"] == made.digest
            assert row["body"] == made.body()
            assert row["envelope"] == made.envelope()
            assert row["facts"] == facts(1)
        assert list(open_store().find("sha256:" + "0" * 64)) == []

    def test_facts_that_the_decision_does_not_rest_on_are_refused(self, open_store: Callable[[], DecisionLog]) -> None:
        """What `find` shows must be what was judged: the digests are compared before anything is stored."""
        with pytest.raises(CustomhouseError):
            open_store().record(decision(1), facts(2))
        assert list(open_store().recent()) == []

    def test_wild_cards_in_a_prefix_are_letters(self, open_store: Callable[[], DecisionLog]) -> None:
        """Nobody lists all decisions by asking for `%`."""
        open_store().record(decision(1), facts(1))
        assert list(open_store().find("%")) == []
        assert list(open_store().find("_" * 64)) == []

    def test_the_newest_come_first_and_no_more_than_asked_for(self, open_store: Callable[[], DecisionLog]) -> None:
        """In the order of recording."""
        store = open_store()
        for number in range(5):
            store.record(decision(number, minutes=number), facts(number))
        messages = [row["body"]["findings"][0]["message"] for row in open_store().recent(3)]
        assert messages == ["message 4", "message 3", "message 2"]
        assert len(open_store().recent()) == 5
        store.record(decision(9, point=Point.AUDIT), facts(9))
        assert [row["envelope"]["point"] for row in store.recent(1)] == ["audit"]
        assert len(store.recent(point="gate")) == 5

    def test_all_are_told_in_order_with_their_facts_from_a_moment_on(
        self, open_store: Callable[[], DecisionLog]
    ) -> None:
        """More than a page of them, and also while more are recorded."""
        store = open_store()
        for number in range(450):
            store.record(decision(number, minutes=number), facts(number))
        told = list(store.recorded())
        assert [row["body"]["findings"][0]["message"] for row in told] == [f"message {n}" for n in range(450)]
        assert all(json_digest(row["facts"]) == row["body"]["facts_digest"] for row in told)
        since = told[447]["envelope"]["decided_at"]
        assert [row["digest"] for row in store.recorded(since)] == [row["digest"] for row in told[447:]]

    def test_the_same_decision_at_one_point_and_revision_is_one_row(
        self, open_store: Callable[[], DecisionLog]
    ) -> None:
        """Another point or another revision is another row."""
        store = open_store()
        for made in (decision(), decision(minutes=9), decision(point=Point.ADMISSION), decision(revision="r2")):
            store.record(made, facts())
        store.record(decision(revision=None), facts())
        store.record(decision(revision=None, minutes=9), facts())
        assert len(store.recent()) == 4


def release(name: str = "fraud", phase: RolloutPhase = RolloutPhase.PENDING, minutes: int = 0, **more: str) -> Release:
    """A release whose digest follows its name."""
    made = Release(
        dataclasses.replace(REF, name=name), bytes_digest(name.encode()), "r1", "Ada <ada@example.com>", "", "allow",
        bytes_digest(b"d"), phase, START + timedelta(minutes=minutes), "why",
    )  # fmt: skip
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


class ReleaseLogContract:
    """What any ReleaseLog does. Fixture: `open_store: Callable[[], ReleaseLog]`."""

    def test_the_history_of_a_name_reads_back_newest_first(self, open_store: Callable[[], ReleaseLog]) -> None:
        """Every field, after opening again."""
        lines = [release(minutes=0), release(phase=RolloutPhase.CANARY, minutes=1, reason="10 % für Berlin")]
        for line in [*lines, release("other", minutes=2)]:
            open_store().record(line)
        assert list(open_store().history("fraud")) == lines[::-1]
        assert [line.resource.name for line in open_store().history()] == ["other", "fraud", "fraud"]
        assert len(open_store().history(limit=1)) == 1
        assert list(open_store().history("nobody")) == []

    def test_one_phase_of_one_release_is_one_row(self, open_store: Callable[[], ReleaseLog]) -> None:
        """(resource, release, revision, phase)."""
        store = open_store()
        for line in (release(), release(minutes=5), release(revision="r2"), release(phase=RolloutPhase.PROMOTED)):
            store.record(line)
        assert len(store.history()) == 3


def observation(value: float, minutes: int = 0, **more: Any) -> Observation:
    """A request counter of one instance."""
    seen = Observation(
        START + timedelta(minutes=minutes), "local", REF, "sha256:r", "customhouse_requests_total", "1", value, "i-1",
        {"code": "200"},
    )  # fmt: skip
    return dataclasses.replace(seen, **more)


def charge(pico: int, hours: int = 0, **more: Any) -> Charge:
    """An hour of one workload."""
    start = START + timedelta(hours=hours)
    made = Charge(
        REF, "sha256:r", "sha256:m", start, start + timedelta(hours=1), "compute", Money(pico), {"team": "risk"}
    )
    return dataclasses.replace(made, **more)


class MeasurementsContract:
    """What any Measurements store does. Fixture: `open_store: Callable[[], Measurements]`."""

    def test_a_series_is_in_order_of_time_and_reads_back_whole(self, open_store: Callable[[], Measurements]) -> None:
        """Also when it was not written in order; of one metric, one resource, from a time on."""
        seen = [observation(float(minute), minute) for minute in range(4)]
        noise = [observation(9, metric="other_total"), observation(8, 1, resource=OTHER)]
        open_store().append([seen[2], seen[0], *noise])
        open_store().append([seen[3], seen[1]])
        store = open_store()
        assert list(store.series("customhouse_requests_total", REF)) == seen
        assert len(store.series("customhouse_requests_total")) == 5
        assert list(store.series("customhouse_requests_total", REF, to_rfc3339(seen[2].at))) == seen[2:]
        assert list(store.series("nothing")) == []

    def test_one_number_of_one_instance_at_one_time_is_one_row(self, open_store: Callable[[], Measurements]) -> None:
        """The last value counts; another instance or other labels are another number."""
        others = [observation(3, instance="i-2"), observation(4, labels={"code": "500"})]
        open_store().append([observation(1), *others])
        open_store().append([observation(2)])
        values = [seen.value for seen in open_store().series("customhouse_requests_total", REF)]
        assert sorted(values) == [2, 3, 4]

    def test_a_batch_that_ends_in_an_error_stores_none_of_it(self, open_store: Callable[[], Measurements]) -> None:
        """One transaction."""

        def failing() -> Iterator[Observation]:
            yield observation(1)
            raise RuntimeError("the source broke off")

        with pytest.raises(RuntimeError):
            open_store().append(failing())
        assert list(open_store().series("customhouse_requests_total")) == []

    def test_charges_are_exact_beyond_64_bits_and_counted_once(self, open_store: Callable[[], Measurements]) -> None:
        """A restart charges the same hour again: one row."""
        amounts = [10**25 + 1, -(10**25), 1, 7]
        rows = [charge(pico, hour) for hour, pico in enumerate(amounts)]
        open_store().charge(rows[2:])
        open_store().charge(rows)
        assert list(open_store().charges()) == rows
        assert total(row.amount for row in open_store().charges()) == Money(sum(amounts))
        assert list(open_store().charges(to_rfc3339(rows[2].start))) == rows[2:]

    def test_categories_and_releases_are_charged_apart(self, open_store: Callable[[], Measurements]) -> None:
        """Each part of (resource, release, start, end, category) makes another row; an unpriced one is there too."""
        store = open_store()
        store.charge([charge(1), charge(2, category="memory"), charge(3, release="sha256:s")])
        store.charge([charge(4, resource=OTHER), charge(0, category="unpriced"), charge(9)])
        assert sorted(row.amount.pico for row in store.charges()) == [0, 1, 2, 3, 4]
