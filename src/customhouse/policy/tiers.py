"""Tiers: the trade-offs of one class of workload as data, and how strict each check is in it.

The built-in tiers and their strictness are reviewed here; customhouse.yaml makes own ones and may be stricter. What
is laxer is a Relaxation: it names its rule, who answers for it, why, until when, and it is bounded in time. Facts
carry its state, so that rules need no clock, and every finding that it touches says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money

SEVERITIES = ("error", "warning", "note", "muted")
"""Strictest first. `muted` exists for relaxations alone, and shows as a note."""
MAX_EXCEPTION_DAYS = 90
"""How long a relaxation or a waiver may last when customhouse.yaml does not say: a quarter of a year."""
NEVER_RELAXED = frozenset(
    {"commit-signature", "governance-removed", "history-rewritten", "revision-required", "tier-not-granted"}
)
"""Checks that hold the other checks up: who may change the rules, and which tier counts."""
MODEL_EVIDENCE = ("signature", "scan", "bom")


@dataclass(frozen=True, slots=True)
class Relaxation:
    """One check that is less strict for a while. It holds from `begins` (None: at once) until `expires`."""

    rule: str
    severity: str
    """`warning`, `note` or `muted`."""
    owner: str
    reason: str
    ticket: str
    expires: datetime
    begins: datetime | None = None

    def state(self, as_of: datetime, max_days: int) -> str:
        """`active`, or why it does not hold at a moment."""
        return standing(self.begins, self.expires, as_of, max_days)

    def to_json(self, as_of: datetime, max_days: int) -> dict[str, Any]:
        """What rules and people see of it."""
        return {
            "severity": self.severity,
            "owner": self.owner,
            "reason": self.reason,
            "ticket": self.ticket,
            "expires": to_rfc3339(self.expires),
            "state": self.state(as_of, max_days),
        }


def standing(begins: datetime | None, expires: datetime, as_of: datetime, max_days: int) -> str:
    """Whether an exception holds at a moment: `active`, or a sentence without its full stop.

    Its length counts from `begins`; one that does not say when it began is as long as what is left of it.
    """
    if as_of >= expires:
        return f"it ended on {to_rfc3339(expires)}"
    if begins is not None and as_of < begins:
        return f"it begins on {to_rfc3339(begins)}"
    if expires - (begins or as_of) > timedelta(days=max_days):
        return f"it lasts longer than {max_days} days (until {to_rfc3339(expires)})"
    return "active"


@dataclass(frozen=True, slots=True)
class VulnerabilityLimits:
    """Which known vulnerabilities a tier puts up with, of what is reported about its models and images.

    `deny` and `warn` are severities (`critical`, `high`, `medium`, `low`, `negligible`) from which on a finding denies
    or warns; None: none does.
    """

    deny: str | None = "high"
    warn: str | None = "medium"
    unknown: str = "warn"
    """What a vulnerability does whose severity nobody knows: `deny`, `warn` or `allow`."""
    fixable_only: bool = True
    """Whether only what has a fix denies; what has none then warns."""
    unfixed_grace_days: int | None = None
    """Days since it became public for which what has no fix only warns; None: it denies at once. Where only what has a
    fix denies, they say nothing."""
    max_age_days: int | None = 30
    """How old a report, and the database that it was made with, may be."""
    vex_max_age_days: int | None = 365
    """How old a statement that something is not affected may be."""

    def to_facts(self) -> dict[str, Any]:
        """As rules see them."""
        return {
            "deny": self.deny,
            "warn": self.warn,
            "unknown": self.unknown,
            "fixable_only": self.fixable_only,
            "unfixed_grace_days": self.unfixed_grace_days,
            "max_age_days": self.max_age_days,
            "vex_max_age_days": self.vex_max_age_days,
        }


@dataclass(frozen=True, slots=True)
class TierSpec:
    """What a tier allows and asks for. None, or nothing in a tuple, means: no rule of its own."""

    gpu_classes: tuple[str, ...] | None = None
    """Accelerator classes that may be used; an empty tuple allows none, None allows any that is named."""
    spot: str = "allowed"
    """`required` (batch workloads must run on spot capacity), `allowed` or `forbidden`."""
    spot_fallback_minutes: int | None = None
    """Of `required`: minutes after which a pod that finds no spot capacity may run on demand; None: it waits."""
    burstable: str = "allowed"
    """`forbidden`: no machine whose CPUs are whole only while it has credits."""
    max_replicas: int | None = None
    max_accelerators: int | None = None
    """Whole accelerators that one replica may have."""
    replica_ceiling: Money | None = None
    """The most that one replica may cost a month."""
    required_evidence: tuple[str, ...] = MODEL_EVIDENCE
    """Values of `EvidenceKind` that every model artifact needs, verified."""
    evidence_max_age_days: int | None = None
    required_evaluation: tuple[str, ...] = ()
    """Kinds of measurement that an evaluation must hold, within its bounds: `performance`, `fairness` …."""
    evaluation_max_age_days: int | None = None
    evaluation_data_registered: bool = False
    """Whether a model has to be evaluated on a dataset that reviewed configuration names."""
    required_image_evidence: tuple[str, ...] = ()
    """Values of `EvidenceKind` that every container image needs, verified."""
    required_dataset_evidence: tuple[str, ...] = ()
    """Values of `EvidenceKind` that every dataset needs that a workload names, verified."""
    provenance_level: int | None = None
    """The SLSA Build level (1 to 3) that a model's provenance must reach."""
    image_provenance_level: int | None = None
    prescanned_images: tuple[str, ...] = ()
    """Digests of images, or registries and repositories, whose scan was accepted by review: none is asked for again."""
    per_thousand_predictions_ceiling: Money | None = None
    per_million_tokens_ceiling: Money | None = None
    dedicated_nodes: tuple[str, str] | None = None
    """Node label and value, also key and value of the taint: workloads of the tier run there, and no others do."""
    scheduler: str | None = None
    """The scheduler (`schedulerName`) of the tier's pods; the webhook puts it where a pod names none."""
    monitoring: tuple[str, ...] = ()
    """Hooks that a workload needs: `readiness`, `liveness`, `metrics`, `tracing`."""
    latency_target_ms: int | None = None
    """The laxest latency target (annotation customhouse.dev/latency-target-ms) that a workload may declare."""
    scale_to_zero: str = "allowed"
    """`forbidden`: no workload that scales to zero (its first request waits for a machine)."""
    serverless: str = "allowed"
    """`forbidden`: nothing that Knative, KServe in that mode or KEDA's HTTP add-on runs, and nothing that may sleep."""
    cold_start_seconds: int | None = None
    """The longest start that what may sleep may declare (annotation customhouse.dev/cold-start-seconds)."""
    ttl_required: bool = False
    """Whether a workload has to say when it ends (annotation or label customhouse.dev/ttl)."""
    max_ttl_days: int | None = None
    queue_required: bool = False
    """Whether batch workloads have to name a queue of Kueue (label kueue.x-k8s.io/queue-name)."""
    vulnerabilities: VulnerabilityLimits = field(default_factory=VulnerabilityLimits)
    checks: Mapping[str, str] = field(default_factory=dict)
    """Rule id to severity, where it is not the rule's own."""
    relaxations: tuple[Relaxation, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """Namespaces with a strictness of their own, such as production. The first that matches a namespace counts."""

    name: str
    namespaces: tuple[str, ...]
    production: bool = False
    checks: Mapping[str, str] = field(default_factory=dict)
    relaxations: tuple[Relaxation, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvironmentJudgement:
    """Where an object is judged to be. `name` is None for objects of the whole cluster, and in no environment."""

    name: str | None = None
    production: bool = False
    checks: Mapping[str, str] = field(default_factory=dict)
    relaxations: tuple[Relaxation, ...] = ()


@dataclass(frozen=True, slots=True)
class TierJudgement:
    """The tier a workload is judged as. A label only requests a tier; reviewed configuration grants it."""

    name: str = "standard"
    requested: str | None = None
    granted: bool = True
    spec: TierSpec = field(default_factory=TierSpec)
    reserved_nodes: tuple[tuple[str, str], ...] = ()
    """Dedicated nodes of other tiers, as (label, value)."""


def effective_checks(tier: TierSpec, environment: EnvironmentJudgement | None) -> dict[str, str]:
    """Rule id to severity: the stricter of what tier and environment say."""
    merged = dict(tier.checks)
    for rule, severity in ({} if environment is None else environment.checks).items():
        merged[rule] = min(severity, merged.get(rule, severity), key=SEVERITIES.index)
    return dict(sorted(merged.items()))


def effective_relaxations(
    tier: TierSpec, environment: EnvironmentJudgement | None, as_of: datetime, max_days: int
) -> dict[str, dict[str, Any]]:
    """Rule id to its relaxation: one that is active before one that is not, the tier's before the environment's."""
    given: Iterable[Relaxation] = (*tier.relaxations, *(() if environment is None else environment.relaxations))
    ordered = sorted(given, key=lambda item: item.state(as_of, max_days) != "active")
    chosen: dict[str, dict[str, Any]] = {}
    for item in ordered:
        if item.rule not in NEVER_RELAXED:
            chosen.setdefault(item.rule, item.to_json(as_of, max_days))
    return dict(sorted(chosen.items()))


_EXPERIMENT = {
    "dataset-volume-open": "warning",
    "dataset-volume-unknown": "warning",
    "image-evidence-missing": "note",
    "ingress-without-tls": "warning",
    "network-backend-removed": "warning",
    "network-default-deny": "note",
    "pod-token-mounted": "note",
    "vulnerability-report-partial": "note",
    "vulnerability-report-stale": "warning",
}
_STANDARD = {
    "dataset-volume-open": "warning",
    "dataset-volume-unknown": "warning",
    "image-evidence-missing": "warning",
    "network-default-deny": "warning",
    "pod-token-mounted": "warning",
    "vulnerability-report-partial": "warning",
}
_GPUS = ("T4", "L4", "A10G", "A10", "L40S", "A100-40GB", "A100-80GB", "H100", "H200")

BUILTIN_TIERS: Mapping[str, TierSpec] = {
    "critical-inference": TierSpec(
        gpu_classes=_GPUS,
        spot="forbidden",
        burstable="forbidden",
        max_replicas=64,
        # A report on the packages of models and images, no older than `vulnerabilities` says below.
        required_evidence=(*MODEL_EVIDENCE, "provenance", "evaluation", "vulnerabilities"),
        required_image_evidence=(*MODEL_EVIDENCE, "vulnerabilities"),
        monitoring=("readiness", "metrics"),
        scale_to_zero="forbidden",
        vulnerabilities=VulnerabilityLimits(unknown="deny", fixable_only=False, unfixed_grace_days=30, max_age_days=7),
    ),
    "standard": TierSpec(
        gpu_classes=_GPUS[:4],
        spot="allowed",
        max_replicas=16,
        required_evidence=(*MODEL_EVIDENCE, "provenance"),
        required_image_evidence=MODEL_EVIDENCE,
        checks=_STANDARD,
    ),
    "batch": TierSpec(
        gpu_classes=_GPUS[:7],
        spot="required",
        max_replicas=64,
        required_evidence=MODEL_EVIDENCE,
        required_image_evidence=MODEL_EVIDENCE,
        vulnerabilities=VulnerabilityLimits(deny="critical", warn="high"),
        checks={"vulnerability-report-partial": "warning"},
    ),
    "experiment": TierSpec(
        gpu_classes=_GPUS[:2],
        spot="allowed",
        max_replicas=2,
        required_evidence=MODEL_EVIDENCE,
        required_image_evidence=MODEL_EVIDENCE,
        ttl_required=True,
        max_ttl_days=90,
        vulnerabilities=VulnerabilityLimits(deny="critical", warn="high"),
        checks=_EXPERIMENT,
    ),
}
