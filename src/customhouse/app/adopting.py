"""`customhouse adopt`: the commit that lets Customhouse write into a cluster that it has only observed."""

from __future__ import annotations

from dataclasses import dataclass

from customhouse.app import wiring
from customhouse.app.configuration import FILE
from customhouse.app.governance import read_configuration
from customhouse.app.identity import COMMIT_KEY, IDENTITY
from customhouse.app.settings import Settings
from customhouse.app.target_spec import MANAGE
from customhouse.control.edit import edit
from customhouse.core.errors import UsageError
from customhouse.core.proposal import FieldEdit

BRANCH = "customhouse/adopt"
_MESSAGE = """Adopt the cluster

From the merge of this on, what this repository declares is applied to the cluster, put right where it was altered, and
deleted from it when it leaves Git. What is not declared here is left alone. `customhouse plan` says what that changes.
"""


@dataclass(frozen=True, slots=True)
class Adoption:
    """The branch to be merged, and its commit; an empty commit says that nothing is left to be done."""

    branch: str
    commit: str


def adopt(settings: Settings, location: str, branch: str, target: str = "") -> Adoption:
    """Write `mode: manage` on a branch of its own: of the target, of one of several, or without a name of all of them.

    Raises UsageError where the target is no cluster, or has another name.
    """
    source = wiring.repository(settings, location, branch)
    head = source.fetch()
    data = source.read(head, FILE)
    configuration = None if data is None else read_configuration(data)
    if data is None or configuration is None or not configuration.clusters:
        raise UsageError(
            f"{FILE} of {branch} names no cluster as its target",
            hint="write `target: {kind: kubernetes}` first; it is then observed until it is adopted",
        )
    if target and target not in configuration.targets:
        known = ", ".join(configuration.targets) or "there is one target, without a name"
        raise UsageError(f"no target is called {target!r}", hint=f"those of {FILE}: {known}")
    places = {
        name: f"/targets/{name}/mode" if name else "/target/mode"
        for name, spec in configuration.clusters.items()
        if spec.mode != MANAGE and target in ("", name)
    }
    if not places:
        return Adoption(branch, "")
    changed = edit(data, 0, [FieldEdit(place, MANAGE) for place in places.values()], file=FILE)
    read_configuration(changed)
    key = settings.keys / COMMIT_KEY
    signing = key if key.exists() else None
    commit = source.commit(
        head, BRANCH, {FILE: changed}, _MESSAGE, identity=IDENTITY, signing_key=signing, replace=True
    )
    return Adoption(BRANCH, commit)
