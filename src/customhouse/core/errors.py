"""Errors of the domain. A denial is a value (Decision); an exception means that nothing could be decided or done.

Each class has a stable code (`explain CODE`), an exit status (DESIGN section 5) and says what to do (`hint`).
"""

from __future__ import annotations

from typing import ClassVar


class CustomhouseError(Exception):
    """The root. `where` is `file:line:column`, a resource or a program; `hint` is what the reader can do."""

    code: ClassVar[str] = "CH000"
    exit_status: ClassVar[int] = 70

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{hint}"


class UsageError(CustomhouseError):
    """The command or its arguments are wrong."""

    code = "CH002"
    exit_status = 2


class ConfigError(CustomhouseError):
    """customhouse.yaml (or a file that it names) is wrong; at the gate that is: could not decide."""

    code = "CH003"
    exit_status = 3


class CannotDecideError(CustomhouseError):
    """The gate lacks something it must know, so it stays shut."""

    code = "CH010"
    exit_status = 3


class DeclarationError(CannotDecideError):
    """A declared object cannot be read: broken YAML, a duplicate key, a bomb, no kind or name."""

    code = "CH011"


class SourceError(CannotDecideError):
    """The Git repository cannot be read: no commits, no such revision, rewritten history, no git program."""

    code = "CH012"


class ArtifactError(CannotDecideError):
    """An artifact is missing, cannot be read, or does not have the digest that was declared."""

    code = "CH013"


class EvidenceError(CannotDecideError):
    """Evidence is malformed or cannot be verified at all (not: says no)."""

    code = "CH014"


class PolicyError(CannotDecideError):
    """The bundle does not compile, or the engine failed or ran out of its limits."""

    code = "CH015"


class PriceError(CannotDecideError):
    """The price book cannot be read or does not have the digest that was declared."""

    code = "CH016"


class TargetError(CustomhouseError):
    """The target is out of reach or refused an action."""

    code = "CH020"
    exit_status = 3


class StateError(CustomhouseError):
    """The state directory or database cannot be read or written (a full disk, a newer schema, a second process)."""

    code = "CH030"
    exit_status = 3


class TamperError(CustomhouseError):
    """A ledger, proof or signature does not verify."""

    code = "CH040"
    exit_status = 5
