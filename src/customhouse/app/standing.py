"""What is in force: the governance and the Declarations of the last allowed revision, read once and kept."""

from __future__ import annotations

from customhouse.app import wiring
from customhouse.app.declared import declarations_of
from customhouse.app.governance import Governance, governance
from customhouse.app.memory import FOUNDING, Deployed, Memory
from customhouse.app.settings import Settings
from customhouse.control.source import RevisionReader
from customhouse.core.resource import Declaration


class Standing:
    """Belongs to the control plane's thread."""

    def __init__(self, settings: Settings, source: RevisionReader, memory: Memory) -> None:
        self._settings = settings
        self._source = source
        self._memory = memory
        self._governing: tuple[str | None, Governance] | None = None
        self._declared: tuple[Deployed, tuple[Declaration, ...]] | None = None

    def governing(self) -> Governance:
        """The governance in force: that of the last allowed revision, else of the founding one, else the defaults."""
        deployed = self._memory.deployed
        revision = deployed.revision if deployed is not None else self._memory.get(FOUNDING)
        if self._governing is None or self._governing[0] != revision:
            tree = None if revision is None else self._source
            shelf = wiring.shelf(self._settings)
            self._governing = (revision, governance(tree, revision, self._settings.config, shelf))
        return self._governing[1]

    def declared(self) -> tuple[Declaration, ...]:
        """The Declarations of the last allowed revision, as they were judged."""
        deployed = self._memory.deployed
        if deployed is None:
            return ()
        if self._declared is None or self._declared[0] != deployed:
            self._declared = (deployed, declarations_of(self._source, deployed.revision, deployed.paths))
        return self._declared[1]
