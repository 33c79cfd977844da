"""`customhouse up` on a real API server while everything around it fails: what `status` says, and that nothing is lost.

One control plane follows one repository through all scenes: each breaks something, reads what is said about it, and
leaves a state in which everything is as declared. `test_up_killed_cluster.py` kills it.
"""

from __future__ import annotations

import base64
import json
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from test_up_kubernetes import ClusterWorld, settings_of

from customhouse.trust.certificates_serving import ensure_serving
from faulty_proxy import Fault, FaultyProxy, Seen, status_answer
from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")

ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class FaultyClusterWorld(ClusterWorld):
    """The same, with a proxy before the API that breaks what it is told to break."""

    def __init__(self, root: Path, plane: ControlPlane) -> None:
        self.proxy = FaultyProxy(plane)
        document = json.loads(plane.kubeconfig.read_text())
        document["clusters"][0]["cluster"] = {"server": self.proxy.address}
        self.kubeconfig = root / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(document))
        super().__init__(root, plane, "manage")

    def texts(self) -> dict[str, str]:
        """What is in the namespace, but for what the cluster puts into each."""
        items = self.plane.call("GET", f"/api/v1/namespaces/{self.namespace}/configmaps")["items"]
        found = {item["metadata"]["name"]: str(item["data"].get("text")) for item in items}
        found.pop("kube-root-ca.crt", None)
        return found

    def well(self, commit: str) -> None:
        """Wait until a commit is deployed and nothing is told."""
        self.until(lambda: self.overview().get("deployed") == commit and not self.overview()["problem"], 120)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory, kubernetes: ControlPlane) -> Iterator[FaultyClusterWorld]:
    root = tmp_path_factory.mktemp("faults")
    made = FaultyClusterWorld(root, kubernetes)
    made.push({"customhouse.yaml": made.rules.replace(str(kubernetes.kubeconfig), str(made.kubeconfig))}, "by proxy")
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stranger"}, "data": {"text": "theirs"}}
    kubernetes.call("POST", f"/api/v1/namespaces/{made.namespace}/configmaps", stranger)
    made.start()
    yield made
    made.close()
    made.proxy.stop()


@pytest.fixture
def world(faulty: FaultyClusterWorld) -> FaultyClusterWorld:
    """With two objects as declared, and nothing to tell."""
    files = {f"{name}.yaml": settings_of(name, faulty.namespace, "first") for name in ("one", "two")}
    faulty.well(faulty.push({**files}, "one and two"))
    faulty.until(lambda: faulty.texts() == {"stranger": "theirs", "one": "first", "two": "first"}, 120)
    return faulty


def patches(seen: Seen) -> bool:
    return seen.method == "PATCH" and "/configmaps/" in seen.target and "customhouse-system" not in seen.target


def test_an_api_that_fails_in_every_way_during_a_push_is_outlasted(world: FaultyClusterWorld) -> None:
    for fault in (
        Fault(patches, times=2, answer=status_answer(429, "TooManyRequests", {"Retry-After": "1"})),
        Fault(patches, times=2, answer=status_answer(503, "ServiceUnavailable")),
        Fault(patches, times=2, answer=status_answer(409, "Conflict")),
        Fault(patches, reset="after"),
        Fault(patches, reset="before"),
        Fault(lambda seen: seen.method == "DELETE", reset="after"),
        Fault(lambda seen: seen.watches, times=3, answer=status_answer(410, "Expired")),
        Fault(lambda seen: seen.watches, drip=7),
    ):
        world.proxy.fault(fault)
    more = {f"m{number}.yaml": settings_of(f"m{number}", world.namespace, "more") for number in range(6)}
    world.push(more, "six more")
    commit = world.push({"one.yaml": settings_of("one", world.namespace, "second"), "m5.yaml": None}, "and one less")
    world.well(commit)
    wanted = {"stranger": "theirs", "one": "second", "two": "first"} | {f"m{number}": "more" for number in range(5)}
    world.until(lambda: world.texts() == wanted)
    world.well(world.push(dict.fromkeys([f"m{number}.yaml" for number in range(3)]), "three go"))
    world.well(world.push(dict.fromkeys(["m3.yaml", "m4.yaml"]), "and two"))
    world.until(lambda: world.texts() == {"stranger": "theirs", "one": "second", "two": "first"})


