"""What customhouse.yaml says to the admission webhook: who is exempt, who may break the glass, how tiers are scheduled.

Parsed from a document that the schema has checked already; `to_json` is the inverse (`customhouse config show`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339

EXEMPT = ("kube-system", "kube-public", "kube-node-lease", "customhouse-system")
"""A dead webhook must not keep the cluster from mending itself, nor the webhook from starting. Names, never labels."""
_WITHOUT_OWNERS = (
    "system:apiserver",
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:clusterrole-aggregation-controller",
    "system:serviceaccount:kube-system:persistent-volume-binder",
    "system:serviceaccount:kube-system:root-ca-cert-publisher",
    "system:serviceaccount:kube-system:service-account-controller",
)
CONTROLLERS = (
    *_WITHOUT_OWNERS,
    "system:serviceaccount:kube-system:cronjob-controller",
    "system:serviceaccount:kube-system:daemon-set-controller",
    "system:serviceaccount:kube-system:deployment-controller",
    "system:serviceaccount:kube-system:ephemeral-volume-controller",
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:job-controller",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:replicaset-controller",
    "system:serviceaccount:kube-system:replication-controller",
    "system:serviceaccount:kube-system:resource-claim-controller",
    "system:serviceaccount:kube-system:statefulset-controller",
)
"""Kubernetes' own controllers (kube-controller-manager, with and without a credential each)."""


KUBERNETES_OWN = frozenset(_WITHOUT_OWNERS)
"""Of these also what names no owner is Kubernetes' own doing (default service accounts, the cluster's CA in each
namespace, aggregated roles, API services): no commit will ever declare it. Nobody else becomes one of them by
configuration."""


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """A named person who may, until `expires`, bring in what is denied. Each use is an Entry of the ledger."""

    user: str
    reason: str
    expires: datetime
    namespaces: tuple[str, ...] = ("*",)

    def covers(self, user: str, namespace: str, now: datetime) -> bool:
        """Whether it holds: the whole user name, before its end, in a namespace that a pattern names."""
        return (
            user == self.user and now < self.expires and any(fnmatchcase(namespace, item) for item in self.namespaces)
        )


@dataclass(frozen=True, slots=True)
class AdmissionSpec:
    """The part `admission` of customhouse.yaml."""

    exempt_namespaces: tuple[str, ...] = EXEMPT
    controllers: tuple[str, ...] = CONTROLLERS
    rollouts: tuple[str, ...] = ()
    require_revision: bool = False
    break_glass: tuple[BreakGlass, ...] = ()

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> AdmissionSpec:
        """From a checked document. Raises ValueError for an `expires` that is no time."""
        return cls(
            exempt_namespaces=tuple(document.get("exemptNamespaces", EXEMPT)),
            controllers=tuple(document.get("controllers", CONTROLLERS)),
            rollouts=tuple(document.get("rollouts", ())),
            require_revision=document.get("requireRevision", False),
            break_glass=tuple(
                BreakGlass(
                    item["user"],
                    item["reason"],
                    from_rfc3339(item["expires"]),
                    tuple(item.get("namespaces") or ("*",)),
                )
                for item in document.get("breakGlass") or ()
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        return {
            "exemptNamespaces": list(self.exempt_namespaces),
            "controllers": list(self.controllers),
            "rollouts": list(self.rollouts),
            "requireRevision": self.require_revision,
            "breakGlass": [
                {
                    "user": item.user,
                    "reason": item.reason,
                    "expires": to_rfc3339(item.expires),
                    "namespaces": list(item.namespaces),
                }
                for item in self.break_glass
            ],
        }


@dataclass(frozen=True, slots=True)
class Placing:
    """Node labels that a pod must have (`node_selector`) and taints that it stands."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Placing:
        """From a checked document."""
        return cls(dict(document.get("nodeSelector") or {}), tuple(map(dict, document.get("tolerations") or ())))

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        return {"nodeSelector": dict(self.node_selector), "tolerations": [dict(item) for item in self.tolerations]}


@dataclass(frozen=True, slots=True)
class Scheduling:
    """What the mutating webhook puts on pods of a tier: where they run, and what they are worth."""

    always: Placing = field(default_factory=Placing)
    spot: Placing = field(default_factory=Placing)
    """Where the tier's `spot` is `required` the labels are required; where it is `allowed` they are preferred."""
    gpu: Placing = field(default_factory=Placing)
    """For pods that ask for accelerators without naming a class."""
    priority_class: str | None = None
    device_class: str | None = None
    """For requests of ResourceClaims and their templates that name no device class."""
    scheduler: str | None = None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Scheduling:
        """From a checked document."""
        return cls(
            always=Placing.parse(document),
            spot=Placing.parse(document.get("spot") or {}),
            gpu=Placing.parse(document.get("gpu") or {}),
            priority_class=document.get("priorityClassName"),
            device_class=document.get("deviceClass"),
            scheduler=document.get("schedulerName"),
        )

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        value: dict[str, Any] = {**self.always.to_json(), "spot": self.spot.to_json(), "gpu": self.gpu.to_json()}
        if self.priority_class is not None:
            value["priorityClassName"] = self.priority_class
        if self.device_class is not None:
            value["deviceClass"] = self.device_class
        if self.scheduler is not None:
            value["schedulerName"] = self.scheduler
        return value


def schedulings(definitions: Mapping[str, Any]) -> Mapping[str, Scheduling]:
    """Tier → Scheduling of the tiers that declare one."""
    return {
        name: Scheduling.parse(given["scheduling"]) for name, given in definitions.items() if given.get("scheduling")
    }


def bad_expiry(document: Mapping[str, Any]) -> tuple[int, str] | None:
    """The first `breakGlass` entry whose `expires` is no RFC 3339 time, and what is wrong with it."""
    entries: Sequence[Mapping[str, Any]] = document.get("breakGlass") or ()
    for index, item in enumerate(entries):
        try:
            from_rfc3339(item["expires"])
        except ValueError as error:
            return index, str(error)
    return None
