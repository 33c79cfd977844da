"""The board's picture has a share of the loop's time, however much happens and however large the fleet is."""

from __future__ import annotations

from customhouse.app.pictures import CHANGE_SHARE, MOST_S, REFRESH_S, Pictures


def test_the_first_picture_and_that_of_a_change_are_drawn_at_once() -> None:
    pictures = Pictures()
    assert pictures.due(10.0, 0)
    pictures.drawn(10.0, 10.002, 0)
    assert not pictures.due(10.1, 0)
    assert pictures.due(10.1, 1)
    assert pictures.pause(10.1, 0, 0.5) == 0.5


def test_what_happens_again_and_again_is_drawn_in_a_share_of_the_time() -> None:
    pictures, now, spent = Pictures(), 0.0, 0.0
    for changes in range(2000):
        if pictures.due(now, changes):
            pictures.drawn(now, now + 0.1, changes)
            now, spent = now + 0.1, spent + 0.1
        assert pictures.pause(now, changes + 1, 0.5) <= 0.5
        now += 0.02
    assert 0.5 * CHANGE_SHARE < spent / now < CHANGE_SHARE


def test_a_change_is_never_shown_later_than_the_pause_and_numbers_are_refreshed() -> None:
    pictures = Pictures()
    pictures.drawn(0.0, 3.0, 7)
    assert pictures.pause(3.0, 8, 99.0) == MOST_S
    assert not pictures.due(4.9, 8)
    assert pictures.due(5.0, 8)
    pictures.drawn(8.0, 8.001, 8)
    assert not pictures.due(8.0 + REFRESH_S - 0.1, 8)
    assert pictures.due(8.0 + REFRESH_S, 8)
    pictures.failed()
    assert pictures.due(9.01, 8)