def test_an_api_that_is_gone_is_told_and_what_was_pushed_and_edited_meanwhile_is_put_right(
    world: FaultyClusterWorld,
) -> None:
    world.proxy.down()
    try:
        commit = world.put("one", "while it was gone")
        path = f"/api/v1/namespaces/{world.namespace}/configmaps/two?fieldManager=kubectl-edit"
        world.plane.call("PATCH", path, {"data": {"text": "mine"}}, content="application/merge-patch+json")
        said = world.problem(f"127.0.0.1:{world.proxy.port}", seconds=120)
        shown = world.cli("status")
        assert shown.returncode == 4, (said, shown)
        assert f"127.0.0.1:{world.proxy.port}" in shown.stdout
    finally:
        world.proxy.up()
    world.until(lambda: world.texts() == {"stranger": "theirs", "one": "while it was gone", "two": "first"}, 120)
    world.well(commit)


def test_while_an_api_is_silent_git_is_followed_judged_and_recorded(world: FaultyClusterWorld) -> None:
    speaks = threading.Event()
    silent = world.proxy.fault(Fault(lambda seen: not seen.watches, 1_000_000, hang=True, over=speaks))
    try:
        first = world.put("one", "while it was silent")
        world.until(lambda: silent.hit and world.overview().get("deployed") == first)
        for number in range(3):  # each of them waited for twenty seconds of silence before
            commit = world.put("one", f"newer {number}")
            world.until(lambda commit=commit: world.overview().get("deployed") == commit)
        decided = str([entry.body for entry in world.entries("decision")])
        assert first in decided
        assert commit in decided
        assert world.texts()["one"] == "first"
    finally:
        speaks.set()
    world.until(lambda: world.texts()["one"] == "newer 2", 120)
    world.well(commit)


class Denying:
    """An admission webhook that denies what is called so, over TLS."""

    def __init__(self, folder: Path) -> None:
        files, _ = ensure_serving(folder, ["127.0.0.1"], datetime.now(UTC))

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
                text = ((asked["object"] or asked["oldObject"]).get("data") or {}).get("text")
                answer = {"uid": asked["uid"], "allowed": text != "bad", "status": {"message": "no bad text here"}}
                body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.authority = files.authorities.read_bytes()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def denying(world: FaultyClusterWorld) -> Iterator[Denying]:
    """A webhook for the world's namespace, asked for by the API server when it is entered."""
    webhook = Denying(world.root / "webhook")
    hook = {
        "name": "text.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{webhook.server.server_port}/",
            "caBundle": base64.b64encode(webhook.authority).decode(),
        },
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Fail",
    }
    name = {"name": world.namespace}
    configuration = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    world.plane.call("POST", ADMISSION, {**configuration, "metadata": name, "webhooks": [hook]})
    try:
        world.plane.until(lambda: refused(world, "bad") and not refused(world, "good"))
        yield webhook
    finally:
        webhook.close()
        world.plane.call("DELETE", f"{ADMISSION}/{world.namespace}")
        world.plane.until(lambda: not refused(world, "bad"))


def refused(world: FaultyClusterWorld, text: str) -> bool:
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": {"text": text}}
    try:
        world.plane.apply(f"/api/v1/namespaces/{world.namespace}/configmaps/probe", probe, dry_run=True)
    except KubernetesError as error:
        return "text.example.com" in str(error)
    return False


def test_a_webhook_that_denies_and_one_that_is_gone_are_told_by_name_and_hold_up_deletions(
    world: FaultyClusterWorld,
) -> None:
    with denying(world) as webhook:
        world.push({"one.yaml": settings_of("one", world.namespace, "bad"), "two.yaml": None}, "bad, and two goes")
        world.problem("text.example.com", "no bad text here")
        webhook.close()
        world.problem("text.example.com", "refused", seconds=120)
        assert set(world.texts()) == {"stranger", "one", "two"}
        commit = world.put("one", "good")
        world.until(lambda: world.overview()["head"] == commit)
        assert "two" in world.texts()
    world.until(lambda: world.texts() == {"stranger": "theirs", "one": "good"}, 120)
    world.well(commit)


