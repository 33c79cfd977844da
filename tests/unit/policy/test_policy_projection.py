"""What policies see of an object: the same for a file and for the live object, and never a secret."""

from __future__ import annotations

import copy
import json
import time

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import CannotDecideError, DeclarationError
from customhouse.core.resource import ResourceRef
from customhouse.policy.pods import artifacts, image_parts
from customhouse.policy.projection import project
from policy_cases import DIGEST, deployment, served, service


def test_a_file_and_its_live_object_look_the_same():
    assert project(served(deployment())) == project(deployment())
    assert project(served(service())) == project(service())


def test_quantities_are_integers():
    container = project(deployment())["workload"]["pods"][0]["containers"][0]
    assert container["cpu_request_milli"] == 500
    assert container["memory_limit_bytes"] == 512 * 2**20
    assert container["pointer"] == "/spec/template/spec/containers/0"


def test_the_rollouts_own_field_does_not_change_a_projection():
    canary = service()
    canary["spec"]["predictor"]["canaryTrafficPercent"] = 10
    assert project(canary) == project(service())


def test_a_transformer_is_seen_with_its_own_place():
    manifest = service()
    manifest["spec"]["transformer"] = {"hostNetwork": True, "containers": [{"name": "t", "image": "evil.io/t"}]}
    pods = project(manifest)["workload"]["pods"]
    assert [pod["component"] for pod in pods] == ["predictor", "transformer"]
    assert pods[1]["host_network"] is True
    assert pods[1]["containers"][0]["pointer"] == "/spec/transformer/containers/0"


def test_a_debug_container_is_seen():
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": "a"}]},
    }
    pod["spec"]["ephemeralContainers"] = [
        {"name": "debug", "image": "evil.io/x", "securityContext": {"privileged": True}}
    ]
    container = project(pod)["workload"]["pods"][0]["containers"][1]
    assert container["role"] == "ephemeral"
    assert container["security"]["privileged"] is True
    assert container["pointer"] == "/spec/ephemeralContainers/0"


def test_a_sidecar_is_told_from_an_init_container():
    manifest = deployment()
    manifest["spec"]["template"]["spec"]["initContainers"] = [
        {"name": "setup", "image": "a"},
        {"name": "proxy", "image": "a", "restartPolicy": "Always"},
    ]
    containers = project(manifest)["workload"]["pods"][0]["containers"]
    assert {item["name"]: item["role"] for item in containers} == {"setup": "init", "proxy": "sidecar", "web": "main"}


def test_containers_in_a_kind_nobody_knows_are_still_seen():
    manifest = {
        "apiVersion": "example.org/v1",
        "kind": "TrainingThing",
        "metadata": {"name": "train"},
        "spec": {
            "replicas": {"Wor/ker": {"template": {"spec": {"containers": [{"name": "a", "image": "evil.io/a"}]}}}}
        },
    }
    workload = project(manifest)["workload"]
    assert workload["known"] is False
    container = workload["pods"][0]["containers"][0]
    assert container["image"]["repository"] == "evil.io/a"
    assert container["pointer"] == "/spec/replicas/Wor~1ker/template/spec/containers/0"


@pytest.mark.parametrize(
    ("kind", "spec", "pointer"),
    [
        ("TrainedModel", {"model": {"storageUri": "s3://m"}}, "/spec/model/storageUri"),
        ("LLMInferenceService", {"model": {"uri": "s3://m"}}, "/spec/model/uri"),
        (
            "LLMInferenceService",
            {"model": {"lora": {"adapters": [{"uri": "s3://m"}]}}},
            "/spec/model/lora/adapters/0/uri",
        ),
    ],
)
def test_a_model_that_another_kind_loads_is_an_artifact_and_in_an_unknown_kind_one_that_cannot_be_pinned(
    kind, spec, pointer
):
    manifest = {"apiVersion": "serving.kserve.io/v1alpha1", "kind": kind, "metadata": {"name": "m"}, "spec": spec}
    assert project(manifest)["spec"]["models"] == []
    assert [(a.role, a.reference, a.pointer) for a in artifacts(manifest, ResourceRef.of(manifest))] == [
        ("model", "s3://m", pointer)
    ]
    unknown = {**manifest, "kind": "SomebodysModel"}
    assert project(unknown)["spec"]["models"] == [{"pointer": pointer, "uri": "s3://m"}]
    assert artifacts(unknown, ResourceRef.of(unknown)) == ()


