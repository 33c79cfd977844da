"""One read gives every digest, whatever the size and however many threads; what is no file is refused."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from customhouse._kit import reading
from customhouse._kit.progress import Meter, listening
from customhouse._kit.reading import CHUNK, NotRegularError, SparseError, digests_of, opened, read_digests, side_by_side


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 7])
@pytest.mark.parametrize("lanes", [True, False])
def test_both_digests_are_those_of_their_own_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, *, lanes: bool
) -> None:
    monkeypatch.setattr(reading, "LARGE", 0)
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    told: list[int] = []
    with opened(tmp_path / "f") as descriptor:
        got = read_digests(descriptor, blake3=blake3(), told=told.append, lanes=lanes)
    assert got == digests_of(data, blake3=blake3())
    assert got.sha256 == "sha256:" + hashlib.sha256(data).hexdigest()
    assert got.blake3 == "blake3:" + blake3(data).hexdigest()
    assert sum(told) == got.size == size


def test_only_what_is_asked_for_is_computed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    with opened(tmp_path / "f") as descriptor:
        assert read_digests(descriptor).blake3 == ""
        assert read_digests(descriptor, sha256=False, blake3=blake3()).sha256 == ""


def test_a_listener_that_stops_ends_both_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE", 0)
    (tmp_path / "f").write_bytes(bytes(8 * CHUNK))

    def stop(_: int) -> None:
        raise InterruptedError("enough")

    with opened(tmp_path / "f") as descriptor, pytest.raises(InterruptedError):
        read_digests(descriptor, blake3=blake3(), told=stop)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_refused_and_nothing_waits(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "odd"
    if kind == "link":
        place.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(NotRegularError, match="odd"), opened(place):
        pytest.fail("it was opened")


def test_results_come_in_the_order_of_the_items_and_the_first_error_is_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "LARGE", 1)
    monkeypatch.setattr(reading, "cores", lambda: 4)
    items = [(number, 100 - number) for number in range(50)]
    assert side_by_side(items, lambda number: number * 2) == [number * 2 for number in range(50)]

    def fails(number: int) -> int:
        raise ValueError(str(number))

    with pytest.raises(ValueError, match=r"^0$"):
        side_by_side([(0, 9), (1, 1)], fails)


def test_an_error_ends_what_is_being_read_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first item fails when the second is in the midst of its file; nobody waits until that is read whole."""
    monkeypatch.setattr(reading, "LARGE", 0)
    monkeypatch.setattr(reading, "cores", lambda: 2)
    (tmp_path / "f").write_bytes(bytes(2 * CHUNK))
    begun = threading.Event()
    seen: list[str] = []

    def read_on(_: int) -> None:
        begun.set()
        reading._stop.wait(10)

    def work(name: str) -> None:
        if name == "fails":
            begun.wait(10)
            raise ValueError(name)
        try:
            with opened(tmp_path / "f") as descriptor:
                read_digests(descriptor, told=read_on)
        except InterruptedError:
            seen.append("given up")

    with pytest.raises(ValueError, match="fails"):
        side_by_side([("fails", 1), ("reads", 2)], work)
    assert seen == ["given up"]


def test_a_meter_tells_whole_mebibytes_once() -> None:
    said: list[tuple[str, int, int]] = []
    with listening(lambda *what: said.append(what)):
        meter = Meter("reading", 3 << 20)
        for _ in range(6):
            meter(1 << 19)
    assert said == [("reading, MiB", n, 3) for n in (1, 2, 3)]


def test_a_file_that_is_mostly_a_hole_is_refused_and_one_that_is_small_or_stored_is_not(tmp_path: Path) -> None:
    hollow, small, full = tmp_path / "hollow", tmp_path / "small", tmp_path / "full"
    for place, size in ((hollow, 1 << 40), (small, 1 << 30)):
        with place.open("wb") as handle:
            handle.truncate(size)
    if hollow.stat().st_blocks:  # pragma: no cover - a file system without holes
        pytest.skip("the file system stores holes")
    with pytest.raises(SparseError, match="a sparse file, 0 of its 1099511627776 bytes are stored"), opened(hollow):
        raise AssertionError
    full.write_bytes(b"x" * CHUNK)
    for place in (small, full):
        with opened(place) as descriptor:
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
