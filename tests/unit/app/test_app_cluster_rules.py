"""What steers a cluster, as it is declared: the rules of topic `cluster` through the gate's own way."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app.clearance import Clearance, Question, Spend
from customhouse.app.governance import governance
from customhouse.app.named_files import NamedFiles
from customhouse.policy.adapters.regorus import RegorusEngine

ENGINE = RegorusEngine()
HOOK = {"name": "w.example.com", "clientConfig": {"url": "https://hooks.example.com/"}}
EVERYTHING = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}]


@pytest.mark.parametrize(
    ("version", "kind", "metadata", "body", "said"),
    [
        (
            "v1",
            "Namespace",
            {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
            {},
            ("namespace-privileged", "error", "/metadata/labels"),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            {},
            {"rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]},
            ("role-exec", "warning", "/rules/0/resources"),
        ),
        (
            "admissionregistration.k8s.io/v1",
            "MutatingWebhookConfiguration",
            {},
            {"webhooks": [{**HOOK, "rules": EVERYTHING}]},
            ("webhook-outside", "error", "/webhooks/0/clientConfig/url"),
        ),
    ],
)
def test_it_is_found_where_it_is_declared(
    tmp_path: Path, version: str, kind: str, metadata: dict[str, Any], body: dict[str, Any], said: tuple[str, str, str]
) -> None:
    manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": "it", **metadata}, **body}
    (tmp_path / "it.yaml").write_text(json.dumps(manifest))
    question = Question(governance(None, None), NamedFiles([str(tmp_path)]), "files", (), None, "ada", Spend())
    (decision,) = Clearance(ENGINE, FixedClock(datetime(2026, 11, 22, tzinfo=UTC)), tmp_path).judge(question).decisions
    assert said in [(item.rule, item.severity.value, item.pointer) for item in decision.findings]
