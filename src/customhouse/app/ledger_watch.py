"""The thread beside the control loop that asks witnesses: whatever they do, the loop goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from customhouse._kit.clock import Clock
from customhouse.app.ledger_spec import LedgerSpec
from customhouse.app.ledger_witnesses import SPEC, Post, ask, watch
from customhouse.core.errors import CustomhouseError

if TYPE_CHECKING:
    from customhouse.store import Store
    from customhouse.trust.ledger import Ledger

_EVERY_S = 30.0


class WitnessClerk:
    """`poke` it in every step: now and then it asks, and `problem` says what a person must know."""

    def __init__(self, ledger: Ledger, store: Store, post: Post, clock: Clock, every_s: float = _EVERY_S) -> None:
        self._ledger = ledger
        self._store = store
        self._post = post
        self._clock = clock
        self._every_s = every_s
        self._due = 0.0
        self._spec: LedgerSpec | None = None
        self._thread: threading.Thread | None = None
        self.problem = ""

    def poke(self, spec: LedgerSpec) -> None:
        """Ask in a thread if it is time; the section is kept in the store for commands that have no repository."""
        if spec != self._spec:
            if self._store.state.get(SPEC) != (spec.to_json() if spec.witnesses else None):
                self._store.state.put({SPEC: spec.to_json() if spec.witnesses else None})
            self._spec, self._due = spec, 0.0
        if not spec.witnesses:
            self.problem = ""
            return
        busy = self._thread is not None and self._thread.is_alive()
        if busy or self._clock.monotonic() < self._due:
            return
        self._due = self._clock.monotonic() + self._every_s
        self._thread = threading.Thread(target=self._ask, args=(spec,), name="witnesses", daemon=True)
        self._thread.start()

    def close(self, patience_s: float = 1.0) -> None:
        """Wait a moment for the thread; its requests are bounded in time, and it holds nothing."""
        if self._thread is not None:
            self._thread.join(patience_s)

    def _ask(self, spec: LedgerSpec) -> None:
        try:
            ask(self._ledger, self._store, spec, self._post, self._clock)
            self.problem = watch(self._store, spec, self._clock.now()).problem
        except CustomhouseError as error:
            self.problem = f"witnesses: {error.message}"
