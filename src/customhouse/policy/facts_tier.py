"""The tier of an object as rules see it, and amounts of money in the micro-units that they count in.

A tier is the same for thousands of objects: the document that was made last is given again for as long as it would
come out the same. Nobody may alter it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

from customhouse._kit.money import Money
from customhouse.core.errors import CannotDecideError
from customhouse.policy.datasets import asked_of_datasets
from customhouse.policy.evaluation_facts import asked_of_evaluations
from customhouse.policy.serverless import asked_of_serverless
from customhouse.policy.tiers import EnvironmentJudgement, TierJudgement, effective_checks, effective_relaxations

_Made = TypeVar("_Made")


class Last(Generic[_Made]):
    """What was made last, given again to who asks with equal values. Any thread may ask."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: tuple[tuple[object, ...], _Made] | None = None

    def of(self, make: Callable[[], _Made], *given: object) -> _Made:
        """What `make` makes of `given`; it may not depend on anything else."""
        last = self._last  # one reading: another thread may replace it meanwhile
        if last is not None and last[0] == given:  # which looks no deeper where they are the very same
            return last[1]
        made = make()
        self._last = (given, made)
        return made


_TIER: Last[dict[str, Any]] = Last()


def tier_facts(
    tier: TierJudgement,
    environment: EnvironmentJudgement | None,
    as_of: datetime,
    max_exception_days: int,
    currency: str,
) -> dict[str, Any]:
    """`tier` of Facts. Raises CannotDecideError for a setting that is none, and for ceilings in another currency."""
    spec = tier.spec
    if spec.relaxations or (environment is not None and environment.relaxations):  # whether they hold is up to the time
        return _tier(tier, environment, as_of, max_exception_days, currency)
    return _TIER.of(
        lambda: _tier(tier, environment, as_of, max_exception_days, currency),
        *(tier, environment, max_exception_days, currency),
    )


def _tier(
    tier: TierJudgement,
    environment: EnvironmentJudgement | None,
    as_of: datetime,
    max_exception_days: int,
    currency: str,
) -> dict[str, Any]:
    spec = tier.spec
    if spec.spot not in ("required", "allowed", "forbidden"):
        raise CannotDecideError(f"tier {tier.name}: spot is {spec.spot!r}", hint="write required, allowed or forbidden")
    return {
        "name": tier.name,
        "requested": tier.requested,
        "granted": tier.granted,
        "checks": effective_checks(spec, environment),
        "relaxations": effective_relaxations(spec, environment, as_of, max_exception_days),
        "reserved_nodes": [{"key": key, "value": value} for key, value in sorted(tier.reserved_nodes)],
        "spec": {
            "gpu_classes": None if spec.gpu_classes is None else list(spec.gpu_classes),
            "spot": spec.spot,
            "spot_fallback_minutes": spec.spot_fallback_minutes,
            "burstable": spec.burstable,
            "max_replicas": spec.max_replicas,
            "max_accelerators": spec.max_accelerators,
            "replica_ceiling_micro": micro_or_none(spec.replica_ceiling, currency),
            "per_thousand_predictions_micro": micro_or_none(spec.per_thousand_predictions_ceiling, currency),
            "per_million_tokens_micro": micro_or_none(spec.per_million_tokens_ceiling, currency),
            "required_evidence": list(spec.required_evidence),
            "evidence_max_age_days": spec.evidence_max_age_days,
            "required_image_evidence": list(spec.required_image_evidence),
            **asked_of_evaluations(spec),
            **asked_of_datasets(spec),
            **asked_of_serverless(spec),
            "provenance_level": spec.provenance_level,
            "image_provenance_level": spec.image_provenance_level,
            "prescanned_images": list(spec.prescanned_images),
            "dedicated_nodes": None
            if spec.dedicated_nodes is None
            else {"key": spec.dedicated_nodes[0], "value": spec.dedicated_nodes[1]},
            "scheduler": spec.scheduler,
            "monitoring": list(spec.monitoring),
            "latency_target_ms": spec.latency_target_ms,
            "scale_to_zero": spec.scale_to_zero,
            "ttl_required": spec.ttl_required,
            "max_ttl_days": spec.max_ttl_days,
            "queue_required": spec.queue_required,
            "vulnerabilities": spec.vulnerabilities.to_facts(),
        },
    }


def micro_or_none(amount: Money | None, currency: str) -> int | None:
    """`micro`, None of None."""
    return None if amount is None else micro(amount, currency)


def micro(amount: Money, currency: str) -> int:
    """Whole micro-units, rounded up. Raises CannotDecideError for another currency."""
    if amount.currency != currency:
        raise CannotDecideError(
            f"an amount in {amount.currency} beside amounts in {currency}", hint="convert with a dated rate first"
        )
    return amount.to_micro_ceiling()
