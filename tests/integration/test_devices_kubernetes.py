"""Dynamic resource allocation on a real control plane: slices as a driver publishes them, and who gets which card.

The scheduler allocates; nodes are KWOK's and the ResourceSlices are written here, with the NVIDIA driver's attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from extender_world import ON_DEMAND_H100, ON_DEMAND_T4, ExtenderWorld

from customhouse.core.beside import beside
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.observability.estimate import PriceSettings, declared_cost
from customhouse.observability.prices import PriceBook
from customhouse.policy.surroundings import Surroundings
from kubernetes_plane import ControlPlane

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("kube-scheduler")]
DRA = "/apis/resource.k8s.io/v1"
T4, H100 = "Tesla T4", "NVIDIA H100 80GB HBM3"
PLAIN = {"cpu": "2", "memory": "8Gi"}


@pytest.fixture
def world(kubernetes: ControlPlane, find_part: Callable[[str], Path], tmp_path: Path) -> Iterator[ExtenderWorld]:
    made = ExtenderWorld(kubernetes, tmp_path, find_part("kube-scheduler"))
    yield made
    made.stop()


def device(name: str, product: str, profile: str = "") -> dict[str, Any]:
    said = {"type": "mig" if profile else "gpu", "productName": product} | ({"profile": profile} if profile else {})
    attributes = {key: {"string": value} for key, value in said.items()}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": "10Gi" if profile else "80Gi"}}}


def publish(plane: ControlPlane, driver: str, node: str, *devices: dict[str, Any], **more: Any) -> None:
    """A ResourceSlice of a node, as the driver's plugin writes it."""
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": driver, "nodeName": node, "pool": pool, "devices": list(devices), **more}
    name = f"{node}-{driver.partition('.')[0]}"
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": name}, "spec": spec}
    plane.call("POST", f"{DRA}/resourceslices", body)


def device_class(plane: ControlPlane, name: str, expression: str) -> dict[str, Any]:
    body = {
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": expression}}]},
    }
    body["apiVersion"] = "resource.k8s.io/v1"
    plane.call("POST", f"{DRA}/deviceclasses", body)
    return body


