"""How far work has come, on stderr, when it takes longer than people wait without a word."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from customhouse._kit import progress
from customhouse._kit.clock import SystemClock
from customhouse.app.settings import Settings

PATIENCE_S = 2.0
_MUCH = 100
"""From so many pieces on a bar says more than a count."""
_BAR = 20
_EVERY_S = {True: 0.2, False: 10.0}
"""On a terminal the line is written anew; in a log each is one more."""


@contextmanager
def shown(settings: Settings) -> Iterator[None]:
    """Tell of long work in the block, unless `--quiet`; nothing is said of what is done within two seconds."""
    if settings.quiet:
        yield
        return
    line = Line(terminal=sys.stderr.isatty(), now=SystemClock().monotonic)
    try:
        with progress.listening(line.tell):
            yield
    finally:
        line.end()


def cached(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option of commands that read models and remember what they found; the command gets it as `cache`."""
    return click.option(
        "--cache/--no-cache", default=True, show_default=True, help="Read again only the files that changed."
    )(command)


class Line:
    """The line on stderr."""

    def __init__(self, *, terminal: bool, now: Callable[[], float]) -> None:
        self._terminal, self._now = terminal, now
        self._begun = now()
        self._next = self._begun + PATIENCE_S
        self._length = 0

    def tell(self, what: str, done: int, total: int) -> None:
        """Say it, if it is time."""
        if self._now() < self._next:
            return
        self._next = self._now() + _EVERY_S[self._terminal]
        text = f"{what}: {done} of {total}{self._rest(done, total)}"
        if not self._terminal:
            click.echo(text, err=True)
            return
        click.echo("\r" + text.ljust(self._length), nl=False, err=True)
        self._length = len(text)

    def _rest(self, done: int, total: int) -> str:
        """For much work a bar, the part that is done, and how long the rest takes if it goes on as it did."""
        if total < _MUCH or done <= 0:
            return ""
        part = min(1.0, done / total)
        left = (self._now() - self._begun) * (1 - part) / part
        drawn = "#" * round(_BAR * part)
        bar = f"  [{drawn:<{_BAR}}]" if self._terminal else ""
        return f"{bar} {part:.0%}, {left:.0f} s left"

    def end(self) -> None:
        """Leave no half line on a terminal."""
        if self._length:
            click.echo("\r" + " " * self._length + "\r", nl=False, err=True)
            self._length = 0
