"""What an audit looks at: live objects, or dumps of them in files; and which of them another object stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from customhouse.app.named_files import NamedFiles
from customhouse.control.render import render
from customhouse.core.cluster import Cluster
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.core.workload import Workload, workload
from customhouse.execution.live import Ancestry, LiveIndex, Picture, passed_over, worth_listing


@dataclass(frozen=True, slots=True)
class Scene:
    """Every object that exists, and why not (`problems`: a kind or a group → the reason)."""

    name: str
    declarations: tuple[Declaration, ...]
    problems: Mapping[str, str] = field(default_factory=dict)


def scene_of_cluster(cluster: Cluster, name: str, index: LiveIndex | None = None) -> Scene:
    """List what exists, each kind as of one moment. Raises TargetError when the API is out of reach.

    A group that does not answer and a kind that is refused are problems of the scene.
    """
    found = cluster.discover()
    kinds = worth_listing(found.kinds)
    index = LiveIndex() if index is None else index
    index.expect(kinds)
    for listed in cluster.list(kinds):
        index.put(listed)
    return scene_of_picture(name, index.picture(), found.problems)


def scene_of_picture(name: str, picture: Picture, problems: Mapping[str, str]) -> Scene:
    """The scene of a live index."""
    declarations = tuple(_declared(item) for item in picture.objects)
    return Scene(name, declarations, {**problems, **picture.problems})


def _declared(manifest: Manifest) -> Declaration:
    metadata = manifest["metadata"]
    ref = ResourceRef(
        manifest["apiVersion"],
        manifest["kind"],
        str(metadata.get("namespace") or ""),
        str(metadata.get("name") or ""),
    )
    place = "/".join(part for part in ("live", ref.kind, ref.namespace, ref.name) if part)
    return Declaration(ref, manifest, Location(place))


def scene_of_paths(paths: Sequence[str]) -> Scene:
    """Objects that were dumped into files (`kubectl get -o yaml`, one or many a file).

    Raises UsageError, SourceError and DeclarationError with the file and line.
    """
    declarations = render(dict(NamedFiles(paths)))
    kept = tuple(item for item in declarations if not passed_over(group_of(item.ref), item.ref.kind))
    return Scene("files", kept)


_ROLES = frozenset({"admin", "cluster-admin", "edit", "view"})
_FLOW = frozenset(
    {"catch-all", "exempt", "global-default", "probes", "service-accounts"}
    | {"kube-controller-manager", "kube-scheduler", "kube-system-service-accounts", "system-leader-election"}
    | {"system-node-high", "system-nodes", "leader-election", "node-high", "system", "workload-high", "workload-low"}
)
_BOOTSTRAPPING = "kubernetes.io/bootstrapping"


def built_in(declaration: Declaration) -> bool:
    """Whether the API server or its controllers made it, so that no commit will ever declare it.

    By name; a binding also by whom it binds: a name is anybody's to choose, and it must not hide a person's rights.
    """
    ref, manifest = declaration.ref, declaration.manifest
    match group_of(ref), ref.kind:
        case "rbac.authorization.k8s.io", "ClusterRole" | "Role":
            named = ref.name in _ROLES or ref.name.startswith("system:")
            return named and declaration.label(_BOOTSTRAPPING) == "rbac-defaults"
        case "rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding":
            return _binds_the_system(ref.name, manifest)
        case "flowcontrol.apiserver.k8s.io", _:
            return ref.name in _FLOW
        case "scheduling.k8s.io", "PriorityClass":
            return ref.name in ("system-cluster-critical", "system-node-critical")
        case "apiregistration.k8s.io", "APIService":
            spec = manifest.get("spec")
            return isinstance(spec, Mapping) and not spec.get("service")
        case "networking.k8s.io", "ServiceCIDR":
            return ref.name == "kubernetes"
        case "", "ConfigMap":
            return ref.name == "kube-root-ca.crt"
        case "", "Service":
            return (ref.namespace, ref.name) == ("default", "kubernetes")
    return False


def _binds_the_system(name: str, manifest: Manifest) -> bool:
    subjects, role = manifest.get("subjects") or [], manifest.get("roleRef")
    if not isinstance(subjects, list) or not isinstance(role, Mapping):
        return False
    if name in _FOR_EVERYBODY:
        known = {*_SYSTEM_SUBJECTS, "system:authenticated", "system:unauthenticated", "system:serviceaccounts"}
        return role.get("name") == name and all(_is_of_the_system(subject, known) for subject in subjects)
    named = name == "cluster-admin" or name.startswith("system:")
    return named and all(_is_of_the_system(subject, _SYSTEM_SUBJECTS) for subject in subjects)


def _is_of_the_system(subject: object, groups: Set[str]) -> bool:
    if not isinstance(subject, Mapping):
        return False
    name, kind = str(subject.get("name")), subject.get("kind")
    if kind == "ServiceAccount":
        return subject.get("namespace") == "kube-system"
    return name in groups if kind == "Group" else name.startswith("system:kube-")


_SYSTEM_SUBJECTS = frozenset({"system:masters", "system:nodes", "system:monitoring", "system:node-proxier"})
_FOR_EVERYBODY = frozenset(
    {"system:basic-user", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"}
)
"""Roles of Kubernetes' own that are bound to all who are known, or to anybody. Any other binding of such groups is
somebody's choice, whatever it is called."""


