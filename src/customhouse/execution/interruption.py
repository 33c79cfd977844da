"""Notices that a machine will be taken away, as Kubernetes nodes carry them: which there are, and until when.

Clouds do not tell Kubernetes themselves: a handler on the node or beside it asks the cloud and writes a taint or a
condition. Each sign below has who writes it. A notice has no identity of its own on a node, and is written again and
again: what makes one is the node's uid and the sign, for as long as the sign is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from customhouse._kit.clock import from_rfc3339
from customhouse.core.resource import PREFIX, Manifest

OWN_TAINT = PREFIX + "interruption"
"""What a person or a handler of one's own writes; its value is how long there is, as `90s`; without one `OWN_S`."""
OWN_S = 120


class Response(StrEnum):
    """What a sign asks of us."""

    DRAIN = "drain"
    """The machine goes: no new pods, and ours leave while there is time."""
    HOLD = "hold"
    """It may go: no new pods, and those that run go on."""
    THEIRS = "theirs"
    """Whoever wrote the sign evicts the pods themselves: only told."""
    LOST = "lost"
    """It is gone: nothing on it can be asked to end any more."""


_WEIGHT = {Response.LOST: 3, Response.DRAIN: 2, Response.THEIRS: 1, Response.HOLD: 0}


@dataclass(frozen=True, slots=True)
class Sign:
    """One way of being told. `seconds`: from the sign until the machine goes, where the sender says no moment."""

    name: str
    """Key of a taint, or type of a condition that is `True`."""
    sender: str
    response: Response
    seconds: int | None = None


# AWS: a spot interruption is told two minutes ahead (EC2 user guide, "Spot Instance interruption notices"); a
# rebalance recommendation says that the risk is high, and no moment. The keys: pkg/node/node.go of the handler.
# Google: a spot VM gets 30 seconds (Compute Engine, "Spot VMs"); the key is that of GKE's and GCE's handlers.
# Azure: at least 30 seconds (Scheduled Events, `Preempt`); AKS' node-problem-detector makes conditions of them, whose
# message has the moment, its remediator and its cloud provider make taints.
TAINTS: Mapping[str, Sign] = {
    sign.name: sign
    for sign in (
        Sign(OWN_TAINT, "a person, or a handler of one's own", Response.DRAIN, OWN_S),
        Sign("aws-node-termination-handler/spot-itn", "aws-node-termination-handler", Response.DRAIN, 120),
        Sign("aws-node-termination-handler/rebalance-recommendation", "aws-node-termination-handler", Response.HOLD),
        Sign("aws-node-termination-handler/scheduled-maintenance", "aws-node-termination-handler", Response.DRAIN),
        Sign("aws-node-termination-handler/asg-lifecycle-termination", "aws-node-termination-handler", Response.DRAIN),
        Sign("cloud.google.com/impending-node-termination", "GKE", Response.DRAIN, 30),
        Sign("cloudprovider.azure.microsoft.com/draining", "cloud-provider-azure", Response.DRAIN, 30),
        Sign("remediator.kubernetes.azure.com/unschedulable", "AKS node auto-drain", Response.THEIRS, 30),
        Sign("remediator.aks.microsoft.com/unschedulable", "AKS node auto-drain", Response.THEIRS, 30),
        Sign("karpenter.sh/disrupted", "Karpenter", Response.THEIRS),
        Sign("karpenter.sh/disruption", "Karpenter before 1.0", Response.THEIRS),
        Sign("ToBeDeletedByClusterAutoscaler", "Cluster Autoscaler", Response.THEIRS),
        Sign("node.kubernetes.io/out-of-service", "a person, or the cloud provider", Response.LOST),
        Sign("node.cloudprovider.kubernetes.io/shutdown", "the cloud provider", Response.LOST),
        # It may come back; Kubernetes evicts its pods after five minutes, or what they tolerate.
        Sign("node.kubernetes.io/unreachable", "Kubernetes' node controller", Response.THEIRS),
    )
}
CONDITIONS: Mapping[str, Sign] = {
    sign.name: sign
    for sign in (
        Sign("PreemptionScheduled", "AKS node-problem-detector", Response.DRAIN, 30),
        Sign("PreemptScheduled", "AKS node-problem-detector", Response.DRAIN, 30),
        Sign("TerminateScheduled", "AKS node-problem-detector", Response.DRAIN, 30),
        Sign("RedeployScheduled", "AKS node-problem-detector", Response.DRAIN, 30),
        # This one also says Freeze and Reboot, after which the machine is there again.
        Sign("VMEventScheduled", "AKS node-problem-detector", Response.DRAIN, 30),
    )
}
_GOES = re.compile(r"^(?:Preempt|Terminate|Redeploy) Scheduled:", re.IGNORECASE)
_MOMENT = re.compile(r"Scheduled:\s{0,3}([A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} (?:GMT|UTC))")
_SECONDS = re.compile(r"([1-9]\d{0,4})s?")
_SHUTDOWN_TAINT_VALUES = frozenset({"", "spot-eviction"})
_MOST_TEXT = 200


