"""`ledger verify` also compares the rows beside the ledger with what its entries bind."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from up_world import UpWorld, notes

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money
from customhouse.app import journal
from customhouse.app.crosscheck import crosscheck
from customhouse.app.memory import CHARGED, CHARGING, JOB, OUTBOX, PENDING, WORKLOAD, key_of
from customhouse.core.cost import Charge
from customhouse.core.resource import ResourceRef
from customhouse.store import Store, open_store

START = datetime(2026, 3, 15, 12, tzinfo=UTC)
END = START + timedelta(minutes=1)
SERVICE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")
TRAINING = ResourceRef("batch/v1", "Job", "shop", "train")
RELEASE = "sha256:" + "a" * 64


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpWorld]:
    """A repository that `up` has followed: two releases (one by canary), charges, decisions. It has ended."""
    world = UpWorld(tmp_path_factory.mktemp("crosscheck"))
    try:
        world.push({world.SERVICE: world.declare("v1"), "models/notes.yaml": notes("a")})
        world.start()
        world.until(lambda: world.entries("charge"))
        # Without this a quick second push may replace the first release before it was seen to be healthy.
        world.until(lambda: [item for item in world.entries("rollout") if item.body["phase"] == "promoted"])
        world.deployed(world.serve("v2"))
        with open_store(world.state / "state.db") as store:
            while_it_works = list(crosscheck(store))
        assert while_it_works == []
        assert world.end() == 0
        yield world
    finally:
        world.close()


@pytest.fixture
def edited(finished: UpWorld, tmp_path: Path) -> Callable[..., list[str]]:
    """Run a statement on a copy of the finished state; what the cross-check says about it."""

    def run(statement: str, *values: Any) -> list[str]:
        place = tmp_path / "state.db"
        shutil.copy(finished.state / "state.db", place)
        with sqlite3.connect(place) as connection:
            assert connection.execute(statement, values).rowcount
        connection.close()
        with open_store(place) as store:
            return [str(problem) for problem in crosscheck(store)]

    return run


def test_a_finished_state_is_in_order_and_one_cent_more_is_exit_5(finished: UpWorld, tmp_path: Path) -> None:
    assert finished.cli("ledger", "verify").returncode == 0
    place = finished.state / "state.db"
    kept = shutil.copy(place, tmp_path / "kept.db")
    with sqlite3.connect(place) as connection:
        ((start, end),) = connection.execute("select start, end from charges where id = 1").fetchall()
        connection.execute("update charges set pico = cast(pico as integer) + 10000000000 where id = 1")
    connection.close()
    try:
        said = finished.cli("ledger", "verify", "-o", "json")
    finally:
        shutil.copy(kept, place)
    assert said.returncode == 5
    (problem,) = json.loads(said.stdout)["problems"]
    assert finished.entries()[problem["index"]].kind == "charge"
    assert all(word in problem["message"] for word in (start[:19], end[:19], "shop/score@", "stored", "entered"))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("delete from charges where id = 1", ("entry ", "shop/score@")),
        ("update charges set category = 'tax' where id = 1", ("entry ", "the same amounts in other rows")),
        ("update charges set currency = 'JPY' where id = 1", ("entry ", "JPY")),
        ("update charges set artifact = 'sha256:' || artifact where id = 1", ("entry ", "shop/score@")),
        ("update charges set release = 'sha256:bbbbbbbbbbbbbbbb' where id = 1", ("entry ", "score@bbbbbbbbbbbb")),
        ("update charges set start = '2020-01-01T00:00:00.000000Z' where id = 1", ("no entry covers", "2020-01-01")),
        ("update charges set pico = 'much' where id = 1", ("charges:", "cannot be read")),
        ("update releases set phase = 'rolled-back' where id = 1", ("the history has no such release",)),
        ("update releases set revision = 'abc', phase = 'promoted' where id = 1", ("no entry says", "abc")),
        ("update releases set verdict = 'waived' where kind = 'InferenceService'", ("no entry says", "waived by")),
        ('update charges set labels = \'{"team":"other"}\' where id = 1', ("entry ", "have other labels")),
        ("update releases set author = 'Mallory' where kind = 'InferenceService'", ("entry ", "and not by Mallory")),
        ("update releases set reason = 'no reason' where kind = 'InferenceService'", ("entry ", "another reason")),
        ("delete from releases where kind = 'InferenceService'", ("the history has no such release",)),
    ],
)
def test_an_edited_row_is_found_and_named(edited: Callable[..., list[str]], statement: str, words: list[str]) -> None:
    said = edited(statement)
    assert any(all(word in line for word in words) for line in said), said


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "update decisions set body = replace(body, 'bundle_digest', 'bundle_dxgest') where id = 2",
            "not the one that",
        ),
        ("update decisions set body = 'x' where id = 2", "damaged"),
        ("update decisions set envelope = replace(envelope, '\"score\"', '\"other\"') where id = 2", "with another"),
        ("update decisions set digest = 'sha256:' || substr(digest, 8, 63) || 'g' where id = 2", "not stored any more"),
        ("delete from decisions where id = 2", "not stored any more"),
        ("update facts set document = replace(document, 'shop', 'shoq')", "the stored facts are not"),
        ("delete from facts", "facts are missing"),
    ],
)
def test_an_edited_decision_is_found_by_its_entry(
    edited: Callable[..., list[str]], finished: UpWorld, statement: str, words: str
) -> None:
    with sqlite3.connect(finished.state / "state.db") as connection:
        ((digest,),) = connection.execute("select digest from decisions where id = 2").fetchall()
    connection.close()
    said = [line for line in edited(statement) if digest in line]
    assert len(said) == 1, said
    assert said[0].startswith("entry ")
    assert " about " in said[0]
    assert words in said[0]


# What a kill leaves
@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "state.db") as opened:
        yield opened


def charge(ref: ResourceRef, pico: int = 10**10, start: datetime = START) -> Charge:
    return Charge(ref, RELEASE, "", start, start + (END - START), "compute", Money(pico))


def test_a_charge_that_was_begun_is_no_problem_until_another_interval_is(store: Store) -> None:
    store.measurements.charge([charge(SERVICE)])
    assert [problem.where for problem in crosscheck(store)] == [
        "charges of 2026-03-15T12:00:00Z/2026-03-15T12:01:00Z",
    ]
    store.state.put({CHARGED: to_rfc3339(START), CHARGING: to_rfc3339(END)})
    assert list(crosscheck(store)) == []
    store.state.put({CHARGED: to_rfc3339(END), CHARGING: to_rfc3339(END + timedelta(minutes=1))})
    assert len(list(crosscheck(store))) == 1


def test_rows_whose_entry_waits_in_the_outbox_are_no_problem(store: Store) -> None:
    rows = [charge(SERVICE), charge(TRAINING)]
    store.measurements.charge(rows)
    entries = [*journal.charged(rows[:1], START, END), *journal.charged(rows[1:], START, END, str(TRAINING))]
    store.state.put({OUTBOX: [entry.to_bytes().decode() for entry in entries]})
    assert list(crosscheck(store)) == []
    store.state.put({OUTBOX: [entries[0].to_bytes().decode()]})
    assert [problem.where for problem in crosscheck(store)] == [
        "charges of 2026-03-15T12:00:00Z/2026-03-15T12:01:00Z:Job shop/train",
    ]
    store.ledger.append(entries)
    assert list(crosscheck(store)) == []


def test_a_job_whose_end_is_not_noted_yet_is_no_problem(store: Store) -> None:
    manifest = {"kind": "Job"}
    store.measurements.charge([charge(TRAINING)])
    assert len(list(crosscheck(store))) == 1
    store.state.put({f"{key_of(WORKLOAD, TRAINING)}/{RELEASE}": {"manifest": manifest}})
    assert list(crosscheck(store)) == []
    store.state.put({key_of(JOB, TRAINING): json_digest(manifest)})
    assert len(list(crosscheck(store))) == 1


def test_a_release_that_is_recorded_and_still_pending_is_no_problem(finished: UpWorld, tmp_path: Path) -> None:
    place = tmp_path / "state.db"
    shutil.copy(finished.state / "state.db", place)
    with sqlite3.connect(place) as connection:
        connection.execute("update releases set revision = 'abc' where id = (select max(id) from releases)")
    connection.close()
    with open_store(place) as store:
        row = store.releases.history(limit=1)[0]
        assert any("no entry says" in problem.message for problem in crosscheck(store))
        store.state.put({key_of(PENDING, row.resource): {"release": row.release, "revision": "abc"}})
        assert not any("no entry says" in problem.message for problem in crosscheck(store))


def test_two_thousand_charges_are_compared_in_moments(store: Store) -> None:
    rows = [charge(SERVICE, 1 + number, START + number * (END - START)) for number in range(2000)]
    store.measurements.charge(rows)
    store.ledger.append([item for row in rows for item in journal.charged([row], row.start, row.end)])
    begun = datetime.now(UTC)
    assert list(crosscheck(store)) == []
    assert datetime.now(UTC) - begun < timedelta(seconds=5)
