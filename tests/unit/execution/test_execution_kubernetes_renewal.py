"""Credentials that are replaced while the client runs: tokens, plugins, client certificates and authorities."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from customhouse._kit.clock import FixedClock, SystemClock
from customhouse.core.cluster import ApiKind, Scope
from customhouse.core.errors import TargetError
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes import credentials
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import Access, read_access

REF = ResourceRef("v1", "ConfigMap", "n", "a")
MAPS = ApiKind("", "v1", "ConfigMap", "configmaps", True, ("list", "watch"))
PLACE = "/api/v1/namespaces/n/configmaps"


@dataclass
class Issued:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes
    signer: tuple[Any, Any]


def issue(name: str, by: Issued | None = None) -> Issued:
    """An authority, or a certificate that one has signed, for a server on loopback or for a client."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.signer[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
    )
    made = builder.sign(by.signer[1] if by else key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(made.public_bytes(serialization.Encoding.PEM), private, (made, key))


DISCOVERY = {
    "kind": "APIGroupDiscoveryList",
    "items": [
        {
            "metadata": {},
            "versions": [
                {
                    "version": "v1",
                    "resources": [
                        {"resource": "configmaps", "responseKind": {"kind": "ConfigMap"}, "scope": "Namespaced"}
                    ],
                }
            ],
        }
    ],
}


class Api:
    """Answers every GET of an object with who asked: the name in the client's certificate and its token."""

    def __init__(self, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        api = self
        self.accepted: set[str] | None = None
        self.refused = 0
        self.streams = threading.Semaphore(0)
        self.ended = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                if self.path.startswith(("/api?", "/apis")) or self.path == "/api":
                    self._say(200, DISCOVERY if self.path == "/api" else {"kind": "APIGroupDiscoveryList", "items": []})
                elif api.accepted is not None and token not in api.accepted:
                    api.refused += 1
                    self._say(401, {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "no"})
                elif "watch=true" in self.path:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.flush()
                    api.streams.release()
                    api.ended.wait()
                    self.close_connection = True
                else:
                    self._say(200, {"metadata": {"name": "a"}, "certificate": self._peer(), "token": token})

            def _peer(self) -> str:
                if not isinstance(self.connection, ssl.SSLSocket):
                    return ""
                subject = (self.connection.getpeercert() or {}).get("subject", ())
                return str(dict(pair for group in subject for pair in group).get("commonName", ""))  # type: ignore[misc]

            def _say(self, code: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[socket.socket, Any]:
                connection, address = super().get_request()
                return (tls().wrap_socket(connection, server_side=True) if tls else connection), address

            def handle_error(self, *_: object) -> None:
                pass  # a client that does not trust us hangs up

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Secured:
    """A server that asks for client certificates, and the files of a client."""

    folder: Path
    api: Api
    authority: Issued
    serving: Issued
    clock: FixedClock

    def context(self) -> ssl.SSLContext:
        """As of now: what it serves may be replaced."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=self.authority.certificate.decode())
        pair = self.folder / "serving.pem"
        pair.write_bytes(self.serving.certificate + self.serving.key)
        made.load_cert_chain(pair)
        return made

    def put(self, name: str, *, key: bool = True) -> None:
        issued = issue(name, self.authority)
        (self.folder / "client.crt").write_bytes(issued.certificate)
        if key:
            (self.folder / "client.key").write_bytes(issued.key)

    def cluster(self) -> KubernetesCluster:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": self.api.address, "certificate-authority": "ca.crt"}}],
            "users": [{"name": "u", "user": {"client-certificate": "client.crt", "client-key": "client.key"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.folder / "config").write_text(json.dumps(config))
        return KubernetesCluster(read_access([self.folder / "config"]), {}, self.clock)


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    authority = issue("authority")
    made: list[Secured] = []
    api = Api(lambda: made[0].context())  # noqa: PLW0108 - it is made after the server
    made.append(Secured(tmp_path, api, authority, issue("server", authority), FixedClock(datetime.now(UTC))))
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    yield made[0]
    api.stop()


def who(cluster: KubernetesCluster) -> str:
    (found,) = cluster.get([REF])
    assert found is not None
    return str(found["certificate"] or found["token"])


def test_a_client_certificate_that_was_replaced_is_used_without_a_restart(secured: Secured) -> None:
    secured.put("first")
    with secured.cluster() as cluster:
        heard: list[Any] = []
        stop = cluster.watch([MAPS], heard.extend, Scope("n"))
        assert secured.api.streams.acquire(timeout=60)
        assert who(cluster) == "first"
        secured.put("second")
        assert who(cluster) == "first"
        secured.clock.advance(credentials.IDENTITY_FILE_AGE_S)
        assert who(cluster) == "second"
        # What was under way with the old certificate goes on.
        assert not any(event.problem for event in heard)
        stop()


def test_half_of_a_rotation_is_not_used(secured: Secured) -> None:
    secured.put("first")
    with secured.cluster() as cluster:
        secured.put("second", key=False)
        secured.clock.advance(credentials.IDENTITY_FILE_AGE_S)
        assert who(cluster) == "first"
        (secured.folder / "client.crt").unlink()
        secured.clock.advance(credentials.IDENTITY_FILE_AGE_S)
        assert who(cluster) == "first"
        secured.put("third")
        secured.clock.advance(credentials.IDENTITY_FILE_AGE_S)
        assert who(cluster) == "third"


def test_an_authority_that_was_replaced_is_believed_and_no_other(secured: Secured) -> None:
    secured.put("first")
    other = issue("another authority")
    with secured.cluster() as cluster:
        assert who(cluster) == "first"
        secured.serving = issue("server", other)
        secured.put("second")
        secured.clock.advance(credentials.IDENTITY_FILE_AGE_S)  # the client's new certificate means a new connection
        with pytest.raises(TargetError, match="does not verify"):
            who(cluster)
        (secured.folder / "ca.crt").write_bytes(other.certificate)
        assert who(cluster) == "second"


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.stop()


def test_a_plugin_whose_token_is_refused_is_asked_once_however_many_requests_were_under_way(
    api: Api, tmp_path: Path
) -> None:
    program = tmp_path / "plugin"
    program.write_text(
        f"#!{sys.executable}\nimport json\n"
        f"file = open({str(tmp_path / 'count')!r}, 'a+'); file.write('x'); file.seek(0)\n"
        "token = 'token-' + str(len(file.read()))\n"
        "version = 'client.authentication.k8s.io/v1'\n"
        "print(json.dumps({'kind': 'ExecCredential', 'apiVersion': version, 'status': {'token': token}}))\n"
    )
    program.chmod(stat.S_IRWXU)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}
    config = {
        "clusters": [{"name": "c", "cluster": {"server": api.address}}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    with KubernetesCluster(read_access([tmp_path / "config"]), {"PATH": "/usr/bin:/bin"}, SystemClock()) as cluster:
        assert who(cluster) == "token-1"
        api.accepted = {"token-2"}
        found = cluster.get([REF] * 20)
    assert {str(item["token"]) for item in found if item} == {"token-2"}
    assert (tmp_path / "count").read_text() == "xx"
    assert api.refused >= 1


def test_a_token_file_is_read_again_when_its_token_is_refused_and_a_wrong_one_is_told(api: Api, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    access = replace(Access(server=api.address, source="test"), token_file=tmp_path / "token")
    with KubernetesCluster(access, {}, SystemClock()) as cluster:
        assert who(cluster) == "old"
        (tmp_path / "token").write_text("new")
        api.accepted = {"new"}
        assert who(cluster) == "new"
        api.accepted = {"newer"}
        with pytest.raises(TargetError) as refused:
            who(cluster)
    assert "expired" in refused.value.hint
