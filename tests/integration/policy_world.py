"""Rules of one's own, a repository that uses them, and the command line, for tests of `customhouse policy`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from customhouse.app import wiring
from customhouse.app.gatekeeping import GateRequest, judge
from customhouse.app.settings import read_settings
from customhouse.cli.program import run

RULE = """package customhouse.rules.{name}

import data.customhouse.lib

# METADATA
# title: Names are short
# description: A name longer than {limit} letters is cut on the dashboard.
# custom:
#   id: {name}-long
#   category: compliance
#   severity: error
#   fix: Shorten it.
findings contains lib.error("compliance", "{name}-long", "/metadata/name", message, "Shorten it.") if {{
	count(input.change.resource.name) > {limit}
	input.change.resource.kind != "Governance"
	message := sprintf("%s is too long.", [input.change.resource.name])
}}
"""
OPEN = "apiVersion: customhouse.dev/v1\npolicy:\n  requireSignedCommits: false\n"


class Said(NamedTuple):
    """What a command ended with and printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    """A command line in a folder of its own."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Said:
        self._capsys.readouterr()
        status = run([str(item) for item in (*arguments, "--engine", "embedded")])
        printed = self._capsys.readouterr()
        return Said(status, printed.out, printed.err)

    def write(self, name: str, content: str | bytes) -> Path:
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
        return place


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A working directory without a repository."""
    root = tmp_path / "work"
    root.mkdir()
    monkeypatch.chdir(root)
    for name in ("CUSTOMHOUSE_STATE", "CUSTOMHOUSE_CONFIG", "CUSTOMHOUSE_ENGINE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal(root, capsys)


def rule(name: str = "names", limit: int = 10) -> str:
    return RULE.format(name=name, limit=limit)


def config_map(name: str, namespace: str = "shop", **data: str) -> str:
    labels = {"customhouse.dev/team": f"team-{namespace}"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"a": "b"}})


def record(repository: Path, state: Path, base: str = "HEAD^") -> list[Any]:
    """Judge a commit as the gate does and store what came out, as the control plane does."""
    settings = read_settings(state=str(state), engine="embedded")
    judged = judge(settings, GateRequest(str(repository), base=base, head="HEAD"))
    with wiring.store(settings) as opened:
        for decision, facts in zip(judged.decisions, judged.facts, strict=True):
            opened.decisions.record(decision, facts.document)
    return list(judged.decisions)
