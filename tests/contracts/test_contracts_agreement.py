"""The fakes and the SQL store agree, whatever is done to both in whatever order, also across a restart."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from customhouse.core.errors import StateError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.core.observation import Observation
from customhouse.core.release import Release
from customhouse.core.resource import ResourceRef
from customhouse.store import open_store
from customhouse.testing.memory import MemoryLedgerStore, MemoryMeasurements, MemoryReleaseLog, MemoryStateStore
from customhouse.testing.strategies import START, charges, entries, json_values, observations, releases

# Within ten minutes: the store lets go of old samples, the fake keeps all.
RECENT = observations().map(lambda seen: replace(seen, at=START + (seen.at - START) % timedelta(minutes=10)))
KEYS = st.text("ab/_%é", min_size=1, max_size=3)


def _shown(seen: Observation) -> str:
    return repr(replace(seen, labels=dict(sorted(seen.labels.items()))))


class Agreement(RuleBasedStateMachine):
    """Every rule does one thing to both; the invariants compare what can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="customhouse-agreement-")
        self.ledger, self.state = MemoryLedgerStore(), MemoryStateStore()
        self.releases, self.measurements = MemoryReleaseLog(), MemoryMeasurements()

    @initialize()
    def open(self) -> None:
        self.sql = open_store(Path(self.folder.name) / "customhouse.db")

    @rule()
    def restart(self) -> None:
        self.sql.close()
        self.open()

    @rule(batch=st.lists(entries(), max_size=4))
    def append(self, batch: list[Entry]) -> None:
        assert list(self.sql.ledger.append(batch)) == list(self.ledger.append(batch))

    @rule(size=st.integers(0, 6))
    def save_checkpoint(self, size: int) -> None:
        size = min(size, self.ledger.size())
        checkpoint = Checkpoint("example", size, bytes(32), f"note {size}\n")
        answers = []
        for store in (self.ledger, self.sql.ledger):
            try:
                store.save_checkpoint(checkpoint)
                answers.append("saved")
            except StateError:
                answers.append("refused")
        assert answers[0] == answers[1]

    @rule(values=st.dictionaries(KEYS, st.none() | json_values(4), max_size=3))
    def put(self, values: dict[str, object]) -> None:
        self.state.put(values)
        self.sql.state.put(values)

    @rule(lines=st.lists(releases(), max_size=3))
    def record(self, lines: list[Release]) -> None:
        self.releases.record_all(lines)
        self.sql.releases.record_all(lines)

    @rule(seen=st.lists(RECENT, max_size=3), rows=st.lists(charges(), max_size=3))
    def measure(self, seen: list[object], rows: list[object]) -> None:
        for store in (self.measurements, self.sql.measurements):
            store.append(seen)  # type: ignore[arg-type]
            store.charge(rows)  # type: ignore[arg-type]

    @invariant()
    def the_same_is_seen(self) -> None:
        if not hasattr(self, "sql"):
            return
        assert self.sql.ledger.size() == self.ledger.size()
        assert list(self.sql.ledger.read(0, self.ledger.size())) == list(self.ledger.read(0, self.ledger.size()))
        assert self.sql.ledger.latest_checkpoint() == self.ledger.latest_checkpoint()
        for prefix in ("", "a", "_", "%", "é/"):
            assert list(self.sql.state.keys(prefix)) == list(self.state.keys(prefix))
        for key in self.state.keys(""):
            assert self.sql.state.get(key) == self.state.get(key)
        assert sorted(map(repr, self.sql.releases.history())) == sorted(map(repr, self.releases.history()))
        assert sorted(map(repr, self.sql.measurements.charges())) == sorted(map(repr, self.measurements.charges()))
        for metric in ("customhouse_requests_total", "process_cpu_seconds_total"):
            theirs, ours = self.sql.measurements.series(metric), self.measurements.series(metric)
            assert sorted(map(_shown, theirs)) == sorted(map(_shown, ours))
            assert [item.at for item in theirs] == sorted(item.at for item in theirs)
        assert list(self.sql.releases.history("nobody")) == list(self.releases.history("nobody"))
        nobody = ResourceRef("v1", "Pod", "x", "y")
        assert list(self.sql.measurements.series("customhouse_requests_total", nobody)) == []

    def teardown(self) -> None:
        if hasattr(self, "sql"):
            self.sql.close()
        self.folder.cleanup()


TestAgreement = Agreement.TestCase
# Not shrunk: a failing run opens a database at every attempt, and would be at it for minutes.
TestAgreement.settings = settings(max_examples=12, stateful_step_count=15, phases=[Phase.generate])
