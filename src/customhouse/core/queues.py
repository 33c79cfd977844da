"""Queues: what Kueue's quota lets in. Which queue an object names, what it may take, and whether it can ever fit.

Source: kueue.x-k8s.io/v1beta1 and the flavor assigner of Kueue 0.14. A set of pods gets one flavor of each resource
group; a flavor is left out when the pods' node selection contradicts its labels (keys that no flavor of the group has
count for nothing) or they do not stand its taints; then all that the set asks of the group has to be within the quota:
nominal, and in a cohort what may be borrowed. Jobs and their kind are let in whole, pods of a server one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from customhouse._kit.quantity import format_bytes, format_milli, parse_bytes, parse_count, parse_milli
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import amount, count, items, look, mapping, text
from customhouse.core.podsets import PodSet
from customhouse.core.resource import Manifest, ResourceRef

GROUP = "kueue.x-k8s.io"
QUEUE = f"{GROUP}/queue-name"
_LEAST = f"{GROUP}/job-min-parallelism"
_BYTES = ("memory", "ephemeral-storage")
_ONE_BY_ONE = frozenset({"Deployment", "ReplicaSet", "InferenceService", "Pod", "Rollout", "Service"})
"""Kinds whose pods are let in one by one; everything else waits until all of it fits."""
_MOST_GROUPS = 512
_MOST_PLACES = 64
"""Kueue has at most 64 flavors a group; of more ways than that the first are looked at."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one resource of a flavor, in millicores, bytes or devices. `borrowing` None: no limit of its own."""

    nominal: int
    borrowing: int | None = None
    lending: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A flavor in a queue: its quota by resource."""

    flavor: str
    quotas: Mapping[str, Quota]


@dataclass(frozen=True, slots=True)
class Group:
    """Resources that come from the same flavor."""

    covered: tuple[str, ...]
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class ClusterQueue:
    """A queue of the cluster, or the resources that a cohort has of its own."""

    name: str
    groups: tuple[Group, ...]
    cohort: str = ""
    stopped: str = ""
    """`Hold` or `HoldAndDrain` where nothing is let in."""
    open: bool = True
    """False: its namespaceSelector is missing, and then it takes from no namespace."""


@dataclass(frozen=True, slots=True)
class Flavor:
    """What the machines of a flavor are: labels that their pods get, taints that these have to stand."""

    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, Any], ...] = ()
    tolerations: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Lack:
    """What cannot be had: `most` is the most that the queue can ever give of it; None: it has none of the resource.

    `sure`: by the queue's own limits; else by those of the cohort's queues that are declared here.
    """

    pods: str
    flavor: str
    resource: str
    asked: int
    most: int | None
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """One way for a set of pods to be let in: a flavor of each resource group, and the node labels that these give."""

    flavors: tuple[str, ...]
    labels: Mapping[str, str]

    def __str__(self) -> str:
        """The names, joined."""
        return " + ".join(self.flavors)


@dataclass(frozen=True, slots=True)
class Landing:
    """Where pods may come to run: of each set the ways, in the queue's order; what is lacking where there is none."""

    queue: str
    cluster_queue: str
    places: tuple[tuple[Place, ...], ...] = ()
    lacks: tuple[Lack, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Queues:
    """All queues of a state."""

    local: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """(namespace, name) of a LocalQueue → its ClusterQueue, and why it holds (stopPolicy)."""
    cluster: Mapping[str, ClusterQueue] = field(default_factory=dict)
    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    cohorts: Mapping[str, ClusterQueue] = field(default_factory=dict)
    """Name of a Cohort → what it has of its own; `cohort` is its parent."""
    _pools: dict[tuple[str, str, str], int] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was added up already: every queue of a cohort asks for it."""
    _roots: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def any(self) -> bool:
        """Whether there are any: where nothing of Kueue is declared, nothing is known of it."""
        return bool(self.local or self.cluster)

    def most(self, queue: ClusterQueue, share: Share, resource: str) -> tuple[int, bool]:
        """The most of a resource that a queue can have of a flavor, and whether that is its own limit."""
        quota = share.quotas.get(resource, Quota(0))
        if not queue.cohort:
            return quota.nominal, True
        if quota.borrowing is not None:
            return quota.nominal + quota.borrowing, True
        key = (self._root(queue.cohort), share.flavor, resource)
        known = self.cluster.get(queue.name)
        own = 0
        if known is not None and known.cohort and self._root(known.cohort) == key[0]:
            own = next((lent for place, lent in _lent(known) if place == key[1:]), 0)
        return quota.nominal + self._pooled().get(key, 0) - own, False

    def _pooled(self) -> Mapping[tuple[str, str, str], int]:
        """(root of a tree of cohorts, flavor, resource) → what all queues and cohorts of the tree can lend."""
        if not self._pools:
            queues = [(item.cohort, item) for item in self.cluster.values() if item.cohort]
            for cohort, item in (*queues, *self.cohorts.items()):
                root = self._root(cohort)
                for place, lent in _lent(item):
                    self._pools[root, *place] = self._pools.get((root, *place), 0) + lent
        return self._pools

    def _root(self, cohort: str) -> str:
        if cohort not in self._roots:
            self._roots[cohort] = self._above(cohort)
        return self._roots[cohort]

    def _above(self, cohort: str) -> str:
        seen = {cohort}
        while (above := self.cohorts.get(cohort)) is not None and above.cohort and above.cohort not in seen:
            cohort = above.cohort
            seen.add(cohort)
        return cohort

    def landing(self, manifest: Manifest, ref: ResourceRef, sets: Iterable[PodSet]) -> Landing | None:
        """Where an object's pods may run; None for one that names no queue."""
        name = queue_of(manifest, ref)
        return self.landing_in(name, manifest, ref, sets) if name else None

    def landing_in(self, name: str, manifest: Manifest, ref: ResourceRef, sets: Iterable[PodSet]) -> Landing:
        """The same in a LocalQueue that somebody else names."""
        found = self.local.get((ref.namespace, name))
        if found is None:
            return Landing(name, "", problem=f"no LocalQueue {name} is declared in namespace {ref.namespace}")
        queue = self.cluster.get(found[0])
        if queue is None:
            return Landing(name, found[0], problem=f"its ClusterQueue {found[0]} is not declared")
        stopped = found[1] or queue.stopped
        problem = f"it is stopped ({stopped})" if stopped else ""
        if not queue.open:
            problem = f"ClusterQueue {queue.name} has no namespaceSelector, so it takes from no namespace"
        places: list[tuple[Place, ...]] = []
        lacks: list[Lack] = []
        for one in sets:
            fitting, lacking = self._fits(queue, one, _together(manifest, ref, one))
            ways = _ways(fitting) if fitting and not lacking else ()
            places.append(tuple(Place(way, self._labels(way)) for way in ways))
            lacks += lacking
        return Landing(name, queue.name, tuple(places), tuple(lacks), problem)

    def _labels(self, flavors: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in flavors:
            found |= self.flavors.get(name, Flavor()).labels
        return found

    def _fits(self, queue: ClusterQueue, one: PodSet, pods: int) -> tuple[list[list[str]], list[Lack]]:
        """Of a set of pods: the flavors that could take it by group, and what is lacking when a group has none."""
        asked = {name: value * pods for name, value in requests(one).items() if value}
        if any("pods" in group.covered for group in queue.groups):
            asked["pods"] = pods
        fitting: list[list[str]] = []
        lacks: list[Lack] = []
        for group in queue.groups:
            wanted = {name: asked.pop(name) for name in group.covered if name in asked}
            if not wanted:
                continue
            keys = {key for share in group.shares for key in self.flavors.get(share.flavor, Flavor()).labels}
            near: list[Lack] = []
            found: list[str] = []
            for share in group.shares:
                flavor = self.flavors.get(share.flavor)
                if flavor is not None and not _selected(one.pod, flavor, keys):
                    continue
                short = [*self._short(queue, share, wanted, one.name)]
                if not short:
                    found.append(share.flavor)
                elif not near or _nearer(short, near):
                    near = short
            if found:
                fitting.append(found)
            else:
                names = ", ".join(share.flavor for share in group.shares) or "none"
                lacks += near or [Lack(one.name, names, name, value, None) for name, value in wanted.items()]
        # Its configuration may leave resources out of account; no object says so.
        lacks += [Lack(one.name, "", name, value, None, sure=False) for name, value in sorted(asked.items())]
        return fitting, lacks

    def _short(self, queue: ClusterQueue, share: Share, wanted: Mapping[str, int], pods: str) -> Iterator[Lack]:
        for name, value in sorted(wanted.items()):
            most, sure = self.most(queue, share, name)
            if value > most:
                yield Lack(pods, share.flavor, name, value, most, sure)


def _ways(fitting: list[list[str]]) -> Iterator[tuple[str, ...]]:
    """The first ways to choose a flavor of each group, and of each flavor that is in none of these one way."""
    seen: list[set[str]] = [set() for _ in fitting]
    for way in islice(product(*fitting), _MOST_PLACES):
        for names, name in zip(seen, way, strict=True):
            names.add(name)
        yield way
    first = tuple(choices[0] for choices in fitting)
    for index, choices in enumerate(fitting):
        for name in choices:
            if name not in seen[index]:
                yield (*first[:index], name, *first[index + 1 :])


def _nearer(short: list[Lack], near: list[Lack]) -> bool:
    """Whether a flavor comes closer: one that may do first, then the one that has more of what is lacking."""
    surely, sure = (any(item.sure for item in lacks) for lacks in (short, near))
    return surely < sure or (surely == sure and (short[0].most or 0) > (near[0].most or 0))


def queue_of(manifest: Manifest, ref: ResourceRef) -> str:
    """The LocalQueue that an object's work waits in: by its label, that of its pods or Jobs, or the old annotation."""
    if ref.api_version.startswith(f"{GROUP}/"):
        return ""
    # Kueue asks the Job and not the CronJob that made it, and the pods only of what is no job to it (v0.14,
    # `QueueNameForObject`): a name anywhere else holds nothing back.
    if ref.kind == "CronJob":
        places = ["/spec/jobTemplate/metadata/labels", "/spec/jobTemplate/metadata/annotations"]
    else:
        pods = ["/spec/template/metadata/labels"] if ref.api_version.startswith("apps/") else []
        places = ["/metadata/labels", *pods, "/metadata/annotations"]
    for place in places:
        found = look(manifest, place)
        if isinstance(found, Mapping) and isinstance(found.get(QUEUE), str) and found[QUEUE]:
            return str(found[QUEUE])
    return ""


def requests(one: PodSet) -> dict[str, int]:
    """What one pod of a set asks for, by resource: millicores, bytes, devices."""
    found = {"cpu": one.cpu, "memory": one.memory}
    starting: dict[str, int] = {}
    for item in one.containers:
        source = item.source if item.source is not None else {}
        declared = source.get("resources")
        given = declared if isinstance(declared, Mapping) else {}
        asked = {**mapping(given, "limits", item.pointer), **mapping(given, "requests", item.pointer)}
        for name in asked:
            if "/" in name:
                number = amount(parse_count, asked, name, item.pointer)
                part = starting if item.init else found
                part[name] = max(part.get(name, 0), number) if item.init else part.get(name, 0) + number
    return {**found, **{name: max(found.get(name, 0), number) for name, number in starting.items()}}


def shown(resource: str, value: int) -> str:
    """An amount as a quantity: `2`, `16Gi`, `8`."""
    if resource == "cpu":
        return format_milli(value)
    return format_bytes(value) if resource in _BYTES else str(value)


def queues(declared: Iterable[tuple[ResourceRef, Manifest]]) -> Queues:
    """The queues of a state. What cannot be read is left out: Kueue refuses it, and so do the rules."""
    local: dict[tuple[str, str], tuple[str, str]] = {}
    cluster: dict[str, ClusterQueue] = {}
    flavors: dict[str, Flavor] = {}
    cohorts: dict[str, ClusterQueue] = {}
    for ref, manifest in declared:
        if not ref.api_version.startswith(f"{GROUP}/"):
            continue
        spec = look(manifest, "/spec")
        try:
            if ref.kind == "LocalQueue":
                given = mapping(manifest, "spec", "")
                stop = text(given, "stopPolicy", "/spec")
                local[ref.namespace, ref.name] = (text(given, "clusterQueue", "/spec"), "" if stop == "None" else stop)
            elif ref.kind == "ClusterQueue":
                cluster[ref.name] = cluster_queue(manifest, ref.name)
            elif ref.kind == "Cohort":
                cohorts[ref.name] = cluster_queue(manifest, ref.name, "parentName", "parent")
            elif ref.kind == "ResourceFlavor":
                flavors[ref.name] = flavor_of(spec if isinstance(spec, Mapping) else {})
        except DeclarationError:
            continue
    return Queues(local, cluster, flavors, cohorts)


def cluster_queue(manifest: Manifest, name: str, *above: str) -> ClusterQueue:
    """A ClusterQueue, or a Cohort (`above`: its keys for the one above). Raises DeclarationError."""
    spec = mapping(manifest, "spec", "")
    groups = []
    for index, item in enumerate(items(spec, "resourceGroups", "/spec")):
        place = f"/spec/resourceGroups/{index}"
        group = _mapping(item, place)
        shares = []
        for number, entry in enumerate(items(group, "flavors", place)):
            at = f"{place}/flavors/{number}"
            share = _mapping(entry, at)
            shares.append(Share(text(share, "name", at), dict(_quotas(share, at))))
        groups.append(Group(tuple(str(one) for one in items(group, "coveredResources", place)), tuple(shares)))
        if len(groups) > _MOST_GROUPS:
            raise DeclarationError("too many resource groups", where=place)
    parent = next((text(spec, key, "/spec") for key in (above or ("cohort", "cohortName")) if spec.get(key)), "")
    stop = text(spec, "stopPolicy", "/spec")
    is_open = bool(above) or spec.get("namespaceSelector") is not None
    return ClusterQueue(name, tuple(groups), parent, "" if stop == "None" else stop, is_open)


def flavor_of(spec: Mapping[str, Any]) -> Flavor:
    """The spec of a ResourceFlavor. Raises DeclarationError."""
    labels = {str(key): str(value) for key, value in mapping(spec, "nodeLabels", "/spec").items()}
    taints = tuple(_mapping(item, "/spec/nodeTaints") for item in items(spec, "nodeTaints", "/spec"))
    tolerations = tuple(_mapping(item, "/spec/tolerations") for item in items(spec, "tolerations", "/spec"))
    return Flavor(labels, taints, tolerations)


def _quotas(share: Mapping[str, Any], place: str) -> Iterator[tuple[str, Quota]]:
    for index, item in enumerate(items(share, "resources", place)):
        at = f"{place}/resources/{index}"
        given = _mapping(item, at)
        name = text(given, "name", at)
        parse = parse_milli if name == "cpu" else parse_bytes

        def read(
            key: str, given: Mapping[str, Any] = given, parse: Callable[[Any], int] = parse, at: str = at
        ) -> int | None:
            return None if given.get(key) is None else amount(parse, given, key, at)

        yield name, Quota(read("nominalQuota") or 0, read("borrowingLimit"), read("lendingLimit"))


def _lent(queue: ClusterQueue) -> Iterator[tuple[tuple[str, str], int]]:
    """((flavor, resource), what a queue can give of it to the others of its cohort)."""
    for group in queue.groups:
        for share in group.shares:
            for resource, quota in share.quotas.items():
                lent = quota.nominal if quota.lending is None else min(quota.nominal, quota.lending)
                yield (share.flavor, resource), lent


def _together(manifest: Manifest, ref: ResourceRef, one: PodSet) -> int:
    """How many pods of a set have to be let in at once, at least."""
    if ref.kind in _ONE_BY_ONE:
        return 1
    least = look(manifest, "/metadata/annotations")
    given = least.get(_LEAST) if isinstance(least, Mapping) else None
    return max(1, one.replicas_min) if given is None else max(1, count(given, _LEAST, "/metadata/annotations"))


def _selected(pod: Mapping[str, Any], flavor: Flavor, keys: set[str]) -> bool:
    """Whether pods may run on the machines of a flavor. Affinity other than `In` and `NotIn` excludes nothing here."""
    selector = pod.get("nodeSelector")
    for key, value in selector.items() if isinstance(selector, Mapping) else ():
        if key in keys and flavor.labels.get(key) != str(value):
            return False
    terms = look(pod, "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms")
    if isinstance(terms, (list, tuple)) and terms and not any(_term(item, flavor, keys) for item in terms):
        return False
    stood = (*flavor.tolerations, *_entries(pod.get("tolerations")))
    return all(
        taint.get("effect") not in ("NoSchedule", "NoExecute") or any(_tolerates(item, taint) for item in stood)
        for taint in flavor.taints
    )


def _term(term: Any, flavor: Flavor, keys: set[str]) -> bool:
    for item in _entries(look(term, "/matchExpressions")):
        key, values = item.get("key"), item.get("values")
        if key not in keys or not isinstance(values, (list, tuple)):
            continue
        within = flavor.labels.get(str(key)) in [str(value) for value in values]
        if (item.get("operator") == "In" and not within) or (item.get("operator") == "NotIn" and within):
            return False
    return True


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") in (None, ""):
        return toleration.get("operator") == "Exists"
    if toleration.get("key") != taint.get("key"):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


def _entries(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, (list, tuple)) else []


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DeclarationError("not a mapping", where=place)
    return value
