"""`customhouse plan` where the target is a cluster: the difference between a revision and what lives there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from customhouse.app import wiring, wiring_secrets
from customhouse.app.clusterkeeping import (
    REPOSITORY_KEY,
    SOURCE_KEY,
    addresses,
    conducted,
    identity_of,
    source_name,
)
from customhouse.app.configuration import Configuration
from customhouse.app.settings import Settings
from customhouse.app.target_spec import ClusterSpec
from customhouse.app.unsealing import UnsealingCluster
from customhouse.control.preview import Planned, leaving, preview
from customhouse.control.stages import Wanted, wanted
from customhouse.control.tracked import Inventories
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.ports import StateStore
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.core.sight import Key, key_of


class _Nothing:
    """A state store for those who have none: nothing is known, and nothing is written."""

    def get(self, key: str) -> Any:
        return None

    def put(self, values: Any) -> None:
        """Nothing is kept."""

    def keys(self, prefix: str) -> Sequence[str]:
        return ()


def cluster_plan(
    settings: Settings,
    configuration: Configuration,
    where: tuple[str, str, str],
    revision: str,
    declared: Sequence[Declaration],
    read: Callable[[str], bytes | None],
) -> dict[str, Any]:
    """As `planning.plan`, with `fields` and `note` of each action, and `mode`. `where`: address, branch, first commit.

    `read` gives the files of the revision. Raises TargetError and ConfigError; nothing is written, neither here nor
    there.
    """
    spec, sources = configuration.cluster or ClusterSpec(), configuration.sources
    with wiring.target_cluster(settings, spec) as connected:
        cluster = UnsealingCluster(connected)
        cluster.opener = wiring_secrets.opener(settings, read, declared)
        found = conducted(cluster, declared, addresses(where[0], sources.repositories), sources.reconciled_by)
        desired = found.declarations
        if not wiring.has_store(settings):
            name, owner = source_name(spec.source, *where), identity_of(*where[1:])
            return _plan(cluster, _Nothing(), spec, name, owner, revision, desired)
        with wiring.store(settings) as opened:
            source = spec.source or opened.state.get(SOURCE_KEY) or source_name("", *where)
            owner = opened.state.get(REPOSITORY_KEY) or identity_of(*where[1:])
            return _plan(cluster, opened.state, spec, str(source), str(owner), revision, desired)


def _plan(
    cluster: Cluster,
    state: StateStore,
    spec: ClusterSpec,
    source: str,
    owner: str,
    revision: str,
    desired: Sequence[Declaration],
) -> dict[str, Any]:
    scopes = {(kind.api_version, kind.kind): kind.namespaced for kind in cluster.discover().kinds}
    inventory = Inventories(cluster, state, "kubernetes", source, repository=owner)
    inventory.load()
    others = inventory.others()
    found: dict[Key, Wanted] = {}
    problems = []
    held: set[Key] = set()
    for item in desired:
        ref = item.ref
        if not scopes.get((ref.api_version, ref.kind), True):
            ref = ResourceRef(ref.api_version, ref.kind, "", ref.name)
        if item.care is not None and item.care.hold:
            held.add(key_of(ref))
            continue
        try:
            made = wanted(item, ref, correct=spec.drift == "correct")
        except TargetError as error:
            problems.append(str(error))
            continue
        if made.key in others:
            problems.append(f"{item.location}: {ref} belongs to the source {others[made.key][0]!r}")
            continue
        found[made.key] = made
    steps = list(preview(cluster, list(found.values()), inventory.entries))
    entries = {key: entry for key, entry in inventory.entries.items() if key not in held}
    deletions, blocked = leaving(cluster, found, entries, others, spec.prune_budget_percent)
    if problems:
        blocked = "; ".join([*problems[:5], *([blocked] if blocked else [])])
    return {
        "revision": revision,
        "target": "kubernetes",
        "mode": spec.mode,
        "source": source,
        "actions": [_action(item) for item in (*steps, *(deletions if spec.prune else ()))],
        "blocked": blocked or None,
    }


def _action(item: Planned) -> dict[str, Any]:
    fields = [one.to_json() for one in item.fields]
    return {"action": item.step.value, "resource": item.ref.to_json(), "fields": fields, "note": item.note}