def test_a_quota_and_a_kind_that_is_not_there_hold_up_their_objects_alone(world: FaultyClusterWorld) -> None:
    group = f"{world.namespace}.example.com"
    quota: dict[str, Any] = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    place = f"/api/v1/namespaces/{world.namespace}/resourcequotas/few"
    world.plane.apply(place, {**quota, "spec": {"hard": {"configmaps": str(len(world.texts()) + 1)}}})
    world.plane.until(lambda: world.plane.call("GET", place).get("status", {}).get("used"))
    labelled = settings_of("w", world.namespace, "x").partition("metadata:")[2].partition("data:")[0]
    widget = f"apiVersion: {group}/v1\nkind: Widget\nmetadata:{labelled}spec: {{size: 1}}\n"
    files = {
        "one.yaml": settings_of("one", world.namespace, "second"),
        "three.yaml": settings_of("three", world.namespace, "first"),
        "widget.yaml": widget,
    }
    commit = world.push({**files}, "one too many, and a widget")
    said = world.problem("(few)", "Widget")
    assert world.texts() == {"stranger": "theirs", "one": "second", "two": "first"}, said

    world.plane.apply(place, {**quota, "spec": {"hard": {"configmaps": "50"}}})
    world.until(lambda: "three" in world.texts(), 120)
    define(world, group)
    path = f"/apis/{group}/v1/namespaces/{world.namespace}/widgets/w"
    world.plane.until(lambda: world.plane.call("GET", path)["spec"] == {"size": 1}, 120)
    world.well(commit)
    world.well(world.push({"three.yaml": None, "widget.yaml": None}, "both go"))
    world.until(lambda: "three" not in world.texts())
    world.plane.call("DELETE", f"{DEFINITIONS}/widgets.{group}")


def define(world: FaultyClusterWorld, group: str) -> None:
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    name = f"widgets.{group}"
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    world.plane.apply(f"{DEFINITIONS}/{name}", {**kind, "metadata": {"name": name}, "spec": spec})


def test_an_etcd_that_is_full_takes_nothing_and_nothing_is_deleted_meanwhile(world: FaultyClusterWorld) -> None:
    member = ask_etcd(world.plane, "status", {})["header"]["member_id"]
    alarm = {"memberID": member, "alarm": "NOSPACE"}
    ask_etcd(world.plane, "alarm", {"action": "ACTIVATE", **alarm})
    try:
        files = {"one.yaml": settings_of("one", world.namespace, "second"), "two.yaml": None}
        commit = world.push({**files, "new.yaml": settings_of("new", world.namespace, "first")}, "no room for it")
        world.problem("database space exceeded", seconds=120)
        assert world.texts() == {"stranger": "theirs", "one": "first", "two": "first"}
    finally:
        ask_etcd(world.plane, "alarm", {"action": "DEACTIVATE", **alarm})
    world.until(lambda: world.texts() == {"stranger": "theirs", "one": "second", "new": "first"}, 120)
    world.well(commit)
    world.well(world.push({"new.yaml": None}, "as before"))


def ask_etcd(plane: ControlPlane, what: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{plane.etcd}/v3/maintenance/{what}", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_a_render_that_fails_or_comes_out_empty_leaves_what_is_there(world: FaultyClusterWorld) -> None:
    world.push({"one.yaml": "apiVersion: v1\nkind: [\n"}, "broken")
    world.problem("one.yaml")
    assert world.texts() == {"stranger": "theirs", "one": "first", "two": "first"}
    world.push({"one.yaml": None, "two.yaml": None}, "nothing is left")
    world.problem("nothing is deleted")
    assert world.texts() == {"stranger": "theirs", "one": "first", "two": "first"}
    files = {f"{name}.yaml": settings_of(name, world.namespace, "second") for name in ("one", "two")}
    world.well(world.push({**files}, "back"))
    world.until(lambda: world.texts() == {"stranger": "theirs", "one": "second", "two": "second"})


def test_while_git_is_gone_or_rewritten_the_last_good_state_is_kept_up(world: FaultyClusterWorld) -> None:
    good, away = world.head, world.root / "away.git"
    world.remote.rename(away)
    world.problem("git fetch")
    world.plane.call("DELETE", f"/api/v1/namespaces/{world.namespace}/configmaps/one")
    world.until(lambda: world.text("one") == "first")
    away.rename(world.remote)
    world.until(lambda: not world.overview()["problem"], 120)

    git(world.clone, "checkout", "-q", "-B", "main", "HEAD~1")
    world.clone.joinpath("one.yaml").write_text(settings_of("one", world.namespace, "another history"))
    git(world.clone, "add", "-A")
    git(world.clone, "commit", "-q", "-m", "Another history")
    git(world.clone, "push", "-q", "--force", "origin", "HEAD:main")
    world.problem("denied", "descend")
    world.plane.call("DELETE", f"/api/v1/namespaces/{world.namespace}/configmaps/two")
    world.until(lambda: world.texts() == {"stranger": "theirs", "one": "first", "two": "first"})
    git(world.clone, "push", "-q", "--force", "origin", f"{good}:main")
    world.until(lambda: world.overview()["head"] == good and not world.overview()["problem"], 120)
    world.well(world.put("one", "after all"))
    world.until(lambda: world.text("one") == "after all")
