"""Who may call a workload: what its annotations declare, and what the NetworkPolicies beside it let in.

`customhouse.dev/callers` on a workload names who calls its pods, separated by commas:

    NAME                  a workload declared in the same namespace
    NAMESPACE/NAME        a workload declared in another one
    NAMESPACE/*           every pod of a namespace
    NAMESPACE/KEY=VALUE   the pods with this label (also without NAMESPACE/)
    10.0.0.0/8            addresses outside of the cluster
    none                  nobody

`customhouse.dev/calls-outside` names the addresses that its own pods call: `10.0.0.0/8 443, 2001:db8::/32 443`.

The rules of NetworkPolicies are those of networking.k8s.io/v1: they add up; a pod that none selects is open to all.
Namespaces are told apart by `kubernetes.io/metadata.name`, a label that the API server sets; a policy that chooses them
by other labels lets in whoever puts that label on a namespace.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.core.errors import DeclarationError
from customhouse.core.kinds import kind_of
from customhouse.core.resource import PREFIX, Declaration, Location, ResourceRef

CALLERS = PREFIX + "callers"
OUTSIDE = PREFIX + "calls-outside"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
MAX_CALLERS = 200
"""Callers of one workload; more is an attack on whoever compares them."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KSERVE = ("serving.kserve.io", "InferenceService")


@dataclass(frozen=True, slots=True)
class Caller:
    """One that is declared: a workload by `name`, pods by `labels`, every pod of a namespace, or addresses (`cidr`)."""

    text: str
    namespace: str = ""
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    cidr: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    """A workload: the labels of its pods (None where they cannot be known), and its callers (None: undeclared)."""

    ref: ResourceRef
    labels: Mapping[str, str] | None
    callers: tuple[Caller, ...] | None
    outside: tuple[tuple[str, int], ...] = ()
    ports: tuple[tuple[int, str], ...] = ()
    """(number, protocol) that its containers name; empty: all of them."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Pods that are let in: of a namespace, with these labels (a selector), or an address range."""

    namespace: str
    selector: Mapping[str, Any]
    cidr: str = ""


def called(item: Declaration) -> Called | None:
    """What a workload declares; None for what has no pods of its own.

    Raises DeclarationError for an annotation that cannot be read, with what is wrong in it.
    """
    ref, manifest = item.ref, item.manifest
    row = kind_of(ref.api_version, ref.kind)
    if row is None or not row.pods or row.template:
        return None
    annotations = _mapping(_mapping(manifest.get("metadata")).get("annotations"))
    said, outside = annotations.get(CALLERS), annotations.get(OUTSIDE)
    callers = None if said is None else parse_callers(said, ref.namespace or "default")
    return Called(
        ref, _pod_labels(ref, manifest), callers, () if outside is None else parse_outside(outside), _ports(manifest)
    )


def parse_callers(said: Any, namespace: str) -> tuple[Caller, ...]:
    """The annotation's callers, in order and each once. Raises DeclarationError."""
    if not isinstance(said, str):
        raise _wrong(CALLERS, "it is no text", "NAME, NAMESPACE/NAME, NAMESPACE/*, KEY=VALUE, or none")
    words = [word.strip() for word in said.split(",")]
    if words == ["none"]:
        return ()
    if len(words) > MAX_CALLERS:
        raise _wrong(CALLERS, f"{len(words)} callers", f"at most {MAX_CALLERS}; name a whole namespace by NAMESPACE/*")
    return tuple(dict.fromkeys(_caller(word, namespace) for word in words))


def _caller(word: str, namespace: str) -> Caller:
    hint = "write NAME, NAMESPACE/NAME, NAMESPACE/*, NAMESPACE/KEY=VALUE, an address range, or none"
    if re.fullmatch(r"[0-9a-fA-F.:]+/[0-9]{1,3}", word) and (":" in word or "." in word):
        return Caller(word, cidr=_range(word, CALLERS))
    head, equals, value = word.partition("=")
    # A label's key may hold a slash of its own: only what stands before two of them is a namespace.
    place, slash, who = head.partition("/")
    if equals and slash and "/" not in who and "." in place:
        place, slash, who = "", "", head
    if not slash:
        place, who = namespace, head
    if not _NAME.fullmatch(place) or "." in place:
        raise _wrong(CALLERS, f"{word[:80]!r} names no namespace", hint)
    if equals:
        if not _KEY.fullmatch(who) or not _VALUE.fullmatch(value):
            raise _wrong(CALLERS, f"{word[:80]!r} is no label", hint)
        return Caller(word, place, labels=((who, value),))
    if who == "*":
        return Caller(word, place)
    if who == "none" or not _NAME.fullmatch(who):
        raise _wrong(CALLERS, f"{word[:80]!r} names nobody", hint)
    return Caller(word, place, who)


