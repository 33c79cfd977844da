"""What others own of an object beside what is declared: which of it is drift, and which of that can be taken away.

No apply removes a field that somebody else owns. So this looks at who owns what (`managedFields`), and says what is not
declared and should not be there. The name of a manager is whatever its writer says: only for what cannot harm does it
count who that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

from customhouse.control.diff import HIDDEN
from customhouse.control.drift import ABSENT, MOST, FieldDrift, is_ours, leaves, told_apart
from customhouse.control.yaml_values import escape
from customhouse.core.cluster import Apply, Cluster, Manager, Remove, managers_of
from customhouse.core.plan import FieldDiff
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import fingerprint, live_key

# Writers that are a person at a keyboard: whatever they add to a managed object is told.
_HANDS = ("kubectl", "k9s", "Lens", "Mozilla", "Headlamp", "rancher", "dashboard", "oc")
_KUBERNETES = ("kube-controller-manager", "kube-scheduler", "cloud-controller-manager")
_ANYBODY = "before-first-apply"
"""Whom the API names for all that is in an object of which nobody had applied a field: that may be a person."""
_PLAIN = frozenset({"", "apps", "batch", "networking.k8s.io"})
"""Groups in which no controller sets what runs or is reached."""
_ELSEWHERE = "customhouse-compared"
_DATA = ("/data/", "/binaryData/", "/stringData/")
_RESTARTED = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"
"""What `kubectl rollout restart` writes: an act that nobody declares. Taken away it would restart all again."""
_ITS_NAME = "/metadata/labels/kubernetes.io~1metadata.name"
_LAST = "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration"
_ITSELF = (_RESTARTED, _ITS_NAME, _LAST, "/spec/finalizers")
"""What is no drift whoever wrote it: a restart, what kubectl notes, and what the API writes into every namespace."""
# What controllers put into objects that they do not control (cainjector and webhooks' own certificates, what Argo
# Rollouts chooses pods by, tokens of an account, the volume of a claim).
_FILLED = ("/caBundle", "/spec/selector/rollouts-pod-template-hash", "/spec/volumeName", "/spec/claimRef")
_LEFT = ("/metadata/", "/spec/replicas")
"""What is told and never taken away: without it something else would happen than that it is as before."""
_HOLDERS = ("/metadata/labels", "/metadata/annotations", "/metadata/finalizers")


def found_additions(
    cluster: Cluster, declared: Manifest, live: Manifest, ignored: Sequence[str] = ()
) -> tuple[FieldDrift, ...]:
    """`additions` of an object that was got whole, without what the API fills in by itself.

    Who made an object by anything but an apply owns its defaults too. They are told by a dry run of the declaration
    under another name; where that is refused nothing is left out.
    """
    added = additions(live, managers_of(live), ignored)
    if not added:
        return ()
    metadata = declared["metadata"]
    name = f"{str(metadata['name'])[:40].rstrip('.-')}-{_ELSEWHERE}"
    (answer,) = cluster.write([Apply({**declared, "metadata": {**metadata, "name": name}}, force=True, dry_run=True)])
    fresh = answer.manifest
    if not answer.ok or fresh is None:
        return added
    return tuple(one for one in added if _at(live, live, one.diff.pointer) != _at(fresh, live, one.diff.pointer))


def _at(value: Any, beside: Any, pointer: str) -> Any:
    """What a pointer into `beside` names in another object: items of lists are found by their names."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(beside, list) and isinstance(value, list):
            item = beside[int(name)] if name.isdigit() and int(name) < len(beside) else ABSENT
            value, beside = _like(item, beside, value), item
        elif isinstance(beside, Mapping) and isinstance(value, Mapping):
            value, beside = value.get(name, ABSENT), beside.get(name, ABSENT)
        else:
            return ABSENT
    return value


def _like(item: Any, beside: list[Any], among: list[Any]) -> Any:
    key = told_apart(beside, among)
    if key is None or not isinstance(item, Mapping):
        return item if item in among else ABSENT
    return next((one for one in among if one.get(key) == item.get(key)), ABSENT)


def additions(live: Manifest, managers: Sequence[Manager], ignored: Sequence[str] = ()) -> tuple[FieldDrift, ...]:
    """What others own of an object beside what is declared, and that is drift; at most 50 fields.

    `ignored` are JSON pointers of fields that are left to others.

    All that people's tools add is; of what programs add, all but labels, annotations and finalizers, and but what the
    controller of a kind (who writes its status) sets in it. What we own as well is declared: who made the object with
    kubectl before it was adopted keeps a part in it.
    """
    declared = _above(pointer for item in managers if is_ours(item) for pointer, _ in leaves(item.fields, live, ""))
    left = tuple(f"{pointer}/" for pointer in ignored)
    found = []
    for item in managers:
        if is_ours(item) or item.subresource:
            continue
        hand, controls = item.name.startswith((*_HANDS, _ANYBODY)), _controls(item, managers, live)
        for pointer, value in leaves(item.fields, live, ""):
            if value is ABSENT or pointer in declared or pointer in _ITSELF or f"{pointer}/".startswith(left):
                continue
            if hand or (not controls and _counts(pointer, live, declared)):
                hidden = live.get("kind") == "Secret"
                found.append(FieldDrift(FieldDiff(pointer, None, HIDDEN if hidden else value), item.name, item.at))
    return tuple(found[:MOST])


