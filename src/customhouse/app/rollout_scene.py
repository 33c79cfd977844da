"""What routes to a plain Deployment, of all that a revision declares: its Services, and the HTTPRoutes to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from customhouse.control.rollout_plan import BLUE_GREEN, plan_of
from customhouse.core.release import candidate_name
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.execution.plain_traffic import routed_services, selects

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

    services: list[Declaration] = field(default_factory=list)
    routes: list[Declaration] = field(default_factory=list)
    pods: list[Declaration] = field(default_factory=list)
    names: set[tuple[str, str]] = field(default_factory=set)


def scenes_of(deployments: Sequence[Declaration], declared: Iterable[Declaration]) -> dict[ResourceRef, Scene]:
    """The scene of each of some Deployments, in its own namespace and cluster alone."""
    rooms = {_room_of(item.ref): _Room() for item in deployments}
    for item in declared if rooms else ():
        room = rooms.get(_room_of(item.ref))
        if room is None:
            continue
        room.names.add((item.ref.kind, item.ref.name))
        if (item.ref.kind, item.ref.api_version) == ("Service", "v1"):
            room.services.append(item)
        elif item.ref.kind == "HTTPRoute" and item.ref.api_version.startswith(_GATEWAY):
            room.routes.append(item)
        elif _has_pods(item.manifest):
            room.pods.append(item)
    return {item.ref: _scene(item, rooms[_room_of(item.ref)]) for item in deployments}


def _scene(declared: Declaration, room: _Room) -> Scene:
    ours = [item for item in room.services if selects(item.manifest, declared.manifest)]
    # A Service of several workloads can select by no label of one of them: the others' pods do not have it.
    others = [item for item in room.pods if item.ref != declared.ref]
    mixed = [item for item in ours if any(selects(item.manifest, other.manifest) for other in others)]
    services = tuple(item for item in ours if item not in mixed)
    names = frozenset(item.ref.name for item in services)
    plan = plan_of(declared.manifest)
    if plan is not None and plan.way == BLUE_GREEN:
        found = Scene(services, switched=True)
    else:
        asked = {item.ref: routed_services(item.manifest) & names for item in room.routes}
        routes = tuple(item for item in room.routes if asked[item.ref])
        found = Scene(services, routes, frozenset().union(*asked.values()))
    return Scene(found.services, found.routes, found.asked, found.switched, _problem(declared, found, mixed, room))


def _problem(declared: Declaration, found: Scene, mixed: Sequence[Declaration], room: _Room) -> str:
    kind, name = declared.ref.kind, declared.ref.name
    taken = [(kind, candidate_name(name)), *(("Service", candidate_name(one)) for one in sorted(found.asked))]
    for one in taken:
        if one in room.names:
            return f"{one[0]} {one[1]} is declared already, which is what the new version would be called"
    if found.weighted and mixed:
        which = ", ".join(item.ref.name for item in mixed[:5])
        return f"Service {which} selects pods of other workloads too, so that it cannot tell two versions apart"
    if found.switched and not found.services:
        return "no Service declared here selects its pods, so that there is nothing to switch"
    return ""


def _room_of(ref: ResourceRef) -> tuple[str, str]:
    return ref.namespace, ref.scene


def _has_pods(manifest: Manifest) -> bool:
    spec = manifest.get("spec")
    return isinstance(spec, Mapping) and isinstance(spec.get("template"), Mapping)
