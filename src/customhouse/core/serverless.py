"""What an object declares of scaling by requests: Knative's annotations, KServe's fields, KEDA's two objects.

Sources: knative.dev/serving v0.51.0 `pkg/apis/autoscaling/register.go` and `annotation_validation.go`, KServe
`pkg/apis/serving/v1beta1/component.go`, KEDA v2.21 `apis/keda/v1alpha1`, KEDA's HTTP add-on `operator/apis/http`.
What is not understood is refused with its place: a setting that would be ignored silently is a promise broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.core.errors import DeclarationError
from customhouse.core.fields import count, mapping, text
from customhouse.core.kpa import ScaleRule
from customhouse.core.resource import Manifest, ResourceRef

GROUP = "autoscaling.knative.dev/"
TARGET_DEFAULT = 100.0
"""Requests at a time that a replica takes when nothing says so (`container-concurrency-target-default`)."""
RPS_DEFAULT = 200.0
_UTILISATION = "target-utilization-percentage"
PAUSED = "autoscaling.keda.sh/paused-replicas"
"""Annotation of a ScaledObject: KEDA keeps so many replicas, whatever the range is, until it is taken away."""
POLLING_S, COOLDOWN_S = 30.0, 300.0
"""KEDA's `pollingInterval` and `cooldownPeriod`; the HTTP add-on's `scaledownPeriod` is 300 s too."""
_KEYS = (
    "class", "min-scale", "max-scale", "initial-scale", "activation-scale", "scale-down-delay", "metric", "target",
    "scale-to-zero-pod-retention-period", "target-utilization-percentage", "window", "panic-window-percentage",
    "panic-threshold-percentage", "target-burst-capacity", "metric-aggregation-algorithm",
)  # fmt: skip
_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:\d{1,9}(?:\.\d{1,9})?(?:h|ms|m|us|ns|s))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|us|ns|s)")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_PREDICTOR = "/spec/predictor"


@dataclass(frozen=True, slots=True)
class Elastic:
    """How a workload follows its requests. `how` is `knative`, `keda` or `keda-http`."""

    how: str
    rule: ScaleRule
    target: tuple[str, str] | None = None
    """(kind, name) of what is scaled, where another object says it."""
    concurrency: int = 0
    """The most requests that one replica is given at a time; 0: no limit."""
    polling_s: float = POLLING_S
    cooldown_s: float = COOLDOWN_S

    @property
    def to_zero(self) -> bool:
        """Whether it may have no replica at all."""
        return self.rule.minimum == 0


def elastic(manifest: Manifest, ref: ResourceRef) -> Elastic | None:
    """How this object scales by requests; None for what does not. Raises DeclarationError."""
    group = ref.api_version.partition("/")[0]
    if ref.kind == "InferenceService" and group == "serving.kserve.io":
        return kserve(manifest)
    if group == "serving.knative.dev" and ref.kind in ("Service", "Configuration"):
        return _knative(manifest, "/spec/template")
    if group == "serving.knative.dev" and ref.kind == "Revision":
        return _knative(manifest, "")
    if group == "keda.sh" and ref.kind == "ScaledObject":
        return _scaled_object(manifest)
    if group == "http.keda.sh" and ref.kind == "HTTPScaledObject":
        return _http_scaled_object(manifest)
    return None


def kserve(manifest: Manifest) -> Elastic | None:
    """An InferenceService's predictor; None when it neither goes to zero nor says by what requests it scales.

    KServe's deployment mode is not asked: the cluster's own default decides it where the annotation does not. Standard
    (RawDeployment) has no activator, so that `minReplicas: 0` there is KEDA's, or nobody's.
    """
    predictor = mapping(mapping(manifest, "spec", ""), "predictor", "/spec")
    notes, place = _kserve_notes(manifest, predictor)
    low = count(1 if predictor.get("minReplicas") is None else predictor["minReplicas"], "minReplicas", _PREDICTOR)
    metric = text(predictor, "scaleMetric", _PREDICTOR)
    by_requests = metric in ("concurrency", "rps") or (not metric and predictor.get("scaleTarget") is not None)
    if low and not by_requests and not any(key.startswith(GROUP) for key in notes):
        return None
    if metric not in ("", "concurrency", "rps"):
        raise DeclarationError(
            f"scaleMetric {metric} does not scale to zero",
            where=f"{_PREDICTOR}/scaleMetric",
            hint="write concurrency or rps, or minReplicas 1 or more",
        )
    # KServe writes these over the annotations (v0.20, `SetAutoScalingAnnotations`), also the 1 that nobody wrote.
    given = {key: value for key, value in notes.items() if key not in (f"{GROUP}minScale", f"{GROUP}min-scale")}
    given[f"{GROUP}min-scale"] = str(low)
    high = count(predictor.get("maxReplicas") or 0, "maxReplicas", f"{_PREDICTOR}/maxReplicas")
    if high:
        given.pop(f"{GROUP}maxScale", None)
        given[f"{GROUP}max-scale"] = str(high)
    if metric:
        given[f"{GROUP}metric"] = metric
    if predictor.get("scaleTarget") is not None:
        wanted = count(predictor["scaleTarget"], "scaleTarget", f"{_PREDICTOR}/scaleTarget")
        given[f"{GROUP}target"] = str(wanted)
    at_a_time = count(predictor.get("containerConcurrency") or 0, "containerConcurrency", _PREDICTOR)
    return Elastic("knative", scale_rule(given, place, at_a_time), concurrency=at_a_time)


def _kserve_notes(manifest: Manifest, predictor: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Annotations of the service and of its predictor; the predictor's hold where both say something."""
    outer = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    inner = mapping(predictor, "annotations", _PREDICTOR)
    place = f"{_PREDICTOR}/annotations" if any(key.startswith(GROUP) for key in inner) else "/metadata/annotations"
    return {**outer, **inner}, place


