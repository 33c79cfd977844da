"""The Kubernetes client where a real API server does not go wrong by itself: busy, forgetful, cut off, misleading."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.cluster import ApiKind, Apply, ClusterEvent, Delete
from customhouse.core.errors import TargetError
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes import transport
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.errors import ApiError, api_error
from customhouse.execution.adapters.kubernetes.kubeconfig import Access

MAPS = ApiKind("", "v1", "ConfigMap", "configmaps", True, ("list", "watch"))


@dataclass
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Said:
    """One answer; `lines` is a stream that ends the connection after the last."""

    status: int = 200
    value: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    lines: list[Any] | None = None


class Api:
    """A scripted API: answers by path, in order; the last one of a path is repeated."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: dict[str, list[Said]] = {}
        self.changed = threading.Condition()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                headers = {key.lower(): value for key, value in self.headers.items()}
                said = api.answer(Asked(self.command, parts.path, query, headers, body))
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                if said.lines is not None:
                    self.send_header("Connection", "close")
                    self.end_headers()
                    for line in said.lines:
                        self.wfile.write(json.dumps(line).encode() + b"\n")
                    self.close_connection = True
                    return
                data = said.raw if said.raw is not None else json.dumps(said.value).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, asked: Asked) -> Said:
        with self.changed:
            self.asked.append(asked)
            self.changed.notify_all()
            left = self.script.get(asked.path)
            if not left:
                return Said(404, status_of(404, "NotFound", "no such path"))
            return left.pop(0) if len(left) > 1 else left[0]

    def wait(self, true: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(true, 20)


def status_of(code: int, reason: str, message: str, **more: Any) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message, **more}


def page(names: list[str], version: str, more: str = "") -> Said:
    items = [{"metadata": {"name": name, "managedFields": [{}]}} for name in names]
    metadata = {"resourceVersion": version, **({"continue": more} if more else {})}
    return Said(value={"kind": "ConfigMapList", "apiVersion": "v1", "metadata": metadata, "items": items})


def added(name: str, version: str) -> dict[str, Any]:
    return {"type": "ADDED", "object": {"metadata": {"name": name, "resourceVersion": version}}}


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def cluster(api: Api, tmp_path: Path) -> Iterator[KubernetesCluster]:
    (tmp_path / "token").write_text("first")
    access = Access(server=api.address, source="test", token_file=tmp_path / "token")
    with KubernetesCluster(access, {}, SystemClock()) as made:
        yield made


def listed(cluster: KubernetesCluster) -> tuple[list[str], str]:
    (found,) = cluster.list([MAPS])
    return [item["metadata"]["name"] for item in found.objects], found.problem


def test_a_list_that_expires_half_way_is_begun_anew(api: Api, cluster: KubernetesCluster) -> None:
    gone = Said(410, status_of(410, "Expired", "the continue token is too old"))
    api.script["/api/v1/configmaps"] = [page(["a"], "1", "t1"), gone, page(["a", "b"], "9", "t2"), page(["c"], "9")]
    assert listed(cluster) == (["a", "b", "c"], "")
    assert [asked.query.get("continue") for asked in api.asked] == [None, "t1", None, "t2"]


def test_a_list_that_keeps_expiring_is_a_problem_and_not_half_a_list(api: Api, cluster: KubernetesCluster) -> None:
    gone = Said(410, status_of(410, "Expired", "too old"))
    api.script["/api/v1/configmaps"] = [page(["a"], "1", "t"), gone] * 3
    assert listed(cluster) == ([], "Expired: too old")


def test_objects_of_a_list_get_their_type_and_lose_their_managed_fields(api: Api, cluster: KubernetesCluster) -> None:
    api.script["/api/v1/configmaps"] = [page(["a"], "1")]
    (found,) = cluster.list([MAPS])
    assert found.objects == ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}},)


def test_a_busy_api_is_asked_again(api: Api, cluster: KubernetesCluster) -> None:
    busy = Said(429, status_of(429, "TooManyRequests", "busy"), {"Retry-After": "0"})
    api.script["/api/v1/configmaps"] = [busy, Said(503, raw=b"<html>upstream</html>"), page(["a"], "1")]
    assert listed(cluster) == (["a"], "")
    assert len(api.asked) == 3


def test_a_refusal_is_a_value_of_that_kind_alone(api: Api, cluster: KubernetesCluster) -> None:
    api.script["/api/v1/configmaps"] = [Said(403, status_of(403, "Forbidden", "may not list"))]
    assert listed(cluster) == ([], "Forbidden: may not list")
    assert len(api.asked) == 1


def test_a_token_that_was_rotated_is_read_again_once(api: Api, cluster: KubernetesCluster, tmp_path: Path) -> None:
    refused = Said(401, status_of(401, "Unauthorized", "expired"))
    api.script["/api/v1/configmaps"] = [page(["a"], "1"), refused, page(["b"], "2"), refused]
    assert listed(cluster) == (["a"], "")
    (tmp_path / "token").write_text("second")
    assert listed(cluster) == (["b"], "")
    assert listed(cluster) == ([], "Unauthorized: expired")
    tokens = [asked.headers["authorization"].removeprefix("Bearer ") for asked in api.asked]
    assert tokens == ["first", "first", "second", "second", "second"]