def removable(
    live: Manifest, managers: Sequence[Manager], added: Sequence[FieldDrift], since: datetime | None = None
) -> tuple[str, ...]:
    """The pointers to take away, so that what was added is gone: as far up as nothing else at all is below.

    Taken away is what a person's tool added, and what anybody added to the data of a ConfigMap or Secret whose data is
    declared. What else programs add (a variable that restarts pods, a scheduler's gate) they would add again, and what
    was there before our last apply (`since`: before that of another moment) was met so: both are told, and left.
    """
    since = since or applied_at(managers)
    names = set()
    for one in added:
        late = since is not None and one.at is not None and one.at >= since
        hand = one.manager.startswith(_HANDS) and not one.diff.pointer.startswith(_LEFT)
        if late and (hand or (_is_data(live) and one.diff.pointer.startswith(_DATA))):
            names.add(one.diff.pointer)
    return tuple(sorted(_tops(live, "", names)))


def _tops(value: Any, pointer: str, names: set[str]) -> Iterator[str]:
    """The highest pointers below which there is nothing but what is named."""
    if pointer and _all(value, pointer, names):
        yield pointer
        return
    for name, inner in _inner(value):
        yield from _tops(inner, f"{pointer}/{escape(name)}", names)


def _all(value: Any, pointer: str, names: set[str]) -> bool:
    if pointer in names:
        return True
    inner = list(_inner(value))
    return bool(inner) and all(_all(item, f"{pointer}/{escape(name)}", names) for name, item in inner)


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(name), item) for name, item in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((str(index), item) for index, item in enumerate(value))


def applied_at(managers: Sequence[Manager]) -> datetime | None:
    """When our last apply that changed something was; None where that is not told."""
    return max((item.at for item in managers if is_ours(item) and item.at is not None), default=None)


def removal(
    cluster: Cluster, looked_at: Manifest, added: Sequence[FieldDrift], since: datetime | None
) -> Remove | None:
    """The change that takes away what may be; None where nothing may, or the object is another one by now.

    The object is got once more: the answer of a dry run does not say when we applied last.
    """
    key = live_key(looked_at)
    ref = ResourceRef(str(looked_at["apiVersion"]), *key[1:])
    (live,) = cluster.get([ref])
    if live is None or fingerprint(live) != fingerprint(looked_at):
        return None
    metadata, pointers = live["metadata"], removable(live, managers_of(live), added, since)
    return Remove(ref, pointers, str(metadata["uid"]), str(metadata["resourceVersion"])) if pointers else None


def _above(pointers: Iterable[str]) -> set[str]:
    """The pointers and all that is above them."""
    return {above for pointer in pointers for above in accumulate(pointer.split("/"), "{}/{}".format)}


def _controls(item: Manager, managers: Sequence[Manager], live: Manifest) -> bool:
    """Whether a writer is the controller of the kind, or Kubernetes itself; of plain kinds only the latter is."""
    if item.name.startswith(_KUBERNETES):
        return True
    group = str(live.get("apiVersion")).rpartition("/")[0]
    if group in _PLAIN:
        return False
    return any(other.name == item.name and "f:status" in other.fields for other in managers)


def _counts(pointer: str, live: Manifest, declared: set[str]) -> bool:
    """Whether a field that a program added is drift."""
    if pointer.startswith("/metadata/"):  # an owner takes the object along when it goes
        return not pointer.startswith(_HOLDERS)
    if pointer.startswith("/status/") or any(part in pointer for part in _FILLED):
        return False
    if pointer == "/rules" and live.get("aggregationRule"):  # the cluster makes them of other roles
        return False
    if live.get("kind") in ("ServiceAccount", "Job"):
        # Tokens and pull secrets of OpenShift; queues (Kueue) say where a Job's pods go, and the rest is immutable.
        return live.get("kind") == "ServiceAccount" and not pointer.startswith(("/secrets", "/imagePullSecrets"))
    if _is_data(live) and pointer.startswith(_DATA):
        return any(above.startswith(_DATA) for above in declared)  # declared without data it is there to be filled
    return pointer != "/spec/replicas"


def _is_data(live: Manifest) -> bool:
    return live.get("apiVersion") == "v1" and live.get("kind") in ("ConfigMap", "Secret")
