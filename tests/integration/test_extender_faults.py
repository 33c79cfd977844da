"""What goes wrong beside a real kube-scheduler: it is told, no tier is broken by it, and scheduling goes on."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from deploy_rendering import account_file
from extender_world import CONFIGURATION, ON_DEMAND_CPU, ON_DEMAND_T4, SPOT_CPU, SPOT_T4, ExtenderWorld

from customhouse.trust.certificates_serving import ServingFiles, ensure_serving

if TYPE_CHECKING:
    from kubernetes_plane import ControlPlane

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("kube-scheduler")]
GPU = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"}
PLAIN = {"cpu": "100m", "memory": "64Mi"}


class Stranger:
    """Something that answers in the extender's place: nonsense of several kinds in turn, and then nothing at all."""

    def __init__(self) -> None:
        self.asked = 0
        self.silent, self.freed = threading.Event(), threading.Event()
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stranger.asked += 1
                if stranger.silent.is_set():
                    stranger.freed.wait(600)
                    return
                body = stranger.nonsense[stranger.asked % len(stranger.nonsense)]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

        self.nonsense = (b"<html>", b'{"NodeNames": ["no-such-node"]}', b'{"Error": "no"}', b"[[[[", b"")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.freed.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def world(kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path) -> Iterator[ExtenderWorld]:
    made = ExtenderWorld(kubernetes, tmp_path, find_part("kube-scheduler"))
    yield made
    made.stop()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    made = Stranger()
    yield made
    made.close()


def expired(world: ExtenderWorld) -> ServingFiles:
    """A certificate that ended last year."""
    return ensure_serving(world.folder / "expired", ("127.0.0.1",), datetime.now(UTC) - timedelta(days=400))[0]


def blind_account(world: ExtenderWorld) -> Path:
    """A kubeconfig of an account that may read nothing."""
    name = world.name
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "customhouse-system"}}
    world.plane.apply("/api/v1/namespaces/customhouse-system", home)
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    world.plane.apply(f"/api/v1/namespaces/customhouse-system/serviceaccounts/{name}", body)
    return account_file(world.plane, name, world.folder / "blind")


def asked(world: ExtenderWorld, url: str) -> dict[str, int]:
    """How often an extender has answered with 200, by path."""
    kept, world.url = world.url, url
    try:
        text = world.get("/metrics")[1]
    finally:
        world.url = kept
    lines = [line for line in text.splitlines() if "_answers_total{" in line and 'status="200"' in line]
    return {line.split('"')[1]: int(line.rpartition(" ")[2]) for line in lines}


def left(world: ExtenderWorld, url: str, *nodes: str) -> list[str]:
    """Which of some nodes an extender leaves a pod of `batch`."""
    pod = {"metadata": {"namespace": "x", "labels": {"customhouse.dev/tier": "batch"}}, "spec": {"containers": []}}
    kept, world.url = world.url, url
    try:
        status, text = world.ask("/filter", json.dumps({"Pod": pod, "NodeNames": nodes}).encode())
    finally:
        world.url = kept
    assert status == 200, text
    found: list[str] = json.loads(text)["NodeNames"]
    return found


def readiness(url: str) -> str:
    """What one says whose certificate nobody should trust any more."""
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"{url}/readyz", context=context, timeout=60) as answer:
            text: str = answer.read().decode()
    except urllib.error.HTTPError as error:
        text = error.read().decode()
    return text


def test_scheduling_goes_on_beside_extenders_that_are_old_blind_expired_or_strange(
    world: ExtenderWorld, stranger: Stranger
) -> None:
    names = {}
    for name, sort in (("own-1", ON_DEMAND_T4), ("own-2", ON_DEMAND_T4), ("spot", SPOT_T4), ("gone", SPOT_T4)):
        names[name] = f"{world.name}-{name}"
        world.add_node(names[name], *sort)
    names["lies"] = f"{world.name}-lies"  # a g4dn.xlarge has one
    world.add_node(names["lies"], ON_DEMAND_T4[0], ON_DEMAND_T4[1], 8)
    for name, sort in (("cpu", ON_DEMAND_CPU), ("cpu-spot", SPOT_CPU)):
        names[name] = f"{world.name}-{name}"
        world.add_node(names[name], *sort)
    # Five at once, as behind one Service or at five addresses: ours; one whose prices are old; one that may read
    # nothing and whose certificate has ended; and a stranger.
    world.start_extender()
    good = world.url
    old = world.folder / "old.yaml"
    old.write_text(CONFIGURATION.replace("us-east-1\n", "us-east-1\n  maxAgeDays: 1\n", 1))
    world.start_extender("--config", str(old), log="old.log")
    stale = world.url
    assert "days old" in world.get("/readyz")[1]
    assert "customhouse_extender_prices_current 0" in world.get("/metrics")[1]
    files = expired(world)
    own = ["--cert", str(files.certificate), "--key", str(files.key), "--ca", str(files.authorities)]
    own += ["--client-ca", str(files.authorities), "--kubeconfig", str(blind_account(world))]
    world.start_extender(*own, log="blind.log", ready=False)
    blind = world.url
    world.until(lambda: "forbidden" in readiness(blind).lower())
    world.until(lambda: "certificate-ended" in (world.folder / "blind.log").read_text())
    world.url = good
    strange = {"urlPrefix": stranger.url, "enableHTTPS": False, "tlsConfig": None, "httpTimeout": "1s"}
    world.start_scheduler(others=[{"urlPrefix": stale}, {"urlPrefix": blind}, strange])
    room = world.plane.namespace("faults")
    # 1. Both that can answer are asked, and nobody lands where the tier forbids it. Who lies draws nobody.
    for number in range(2):
        world.pod(room, f"critical-{number}", "critical-inference", GPU)
        world.placed(room)
    world.pod(room, "batch", "batch", PLAIN)
    where = world.placed(room)
    assert {where["critical-0"], where["critical-1"]} == {names["own-1"], names["own-2"]}
    assert where["batch"] == names["cpu-spot"]
    assert asked(world, good)["/filter"] >= 3
    assert asked(world, stale)["/filter"] >= 3
    assert stranger.asked >= 3
    assert "customhouse_extender_doubted 1" in world.get("/metrics")[1]
    lie = f"{names['lies']} says 8 nvidia.com/gpu; a g4dn.xlarge has 1"
    told = world.folder / "state" / "extender" / "status.json"  # all three write it, of what they see
    world.until(lambda: lie in json.loads(told.read_text())["doubted"])
    # 2. A node goes, and another one changes its labels: what is decided next knows it.
    world.plane.call("DELETE", f"/api/v1/nodes/{names['gone']}")
    patch = {"metadata": {"labels": {"karpenter.sh/capacity-type": "on-demand"}}}
    world.plane.call("PATCH", f"/api/v1/nodes/{names['spot']}", patch, content="application/merge-patch+json")
    for url in (good, stale):
        world.until(lambda url=url: left(world, url, names["spot"], names["gone"]) == [])
    world.pod(room, "late", "batch", GPU)  # the one spot node with a GPU is gone, the other is none any more
    world.until(lambda: "tier batch runs on spot capacity alone" in world.said(room, "late"))
    # 3. It answers nothing at all: one second each, and on.
    stranger.silent.set()
    world.pod(room, "serve", "critical-inference", GPU)
    where = world.plane.until(lambda: (found := world.where(room)).get("serve") and found, 300)
    assert where["serve"] == names["spot"], "it is on-demand by now, and honest"
    world.plane.call("DELETE", f"/api/v1/namespaces/{room}/pods?gracePeriodSeconds=0")  # one would wait for ever
