"""The file of advisories: what is newer wins, an import is whole or not there, and old data does not look new."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customhouse.core.advisory import Advisory, Affected, Range
from customhouse.core.errors import StateError
from customhouse.store.advisories import Advisories, Import, open_advisories

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def advisory(name: str = "A-1", *, day: int | None = 1, package: str = "pkg", ecosystem: str = "PyPI") -> Advisory:
    modified = None if day is None else DAY + timedelta(days=day)
    affected = Affected(ecosystem, package, ecosystem, package, (Range("ECOSYSTEM", (("introduced", "0"),)),))
    return Advisory(name, modified, aliases=("CVE-1",), affected=(affected,))


def data(text: str = "1") -> bytes:
    return json.dumps({"id": text}).encode()


def source(day: int | None = 1, **others: object) -> Import:
    return Import("x.jsonl", "sha256:0", None if day is None else DAY + timedelta(days=day), DAY, **others)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Advisories]:
    with open_advisories(tmp_path / "state" / "a.sqlite", create=True) as opened:
        yield opened


def ages(store: Advisories) -> dict[str, int | None]:
    return {item.ecosystem: None if item.as_of is None else (item.as_of - DAY).days for item in store.freshness()}


def test_the_newer_of_two_copies_stays_whichever_comes_last(store: Advisories) -> None:
    assert store.bring([(advisory(day=2), data("new"))], source()).added == 1
    assert store.bring([(advisory(day=1, package="other"), data("old"))], source(9)).kept == 1
    assert store.find({("PyPI", "pkg"), ("PyPI", "other")}).keys() == {("PyPI", "pkg")}
    assert store.bring([(advisory(day=3, package="other"), data("newer"))], source()).changed == 1
    assert store.find({("PyPI", "pkg"), ("PyPI", "other")}).keys() == {("PyPI", "other")}
    assert store.record("CVE-1") == store.record("A-1") == [{"id": "newer"}]


@pytest.mark.parametrize(("first", "second", "stays"), [(5, 4, "first"), (5, 6, "second"), (None, None, "second")])
def test_of_records_without_a_date_the_newer_copy_stays(
    store: Advisories, first: int | None, second: int | None, stays: str
) -> None:
    store.bring([(advisory(day=None), data("first"))], source(first))
    store.bring([(advisory(day=None), data("second"))], source(second))
    assert store.record("A-1") == [{"id": stays}]


def test_to_import_the_same_again_changes_nothing(store: Advisories) -> None:
    store.bring([(advisory(), data())], source())
    digest = store.digest()
    again = store.bring([(advisory(), data())], source())
    assert (again.added, again.changed, again.kept) == (0, 0, 1)
    assert store.digest() == digest
    assert store.touched_since(1) == frozenset()


def test_an_import_that_fails_leaves_nothing(store: Advisories) -> None:
    def failing() -> Iterator[tuple[Advisory, bytes]]:
        yield advisory(), data()
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="middle"):
        store.bring(failing(), source())
    assert (store.count(), store.imports(), store.freshness(), store.number()) == (0, [], (), 0)
    assert store.bring([(advisory(), data())], source()).added == 1


def test_a_few_new_records_do_not_make_old_data_look_new(store: Advisories) -> None:
    store.bring([(advisory(f"A-{number}"), data(str(number))) for number in range(20)], source(1))
    few = store.bring([(advisory("A-1", day=9), data("changed")), (advisory("A-99", day=9), data("n"))], source(9))
    assert few.partial == ("PyPI A",)
    assert ages(store) == {"PyPI": 1}
    assert store.bring([(advisory("A-2", day=10), data("c"))], source(10, changes=True)).partial == ()
    assert ages(store) == {"PyPI": 10}


def test_an_ecosystem_is_as_old_as_the_oldest_of_its_databases(store: Advisories) -> None:
    store.bring([(advisory("PYSEC-1"), data("1"))], source(1))
    store.bring([(advisory("GHSA-1"), data("2"))], source(9))
    assert ages(store) == {"PyPI": 1}
    store.bring([(advisory("PYSEC-1"), data("1"))], source(8))
    assert ages(store) == {"PyPI": 8}
    store.bring([(advisory("GO-1", ecosystem="Go"), data("3"))], source(None))
    assert ages(store) == {"PyPI": 8, "Go": None}


def test_an_older_copy_does_not_make_data_older(store: Advisories) -> None:
    store.bring([(advisory(), data())], source(9))
    store.bring([(advisory(), data())], source(1))
    assert ages(store) == {"PyPI": 9}


def test_what_an_import_touched_is_known_by_package(store: Advisories) -> None:
    store.bring([(advisory("A-1"), data("1")), (advisory("A-2", package="other"), data("2"))], source())
    number = store.number()
    store.bring([(advisory("A-2", day=5, package="other"), data("3"))], source())
    assert store.touched_since(number) == {("PyPI", "other")}
    assert store.touched_since(0) == {("PyPI", "other"), ("PyPI", "pkg")}


def test_who_reads_sees_one_state_while_another_imports(store: Advisories) -> None:
    store.bring([(advisory("A-1"), data("1"))], source(1))
    with open_advisories(Path(store.where)) as reader, reader.reading():
        assert reader.count() == 1
        store.bring([(advisory("A-2", package="other"), data("2"))], source(9))
        assert (reader.count(), ages(reader), len(reader.find({("PyPI", "other")}))) == (1, {"PyPI": 1}, 0)
    assert store.count() == 2


def test_everything_is_what_is_found_one_by_one(store: Advisories) -> None:
    many = [(advisory(f"A-{number}", package=f"p{number % 700}"), data(str(number))) for number in range(1500)]
    store.bring(many, source())
    whole = store.everything()
    found = store.find(whole.keys())
    assert found == whole
    assert sum(map(len, whole.values())) == 1500


def test_a_file_that_is_not_there_or_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no advisories"):
        open_advisories(tmp_path / "none.sqlite")
    (tmp_path / "text").write_text("no database at all, just text" * 100)
    with pytest.raises(StateError):
        open_advisories(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE x (y)")
    other.close()
    with pytest.raises(StateError, match="version 0"):
        open_advisories(tmp_path / "other.sqlite", create=True)


def test_a_damaged_file_is_an_error_and_no_empty_answer(tmp_path: Path) -> None:
    place = tmp_path / "a.sqlite"
    with open_advisories(place, create=True) as opened:
        opened.bring([(advisory(f"A-{number}"), data(str(number) * 500)) for number in range(400)], source())
    whole = place.read_bytes()
    place.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(StateError), open_advisories(place) as opened:
        opened.everything()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with open_advisories(tmp_path / "deep" / "a.sqlite", create=True):
        assert (tmp_path / "deep" / "a.sqlite").stat().st_mode & 0o777 == 0o600