def _knative(manifest: Manifest, template: str) -> Elastic | None:
    node: Any = manifest
    for key in template.split("/")[1:]:
        node = mapping(node, key, "")
    notes = mapping(mapping(node, "metadata", template), "annotations", f"{template}/metadata")
    if str(notes.get(f"{GROUP}class", "")).startswith("hpa."):
        return None
    limit = mapping(node, "spec", template).get("containerConcurrency") or 0
    at_a_time = count(limit, "containerConcurrency", f"{template}/spec/containerConcurrency")
    rule = scale_rule(notes, f"{template}/metadata/annotations", at_a_time)
    return Elastic("knative", rule, concurrency=at_a_time)


def paused_at(manifest: Manifest) -> int | None:
    """The replicas at which a ScaledObject is paused; None where it is not. Raises DeclarationError."""
    notes = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    place = f"/metadata/annotations/{PAUSED.replace('/', '~1')}"
    return None if notes.get(PAUSED) is None else count(notes[PAUSED], PAUSED, place)


def _scaled_object(manifest: Manifest) -> Elastic | None:
    spec = mapping(manifest, "spec", "")
    target = mapping(spec, "scaleTargetRef", "/spec")
    least = next((spec[key] for key in ("idleReplicaCount", "minReplicaCount") if spec.get(key) is not None), 0)
    low, paused = count(least, "minReplicaCount", "/spec/minReplicaCount"), paused_at(manifest)
    rule = ScaleRule(
        target=1.0,
        minimum=low if paused is None else min(low, paused),
        maximum=count(100 if spec.get("maxReplicaCount") is None else spec["maxReplicaCount"], "maxReplicaCount", ""),
    )
    return Elastic(
        "keda",
        rule,
        (text(target, "kind", "/spec/scaleTargetRef") or "Deployment", text(target, "name", "/spec/scaleTargetRef")),
        polling_s=_whole(spec, "pollingInterval", POLLING_S),
        cooldown_s=_whole(spec, "cooldownPeriod", COOLDOWN_S),
    )


def _http_scaled_object(manifest: Manifest) -> Elastic | None:
    spec = mapping(manifest, "spec", "")
    target, replicas = mapping(spec, "scaleTargetRef", "/spec"), mapping(spec, "replicas", "/spec")
    metric = mapping(spec, "scalingMetric", "/spec")
    by_rate = mapping(metric, "requestRate", "/spec/scalingMetric")
    by_number = mapping(metric, "concurrency", "/spec/scalingMetric")
    value = by_rate.get("targetValue") or by_number.get("targetValue") or 100
    rule = ScaleRule(
        target=float(count(value, "targetValue", "/spec/scalingMetric")),
        metric="rps" if by_rate else "concurrency",
        minimum=count(replicas.get("min") or 0, "min", "/spec/replicas/min"),
        maximum=count(100 if replicas.get("max") is None else replicas["max"], "max", "/spec/replicas/max"),
    )
    return Elastic(
        "keda-http",
        rule,
        (text(target, "kind", "/spec/scaleTargetRef") or "Deployment", text(target, "name", "/spec/scaleTargetRef")),
        polling_s=15.0,
        cooldown_s=_whole(spec, "scaledownPeriod", COOLDOWN_S),
    )


def _whole(spec: Mapping[str, Any], key: str, default: float) -> float:
    return default if spec.get(key) is None else float(count(spec[key], key, f"/spec/{key}"))


def scale_rule(notes: Mapping[str, Any], place: str, concurrency: int = 0) -> ScaleRule:
    """The rule of Knative's annotations at `place`, for replicas that take `concurrency` requests (0: no limit).

    Raises DeclarationError for a value that Knative refuses, and for keys and classes that are not its autoscaler's.
    """
    said = _Notes(dict(_known(notes, place)), place)
    said.one_of("class", ("kpa.autoscaling.knative.dev",))
    said.one_of("metric-aggregation-algorithm", ("linear",))
    if said.given.get("target-burst-capacity") != "-1":
        said.number("target-burst-capacity", 200, 0, 1e9)
    metric = said.one_of("metric", ("concurrency", "rps"))
    rule = ScaleRule(
        target=max(0.01, _total(said, metric, concurrency) * said.number(_UTILISATION, 70, 1, 100) / 100),
        minimum=said.whole("min-scale", 0),
        maximum=said.whole("max-scale", 0),
        metric=metric,
        stable_s=said.seconds("window", 60, 6),
        panic_percent=said.number("panic-window-percentage", 10, 1, 100),
        panic_threshold=said.number("panic-threshold-percentage", 200, 110, 1000) / 100,
        scale_down_delay_s=said.seconds("scale-down-delay", 0, 0),
        activation=said.whole("activation-scale", 1, 1),
        initial=said.whole("initial-scale", 1, 1),
        retention_s=said.seconds("scale-to-zero-pod-retention-period", 0, 0),
    )
    if rule.maximum and rule.maximum < rule.minimum:
        raise DeclarationError(
            f"at most {rule.maximum} replicas, at least {rule.minimum}", where=place, hint="make the most the larger"
        )
    return rule


def _total(said: _Notes, metric: str, concurrency: int) -> float:
    """What a replica carries before utilisation is taken off."""
    total = said.number("target", 0, 0.01, 1e6)
    if metric == "rps":
        return total or RPS_DEFAULT
    if total and concurrency:
        return min(total, concurrency)  # never more than a replica is given
    return total or float(concurrency) or TARGET_DEFAULT


@dataclass(frozen=True, slots=True)
class _Notes:
    """Knative's annotations of one object, read within the bounds that Knative itself holds them to."""

    given: Mapping[str, str]
    place: str

    def fail(self, key: str, hint: str) -> DeclarationError:
        where = f"{self.place}/{(GROUP + key).replace('/', '~1')}"
        return DeclarationError(f"{key} is {self.given[key][:60]!r}", where=where, hint=hint)

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        value = self.given.get(key, known[0])
        if value not in known:
            raise self.fail(key, f"only {' and '.join(known)} follow requests, and go to zero")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.given.get(key)
        if value is None:
            return default
        if not _NUMBER.fullmatch(value) or not low <= float(value) <= high:
            raise self.fail(key, f"write a number from {low:g} to {high:g}, in quotes")
        return float(value)

    def whole(self, key: str, default: int, low: int = 0) -> int:
        value = self.number(key, default, low, 1e6)
        if value != int(value):
            raise self.fail(key, "write a whole number")
        return int(value)

    def seconds(self, key: str, default: float, low: float) -> float:
        value = self.given.get(key)
        if value is None:
            return default
        found = duration(value)
        if found is None or not low <= found <= 3600:
            raise self.fail(key, f"write a time from {low:g}s to 1h, such as 90s")
        return found


def _known(notes: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for name, value in notes.items():
        if not str(name).startswith(GROUP):
            continue
        # Knative takes the older spelling `minScale` too.
        key = re.sub(r"[A-Z]", lambda found: "-" + found[0].lower(), str(name).removeprefix(GROUP))
        where = f"{place}/{str(name).replace('/', '~1')}"
        if key not in _KEYS:
            raise DeclarationError(
                f"{name} is not understood", where=where, hint=f"Knative's autoscaler knows {', '.join(_KEYS)}"
            )
        if not isinstance(value, str):
            raise DeclarationError(f"{name} is {value!r}", where=where, hint="quote it: annotations are text")
        yield key, value


def duration(value: str) -> float | None:
    """Seconds of Go's way to write a time (`1m30s`); None for anything else."""
    if not _DURATION.fullmatch(value[:40]):
        return None
    return sum(float(number) * _UNIT[unit] for number, unit in _PART.findall(value))
