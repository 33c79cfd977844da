"""What is in force: the governance and the Declarations of the last allowed revision, read once and kept."""

from __future__ import annotations

from dataclasses import replace

from customhouse.app import wiring
from customhouse.app.declared import declarations_of
from customhouse.app.governance import Governance, governance
from customhouse.app.memory import FOUNDING, Deployed, Memory
from customhouse.app.settings import Settings
from customhouse.control.source import RevisionReader
from customhouse.core.errors import CustomhouseError
from customhouse.core.resource import Declaration

ASKED_AGAIN_S = 300.0
"""How old the answer of a bundle's source may be where the bundle is not pinned."""


class Standing:
    """Belongs to the control plane's thread."""

    def __init__(self, settings: Settings, source: RevisionReader, memory: Memory) -> None:
        self._settings = settings
        self._source = source
        self._memory = memory
        self._clock, self._read_at = wiring.clock(), 0.0
        self._governing: tuple[str | None, Governance] | None = None
        self._declared: tuple[Deployed, tuple[Declaration, ...]] | None = None

    def governing(self) -> Governance:
        """The governance in force: that of the last allowed revision, else of the founding one, else the defaults."""
        deployed = self._memory.deployed
        revision = deployed.revision if deployed is not None else self._memory.get(FOUNDING)
        if self._governing is None or self._governing[0] != revision:
            self._governing = (revision, self._read(revision))
        elif self._governing[1].floating and self._clock.monotonic() - self._read_at >= ASKED_AGAIN_S:
            try:
                self._governing = (revision, self._read(revision))
            except CustomhouseError as error:
                said = f"the rules could not be read again, those in force stay: {error}"
                self._governing = (revision, replace(self._governing[1], alerts=(said,)))
        return self._governing[1]

    def _read(self, revision: str | None) -> Governance:
        self._read_at = self._clock.monotonic()
        tree = None if revision is None else self._source
        return governance(tree, revision, self._settings.config, wiring.shelf(self._settings))

    def declared(self) -> tuple[Declaration, ...]:
        """The Declarations of the last allowed revision, as they were judged."""
        deployed = self._memory.deployed
        if deployed is None:
            return ()
        if self._declared is None or self._declared[0] != deployed:
            declared = declarations_of(self._source, deployed.revision, deployed.paths)
            self._declared = (deployed, self.governing().configuration.placing.checked(declared))
        return self._declared[1]
