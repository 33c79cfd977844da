"""`customhouse schedule pools --propose`: the proposals of `up`, made once and by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from customhouse.app import wiring
from customhouse.app.declared import declarations_of
from customhouse.app.extender import Generation
from customhouse.app.extender_prices import NodePrices
from customhouse.app.governance import governance
from customhouse.app.identity import COMMIT_KEY
from customhouse.app.memory import Memory
from customhouse.app.nodepools import looked, pools
from customhouse.app.poolplans import pool_changes
from customhouse.app.poolproposing import PoolDesk
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.core.ledger import Entry


def propose_pools(
    settings: Settings, repo: str, branch: str, kubeconfig: Path | None, after: timedelta | None
) -> list[dict[str, Any]]:
    """Write what is wanted now to branches, and withdraw what is not; a row for each pool.

    Raises UsageError where customhouse.yaml names no folder for them, or nothing is deployed; and what a cluster, a
    repository and the state raise.
    """
    source = wiring.repository(settings, repo, branch)
    source.fetch()
    time = wiring.clock()
    with wiring.store(settings, create=False) as opened:
        memory = Memory(opened.state)
        deployed = memory.deployed
        if deployed is None:
            raise UsageError("nothing is deployed yet", hint="run `customhouse up`")
        governing = governance(source, deployed.revision, settings.config, wiring.shelf(settings))
        configuration = governing.configuration
        spec = configuration.schedule.pools
        if spec is None:
            raise UsageError(
                "customhouse.yaml does not say where node pools are written",
                hint="write `scheduling: {pools: {path: FOLDER}}`, or commit what `schedule pools -o yaml` prints",
            )
        waited = timedelta(seconds=spec.after_seconds) if after is None else after
        generation = Generation(1, governing, NodePrices(governing, time.now()), deployed.revision)
        named = configuration.cluster if kubeconfig is None else None
        with (
            wiring.cluster(settings, kubeconfig) if named is None else wiring.target_cluster(settings, named) as cluster
        ):
            waiting, used = looked(cluster, generation, time.now(), waited)
        declared = declarations_of(source, deployed.revision, deployed.paths, configuration.render)
        found = pools(waiting, generation) if waiting else ()
        changes = pool_changes(found, declared, partial(source.read, deployed.revision), used, spec.path)
        ledger = wiring.ledger(settings, opened, write=True)

        def record(documents: Mapping[str, Any], entries: Sequence[Entry]) -> None:
            memory.put(documents)
            if entries:
                ledger.append(entries)

        key = settings.keys / COMMIT_KEY
        signing = key if key.exists() else None
        desk = PoolDesk(settings, configuration, source, memory, deployed.revision, branch, signing, record)
        return desk.settle(changes, time.now())
