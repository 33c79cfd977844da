"""Ledger words: Entry, Receipt, Checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import to_rfc3339


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: what was done, by whom, to what.

    `key` makes appending idempotent: a second Entry with the same key is not written again (a restart repeats
    itself). `subjects` are the digests and references the custody graph is built from.
    """

    key: str
    kind: str
    at: datetime
    actor: str
    subjects: tuple[str, ...]
    body: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The leaf data: canonical JSON."""
        return canonical_json(
            {
                "key": self.key,
                "kind": self.kind,
                "at": to_rfc3339(self.at),
                "actor": self.actor,
                "subjects": list(self.subjects),
                "body": dict(self.body),
            }
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed tree head. `note` is the signed note (C2SP tlog-checkpoint) as published."""

    origin: str
    size: int
    root: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an Entry is in the ledger, and the proof that it is there."""

    index: int
    leaf_hash: bytes
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint
