"""Changes: what a Revision makes of Declarations, and who did it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from customhouse._kit.frozen import quickly_made
from customhouse.core.resource import Declaration, ResourceRef


class SignatureState(StrEnum):
    """What verification of a commit said under the base revision's allowed signers."""

    VERIFIED = "verified"
    UNSIGNED = "unsigned"
    UNTRUSTED = "untrusted"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    """Could not be decided (no gpg or ssh-keygen program); the gate treats it as: could not decide."""


class ActorKind(StrEnum):
    """Who acts: a person, or Customhouse itself in one of its two writing roles."""

    PERSON = "person"
    OPTIMISER = "optimiser"
    CUSTOMHOUSE = "customhouse"


@quickly_made
@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a Change; `name` is the author as Git has it (`Ada <ada@example.com>`)."""

    kind: ActorKind
    name: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit. `signer` is the principal of the allowed-signers file, None unless verified."""

    id: str
    parents: tuple[str, ...]
    author: str
    committed_at: datetime
    subject: str
    signature: SignatureState
    signer: str | None = None
    reviewers: tuple[str, ...] = ()
    descends: bool = True
    """Whether it descends from the last deployed revision (False: history was rewritten)."""


class Operation(StrEnum):
    """What happens to one Declaration."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@quickly_made
@dataclass(frozen=True, slots=True)
class Change:
    """before → after of one Declaration; `revision` is None for a work tree or an object seen at admission."""

    operation: Operation
    ref: ResourceRef
    before: Declaration | None
    after: Declaration | None
    revision: Revision | None
    actor: Actor
