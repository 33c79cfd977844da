"""Sources: the Applications of a tree, and which of its Declarations belong to which of them.

What Argo CD's and Flux's objects say is read as it stands; nothing of ours is asked for. Whether one of them may be
reconciled from here is part of the answer (`Application.problem`): one that names something that is not in this tree is
never applied in part, since what a part leaves out would be pruned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from customhouse.control.argocd import GROUP, argo_application
from customhouse.control.flux import HELM, KUSTOMIZE, flux_kustomization, helm_release
from customhouse.control.lockfile import COMMAND
from customhouse.core.application import Application, Engine, SourceSet
from customhouse.core.resource import Declaration, ResourceRef

_OWN_FLUX = ("source.toolkit.fluxcd.io", "source.extensions.fluxcd.io", KUSTOMIZE, HELM)


def applications(declared: Iterable[Declaration], remotes: Sequence[str] = ()) -> tuple[Application, ...]:
    """The Applications among some Declarations, in their order. `remotes`: where the repository was read from."""
    everything = tuple(declared)
    found: list[Application] = []
    for item in everything:
        match item.ref.api_version.rpartition("/")[0], item.ref.kind:
            case (group, "Application") if group == GROUP:
                found.append(argo_application(item, remotes))
            case (group, "Kustomization") if group == KUSTOMIZE:
                found.append(flux_kustomization(item, everything, remotes))
            case (group, "HelmRelease") if group == HELM:
                found.append(helm_release(item, everything, remotes))
    roots: dict[ResourceRef, set[str]] = {}
    for item in everything:
        if item.owner is not None and item.rendering is not None:
            roots.setdefault(item.owner, set()).add(item.rendering.root)
    return tuple(_whole(one, roots.get(one.ref, ())) for one in found)


def source_sets(declared: Iterable[Declaration], remotes: Sequence[str] = ()) -> tuple[SourceSet, ...]:
    """The Declarations by the source that applies them: those of the repository itself first.

    What an ApplicationSet makes is nobody's to apply: its controller does, or nobody needs it.
    """
    everything = tuple(declared)
    found = {item.ref: item for item in applications(everything, remotes)}
    own: list[Declaration] = []
    others: dict[ResourceRef, list[Declaration]] = {ref: [] for ref in found}
    for item in everything:
        if item.owner is None:
            own.append(item)
        elif item.owner in others:
            others[item.owner].append(item)
    sets = [SourceSet(None, tuple(own))]
    sets += [SourceSet(application, tuple(others[ref])) for ref, application in found.items()]
    return tuple(sets)


def belongs_to(ref: ResourceRef) -> Engine | None:
    """Whose kind an object is: only where that engine runs does it mean anything to a cluster."""
    group = ref.api_version.rpartition("/")[0]
    if group == GROUP and ref.kind in ("Application", "ApplicationSet", "AppProject"):
        return Engine.ARGOCD
    return Engine.FLUX if group in _OWN_FLUX else None


def in_order(found: Iterable[Application]) -> tuple[tuple[Application, ...], Mapping[ResourceRef, str]]:
    """Applications after those that they depend on; and those that never can be applied, with the reason.

    A dependency that is not in this tree holds nobody up here: whoever reconciles asks the cluster for it.
    """
    waiting = {item.ref: item for item in found}
    ordered: list[Application] = []
    while True:
        ready = [
            item for item in waiting.values() if not any(ref in waiting and ref != item.ref for ref in item.depends_on)
        ]
        ready = [item for item in ready if item.ref not in item.depends_on]
        if not ready:
            break
        for item in ready:
            ordered.append(item)
            del waiting[item.ref]
    return tuple(ordered), {
        ref: f"{ref} depends, by way of others, on itself: " + ", ".join(map(str, item.depends_on))
        for ref, item in waiting.items()
    }


def _whole(item: Application, roots: Collection[str]) -> Application:
    """With what is wrong with it. `roots` are those that its objects were rendered from."""
    if item.problem:
        return item
    for source in item.sources:
        if source.fetched and any(root.startswith(source.fetched) for root in roots):
            continue
        if source.chart or source.fetched:
            what = f"the chart {source.chart}" if source.chart else source.path or "what lies there"
            named = f"{what} of {source.url or 'elsewhere'} is not in this tree"
            return replace(item, problem=f"{named}: `{COMMAND}` tells why, and names it by digest")
        if not source.here and (source.path or not _only_values(item)):
            named = f"{source.path or '.'} of {source.url or 'elsewhere'}"
            listed = "`sources.repositories` lists its other addresses"
            return replace(item, problem=f"{named} is not of this repository; {listed}")
    return item


def _only_values(item: Application) -> bool:
    """Whether a source without a path may be there for its values alone (`ref`)."""
    return item.engine is Engine.ARGOCD and len(item.sources) > 1
