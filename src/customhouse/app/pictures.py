"""When the board's picture is drawn: with the step that something happened in, and now and then for its numbers.

A picture takes the loop's own time, and the more of it the larger the fleet is: it gets a share of that time.
"""

from __future__ import annotations

REFRESH_S = 1.0
"""How old the board may become while only numbers change."""
REFRESH_SHARE, MOST_S = 0.03, 5.0
"""What of the time may go into that, and how long the pause is at most."""
CHANGE_SHARE = 0.2
"""What of it where something did happen, again and again: a fleet that comes up tells of each object."""


class Pictures:
    """Moments are those of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._seen = -1
        self._next = self._next_of_change = 0.0

    def due(self, now: float, changes: int) -> bool:
        """Whether one is to be drawn; `changes` is how much has happened so far."""
        return now >= self._next or (changes != self._seen and now >= self._next_of_change)

    def drawn(self, began: float, ended: float, changes: int) -> None:
        """One was drawn of so many changes."""
        took = ended - began
        self._seen = changes
        self._next = began + max(REFRESH_S, min(took / REFRESH_SHARE, MOST_S))
        self._next_of_change = ended + min(took / CHANGE_SHARE, MOST_S)

    def failed(self) -> None:
        """The step came to nothing: the next picture is drawn at once."""
        self._seen, self._next_of_change = -1, 0.0

    def pause(self, now: float, changes: int, longest: float) -> float:
        """How long the loop may sleep: no longer than until a change may be shown."""
        return longest if changes == self._seen else max(0.0, min(longest, self._next_of_change - now))