def test_a_secrets_values_never_leave_it():
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"password": "aHVudGVyMg=="},
        "stringData": {"user": "ada-the-secret"},
    }
    seen = json.dumps(project(secret))
    assert project(secret)["spec"]["keys"] == ["password", "user"]
    assert "aHVudGVyMg" not in seen
    assert "ada-the-secret" not in seen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GREETING", "ghp_" + "a" * 36),
        ("AWS", "AKIA" + "Q" * 16),
        ("HUB", "hf_" + "x" * 30),
        ("DB_PASSWORD", "hunter2!"),
        ("database.password", "hunter2!"),
        ("DSN", "postgres://ada:hunter2@db/fraud"),
        ("KEY", "-----BEGIN RSA PRIVATE KEY-----"),
        ("OPENAI_API_KEY", "anything-at-all"),
    ],
)
def test_a_literal_that_looks_like_a_credential_is_named_and_hidden(name, value):
    manifest = deployment(env=[{"name": name, "value": value}], args=["--x", value] if "=" not in value else [])
    seen = project(manifest)
    variable = seen["workload"]["pods"][0]["containers"][0]["environment"][0]
    assert variable["looks_like"] is not None
    assert variable["value"] is None
    assert value not in json.dumps(variable)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_TOKENS", "512"),
        ("TOKEN_LIMIT", "abcdef"),
        ("TOKEN", "true"),
        ("SECRET", "/run/secret"),
        ("LEVEL", "info"),
        ("TOKEN", ""),
    ],
)
def test_a_harmless_literal_is_shown(name, value):
    container = project(deployment(env=[{"name": name, "value": value}]))["workload"]["pods"][0]["containers"][0]
    assert container["environment"][0]["looks_like"] is None
    assert container["environment"][0]["value"] == value


def test_a_token_in_the_arguments_or_an_annotation_is_hidden():
    token = "ghp_" + "b" * 36
    manifest = deployment(args=[f"--token={token}"])
    manifest["metadata"]["annotations"] = {"note": token}
    seen = project(manifest)
    assert token not in json.dumps(seen)
    assert seen["workload"]["pods"][0]["containers"][0]["credentials"][0]["looks_like"] == "a GitHub token"


@pytest.mark.parametrize(
    ("reference", "repository", "tag", "digest"),
    [
        ("nginx", "docker.io/library/nginx", "latest", None),
        ("ada/nginx:1", "docker.io/ada/nginx", "1", None),
        (f"Registry.example.com/a/b@{DIGEST}", "registry.example.com/a/b", None, DIGEST),
        ("UPPER/case", "upper/case", "latest", None),
        ("localhost/x", "localhost/x", "latest", None),
        ("localhost:5000/x:2", "localhost:5000/x", "2", None),
        ("[::1]:5000/x", "[::1]:5000/x", "latest", None),
    ],
)
def test_an_image_reference_is_taken_apart_as_a_registry_would(reference, repository, tag, digest):
    assert image_parts(reference) == {"valid": True, "repository": repository, "tag": tag, "digest": digest}


@pytest.mark.parametrize(
    "reference", ["a b", "../x", "apexlogic.com/../evil", "host/UPPER", "x@sha256:12", "a//b", "a\n", "x:" + "y" * 200]
)
def test_an_image_reference_outside_the_grammar_is_not_guessed_at(reference):
    assert image_parts(reference)["valid"] is False


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"hostNetwork": "true"}, "hostNetwork"),
        ({"volumes": {"a": 1}}, "volumes"),
        ({"securityContext": {"runAsUser": "root"}}, "runAsUser"),
        ({"containers": [{"name": "a", "image": "a", "env": ["X=1"]}]}, "env/0"),
        ({"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": 1}}]}, "privileged"),
        ({"nodeSelector": ["a"]}, "nodeSelector"),
    ],
)
def test_a_field_of_the_wrong_type_is_an_error_that_says_where(change, place):
    manifest = deployment()
    manifest["spec"]["template"]["spec"].update(change)
    with pytest.raises(DeclarationError, match=place):
        project(manifest)


def test_a_text_of_more_than_64_kib_is_refused():
    with pytest.raises(CannotDecideError, match="65536 bytes"):
        project(deployment(args=["x" * 65537]))


