"""VEX statements as values, and the small pieces that every form of them is read with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from customhouse._kit.clock import from_rfc3339
from customhouse.core.errors import EvidenceError

SUPPRESSING = frozenset({"not_affected", "fixed"})
STATUSES = SUPPRESSING | {"affected", "under_investigation"}
_MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Product:
    """What a statement is about: any one of `ids` names it; with `parts` only those parts of it."""

    ids: frozenset[str]
    parts: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True, slots=True)
class VexStatement:
    """One statement. `names` are the vulnerability's id and aliases; `status` is one of STATUSES."""

    names: frozenset[str]
    status: str
    products: tuple[Product, ...]
    justification: str = ""
    detail: str = ""
    author: str = ""
    at: datetime | None = None
    source: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class VexDocument:
    """A document as read: `form` is openvex, cyclonedx or csaf; `ignored`: which statements cannot count, and why."""

    form: str
    id: str
    author: str
    at: datetime | None
    statements: tuple[VexStatement, ...]
    ignored: tuple[str, ...] = ()


def text_of(value: Any) -> str:
    """A text of a document, bounded; empty for what is none."""
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def time_of(value: Any, where: str) -> datetime | None:
    """A time; None for none. Raises EvidenceError for what is no time."""
    if value is None:
        return None
    try:
        return from_rfc3339(str(value))
    except ValueError as error:
        raise EvidenceError(str(error), where=where) from error


def list_of(said: dict[str, Any], key: str, where: str) -> list[Any]:
    """A list of a document; empty for none. Raises EvidenceError for what is no list."""
    value = said.get(key, [])
    if not isinstance(value, list):
        refuse(where, f"`{key}` is no list")
    return value


def refuse(where: str, message: str) -> NoReturn:
    """Raise an EvidenceError."""
    raise EvidenceError(message, where=where)