def parse_outside(said: Any) -> tuple[tuple[str, int], ...]:
    """`RANGE PORT` pairs. Raises DeclarationError."""
    hint = "write RANGE PORT, as in 10.0.0.0/8 443"
    if not isinstance(said, str):
        raise _wrong(OUTSIDE, "it is no text", hint)
    found: dict[tuple[str, int], None] = {}
    for word in said.split(",")[: MAX_CALLERS + 1]:
        parts = word.split()
        if len(parts) != 2 or not re.fullmatch(r"[0-9]{1,5}", parts[1]) or not 0 < int(parts[1]) < 65536:
            raise _wrong(OUTSIDE, f"{word.strip()[:80]!r} is no range with a port", hint)
        found[_range(parts[0], OUTSIDE), int(parts[1])] = None
    return tuple(found)


def _range(word: str, where: str) -> str:
    try:
        return str(ipaddress.ip_network(word))
    except ValueError as error:
        raise _wrong(where, f"{word[:80]!r}: {error}", "write 10.0.0.0/8") from error


def _wrong(annotation: str, what: str, hint: str) -> DeclarationError:
    return DeclarationError(
        f"{annotation}: {what}", where=f"/metadata/annotations/{annotation.replace('/', '~1')}", hint=hint
    )


class Network:
    """All workloads and NetworkPolicies of one set of Declarations, compared."""

    def __init__(self) -> None:
        self.workloads: dict[tuple[str, str, str], Called] = {}
        self.problems: dict[tuple[str, str, str], DeclarationError] = {}
        self.places: dict[ResourceRef, Location] = {}
        """Where each of them is written."""
        self._named: dict[tuple[str, str], list[Called]] = {}
        self._told: dict[tuple[str, str, str], list[str]] = {}
        self._differing: dict[str, list[tuple[str, list[str]]]] = {}
        self._manifests: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self._policies: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}

    def add(self, item: Declaration) -> None:
        """One of them; what is neither is passed over."""
        self._told.clear()
        self._differing.clear()
        namespace = item.ref.namespace or "default"
        self._manifests[namespace, item.ref.kind, item.ref.name] = item.manifest
        if _is_policy(item.ref):
            spec = _mapping(item.manifest.get("spec"))
            self._policies.setdefault(namespace, []).append((item.ref.name, spec))
            return
        key = (namespace, item.ref.kind, item.ref.name)
        try:
            found = called(item)
        except DeclarationError as error:
            where = f"{item.location} {error.where}"
            self.problems[key] = DeclarationError(error.message, where=where, hint=error.hint)
            return
        if found is not None:
            self.workloads[key] = found
            self._named.setdefault((namespace, item.ref.name), []).append(found)
            self.places[item.ref] = item.location

    def after(self, item: Declaration, *, gone: bool) -> Network:
        """The same with this one as it is to become (`gone`: without it): admission sees what nobody declared."""
        key = (item.ref.namespace or "default", item.ref.kind, item.ref.name)
        known = self._manifests.get(key)
        if known is None if gone else known is not None and (known is item.manifest or known == item.manifest):
            return self
        made = Network()
        made.workloads, made.problems = dict(self.workloads), dict(self.problems)
        made.places, made._manifests = dict(self.places), dict(self._manifests)
        made._policies, made._named = dict(self._policies), dict(self._named)
        if _is_policy(item.ref):
            rest = [one for one in self._policies.get(key[0], ()) if one[0] != key[2]]
            made._policies[key[0]] = rest
        else:
            old = made.workloads.pop(key, None)
            made.problems.pop(key, None)
            made._named[key[0], key[2]] = [one for one in self._named.get((key[0], key[2]), ()) if one is not old]
        if not gone:
            made.add(item)
        return made

    def differences(self, ref: ResourceRef) -> list[str]:
        """How what is let in differs from a workload's declared callers, sorted; empty where it declares none."""
        return self._compared_once((ref.namespace or "default", ref.kind, ref.name))

    def _compared_once(self, key: tuple[str, str, str]) -> list[str]:
        if key not in self._told:
            self._told[key] = self._compared(key)
        return self._told[key]

    def _compared(self, key: tuple[str, str, str]) -> list[str]:
        if key in self.problems:
            return [self.problems[key].message]
        found = self.workloads.get(key)
        if found is None or found.callers is None:
            return []
        if found.labels is None:
            return ["the labels of its pods are not known, so nobody can tell who may call it"]
        admitted = self._admitted(key[0], found.labels)
        if admitted is None:
            return ["no NetworkPolicy selects its pods: everyone may call it"]
        return sorted({*self._too_many(found, admitted), *self._missing(found, admitted)})

    def differing(self, namespace: str) -> list[tuple[str, list[str]]]:
        """The workloads of a namespace whose callers are not those that are let in, in words, sorted."""
        if namespace not in self._differing:
            keys = sorted({key for key in (*self.workloads, *self.problems) if key[0] == namespace})
            told = [(f"{key[1]} {key[0]}/{key[2]}", self._compared_once(key)) for key in keys]
            self._differing[namespace] = [one for one in told if one[1]]
        return self._differing[namespace]

    def _admitted(self, namespace: str, labels: Mapping[str, str]) -> list[tuple[str, Peer | str]] | None:
        """(policy, whom it lets in: a Peer, or words for what is wider); None when no policy selects the pods."""
        chosen = [
            (name, spec)
            for name, spec in self._policies.get(namespace, ())
            if selects(_mapping(spec.get("podSelector")), labels)
            # networking.k8s.io/v1: without policyTypes it is about Ingress, whatever it says of Egress.
            and "Ingress" in (spec.get("policyTypes") or ["Ingress"])
        ]
        if not chosen:
            return None
        return [
            (name, one)
            for name, spec in chosen
            for rule in _items(spec.get("ingress"))
            for one in _let_in(rule, namespace)
        ]

    def _too_many(self, found: Called, admitted: Sequence[tuple[str, Peer | str]]) -> Iterator[str]:
        expected = list(self.peers(found))
        for policy, one in admitted:
            if isinstance(one, str):
                yield f"NetworkPolicy {policy} lets in {one}"
            elif not any(_within(one, peer) for peer in expected):
                yield f"NetworkPolicy {policy} lets in {shown(one)}, which is no declared caller"

    def _missing(self, found: Called, admitted: Sequence[tuple[str, Peer | str]]) -> Iterator[str]:
        for caller in found.callers or ():
            peer = self.peer(caller)
            if peer is None:
                yield f"{caller.text} is no one workload whose pods have labels: name them by KEY=VALUE"
            elif not any(isinstance(one, str) or _covers(one, peer, self._labels(caller)) for _, one in admitted):
                yield f"no NetworkPolicy lets in the declared caller {caller.text}"

    def peers(self, found: Called) -> Iterator[Peer]:
        """The declared callers of a workload as pods or addresses; who is not known is left out."""
        for caller in found.callers or ():
            peer = self.peer(caller)
            if peer is not None:
                yield peer

    def peer(self, caller: Caller) -> Peer | None:
        """A caller as pods or addresses; None for a workload that is not declared, or whose labels are not known."""
        if caller.cidr:
            return Peer("", {}, caller.cidr)
        if not caller.name:
            return Peer(caller.namespace, {"matchLabels": dict(caller.labels)} if caller.labels else {})
        labels = self._labels(caller)
        return None if not labels else Peer(caller.namespace, {"matchLabels": dict(sorted(labels.items()))})

    def _labels(self, caller: Caller) -> Mapping[str, str] | None:
        if not caller.name:
            return dict(caller.labels)
        # Several kinds of one name may be several workloads: what only some of them have is nobody's name.
        found = [one.labels for one in self._named.get((caller.namespace, caller.name), ())]
        return found[0] if found and all(labels == found[0] for labels in found) else None


