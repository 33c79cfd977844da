"""Digests that are remembered: never for other bytes, never from a file that somebody else wrote."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from customhouse._kit.clock import FixedClock
from customhouse._kit.digest import TreeError, tree
from customhouse.app.remembered import FILE, FOLDER, KEY, Remembered


@pytest.fixture
def model(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    (place / "shards").mkdir(parents=True)
    (place / "config.json").write_text("{}")
    (place / "shards" / "1.bin").write_bytes(b"one" * 1000)
    return place


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def opened(state: Path, after: timedelta = timedelta(minutes=1)) -> Remembered:
    """Some time after whatever was written: what has just changed may change again within one tick of its time."""
    return Remembered(state, state / "keys", FixedClock(datetime.now(UTC) + after))


def learn(state: Path, model: Path) -> None:
    first = opened(state)
    assert first(model) == tree(model)
    first.save()


def test_what_was_hashed_is_not_read_again_also_by_another_run(state: Path, model: Path) -> None:
    learn(state, model)
    again = opened(state)
    assert again(model) == tree(model)
    assert again.reused == 2
    assert (state / "keys" / KEY).stat().st_mode & 0o777 == 0o600


def test_other_bytes_of_the_same_size_and_time_are_hashed(state: Path, model: Path) -> None:
    learn(state, model)
    file = model / "shards" / "1.bin"
    before = file.stat()
    file.write_bytes(b"two" * 1000)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = opened(state)
    assert again(model) == tree(model)
    assert again.reused == 1


def test_a_file_that_takes_the_place_of_another_is_hashed(state: Path, model: Path) -> None:
    learn(state, model)
    other = model.parent / "other"
    other.write_bytes(b"two" * 1000)
    other.replace(model / "shards" / "1.bin")
    assert opened(state)(model) == tree(model)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("sha256:", "sha256:0", 1),
        lambda text: json.dumps({"mac": "0" * 64, "records": json.loads(text)["records"]}),
        lambda text: json.dumps({"records": json.loads(text)["records"]}),
        lambda text: text[:-5],
        lambda text: "[" * 100_000,
        lambda text: "",
    ],
    ids=["another digest", "another mac", "no mac", "cut", "deep", "empty"],
)
def test_a_cache_that_does_not_verify_is_not_believed(state: Path, model: Path, spoil) -> None:
    learn(state, model)
    place = state / FOLDER / FILE
    place.write_text(spoil(place.read_text()))
    again = opened(state)
    assert again(model) == tree(model)
    assert again.reused == 0


def test_a_cache_of_another_state_is_not_believed(state: Path, model: Path) -> None:
    learn(state, model)
    (state / "keys" / KEY).write_bytes(b"k" * 32)
    assert opened(state)._known == {}


def test_what_was_just_written_is_not_remembered(state: Path, model: Path) -> None:
    """Within the grain of the clock a file may change twice and look the same."""
    first = opened(state, timedelta())
    first(model)
    first.save()
    assert not (state / FOLDER).exists()


def test_links_are_refused_also_when_their_target_is_known(state: Path, model: Path) -> None:
    learn(state, model)
    (model / "link").symlink_to(model / "config.json")
    with pytest.raises(TreeError, match="symbolic link"):
        opened(state)(model)


def test_threads_may_share_it(state: Path, model: Path) -> None:
    for number in range(50):
        (model / f"{number}.bin").write_bytes(bytes([number]) * 5000)
    shared, found = opened(state), []
    threads = [threading.Thread(target=lambda: found.append(shared(model))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tree(model)] * 4


def test_a_cache_that_cannot_be_written_is_no_error(state: Path, model: Path) -> None:
    state.write_text("a file where the folder should be")
    first = opened(state)
    assert first(model) == tree(model)
    first.save()
