"""Plain Deployments on a real API server: canaries by HTTPRoute and by replicas, blue-green; requests all the time."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rollout_shop import BLUE_GREEN, CANARY, DEPLOYMENTS, PATIENT, Shop, open_shop
from rollout_traffic import ROUTES, Traffic

from kubernetes_plane import ControlPlane

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("prometheus")]


@pytest.fixture
def shop(
    kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Shop, Traffic]]:
    routed = getattr(request, "param", "") == "routed"
    with open_shop(kubernetes, find_part("prometheus"), tmp_path, routed=routed) as found:
        yield found


@pytest.mark.parametrize("shop", ["routed"], indirect=True)
def test_a_canary_by_the_weights_of_a_route_and_what_happens_to_one_in_the_middle(shop: tuple[Shop, Traffic]) -> None:
    world, traffic = shop
    world.deploy(1, CANARY)
    world.start()
    world.until(lambda: world.settled(1), 120)
    traffic.begin(callers=1)

    world.deploy(2, CANARY)
    world.until(lambda: traffic.answered[2], 120)
    world.until(lambda: world.settled(2), 120)
    phases = [str(entry.body) for entry in world.entries("rollout")]
    assert any("canary-50" in text for text in phases), phases
    assert not traffic.failed

    traffic.slow = {3}
    bad = world.deploy(3, CANARY)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(2), 120)
    assert traffic.routes() == {"score": 1}
    message = world.message()
    assert f"This reverts commit {bad}" in message
    assert "p95" in message
    assert "of stable at the same time" in message
    assert "at 25 %" in message
    asked = traffic.answered[3]
    assert asked > 0
    world.until(lambda: world.overview().get("deployed") == world.head)
    assert traffic.answered[3] == asked, "what was found to be worse is not asked again"
    assert not traffic.failed

    shares = {"score": 75, "score-candidate": 25}
    at = f"{ROUTES.format(world.namespace)}/score"
    world.deploy(4, PATIENT)
    world.until(lambda: traffic.routes() == shares and traffic.answered[4], 120)

    # What the rollout has made of it is no difference that a plan would tell.
    plan = json.loads(world.cli("plan", "--repo", str(world.remote), "-o", "json").stdout)
    assert (plan["actions"], plan["blocked"]) == ([], None)

    # Somebody gives the new version everything.
    merge = "application/merge-patch+json"
    backends = [{"name": "score", "port": 80, "weight": 0}, {"name": "score-candidate", "port": 80, "weight": 100}]
    world.plane.call("PATCH", at, {"spec": {"rules": [{"backendRefs": backends}]}}, content=merge)
    world.until(lambda: any("HTTPRoute" in str(entry.body) for entry in world.entries("drift")), 120)
    world.until(lambda: traffic.routes() == shares, 120)

    # The process is killed, and the second Deployment taken away meanwhile: it is made again, and has its share again.
    world.end(signal.SIGKILL)
    traffic.pause()
    world.plane.call("DELETE", f"{DEPLOYMENTS.format(world.namespace)}/score-candidate?propagationPolicy=Background")
    world.plane.until(lambda: not world.deployment("score-candidate"))
    world.start()
    world.until(lambda: world.deployment("score-candidate").get("status", {}).get("availableReplicas"), 120)
    world.until(lambda: traffic.routes() == shares and traffic.ready("score-candidate"), 120)
    traffic.resume()

    # A Service that is not declared would send requests to both.
    services = f"/api/v1/namespaces/{world.namespace}/services"
    spec = {"selector": {"app": "score"}, "ports": [{"port": 80}]}
    world.plane.call("POST", services, {"metadata": {"name": "stranger"}, "spec": spec})
    world.problem("Service stranger", "not declared here", seconds=120)
    world.plane.call("DELETE", f"{services}/stranger")
    world.until(lambda: "stranger" not in str(world.overview().get("problem")), 120)

    # What never becomes ready goes back at its deadline, and is asked by nobody.
    hasty = {**CANARY, "customhouse.dev/rollout-analysis": "min-requests=1, min-labelled=0, max-duration=3s, drain=1s"}
    bad = world.deploy(5, hasty, fits=False)
    world.until(lambda: world.head != bad, 240)
    assert "within 3 s: the new release is not ready yet" in world.message()
    world.until(lambda: world.overview().get("deployed") == world.head, 120)
    assert not traffic.answered[5]
    assert not traffic.failed, traffic.failed[:5]
    assert world.end() == 0


def test_a_canary_by_replicas_and_then_blue_green(shop: tuple[Shop, Traffic]) -> None:
    world, traffic = shop
    world.deploy(1, CANARY)
    world.start()
    world.until(lambda: world.settled(1), 120)
    traffic.begin(callers=1)

    world.deploy(2, CANARY)
    world.until(lambda: traffic.answered[2], 120)
    world.until(lambda: world.settled(2), 120)
    phases = [str(entry.body) for entry in world.entries("rollout")]
    assert any("by replicas, 1 beside 4: 20 %" in text for text in phases), phases

    traffic.slow = {3}
    bad = world.deploy(3, CANARY)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(2), 120)
    message = world.message()
    assert f"This reverts commit {bad}" in message
    assert "by replicas, 1 beside 4: 20 %" in message
    assert traffic.answered[3]
    traffic.slow = set()

    world.deploy(4, BLUE_GREEN)
    world.until(lambda: traffic.answered[4], 120)
    world.until(lambda: world.settled(4), 120)

    traffic.slow = {5}
    bad = world.deploy(5, BLUE_GREEN)
    world.until(lambda: world.head != bad, 240)
    world.until(lambda: world.settled(4), 120)
    assert traffic.answered[5]
    assert "at 100 %" in world.message()
    assert not traffic.failed
    assert world.end() == 0
