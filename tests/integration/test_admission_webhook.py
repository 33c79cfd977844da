"""The webhook process by itself: bad input, rules that loop, evaluators that die, new rules and certificates."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from admission_world import GOOD, Webhook, deployment, pod, review, start_webhook

RULES = """\
apiVersion: customhouse.dev/v1
policy:
  trustedRegistries: [apexlogic.com]
  requireSignedCommits: false
  bundle: rules
  waivers: waivers.yaml
  gatekeeper: others
"""
LOOP = """\
package customhouse.rules.own

# METADATA
# title: A rule that never comes to an end
# description: For objects that are called slow; a test of the limit on processor time.
# custom:
#   id: own-slow
#   category: security
#   severity: error
#   fix: none
findings contains {
  "rule": "own-slow", "category": "security", "severity": "error", "message": "done", "fix": "", "pointer": "",
} if {
  startswith(input.change.after.name, "slow")
  count([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a * b == 0]) > 1
}
"""

TEMPLATE = """\
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: loops}
spec:
  crd: {spec: {names: {kind: Loops}}}
  targets:
    - target: admission.k8s.gatekeeper.sh
      rego: |
        package loops
        violation[{"msg": "done"}] {
          startswith(input.review.object.metadata.name, "others-slow")
          a := numbers.range(1, 30000)[_]; b := numbers.range(1, 30000)[_]; a * b == 0
        }