def group_of(ref: ResourceRef) -> str:
    """The API group of a reference."""
    group, slash, _ = ref.api_version.rpartition("/")
    return group if slash else ""


_SELECTING = frozenset({"DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"})


def owners_of(declarations: Iterable[Declaration]) -> Mapping[ResourceRef, Declaration]:
    """What controllers derived → the topmost workload that it comes from, or else its topmost owner.

    The chain is one of uids that exist. A workload is only derived from one that selects it and declares as much for
    one replica: whoever names an owner for a pod that is larger, or that the owner does not count, is charged for it.
    """
    declarations = tuple(declarations)
    by_manifest = {id(item.manifest): item for item in declarations}
    ancestry = Ancestry(item.manifest for item in declarations)
    return {
        item.ref: owner
        for item in declarations
        if (owner := _owner(item, [by_manifest[id(up)] for up in ancestry.ancestors(item.manifest)])) is not None
    }


def _owner(item: Declaration, ancestors: Sequence[Declaration]) -> Declaration | None:
    if not ancestors or not _selected(item, ancestors[0]):
        return None
    own = _runs(item)
    if own is None:
        # Rights are nobody's by-product: an owner reference is anybody's to write.
        return None if group_of(item.ref) == "rbac.authorization.k8s.io" else ancestors[-1]
    for ancestor in reversed(ancestors):
        above = _runs(ancestor)
        if above is not None and _covers(above, own):
            return ancestor
    return None


def _selected(item: Declaration, controller: Declaration) -> bool:
    """Whether a controller with a selector would count this object: it ends what it counts too many of."""
    spec = controller.manifest.get("spec")
    selector = spec.get("selector") if isinstance(spec, Mapping) else None
    wanted = selector.get("matchLabels") if isinstance(selector, Mapping) else None
    if not isinstance(wanted, Mapping) or controller.ref.kind not in _SELECTING:
        return True
    return all(item.label(str(key)) == value for key, value in wanted.items())


def _runs(declaration: Declaration) -> Workload | None:
    try:
        return workload(declaration.manifest, declaration.ref)
    except DeclarationError:
        return None  # said when it is judged


def _covers(owner: Workload, part: Workload) -> bool:
    return (
        part.accelerators <= owner.accelerators
        and part.cpu <= owner.cpu
        and part.memory <= owner.memory
        and (not part.accelerators or part.accelerator in (owner.accelerator, None) or owner.accelerator is None)
    )
