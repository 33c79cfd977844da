"""The webhook before a real kube-apiserver: what a person who applies something sees."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from admission_world import (
    ADMISSION,
    GOOD,
    LABELS,
    Webhook,
    as_user,
    bundle_of,
    deployment,
    pod,
    pod_spec,
    register,
    start_webhook,
)

from customhouse.app import wiring
from customhouse.app.settings import Settings
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")
RULES = """\
apiVersion: customhouse.dev/v1
policy: {{trustedRegistries: [apexlogic.com], requireSignedCommits: false}}
tiers:
  namespaces: {{{judged}: [nightly]}}
  definitions:
    standard: {{maxReplicas: 4}}
    nightly:
      spot: required
      scheduling:
        priorityClassName: {priority}
        spot:
          nodeSelector: {{karpenter.sh/capacity-type: spot}}
          tolerations: [{{key: spot, operator: Exists, effect: NoSchedule}}]
        gpu:
          nodeSelector: {{nvidia.com/gpu.product: NVIDIA-L4}}
admission:
  exemptNamespaces: [kube-system, kube-public, kube-node-lease, {exempt}]
  controllers: [admin]  # this control plane's controller manager has no credentials of its own
  breakGlass:
    - {{user: grace, reason: incident 42, expires: "2100-01-01T00:00:00Z", namespaces: [{judged}]}}
    - {{user: barbara, reason: incident 7, expires: "2020-01-01T00:00:00Z"}}
