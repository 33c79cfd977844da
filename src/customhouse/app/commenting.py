"""`customhouse gate --comment`: what the gate says, as the one comment of a pull request.

The forge is that of the governing configuration: a pull request that could name another would send the token there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from customhouse.app import wiring
from customhouse.app.forge_settings import TOKEN
from customhouse.app.gatekeeping import GateRequest, question
from customhouse.app.settings import Settings
from customhouse.core.comment import MARKER
from customhouse.core.errors import UsageError

if TYPE_CHECKING:
    from customhouse.app.clearance import Judgement
    from customhouse.app.configuration import Configuration


def comment(settings: Settings, request: GateRequest, judgement: Judgement | None, number: int, text: str) -> None:
    """Make `text` our comment on pull request `number`; `judgement` is None when nothing could be decided.

    Raises UsageError without a forge or a token, SourceError when the forge cannot be asked or refuses.
    """
    asked = question(settings, replace(request, stdin=None), spend=False) if judgement is None else judgement.question
    configuration: Configuration = asked.governing.configuration
    forge = wiring.forge(settings, configuration)
    if forge is None:
        raise UsageError(
            "the customhouse.yaml that judges names no forge",
            hint="write forge: {kind: github, repository: OWNER/NAME}; in a pull request it counts after the merge",
        )
    if not settings.environment.get(TOKEN, "").strip():
        raise UsageError(f"{TOKEN} is not set", hint="give a token that may write comments")
    forge.comment(number, MARKER, text)