@dataclass(frozen=True, slots=True)
class Notice:
    """A node that goes, as one sign says it."""

    node: str
    uid: str
    sign: Sign
    said: str = ""
    """What the sign says of itself: a taint's value, a condition's message."""
    since: datetime | None = None
    """When the sign was set, where that is told."""
    moment: datetime | None = None
    """When the machine goes, where that is told."""

    @property
    def key(self) -> str:
        """Of one notice, however often it is repeated."""
        return f"{self.uid}:{self.sign.name}"

    def deadline(self, first_seen: datetime) -> datetime | None:
        """Until when there is time, at the latest; None where nobody says.

        A sign that was set before it was seen was late: its time runs from when it was set. One whose time is later
        than the clock here allows (`first_seen` before `since`) counts from when it was seen.
        """
        if self.moment is not None:
            return self.moment
        if self.sign.seconds is None:
            return None
        begin = first_seen if self.since is None else min(self.since, first_seen)
        return begin + timedelta(seconds=self.sign.seconds)


def notices_of(manifest: Manifest) -> tuple[Notice, ...]:
    """What a Node says of its own end, the gravest first. What cannot be read of a sign is left out, not the sign."""
    metadata, spec, status = (_mapping(manifest.get(key)) for key in ("metadata", "spec", "status"))
    name, uid = str(metadata.get("name") or ""), str(metadata.get("uid") or "")
    found = [replace(item, node=name, uid=uid) for item in (*_of_taints(spec), *_of_conditions(status))]
    return tuple(sorted(found, key=_gravity))


def gravest(notices: tuple[Notice, ...], first_seen: datetime) -> Notice | None:
    """The one to act on: the gravest response, and of those the one with the least time."""
    return min(notices, key=lambda item: _gravity(item, first_seen), default=None)


def _gravity(item: Notice, first_seen: datetime | None = None) -> tuple[int, bool, float, str]:
    deadline = None if first_seen is None else item.deadline(first_seen)
    stamp = 0.0 if deadline is None else deadline.timestamp()
    return -_WEIGHT[item.sign.response], deadline is None, stamp, item.sign.name


def _of_taints(spec: Mapping[str, Any]) -> Iterator[Notice]:
    taints = spec.get("taints")
    for taint in taints if isinstance(taints, list) else ():
        sign = TAINTS.get(str(taint.get("key"))) if isinstance(taint, Mapping) else None
        if sign is None:
            continue
        said = str(taint.get("value") or "")[:_MOST_TEXT]
        if sign.name.startswith("cloudprovider.azure.") and said not in _SHUTDOWN_TAINT_VALUES:
            continue
        match = _SECONDS.fullmatch(said) if sign.name == OWN_TAINT else None
        if match is not None:
            sign = replace(sign, seconds=int(match[1]))
        yield Notice("", "", sign, said, _time(taint.get("timeAdded")))


def _of_conditions(status: Mapping[str, Any]) -> Iterator[Notice]:
    conditions = status.get("conditions")
    for item in conditions if isinstance(conditions, list) else ():
        if not isinstance(item, Mapping) or item.get("status") != "True":
            continue
        sign = CONDITIONS.get(str(item.get("type")))
        said = str(item.get("message") or "")[:_MOST_TEXT]
        if sign is None or (sign.name == "VMEventScheduled" and _GOES.match(said) is None):
            continue
        yield Notice("", "", sign, said, _time(item.get("lastTransitionTime")), _moment(said))


def _moment(message: str) -> datetime | None:
    """The date in a condition's message (RFC 1123, as Azure's `NotBefore` has it)."""
    match = _MOMENT.search(message)
    if match is None:
        return None
    try:
        return parsedate_to_datetime(match[1].replace("UTC", "GMT")).astimezone(UTC)
    except ValueError:
        return None


def _time(value: Any) -> datetime | None:
    try:
        return from_rfc3339(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
