"""What people of Argo CD and Flux have in their repositories, kept by `up` on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_up_kubernetes import ClusterWorld, settings_of

from kubernetes_plane import ControlPlane

pytestmark = pytest.mark.part("kubernetes")
SCRIPT = """\
hs = {}
if obj.metadata.name == "gate" and obj.data.text ~= "open" then
  hs.status = "Progressing"
  hs.message = "the gate is " .. obj.data.text
  return hs
end
hs.status = "Healthy"
return hs
"""


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "manage")
    yield made
    made.close()


def test_a_wave_waits_until_the_lua_of_the_repository_says_healthy(world: ClusterWorld) -> None:
    pytest.importorskip("lupa")
    after = settings_of("after", world.namespace, "x")
    after = after.replace("\ndata:", '\n  annotations: {customhouse.dev/wave: "1"}\ndata:')
    world.push(
        {
            "customhouse.yaml": world.rules + "health:\n  argocd: health\n",
            "health/ConfigMap/health.lua": SCRIPT,
            "gate.yaml": settings_of("gate", world.namespace, "shut"),
            "after.yaml": after,
        }
    )
    world.start()
    world.until(lambda: world.text("gate") == "shut", 120)
    world.until(lambda: [item["resource"]["name"] for item in world.status()["cluster"]["waiting"]] == ["after"], 120)
    assert world.text("after") == ""
    world.put("gate", "open")
    world.until(lambda: world.text("after") == "x", 120)
    assert world.end() == 0
