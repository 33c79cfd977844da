"""What routes to a plain Deployment, of all that a revision declares: its Services, and the HTTPRoutes to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from customhouse.control.rollout_plan import BLUE_GREEN, plan_of
from customhouse.core.release import candidate_name
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.execution.plain_traffic import pod_labels, routed_services, selected_by, selects

_GATEWAY = "gateway.networking.k8s.io/"


@dataclass(frozen=True, slots=True)
class Scene:
    """A Deployment with what routes to it, as declared.

    `services` select its pods; `asked` are the names of those that `routes` share by weight. `switched`: a Service is
    for one version at a time. `problem`: why it cannot be rolled out as it is declared.
    """

    services: tuple[Declaration, ...] = ()
    routes: tuple[Declaration, ...] = ()
    asked: frozenset[str] = frozenset()
    switched: bool = False
    problem: str = ""

    @property
    def weighted(self) -> bool:
        """Whether anything but the number of replicas decides who is asked."""
        return bool(self.routes) or self.switched


@dataclass(slots=True)
class _Room:
    """What matters here of one namespace in one cluster."""

    services: dict[tuple[str, str], list[Declaration]] = field(default_factory=dict)
    """By one of the labels that each selects."""
    routes: dict[str, list[Declaration]] = field(default_factory=dict)
    """By the name of each Service that they name."""
    pods: dict[tuple[str, str], list[Declaration]] = field(default_factory=dict)
    """By each label that they have."""
    names: set[tuple[str, str]] = field(default_factory=set)
    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What a rollout would call something beside each object; long names are cut."""

    def put(self, item: Declaration) -> None:
        """One object of it."""
        self.names.add((item.ref.kind, item.ref.name))
        self.seconds[item.ref.kind, candidate_name(item.ref.name)] += 1
        if (item.ref.kind, item.ref.api_version) == ("Service", "v1"):
            for pair in selected_by(item.manifest)[:1]:
                self.services.setdefault(pair, []).append(item)
        elif item.ref.kind == "HTTPRoute" and item.ref.api_version.startswith(_GATEWAY):
            for name in routed_services(item.manifest):
                self.routes.setdefault(name, []).append(item)
        elif _has_pods(item.manifest):
            for pair in pod_labels(item.manifest):
                self.pods.setdefault(pair, []).append(item)


def scenes_of(deployments: Sequence[Declaration], declared: Iterable[Declaration]) -> dict[ResourceRef, Scene]:
    """The scene of each of some Deployments, in its own namespace and cluster alone."""
    rooms: dict[str, dict[tuple[str, str], _Room]] = {}
    for item in deployments:
        rooms.setdefault(item.ref.namespace, {}).setdefault(_stands(item), _Room())
    for item in declared if rooms else ():
        said, stands = _stands(item)
        for (other, where), room in rooms.get(item.ref.namespace, {}).items():
            # A reference names its scene only where another object has the same name elsewhere.
            if said == other or stands == where:
                room.put(item)
    return {item.ref: _scene(item, rooms[item.ref.namespace][_stands(item)]) for item in deployments}


def _scene(declared: Declaration, room: _Room) -> Scene:
    likely = [item for pair in pod_labels(declared.manifest) for item in room.services.get(pair, ())]
    ours = [item for item in likely if selects(item.manifest, declared.manifest)]
    # A Service of several workloads can select by no label of one of them: the others' pods do not have it.
    mixed = [item for item in ours if _selects_others(item, declared, room)]
    services = tuple(item for item in ours if item not in mixed)
    names = frozenset(item.ref.name for item in services)
    plan = plan_of(declared.manifest)
    if plan is not None and plan.way == BLUE_GREEN:
        found = Scene(services, switched=True)
    else:
        asked = frozenset(name for name in names if name in room.routes)
        routes = {item.ref: item for name in sorted(asked) for item in room.routes[name]}
        found = Scene(services, tuple(routes.values()), asked)
    return Scene(found.services, found.routes, found.asked, found.switched, _problem(declared, found, mixed, room))


def _selects_others(service: Declaration, declared: Declaration, room: _Room) -> bool:
    others = (item for pair in selected_by(service.manifest)[:1] for item in room.pods.get(pair, ()))
    return any(item.ref != declared.ref and selects(service.manifest, item.manifest) for item in others)


def _problem(declared: Declaration, found: Scene, mixed: Sequence[Declaration], room: _Room) -> str:
    kind, name = declared.ref.kind, declared.ref.name
    taken = [(kind, candidate_name(name)), *(("Service", candidate_name(one)) for one in sorted(found.asked))]
    for one in taken:
        if one in room.names:
            return f"{one[0]} {one[1]} is declared already, which is what the new version would be called"
        if room.seconds[one] > 1:
            return f"{one[0]} {one[1]} is what the new versions of two would be called; give one a shorter name"
    if found.weighted and mixed:
        which = ", ".join(item.ref.name for item in mixed[:5])
        return f"Service {which} selects pods of other workloads too, so that it cannot tell two versions apart"
    if found.switched and not found.services:
        return "no Service declared here selects its pods, so that there is nothing to switch"
    return ""


def _stands(item: Declaration) -> tuple[str, str]:
    return item.ref.scene, item.ref.scene or item.scene


def _has_pods(manifest: Manifest) -> bool:
    spec = manifest.get("spec")
    return isinstance(spec, Mapping) and isinstance(spec.get("template"), Mapping)
