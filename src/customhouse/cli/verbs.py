"""Groups of commands by name: the module of a command is loaded when it is asked for, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class Verbs(click.Group):
    """A group whose commands are named as text: name → (`module:function` in `customhouse.cli`, a line of help)."""

    def __init__(self, *arguments: Any, verbs: Mapping[str, tuple[str, str]], **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which they are told of."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; its module is imported now."""
        if cmd_name not in self._verbs:
            return None
        module, _, name = self._verbs[cmd_name][0].partition(":")
        command = getattr(import_module(f"customhouse.cli.{module}"), name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest name where there is no such command."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in self._verbs:
            import difflib

            close = difflib.get_close_matches(name, self._verbs, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise click.UsageError(f"no command is called {name!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The names with their one line, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._verbs.items()])
