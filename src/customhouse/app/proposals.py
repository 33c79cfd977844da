"""The optimiser's loop: usage → recommendation → a branch with the smallest edit, which meets the gate like any other.

There is no path from here to the target. What the optimiser wants, it writes to a branch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from customhouse._kit.clock import Clock, to_rfc3339
from customhouse.app.governance import Governance
from customhouse.app.identity import IDENTITY
from customhouse.control.edit import edit
from customhouse.control.source import Repository
from customhouse.core.cost import WorkloadCost
from customhouse.core.errors import CannotDecideError
from customhouse.core.ports import Measurements
from customhouse.core.proposal import Proposal
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.workload import Workload, workload
from customhouse.observability.estimate import workload_cost
from customhouse.optimisation.proposal import body_markdown, branch_name, commit_message, proposal
from customhouse.optimisation.rightsize import recommend
from customhouse.optimisation.windows import CPU, MEMORY, usage_series


@dataclass(frozen=True, slots=True)
class Written:
    """A proposal and the branch and commit that hold it."""

    proposal: Proposal
    branch: str
    commit: str
    body: str
    base: str
    """The revision that the branch starts from."""

    def to_json(self) -> dict[str, Any]:
        """For the state store and `optimise propose -o json`."""
        asked = self.proposal
        return {
            "id": asked.id,
            "branch": self.branch,
            "commit": self.commit,
            "base": self.base,
            "title": asked.title,
            "saving": str(asked.saving),
            "saving_low": str(asked.saving_low),
            "saving_high": str(asked.saving_high),
            "risk": asked.risk,
            "resource": asked.subject.to_json(),
            "edits": [{"pointer": item.pointer, "value": item.value} for item in asked.edits],
        }


def recommendations(
    governing: Governance,
    declarations: Sequence[Declaration],
    measurements: Measurements,
    since: datetime,
) -> tuple[Proposal, ...]:
    """What should be declared otherwise, by what was measured since a moment. Empty when too little was seen."""
    window = governing.configuration.window_seconds
    minimum = governing.configuration.minimum_windows
    found = []
    for declaration in declarations:
        work = workload(declaration.manifest, declaration.ref)
        if work is None or work.batch or work.ref.kind != "InferenceService":
            continue
        seen = [
            observation
            for metric in (MEMORY, CPU)
            for observation in measurements.series(metric, declaration.ref, to_rfc3339(since))
        ]
        series = usage_series(seen, declaration.ref, window)
        if len(series.memory_bytes) < minimum:
            continue
        advice = recommend(work, series, declaration.manifest)
        if advice is not None:
            found.append(proposal(advice, declaration.manifest, _pricing(governing, declaration.ref)))
    return tuple(found)


def write(source: Repository, base: str, declaration: Declaration, asked: Proposal, key: Path | None) -> Written:
    """Commit the edit on a branch of its own, from `base`. The same proposal twice is one branch.

    Raises PushRejectedError when somebody moved the branch, CannotDecideError when the file is gone.
    """
    branch = branch_name(asked)
    path = declaration.location.file
    before = source.read(base, path)
    if before is None:
        raise CannotDecideError("the declaration's file is gone", where=path)
    after = edit(before, asked.subject, asked.edits, file=path)
    commit = source.commit(
        base, branch, {path: after}, commit_message(asked), identity=IDENTITY, signing_key=key, replace=True
    )
    return Written(asked, branch, commit, body_markdown(asked), base)


def _pricing(governing: Governance, ref: ResourceRef) -> Any:
    def price(manifest: Manifest) -> WorkloadCost:
        work: Workload | None = workload(manifest, ref)
        if work is None:
            raise CannotDecideError(f"{ref} runs nothing")
        return workload_cost(work, governing.book, governing.prices, manifest)

    return price


def horizon(clock: Clock, window_s: int, windows: int) -> datetime:
    """How far back usage is looked at: eight times the windows that are needed, a day at least."""
    return clock.now() - max(timedelta(seconds=8 * window_s * windows), timedelta(days=1))


def open_proposals(documents: Mapping[str, Any], deployed: Sequence[Declaration]) -> list[dict[str, Any]]:
    """The proposals that are not merged yet: those whose edits are not what is declared."""
    declared = {declaration.ref: declaration for declaration in deployed}
    found = []
    for value in documents.values():
        name = value["resource"]
        ref = ResourceRef(name["apiVersion"], name["kind"], name["namespace"], name["name"])
        declaration = declared.get(ref)
        if declaration is not None and any(
            str(_value(declaration.manifest, item["pointer"])) != item["value"].strip("\"'") for item in value["edits"]
        ):
            found.append(value)
    return found


def _value(manifest: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        manifest = manifest.get(part) if isinstance(manifest, Mapping) else None
    return manifest
