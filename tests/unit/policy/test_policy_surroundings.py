"""What stands around an object: policies of its namespace, roles, autoscalers, monitors and node pools."""

from __future__ import annotations

import pytest
import yaml

from customhouse.policy.projection import project
from customhouse.policy.surroundings import Surroundings
from policy_cases import declared, deployment

DENY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: models}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""


def index(*texts):
    return Surroundings(declared(item) for text in texts for item in yaml.safe_load_all(text))


def about(text, *texts):
    return index(text, *texts).about(declared(yaml.safe_load(text)))


@pytest.mark.parametrize(
    ("old", "new", "ingress", "egress"),
    [
        ("", "", True, True),
        ("[Ingress, Egress]", "[Ingress]", True, False),
        ("[Ingress, Egress]", "[Egress]", False, True),
        (", policyTypes: [Ingress, Egress]", "", True, False),
        ("podSelector: {}", "podSelector: {matchLabels: {app: web}}", False, False),
        ("podSelector: {}", "podSelector: {matchExpressions: [{key: a, operator: Exists}]}", False, False),
        ("podSelector: {}", "podSelector: {}, ingress: [{}]", False, True),
        ("namespace: models", "namespace: other", False, False),
        ("networking.k8s.io/v1", "example.com/v1", False, False),
    ],
)
def test_a_default_deny_selects_every_pod_and_allows_nothing(old, new, ingress, egress):
    item = declared(deployment())
    around = Surroundings([item, *(declared(one) for one in [yaml.safe_load(DENY.replace(old, new) if old else DENY)])])
    assert around.about(item)["default_deny"] == {"ingress": ingress, "egress": egress}
    assert around.about(item)["workloads"] == 1


ROLE = """apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: looker, namespace: models}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}]
"""
BINDING = """apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: b, namespace: models}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: looker}
subjects: [{kind: User, name: ada}]
"""


def test_a_role_that_is_declared_beside_its_binding_tells_whether_it_writes():
    assert about(BINDING, ROLE)["role"] == {"found": True, "writes": False}
    assert about(BINDING, ROLE.replace("watch]", "patch]"))["role"] == {"found": True, "writes": True}
    assert about(BINDING, ROLE + "aggregationRule: {clusterRoleSelectors: [{}]}\n")["role"]["writes"] is True
    assert about(BINDING, ROLE.replace("namespace: models", "namespace: other"))["role"] == {
        "found": False,
        "writes": None,
    }
    assert about(ROLE)["role"] is None


HPA = """apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: h, namespace: models}
spec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 3}
"""
VPA = """apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: v, namespace: models}
spec: {targetRef: {kind: Deployment, name: web}}
"""
OFF = VPA.replace("name: web}", "name: web}, updatePolicy: {updateMode: 'Off'}")


def test_an_autoscaler_knows_its_target_and_its_rivals():
    web = yaml.safe_dump(deployment())
    assert about(HPA, web)["target_found"] is True
    assert about(HPA, web.replace("name: web", "name: other"))["target_found"] is False
    assert about(web, HPA)["target_found"] is None
    assert about(HPA, web, VPA)["rivals"] == ["VerticalPodAutoscaler v"]
    assert about(VPA, web, HPA)["rivals"] == ["HorizontalPodAutoscaler h"]
    assert about(HPA, web, OFF)["rivals"] == []