def test_a_long_text_in_a_config_map_is_nobodys_business():
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "x" * 200_000}}
    assert project(manifest)["spec"]["keys"] == ["a"]


@pytest.mark.parametrize("piece", ["eyJ-", "-----BEGIN A ", "a://b:", "eyJaaaaaaaa.", "xoxb-", "A A ", "sk-"])
def test_a_hostile_text_is_looked_through_quickly(piece):
    value = piece * (60_000 // len(piece))
    started = time.process_time()
    project(deployment(env=[{"name": "A", "value": value}]))
    assert time.process_time() - started < 2


def test_an_object_of_more_than_1_mib_is_refused():
    with pytest.raises(CannotDecideError, match="the limit is"):
        project(deployment(args=["x" * 60000] * 20))


def test_an_object_that_is_too_deep_is_refused():
    deep: dict = {}
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(CannotDecideError, match="levels deep"):
        project({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "x"}, "spec": deep})


def test_a_number_that_json_cannot_hold_exactly_is_refused():
    with pytest.raises(CannotDecideError, match=r"2\^53|no machine"):
        project(deployment(resources={"limits": {"memory": "9Ei"}}))


KINDS = [
    {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}], "selector": {"app": "x"}}},
    {"apiVersion": "v1", "kind": "ServiceAccount", "imagePullSecrets": [{"name": "pull"}]},
    {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}},
    {"apiVersion": "v1", "kind": "Namespace"},
    {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": "1Gi"}}}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}, "egress": [{}]}},
    {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"name": "x"}},
    },
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [{"verbs": ["*"], "resources": ["*"]}]},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "roleRef": {"name": "admin"},
        "subjects": [{"name": "x"}],
    },
    {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {}}}}},
    },
    {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "spec": {"volumeClaimTemplates": [{"metadata": {"name": "d"}}], "template": {}},
    },
    {"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"size": 1.5}},
]


@pytest.mark.parametrize("manifest", KINDS, ids=lambda item: item["kind"])
def test_every_kind_has_a_canonical_projection_without_status(manifest):
    manifest = {**manifest, "metadata": {"name": "x"}}
    before = copy.deepcopy(manifest)
    seen = project(manifest)
    assert canonical_json(seen) == canonical_json(project({**manifest, "status": {"phase": "Bound"}}))
    assert manifest == before, "a projection is pure"
    assert seen["namespace"] == ("" if manifest["kind"].startswith(("Cluster", "Namespace")) else "default")


def test_documented_defaults_are_filled_in():
    seen = {item["kind"]: project({**item, "metadata": {"name": "x"}})["spec"] for item in KINDS}
    assert seen["Service"]["type"] == "ClusterIP"
    assert seen["Service"]["ports"] == [{"name": "", "port": 80, "protocol": "TCP", "target_port": "80"}]
    assert seen["PersistentVolumeClaim"]["storage_bytes"] == 2**30
    assert seen["NetworkPolicy"]["policy_types"] == ["Ingress", "Egress"]
    assert seen["HorizontalPodAutoscaler"]["min_replicas"] == 1
    assert seen["CronJob"]["job"]["backoff_limit"] == 6
    assert seen["ServiceAccount"]["automount_token"] is True


def test_an_unknown_kind_changes_with_its_spec():
    widget = {**KINDS[-1], "metadata": {"name": "x"}}
    assert project(widget)["spec"] != project({**widget, "spec": {"size": 2}})["spec"]


def test_a_kind_that_cannot_say_how_its_pods_are_secured_is_told_from_those_that_do_not():
    graph = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "InferenceGraph",
        "metadata": {"name": "chain"},
        "spec": {"resources": {"requests": {"cpu": "1"}}, "nodes": {}},
    }
    (router,) = project(graph)["workload"]["pods"]
    assert router["security_given"] is False
    hidden = {"template": {"spec": {"containers": [{"name": "a", "image": "b"}]}}}
    said = {one["component"]: one["security_given"] for one in project({**graph, "other": hidden})["workload"]["pods"]}
    assert said.pop("router") is False
    assert list(said.values()) == [True], "a pod template where none belongs is judged"
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}]}}
    assert [one["security_given"] for one in project(pod)["workload"]["pods"]] == [True]