def test_a_redirect_does_not_get_the_credentials(api: Api, cluster: KubernetesCluster) -> None:
    other = Api()
    api.script["/api/v1/configmaps"] = [Said(302, {}, {"Location": f"{other.address}/api/v1/configmaps"})]
    assert "302" in listed(cluster)[1]
    assert other.asked == []
    other.server.shutdown()
    other.server.server_close()


@pytest.mark.parametrize(
    "raw", [b"", b"not json", b"[1]", b'{"items": 5, "metadata": {}}', b'{"metadata": {}, "items": [7]}']
)
def test_an_answer_that_is_no_list_is_a_problem(api: Api, cluster: KubernetesCluster, raw: bytes) -> None:
    api.script["/api/v1/configmaps"] = [Said(raw=raw)]
    names, problem = listed(cluster)
    assert names == []
    assert problem


def test_an_answer_that_unpacks_to_too_much_is_cut_off(
    api: Api, cluster: KubernetesCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 100_000)
    api.script["/api/v1/configmaps"] = [Said(raw=gzip.compress(b" " * 5_000_000), headers={"Content-Encoding": "gzip"})]
    assert "more than 100000 bytes" in listed(cluster)[1]


def test_an_api_that_is_not_there_is_an_error_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    from customhouse.execution.adapters.kubernetes import discovery

    monkeypatch.setattr(discovery, "_PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    access = Access(server=f"http://127.0.0.1:{port}", source="test")
    with KubernetesCluster(access, {}, SystemClock()) as cluster, pytest.raises(TargetError) as error:
        cluster.discover()
    assert str(port) in error.value.where


def test_an_api_that_never_answered_is_not_waited_for_as_one_that_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "UNKNOWN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    access = Access(server=f"http://127.0.0.1:{port}", source="test")
    with KubernetesCluster(access, {}, SystemClock()) as cluster, pytest.raises(TargetError, match="is the API up"):
        list(cluster.list([MAPS]))


def test_older_discovery_is_understood_and_a_group_that_fails_is_named(api: Api, cluster: KubernetesCluster) -> None:
    api.script["/api"] = [Said(value={"kind": "APIVersions", "versions": ["v1"]})]
    version = [{"version": "v1"}, {"version": "v1beta1"}]
    groups = [
        {"name": "apps", "versions": version, "preferredVersion": {"version": "v1"}},
        {"name": "metrics.example", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}},
    ]
    api.script["/apis"] = [Said(value={"kind": "APIGroupList", "groups": groups})]
    pods = {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]}
    api.script["/api/v1"] = [Said(value={"resources": [pods, {**pods, "name": "pods/log"}]})]
    deployments = {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["list"]}
    api.script["/apis/apps/v1"] = [Said(value={"resources": [deployments]})]
    api.script["/apis/apps/v1beta1"] = [Said(value={"resources": [deployments]})]
    api.script["/apis/metrics.example/v1"] = [Said(403, status_of(403, "Forbidden", "no"))]
    found = cluster.discover()
    assert [(kind.resource, kind.version) for kind in found.kinds] == [("pods", "v1"), ("deployments.apps", "v1")]
    assert found.problems == {"metrics.example/v1": "no"}


def test_an_aggregated_group_whose_server_is_down_is_named(api: Api, cluster: KubernetesCluster) -> None:
    def document(items: list[Any]) -> Said:
        return Said(value={"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items})

    stale = {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]}
    api.script["/api"], api.script["/apis"] = [document([])], [document([stale])]
    assert "does not answer" in cluster.discover().problems["metrics.k8s.io/v1beta1"]


class Heard:
    """A sink that can be waited on."""

    def __init__(self) -> None:
        self.events: list[ClusterEvent] = []
        self._told = threading.Condition()

    def __call__(self, events: Any) -> None:
        with self._told:
            self.events.extend(events)
            self._told.notify_all()

    def wait(self, count: int) -> list[tuple[str, str]]:
        with self._told:
            assert self._told.wait_for(lambda: len(self.events) >= count, 30), self.events
            return [(e.event.value, e.manifest["metadata"]["name"] if e.manifest else e.problem) for e in self.events]


def test_a_stream_that_breaks_is_taken_up_at_its_last_version_without_a_new_list(
    api: Api, cluster: KubernetesCluster
) -> None:
    end = {
        "type": "BOOKMARK",
        "object": {"metadata": {"resourceVersion": "5", "annotations": {"k8s.io/initial-events-end": "true"}}},
    }
    mark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}}
    api.script["/api/v1/configmaps"] = [
        Said(lines=[added("a", "3"), end]),
        Said(lines=[added("b", "6")]),
        Said(lines=[mark]),
        Said(lines=[]),
    ]
    heard = Heard()
    stop = cluster.watch([MAPS], heard)
    assert heard.wait(4) == [("restarted", ""), ("added", "a"), ("synced", ""), ("added", "b")]
    api.wait(lambda: len(api.asked) >= 4)
    stop()
    assert [asked.query.get("resourceVersion") for asked in api.asked[:4]] == [None, "5", "6", "8"]
    assert api.asked[0].query["sendInitialEvents"] == "true"


