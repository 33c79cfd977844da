"""Observed callers against declared ones: flows as Hubble prints them (api/v1/flow/flow.proto of Cilium)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.app.callernetwork import check
from customhouse.cli.program import run
from customhouse.core.errors import CustomhouseError, UsageError
from customhouse.core.flows import MAX_LINE, Flow, Seen, parse_flows

DECLARED = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: fraud
  namespace: risk
  annotations: {customhouse.dev/callers: "shop/app=checkout, batch, 10.9.0.0/24"}
spec: {template: {metadata: {labels: {app: fraud}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: batch, namespace: risk}
spec: {template: {metadata: {labels: {app: batch}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lonely, namespace: risk, annotations: {customhouse.dev/callers: none}}
spec: {template: {metadata: {labels: {app: lonely}}}}
"""


def end(namespace: str, **labels: str) -> dict[str, Any]:
    listed = [f"k8s:{key}={value}" for key, value in labels.items()]
    listed += [f"k8s:io.kubernetes.pod.namespace={namespace}", "k8s:io.cilium.k8s.policy.cluster=default"]
    return {"ID": 1, "identity": 4711, "namespace": namespace, "labels": listed, "pod_name": f"{namespace}-0"}


def flow(source: dict[str, Any], to: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {
        "time": "2026-11-22T12:00:00.1Z",
        "verdict": "FORWARDED",
        "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 40000, "destination_port": 8080, "flags": {"SYN": True}}},
        "source": source,
        "destination": to,
        "Type": "L3_L4",
        "node_name": "node-1",
        "is_reply": False,
        "traffic_direction": "INGRESS",
        "Summary": "TCP Flags: SYN",
    }
    return {**made, **more}


FRAUD, CHECKOUT = end("risk", app="fraud"), end("shop", app="checkout")
WORLD = {"identity": 2, "labels": ["reserved:world"]}


def checked(tmp_path: Path, *flows: dict[str, Any], wrap: bool = True) -> dict[str, Seen]:
    (tmp_path / "declared.yaml").write_text(DECLARED)
    log = tmp_path / "flows.json"
    log.write_text("".join(json.dumps({"flow": one} if wrap else one) + "\n" for one in flows))
    with log.open("rb") as handle:
        return {item.called.ref.name: item for item in check([str(tmp_path / "declared.yaml")], handle, log.name)}


@pytest.mark.parametrize("wrap", [True, False])
def test_who_calls_undeclared_is_counted_and_who_is_declared_and_silent_is_told(tmp_path: Path, wrap: bool) -> None:
    stranger, other = end("shop", app="spy"), end("risk", app="checkout")
    found = checked(
        tmp_path,
        flow(CHECKOUT, FRAUD),
        flow(stranger, FRAUD),
        flow(stranger, FRAUD),
        flow(other, FRAUD),  # the same label in another namespace is another caller
        flow(FRAUD, CHECKOUT),  # what it calls itself
        flow(stranger, FRAUD, is_reply=True),  # an answer to what it called
        flow(WORLD, FRAUD, IP={"source": "10.9.0.7"}),
        flow(WORLD, FRAUD, IP={"source": "203.0.113.9"}),
        flow(CHECKOUT, end("risk", app="lonely")),
        wrap=wrap,
    )
    assert sorted(found) == ["fraud", "lonely"]
    assert found["fraud"].undeclared == {
        "shop/spy at port 8080/TCP": 2, "risk/checkout at port 8080/TCP": 1, "203.0.113.9 at port 8080/TCP": 1
    }  # fmt: skip
    assert found["fraud"].silent == ("batch",)
    assert found["fraud"].flows == 6
    assert found["lonely"].undeclared == {"shop/checkout at port 8080/TCP": 1}


def test_a_declared_caller_that_is_dropped_is_told_and_a_stranger_that_is_dropped_is_not(tmp_path: Path) -> None:
    found = checked(
        tmp_path,
        flow(end("risk", app="batch"), FRAUD, verdict="DROPPED"),
        flow(end("shop", app="spy"), FRAUD, verdict="DROPPED"),
    )["fraud"]
    assert found.refused == {"risk/batch at port 8080/TCP": 1}
    assert found.undeclared == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no flow among 0 lines"),
        ('{"version": 2, "account": "1", "srcaddr": "10.0.0.1", "action": "ACCEPT"}\n', "no flow among 1 lines"),
        ('{"lost_events": {"num_events_lost": 3}}\n', "no flow among 1 lines"),
        ('{"flow": {"verdict": "FORWARDED"}}\n{"flow": {"verd', "log:2"),
        ("2 123456789010 eni-1 10.0.0.1 10.0.0.2 443 40000 6 1 1 1 1 ACCEPT OK\n", "log:1"),
        ("[]\n", "log:1"),
        ("[" * 100_000 + "\n", "log:1"),
        ('{"flow": "' + "x" * MAX_LINE + '"}\n', "over"),
    ],
)
def test_what_is_no_log_of_flows_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "declared.yaml").write_text(DECLARED)
    (tmp_path / "log").write_text(text)
    with pytest.raises(UsageError) as caught, (tmp_path / "log").open("rb") as handle:
        check([str(tmp_path / "declared.yaml")], handle, "log")
    assert said in str(caught.value)


def test_the_command_ends_with_1_for_an_undeclared_caller(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checked(tmp_path, flow(CHECKOUT, FRAUD), flow(end("shop", app="spy"), FRAUD))
    assert run(["network", "check", "declared.yaml", "--flows", "flows.json"]) == 1
    said = capsys.readouterr().out
    assert "undeclared: shop/spy at port 8080/TCP (1)" in said
    assert "declared, never seen: batch" in said
    checked(tmp_path, flow(CHECKOUT, FRAUD))
    assert run(["network", "check", "declared.yaml", "--flows", "flows.json", "-o", "json"]) == 0
    (fraud, _) = json.loads(capsys.readouterr().out)["workloads"]
    assert (fraud["resource"]["name"], fraud["neverSeen"]) == ("fraud", ["batch", "10.9.0.0/24"])
    assert run(["network", "check", "declared.yaml", "--flows", "absent.json"]) == 2


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["source", "destination", "IP", "l4", "is_reply", "namespace", "labels", "TCP"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=4))
def test_any_flow_is_read_or_refused(found: list[dict[str, Any]]) -> None:
    lines = [json.dumps({"flow": {"verdict": "FORWARDED", **one}}).encode() for one in found]
    with contextlib.suppress(CustomhouseError):  # nothing else comes out of it
        assert all(isinstance(one, Flow) for one in parse_flows(lines, "log"))