def shown(peer: Peer) -> str:
    """Pods or addresses in words."""
    if peer.cidr:
        return peer.cidr
    labels = ", ".join(f"{key}={value}" for key, value in sorted(_mapping(peer.selector.get("matchLabels")).items()))
    more = " and expressions" if peer.selector.get("matchExpressions") else ""
    return f"{peer.namespace}/{labels}{more}" if labels or more else f"every pod of {peer.namespace}"


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector (meta/v1) matches; an empty one matches everything."""
    if any(labels.get(key) != value for key, value in _mapping(selector.get("matchLabels")).items()):
        return False
    for one in _items(selector.get("matchExpressions")):
        key, operator, values = str(one.get("key")), one.get("operator"), one.get("values") or ()
        holds = {
            "In": key in labels and labels[key] in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(str(operator), False)
        if not holds:
            return False
    return True


def _let_in(rule: Mapping[str, Any], namespace: str) -> Iterator[Peer | str]:
    peers = _items(rule.get("from"))
    if not peers:
        yield "everyone"
    for one in peers:
        block, spaces = one.get("ipBlock"), one.get("namespaceSelector")
        if block is not None:
            cidr = str(_mapping(block).get("cidr"))
            yield "every address" if cidr in ("0.0.0.0/0", "::/0") else Peer("", {}, cidr)
        elif spaces is None:
            yield Peer(namespace, _mapping(one.get("podSelector")))
        else:
            wanted = _mapping(_mapping(spaces).get("matchLabels"))
            name = wanted.get(NAMESPACE_LABEL)
            if isinstance(name, str):
                yield Peer(name, _mapping(one.get("podSelector")))
            elif not wanted and not _mapping(spaces).get("matchExpressions"):
                yield "pods of every namespace"
            else:
                yield f"pods of namespaces that are not named by {NAMESPACE_LABEL}"


def _within(one: Peer, expected: Peer) -> bool:
    """Whether all that is let in is expected: the same place, and at least the expected labels are asked for."""
    if one.cidr or expected.cidr:
        return bool(one.cidr) and bool(expected.cidr) and _inside(one.cidr, expected.cidr)
    asked = _mapping(one.selector.get("matchLabels"))
    wanted = _mapping(expected.selector.get("matchLabels"))
    return one.namespace == expected.namespace and all(asked.get(key) == value for key, value in wanted.items())


def _covers(one: Peer | str, expected: Peer, labels: Mapping[str, str] | None) -> bool:
    if isinstance(one, str) or one.cidr or expected.cidr:
        return not isinstance(one, str) and bool(one.cidr and expected.cidr) and _inside(expected.cidr, one.cidr)
    return one.namespace == expected.namespace and selects(one.selector, labels or {})


def _inside(inner: str, outer: str) -> bool:
    try:
        first, second = ipaddress.ip_network(inner, strict=False), ipaddress.ip_network(outer, strict=False)
    except ValueError:
        return False
    if isinstance(first, ipaddress.IPv4Network):
        return isinstance(second, ipaddress.IPv4Network) and first.subnet_of(second)
    return isinstance(second, ipaddress.IPv6Network) and first.subnet_of(second)


def _pod_labels(ref: ResourceRef, manifest: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The labels by which the pods are selected: of the kinds where an API says which they get."""
    if (_group(ref), ref.kind) == _KSERVE:
        return {"serving.kserve.io/inferenceservice": ref.name}
    if (_group(ref), ref.kind) == ("", "Pod"):
        return _texts(_mapping(manifest.get("metadata")).get("labels")) or None
    spec = _mapping(manifest.get("spec"))
    job = _mapping(_mapping(spec.get("jobTemplate")).get("spec"))
    labels = _texts(_mapping(_mapping((job or spec).get("template")).get("metadata")).get("labels"))
    if labels:
        return labels
    # The Job controller puts this label on its pods (batch/v1, since Kubernetes 1.27).
    return {"batch.kubernetes.io/job-name": ref.name} if (_group(ref), ref.kind) == ("batch", "Job") else None


