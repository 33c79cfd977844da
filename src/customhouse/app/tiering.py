"""Tiers and environments as customhouse.yaml writes them, and which of them an object is judged under.

Reviewed configuration may make any check stricter. What is laxer than the built-in bundle has to be a relaxation, which
names who answers for it and ends. (What a rule of one's own says of its severity is that bundle's matter.)
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.money import Money
from customhouse.app.vulnerability_limits import limits_of
from customhouse.control.scenes import target_of
from customhouse.core.resource import PREFIX, Declaration, ResourceRef
from customhouse.policy.bundle import builtin_bundle
from customhouse.policy.projection import CLUSTER_SCOPED
from customhouse.policy.tiers import (
    BUILTIN_TIERS,
    NEVER_RELAXED,
    SEVERITIES,
    Environment,
    EnvironmentJudgement,
    Relaxation,
    TierJudgement,
    TierSpec,
)

TIER = PREFIX + "tier"
Fail = Callable[[str, str], None]
"""Raises ConfigError at the place of a JSON pointer, with a message."""
_SEVERITY = re.compile(r"^#   id: (\S+)\n#   category: \w+\n#   severity: (\w+)$", re.MULTILINE)


class Tiered(Protocol):
    """What of a Configuration decides about tiers."""

    @property
    def default_tier(self) -> str:
        """The tier of what asks for none."""

    @property
    def tier_namespaces(self) -> Mapping[str, tuple[str, ...]]:
        """Namespace pattern to the tiers that may be asked for there."""

    @property
    def tiers(self) -> Mapping[str, TierSpec]:
        """Every tier by name."""

    @property
    def environments(self) -> tuple[Environment, ...]:
        """In the order in which they are written."""

    @property
    def environment_targets(self) -> Mapping[str, str]:
        """Environment → the one of several clusters that its namespaces are in."""


@cache
def builtin_severities() -> Mapping[str, str]:
    """Rule id to severity of the built-in bundle (read from its METADATA by their fixed lines: YAML takes 50 ms)."""
    return {
        rule: severity for source in builtin_bundle().modules.values() for rule, severity in _SEVERITY.findall(source)
    }


def tiers_of(definitions: Mapping[str, Any], currency: str, fail: Fail) -> Mapping[str, TierSpec]:
    """The built-in tiers, with those that customhouse.yaml defines; what one does not say is as in the built-in one."""
    tiers = dict(BUILTIN_TIERS)
    for name, given in definitions.items():
        start = tiers.get(name, BUILTIN_TIERS["standard"])
        place = f"/tiers/definitions/{name}"

        def money(key: str, default: Money | None, given: Mapping[str, Any] = given) -> Money | None:
            return default if given.get(key) is None else Money.parse(given[key], currency)

        nodes = given.get("dedicatedNodes")
        tiers[name] = TierSpec(
            gpu_classes=tuple(given.get("gpuClasses", start.gpu_classes)),
            spot=given.get("spot", start.spot),
            spot_fallback_minutes=given.get("spotFallbackMinutes", start.spot_fallback_minutes),
            burstable=given.get("burstable", start.burstable),
            max_replicas=given.get("maxReplicas", start.max_replicas),
            max_accelerators=given.get("maxAccelerators", start.max_accelerators),
            replica_ceiling=money("replicaCeiling", start.replica_ceiling),
            per_thousand_predictions_ceiling=money(
                "perThousandPredictionsCeiling", start.per_thousand_predictions_ceiling
            ),
            per_million_tokens_ceiling=money("perMillionTokensCeiling", start.per_million_tokens_ceiling),
            required_evidence=tuple(given.get("requiredEvidence", start.required_evidence)),
            evidence_max_age_days=given.get("evidenceMaxAgeDays", start.evidence_max_age_days),
            required_image_evidence=tuple(given.get("requiredImageEvidence", start.required_image_evidence)),
            required_evaluation=tuple(given.get("requiredEvaluation", start.required_evaluation)),
            evaluation_max_age_days=given.get("evaluationMaxAgeDays", start.evaluation_max_age_days),
            evaluation_data_registered=given.get("evaluationDataRegistered", start.evaluation_data_registered),
            required_dataset_evidence=tuple(given.get("requiredDatasetEvidence", start.required_dataset_evidence)),
            provenance_level=given.get("provenanceLevel", start.provenance_level),
            image_provenance_level=given.get("imageProvenanceLevel", start.image_provenance_level),
            prescanned_images=tuple(given.get("preScannedImages", start.prescanned_images)),
            dedicated_nodes=start.dedicated_nodes if nodes is None else (nodes["key"], nodes["value"]),
            scheduler=(given.get("scheduling") or {}).get("schedulerName", start.scheduler),
            monitoring=tuple(given.get("monitoring", start.monitoring)),
            latency_target_ms=given.get("latencyTargetMs", start.latency_target_ms),
            scale_to_zero=given.get("scaleToZero", start.scale_to_zero),
            serverless=given.get("serverless", start.serverless),
            cold_start_seconds=given.get("coldStartSeconds", start.cold_start_seconds),
            ttl_required=given.get("ttlRequired", start.ttl_required),
            max_ttl_days=given.get("maxTtlDays", start.max_ttl_days),
            queue_required=given.get("queueRequired", start.queue_required),
            vulnerabilities=limits_of(given.get("vulnerabilities") or {}, start.vulnerabilities, place, fail),
            checks={**start.checks, **_checks(given.get("checks") or {}, start.checks, f"{place}/checks", fail)},
            relaxations=tuple(_relaxations(given.get("relaxations") or (), f"{place}/relaxations", fail)),
        )
    return tiers


def environments_of(given: Mapping[str, Any], fail: Fail) -> tuple[Environment, ...]:
    """The environments in the order in which they are written; the first that matches a namespace counts."""
    return tuple(
        Environment(
            name,
            tuple(item.get("namespaces") or ()),
            item.get("production", False),
            _checks(item.get("checks") or {}, {}, f"/environments/{name}/checks", fail),
            tuple(_relaxations(item.get("relaxations") or (), f"/environments/{name}/relaxations", fail)),
        )
        for name, item in given.items()
    )


def _checks(given: Mapping[str, str], start: Mapping[str, str], place: str, fail: Fail) -> dict[str, str]:
    known = builtin_severities()
    for rule, severity in given.items():
        least = start.get(rule, known.get(rule, severity))
        if SEVERITIES.index(severity) > SEVERITIES.index(least):
            fail(
                f"{place}/{rule}",
                f"{rule} is {least} here, and {severity} is laxer: write a relaxation, with owner, reason and end",
            )
    return dict(given)


def _relaxations(given: Sequence[Mapping[str, Any]], place: str, fail: Fail) -> Iterator[Relaxation]:
    for index, item in enumerate(given):
        at = f"{place}/{index}"
        if item["rule"] in NEVER_RELAXED:
            fail(f"{at}/rule", f"{item['rule']} holds the other checks up and cannot be relaxed")
        for key in ("owner", "reason", "ticket"):
            if not item[key].strip():
                fail(f"{at}/{key}", f"{key} is empty: somebody has to answer for a relaxation")
        moments = {}
        for key in ("from", "expires"):
            if item.get(key) is not None:
                try:
                    moments[key] = from_rfc3339(item[key])
                except ValueError as error:
                    fail(f"{at}/{key}", f"{key}: {error}")
        yield Relaxation(
            item["rule"],
            item["severity"],
            item["owner"],
            item["reason"],
            item["ticket"],
            moments["expires"],
            moments.get("from"),
        )


def check_known(document: Mapping[str, Any], fail: Fail) -> None:
    """Refuse checks and relaxations of rules that no bundle has: a misspelt one would be strict about nothing.

    Only where all rules are the built-in ones; what a bundle of one's own has is not known here.
    """
    if any(key.startswith("bundle") for key in document.get("policy") or {}):
        return
    for place, items in (
        ("/tiers/definitions", (document.get("tiers") or {}).get("definitions") or {}),
        ("/environments", document.get("environments") or {}),
    ):
        for name, given in items.items():
            named = [(f"{place}/{name}/checks/{rule}", rule) for rule in given.get("checks") or {}]
            named += [
                (f"{place}/{name}/relaxations/{index}/rule", item["rule"])
                for index, item in enumerate(given.get("relaxations") or ())
            ]
            for pointer, rule in named:
                if rule not in builtin_severities():
                    close = difflib.get_close_matches(rule, builtin_severities(), n=1)
                    fail(pointer, f"no rule is called {rule!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def judged_tier(configuration: Tiered, declaration: Declaration | None) -> TierJudgement:
    """The tier a Declaration is judged as: a label requests, reviewed configuration grants (DESIGN section 4)."""
    default = configuration.default_tier
    requested = None if declaration is None else declaration.label(TIER)
    granted = requested is None or requested == default
    name = default
    if requested is not None and not granted:
        namespace = "" if declaration is None else declaration.ref.namespace
        allowed = {
            name
            for pattern, names in configuration.tier_namespaces.items()
            if fnmatch.fnmatchcase(namespace, pattern)
            for name in names
        }
        granted = requested in allowed and requested in configuration.tiers
        name = requested if granted else default
    spec = configuration.tiers[name]
    reserved = {tier.dedicated_nodes for tier in configuration.tiers.values() if tier.dedicated_nodes is not None}
    return TierJudgement(name, requested, granted, spec, tuple(sorted(reserved - {spec.dedicated_nodes})))


def judged_environment(configuration: Tiered, ref: ResourceRef) -> EnvironmentJudgement | None:
    """The environment of an object by its namespace; None when customhouse.yaml names no environments at all.

    What has no namespace holds for all of them: it is production when any is, and as strict as the strictest. So does
    an object of a namespace that is in several clusters, where it is not known in which of them the object is.
    """
    if not configuration.environments:
        return None
    if ref.kind in CLUSTER_SCOPED:
        return _strictest(configuration.environments)
    targets = configuration.environment_targets
    where = target_of(ref.scene, frozenset(targets.values()))
    found = [
        item
        for item in configuration.environments
        if any(fnmatch.fnmatchcase(ref.namespace, pattern) for pattern in item.namespaces)
        and (not where or targets.get(item.name, where) == where)
    ]
    if not found:
        return EnvironmentJudgement()
    first = found[0]
    alike = [item for item in found if set(item.namespaces) & set(first.namespaces)]
    if not where and len({targets.get(item.name, "") for item in alike}) > 1:
        return _strictest(alike)
    return EnvironmentJudgement(first.name, first.production, first.checks, first.relaxations)


def _strictest(environments: Sequence[Environment]) -> EnvironmentJudgement:
    checks: dict[str, str] = {}
    for item in environments:
        for rule, severity in item.checks.items():
            checks[rule] = min(severity, checks.get(rule, severity), key=SEVERITIES.index)
    return EnvironmentJudgement(None, any(item.production for item in environments), checks)
