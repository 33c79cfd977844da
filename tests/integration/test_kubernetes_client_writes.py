"""What a real API server refuses, and what each refusal comes to."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import Apply, Delete, FieldConflict, Refusal, Written, managers_of
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")


@dataclass
class World:
    """A namespace and a client as administrator."""

    plane: ControlPlane
    cluster: KubernetesCluster
    namespace: str

    def object(self, kind: str, name: str, api: str = "v1", **more: Any) -> dict[str, Any]:
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": self.namespace}, **more}

    def map(self, name: str, value: str = "1") -> dict[str, Any]:
        return self.object("ConfigMap", name, data={"value": value})

    def pod(self, name: str, **spec: Any) -> dict[str, Any]:
        return self.object("Pod", name, spec={"containers": [{"name": "a", "image": "example/a"}], **spec})

    def write(self, *changes: Apply | Delete) -> Sequence[Written]:
        return self.cluster.write(changes)

    def one(self, manifest: dict[str, Any], **how: Any) -> Written:
        (done,) = self.cluster.write([Apply(manifest, **how)])
        return done


@pytest.fixture
def world(kubernetes: ControlPlane) -> Iterator[World]:
    with KubernetesCluster(read_access([kubernetes.kubeconfig]), {}, SystemClock()) as cluster:
        yield World(kubernetes, cluster, kubernetes.namespace("writes"))


def test_a_dry_run_gives_the_object_as_it_would_be_and_makes_nothing(world: World) -> None:
    service = world.object("Service", "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    done = world.one(service, dry_run=True)
    assert done.ok
    assert done.manifest is not None
    assert done.manifest["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert world.cluster.get([ResourceRef.of(service)]) == [None]


def test_who_wrote_which_field_and_when_is_told_of_an_object_that_is_got(world: World) -> None:
    world.one(world.map("a"))
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/a"
    world.plane.apply(path, {**world.map("a"), "data": {"other": "2"}}, manager="helm")
    (found,) = world.cluster.get([ResourceRef.of(world.map("a"))])
    assert found is not None
    ours, theirs = sorted(managers_of(found), key=lambda item: item.name)
    assert (ours.name, ours.operation, ours.fields) == ("customhouse", "Apply", {"f:data": {"f:value": {}}})
    assert (theirs.name, theirs.fields) == ("helm", {"f:data": {"f:other": {}}})
    assert theirs.at is not None
    with_managers = world.one(world.map("a"), managers=True).manifest
    assert with_managers is not None
    assert len(managers_of(with_managers)) == 2


def test_fields_of_another_manager_are_named_and_taken_only_by_force(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/a"
    world.plane.apply(path, world.map("a", "theirs"), manager="helm")
    done = world.one(world.map("a", "ours"))
    assert (done.ok, done.refusal) == (False, Refusal.CONFLICT)
    assert done.conflicts == (FieldConflict(".data.value", "helm"),)
    assert world.one(world.map("a", "ours"), force=True).ok


def test_a_field_or_a_value_that_the_kind_does_not_have_is_refused_with_its_place(world: World) -> None:
    unknown = {**world.map("a"), "date": {"value": "1"}}
    mistyped = world.object("Service", "web", spec={"ports": [{"port": "80"}]})
    wrong = world.object("Service", "web", spec={"ports": [{"port": 99999}]})
    places = (".date", ".spec.ports", "spec.ports[0].port")
    for manifest, place in zip((unknown, mistyped, wrong), places, strict=True):
        done = world.one(manifest)
        assert (done.ok, done.refusal, done.unknown) == (False, Refusal.INVALID, False)
        assert place in done.problem


def test_what_the_api_warns_of_is_told(world: World) -> None:
    secret = {"name": "s", "emptyDir": {}}
    claim = world.pod("p", volumes=[{**secret}, {"name": "t", "glusterfs": {"endpoints": "a", "path": "b"}}])
    done = world.one(claim, dry_run=True)
    assert done.ok, done.problem
    assert any("glusterfs" in warning for warning in done.warnings)


def test_an_object_that_is_too_large_is_said_to_be_that(world: World) -> None:
    for size in (2_000_000, 4_000_000):  # more than etcd takes, more than the API server reads
        done = world.one(world.pod("big", containers=[{"name": "a", "image": "b", "args": ["x" * size]}]))
        assert (done.ok, done.refusal) == (False, Refusal.TOO_LARGE)


def test_a_namespace_that_is_missing_or_leaving_is_told_apart(world: World) -> None:
    nowhere = world.map("a")
    nowhere["metadata"]["namespace"] = "nowhere-to-be-found"
    assert world.one(nowhere).refusal is Refusal.NO_NAMESPACE
    world.one({**world.map("held"), "metadata": {**world.map("held")["metadata"], "finalizers": ["example.com/hold"]}})
    world.plane.call("DELETE", f"/api/v1/namespaces/{world.namespace}")
    # What the API server admits by, it learns a moment later: this and the next tests ask until it knows.
    world.plane.until(lambda: world.one(world.map("late"), dry_run=True).refusal is Refusal.LEAVING)
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/held"
    world.plane.call("PATCH", path, {"metadata": {"finalizers": None}}, content="application/merge-patch+json")


def test_a_quota_is_told_with_its_name(world: World) -> None:
    quota = world.object("ResourceQuota", "few", spec={"hard": {"count/services": "0"}})
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas/few"
    assert world.one(quota).ok
    world.plane.until(lambda: "count/services" in world.plane.call("GET", path).get("status", {}).get("hard", {}))
    service = world.object("Service", "web", spec={"ports": [{"port": 80}]})
    world.plane.until(lambda: not world.one(service, dry_run=True).ok)
    done = world.one(service, dry_run=True)
    assert (done.refusal, done.denied_by) == (Refusal.QUOTA, "few")


def test_a_policy_of_the_api_server_that_says_no_is_named(world: World) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    path = f"/api/v1/namespaces/{world.namespace}"
    world.plane.call("PATCH", path, {"metadata": {"labels": labels}}, content="application/merge-patch+json")
    world.plane.until(lambda: not world.one(world.pod("p"), dry_run=True).ok)
    done = world.one(world.pod("p"), dry_run=True)
    assert (done.ok, done.refusal, done.denied_by) == (False, Refusal.DENIED, "PodSecurity")


def test_an_account_without_rights_is_told_apart_from_a_denial(world: World, tmp_path: Path) -> None:
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    accounts = f"/api/v1/namespaces/{world.namespace}/serviceaccounts"
    world.plane.call("POST", accounts, body)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = world.plane.call("POST", f"{accounts}/nobody/token", request)["status"]["token"]
    access = replace(read_access([world.plane.kubeconfig]), token=token)
    with KubernetesCluster(access, {}, SystemClock()) as nobody:
        (done,) = nobody.write([Apply(world.map("a"))])
    assert (done.ok, done.refusal, done.denied_by) == (False, Refusal.FORBIDDEN, "")


class Webhook:
    """An admission webhook that denies everything, over TLS with a certificate of its own."""

    def __init__(self, folder: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = {"code": 403, "message": "models need an owner"}
                review["response"] = {"uid": review["request"]["uid"], "allowed": False, "status": status}
                body = json.dumps(review).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.certificate, key = _certificate()
        (folder / "pair.pem").write_bytes(key + self.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pair.pem")
        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def configuration(self, name: str, namespace: str) -> dict[str, Any]:
        authority = base64.b64encode(self.certificate).decode()
        client = {"url": f"https://127.0.0.1:{self.server.server_port}/", "caBundle": authority}
        webhook = {
            "name": "owners.example.com",
            "clientConfig": client,
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 10,
        }
        api = "admissionregistration.k8s.io/v1"
        kind = "ValidatingWebhookConfiguration"
        return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "webhooks": [webhook]}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _certificate() -> tuple[bytes, bytes]:
    import ipaddress
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "webhook")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def test_a_webhook_that_says_no_is_named_and_one_that_is_gone_is_not_a_denial(world: World, tmp_path: Path) -> None:
    world.one(world.map("there"))
    webhook = Webhook(tmp_path)
    configuration = webhook.configuration(f"owners-{world.namespace}", world.namespace)
    world.one(configuration)
    try:
        world.plane.until(lambda: world.one(world.map("a"), dry_run=True).refusal is Refusal.DENIED)
        denied = world.one(world.map("a"))
        (kept,) = world.write(Delete(ResourceRef.of(world.map("there"))))
        for done in (denied, kept):
            assert (done.ok, done.refusal, done.denied_by) == (False, Refusal.DENIED, "owners.example.com")
            assert "models need an owner" in done.problem
        webhook.stop()
        gone = world.one(world.map("a"))
        assert (gone.ok, gone.refusal, gone.denied_by) == (False, Refusal.BROKEN, "")
    finally:
        world.write(Delete(ResourceRef.of(configuration, "")))


def test_a_deletion_takes_only_the_object_that_was_named_and_tells_of_one_that_stays(world: World) -> None:
    first = world.one(world.map("a")).manifest
    assert first is not None
    ref = ResourceRef.of(first)
    (other,) = world.write(Delete(ref, uid="00000000-0000-0000-0000-000000000000"))
    assert (other.ok, other.refusal) == (False, Refusal.CONFLICT)
    (done, again) = world.write(Delete(ref, uid=first["metadata"]["uid"]), Delete(ref))
    assert (done.ok, done.manifest, again.ok) == (True, None, True)
    held = world.map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    assert world.one(held).ok
    (waits,) = world.write(Delete(ResourceRef.of(held)))
    assert waits.ok
    assert waits.manifest is not None
    assert waits.manifest["metadata"]["deletionTimestamp"]
    assert waits.manifest["metadata"]["finalizers"] == ["example.com/hold"]
    path = f"/api/v1/namespaces/{world.namespace}/configmaps/held"
    world.plane.call("PATCH", path, {"metadata": {"finalizers": None}}, content="application/merge-patch+json")


def test_what_is_no_object_is_refused_without_asking(world: World) -> None:
    bad: list[Any] = [{}, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}, world.map(""), world.map("..")]
    for done in world.write(*(Apply(item) for item in bad)):
        assert (done.ok, done.refusal) == (False, Refusal.INVALID)
