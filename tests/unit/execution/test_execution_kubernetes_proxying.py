"""The proxy before an API: which one, and that the credentials stay inside the tunnel."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from customhouse._kit.clock import SystemClock
from customhouse.core.errors import ConfigError, TargetError
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import Access, find_access, read_access
from customhouse.execution.adapters.kubernetes.proxying import proxy_for


@pytest.mark.parametrize(
    ("server", "environment", "proxy"),
    [
        ("https://api.example:6443", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example:6443", {"https_proxy": "p:1"}, "http://p:1"),
        ("https://api.example:6443", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://api.example", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://[::1]:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://localhost:6443", {"HTTPS_PROXY": "http://p:1"}, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other, example"}, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://p:1", "no_proxy": ".example"}, None),
        ("https://example:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, "http://p:1"),
        ("https://notexample:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example"}, "http://p:1"),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example:6443"}, None),
        ("https://api.example:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example:443"}, "http://p:1"),
        ("https://10.96.0.1:443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.96.0.0/12"}, None),
        ("https://10.112.0.1:443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.96.0.0/12"}, "http://p:1"),
        ("https://10.0.0.1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.1"}, None),
        ("https://[fd00::1]:443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fd00::/8"}, None),
        ("https://api.example", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/999"}, "http://p:1"),
    ],
)
def test_the_environment_is_read_as_kubectl_reads_it(
    server: str, environment: dict[str, str], proxy: str | None
) -> None:
    assert proxy_for(server, environment) == proxy


def test_a_proxy_that_cannot_be_used_is_said_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no HTTP proxy") as error:
        proxy_for("https://api.example", {"HTTPS_PROXY": "socks5://me:hunter2@p:1"})
    assert "hunter2" not in str(error.value)
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example", "proxy-url": "socks5://p:1"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="no HTTP proxy") as error:
        read_access([tmp_path / "config"])
    assert "proxy-url" in error.value.where


def test_the_kubeconfig_wins_over_the_environment(tmp_path: Path) -> None:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example", "proxy-url": "http://own:1"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    environment = {"HTTPS_PROXY": "http://p:1"}
    assert find_access(environment, file=tmp_path / "config").proxy == "http://own:1"
    del config["clusters"][0]["cluster"]["proxy-url"]  # type: ignore[index]
    (tmp_path / "config").write_text(json.dumps(config))
    assert find_access(environment, file=tmp_path / "config").proxy == "http://p:1"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that takes a request to tunnel, notes it and refuses."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(65_536))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
        server.shutdown(socket.SHUT_RDWR)


def test_a_proxy_sees_the_address_and_not_the_token(listener: tuple[str, list[bytes]]) -> None:
    proxy, heard = listener
    access = Access(server="https://api.example:6443", source="test", token="secret-token", proxy=proxy)
    with KubernetesCluster(access, {}, SystemClock()) as cluster, pytest.raises(TargetError) as error:
        cluster.discover()
    assert "answered 403" in error.value.message
    assert "NO_PROXY" in error.value.hint
    assert len(heard) == 1
    assert heard[0].startswith(b"CONNECT api.example:6443 HTTP/1.1\r\n")
    assert b"secret-token" not in b"".join(heard)
