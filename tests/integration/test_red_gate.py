"""What an adversary writes into a repository, and what the gate has to see in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from control_repository import clone, remote, write
from up_world import RULES, service

from customhouse._kit.money import Money
from customhouse.app import journal
from customhouse.app.gatekeeping import GateRequest, judge
from customhouse.app.settings import read_settings
from customhouse.core.decision import Verdict
from customhouse.core.errors import CannotDecideError, ConfigError, DeclarationError
from customhouse.core.workload import workload
from customhouse.observability.estimate import PriceSettings, workload_cost
from customhouse.observability.prices import PriceBook
from customhouse.policy.waiver import parse_waivers
from customhouse.store import open_store

__all__ = ["clone", "remote"]

DIGEST = "sha256:" + "5" * 64
_SIZE = {"cpu": "1", "memory": "1Gi"}
CONTAINER = {"name": "c", "image": "a/b", "resources": {"requests": _SIZE, "limits": _SIZE}}


def gate(clone: Path, base: str = "HEAD^", head: str = "HEAD") -> tuple[Verdict, set[str]]:
    # The claim is not mounted here: the gate then relies on the pin.
    state = clone.parent / "elsewhere" / ".customhouse"
    state.mkdir(parents=True, exist_ok=True)
    open_store(state / "state.db").close()
    found = judge(read_settings(state=str(state)), GateRequest(str(clone), base=base, head=head))
    return found.verdict, {item.rule for decision in found.decisions for item in decision.findings}


def rules(**replaced: str) -> str:
    text = RULES.replace("    models: artifacts\n", "    other: artifacts\n")
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


CRD = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: inferenceservices.serving.kserve.io
spec:
  group: serving.kserve.io
  names: {kind: InferenceService, plural: inferenceservices}
  scope: Cluster
"""


def test_a_definition_in_git_cannot_take_a_workload_out_of_its_namespace_and_its_budget(clone: Path) -> None:
    write(clone, {"customhouse.yaml": rules(**{'"900"': '"1"'})})
    write(clone, {"app.yaml": service(DIGEST, "v1")})
    assert "budget-exceeded" in gate(clone)[1]
    write(clone, {"app.yaml": None, "README.md": "x"})
    write(clone, {"crd.yaml": CRD, "app.yaml": service(DIGEST, "v1")})
    with pytest.raises(DeclarationError, match="scope"):
        gate(clone)


def test_a_new_version_of_the_api_is_an_update_that_can_be_judged(clone: Path) -> None:
    write(clone, {"customhouse.yaml": rules()})
    write(clone, {"job.yaml": NETWORK})
    write(clone, {"job.yaml": NETWORK.replace("v1beta1", "v1")})
    assert gate(clone) == (Verdict.ALLOW, set())


def test_what_runs_does_not_change_its_api_version_under_way(clone: Path) -> None:
    write(clone, {"customhouse.yaml": rules()})
    write(clone, {"app.yaml": service(DIGEST, "v1")})
    write(clone, {"app.yaml": service(DIGEST, "v1").replace("kserve.io/v1beta1", "kserve.io/v1")})
    with pytest.raises(CannotDecideError, match="apiVersion"):
        gate(clone)


NETWORK = """\
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec: {hosts: [a]}
"""


def test_an_empty_storage_uri_is_no_model_that_was_inspected(clone: Path) -> None:
    write(clone, {"customhouse.yaml": rules()})
    write(clone, {"app.yaml": service(DIGEST, "v1").replace("pvc://models/v1", '""')})
    verdict, found = gate(clone)
    assert verdict is Verdict.DENY
    assert "model-undeclared" in found


def test_moving_a_workload_under_another_budget_adds_its_whole_cost_to_that_budget(clone: Path) -> None:
    budget = '  - name: team\n    monthly: "1"\n    labels: {team: tight}\n'
    write(clone, {"customhouse.yaml": rules().replace("prices:", budget + "prices:")})
    write(clone, {"app.yaml": service(DIGEST, "v1")})
    # Warned of at the most: `standard` tells what it would have.
    assert gate(clone)[0] is Verdict.WARN
    moved = service(DIGEST, "v1").replace("customhouse.dev/team: x", "customhouse.dev/team: tight")
    write(clone, {"app.yaml": moved})
    verdict, found = gate(clone)
    assert verdict is Verdict.DENY
    assert "budget-exceeded" in found


