"""Hypothesis strategies for the values of core: manifests, money, entries and the rest.

Needs hypothesis (`pip install hypothesis`). What is drawn is valid; `broken` makes it otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

try:
    from hypothesis import strategies as st
except ImportError as error:  # a dependency of tests, not of the product
    raise ImportError("customhouse.testing.strategies needs hypothesis: pip install hypothesis") from error

from customhouse._kit.canonical import MAX_SAFE_INTEGER
from customhouse._kit.digest import bytes_digest
from customhouse._kit.money import Money
from customhouse.core.cost import Charge
from customhouse.core.ledger import Entry
from customhouse.core.observation import Observation
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Manifest, ResourceRef

START = datetime(2026, 1, 1, tzinfo=UTC)

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_NAME = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
_CPU = st.sampled_from(["100m", "0.5", "1", 2, "1500m", "8"])
_MEMORY = st.sampled_from(["64Mi", "1Gi", "1.5Gi", "512M", 134217728])


def json_values(max_leaves: int = 20) -> st.SearchStrategy[Any]:
    """Values that RFC 8785 can write: no lone surrogates, integers within ±(2^53-1), finite doubles."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER),
        st.floats(allow_nan=False, allow_infinity=False),
        _TEXT,
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(_TEXT, inner, max_size=5)),
        max_leaves=max_leaves,
    )


def money(currency: str = "USD") -> st.SearchStrategy[Money]:
    """Amounts of either sign up to 10^15 units, so far beyond 64 bits of pico-units."""
    return st.integers(-(10**27), 10**27).map(lambda pico: Money(pico, currency))


def times() -> st.SearchStrategy[datetime]:
    """Times of one year, to the microsecond, UTC."""
    return st.integers(0, 365 * 24 * 3600 * 10**6).map(lambda micro: START + timedelta(microseconds=micro))


def digests() -> st.SearchStrategy[str]:
    """Digests of short byte strings."""
    return st.binary(max_size=8).map(bytes_digest)


def resource_refs() -> st.SearchStrategy[ResourceRef]:
    """References to InferenceServices, Deployments and Jobs in a few namespaces."""
    kinds = st.sampled_from(
        [("serving.kserve.io/v1beta1", "InferenceService"), ("apps/v1", "Deployment"), ("batch/v1", "Job")]
    )
    return st.builds(lambda kind, space, name: ResourceRef(kind[0], kind[1], space, name), kinds, _NAME, _NAME)


def entries() -> st.SearchStrategy[Entry]:
    """Ledger entries with bodies that canonical JSON can write."""
    return st.builds(
        Entry,
        key=st.text("abcdefgh0123456789/-", min_size=1, max_size=16),
        kind=st.sampled_from(["decision", "deployment", "evidence", "rollback"]),
        at=times(),
        actor=_TEXT,
        subjects=st.lists(digests(), max_size=3).map(tuple),
        body=st.dictionaries(_TEXT, json_values(5), max_size=3),
    )


def observations() -> st.SearchStrategy[Observation]:
    """Measured numbers of a few metrics."""
    return st.builds(
        Observation,
        at=times(),
        source=st.just("test"),
        resource=resource_refs(),
        release=digests(),
        metric=st.sampled_from(["customhouse_requests_total", "process_cpu_seconds_total"]),
        unit=st.just("1"),
        value=st.floats(0, 1e12),
        instance=_NAME,
        labels=st.dictionaries(_NAME, _NAME, max_size=2),
    )


def charges(currency: str = "USD") -> st.SearchStrategy[Charge]:
    """Charges of one hour."""
    return st.builds(
        lambda resource, release, artifact, start, category, amount: Charge(
            resource, release, artifact, start, start + timedelta(hours=1), category, amount
        ),
        resource_refs(),
        digests(),
        digests(),
        times(),
        st.sampled_from(["compute", "memory", "accelerator"]),
        money(currency),
    )


def releases() -> st.SearchStrategy[Release]:
    """Lines of the release history."""
    return st.builds(
        Release,
        resource=resource_refs(),
        release=digests(),
        revision=st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
        author=_TEXT,
        artifact=digests(),
        verdict=st.sampled_from(["allow", "warn", "deny"]),
        decision=digests(),
        phase=st.sampled_from(RolloutPhase),
        at=times(),
        reason=_TEXT,
    )