def _ports(manifest: Mapping[str, Any]) -> tuple[tuple[int, str], ...]:
    spec = _mapping(_mapping(_mapping(manifest.get("spec")).get("template")).get("spec"))
    found = {
        (port["containerPort"], str(port.get("protocol") or "TCP")): None
        for container in _items(spec.get("containers"))
        for port in _items(container.get("ports"))
        if isinstance(port.get("containerPort"), int)
    }
    return tuple(sorted(found))


def _is_policy(ref: ResourceRef) -> bool:
    return (_group(ref), ref.kind) == ("networking.k8s.io", "NetworkPolicy")


def _group(ref: ResourceRef) -> str:
    group, slash, _ = ref.api_version.rpartition("/")
    return group if slash else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Sequence[Mapping[str, Any]]:
    """The mappings of a list; null among them is an empty one, as the API server reads it: a rule that opens all."""
    found = value if isinstance(value, (list, tuple)) else ()
    return [{} if one is None else one for one in found if one is None or isinstance(one, Mapping)]


def _texts(value: Any) -> Mapping[str, str]:
    return {str(key): one for key, one in _mapping(value).items() if isinstance(one, str)}


def network_of(declarations: Iterable[Declaration]) -> Network:
    """All of them."""
    found = Network()
    for item in declarations:
        found.add(item)
    return found