@pytest.mark.parametrize("pattern", ["?*", "[!_]*", "*?", "[a-z]*"])
def test_a_waiver_cannot_cover_everything_by_a_pattern_that_only_looks_narrow(pattern: str) -> None:
    waiver = {
        "id": "W-1",
        "rules": ["model-scan"],
        "owner": "ada",
        "reason": "r",
        "ticket": "t",
        "expires": "2030-01-01T00:00:00Z",
        "scope": {"name": pattern},
    }
    with pytest.raises(ConfigError, match="covers every"):
        parse_waivers([waiver])


def pod(selector: dict[str, str], requests: dict[str, str]) -> dict[str, Any]:
    resources = {"requests": {"cpu": "1", "memory": "1Gi", **requests}, "limits": {"cpu": "1", "memory": "1Gi"}}
    container = {"name": "c", "image": "a/b", "resources": resources}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"nodeSelector": selector, "containers": [container]},
    }


@pytest.mark.parametrize("product", ["NVIDIA-L40", "Tesla-P40", "NVIDIA-GH200-480GB", "Quadro-T400", "NVIDIA-L400"])
def test_an_accelerator_is_not_taken_for_a_cheaper_one_with_a_similar_name(product: str) -> None:
    work = workload(pod({"nvidia.com/gpu.product": product}, {"nvidia.com/gpu": "1"}))
    assert work is not None
    assert work.accelerator == product
    assert workload_cost(work, PriceBook.load(), PriceSettings()).unpriced


@pytest.mark.parametrize(
    "resource",
    ["google.com/tpu", "aws.amazon.com/neuron", "habana.ai/gaudi", "nvidia.com/gpu.shared", "gpu.intel.com/xe"],
)
def test_an_accelerator_of_another_maker_is_never_free(resource: str) -> None:
    work = workload(pod({}, {resource: "8"}))
    assert work is not None
    assert work.accelerators == 8
    cost = workload_cost(work, PriceBook.load(), PriceSettings())
    # The book has a price for some of them, by the machine; the others are named.
    assert cost.unpriced or cost.monthly > Money.parse("1000", "USD")


@pytest.mark.parametrize("text", ["100", "ten", '"50,10"'])
def test_a_canary_that_cannot_be_read_is_no_change_that_can_be_allowed(clone: Path, text: str) -> None:
    write(clone, {"customhouse.yaml": rules()})
    write(clone, {"app.yaml": service(DIGEST, "v1").replace('"20,50"', f'"{text.strip(chr(34))}"')})
    with pytest.raises(DeclarationError, match="rollout-steps"):
        gate(clone)


@pytest.mark.parametrize(
    ("more", "pods"),
    [
        ({"transformer": {"minReplicas": 500, "containers": [CONTAINER]}}, 501),
        ({"predictor": {"workerSpec": {"pipelineParallelSize": 64, "containers": [CONTAINER]}}}, 64),
    ],
    ids=["transformer", "workers"],
)
def test_pods_beside_the_predictor_are_not_priced_as_one(more: dict[str, Any], pods: int) -> None:
    predictor = {"minReplicas": 1, "maxReplicas": 1, "containers": [CONTAINER], **more.get("predictor", {})}
    manifest = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {**more, "predictor": predictor},
    }
    work = workload(manifest)
    assert work is not None
    alone = workload({**manifest, "spec": {"predictor": {"minReplicas": 1, "containers": [CONTAINER]}}})
    assert alone is not None
    one, all_of_them = (workload_cost(item, PriceBook.load(), PriceSettings(), manifest) for item in (alone, work))
    assert all_of_them.unpriced == ()
    assert abs(all_of_them.monthly.pico - pods * one.monthly.pico) < 1000 * pods  # each row is rounded once


def test_one_file_of_evidence_about_two_models_is_recorded_for_each() -> None:
    item = {"kind": "scan", "digest": DIGEST, "verified": True, "problem": "", "signer": "ci", "summary": {}}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    keys = {journal._evidence(journal.model_node("sha256:" + n * 64), item, at).key for n in "12"}
    assert len(keys) == 2
