"""What `deploy/` renders to, by the real kustomize and helm."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml


def objects(text: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all(text) if item]


def kustomized(kustomize: Path, folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return objects(done.stdout)


def example(kustomize: Path, root: Path) -> list[dict[str, Any]]:
    """The example of an installation."""
    return kustomized(kustomize, root / "deploy" / "kustomize" / "example")


def helmed(helm: Path, root: Path, **values: str) -> subprocess.CompletedProcess[str]:
    """The chart with values (`image__digest` is image.digest), in the namespace that it belongs to."""
    given = {"release": "customhouse-system", **values}
    space = given.pop("release")
    command: list[str | Path] = [
        helm,
        "template",
        "customhouse",
        root / "deploy/helm/customhouse",
        "--namespace",
        space,
    ]
    for name, value in given.items():
        command += ["--set", f"{name.replace('__', '.')}={value}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)
