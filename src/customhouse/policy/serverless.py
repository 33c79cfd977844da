"""What rules see of an object that follows its requests: `serverless` of its projection, absent for all others.

It says by what it scales, which of its parts may have no replica at all, and how long one takes to start as measured.
What cannot be read counts as what may sleep, with the problem: no rule takes "cannot be read" for "does not".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.errors import DeclarationError
from customhouse.core.resource import PREFIX, Manifest, ResourceRef
from customhouse.core.serverless import elastic
from customhouse.policy.tiers import TierSpec

COLD_START = PREFIX + "cold-start-seconds"
_MODE = "serving.kserve.io/deploymentMode"
_SECONDS = re.compile(r"\d{1,5}(?:\.\d{1,6})?")
_COMPONENTS = ("predictor", "transformer", "explainer")
_GROUPS = {
    ("serving.kserve.io", "InferenceService"): "knative",
    ("serving.knative.dev", "Service"): "knative",
    ("serving.knative.dev", "Configuration"): "knative",
    ("serving.knative.dev", "Revision"): "knative",
    ("keda.sh", "ScaledObject"): "keda",
    ("http.keda.sh", "HTTPScaledObject"): "keda-http",
    ("autoscaling", "HorizontalPodAutoscaler"): "hpa",
}


def serverless_facts(manifest: Manifest, ref: ResourceRef) -> dict[str, Any] | None:
    """`{"how","asleep","cold_start_seconds","problem"}`; None for what neither follows requests nor sleeps.

    `asleep` are the parts that may have no replica (`what`, `pointer`). A ScaledObject that keeps one is an autoscaler
    like any other.
    """
    how = _GROUPS.get((ref.api_version.partition("/")[0], ref.kind))
    if how is None:
        return None
    problem, found = None, None
    if how == "hpa" and not none_at_least(manifest):
        return None
    try:
        found = elastic(manifest, ref)
    except DeclarationError as error:
        problem = f"{error.message} ({error.where}): {error.hint}" if error.hint else f"{error.message} ({error.where})"
    if ref.kind == "InferenceService":
        asleep = list(_components(manifest))
        if not asleep and found is None and problem is None and not _knative_mode(manifest):
            return None
    else:
        if found is None and problem is None and how != "hpa":
            return None  # a Knative Service that a HorizontalPodAutoscaler of its class scales: never to zero
        may = found is None or found.to_zero
        if not may and how == "keda":
            return None
        asleep = [{"what": ref.kind, "pointer": "/spec"}] if may else []
    return {
        "how": how,
        "asleep": asleep,
        "cold_start_seconds": _cold_start(manifest),
        "problem": None if problem is None else problem[:1000],
    }


def none_at_least(manifest: Manifest) -> bool:
    """Whether a HorizontalPodAutoscaler may go to zero (Kubernetes' feature HPAScaleToZero)."""
    spec = manifest.get("spec")
    least = spec.get("minReplicas") if isinstance(spec, Mapping) else None
    return least in (0, "0") and least is not False


def _components(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Parts of an InferenceService that may sleep: each stands in the way of a request."""
    spec = manifest.get("spec")
    for name in _COMPONENTS:
        part = spec.get(name) if isinstance(spec, Mapping) else None
        if isinstance(part, Mapping) and part.get("minReplicas") in (0, "0") and part["minReplicas"] is not False:
            yield {"what": name, "pointer": f"/spec/{name}/minReplicas"}


def _knative_mode(manifest: Manifest) -> bool:
    return _annotations(manifest).get(_MODE) in ("Serverless", "Knative")


def _cold_start(manifest: Manifest) -> int | None:
    """Whole seconds, rounded up; None where nothing is said, or nothing that can be read."""
    said = _annotations(manifest).get(COLD_START)
    if not isinstance(said, str) or not _SECONDS.fullmatch(said):
        return None
    return math.ceil(float(said))


def _annotations(manifest: Manifest) -> Mapping[str, Any]:
    metadata = manifest.get("metadata")
    found = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def asked_of_serverless(spec: TierSpec) -> dict[str, Any]:
    """What a tier asks of what follows requests; only what it asks, so that other tiers' Facts stay as they are."""
    asked: dict[str, Any] = {}
    if spec.serverless != "allowed":
        asked["serverless"] = spec.serverless
    if spec.cold_start_seconds is not None:
        asked["cold_start_seconds"] = spec.cold_start_seconds
    return asked