POD_MONITOR = """apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: m, namespace: models}
spec: {selector: {matchLabels: {app: web}}}
"""
SERVICE = """apiVersion: v1
kind: Service
metadata: {name: web, namespace: models, labels: {team: a}}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
SERVICE_MONITOR = """apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: m, namespace: watching}
spec: {selector: {matchLabels: {team: a}}, namespaceSelector: {matchNames: [models]}}
"""


def test_metrics_are_hooked_by_annotation_or_by_a_monitor_that_selects_the_pods():
    plain = yaml.safe_dump(deployment())
    marked = deployment()
    marked["spec"]["template"]["metadata"]["annotations"] = {"prometheus.io/scrape": "true"}
    traced = deployment()
    traced["spec"]["template"]["metadata"]["annotations"] = {"sidecar.opentelemetry.io/inject": "true"}
    assert about(plain)["metrics"] is False
    assert about(yaml.safe_dump(marked))["metrics"] is True
    assert about(yaml.safe_dump(traced))["tracing"] is True
    assert about(yaml.safe_dump(traced))["metrics"] is False
    assert about(yaml.safe_dump(marked).replace("'true'", "'false'"))["metrics"] is False
    assert about(plain, POD_MONITOR)["metrics"] is True
    assert about(plain, POD_MONITOR.replace("app: web", "app: x"))["metrics"] is False
    assert about(plain, POD_MONITOR.replace("namespace: models", "namespace: other"))["metrics"] is False
    assert about(plain, SERVICE, SERVICE_MONITOR)["metrics"] is True
    assert about(plain, SERVICE.replace("app: web", "app: x"), SERVICE_MONITOR)["metrics"] is False
    assert about(plain, SERVICE, SERVICE_MONITOR.replace("[models]", "[other]"))["metrics"] is False
    assert about(plain, SERVICE, SERVICE_MONITOR.replace("matchNames: [models]", "any: true"))["metrics"] is True


POOL = """apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: gpu}
spec:
  limits: {cpu: "100", nvidia.com/gpu: "16"}
  template:
    spec:
      requirements:
        - {key: karpenter.k8s.aws/instance-gpu-count, operator: In, values: ["1", "4"]}
        - {key: karpenter.k8s.aws/instance-gpu-name, operator: In, values: [l4, t4]}
"""


def test_a_node_pool_tells_what_its_machines_carry():
    assert about(POOL)["node_pools"] == [
        {
            "name": "gpu",
            "accelerators_per_node": 4,
            "accelerators_total": 16,
            "accelerator_classes": ["L4", "T4"],
        }
    ]
    (loose,) = about(POOL.replace("operator: In", "operator: Gt").replace(', nvidia.com/gpu: "16"', ""))["node_pools"]
    assert (loose["accelerators_per_node"], loose["accelerators_total"], loose["accelerator_classes"]) == (
        None,
        None,
        None,
    )


INGRESS = """apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec:
  rules: [{host: a.example.com}, {host: b.c.example.com}]
  tls: [{hosts: [A.example.com, "*.c.example.com"], secretName: s}]
"""


def test_an_ingress_tells_which_hosts_have_no_tls():
    assert project(yaml.safe_load(INGRESS))["spec"]["without_tls"] == []
    assert project(yaml.safe_load(INGRESS.replace("*.c.", "*.")))["spec"]["without_tls"] == ["b.c.example.com"]
    assert project(yaml.safe_load(INGRESS.split("  tls", maxsplit=1)[0]))["spec"]["without_tls"] == [
        "a.example.com",
        "b.c.example.com",
    ]
    everything = {"defaultBackend": {"service": {"name": "x"}}}
    backend = {**yaml.safe_load(INGRESS), "spec": everything}
    assert project(backend)["spec"]["without_tls"] == ["every host"]


def test_a_vertical_autoscaler_is_bounded_when_every_container_is():
    def bounded(policies):
        item = yaml.safe_load(VPA)
        item["spec"]["resourcePolicy"] = {"containerPolicies": policies}
        return project(item)["spec"]["bounded"]

    most = {"cpu": "2", "memory": "4Gi"}
    assert bounded([{"containerName": "*", "maxAllowed": most}]) is True
    assert bounded([{"containerName": "web", "maxAllowed": most}]) is False
    assert bounded([{"containerName": "*", "maxAllowed": {"cpu": "2"}}]) is False
    assert bounded([{"containerName": "*", "maxAllowed": most}, {"containerName": "x", "mode": "Off"}]) is True
    assert bounded([]) is False


def test_keda_defaults_are_those_of_its_documentation():
    item = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": {"name": "web"}},
    }
    seen = project(item)["spec"]
    assert (seen["target"], seen["min_replicas"], seen["max_replicas"]) == (
        {"kind": "Deployment", "name": "web"},
        0,
        None,
    )


def _spoiled(value, number):
    """The same object with one of its values replaced by what nobody expects there."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            return {key: walk(item) for key, item in node.items()}
        if isinstance(node, list) and node:
            found.append(node)
            return 7 if len(found) - 1 == number else [walk(item) for item in node]
        found.append(node)
        return {"odd": 7} if len(found) - 1 == number else node

    return {**value, "spec": walk(value.get("spec", {})), "rules": walk(value.get("rules", []))}, len(found)


