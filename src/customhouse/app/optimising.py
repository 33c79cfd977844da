"""`customhouse optimise`: recommendations and proposals from a state directory, without a control plane."""

from __future__ import annotations

from typing import Any

from customhouse.app import journal, proposals, wiring
from customhouse.app.declared import declarations_of
from customhouse.app.governance import governance
from customhouse.app.identity import COMMIT_KEY
from customhouse.app.memory import PROPOSAL, Memory
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError


def recommend(settings: Settings, repo: str) -> list[dict[str, Any]]:
    """What should be declared otherwise at the deployed revision, by the usage in the state directory."""
    objects = wiring.commits(settings, repo)
    with wiring.store(settings, create=False) as opened:
        deployed = Memory(opened.state).deployed
        if deployed is None:
            raise UsageError("nothing is deployed yet", hint="run `customhouse up`")
        governing = governance(objects, deployed.revision, settings.config, wiring.shelf(settings))
        declared = declarations_of(objects, deployed.revision, deployed.paths)
        configuration = governing.configuration
        since = proposals.horizon(wiring.clock(), configuration.window_seconds, configuration.minimum_windows)
        found = proposals.recommendations(governing, declared, opened.measurements, since)
    return [
        {
            "id": item.id,
            "resource": item.subject.to_json(),
            "title": item.title,
            "edits": [{"pointer": edit.pointer, "value": edit.value} for edit in item.edits],
            "saving": str(item.saving),
            "saving_low": str(item.saving_low),
            "saving_high": str(item.saving_high),
            "risk": item.risk,
        }
        for item in found
    ]


def propose(settings: Settings, repo: str, branch: str) -> list[dict[str, Any]]:
    """Write the recommendations as branches and record them."""
    source = wiring.repository(settings, repo, branch)
    source.fetch()
    key = settings.keys / COMMIT_KEY
    clock = wiring.clock()
    with wiring.store(settings, create=False) as opened:
        memory = Memory(opened.state)
        deployed = memory.deployed
        if deployed is None:
            raise UsageError("nothing is deployed yet", hint="run `customhouse up`")
        governing = governance(source, deployed.revision, settings.config, wiring.shelf(settings))
        declared = declarations_of(source, deployed.revision, deployed.paths)
        configuration = governing.configuration
        since = proposals.horizon(clock, configuration.window_seconds, configuration.minimum_windows)
        by_ref = {declaration.ref: declaration for declaration in declared}
        ledger = wiring.ledger(settings, opened, write=True)
        written = []
        for asked in proposals.recommendations(governing, declared, opened.measurements, since):
            signing = key if key.exists() else None
            done = proposals.write(source, deployed.revision, by_ref[asked.subject], asked, signing)
            memory.put({f"{PROPOSAL}{asked.id}": done.to_json()})
            ledger.append([journal.proposed(asked, done.branch, done.commit, clock.now())])
            written.append(done.to_json())
    return written
