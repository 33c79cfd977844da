"""What Facts say of evaluations besides the statements: what a tier asks for, the plan of a model, registered data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from customhouse.core.evidence import ArtifactRef
from customhouse.policy.tiers import TierSpec


class EvaluationFacts(Protocol):
    """What reviewed configuration says of evaluations. Pure: the same artifact gives the same answer."""

    def wanted(self, artifact: ArtifactRef) -> dict[str, Any] | None:
        """The plan of a model (`plan`, `file`, `digest`); None: none is declared for it."""

    def is_registered(self, digests: Collection[str]) -> bool:
        """Whether one of these is the digest of a declared dataset."""


def asked_of_evaluations(spec: TierSpec) -> dict[str, Any]:
    """Keys of the tier; none where it asks for nothing, so that Facts are what they were."""
    asked = {
        "required_evaluation": list(spec.required_evaluation),
        "evaluation_max_age_days": spec.evaluation_max_age_days,
        "evaluation_data_registered": spec.evaluation_data_registered,
    }
    return {key: value for key, value in asked.items() if value}


def planned(artifact: ArtifactRef, evaluation: EvaluationFacts | None) -> dict[str, Any]:
    """`{"evaluation": {plan, file, digest}}` of an artifact that has a plan, else nothing."""
    wanted = None if evaluation is None else evaluation.wanted(artifact)
    return {} if wanted is None else {"evaluation": wanted}


def registered(summary: Mapping[str, Any], evaluation: EvaluationFacts | None) -> dict[str, Any]:
    """Whether the data of an evaluation, or the dataset that they are a file of, are declared in Git."""
    named = [summary[key] for key in ("dataset", "within") if summary[key] is not None]
    return {"registered": evaluation is not None and evaluation.is_registered(named)}
