"""How many requests are under way at a time, and when something is tried again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.clock import FixedClock, SystemClock
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError, api_error
from customhouse.execution.adapters.kubernetes.pace import FIRST, MOST, Pace
from customhouse.execution.adapters.kubernetes.refusals import refused
from customhouse.execution.adapters.kubernetes.retries import ALONE_S, GONE_S, Backoff, Tries

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["answered", "refused", "cancelled", "failed"]), min_size=1, max_size=120))
def test_never_more_than_the_limit_are_under_way_and_no_slot_is_lost(outcomes: list[str]) -> None:
    pace = Pace(SystemClock(), first=4, most=8)
    under_way = 0
    left = list(outcomes)

    async def work() -> None:
        nonlocal under_way
        while left:
            outcome = left.pop()
            await pace.enter()
            try:
                under_way += 1
                assert under_way <= 8
                await asyncio.sleep(0)
                if outcome == "refused":
                    pace.refused(asyncio.get_running_loop().time(), 0.0)
                elif outcome == "answered":
                    pace.answered()
                assert 1 <= pace.limit <= 8
            finally:
                under_way -= 1
                pace.leave()

    async def all_of_it() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(12)]
        for index in range(outcomes.count("cancelled")):
            await asyncio.sleep(0)
            tasks[index % len(tasks)].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Every slot is free again: as many as the limit allows can be taken without waiting.
        for _ in range(pace.limit):
            await asyncio.wait_for(pace.enter(), 60)

    asyncio.run(all_of_it())


def test_a_refusal_halves_the_limit_once_for_all_that_were_under_way_and_holds_everybody() -> None:
    clock = FixedClock(NOW)
    pace = Pace(clock)
    for _ in range(5):
        pace.refused(0.0, 0.0)
    assert pace.limit == FIRST // 2
    clock.advance(1)
    pace.refused(clock.monotonic(), 0.0)
    assert pace.limit == FIRST // 4
    for _ in range(10):
        clock.advance(1)
        pace.refused(clock.monotonic(), 0.0)
    assert pace.limit == 1


def test_answers_let_more_in_up_to_the_most() -> None:
    pace = Pace(FixedClock(NOW))

    async def use() -> None:
        for _ in range(2000):
            entered = 0
            while entered < pace.limit:
                await pace.enter()
                entered += 1
            pace.answered()
            for _ in range(entered):
                pace.leave()

    asyncio.run(use())
    assert pace.limit == MOST


class Api:
    """An API whose answers to others are known."""

    def __init__(self) -> None:
        self.clock = FixedClock(NOW)
        self.answered = False

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def answers_others(self, since: float) -> bool:
        return self.answered


def spent(api: Api, problem: TargetError, *, again: bool = True, deadline_s: float = 120.0) -> float:
    """Seconds until one call gives up on a problem that stays."""
    tries = Tries(api, "/x", again, deadline_s, None)
    for _ in range(10_000):
        tries.begin(0)
        try:
            api.clock.advance(tries.pause(problem))
        except TargetError:
            return api.monotonic()
    raise AssertionError("it never gives up")


def error(status: int, message: str = "no", retry_after: float | None = None) -> ApiError:
    return ApiError(message, status=status, retry_after=retry_after)


@pytest.mark.parametrize(
    ("problem", "again", "least", "most"),
    [
        (error(429), True, 60, 120),
        (error(429), False, 60, 120),  # nothing was done
        (error(503), True, 60, 120),
        (error(503), False, 0, 0),
        (error(500), True, 0, 3),
        (error(500, "failed calling webhook: refused"), True, 0, 0),
        (error(500, "leader changed", 1.0), True, 60, 120),
        (error(409), True, 0, 0),
        (error(422), True, 0, 0),
        (UnreachableError("reset", sent=True), True, GONE_S, GONE_S + 5),
        (UnreachableError("reset", sent=True), False, 0, 0),
    ],
)
def test_what_is_tried_again_and_for_how_long(problem: TargetError, again: bool, least: float, most: float) -> None:
    assert least <= spent(Api(), problem, again=again) <= most


def test_a_part_of_the_api_that_is_closed_is_not_waited_for_as_the_whole_is() -> None:
    api = Api()
    api.answered = True
    assert spent(api, error(503)) <= 2 * ALONE_S


def test_connections_that_break_while_the_api_answers_others_are_made_again_until_the_end() -> None:
    api = Api()
    api.answered = True
    assert 60 <= spent(api, UnreachableError("reset", sent=True)) <= 120


def test_an_earlier_try_that_may_have_been_done_is_not_forgotten() -> None:
    tries = Tries(Api(), "/x", True, 120.0, None)
    tries.begin(0)
    tries.pause(UnreachableError("reset", sent=True))
    last = UnreachableError("connection refused")
    tries.begin(0)
    tries.pause(last)
    assert refused(last).unknown


def test_pauses_grow_are_spread_and_are_never_shorter_than_what_the_server_told() -> None:
    for _ in range(50):
        backoff = Backoff(1.0, 8.0)
        pauses = [backoff.pause() for _ in range(6)]
        assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, (1, 2, 4, 8, 8, 8), strict=True))
        assert 5.0 <= Backoff(0.1, 1.0).pause(5.0) <= 6.25
        assert Backoff().pause(1e9) <= 75.0


def test_a_broken_word_of_a_server_is_no_reason_to_wait_or_to_fail() -> None:
    for text in ("-1", "1e9", "soon", "９", "", "99999999"):
        assert api_error(429, b"{}", "here", text).retry_after is None