"""


@dataclass
class World:
    plane: ControlPlane
    webhook: Webhook
    judged: str
    exempt: str
    priority: str

    def create(self, user: str, kind: str, obj: dict[str, Any], query: str = "") -> Any:
        group = "/api/v1" if obj["apiVersion"] == "v1" else f"/apis/{obj['apiVersion']}"
        path = f"{group}/namespaces/{obj['metadata']['namespace']}/{kind}{query}"
        return as_user(self.plane, user, "POST", path, obj)

    def entries(self, state: Path) -> list[dict[str, Any]]:
        settings = Settings(state)
        if not (state / wiring.STORE_FILE).exists() or not (settings.keys / f"{wiring.LEDGER_KEY}.pub").exists():
            return []  # the clerk has written nothing yet: first the store, then the key, then entries
        with wiring.store(settings, create=False) as opened:
            ledger = wiring.ledger(settings, opened, write=False)
            return [dict(entry.body, kind=entry.kind, actor=entry.actor) for _, entry in ledger.entries()]


@pytest.fixture(scope="module")
def world(kubernetes: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    judged, exempt = kubernetes.namespace("judged"), kubernetes.namespace("exempt")
    priority = f"batch-{judged}"
    kubernetes.apply(
        f"/apis/scheduling.k8s.io/v1/priorityclasses/{priority}",
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": priority},
            "value": 7,
            "preemptionPolicy": "Never",
        },
    )
    folder = tmp_path_factory.mktemp("webhook")
    (folder / "customhouse.yaml").write_text(RULES.format(judged=judged, exempt=exempt, priority=priority))
    (folder / "app.yaml").write_text(yaml.safe_dump(deployment("declared", judged, replicas=2)))
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "customhouse.yaml", "app.yaml"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    webhook = start_webhook(folder, "--repo", ".")
    paths = register(kubernetes, webhook, judged, [judged, exempt])
    made = World(kubernetes, webhook, judged, exempt, priority)
    kubernetes.until(lambda: _refused(made))  # a new configuration is known to the API server within a second
    yield made
    for path in paths:
        kubernetes.call("DELETE", path)
    made.webhook.stop()


def _refused(world: World) -> bool:
    try:
        world.create("ada", "pods", pod("probe", world.judged, "evil.example/x:1"), "?dryRun=All")
    except KubernetesError as error:
        return "Customhouse" in str(error)
    return False


def test_a_denied_pod_is_refused_with_every_reason_and_its_fix(world: World) -> None:
    with pytest.raises(KubernetesError) as caught:
        world.create("ada", "pods", pod("bad", world.judged, "evil.example/x:latest"))
    message = str(caught.value)
    assert caught.value.status == 403
    assert "validate.customhouse.dev" in message
    assert "image-untrusted-registry" in message
    assert "image-not-pinned" in message
    assert "fix:" in message
    assert "customhouse explain" in message


def test_init_and_ephemeral_containers_are_judged_too(world: World) -> None:
    hidden = pod("hidden", world.judged)
    first = {key: value for key, value in hidden["spec"]["containers"][0].items() if not key.endswith("Probe")}
    hidden["spec"]["initContainers"] = [{**first, "name": "init", "image": "evil.example/x:1"}]
    with pytest.raises(KubernetesError, match=r"evil\.example/x"):
        world.create("ada", "pods", hidden)
    world.create("ada", "pods", pod("plain", world.judged))
    path = f"/api/v1/namespaces/{world.judged}/pods/plain/ephemeralcontainers"
    debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "evil.example/shell:1"}]}}
    with pytest.raises(KubernetesError, match=r"evil\.example/shell"):
        as_user(world.plane, "ada", "PATCH", path, debug, "application/strategic-merge-patch+json")


def test_a_deployment_is_allowed_and_the_pods_that_controllers_derive_from_it_run(world: World) -> None:
    world.create("ada", "deployments", deployment("served", world.judged))
    path = f"/api/v1/namespaces/{world.judged}/pods?labelSelector=app%3Dserved"
    assert world.plane.until(lambda: len(world.plane.call("GET", path)["items"]) == 2)


def test_the_tiers_cost_policy_is_put_on_a_pod_and_nothing_that_is_set_is_overridden(world: World) -> None:
    labels = {**LABELS, "customhouse.dev/tier": "nightly"}
    made = world.create("ada", "pods", pod("spot", world.judged, labels=labels))
    spec = made["spec"]
    assert spec["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    assert {"key": "spot", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert (spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]) == (world.priority, 7, "Never")
    own = pod("own", world.judged, labels=labels, nodeSelector={"karpenter.sh/capacity-type": "on-demand"})
    made = world.create("ada", "pods", own, "?dryRun=All")  # it stays as it was written, and that is judged
    assert made["spec"]["nodeSelector"] == {"karpenter.sh/capacity-type": "on-demand"}


def test_a_dry_run_is_judged_and_leaves_no_entry(world: World) -> None:
    with pytest.raises(KubernetesError, match="image-not-pinned"):
        world.create("ada", "pods", pod("dry-denied", world.judged, "apexlogic.com/x:1"), "?dryRun=All")
    world.create("ada", "pods", pod("dry-allowed", world.judged), "?dryRun=All")
    with pytest.raises(KubernetesError):
        world.create("ada", "pods", pod("wet-denied", world.judged, "apexlogic.com/x:1"))
    texts = world.plane.until(
        lambda: [t for t in (e["text"] for e in world.entries(world.webhook.state)) if "wet-denied" in t]
    )
    assert texts
    assert not [e for e in world.entries(world.webhook.state) if "dry-" in e["text"]]


def test_scale_is_judged_for_cost_beyond_what_git_declares(world: World) -> None:
    world.create("ada", "deployments", deployment("declared", world.judged, replicas=2))
    path = f"/apis/apps/v1/namespaces/{world.judged}/deployments/declared/scale"

    def scale(replicas: int) -> Any:
        body = {"spec": {"replicas": replicas}}
        return as_user(world.plane, "ada", "PATCH", path, body, "application/merge-patch+json")

    assert scale(1)["spec"]["replicas"] == 1
    assert scale(2)["spec"]["replicas"] == 2
    with pytest.raises(KubernetesError, match="40"):
        scale(40)
    world.create("ada", "deployments", deployment("unknown", world.judged, replicas=1))
    other = path.replace("declared", "unknown")
    with pytest.raises(KubernetesError, match="no commit in force declares it"):
        as_user(world.plane, "ada", "PATCH", other, {"spec": {"replicas": 3}}, "application/merge-patch+json")


def test_break_glass_is_for_named_people_until_a_moment_and_is_an_entry(world: World) -> None:
    bad = pod("glass", world.judged, "evil.example/x:1")
    with pytest.raises(KubernetesError):
        world.create("barbara", "pods", bad)  # hers has ended
    made = world.create("grace", "pods", bad)
    assert any("break-glass" in warning and "incident 42" in warning for warning in made["_warnings"])
    found = [entry for entry in world.entries(world.webhook.state) if entry["kind"] == "break-glass"]
    assert [(entry["actor"], entry["resource"]["name"]) for entry in found] == [("grace", "glass")]


def test_a_dead_webhook_shuts_the_gate_and_cannot_lock_the_namespaces_that_are_exempt_by_name(world: World) -> None:
    world.webhook.stop(signal.SIGKILL)
    try:
        with pytest.raises(KubernetesError, match="failed calling webhook"):
            world.create("ada", "pods", pod("while-dead", world.judged))
        # This is how the webhook's own pod comes up before there is a webhook.
        assert world.create("ada", "pods", pod("webhook-itself", world.exempt, "evil.example/x:1"))["metadata"]["name"]
    finally:
        world.webhook = start_webhook(world.webhook.folder, "--repo", ".", port=world.webhook.port)
    assert world.plane.until(lambda: world.create("ada", "pods", pod("alive", world.judged)))


def test_the_example_webhook_is_denied_and_its_corrected_copy_guards_the_images(
    world: World, repository_root: Path
) -> None:
    folder = repository_root / "examples" / "admission"
    given, corrected = (
        list(yaml.safe_load_all((folder / name).read_text())) for name in ("webhook.yaml", "corrected/webhook.yaml")
    )
    for document in (*given, *corrected):
        if "namespace" in document["metadata"]:
            document["metadata"]["namespace"] = world.judged
    with pytest.raises(KubernetesError) as caught:
        world.create("ada", "deployments", given[0])
    for reason in ("image-untrusted-registry", "image-not-pinned", "apexlogic/image-policy-webhook:1.0.0"):
        assert reason in str(caught.value)
    world.create("ada", "deployments", next(item for item in corrected if item["kind"] == "Deployment"))

    guarded = world.plane.namespace("guarded")
    hook = next(item for item in corrected if item["kind"] == "ValidatingWebhookConfiguration")
    hook["metadata"]["name"] = f"image-{guarded}"
    hook["webhooks"][0]["clientConfig"] = {
        "url": f"https://127.0.0.1:{world.webhook.port}/validate-image",
        "caBundle": bundle_of(world.webhook),
    }
    hook["webhooks"][0]["namespaceSelector"]["matchExpressions"].append(
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [guarded]}
    )
    place = f"{ADMISSION}/validatingwebhookconfigurations/image-{guarded}"
    world.plane.apply(place, hook)
    try:
        evil = pod("evil", guarded, GOOD.replace("apexlogic.com/", "apexlogic.com.evil/"))
        world.plane.until(lambda: _denied(world, evil, "is not from the trusted registry apexlogic.com/"))
        assert _denied(world, pod("tag", guarded, "apexlogic.com/x:1.0.0"), "is not pinned by a digest")
        assert _denied(world, deployment("template", guarded, "docker.io/x:1"), "/spec/template/spec/containers/0")
        assert world.create("ada", "pods", pod("good", guarded))
    finally:
        world.plane.call("DELETE", place)


def test_the_configuration_is_applied_with_the_authority_that_the_api_server_needs(world: World) -> None:
    program = Path(sys.executable).with_name("customhouse")
    # Other tests share this control plane: all that there is is exempt while the objects are looked at.
    rules = world.webhook.folder / "exempt-all.yaml"
    names = sorted({item["metadata"]["name"] for item in world.plane.call("GET", "/api/v1/namespaces")["items"]})
    rules.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "customhouse.dev/v1",
                "policy": {"requireSignedCommits": False},
                "admission": {"exemptNamespaces": names},
            }
        )
    )
    command = [program, "webhook", "--config", str(rules), "--apply-configuration"]
    url = f"https://127.0.0.1:{world.webhook.port}"
    try:
        subprocess.run(
            [*command, "--url", url, "--kubeconfig", str(world.plane.kubeconfig)], cwd=world.webhook.folder, check=True
        )
        for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
            (hook,) = world.plane.call("GET", f"{ADMISSION}/{kind}/customhouse")["webhooks"]
            assert hook["clientConfig"]["caBundle"] == bundle_of(world.webhook)
            assert (hook["failurePolicy"], hook["timeoutSeconds"]) == ("Fail", 5)
    finally:
        for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
            world.plane.call("DELETE", f"{ADMISSION}/{kind}/customhouse")


def _refusal(call: Callable[[], Any]) -> str:
    """Why the API server refused it; empty when it did not."""
    try:
        call()
    except KubernetesError as error:
        return str(error)
    return ""


MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


def test_no_way_of_writing_goes_round_the_judgement(world: World) -> None:
    """Every verb, subresource and user by which something that is denied could come in."""
    plane, judged = world.plane, world.judged
    place = f"/apis/apps/v1/namespaces/{judged}/deployments/target"
    world.create("ada", "deployments", deployment("target", judged, replicas=1))
    evil = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "evil.example/x:1"}]}}}}
    kind = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "target"}}

    def patched(body: dict[str, Any], content: str = MERGE, path: str = place, user: str = "ada") -> str:
        return _refusal(lambda: as_user(plane, user, "PATCH", path, body, content))

    strategic = "application/strategic-merge-patch+json"
    assert "evil.example/x" in patched(evil, strategic)
    assert "evil.example/x" in patched({**kind, **evil}, APPLY, f"{place}?fieldManager=other&force=true")
    assert "customhouse.dev/owner" in patched({"metadata": {"labels": {"customhouse.dev/owner": None}}})
    # Whatever else a user claims to be, and whatever the object says of its owner.
    uid = plane.call("GET", place)["metadata"]["uid"]
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "target", "uid": uid, "controller": True}
    for user in ("system:serviceaccount:models:deployment-controller", "system:node:n", "system:masters"):
        claimed = pod(f"claimed-{len(user)}", judged, "evil.example/x:1")
        claimed["metadata"]["ownerReferences"] = [owner]
        assert "evil.example/x" in _refusal(lambda u=user, c=claimed: world.create(u, "pods", c))  # type: ignore[misc]
    # What a status holds is nobody's declaration, and changes nothing else.
    whole = plane.call("GET", place)
    whole["spec"]["template"]["spec"]["containers"][0]["image"] = "evil.example/x:1"
    del whole["metadata"]["resourceVersion"]  # controllers write to it meanwhile
    as_user(plane, "ada", "PUT", f"{place}/status", whole)
    assert plane.call("GET", place)["spec"]["template"]["spec"]["containers"][0]["image"] == GOOD
    # Names that the server makes, other lists of containers, images that are mounted as files.
    unnamed = pod("x", judged, "evil.example/x:1")
    unnamed["metadata"] = {"generateName": "made-", "namespace": judged, "labels": dict(LABELS)}
    assert "evil.example/x" in _refusal(lambda: world.create("ada", "pods", unnamed))
    mounted = pod("mounted", judged, volumes=[{"name": "v", "image": {"reference": "evil.example/data:1"}}])
    assert "evil.example/data" in _refusal(lambda: world.create("ada", "pods", mounted))
    # Controllers are scaled by their owners; one by hand that no commit declares is not.
    sets = plane.until(lambda: plane.call("GET", f"/apis/apps/v1/namespaces/{judged}/replicasets")["items"])
    scaled = f"/apis/apps/v1/namespaces/{judged}/replicasets/{sets[0]['metadata']['name']}/scale"
    assert "no commit in force declares it" in patched({"spec": {"replicas": 50}}, path=scaled)
    # Exempt is a name in reviewed configuration; the label that is matched cannot be chosen.
    label = "kubernetes.io/metadata.name"
    hidden = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hidden", "labels": {label: "kube-system"}}}
    made = as_user(plane, "ada", "POST", "/api/v1/namespaces?dryRun=All", hidden)
    assert made["metadata"]["labels"][label] == "hidden"
    as_user(plane, "ada", "PATCH", f"/api/v1/namespaces/{judged}", {"metadata": {"labels": {"exempt": "true"}}}, MERGE)
    assert "evil.example/x" in _refusal(lambda: world.create("ada", "pods", pod("exempt", judged, "evil.example/x:1")))


def test_what_is_large_of_an_unknown_kind_or_in_bulk_is_answered_in_time(world: World) -> None:
    plane, judged = world.plane, world.judged
    large = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large", "namespace": judged,
             "labels": dict(LABELS)}, "data": {f"k{n}": "x" * 60_000 for n in range(15)}}  # fmt: skip
    assert world.create("ada", "configmaps", large)["metadata"]["uid"]
    many = pod("many", judged)
    many["spec"]["containers"] = [{**many["spec"]["containers"][0], "name": f"c{n}"} for n in range(300)]
    world.create("ada", "pods", many, "?dryRun=All")
    many["spec"]["containers"][299]["image"] = "evil.example/x:1"
    assert "evil.example/x" in _refusal(lambda: world.create("ada", "pods", many))
    group = f"{judged}.example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [{"name": name, "served": True, "storage": name == "v2", "schema": {"openAPIV3Schema": schema}}
                for name in ("v1alpha7", "v2")]  # fmt: skip
    names = {"plural": "runners", "kind": "Runner"}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
           "metadata": {"name": f"runners.{group}"},
           "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions}}  # fmt: skip
    place = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/runners.{group}"
    plane.apply(place, crd)
    try:
        for version in ("v1alpha7", "v2"):
            runner = {"apiVersion": f"{group}/{version}", "kind": "Runner",
                      "metadata": {"name": "odd", "namespace": judged, "labels": dict(LABELS)},
                      "spec": {"deep": {"template": {"spec": pod_spec("evil.example/x:1")}}}}  # fmt: skip
            plane.until(lambda r=runner: "evil.example/x" in _refusal(lambda: world.create("ada", "runners", r)))  # type: ignore[misc]
        world.create("ada", "runners", {**runner, "spec": {"deep": {"template": {"spec": pod_spec()}}}})
    finally:
        plane.call("DELETE", place)
    # A collection and a whole namespace go, each object by a judgement of its own.
    as_user(plane, "ada", "DELETE", f"/api/v1/namespaces/{judged}/configmaps")
    names_left = [item["metadata"]["name"] for item in
                  plane.call("GET", f"/api/v1/namespaces/{judged}/configmaps")["items"]]  # fmt: skip
    assert "large" not in names_left


RIGHTS = (
    ("patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "customhouse", True),
    ("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", True),
    ("patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "of-another", False),
    ("delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "customhouse", False),
    ("list", "", "secrets", "", False),
    ("create", "", "pods", "", False),
)


def test_the_shipped_manifests_are_taken_by_the_api_server_and_their_role_is_the_least(
    world: World, repository_root: Path
) -> None:
    folder = repository_root / "deploy"
    texts = [(folder / name).read_text() for name in ("webhook/webhook.yaml", "webhook/rbac.yaml", "audit/rbac.yaml")]
    documents = [item for text in texts for item in yaml.safe_load_all(text.replace("IMAGE", GOOD)) if item]
    namespace = next(item for item in documents if item["kind"] == "Namespace")
    world.plane.apply(f"/api/v1/namespaces/{namespace['metadata']['name']}", namespace)
    made: list[str] = []
    for item in documents:
        plural = f"{item['kind'].lower().removesuffix('y')}{'ies' if item['kind'].endswith('y') else 's'}"
        group = "/api/v1" if item["apiVersion"] == "v1" else f"/apis/{item['apiVersion']}"
        inside = item["metadata"].get("namespace")
        place = f"{group}{f'/namespaces/{inside}' if inside else ''}/{plural}/{item['metadata']['name']}"
        real = item["metadata"]["name"] == "customhouse-webhook-registrar"
        answer = world.plane.apply(place, item, dry_run=not real)
        assert answer["kind"] == item["kind"]
        made += [place] * real
    assert len(documents) > 8
    ours = world.webhook.folder / "shipped.yaml"
    ours.write_text(texts[0].replace("IMAGE", GOOD))
    (world.webhook.folder / "plain.yaml").write_text(RULES.partition("tiers:")[0].replace("{{", "{").replace("}}", "}"))
    program = Path(sys.executable).with_name("customhouse")
    judged = subprocess.run(
        [program, "gate", ours, "--config", "plain.yaml", "--engine", "embedded"],
        cwd=world.webhook.folder,
        capture_output=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stdout.decode()
    user = "system:serviceaccount:customhouse-system:customhouse-webhook-registrar"
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    try:
        for verb, group, resource, name, allowed in RIGHTS:
            attributes = {"verb": verb, "group": group, "resource": resource, "name": name}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                      "spec": {"user": user, "resourceAttributes": attributes}}  # fmt: skip

            def agreed(review: dict[str, Any] = review, allowed: bool = allowed) -> bool:
                return bool(world.plane.call("POST", path, review)["status"]["allowed"] == allowed)

            assert world.plane.until(agreed), attributes
    finally:
        for place in made:
            world.plane.call("DELETE", place)


def _denied(world: World, obj: dict[str, Any], why: str) -> bool:
    try:
        world.create("ada", f"{obj['kind'].lower()}s", obj, "?dryRun=All")
    except KubernetesError as error:
        return why in str(error)
    return False
