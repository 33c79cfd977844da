"""Objects of Argo CD and Flux that somebody else put into the cluster: left as they are, and told where Git differs."""

from __future__ import annotations

from typing import Any

import pytest

from customhouse.control.beside import NOT_THERE, told_otherwise
from customhouse.control.conducting import Conducted, conduct
from customhouse.control.render import render
from customhouse.core.application import Engine
from customhouse.core.resource import ResourceRef

FLUX = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: shop, namespace: flux-system}
spec: {interval: 1m, url: "https://git.example.com/shop", ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec: {interval: 10m, path: ./shop, prune: true, sourceRef: {kind: GitRepository, name: shop}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: notes, namespace: shop}
"""
SYNC = ResourceRef("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "shop")
READY = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}


def conducted(manager: str, *, status: Any = READY, more: str = "", **spec: Any) -> Conducted:
    """With the Kustomization as the cluster has it, applied by a manager; `more` is declared and not there."""
    declared = render({"flux.yaml": FLUX.encode(), **({"more.yaml": more.encode()} if more else {})})
    (own,) = (item.manifest for item in declared if item.ref == SYNC)
    written = [{"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {}}}]
    # What the API's defaults add is no difference.
    live = {
        **own,
        "metadata": {**own["metadata"], "generation": 1, "managedFields": written},
        "spec": {**own["spec"], "force": False, **spec},
        "status": status,
    }
    return conduct(declared, live={SYNC: live}, served=lambda _: True)


def held(made: Conducted) -> set[str]:
    return {item.ref.kind for item in made.declarations if item.care is not None and item.care.hold}


def test_what_a_person_or_flux_bootstrap_put_there_is_left_with_its_sources() -> None:
    made = conducted("kubectl")
    assert held(made) == {"GitRepository", "Kustomization"}
    assert set(made.foreign) == {SYNC}
    assert made.otherwise == {}
    (care,) = (item.care for item in made.declarations if item.ref == SYNC)
    assert care is not None
    assert not care.release


def test_what_customhouse_made_it_keeps_as_declared() -> None:
    assert held(conducted("customhouse")) == set()


@pytest.mark.parametrize("status", [None, {}])
def test_what_nobody_reconciles_is_taken_over(status: Any) -> None:
    assert held(conducted("kubectl", status=status)) == set()


def test_what_git_says_otherwise_is_told_by_its_fields() -> None:
    made = conducted("kubectl", path="./elsewhere", prune=False)
    assert made.otherwise == {SYNC: ("/spec/path", "/spec/prune")}
    assert told_otherwise(SYNC, Engine.FLUX, made.otherwise[SYNC]) == (
        "Kustomization flux-system/shop is declared otherwise than flux has it in the cluster "
        "(/spec/path, /spec/prune): apply it there"
    )


SECOND = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: second, namespace: flux-system}
spec: {interval: 10m, path: ./second, prune: true, sourceRef: {kind: GitRepository, name: shop}}
"""


@pytest.mark.parametrize(("manager", "has", "left"), [("kubectl", "flux", True), ("customhouse", "flux", False)])
def test_one_that_is_not_there_yet_is_for_the_engine_that_has_the_others(manager: str, has: str, left: bool) -> None:
    made = conducted(manager, more=SECOND)
    ref = ResourceRef(SYNC.api_version, SYNC.kind, SYNC.namespace, "second")
    assert made.by[ref] == (has, "flux reconciles others of this tree here")
    assert made.otherwise == ({ref: NOT_THERE} if left else {})
    (care,) = (item.care for item in made.declarations if item.ref == ref)
    assert (care is not None and bool(care.hold)) is left
    assert told_otherwise(ref, Engine.FLUX, NOT_THERE) == (
        "Kustomization flux-system/second is not in the cluster, where somebody else puts what flux has: apply it there"
    )


def test_one_that_nothing_reconciles_is_ours_where_customhouse_yaml_says_so() -> None:
    declared = render({"flux.yaml": FLUX.encode(), "more.yaml": SECOND.encode()})
    made = conduct(declared, reconciled_by={Engine.FLUX: Engine.CUSTOMHOUSE}, served=lambda _: True)
    assert {engine for engine, _ in made.by.values()} == {Engine.CUSTOMHOUSE}


def test_one_of_another_repository_is_known_for_that() -> None:
    declared = render({"flux.yaml": FLUX.encode()})
    assert conduct(declared).elsewhere == frozenset()
    assert conduct(declared, remotes=["https://git.example.com/shop.git"]).elsewhere == frozenset()
    assert conduct(declared, remotes=["https://git.example.com/other"]).elsewhere == {SYNC}
