"""Work that is shared by forks: the order, the errors and the end are those of one process."""

from __future__ import annotations

import os
import select
import signal

import pytest

from customhouse._kit import forks


def test_answers_come_in_the_order_of_the_items_from_more_than_one_process() -> None:
    answers = list(forks.in_order(lambda item: [item, os.getpid()], range(20), 3))
    assert [item for item, _ in answers] == list(range(20))
    assert len({pid for _, pid in answers}) == 3
    assert answers[0][1] == os.getpid()


def test_few_items_or_one_worker_need_no_fork() -> None:
    for items, count in (([1], 4), ([1, 2, 3], 1), ([], 2)):
        answers = list(forks.in_order(lambda item: [item, os.getpid()], items, count))
        assert answers == [[item, os.getpid()] for item in items]


def test_an_answer_larger_than_a_pipe_does_not_hold_anything_up() -> None:
    assert [len(text) for text in forks.in_order(lambda item: "x" * item, [1 << 21] * 4, 2)] == [1 << 21] * 4


def test_an_error_in_a_fork_is_met_here_at_its_place() -> None:
    def fails(item: int) -> int:
        if item >= 3:
            raise ValueError(f"item {item}")
        return item

    asked = forks.in_order(fails, range(9), 2)
    assert [next(asked) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(asked)


def test_a_fork_that_is_killed_is_an_error_and_no_missing_answer() -> None:
    here = os.getpid()

    def dies(item: int) -> int:
        if os.getpid() != here and item == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(forks.ForkError):
        list(forks.in_order(dies, range(6), 2))


def test_forks_end_with_the_iterator() -> None:
    asked = forks.in_order(lambda item: os.getpid(), range(1000), 2)
    next(asked)
    fork = next(asked)
    assert fork != os.getpid()
    asked.close()  # type: ignore[attr-defined]  # a generator
    with pytest.raises(ProcessLookupError):
        os.kill(fork, 0)


@pytest.mark.parametrize("count", [1, 2])
def test_what_never_comes_back_is_ended_by_the_kernel_at_its_place(count: int) -> None:
    here = os.getpid()

    def loops(item: int) -> int:
        assert os.getpid() != here
        while item == 3:
            pass
        return item

    asked = forks.in_order(loops, range(6), count, limit_s=0.2)
    assert [next(asked) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(forks.ForkEndedError, match=r"within 0\.2 s of processor time") as caught:
        next(asked)
    assert caught.value.place == 3


def test_waiting_takes_no_processor_time() -> None:
    def waits(item: int) -> bool:
        return not any(select.select([], [], [], item / 10))

    assert list(forks.in_order(waits, [2, 2], 1, limit_s=0.1)) == [True, True]
