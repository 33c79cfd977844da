"""`customhouse up` on a real API server: from a push to applied, observed first, adopted by a commit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from up_world import UpWorld

from kubernetes_plane import ControlPlane, KubernetesError

pytestmark = pytest.mark.part("kubernetes")

RULES = """\
apiVersion: customhouse.dev/v1
target:
  kind: kubernetes
  kubeconfig: KUBECONFIG
  mode: MODE
policy:
  requireSignedCommits: false
optimiser:
  autonomy: observe
prices:
  maxAgeDays: 3650
"""
LABELS = "".join(f"    customhouse.dev/{name}: x\n" for name in ("owner", "team", "project", "cost-centre"))


def settings_of(name: str, namespace: str, text: str) -> str:
    metadata = f"  name: {name}\n  namespace: {namespace}\n  labels:\n{LABELS}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n{metadata}data:\n  text: {text}\n"


class ClusterWorld(UpWorld):
    """The same, with a cluster as the target."""

    def __init__(self, root: Path, plane: ControlPlane, mode: str, source: str = "") -> None:
        self.plane = plane
        rules = RULES.replace("KUBECONFIG", str(plane.kubeconfig)).replace("MODE", mode)
        if source:  # with a comment, since two repositories that begin with the same commit are one
            rules = rules.replace("  mode:", f"  source: {source} # of {root.name}\n  mode:")
        super().__init__(root, rules)
        self.rules = rules
        self.namespace = plane.namespace("up")

    def text(self, name: str) -> str:
        """The text of a ConfigMap; empty while there is none."""
        try:
            found = self.plane.call("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/{name}")
        except KubernetesError:
            return ""
        return str(found["data"]["text"])

    def put(self, name: str, text: str) -> str:
        return self.push({f"{name}.yaml": settings_of(name, self.namespace, text)}, f"{name} says {text}")

    def status(self) -> Any:
        return json.loads(self.cli("status", "-o", "json").stdout)


@pytest.fixture
def managed(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "manage")
    yield made
    made.close()


@pytest.fixture
def observed(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "observe")
    yield made
    made.close()


class Alertmanager:
    """Takes alerts as Alertmanager's API does, and keeps them."""

    def __init__(self) -> None:
        self.alerts: list[Any] = []
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                alerts.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    made = Alertmanager()
    yield made
    made.close()


def test_a_push_is_applied_an_edit_is_put_right_and_what_leaves_git_goes(
    managed: ClusterWorld, alertmanager: Alertmanager
) -> None:
    alerts = f"alerts: {{alertmanager: 'http://127.0.0.1:{alertmanager.server.server_port}'}}\n"
    managed.push({"customhouse.yaml": managed.rules + alerts}, "alerts")
    managed.put("one", "first")
    managed.put("two", "first")
    managed.start()
    managed.until(lambda: (managed.text("one"), managed.text("two")) == ("first", "first"))
    commit = managed.put("one", "second")
    managed.until(lambda: managed.text("one") == "second")
    managed.until(lambda: managed.overview()["deployed"] == commit)

    path = f"/api/v1/namespaces/{managed.namespace}/configmaps/one?fieldManager=kubectl-edit"
    managed.plane.call("PATCH", path, {"data": {"text": "mine"}}, content="application/merge-patch+json")
    managed.until(lambda: managed.entries("drift"))
    managed.until(lambda: managed.text("one") == "second")
    (drift,) = managed.entries("drift")
    assert "kubectl-edit" in drift.body["text"]
    managed.until(lambda: alertmanager.alerts)
    alert = alertmanager.alerts[0]
    assert alert["labels"]["name"] == "one"
    assert alert["annotations"]["description"] == "/data/text; by kubectl-edit; it was put right"

    managed.push({"two.yaml": None}, "two goes")
    managed.until(lambda: managed.text("two") == "")
    assert managed.text("one") == "second"
    assert managed.status()["problem"] == ""
    assert managed.end() == 0


def test_a_cluster_is_observed_until_the_adoption_is_merged(observed: ClusterWorld) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"text": "theirs"}}
    observed.plane.call("POST", f"/api/v1/namespaces/{observed.namespace}/configmaps", theirs)
    commit = observed.put("one", "ours")
    observed.put("two", "ours")
    observed.start()
    observed.until(lambda: observed.overview().get("deployed") == observed.head)
    plan = json.loads(observed.cli("plan", "--repo", str(observed.remote), "-o", "json").stdout)
    assert plan["mode"] == "observe"
    steps = {item["resource"]["name"]: item for item in plan["actions"]}
    assert {name: item["action"] for name, item in steps.items()} == {"one": "adopt", "two": "create"}
    text = next(field for field in steps["one"]["fields"] if field["pointer"] == "/data/text")
    assert (text["declared"], text["live"]) == ("ours", "theirs")
    assert (observed.text("one"), observed.text("two")) == ("theirs", "")

    done = observed.cli("adopt", "--repo", str(observed.remote))
    assert done.returncode == 0, done.stderr
    assert observed.text("one") == "theirs"
    git(observed.clone, "fetch", "-q", "origin", "customhouse/adopt")
    assert git(observed.clone, "diff", "--stat", "FETCH_HEAD~1", "FETCH_HEAD").count("customhouse.yaml") == 1
    git(observed.clone, "push", "-q", "origin", "FETCH_HEAD:main")
    observed.until(lambda: (observed.text("one"), observed.text("two")) == ("ours", "ours"))
    assert commit in git(observed.remote, "rev-list", "main")
    again = json.loads(observed.cli("plan", "--repo", str(observed.remote), "-o", "json").stdout)
    assert again["actions"] == []


