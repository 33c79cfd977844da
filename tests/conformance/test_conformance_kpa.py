"""Our arithmetic of Knative's autoscaler against Knative's own code (tests/golden/kpa: program and answers)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from customhouse.core.kpa import Decider, ScaleRule, Window

GOLDEN = Path(__file__).parent.parent / "golden" / "kpa" / "kpa.json"
RUNS: list[dict[str, Any]] = json.loads(GOLDEN.read_text())


def _rule(setting: dict[str, Any]) -> ScaleRule:
    return ScaleRule(
        target=setting["target"],
        stable_s=setting["stable_window"],
        panic_percent=setting["panic_percent"],
        panic_threshold=setting["panic_threshold"] / 100,
        up_rate=setting["up_rate"],
        down_rate=setting["down_rate"],
        scale_down_delay_s=setting["scale_down_delay"],
        activation=max(1, setting["activation"]),
    )


@pytest.mark.parametrize("name", sorted({run["name"] for run in RUNS}))
def test_every_tick_wants_what_knatives_own_autoscaler_wants(name: str) -> None:
    compared = 0
    for run in (run for run in RUNS if run["name"] == name):
        rule = _rule(run["setting"])
        # Go truncates the panic window to whole nanoseconds; none here has a part of a second but 0.6 s.
        stable, panic, decider = Window(rule.stable_s), Window(rule.panic_s), Decider(rule)
        ticks = iter(run["ticks"])
        for second, value in enumerate(run["series"]):
            if value is not None:
                stable.record(second, value)
                panic.record(second, value)
            if second % 2 == 1:
                ready, by_stable, by_panic, wanted = next(ticks)
                assert (stable.average(second), panic.average(second)) == (by_stable, by_panic)
                assert decider.decide(second, int(ready), by_stable, by_panic) == wanted, (run["setting"], second)
                compared += 1
    assert compared == 7 * 130
