"""`customhouse plan`: the difference between a revision and what was last applied, without touching the target."""

from __future__ import annotations

from functools import partial
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.app import wiring
from customhouse.app.controlplane import SOURCE
from customhouse.app.declared import declarations_of
from customhouse.app.gateword import gate_word
from customhouse.app.reviewed_registries import configuration_of, reviewed_registries
from customhouse.app.settings import Settings
from customhouse.control import inventory as inventories
from customhouse.control.plan import plan as plan_actions
from customhouse.control.scenes import of_one_scene
from customhouse.control.source import Commits
from customhouse.core.plan import Health, HealthStatus, LiveObject
from customhouse.core.resource import Declaration, ResourceRef

TARGET = "local"


def plan(settings: Settings, repo: str, revision: str, base: str | None = None) -> dict[str, Any]:
    """`{"revision","target","actions":[{"action","resource"}],"blocked","gate"}`. Raises SourceError and UsageError.

    `gate` is what the state has on record of the revision (`gate_word`), null without one. On a cluster each action
    has `fields` and a `note` too, all of it asked by dry runs; then TargetError is raised as well. Registries are asked
    that the revision trusts and what was reviewed before it too (`reviewed_registries`; `base` names that), else
    CannotDecideError is raised.
    """
    objects = wiring.commits(settings, repo)
    commit = objects.resolve(revision)
    return {**_plan(settings, repo, objects, commit, base), "gate": gate_word(settings, commit)}


def _plan(settings: Settings, repo: str, objects: Commits, commit: str, base: str | None) -> dict[str, Any]:
    # Its rules are not asked for: they may name places that nobody has reviewed, and nothing is judged here.
    configuration = configuration_of(settings, objects, commit)
    trusted = reviewed_registries(settings, objects, commit, base)
    declared = declarations_of(objects, commit, configuration.paths, configuration.render, trusted=trusted)
    if configuration.clusters:
        from customhouse.app.clusterplanning import cluster_plan, several_plans

        where = (repo, configuration.branch, objects.first_commit(commit))
        asked = several_plans if configuration.targets else cluster_plan
        return asked(settings, configuration, where, commit, declared, partial(objects.read, commit))
    desired = of_one_scene(declared)
    inventory = _inventory(settings)
    applied = {entry.ref: entry.digest for entry in inventory.entries}
    live = dict(_as_applied(desired, applied))
    live |= {ref: _present(ref) for ref in applied if ref not in live}
    outcome = plan_actions(TARGET, commit, desired, live, inventory)
    return {
        "revision": commit,
        "target": TARGET,
        "actions": [{"action": item.kind.value, "resource": item.ref.to_json()} for item in outcome.plan.actions],
        "blocked": outcome.blocked,
    }


def _inventory(settings: Settings) -> inventories.Inventory:
    """What was applied; nothing where no control plane ever ran. Asking makes no state."""
    if not wiring.has_store(settings):
        return inventories.Inventory(TARGET, SOURCE)
    with wiring.store(settings) as opened:
        return inventories.load(opened.state, TARGET, SOURCE)


def _as_applied(desired: tuple[Declaration, ...], applied: dict[ResourceRef, str]) -> Any:
    """What was applied with the same digest is taken to be there as declared; drift is for `customhouse status`."""
    for declaration in desired:
        if declaration.ref in applied:
            same = applied[declaration.ref] == json_digest(declaration.manifest)
            manifest = declaration.manifest if same else {}
            yield declaration.ref, LiveObject(declaration.ref, manifest, Health(HealthStatus.HEALTHY))


def _present(ref: ResourceRef) -> LiveObject:
    return LiveObject(ref, {}, Health(HealthStatus.HEALTHY))
