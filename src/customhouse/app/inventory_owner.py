"""Whose an inventory in a cluster is: under which name it lies there, and which history it goes on from."""

from __future__ import annotations

import re
from collections.abc import Sequence

from customhouse._kit.digest import bytes_digest
from customhouse.control.argocd import repository_place
from customhouse.control.source import History, Repository
from customhouse.core.errors import ConfigError, SourceError
from customhouse.core.ports import StateStore

SOURCE_KEY = "target/source"
"""Where a state remembers under which name its inventory lies in the cluster."""
REPOSITORY_KEY = "target/repository"
"""Where a state remembers whose that inventory is, so that no remote has to be asked (`repository_identity`)."""


def inventory_name(
    given: str, source: Repository, state: StateStore, location: str, branch: str, target: str = ""
) -> str:
    """The name that is given, else the one that the state knows, else a new one. Raises SourceError and ConfigError."""
    name = given or state.get(SOURCE_KEY)
    if not name:  # asked once: a remote that is away must not keep what is known from being kept up
        name = source_name("", location, branch, source.first_commit(source.fetch()), target)
    return source_name(str(name), "", "", "")


def repository_identity(source: Repository, state: StateStore, branch: str, revision: str) -> str:
    """Whose an inventory is, as a state knows it; else as the mirror says, which has the revision that is deployed.

    Raises SourceError when neither knows.
    """
    return str(state.get(REPOSITORY_KEY) or identity_of(branch, source.first_commit(revision)))


def identity_of(branch: str, first_commit: str) -> str:
    """The same in all clones and for all time to come, wherever the repository moves.

    The branch is part of it: two branches of one repository that say the same `target.source` are two inventories.
    """
    return f"{branch}@{first_commit}"


def strange_history(source: History, found: str, own: str) -> str:
    """Why what was applied from the commit `found` is not for who deploys `own` to replace; empty where it is.

    A commit that is unknown, or on another way, is that of a fork, or of a history that was rewritten since.
    """
    try:
        whole = re.fullmatch(r"[0-9a-f]{40,64}", found) is not None  # a name would mean what it means here
        if whole and (found == own or source.is_ancestor(found, own)):
            return ""
        if whole and source.is_ancestor(own, found):
            return f"which comes after {own[:12]!r}, the last one that is allowed here"
    except SourceError:  # unknown here
        pass
    return f"which is not in the history of {own[:12]!r} (a fork, or history was rewritten)"


def source_name(given: str, location: str, branch: str, first_commit: str, target: str = "") -> str:
    """The name of a repository's inventory in a cluster. Raises ConfigError for one that cannot be part of a name.

    The address and the first commit are both in it: two repositories never share an inventory by accident (each would
    delete what the other declares), at the price that a repository that moves has to say its old name. So is the name
    of one of several targets: should two of them turn out to be one cluster, neither takes the other's objects for its.
    """
    if given:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", given):
            raise ConfigError(
                f"target.source is {given!r}", hint="lower-case letters, digits and dashes, at most 52 characters"
            )
        return given
    digest = bytes_digest("\n".join((location, branch, first_commit)).encode())
    return f"git-{digest.removeprefix('sha256:')[:16]}" + (f"-{target}" if target else "")


def addresses(location: str, others: Sequence[str]) -> tuple[str, ...]:
    """Under which addresses Applications may name the repository; empty where only a folder is known."""
    return (*((location,) if _remote(location) else ()), *others)


def place_of(location: str) -> str:
    """`host/path` that deployed commits are fetched from; empty for a folder, which is anybody's checkout."""
    return repository_place(location) if _remote(location) and not location.startswith("file:") else ""


def _remote(location: str) -> bool:
    return "://" in location or re.match(r"[^/]+@[^/]+:", location) is not None
