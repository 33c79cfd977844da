"""The rights to drain nodes: alike in the component and the chart, not there by default, allowed by the gate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy_rendering import helmed, objects
from test_extender_deploy import GIVEN

pytestmark = pytest.mark.part("helm")
NAME = "customhouse-interruptions"


def named(text: str) -> list[dict[str, Any]]:
    return [item for item in objects(text) if item["metadata"]["name"] == NAME]


def test_the_component_and_the_chart_give_the_same_rights_and_the_gate_allows_them(
    find_part: Callable[[str], Path], repository_root: Path, tmp_path: Path
) -> None:
    shipped = named((repository_root / "deploy/kustomize/components/interruptions/rbac.yaml").read_text())
    with_it, without = (
        helmed(find_part("helm"), repository_root, **GIVEN, interruptions__enabled=word) for word in ("true", "false")
    )
    assert named(with_it.stdout) == shipped
    assert len(shipped) == 2
    assert named(without.stdout) == []
    (tmp_path / "rights.yaml").write_text(yaml.safe_dump_all(shipped))
    (tmp_path / "rules.yaml").write_text("apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n")
    command = [Path(sys.executable).with_name("customhouse"), "gate", "rights.yaml", "--config", "rules.yaml"]
    done = subprocess.run([*command, "--engine", "embedded"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