@pytest.mark.parametrize("text", [DENY, ROLE, HPA, VPA, POD_MONITOR, SERVICE, SERVICE_MONITOR, POOL])
def test_what_is_around_may_be_anything_and_is_never_a_crash(text):
    good = yaml.safe_load(text)
    number, count = 0, 1
    while number < count:
        bad, count = _spoiled(good, number)
        number += 1
        web = declared(deployment())
        around = Surroundings([web, declared(bad)])
        assert around.about(web)["metrics"] in (True, False)
        assert around.about(declared(bad))["workloads"] in (0, 1)


GRAPH = """apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: chain, namespace: models}
spec:
  nodes:
    root: {routerType: Sequence, steps: [{serviceName: first}, {nodeName: then}, {serviceUrl: "http://x"}]}
    then: {routerType: Switch, steps: [{serviceName: second, condition: a}]}
"""
ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: door, namespace: edge}
spec:
  rules:
  - backendRefs: [{name: web, port: 80}, {name: first-predictor, namespace: models, port: 80}]
  - backendRefs: [{name: pool, group: inference.networking.k8s.io, kind: InferencePool}]
"""
OLD_DOOR = """apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: old}
spec:
  defaultBackend: {service: {name: web, port: {number: 80}}}
  rules: [{http: {paths: [{backend: {service: {name: api}}}, {backend: {resource: {kind: Bucket, name: web}}}]}}]
"""
BROKEN = """apiVersion: serving.kserve.io/v1alpha1
kind: InferenceGraph
metadata: {name: broken, namespace: models}
spec: {nodes: {a: [], b: {steps: {}}, c: {steps: [1, {serviceName: [first]}, {serviceName: ""}]}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: broken}
spec: {defaultBackend: web, rules: [{http: []}, {http: {paths: [{backend: {service: web}}]}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: broken, namespace: edge}
spec: {rules: {backendRefs: [{name: web}]}}
"""


@pytest.mark.parametrize(
    ("api_version", "kind", "namespace", "name", "said"),
    [
        (
            *("serving.kserve.io/v1beta1", "InferenceService", "models", "first"),
            ["HTTPRoute edge/door", "InferenceGraph models/chain"],
        ),
        ("serving.kserve.io/v1beta1", "InferenceService", "models", "second", ["InferenceGraph models/chain"]),
        ("serving.kserve.io/v1beta1", "InferenceService", "edge", "first", []),
        ("example.com/v1", "InferenceService", "models", "second", []),
        ("v1", "Service", "edge", "web", ["HTTPRoute edge/door"]),
        ("v1", "Service", "default", "web", ["Ingress default/old"]),
        ("v1", "Service", "", "api", ["Ingress default/old"]),
        ("v1", "Service", "models", "first", []),
        ("v1", "Service", "models", "first-predictor", ["HTTPRoute edge/door"]),
        ("inference.networking.k8s.io/v1", "InferencePool", "edge", "pool", ["HTTPRoute edge/door"]),
    ],
)
def test_who_sends_requests_to_what_goes_is_told_of_a_deletion_alone(api_version, kind, namespace, name, said):
    around = index(GRAPH, ROUTE, OLD_DOOR, BROKEN)
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
    assert around.about(declared(manifest), gone=True).get("named_by", []) == said
    assert "named_by" not in around.about(declared(manifest))


def test_a_route_to_a_service_that_is_declared_itself_does_not_hold_the_model_of_that_name():
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: first-predictor, namespace: models}\n"
    model = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: first, namespace: models}"
    around = index(ROUTE, service)
    assert "named_by" not in around.about(declared(yaml.safe_load(model)), gone=True)
