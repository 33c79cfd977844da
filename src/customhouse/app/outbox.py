"""The outbox: ledger entries that belong to a change of state are stored with it, in one transaction.

A kill after that transaction loses no entry: the next start delivers what waits. A kill before it leaves nothing
behind, and the step is done again. Entries are named by their keys, so that delivering twice writes once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from customhouse.app.memory import OUTBOX, Memory
from customhouse.core.ledger import Entry
from customhouse.trust.ledger import Ledger, parse_entry


class Outbox:
    """Belongs to the control plane's thread."""

    def __init__(self, memory: Memory, ledger: Ledger) -> None:
        self._memory = memory
        self._ledger = ledger
        self._waiting: list[str] = list(memory.get(OUTBOX) or ())
        self._entries: list[Entry] | None = None if self._waiting else []
        """What waits, where it was put by this process: else it is read when it is delivered."""
        self.delivered = 0
        """How many entries were brought to the ledger so far."""

    def put(self, documents: Mapping[str, Any], entries: Sequence[Entry] = ()) -> None:
        """Store documents (None deletes) and entries in one transaction; `deliver` brings the entries to the ledger.

        Raises StateError: then neither is stored.
        """
        if not entries:
            if documents:
                self._memory.put(documents)
            return
        waiting = [*self._waiting, *(entry.to_bytes().decode() for entry in entries)]
        self._memory.put({**documents, OUTBOX: waiting})
        self._waiting = waiting
        if self._entries is not None:
            self._entries += entries

    def deliver(self) -> None:
        """Write what waits to the ledger. Raises StateError: then it waits on."""
        if self._waiting:
            if self._entries is None:
                self._entries = [parse_entry(text.encode()) for text in self._waiting]
            self._ledger.append(self._entries)
            self._memory.put({OUTBOX: None})
            self.delivered += len(self._waiting)
            self._waiting, self._entries = [], []

    def enter(self, entries: Sequence[Entry]) -> None:
        """Write entries to the ledger, behind those that wait: for what is done again where it was interrupted.

        Raises StateError.
        """
        self.deliver()
        self._ledger.append(entries)
        self.delivered += len(entries)

    def commit(self, documents: Mapping[str, Any], entries: Sequence[Entry] = ()) -> None:
        """`put`, then `deliver`."""
        self.put(documents, entries)
        self.deliver()