def test_a_forgotten_version_begins_anew_and_says_so(api: Api, cluster: KubernetesCluster) -> None:
    expired = {"type": "ERROR", "object": status_of(410, "Expired", "too old resource version")}
    refused = Said(400, status_of(400, "BadRequest", "sendInitialEvents is forbidden"))
    api.script["/api/v1/configmaps"] = [
        refused,  # a server without streaming lists: from then on lists are used
        page(["a"], "3"),
        Said(lines=[expired]),
        page(["b"], "9"),
        Said(lines=[added("c", "10")]),
        Said(lines=[]),
    ]
    heard = Heard()
    stop = cluster.watch([MAPS], heard)
    events = heard.wait(7)
    stop()
    assert events == [
        ("restarted", ""), ("added", "a"), ("synced", ""),
        ("restarted", ""), ("added", "b"), ("synced", ""),
        ("added", "c"),
    ]  # fmt: skip


def test_a_kind_that_cannot_be_watched_is_told_once(api: Api, cluster: KubernetesCluster) -> None:
    api.script["/api/v1/configmaps"] = [Said(403, status_of(403, "Forbidden", "may not watch"))]
    heard = Heard()
    stop = cluster.watch([MAPS], heard)
    assert heard.wait(1) == [("failed", "Forbidden: may not watch")]
    stop()


def known(api: Api) -> None:
    item = {"resource": "configmaps", "responseKind": {"kind": "ConfigMap"}, "scope": "Namespaced", "verbs": ["list"]}
    groups = [{"metadata": {}, "versions": [{"version": "v1", "resources": [item]}]}]
    api.script["/api"] = [Said(value={"kind": "APIGroupDiscoveryList", "items": groups})]
    api.script["/apis"] = [Said(value={"kind": "APIGroupDiscoveryList", "items": []})]


def test_a_deletion_without_a_uid_is_never_sent_twice(api: Api, cluster: KubernetesCluster) -> None:
    known(api)
    path = "/api/v1/namespaces/n/configmaps/a"
    gone = Said(404, status_of(404, "NotFound", "gone", details={"name": "a", "kind": "configmaps"}))
    busy = Said(503, status_of(503, "ServiceUnavailable", "broken off"))
    api.script[path] = [busy, gone]
    (first,) = cluster.write([Delete(ResourceRef("v1", "ConfigMap", "n", "a"))])
    assert (first.ok, first.reason) == (False, "ServiceUnavailable")
    api.script[path] = [busy, gone]
    (second,) = cluster.write([Delete(ResourceRef("v1", "ConfigMap", "n", "a"), uid="u")])
    assert second.ok
    assert json.loads(api.asked[-1].body)["preconditions"] == {"uid": "u"}


def test_a_name_cannot_lead_to_another_object(api: Api, cluster: KubernetesCluster) -> None:
    known(api)
    for name in ("../secrets/x", "a?b=c", "a/status", "ä b"):
        cluster.get([ResourceRef("v1", "ConfigMap", "n", name)])
        assert api.asked[-1].path.startswith("/api/v1/namespaces/n/configmaps/")
        assert api.asked[-1].path.count("/") == 6
        assert api.asked[-1].query == {}
    with pytest.raises(TargetError):
        cluster.get([ResourceRef("v1", "ConfigMap", "n", "..")])


def test_an_apply_names_us_and_asks_for_strict_fields(api: Api, cluster: KubernetesCluster) -> None:
    known(api)
    path = "/api/v1/namespaces/n/configmaps/a"
    api.script[path] = [Said(409, status_of(409, "Conflict", 'conflict with "helm"'))]
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}}
    (done,) = cluster.write([Apply(manifest, dry_run=True)])
    assert (done.ok, done.reason) == (False, "Conflict")
    asked = api.asked[-1]
    assert asked.query == {"fieldManager": "customhouse", "fieldValidation": "Strict", "dryRun": "All"}
    assert asked.headers["content-type"] == "application/apply-patch+yaml"
    (unknown,) = cluster.write([Apply({**manifest, "kind": "Nothing"})])
    assert "no Nothing" in unknown.problem


def test_the_words_of_a_status_are_kept_and_bounded() -> None:
    body = status_of(429, "TooManyRequests", "m" * 10_000, details={"retryAfterSeconds": 7})
    error = api_error(429, json.dumps(body).encode(), "here")
    assert isinstance(error, ApiError)
    assert (error.reason, error.retry_after, len(error.message)) == ("TooManyRequests", 7.0, 2000)
    assert api_error(503, b"<html>", "here", "12").retry_after == 12.0
    assert api_error(403, b"\xff\xfe", "here").reason == "Forbidden"
