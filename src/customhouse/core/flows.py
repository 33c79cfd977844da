"""Who was seen calling a workload, held against its declared callers: flow logs of Hubble (Cilium), read line by line.

A line is what `hubble observe -o jsonpb` prints and Cilium's exporter writes, `{"flow": {…}}`, or the flow alone
(`-o json`). Of a flow are read (api/v1/flow/flow.proto of Cilium): `verdict`, `is_reply`, `source` and `destination`
(`namespace`, `labels`, `pod_name`), `IP` and the destination's port in `l4`. Answers are passed over: a caller is who
begins.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.callers import Called, Network, Peer, selects
from customhouse.core.errors import UsageError

MAX_LINE = 256 * 1024
"""Bytes; a flow of Hubble has some 2,000."""
MAX_PAIRS = 100_000
"""Callers with what they called, each counted once: more is no longer a list that anybody reads."""
_PREFIX = "k8s:"
_NOT_THE_PODS = ("io.cilium.", "io.kubernetes.pod.namespace")
"""Labels that Cilium adds to those of the pod."""
_PASSED = {"FORWARDED", "REDIRECTED", "TRANSLATED"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a flow: a pod's namespace and labels, or an address outside (`namespace` is empty then)."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    pod: str
    address: str

    def __str__(self) -> str:
        if not self.namespace:
            return self.address or "an unknown address"
        known = dict(self.labels)
        name = next((known[key] for key in ("app.kubernetes.io/name", "app", "k8s-app") if key in known), "")
        return f"{self.namespace}/{name or self.pod or 'a pod without labels'}"


@dataclass(frozen=True, slots=True)
class Flow:
    """That one began to call another at a port. `passed`: it was let through."""

    source: Endpoint
    destination: Endpoint
    port: str
    passed: bool


@dataclass(slots=True)
class Seen:
    """What the flows say of one workload."""

    called: Called
    undeclared: Counter[str] = field(default_factory=Counter)
    """Who called, was let through and is not declared."""
    refused: Counter[str] = field(default_factory=Counter)
    """Declared callers whose calls were dropped."""
    silent: tuple[str, ...] = ()
    """Declared callers who were never seen."""
    flows: int = 0


def parse_flows(lines: Iterable[bytes], name: str) -> Iterator[Flow]:
    """The flows of a log. What is no flow (an event of an agent, a lost one) is passed over.

    Raises UsageError, with the line, for one that is no JSON object or too long, and for a log without any flow: what
    is cut, or something else, says nothing of anybody.
    """
    number, flows = 0, 0
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            raise UsageError(f"the line has over {MAX_LINE} bytes", where=f"{name}:{number}")
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _no_flow(name, number) from error
        if not isinstance(document, dict):
            raise _no_flow(name, number)
        found = document.get("flow", document)
        if not isinstance(found, dict) or not isinstance(found.get("verdict"), str):
            continue
        flows += 1
        if found.get("is_reply") is not True:
            yield Flow(
                _endpoint(found, "source"),
                _endpoint(found, "destination"),
                _port(found),
                found["verdict"] in _PASSED,
            )
    if not flows:
        raise UsageError(
            f"no flow among {number} lines", where=name, hint="`hubble observe -o jsonpb` prints one a line"
        )


def compared(network: Network, flows: Iterable[Flow]) -> list[Seen]:
    """Each workload that declares callers with who was seen, in the order of their names. Raises UsageError.

    One whose pods have labels that nobody knows is found in no flow: it has `flows` 0, and its `called.labels` say it.
    """
    seen = {key: Seen(one) for key, one in sorted(network.workloads.items()) if one.callers is not None}
    by_space: dict[str, list[tuple[Seen, list[tuple[str, Peer]]]]] = {}
    for key, one in seen.items():
        peers = [(caller.text, peer) for caller in one.called.callers or () if (peer := network.peer(caller))]
        by_space.setdefault(key[0], []).append((one, peers))
    met: dict[int, set[str]] = {}
    counted = 0
    for flow in flows:
        for one, peers in by_space.get(flow.destination.namespace, ()):
            wanted = one.called.labels
            if not wanted or not wanted.items() <= dict(flow.destination.labels).items():
                continue
            one.flows += 1
            texts = [text for text, peer in peers if is_peer(peer, flow.source)]
            met.setdefault(id(one), set()).update(texts)
            told = f"{flow.source}{f' at port {flow.port}' if flow.port else ''}"
            book = one.refused if texts and not flow.passed else one.undeclared if not texts and flow.passed else None
            if book is not None:
                counted += told not in book
                book[told] += 1
        if counted > MAX_PAIRS:
            raise UsageError(f"over {MAX_PAIRS} callers: is this the log of these workloads?")
    for one in seen.values():
        known = met.get(id(one), set())
        one.silent = tuple(caller.text for caller in one.called.callers or () if caller.text not in known)
    return list(seen.values())


def is_peer(peer: Peer, source: Endpoint) -> bool:
    """Whether who calls is one of these pods, or has an address in this range."""
    if not peer.cidr:
        return source.namespace == peer.namespace and selects(peer.selector, dict(source.labels))
    try:
        return ipaddress.ip_address(source.address) in ipaddress.ip_network(peer.cidr, strict=False)
    except ValueError:
        return False


def _endpoint(flow: Mapping[str, Any], end: str) -> Endpoint:
    one, addresses = flow.get(end), flow.get("IP")
    one = one if isinstance(one, Mapping) else {}
    listed = one.get("labels")
    labels = [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []
    pairs = (text.removeprefix(_PREFIX).partition("=") for text in labels if text.startswith(_PREFIX))
    kept = sorted({(key, value) for key, _, value in pairs if not key.startswith(_NOT_THE_PODS)})
    address = addresses.get(end) if isinstance(addresses, Mapping) else ""
    return Endpoint(_text(one.get("namespace")), tuple(kept), _text(one.get("pod_name")), _text(address))


def _port(flow: Mapping[str, Any]) -> str:
    layer = flow.get("l4")
    for protocol, said in layer.items() if isinstance(layer, Mapping) else ():
        port = said.get("destination_port") if isinstance(said, Mapping) else None
        if isinstance(port, int):
            return f"{port}/{_text(protocol)[:8]}"
    return ""


def _text(value: Any) -> str:
    return value[:253] if isinstance(value, str) else ""


def _no_flow(name: str, number: int) -> UsageError:
    return UsageError(
        "this line is no flow", where=f"{name}:{number}", hint="`hubble observe -o jsonpb` prints one a line"
    )
