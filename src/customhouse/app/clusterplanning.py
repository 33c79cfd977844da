"""`customhouse plan` where the target is a cluster: the difference between a revision and what lives there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.app import wiring, wiring_secrets
from customhouse.app.clusterkeeping import conducted, live_applications
from customhouse.app.configuration import Configuration
from customhouse.app.inventory_owner import REPOSITORY_KEY, SOURCE_KEY, addresses, identity_of, source_name
from customhouse.app.keepers import of_target
from customhouse.app.memory import Memory
from customhouse.app.rollouts import Rollouts
from customhouse.app.settings import Settings
from customhouse.app.target_spec import ClusterSpec
from customhouse.app.unsealing import UnsealingCluster
from customhouse.control.conducting import ALONE, Among
from customhouse.control.placing import bare, unplaced
from customhouse.control.preview import Planned, leaving, preview
from customhouse.control.scenes import of_one_scene
from customhouse.control.stages import Wanted, wanted
from customhouse.control.tracked import Inventories
from customhouse.core.cluster import Cluster
from customhouse.core.errors import TargetError
from customhouse.core.ports import StateStore
from customhouse.core.resource import Declaration, Manifest, ResourceRef
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
    spec = configuration.cluster or ClusterSpec()
    walked = _walked(settings, of_one_scene(tuple(declared)))
    return _one(_Asked(settings, configuration, where, revision, read), spec, walked)


def several_plans(
    settings: Settings,
    configuration: Configuration,
    where: tuple[str, str, str],
    revision: str,
    declared: Sequence[Declaration],
    read: Callable[[str], bytes | None],
) -> dict[str, Any]:
    """The plans of several clusters as one: each action with its `target`, and a row for each under `targets`.

    A cluster that cannot be asked says so there, as `problem`, and in `blocked`. Raises DeclarationError for what is
    for none of them.
    """
    asked = _Asked(settings, configuration, where, revision, read)
    placing, specs = configuration.placing, configuration.targets
    declared = _walked(settings, declared)
    parts = placing.split(declared)
    actions: list[dict[str, Any]] = []
    rows = []
    for name, spec in specs.items():
        guests = {bare(item.ref): stands for item, stands in placing.guests(parts[name], declared)}
        own = [unplaced(item) for item in (*parts[name], *(one for one, _ in placing.guests(parts[name], declared)))]
        told: dict[ResourceRef, str] = {}
        live: dict[ResourceRef, Manifest] = {}
        for ref, stands in guests.items():
            try:
                with wiring.target_cluster(settings, specs[stands]) as there:
                    live |= live_applications(there, [ref])
                told[ref] = ""
            except TargetError as error:
                told[ref] = f"who reconciles it is not known: {stands}: {error}"
        among = Among(name, tuple(other for other in specs if other != name), told)
        row = {"name": name, "mode": spec.mode, "source": "", "blocked": None, "problem": ""}
        try:
            found = _one(asked, spec, own, among, live)
        except TargetError as error:
            rows.append({**row, "problem": str(error)})
            continue
        rows.append({**row, "source": found["source"], "blocked": found["blocked"]})
        actions += [{**item, "target": name} for item in found["actions"]]
    blocked = [f"{row['name']}: {row['problem'] or row['blocked']}" for row in rows if row["problem"] or row["blocked"]]
    return {
        "revision": revision,
        "target": "kubernetes",
        "mode": " and ".join(sorted({spec.mode for spec in specs.values()})),
        "source": "",
        "actions": actions,
        "blocked": "; ".join(blocked) or None,
        "targets": rows,
    }


@dataclass(frozen=True, slots=True)
class _Asked:
    settings: Settings
    configuration: Configuration
    where: tuple[str, str, str]
    revision: str
    read: Callable[[str], bytes | None]


def _walked(settings: Settings, declared: Sequence[Declaration]) -> Sequence[Declaration]:
    """With the rollouts that are under way, where the state of `up` is here: their weights are no difference."""
    if not wiring.has_store(settings):
        return declared
    with wiring.store(settings) as opened:
        return Rollouts(Memory(opened.state)).shaped(declared)


def _one(
    asked: _Asked,
    spec: ClusterSpec,
    declared: Sequence[Declaration],
    among: Among = ALONE,
    guests: Mapping[ResourceRef, Manifest] | None = None,
) -> dict[str, Any]:
    settings, sources, where, name = asked.settings, asked.configuration.sources, asked.where, among.called
    with wiring.target_cluster(settings, spec) as connected:
        cluster = UnsealingCluster(connected)
        cluster.opener = wiring_secrets.opener(settings, asked.read, declared)
        remotes = addresses(where[0], sources.repositories)
        desired = conducted(cluster, declared, remotes, sources.reconciled_by, among, guests).declarations
        if not wiring.has_store(settings):
            source, owner = source_name(spec.source, *where, name), identity_of(*where[1:])
            return _plan(cluster, _Nothing(), spec, source, owner, asked.revision, desired)
        with wiring.store(settings) as opened:
            state = of_target(opened.state, name)
            source = spec.source or state.get(SOURCE_KEY) or source_name("", *where, name)
            owner = state.get(REPOSITORY_KEY) or identity_of(*where[1:])
            return _plan(cluster, state, spec, str(source), str(owner), asked.revision, desired)


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
