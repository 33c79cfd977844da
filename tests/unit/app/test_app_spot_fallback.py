"""The declared fall-back: for how long a pod is held to spot capacity, by the webhook and the scheduler's extender."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from test_app_extender import NOW, RULES, World, node

from customhouse._kit.clock import to_rfc3339
from customhouse.app.admission_mutation import mutated
from customhouse.app.governance import Governance, read_configuration
from customhouse.core.errors import ConfigError
from customhouse.core.resource import Declaration, Location, ResourceRef

FALLING = """
tiers:
  namespaces: {"*": [night]}
  definitions:
    night:
      spot: required
      spotFallbackMinutes: 10
      scheduling: {spot: {nodeSelector: {customhouse.dev/capacity: spot}}}
"""
SPOT = {"karpenter.sh/capacity-type": "spot"}


def rules(text: str = FALLING) -> str:
    return RULES.partition("tiers:")[0] + text.lstrip()


class Falling(World):
    """An extender under those rules."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file.write_text(rules())
        self.extending.look()
        assert self.extending.problem == ""
        self.know(node("spot", "m5.large", spot=True), node("dear", "m5.large"))

    def open_to(self, **metadata: Any) -> list[str]:
        pod = {
            "metadata": {"namespace": "n", "labels": {"customhouse.dev/tier": "night"}, **metadata},
            "spec": {"containers": []},
        }
        answer = self.extending.filter(json.dumps({"Pod": pod, "NodeNames": ["spot", "dear"]}).encode())[0]
        return list(json.loads(answer)["NodeNames"])


def test_a_pod_is_held_to_spot_for_as_long_as_is_declared_and_no_longer(tmp_path: Path) -> None:
    world = Falling(tmp_path)
    made = to_rfc3339(NOW)
    assert world.open_to(creationTimestamp=made) == ["spot"]
    world.clock.advance(599)
    assert world.open_to(creationTimestamp=made) == ["spot"]
    world.clock.advance(1)
    assert world.open_to(creationTimestamp=made) == ["spot", "dear"]


@pytest.mark.parametrize("stamp", [None, "yesterday", 7, {}])
def test_a_pod_that_does_not_say_when_it_was_made_is_held(tmp_path: Path, stamp: Any) -> None:
    assert Falling(tmp_path).open_to(creationTimestamp=stamp) == ["spot"]


def changed(text: str, selector: dict[str, str]) -> dict[str, Any]:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "labels": {"customhouse.dev/tier": "night"}},
        "spec": {"nodeSelector": selector, "containers": [{"name": "a", "image": "x"}]},
    }
    configuration = read_configuration(rules(text).encode())
    governing = cast(Governance, type("Governing", (), {"configuration": configuration}))
    made = mutated(Declaration(ResourceRef.of(manifest), manifest, Location("test")), governing)
    return cast(dict[str, Any], (manifest if made is None else made)["spec"])


def test_the_webhook_prefers_spot_where_there_is_a_fall_back_and_requires_it_where_there_is_none() -> None:
    fell = changed(FALLING, {})
    (wish,) = fell["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"]["matchExpressions"][0]["key"] == "customhouse.dev/capacity"
    assert fell["nodeSelector"] == {}
    held = changed(FALLING.replace("      spotFallbackMinutes: 10\n", ""), {})
    assert held["nodeSelector"] == {"customhouse.dev/capacity": "spot"}
    assert "affinity" not in held


def test_a_pod_that_asks_for_spot_itself_keeps_that() -> None:
    assert changed(FALLING, dict(SPOT))["nodeSelector"] == SPOT


@pytest.mark.parametrize("value", ["0", "1441", "soon", "1.5"])
def test_a_fall_back_that_is_no_number_of_minutes_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="spotFallbackMinutes"):
        read_configuration(rules(FALLING.replace("Minutes: 10", f"Minutes: {value}")).encode())
