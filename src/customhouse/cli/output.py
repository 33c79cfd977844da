"""How results leave the program: data on stdout in the format asked for, talk on stderr."""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from customhouse.app.settings import Settings, read_settings, terminal_columns

if TYPE_CHECKING:
    from rich.console import RenderableType


_FINE = bytes([9, 10, *range(32, 127)])
_STEERING = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""What moves a terminal's cursor, colours, hides or turns round: never meant by anybody whose words are shown."""


def harmless(text: str) -> str:
    """The text with what steers a terminal replaced: the words of others cannot rewrite what is said."""
    # Nearly all of a long text is of these, and to take them out is ten times as fast as to look at each.
    rest = text.encode("utf-8", "surrogatepass").translate(None, _FINE).decode("utf-8", "surrogatepass")
    if not rest or ("\r" not in rest and not _STEERING.search(rest)):
        return text
    return _STEERING.sub("\ufffd", text)


def formats(*names: str) -> Callable[[Any], Any]:
    """The `-o` option of a command: `table` first, then the names given."""
    return click.option(
        "-o",
        "--output",
        "output",
        type=click.Choice(["table", *names]),
        default="table",
        show_default=True,
        help="Format of the data on stdout.",
    )


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every command has; the command gets them as one argument, `settings`."""

    @functools.wraps(command)
    def with_settings(
        *arguments: Any, state: str | None, config: str | None, engine: str | None, quiet: bool, **others: Any
    ) -> Any:
        settings = read_settings(state=state, engine=engine, quiet=quiet, config=config, repo=others.get("repo"))
        return command(*arguments, settings=settings, **others)

    wrapped: Callable[..., Any] = with_settings
    for option in reversed(
        (
            click.option(
                "--state",
                metavar="DIR",
                help="State directory (default .customhouse, of --repo if it has one).",
            ),
            click.option("--config", metavar="FILE", help="A customhouse.yaml to use where there is no base revision."),
            click.option(
                "--engine",
                metavar="NAME",
                help="Policy engine: auto (default; OPA if on PATH), embedded or opa.",
            ),
            click.option("-q", "--quiet", is_flag=True, help="No talk on stderr."),
        )
    ):
        wrapped = option(wrapped)
    return wrapped


def write_json(value: Any) -> None:
    """One JSON document and a newline on stdout; only ASCII where stdout is not UTF-8."""
    # Piece by piece: the text of thousands of findings is not held as a whole.
    for piece in _encoder().iterencode(value):
        sys.stdout.write(piece)
    sys.stdout.write("\n")


def json_text(value: Any) -> str:
    """One JSON document and a newline; only ASCII where stdout is not UTF-8."""
    return _encoder().encode(value) + "\n"


def _encoder() -> json.JSONEncoder:
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    return json.JSONEncoder(ensure_ascii=plain, indent=2)


def write_text(text: str, *, coloured: bool = False) -> None:
    """Plain text on stdout, one newline at its end. `coloured`: whoever made it has made the words in it harmless."""
    shown = text.rstrip("\n")
    sys.stdout.write((shown if coloured else harmless(shown)) + "\n")


def write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A header and one line per row on stdout."""
    import csv

    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def write_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], colour: bool = False) -> None:
    """A table for people; nothing without rows (the caller says in words that there are none)."""
    rows = list(rows)
    if not rows:
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=harmless(title) or None, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        table.add_column(harmless(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(str(cell))) for cell in row))
    write_rich(table, colour)


def write_rich(shown: RenderableType, colour: bool = False) -> None:
    """What rich can show; as wide as the terminal, or COLUMNS, or 160 characters where there is no terminal."""
    from rich.console import Console

    narrow = sys.stdout.isatty() or terminal_columns()
    Console(no_color=not colour, width=None if narrow else 160).print(shown)


def plural(count: int, word: str) -> str:
    """`1 change`, `2 changes`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def talk(settings: Settings, message: str) -> None:
    """One line on stderr, unless `--quiet`."""
    if not settings.quiet:
        sys.stdout.flush()  # where both go to one place, they come in the order in which they were said
        click.echo(harmless(message), err=True)