---
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: Loops
metadata: {name: it}
"""


@pytest.fixture(scope="module")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    folder = tmp_path_factory.mktemp("webhook")
    (folder / "customhouse.yaml").write_text(RULES)
    (folder / "rules").mkdir()
    (folder / "rules" / "own.rego").write_text(LOOP)
    (folder / "others").mkdir()
    (folder / "others" / "loops.yaml").write_text(TEMPLATE)
    (folder / "waivers.yaml").write_text("[]\n")
    running = start_webhook(folder)
    yield running
    assert running.stop() == 0


def _until(asked: Callable[[], Any], seconds: float = 60.0) -> Any:
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if found := asked():
            return found
        pause.wait(0.02)
    raise AssertionError(f"not within {seconds} s")


@pytest.mark.parametrize(
    ("body", "content", "status", "said"),
    [
        (b"", "application/json", 400, "not JSON"),
        (b"hello", "application/json", 400, "not JSON"),
        (b"[]", "application/json", 400, "no AdmissionReview"),
        (b'{"request": {"uid": 7}}', "application/json", 400, "no AdmissionReview"),
        (b"\xff\xfe", "application/json", 400, "not JSON"),
        (b"[" * 5000, "application/json", 400, "not JSON"),
        (b"{}", "text/plain", 415, "application/json"),
        (b'{"a": "' + b"x" * (10 * 1024 * 1024) + b'"}', "application/json", 413, "larger than"),
    ],
)
def test_a_body_that_is_no_review_is_refused_in_words(
    webhook: Webhook, body: bytes, content: str, status: int, said: str
) -> None:
    for path in ("/validate", "/mutate", "/validate-image"):
        try:
            found, answer = webhook.ask(path, body, content)
        except OSError:  # 10 MB are refused before they are read, and the connection is closed
            assert status == 413
            continue
        assert (found, said in answer.decode()) == (status, True), answer


def test_reviews_that_cannot_be_decided_are_refused_with_the_reason_and_never_allowed(webhook: Webhook) -> None:
    deep = json.dumps(review(deployment("deep", "prod") | {"spec": "DEEP"}))
    status, body = webhook.ask("/validate", deep.replace('"DEEP"', '{"a":' * 1000 + "{}" + "}" * 1000).encode())
    assert (status, json.loads(body)["response"]["allowed"]) == (200, False)
    assert b"nested" in body
    cases = [
        (deployment("huge", "prod"), {"operation": "CONNECT"}, "CONNECT"),
        (deployment("odd", "prod"), {"subResource": "odd"}, "subresource odd"),
        (deployment("none", "prod"), {"object": None}, "no object"),
        (pod("list", "prod") | {"spec": []}, {}, "spec"),
        (deployment("number", "prod", replicas=2**60), {}, "replicas"),
        (deployment("op", "prod"), {"operation": "PATCH"}, "operation"),
    ]
    for obj, more, said in cases:
        response = webhook.judge(obj, **more)
        assert not response["allowed"], obj["metadata"]["name"]
        assert said in response["status"]["message"], response["status"]["message"]
    old = json.loads(json.dumps(review(deployment("v1beta1", "prod"))))
    old["apiVersion"] = "admission.k8s.io/v1beta1"
    status, body = webhook.ask("/validate", json.dumps(old).encode())
    assert (status, json.loads(body)["response"]["allowed"]) == (200, False)


def test_an_unknown_kind_with_a_pod_template_inside_is_judged(webhook: Webhook) -> None:
    hidden = {
        "apiVersion": "example.com/v1",
        "kind": "Rollercoaster",
        "metadata": {"name": "r", "namespace": "prod"},
        "spec": {"deep": {"podTemplate": {"spec": {"containers": [{"name": "c", "image": "evil.example/x:1"}]}}}},
    }
    response = webhook.judge(hidden)
    assert not response["allowed"]
    assert "evil.example/x:1" in response["status"]["message"]
    image = webhook.judge(hidden, "/validate-image")
    assert "/spec/deep/podTemplate/spec/containers/0" in image["status"]["message"]


@pytest.mark.parametrize("slow", ["slow-1", "others-slow-1"])
def test_a_rule_that_loops_is_ended_refused_in_time_and_takes_nobody_with_it(webhook: Webhook, slow: str) -> None:
    before = webhook.metric("customhouse_admission_evaluator_restarts_total")
    answers: list[dict[str, Any]] = []
    asking = [
        threading.Thread(target=lambda name=name: answers.append(webhook.judge(pod(name, "prod"), uid=name)))
        for name in (slow, "fine-1", "fine-2", "fine-3", "fine-4")
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    by_name = {answer["uid"]: answer for answer in answers}
    assert by_name.keys() == {slow, "fine-1", "fine-2", "fine-3", "fine-4"}
    assert not by_name[slow]["allowed"]
    assert "could not decide" in by_name[slow]["status"]["message"]
    assert all(answer["allowed"] for name, answer in by_name.items() if name != slow)
    assert webhook.metric("customhouse_admission_evaluator_restarts_total") == before + 1
    _until(lambda: webhook.metric("customhouse_admission_evaluators") == 2)


def test_a_decision_that_will_be_late_is_refused_before_the_api_server_stops_waiting(webhook: Webhook) -> None:
    status, body = webhook.ask("/validate?timeout=1s", json.dumps(review(pod("slow-2", "prod"))).encode())
    response = json.loads(body)["response"]
    assert (status, response["allowed"]) == (200, False)
    assert "no decision within 0.8 seconds" in response["status"]["message"]
    _until(lambda: webhook.metric("customhouse_admission_evaluators") == 2)


def test_a_client_that_leaves_in_the_middle_harms_nobody(webhook: Webhook) -> None:
    context = ssl.create_default_context(cafile=str(webhook.authority))
    with (
        socket.create_connection(("127.0.0.1", webhook.port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(
            b"POST /validate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )
    with socket.create_connection(("127.0.0.1", webhook.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")  # no TLS
    assert webhook.judge(pod("after", "prod"))["allowed"]


def test_old_tls_is_refused_and_unknown_pages_are_named(webhook: Webhook) -> None:
    context = ssl.create_default_context(cafile=str(webhook.authority))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        pytest.raises((ssl.SSLError, OSError)),
        socket.create_connection(("127.0.0.1", webhook.port)) as plain,
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")
    assert webhook.ask("/nothing")[0] == 404
    assert webhook.ask("/validate")[0] == 405
    assert webhook.ask("/healthz") == (200, b"ok\n")
    assert b"rules: current" in webhook.ask("/readyz")[1]


def test_new_rules_and_certificates_are_taken_over_without_a_failed_request(webhook: Webhook) -> None:
    stop, failures, done = threading.Event(), list[str](), [0]

    def load(number: int) -> None:
        context = ssl.create_default_context(cafile=str(webhook.authority))
        client = http.client.HTTPSConnection("127.0.0.1", webhook.port, context=context, timeout=30)
        body = json.dumps(review(pod(f"load-{number}", "prod"))).encode()
        while not stop.is_set():
            try:
                client.request("POST", "/validate", body, {"content-type": "application/json"})
                answer = client.getresponse()
                allowed = json.loads(answer.read())["response"]["allowed"]
                if answer.status != 200 or not allowed:
                    failures.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
            done[0] += 1
        client.close()

    threads = [threading.Thread(target=load, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        generation = webhook.metric("customhouse_admission_generation")
        own = webhook.folder / "rules" / "own.rego"
        for number in range(2):
            own.write_text(LOOP.replace("own-slow", f"own-slow-{number}"))
            for name in ("tls.crt", "tls.key"):  # as if they had run out: made anew at the next look
                (webhook.state / "webhook" / name).unlink()
            webhook.process.send_signal(signal.SIGHUP)
            _until(lambda wanted=generation + number + 1: webhook.metric("customhouse_admission_generation") >= wanted)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert done[0] > 20
    assert webhook.metric("customhouse_admission_certificate_reloads_total") >= 2


def test_bad_rules_keep_the_last_good_ones_and_say_so(webhook: Webhook) -> None:
    own = webhook.folder / "rules" / "own.rego"
    good = own.read_text()
    own.write_text("package customhouse.rules.own\n\nfindings contains {")
    webhook.process.send_signal(signal.SIGHUP)
    _until(lambda: webhook.metric("customhouse_admission_rules_current") == 0)
    assert b"could not be taken over" in webhook.ask("/readyz")[1]
    assert '"event": "generation-refused"' in webhook.log
    assert webhook.judge(pod("still", "prod"))["allowed"]
    assert not webhook.judge(pod("still", "prod", "evil.example/x:1"))["allowed"]
    own.write_text(good)
    webhook.process.send_signal(signal.SIGHUP)
    _until(lambda: webhook.metric("customhouse_admission_rules_current") == 1)


def test_an_evaluator_that_is_killed_is_replaced(webhook: Webhook) -> None:
    before = webhook.metric("customhouse_admission_evaluator_restarts_total")
    evaluators = _until(lambda: _evaluators(webhook.process.pid))
    for pid in evaluators:
        os.kill(pid, signal.SIGKILL)
    _until(lambda: webhook.metric("customhouse_admission_evaluator_restarts_total") == before + 2)
    assert webhook.judge(pod("again", "prod", GOOD))["allowed"]


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []  # it ended meanwhile


def _evaluators(front: int) -> list[int]:
    """The two evaluators of the one generation that is left, once there is one."""
    (nursery,) = _children(front)
    generations = [found for child in _children(nursery) if (found := _children(child))]
    return generations[0] if len(generations) == 1 and len(generations[0]) == 2 else []


def test_private_keys_are_readable_by_their_owner_alone(webhook: Webhook) -> None:
    folder = webhook.state / "webhook"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {
        "ca.key": 0o600,
        "tls.key": 0o600,
    }


def test_a_client_without_the_certificate_that_is_asked_for_is_not_answered(tmp_path: Path, webhook: Webhook) -> None:
    (tmp_path / "customhouse.yaml").write_text(
        "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
    )
    authority = str(webhook.authority)
    other = start_webhook(tmp_path, "--config", "customhouse.yaml", "--client-ca", authority, "--workers", "1", "--dry")
    try:
        assert other.ask("/healthz")[0] == 200
        assert other.ask("/validate", json.dumps(review(pod("a", "prod"))).encode())[0] == 403
    finally:
        assert other.stop() == 0
