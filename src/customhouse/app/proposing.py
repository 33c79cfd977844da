"""Proposing: a branch that Customhouse wrote becomes a pull request, where customhouse.yaml names a forge."""

from __future__ import annotations

from customhouse.app import wiring
from customhouse.app.configuration import Configuration
from customhouse.app.forge_settings import TOKEN
from customhouse.app.settings import Settings
from customhouse.core.errors import SourceError
from customhouse.core.forge import PullRequest


def pull_request(
    settings: Settings, configuration: Configuration, branch: str, base: str, message: str, *, retell: bool = False
) -> tuple[PullRequest | None, str]:
    """The open pull request of a branch, and why there is none where one is wanted. `message` is that of the commit.

    `retell`: one that is open already gets these words.

    The configuration is that of the deployed branch: a branch cannot send the token elsewhere. The commit is there
    either way, so a forge that is away is told, and nothing fails.
    """
    forge = wiring.forge(settings, configuration)
    if forge is None:
        return None, ""
    if not settings.environment.get(TOKEN, "").strip():
        return None, f"no pull request was opened: {TOKEN} is not set"
    title, _, text = message.partition("\n")
    try:
        return forge.propose(branch, base, title, text.strip(), retell=retell), ""
    except SourceError as error:
        return None, f"no pull request was opened: {error}"


def withdraw(settings: Settings, configuration: Configuration, branch: str, base: str, why: str) -> str:
    """Close the open pull request of a branch; why it could not be closed, empty when it is, or there is none."""
    forge = wiring.forge(settings, configuration)
    if forge is None or not settings.environment.get(TOKEN, "").strip():
        return ""
    try:
        forge.withdraw(branch, base, why)
    except SourceError as error:
        return f"the pull request could not be closed: {error}"
    return ""