@st.composite
def _resources(draw: st.DrawFn) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    for part in draw(st.sets(st.sampled_from(["limits", "requests"]))):
        values: dict[str, Any] = {"cpu": draw(_CPU), "memory": draw(_MEMORY)}
        if draw(st.booleans()):
            values["nvidia.com/gpu"] = draw(st.integers(0, 8))
        resources[part] = values
    return resources


@st.composite
def _containers(draw: st.DrawFn) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": draw(_NAME),
        "image": draw(st.sampled_from(["registry.example/app:1", "registry.example/app@" + bytes_digest(b"image")])),
        "resources": draw(_resources()),
    }
    if draw(st.booleans()):
        container["command"] = ["python", "train.py"]
        container["env"] = [{"name": "SEED", "value": "7"}]
    return container


@st.composite
def _pods(draw: st.DrawFn) -> dict[str, Any]:
    pod: dict[str, Any] = {"containers": draw(st.lists(_containers(), min_size=1, max_size=3))}
    if draw(st.booleans()):
        pod["initContainers"] = draw(st.lists(_containers(), max_size=2))
    if draw(st.booleans()):
        pod["nodeSelector"] = {"nvidia.com/gpu.product": draw(st.sampled_from(["NVIDIA-H100-80GB-HBM3", "Tesla-T4"]))}
    return pod


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Workloads that Kubernetes would take: InferenceService, Deployment, StatefulSet, Job, CronJob and Pod."""
    kind = draw(st.sampled_from(["InferenceService", "Deployment", "StatefulSet", "Job", "CronJob", "Pod"]))
    metadata: dict[str, Any] = {"name": draw(_NAME), "namespace": draw(_NAME)}
    if draw(st.booleans()):
        metadata["labels"] = {"customhouse.dev/team": draw(_NAME)}
    pod = draw(_pods())
    version, spec = "apps/v1", {"replicas": draw(st.integers(0, 20)), "template": {"spec": pod}}
    if kind == "InferenceService":
        model = {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://models/m", "resources": draw(_resources())}
        low = draw(st.integers(0, 3))
        predictor = {"minReplicas": low, "maxReplicas": low + draw(st.integers(0, 5)), "model": model}
        version, spec = "serving.kserve.io/v1beta1", {"predictor": predictor}
    elif kind == "Pod":
        version, spec = "v1", pod
    elif kind == "Job":
        version, spec = "batch/v1", {"parallelism": draw(st.integers(0, 8)), "template": {"spec": pod}}
    elif kind == "CronJob":
        job = {"spec": {"template": {"spec": pod}}}
        version, spec = "batch/v1", {"schedule": "0 3 * * *", "jobTemplate": job}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def pointers(value: Any, prefix: str = "") -> list[str]:
    """The JSON pointers of every value inside `value`, outermost first."""
    if isinstance(value, Mapping):
        children = [(str(key).replace("~", "~0").replace("/", "~1"), child) for key, child in value.items()]
    elif isinstance(value, list):
        children = [(str(index), child) for index, child in enumerate(value)]
    else:
        return []
    found: list[str] = []
    for name, child in children:
        found.append(f"{prefix}/{name}")
        found.extend(pointers(child, f"{prefix}/{name}"))
    return found


@st.composite
def broken(draw: st.DrawFn, whole: st.SearchStrategy[Manifest]) -> Manifest:
    """A manifest in which one value, anywhere, is replaced by some other JSON value."""
    manifest = copy.deepcopy(dict(draw(whole)))
    place = draw(st.sampled_from(pointers(manifest)))
    parts = [part.replace("~1", "/").replace("~0", "~") for part in place.split("/")[1:]]
    parent: Any = manifest
    for part in parts[:-1]:
        parent = parent[int(part) if isinstance(parent, list) else part]
    parent[int(parts[-1]) if isinstance(parent, list) else parts[-1]] = draw(json_values(6))
    return manifest