def template(plane: ControlPlane, room: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
    spec = {"spec": {"devices": {"requests": [{"name": "gpu", **request}]}}}
    metadata = {"name": name, "namespace": room}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": metadata, "spec": spec}
    made: dict[str, Any] = plane.call("POST", f"{DRA}/namespaces/{room}/resourceclaimtemplates", body)
    return made


def test_claims_are_allocated_priced_and_held_to_the_tier(world: ExtenderWorld) -> None:
    plane, driver = world.plane, f"{world.name}.example.com"
    cheap, dear = f"{world.name}-t4", f"{world.name}-h100"
    for name, sort in ((cheap, ON_DEMAND_T4), (dear, ON_DEMAND_H100)):
        world.add_node(name, *sort)
    publish(plane, driver, cheap, device("gpu-0", T4))
    publish(plane, driver, dear, *(device(f"gpu-{n}", H100) for n in range(2)))
    said = f'device.driver == "{driver}" && device.attributes["{driver}"].productName == '
    classes = [
        device_class(plane, f"{world.name}-{key}", f'{said}"{one}"') for key, one in (("t4", T4), ("h100", H100))
    ]
    room = plane.namespace("claiming")
    ways = {key: {"deviceClassName": f"{world.name}-{key}", "count": 1} for key in ("t4", "h100")}
    templates = {
        "t4": template(plane, room, "t4", {"exactly": ways["t4"]}),
        "h100": template(plane, room, "h100", {"exactly": ways["h100"]}),
        "either": template(plane, room, "either", {"firstAvailable": [
            {"name": "first", **ways["t4"]}, {"name": "second", **ways["h100"]}]}),
    }  # fmt: skip
    world.start_extender()
    world.start_scheduler()

    def ask(name: str, tier: str, claim: str) -> Declaration:
        claims = [{"name": "gpu", "resourceClaimTemplateName": claim}]
        made = world.pod(room, name, tier, PLAIN, resourceClaims=claims)
        manifest = {"apiVersion": "v1", "kind": "Pod", **made}
        return Declaration(ResourceRef.of(manifest), manifest, Location("live"))

    # 1. The scheduler's own allocation, through the extender's filter.
    pods = {"small": ask("small", "standard", "t4"), "big": ask("big", "critical-inference", "h100")}
    world.until(lambda: all(world.where(room).get(name) for name in pods))
    assert world.where(room) == {"small": cheap, "big": dear}
    # 2. A tier that may not use the card does not get it, though the scheduler has one to give.
    ask("denied", "standard", "h100")

    def why() -> str:
        status = plane.call("GET", f"/api/v1/namespaces/{room}/pods/denied").get("status", {})
        found = [item for item in status.get("conditions", ()) if item["type"] == "PodScheduled"]
        return str(found[0].get("message", "")) if found else ""

    world.until(lambda: "tier standard" in why())
    # 3. An alternative is taken when the first is gone.
    ask("second", "critical-inference", "either")
    world.until(lambda: world.where(room).get("second"))
    assert world.where(room)["second"] == dear
    assert not world.where(room)["denied"]
    # 4. What the live objects say is what prices and rules make of them.
    found = plane.call("GET", f"{DRA}/namespaces/{room}/resourceclaims")["items"]
    results = [
        item["status"]["allocation"]["devices"]["results"][0]
        for item in found
        if item.get("status", {}).get("allocation")
    ]
    assert sorted(item["pool"] for item in results) == sorted([cheap, dear, dear])
    live = [
        Declaration(ResourceRef.of(item), item, Location("live"))
        for one in (*classes, *templates.values())
        for item in ({"apiVersion": "resource.k8s.io/v1", **one},)
    ]
    book, settings = PriceBook.load(), PriceSettings("aws", "us-east-1")
    costs = {name: declared_cost(pod, book, settings, beside(live)) for name, pod in pods.items()}
    small, big = costs["small"], costs["big"]
    assert small is not None
    assert big is not None
    assert (small.unpriced, big.unpriced) == ((), ())
    assert 0 < small.monthly.pico < big.monthly.pico
    about = Surroundings(live).about(pods["big"])
    assert [(row["accelerator"], row["count"]) for row in about["claimed"]] == [("H100", 1)]


def test_parts_of_a_card_share_its_counters(world: ExtenderWorld) -> None:
    """Two halves of a card, of which the driver says that they take its memory: a third pod waits."""
    plane, driver = world.plane, f"{world.name}.example.com"
    node = f"{world.name}-mig"
    world.add_node(node, *ON_DEMAND_H100)
    counters = [{"name": "gpu-0", "counters": {"memory-slices": {"value": "8"}}}]
    parts = [
        {
            **device(f"gpu-0-mig-{number}", H100, "3g.40gb"),
            "consumesCounters": [{"counterSet": "gpu-0", "counters": {"memory-slices": {"value": "4"}}}],
        }
        for number in range(4)
    ]
    pool = {"name": node, "generation": 1, "resourceSliceCount": 2}
    for name, more in (("counters", {"sharedCounters": counters}), ("parts", {"devices": parts})):
        spec = {"driver": driver, "nodeName": node, "pool": pool, **more}
        body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": f"{node}-{name}"}}
        plane.call("POST", f"{DRA}/resourceslices", {**body, "spec": spec})
    expression = f'device.driver == "{driver}" && device.attributes["{driver}"].productName == "{H100}"'
    kind = device_class(plane, f"{world.name}-mig", expression)
    room = plane.namespace("parts")
    profile = [{"cel": {"expression": f'device.attributes["{driver}"].profile == "3g.40gb"'}}]
    half = template(plane, room, "half", {"exactly": {"deviceClassName": f"{world.name}-mig", "selectors": profile}})
    world.start_extender()
    world.start_scheduler()
    for number in range(3):
        claims = [{"name": "gpu", "resourceClaimTemplateName": "half"}]
        made = world.pod(room, f"pod-{number}", "critical-inference", PLAIN, resourceClaims=claims)
    world.until(lambda: sum(bool(where) for where in world.where(room).values()) == 2)
    waiting = next(name for name, where in world.where(room).items() if not where)

    def told() -> bool:
        status = plane.call("GET", f"/api/v1/namespaces/{room}/pods/{waiting}").get("status", {})
        return any(item.get("reason") == "Unschedulable" for item in status.get("conditions", ()))

    world.until(told)
    around = beside(
        Declaration(ResourceRef.of(item), item, Location("live"))
        for item in (kind, {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", **half})
    )
    pod = {"apiVersion": "v1", "kind": "Pod", **made}
    book = PriceBook.load()
    found = declared_cost(Declaration(ResourceRef.of(pod), pod, Location("live")), book, PriceSettings(), around)
    assert found is not None
    assert found.unpriced == ()
    assert any(row["item"] == "accelerator" and row["quantity"] == "0.5" for row in found.breakdown)
