"""What is said where nobody waits for a report: a last good bundle in use, and a candidate on trial."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from admission_world import LABELS, start_webhook
from policy_world import OPEN, Terminal, config_map, rule, terminal

from customhouse.app import standing
from customhouse.app.policynotices import PolicyNotices
from customhouse.app.settings import read_settings
from customhouse.trust.keys import generate_pair

__all__ = ["terminal"]

CONFIGURATION = (
    OPEN
    + """  bundles: [{source: ROOT/bundle.tar.gz, key: rules}]
  canary: {bundle: next, mode: warn, namespaces: [shop]}
trust:
  keys: [{name: rules, publicKey: rules.pub, kinds: [policy-bundle]}]
"""
)


@pytest.fixture
def bundle(terminal: Terminal) -> Path:
    """A bundle that is not pinned, of the key `rules`, in a folder with a configuration that names it."""
    generate_pair(terminal.root, "rules")
    terminal.write("own/names.rego", rule("names", 200))
    terminal.write("next/names.rego", rule("trials", 5))
    terminal.write("customhouse.yaml", CONFIGURATION.replace("ROOT", str(terminal.root)))
    made = terminal("policy", "build", "own", "--out", "bundle.tar.gz", "--sign", "rules.key")
    assert made.status == 0, made.err
    return terminal.root / "bundle.tar.gz"


def test_the_audit_and_the_webhook_say_what_they_judge_with(
    bundle: Path,
    terminal: Terminal,
    tmp_path: Path,
) -> None:
    terminal.write("dump.json", config_map("rather-long-name"))
    audit = ("audit", "dump.json", "--config", "customhouse.yaml", "--state", tmp_path / "state")
    good = terminal(*audit)
    assert "on trial: ConfigMap shop/rather-long-name would be denied by trials-long" in good.err
    assert "last good" not in good.err
    webhook = start_webhook(terminal.root, "--config", "customhouse.yaml")
    try:
        assert "alert" not in webhook.ask("/readyz")[1].decode()
        content = bundle.read_bytes()
        bundle.write_bytes(content[:-1])
        assert "judged with the last good one" in terminal(*audit).err
        webhook.until_ready("alert: policy bundle ")
        assert webhook.metric("customhouse_admission_policy_alerts ") == 1
        shop = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rather-long-name", "namespace": "shop"}}
        shop["metadata"]["labels"] = LABELS  # type: ignore[index]
        answer = webhook.judge(shop)
        assert answer["allowed"], "a candidate decides nothing"
        assert any("would be denied by trials-long" in warning for warning in answer["warnings"])
        bundle.write_bytes(content)
        webhook.until_ready("rules: current\ncertificate")
    finally:
        webhook.stop()
    counted = terminal("policy", "canary", "--state", terminal.root / ".customhouse", "-o", "json").json["candidates"]
    assert [(one["mode"], one["would_deny"]) for one in counted.values()] == [("warn", 1)]


def test_the_control_plane_asks_a_floating_source_again_and_says_what_it_uses(
    bundle: Path,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standing, "ASKED_AGAIN_S", 0.0)
    settings = read_settings(state=str(terminal.root / "state"), config="customhouse.yaml", engine="embedded")
    memory: Any = SimpleNamespace(deployed=None, get=lambda _key: None)
    source: Any = None
    stands = standing.Standing(settings, source, memory)
    trial = {"mode": "warn", "would_deny": True, "added": [{"rule": "trials-long", "severity": "error"}]}
    envelope = {"revision": "c", "canary": trial, "resource": json.loads(config_map("rather-long-name"))["metadata"]}
    envelope["resource"] |= {"kind": "ConfigMap"}
    decisions = SimpleNamespace(recent=lambda _limit, _point: [{"envelope": envelope}])
    plane: Any = SimpleNamespace(governing=stands.governing, changes=1, store=SimpleNamespace(decisions=decisions))
    notices = PolicyNotices(plane)
    notices.step()
    assert (notices.problem, notices.notice) == (
        "",
        "on trial: ConfigMap shop/rather-long-name would be denied by trials-long",
    )
    before = stands.governing().bundle.digest
    bundle.write_bytes(b"broken")
    notices.step()
    assert "judged with the last good one" in notices.problem
    assert "customhouse_policy_alerts 1\n" in notices.metrics()
    assert "customhouse_canary_would_deny 1\n" in notices.metrics()
    assert stands.governing().bundle.digest == before
    terminal.write("own/names.rego", rule("names", 100))
    assert terminal("policy", "build", "own", "--out", "bundle.tar.gz", "--sign", "rules.key").status == 0
    notices.step()
    assert notices.problem == ""
    assert stands.governing().bundle.digest != before