def test_one_sync_brings_the_cluster_to_the_head_and_the_status_tells_what_drifts(managed: ClusterWorld) -> None:
    annotations = "  annotations: {customhouse.dev/drift: report}"
    report = settings_of("told", managed.namespace, "a").replace("\ndata:", f"\n{annotations}\ndata:")
    left = annotations.replace("drift: report", "ignore-differences: /data/more")
    left = settings_of("left", managed.namespace, "a").replace("\ndata:", f"\n{left}\ndata:")
    managed.push({"told.yaml": report, "left.yaml": left}, "told only, and left")
    head = managed.put("one", "first")
    done = managed.cli("sync", "--repo", str(managed.remote), "-o", "json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = json.loads(done.stdout)
    assert (said["revision"], said["settled"], said["problem"]) == (head, True, "")
    assert managed.text("one") == "first"

    path = f"/api/v1/namespaces/{managed.namespace}/configmaps/told?fieldManager=kubectl-edit"
    managed.plane.call("PATCH", path, {"data": {"text": "mine"}}, content="application/merge-patch+json")
    managed.start()
    managed.until(lambda: managed.overview().get("cluster", {}).get("drift"))
    shown = managed.cli("status")
    assert shown.returncode == 4
    assert "drift: ConfigMap" in shown.stdout
    assert "/data/text by kubectl-edit" in shown.stdout
    assert f"left to others: ConfigMap {managed.namespace}/left: /data/more" in shown.stdout
    assert managed.text("told") == "mine"


def test_a_mode_is_said_of_the_cluster_that_is_named_with_it(observed: ClusterWorld) -> None:
    observed.put("one", "ours")
    observed.start()
    observed.until(lambda: observed.overview().get("deployed") == observed.head)
    observed.until(lambda: observed.overview().get("cluster", {}).get("mode") == "observe")
    elsewhere = observed.root / "elsewhere"
    elsewhere.write_text(observed.plane.kubeconfig.read_text().replace(observed.plane.server, "https://127.0.0.1:1"))
    rules = observed.rules.replace(str(observed.plane.kubeconfig), str(elsewhere))
    managed = observed.push({"customhouse.yaml": rules.replace("observe\npolicy", "manage\npolicy")}, "manage another")
    observed.problem("127.0.0.1:1")
    observed.until(lambda: observed.overview().get("deployed") == managed)
    assert observed.text("one") == ""
    observed.push({"customhouse.yaml": observed.rules.replace("observe\npolicy", "manage\npolicy")}, "and back")
    observed.until(lambda: observed.text("one") == "ours")


def test_a_killed_control_plane_goes_on_and_a_refused_object_is_told(managed: ClusterWorld) -> None:
    managed.put("one", "first")
    managed.start()
    managed.until(lambda: managed.text("one") == "first")
    assert managed.process is not None
    managed.process.kill()
    managed.process.wait(30)
    wrong = settings_of("one", managed.namespace, "second") + "colour: blue\n"
    managed.push({"one.yaml": wrong}, "a field that no ConfigMap has")
    managed.start()
    managed.problem("one", "colour")
    managed.put("one", "third")
    managed.until(lambda: managed.text("one") == "third")
    managed.until(lambda: managed.overview().get("problem") == "")


def test_of_two_control_planes_one_writes_and_the_other_takes_over(managed: ClusterWorld) -> None:
    managed.put("one", "first")
    managed.start()
    managed.until(lambda: managed.text("one") == "first")
    first, home = managed.process, managed.state
    managed.state = managed.root / "second"
    managed.start()
    second = managed.process
    managed.until(lambda: managed.overview().get("cluster", {}).get("leader"))
    managed.until(lambda: managed.overview()["cluster"]["leads"] is False)
    managed.put("one", "second")
    managed.until(lambda: managed.text("one") == "second")
    managed.state, managed.process = home, first
    managed.until(lambda: managed.overview()["cluster"]["leads"] is True)
    assert managed.end() == 0
    managed.state, managed.process = managed.root / "second", second
    managed.put("one", "third")
    managed.until(lambda: managed.text("one") == "third")
    managed.until(lambda: managed.overview()["cluster"]["leads"] is True)


def test_a_repository_that_copied_the_name_of_another_inventory_does_nothing(
    tmp_path: Path, kubernetes: ControlPlane
) -> None:
    worlds = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made = ClusterWorld(tmp_path / name, kubernetes, "manage", "copied")
        made.push({f"{key}.yaml": settings_of(key, made.namespace, name) for key in "abcd"}, "four")
        worlds.append(made)
    first, second = worlds
    lease = "/apis/coordination.k8s.io/v1/namespaces/customhouse-system/leases/customhouse-copied"
    try:
        first.start()
        first.until(lambda: [first.text(key) for key in "abcd"] == ["first"] * 4)
        second.start()
        said = second.problem(
            "another repository", "target.source", "annotate --overwrite configmap inventory-copied-0"
        )
        root = git(first.clone, "rev-list", "--max-parents=0", "HEAD")
        assert f"main@{root}" in said
        assert first.end() == 0
        # A commit later it has had every occasion.
        later = second.put("e", "second")
        second.until(lambda: second.overview().get("deployed") == later)
        second.problem("another repository")
        assert [first.text(key) for key in "abcd"] == ["first"] * 4
        assert [second.text(key) for key in "abcde"] == [""] * 5
        assert kubernetes.call("GET", lease)["spec"]["holderIdentity"] == ""
        plan = second.cli("plan", "--repo", str(second.remote))
        assert (plan.returncode, "another repository" in plan.stderr) == (3, True), plan
    finally:
        first.close()
        second.close()
