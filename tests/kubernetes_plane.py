"""A real Kubernetes control plane for a test session: etcd, kube-apiserver, controller manager, scheduler and KWOK.

Everything listens on loopback and is thrown away with its folder. Tests share it and keep to namespaces of their own.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_SECONDS = 60
WORKS = "customhouse.test/works"
# Of what the product's own accounts ask for, who, what and the answer: to hold their rights against.
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:customhouse-system"]}, {"level": "None"}],
}


class KubernetesError(AssertionError):
    """The API server refused; `status` is the HTTP status, `body` its Status object."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body.get('message') if isinstance(body, dict) else body}")
        self.status = status
        self.body = body


@dataclass
class ControlPlane:
    """What a test needs to talk to the API server. `call` is plain HTTP, so that no client under test is trusted."""

    folder: Path
    server: str
    token: str
    crds: Path
    etcd: str = ""
    """Where its etcd takes clients, also by HTTP."""
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig that verifies the server's certificate."""
        return self.folder / "kubeconfig"

    @property
    def authority(self) -> Path:
        """The certificates that sign the API server's."""
        return self.folder / "certs" / "apiserver.crt"

    def call(
        self, method: str, path: str, body: Any = None, *, content: str = "application/json", token: str | None = None
    ) -> Any:
        """One request as administrator (or with `token`); the JSON answer. Raises KubernetesError."""
        data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        request = urllib.request.Request(f"{self.server}{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {token or self.token}")
        request.add_header("Content-Type", content)
        context = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                raise KubernetesError(error.code, json.loads(text)) from error
            except ValueError:
                raise KubernetesError(error.code, text.decode(errors="replace")) from error

    def apply(self, path: str, manifest: Mapping[str, Any], *, manager: str = "tests", dry_run: bool = False) -> Any:
        """Server-side apply of one object at its path (`/api/v1/namespaces/x/configmaps/y`)."""
        query = f"?fieldManager={manager}&force=true" + ("&dryRun=All" if dry_run else "")
        return self.call("PATCH", path + query, manifest, content="application/apply-patch+yaml")

    def namespace(self, prefix: str = "test", labels: Mapping[str, str] | None = None) -> str:
        """A new namespace with a name of its own."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
        self.call("POST", "/api/v1/namespaces", body)
        return name

    def install_crds(self, *names: str) -> None:
        """Apply the CRDs of these projects (scripts/parts.d/crds/list) and wait until served; `keda/FILE`: that one."""
        import yaml

        files = [
            file
            for name in names
            for file in sorted(self.crds.glob(f"{name}.yaml" if "/" in name else f"{name}/*.yaml"))
        ]
        read = [document for file in files for document in yaml.load_all(file.read_text(), yaml.CSafeLoader)]
        wanted = [item for item in read if item and item.get("kind") == "CustomResourceDefinition"]
        place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for document in wanted:
            self.apply(f"{place}/{document['metadata']['name']}", document)
        for document in wanted:
            self.until(lambda one=document: _established(self.call("GET", f"{place}/{one['metadata']['name']}")))

    def until(self, asked: Callable[[], Any], seconds: float = 60) -> Any:
        """The first true answer. A refusal counts as "not yet"."""
        end = time.monotonic() + seconds
        refusal: Exception | None = None
        while time.monotonic() < end:
            try:
                if answer := asked():
                    return answer
            except KubernetesError as error:
                refusal = error
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s; last refusal: {refusal}")

    def asked(self, account: str) -> list[dict[str, Any]]:
        """What a service account of customhouse-system has asked for, as audit.k8s.io/v1 Events."""
        user = f"system:serviceaccount:customhouse-system:{account}"
        lines = (self.folder / "audit.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]  # the last one may be half written
        return [item for item in found if item["user"]["username"] == user]

    def stop(self) -> None:
        """End all of it at once: its data is thrown away, and an orderly end takes the API server ten seconds."""
        for child in reversed(self._children):
            child.kill()
        for child in self._children:
            child.wait()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def start(self, program: Path, *arguments: str) -> None:
        """A child whose output goes to a log file in the folder."""
        with (self.folder / f"{program.name}.log").open("wb") as log:
            self._children.append(subprocess.Popen([program, *arguments], stdout=log, stderr=log, cwd=self.folder))


def start_control_plane(folder: Path, programs: Mapping[str, Path], files: Path) -> ControlPlane:
    """Start everything and return when the API server is ready. `files` holds stages.yaml and crds/."""
    ports = _free_ports(6)
    token = secrets.token_hex(16)
    plane = ControlPlane(folder, f"https://127.0.0.1:{ports[0]}", token, files / "crds")
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    (folder / "tokens.csv").chmod(0o600)
    _make_keys(folder)
    (folder / "audit.json").write_text(json.dumps(_AUDIT))
    client, peer = (f"http://127.0.0.1:{port}" for port in ports[1:3])
    plane.etcd = client
    try:
        plane.start(
            programs["etcd"],
            *("--data-dir", str(folder / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}", "--unsafe-no-fsync", "--log-level", "error"),
        )
        # The API server gives up after twenty seconds without etcd, which a busy machine may take to start it.
        plane.until(lambda: _listens(ports[1]), READY_SECONDS)
        plane.start(
            programs["kube-apiserver"],
            *(f"--etcd-servers={client}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"),
            *(f"--secure-port={ports[0]}", f"--cert-dir={folder / 'certs'}", "--allow-privileged"),
            *("--service-account-key-file=sa.pub", "--service-account-signing-key-file=sa.key"),
            *("--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file=tokens.csv"),
            *("--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16"),
            "--disable-admission-plugins=ServiceAccount",
            *("--audit-policy-file=audit.json", "--audit-log-path=audit.log", "--audit-log-mode=blocking"),
        )
        _write_kubeconfig(plane)
        plane.until(plane.authority.exists, READY_SECONDS)
        plane.until(lambda: _ready(plane), READY_SECONDS)
        account = ("--kubeconfig=kubeconfig", "--leader-elect=false")
        plane.start(
            programs["kube-controller-manager"],
            *(*account, "--service-account-private-key-file=sa.key", f"--secure-port={ports[3]}"),
            # KWOK's nodes have no kubelet that is heard of: after forty seconds their pods would be called not ready.
            "--node-monitor-grace-period=24h",
        )
        plane.start(programs["kube-scheduler"], *account, f"--secure-port={ports[4]}")
        (folder / "stages.yaml").write_text(_stages((files / "stages.yaml").read_text()))
        plane.start(
            programs["kwok"],
            *("--kubeconfig=kubeconfig", "--manage-all-nodes=true", f"--server-address=127.0.0.1:{ports[5]}"),
            *("--config", "stages.yaml"),
        )
        plane.until(lambda: plane.call("GET", "/api/v1/namespaces/default"), READY_SECONDS)
    except BaseException:
        plane.stop()
        raise
    return plane


def _stages(text: str) -> str:
    """KWOK ends the pods of Jobs at once; one with the label WORKS goes on until a test ends it."""
    head, found, tail = text.partition("name: pod-complete\n")
    assert found, "KWOK's stages have no pod-complete"
    own = f"    matchExpressions:\n    - key: '.metadata.labels[\"{WORKS}\"]'\n      operator: 'DoesNotExist'\n"
    return head + found + tail.replace("    matchExpressions:\n", own, 1)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _ready(plane: ControlPlane) -> bool:
    if plane._children[1].poll() is not None:
        log = (plane.folder / "kube-apiserver.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the API server ended: {log}")
    try:
        plane.call("GET", "/readyz")
    except ValueError:  # it answers "ok", which is no JSON
        return True
    except (KubernetesError, OSError):
        return False
    return True


def _established(crd: Mapping[str, Any]) -> bool:
    conditions: Sequence[Mapping[str, Any]] = crd.get("status", {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


def _make_keys(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "sa.key").write_bytes(private)
    (folder / "sa.pub").write_bytes(public)


def _write_kubeconfig(plane: ControlPlane) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "test", "cluster": {"server": plane.server, "certificate-authority": str(plane.authority)}}
        ],
        "users": [{"name": "admin", "user": {"token": plane.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    plane.kubeconfig.write_text(json.dumps(document))
    plane.kubeconfig.chmod(0o600)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports
