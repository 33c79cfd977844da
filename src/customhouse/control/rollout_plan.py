"""What a declaration says about its canary or blue-green release, read from annotations.

customhouse.dev/rollout: canary                 # or blue-green, which has no steps
customhouse.dev/rollout-steps: "10,50"          # percent of the traffic; promotion follows the last
customhouse.dev/rollout-analysis: "min-requests=200, min-labelled=200, max-duration=30m, false-abort=1%"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from customhouse._kit.quantity import QuantityError, parse_duration
from customhouse.core.errors import DeclarationError
from customhouse.core.release import TRACK
from customhouse.core.resource import PREFIX, Manifest, ResourceRef

ROLLOUT = PREFIX + "rollout"
STEPS = PREFIX + "rollout-steps"
ANALYSIS = PREFIX + "rollout-analysis"
KEEP = PREFIX + "rollout-keep"
"""Put on a manifest while all of the traffic is on trial: `stable` keeps the version before running, to go back to."""
CANARY, BLUE_GREEN = "canary", "blue-green"
WALKED = (("serving.kserve.io", "InferenceService"), ("argoproj.io", "Rollout"), ("apps", "Deployment"))
"""The kinds that are walked: KServe's, Argo Rollouts' and plain Deployments."""
_NUMBER = re.compile(r"\+?(\d{1,9}(?:\.\d{1,9})?)\s*(%?)")
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How a canary walks. Rates are shares (0.01 is 1 %), times seconds, log-loss nats.

    A step ends when both arms have `min_requests` and `min_labelled` (0: quality is not judged) since it began,
    `min_step_s` have passed and no estimate is outside its bound. `false_abort` is the probability, over the whole
    rollout, that a candidate which is no worse is rolled back by the analysis; `on_timeout` is `abort` or `promote`.
    """

    steps: tuple[int, ...] = (10, 50)
    min_requests: int = 100
    min_labelled: int = 100
    min_step_s: float = 0.0
    max_duration_s: float = 3600.0
    on_timeout: str = "abort"
    false_abort: float = 0.01
    error_increase: float = 0.01
    latency_quantile: float = 0.95
    latency_ratio: float = 1.5
    latency_increase_s: float = 0.02
    log_loss_increase: float = 0.02
    cost_ratio: float | None = None
    """How many times the stable cost per 1,000 predictions is tolerated; None: cost is not judged."""
    accuracy_drop: float | None = None
    """How much of the accuracy may be lost, as a share; None: only log-loss is judged."""
    drift: float | None = None
    """Tolerated distance between what the two predict on the same traffic, 0 to 1; None: not judged."""
    drain_s: float = 10.0
    """How long a plain Deployment that has no traffic any more is left to answer what it was asked."""
    way: str = CANARY
    """`blue-green`: steps are 0 (the candidate runs beside the stable version, unasked) and 100 (it has everything)."""

    @property
    def measures(self) -> int:
        """Tests that share a step's error budget: errors, latency, log-loss, and what else is declared."""
        return 3 + sum(bound is not None for bound in (self.cost_ratio, self.accuracy_drop, self.drift))

    def to_json(self) -> dict[str, Any]:
        """For the state store."""
        return {**asdict(self), "steps": list(self.steps)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RolloutPlan:
        """The inverse of `to_json`."""
        return cls(**{**value, "steps": tuple(value["steps"])})


def _called(manifest: Manifest) -> str:
    """The object in words; one whose name the server makes is called by what it begins with."""
    metadata = manifest["metadata"]
    if metadata.get("name") is None and metadata.get("generateName") is not None:
        return f"{manifest['kind']} {metadata['generateName']}"
    return str(ResourceRef.of(manifest))


def plan_of(manifest: Manifest) -> RolloutPlan | None:
    """The canary or blue-green release that a manifest declares; None when it declares none.

    Raises DeclarationError that names the annotation for anything that cannot be read, and for rollout annotations on
    an object that is not an InferenceService: a canary that would be ignored is not a canary.
    """
    where = _called(manifest)
    annotations = manifest["metadata"].get("annotations") or {}
    if not isinstance(annotations, Mapping):
        raise DeclarationError("metadata.annotations is not a mapping", where=where, hint="write name: value lines")
    kind = annotations.get(ROLLOUT)
    if kind is None:
        stray = next((name for name in (STEPS, ANALYSIS) if name in annotations), None)
        if stray:
            raise _bad(stray, where, f"has no effect without {ROLLOUT}: canary", "add it, or take this one away")
        return None
    if kind not in (CANARY, BLUE_GREEN):
        raise _bad(ROLLOUT, where, f"{str(kind)[:40]!r} is not a way to roll out", "write canary or blue-green")
    if (group_of(manifest), manifest.get("kind")) not in WALKED:
        kinds = "an InferenceService, a Rollout or a Deployment"
        raise _bad(ROLLOUT, where, f"only {kinds} can be canaried", "take the annotation away")
    if manifest["kind"] == "Rollout":
        _check_rollout(manifest, kind, where)
    elif _predictor_share(manifest) is not None:
        problem = "spec.predictor.canaryTrafficPercent says a share too, which would hold again once it is promoted"
        raise _bad(ROLLOUT, where, problem, "keep one of the two")
    elif manifest["kind"] == "Deployment":
        _check_deployment(manifest, where)
    values = _analysis(annotations.get(ANALYSIS, ""), where)
    if kind == BLUE_GREEN:
        if STEPS in annotations:
            raise _bad(STEPS, where, "blue-green has no steps", "take it away, or write canary")
        return RolloutPlan(**{**values, "way": BLUE_GREEN, "steps": (0, 100)})
    if STEPS in annotations:
        values["steps"] = _steps(annotations[STEPS], where)
    return RolloutPlan(**values)


def _predictor_share(manifest: Manifest) -> Any:
    """What Git says of a share itself."""
    spec = manifest.get("spec")
    predictor = spec.get("predictor") if isinstance(spec, Mapping) else None
    return predictor.get("canaryTrafficPercent") if isinstance(predictor, Mapping) else None


def _check_rollout(manifest: Manifest, kind: str, where: str) -> None:
    """Argo's own blue-green calls the new version stable at the switch: nothing is left to be held against."""
    spec = manifest.get("spec")
    strategy = spec.get("strategy") if isinstance(spec, Mapping) else None
    if kind != CANARY or not isinstance(strategy, Mapping) or not isinstance(strategy.get("canary"), Mapping):
        raise _bad(ROLLOUT, where, "a Rollout is walked as a canary alone", "write canary, and spec.strategy.canary")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("template"), Mapping):
        raise _bad(ROLLOUT, where, "the Rollout has no spec.template of its own", "declare it in place of workloadRef")


def _check_deployment(manifest: Manifest, where: str) -> None:
    """Its replicas are shared between two, and it is replaced one by one once that is decided."""
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("template"), Mapping):
        raise _bad(ROLLOUT, where, "the Deployment has no spec.template", "declare it")
    replicas = spec.get("replicas")
    if type(replicas) is not int or replicas < 1:
        raise _bad(ROLLOUT, where, "spec.replicas does not say how many are shared", "declare 1 or more")
    if spec.get("paused") is True:
        raise _bad(ROLLOUT, where, "spec.paused keeps every new version from running", "take one of the two away")
    metadata, selector = spec["template"].get("metadata"), spec.get("selector")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    wanted = selector.get("matchLabels") if isinstance(selector, Mapping) else None
    if any(isinstance(found, Mapping) and TRACK in found for found in (labels, wanted)):
        raise _bad(ROLLOUT, where, f"the label {TRACK} is what the rollout itself writes", "take the label away")
    strategy = spec.get("strategy")
    if isinstance(strategy, Mapping) and strategy.get("type") == "Recreate":
        raise _bad(ROLLOUT, where, "spec.strategy.type Recreate ends all replicas at once", "write RollingUpdate")


def group_of(manifest: Manifest) -> str:
    """The API group; empty for the core's."""
    group, slash, _ = str(manifest.get("apiVersion", "")).partition("/")
    return group if slash else ""


def _steps(text: Any, where: str) -> tuple[int, ...]:
    hint = 'write rising percentages, for example "10,50"'
    parts = str(text)[:_MAX_TEXT].split(",")
    if not all(re.fullmatch(r"\s*\d{1,3}\s*%?\s*", part) for part in parts) or len(parts) > 20:
        raise _bad(STEPS, where, f"{str(text)[:60]!r} cannot be read", hint)
    steps = [int(part.strip().rstrip("% ")) for part in parts]
    if any(late <= early for early, late in zip([0, *steps], steps, strict=False)) or steps[-1] > 100:
        raise _bad(STEPS, where, f"{str(text)[:60]!r} does not rise from above 0 to at most 100", hint)
    if steps[-1] == 100:  # that is the promotion: with all the traffic there is nothing left to compare with
        steps.pop()
    if not steps:
        raise _bad(STEPS, where, "100 alone is no canary", hint)
    return tuple(steps)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ValueError("a whole number, for example 200")
    return int(text)


def _share(text: str) -> float:
    match = _NUMBER.fullmatch(text)
    value = -1.0 if match is None else float(match[1]) / (100.0 if match[2] else 1.0)
    if not 0.0 <= value < 1.0:
        raise ValueError("a share below 1, for example 0.01 or 1%")
    return value


def _probability(text: str) -> float:
    value = _share(text)
    if not 1e-6 <= value <= 0.5:
        raise ValueError("a share between 0.0001% and 50%, for example 1%")
    return value


def _quantile(text: str) -> float:
    match = re.fullmatch(r"p(\d{2}(?:\.\d)?)", text)
    value = float(match[1]) / 100.0 if match else 0.0
    if not 0.5 <= value <= 0.999:
        raise ValueError("p50 to p99.9, for example p95")
    return value


def _ratio(text: str) -> float:
    match = re.fullmatch(r"x?(\d{1,3}(?:\.\d{1,6})?)", text)
    if match is None or float(match[1]) < 1.0:
        raise ValueError("a factor of at least 1, for example 1.5")
    return float(match[1])


def _nats(text: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None or match[2] or float(match[1]) == 0.0:
        raise ValueError("a positive number of nats, for example 0.02")
    return float(match[1])


def _seconds(text: str) -> float:
    try:
        value = parse_duration(text) / 1e9
    except QuantityError as error:
        raise ValueError("a duration, for example 30s or 30m") from error
    if value < 0:
        raise ValueError("a duration that is not negative")
    return value


def _end(text: str) -> str:
    if text not in ("abort", "promote"):
        raise ValueError("abort or promote")
    return text


_KEYS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "min-requests": ("min_requests", _count),
    "min-labelled": ("min_labelled", _count),
    "min-step": ("min_step_s", _seconds),
    "max-duration": ("max_duration_s", _seconds),
    "on-timeout": ("on_timeout", _end),
    "drain": ("drain_s", _seconds),
    "false-abort": ("false_abort", _probability),
    "error-increase": ("error_increase", _share),
    "latency-quantile": ("latency_quantile", _quantile),
    "latency-ratio": ("latency_ratio", _ratio),
    "latency-increase": ("latency_increase_s", _seconds),
    "log-loss-increase": ("log_loss_increase", _nats),
    "cost-ratio": ("cost_ratio", _ratio),
    "accuracy-drop": ("accuracy_drop", _share),
    "drift": ("drift", _share),
}
"""The keys of customhouse.dev/rollout-analysis."""


def _analysis(text: Any, where: str) -> dict[str, Any]:
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise _bad(ANALYSIS, where, f"is not a text of at most {_MAX_TEXT} characters", "write key=value, key=value")
    values: dict[str, Any] = {}
    for part in re.split(r"[,;\n]", text):
        if not part.strip():
            continue
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise _bad(ANALYSIS, where, f"{part.strip()[:60]!r} is not key=value", "write key=value, key=value")
        if key not in _KEYS:
            import difflib  # only errors need it

            near = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_KEYS)}"
            raise _bad(ANALYSIS, where, f"unknown key {key[:60]!r}", hint)
        name, read = _KEYS[key]
        if name in values:
            raise _bad(ANALYSIS, where, f"{key} is given twice", "keep one")
        try:
            values[name] = read(value)
        except ValueError as error:
            raise _bad(ANALYSIS, where, f"{key}={value[:60]!r} cannot be read", f"write {error}") from error
    return values


def _bad(annotation: str, where: str, problem: str, hint: str) -> DeclarationError:
    return DeclarationError(f"annotation {annotation}: {problem}", where=where, hint=hint)
