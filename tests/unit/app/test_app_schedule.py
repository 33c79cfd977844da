"""`scheduling` of customhouse.yaml, and what the extender tells people of its work."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app.extender_status import read_extender_status, write_extender_status
from customhouse.app.extender_tally import Tally
from customhouse.app.governance import read_configuration
from customhouse.app.schedule_spec import PoolSpec
from customhouse.core.errors import ConfigError, StateError
from customhouse.execution.extender import Filtered

HEAD = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"


def test_what_is_said_of_scheduling_is_read_and_shown_as_it_was_written() -> None:
    assert read_configuration(HEAD.encode()).schedule.to_json() == {"nodeAffinity": False}
    text = 'scheduling: {extender: {listen: "[::1]:8444"}, pools: {path: /infra/pools/}, nodeAffinity: true}\n'
    spec = read_configuration((HEAD + text).encode()).schedule
    assert spec.address == ("::1", 8444)
    assert spec.pools == PoolSpec("infra/pools", 300)
    assert spec.to_json() == {
        "nodeAffinity": True,
        "extender": {"listen": "[::1]:8444"},
        "pools": {"path": "infra/pools", "afterSeconds": 300},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scheduling: {extender: {listen: everywhere}}", r"customhouse.yaml:3.*listen is 'everywhere'"),
        ('scheduling: {extender: {listen: "localhost:99999"}}', "names no port"),
        ("scheduling: {extender: {}}", "listen is missing"),
        ("scheduling: {pools: {path: ../x}}", "is no folder of the repository"),
        ("paths: [apps]\nscheduling: {pools: {path: pools}}", "would not be deployed"),
        ("scheduling: {pool: {}}", "unknown key 'pool'"),
        ("scheduling: {pools: {path: a, afterSeconds: 0}}", "outside 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_configuration(f"{HEAD}{text}\n".encode())


def test_a_tier_s_scheduler_is_what_its_pods_are_judged_by() -> None:
    text = "tiers: {definitions: {batch: {scheduling: {schedulerName: customhouse}}}}\n"
    tiers = read_configuration((HEAD + text).encode()).tiers
    assert (tiers["batch"].scheduler, tiers["standard"].scheduler) == ("customhouse", None)


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "x", "name": name}, "spec": {}}


def test_a_pod_that_nothing_was_left_for_is_named_once_with_the_reasons() -> None:
    tally = Tally(FixedClock(datetime(2026, 9, 1, tzinfo=UTC)))
    tally.note(pod("a"), "batch", Filtered(("n1",), {"n2": "no spot", "n3": "no spot"}, {}))
    for _ in range(2):
        tally.note(pod("b"), "batch", Filtered((), {"n1": "no spot"}, {"n9": "not seen"}))
    found = tally.to_json()
    assert found["tiers"] == [{"tier": "batch", "asked": 3, "emptied": 2, "refused": 4}]
    assert found["refused"] == [{"tier": "batch", "reason": "no spot", "nodes": 4}]
    (without,) = found["without"]
    assert (without["pod"], len(without["reasons"])) == ("x/b", 2)


def test_whoever_chooses_the_reasons_does_not_choose_how_many_are_kept() -> None:
    tally = Tally(FixedClock(datetime(2026, 9, 1, tzinfo=UTC)))
    for number in range(2000):
        tally.note(pod(f"p{number}"), f"t{number}", Filtered((), {"n": f"reason {number}"}, {}))
    assert len(tally.reasons) <= 500
    assert len(tally.tiers) <= 200
    assert len(tally.without) == 20


def test_a_status_that_is_none_is_said(tmp_path: Path) -> None:
    assert read_extender_status(tmp_path) is None
    (tmp_path / "extender").mkdir()
    write_extender_status(tmp_path, {"nodes": 3})
    assert read_extender_status(tmp_path) == {"nodes": 3}
    (tmp_path / "extender" / "status.json").write_text("[1")
    with pytest.raises(StateError, match="cannot be read"):
        read_extender_status(tmp_path)
