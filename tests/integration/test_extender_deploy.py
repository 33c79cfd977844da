"""What `deploy/` installs of the extender: by Kustomize and Helm alike, with the least rights, allowed by the gate."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from deploy_rendering import helmed, kustomized, objects
from test_deploy_rendering import GIVEN, RULES, by_name

from customhouse.cli.schedule_serve import NAMES, serve

pytestmark = pytest.mark.part("kustomize", "helm")


@pytest.fixture
def rendered(find_part: Callable[[str], Path], repository_root: Path, tmp_path: Path) -> list[dict[str, Any]]:
    place = Path(os.path.relpath(repository_root / "deploy/kustomize", tmp_path))
    images = (repository_root / "deploy/kustomize/example/kustomization.yaml").read_text()
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(place / "example")],
        "components": [str(place / "components" / "extender")],
        "images": yaml.safe_load(images)["images"],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return kustomized(find_part("kustomize"), tmp_path)


def test_the_component_and_the_chart_install_the_same_and_it_may_read_two_kinds(
    find_part: Callable[[str], Path], repository_root: Path, rendered: list[dict[str, Any]]
) -> None:
    charted = helmed(find_part("helm"), repository_root, **GIVEN, extender__enabled="true")
    assert charted.returncode == 0, charted.stderr
    made = by_name(rendered)
    assert by_name(objects(charted.stdout)) == made
    assert made["ClusterRole", "customhouse-extender"]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "watch"]}
    ]
    (container,) = made["Deployment", "customhouse-extender"]["spec"]["template"]["spec"]["containers"]
    family, verb, *options = container["args"]
    assert (family, verb) == ("schedule", serve.name)
    serve.make_parser(click.Context(serve, info_name=verb)).parse_args(options)  # raises for what is no option
    service = made["Service", "customhouse-extender"]
    assert f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc" in NAMES


def test_the_gate_allows_it(rendered: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(rendered))
    command = [Path(sys.executable).with_name("customhouse"), "gate", "all.yaml", "--config", "rules.yaml"]
    done = subprocess.run([*command, "--engine", "embedded"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
