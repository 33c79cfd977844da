"""Workloads: one typed reading of the kinds that run something, shared by policy, prices, placement and targets.

Which kinds, and where each has its pods, is the table of `core.kinds`. Kubernetes' documented defaults are filled in
(requests follow limits; replicas 1; InferenceService minReplicas 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.frozen import quickly_made
from customhouse.core.containers import Container
from customhouse.core.devices import UNKNOWN_ACCELERATOR
from customhouse.core.errors import DeclarationError
from customhouse.core.evidence import ArtifactRef
from customhouse.core.kinds import kind_of
from customhouse.core.podsets import MODEL_DIGEST, PodSet, named, pod_sets
from customhouse.core.remembering import remembered
from customhouse.core.resource import Manifest, ResourceRef

__all__ = ["MODEL_DIGEST", "UNKNOWN_ACCELERATOR", "Container", "PodSet", "Workload", "models_of", "workload"]

_SERVICE = ("serving.kserve.io", "serving.kubeflow.org")


@quickly_made
@dataclass(frozen=True, slots=True)
class Workload:
    """What one object runs. `pod_pointer` is the JSON pointer of its first pod spec (the predictor for KServe)."""

    ref: ResourceRef
    pod_pointer: str
    pod: Mapping[str, Any]
    containers: tuple[Container, ...]
    """Those of all its sets of pods."""
    replicas_min: int
    replicas_max: int
    """Of its first set for an InferenceService (the predictor's), of all sets together for every other kind."""
    accelerator: str | None
    """GPU class (`H100`, `A100-80GB` …), `unknown` when GPUs are asked for without naming one, None without GPUs."""
    spot: bool
    batch: bool
    artifacts: tuple[ArtifactRef, ...]
    sets: tuple[PodSet, ...] = ()
    """Every set of alike pods by itself: what prices and rules go by."""

    @property
    def cpu(self) -> int:
        """Millicores that one pod of every set reserves."""
        return sum(one.cpu for one in self.sets)

    @property
    def memory(self) -> int:
        """Bytes that one pod of every set reserves."""
        return sum(one.memory for one in self.sets)

    @property
    def accelerators(self) -> int:
        """Accelerators of one pod of every set."""
        return sum(one.accelerators for one in self.sets)


def workload(manifest: Manifest, ref: ResourceRef | None = None) -> Workload | None:
    """The workload that a manifest declares; None for kinds that run nothing, or that are not in the table.

    Raises DeclarationError (with the JSON pointer in `where`) for a spec that Kubernetes would refuse.
    """
    return remembered(_workload, manifest, ref, "workload")


def _workload(manifest: Manifest, ref: ResourceRef | None, _: str) -> Workload | None:
    kind = manifest.get("kind")
    if not isinstance(kind, str):
        raise DeclarationError(f"kind is {kind!r}; write a text", where="/kind")
    api_version = str(manifest.get("apiVersion", ""))
    row = kind_of(api_version, kind)
    if row is None or not row.pods or row.template:
        return None
    ref = ref or ResourceRef.of(manifest)
    found = pod_sets(manifest, api_version, kind)
    sets = tuple(one for one in found if not one.found)
    if kind == "InferenceService" and not any(one.name.startswith("predictor") for one in sets):
        raise DeclarationError("an InferenceService without a predictor", where="/spec/predictor")
    if row.light and not sets:
        return None
    first = sets[0] if sets else None
    serving = kind == "InferenceService"
    return Workload(
        ref=ref,
        pod_pointer=first.pointer if first else "/spec",
        pod=first.pod if first else {},
        containers=tuple(container for one in sets for container in one.containers),
        replicas_min=first.replicas_min if first and serving else sum(one.replicas_min for one in sets),
        replicas_max=first.replicas_max if first and serving else sum(one.replicas_max for one in sets),
        accelerator=next((one.accelerator for one in sets if one.accelerator is not None), None),
        spot=any(one.spot for one in sets),
        batch=row.batch,
        artifacts=tuple(artifact for one in sets for artifact in one.artifacts)
        or (named(manifest, row) if row.names and not sets else ()),
        sets=sets,
    )


def models_of(manifest: Manifest) -> tuple[ArtifactRef, ...]:
    """The models and data sets that a kind names outside of pods, also kinds that run none (Seldon's Model)."""
    row = kind_of(str(manifest.get("apiVersion", "")), str(manifest.get("kind", "")))
    return () if row is None else named(manifest, row)
