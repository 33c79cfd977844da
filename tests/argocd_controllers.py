"""Argo CD's own application controller and repository server on a control plane of a test, for one namespace.

Redis is Debian's. Kustomize and Helm are the parts'.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import free_port

ARGO = "/apis/argoproj.io/v1alpha1"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KINDS = ("applications", "applicationsets", "appprojects")


@contextmanager
def argocd_on(plane: ControlPlane, programs: Mapping[str, Path], folder: Path, namespace: str) -> Iterator[None]:
    """Both, for the Applications of one namespace, until the end of the block; the definitions go with them.

    In the cluster of other tests Applications are files that nobody applies: so the definitions may not stay.
    """
    plane.install_crds("argo-cd")
    labels = {"app.kubernetes.io/part-of": "argocd"}
    for kind, name in (("ConfigMap", "argocd-cm"), ("Secret", "argocd-secret")):
        metadata = {"name": name, "namespace": namespace, "labels": labels}
        plane.apply(
            f"/api/v1/namespaces/{namespace}/{kind.lower()}s/{name}",
            {"apiVersion": "v1", "kind": kind, "metadata": metadata},
        )
    everything = {
        "sourceRepos": ["*"],
        "destinations": [{"server": "*", "namespace": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    }
    project = {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "spec": everything}
    place = f"{ARGO}/namespaces/{namespace}/appprojects/default"
    plane.apply(place, {**project, "metadata": {"name": "default", "namespace": namespace}})
    redis, port = free_port(), free_port()
    children = [
        _started(
            plane,
            folder,
            "redis",
            [programs["redis-server"], "--port", str(redis), "--save", "", "--bind", "127.0.0.1"],
        ),
        _started(
            plane,
            folder,
            "argocd-repo-server",
            [
                programs["argocd"],
                *("--disable-tls", "--address=127.0.0.1", f"--port={port}", f"--redis=127.0.0.1:{redis}"),
                *("--metrics-address=127.0.0.1", f"--metrics-port={free_port()}", "--revision-cache-expiration=1s"),
            ],
        ),
        _started(
            plane,
            folder,
            "argocd-application-controller",
            [
                programs["argocd"],
                *(f"--kubeconfig={plane.kubeconfig}", f"--namespace={namespace}", f"--redis=127.0.0.1:{redis}"),
                *(f"--repo-server=127.0.0.1:{port}", "--repo-server-plaintext", f"--metrics-port={free_port()}"),
                *("--app-resync=3", "--app-resync-jitter=0"),
            ],
        ),
    ]
    try:
        yield
        place = f"{ARGO}/namespaces/{namespace}/applications"
        plane.call("DELETE", place)
        plane.until(lambda: not plane.call("GET", place)["items"], 240)
    finally:
        for child in reversed(children):
            child.kill()
            child.wait()
        for kind in _KINDS:
            plane.call("DELETE", f"{_DEFINITIONS}/{kind}.argoproj.io")
        plane.until(lambda: not any(_is_there(plane, f"{_DEFINITIONS}/{kind}.argoproj.io") for kind in _KINDS), 240)


def _started(plane: ControlPlane, folder: Path, name: str, command: list[Path | str]) -> subprocess.Popen[bytes]:
    place = folder / "argocd"
    place.mkdir(exist_ok=True)
    variables = {
        "ARGOCD_BINARY_NAME": name,
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_TLS_DATA_PATH": str(place / "tls"),
        "ARGOCD_SSH_DATA_PATH": str(place / "ssh"),
        "ARGOCD_PLUGINSOCKFILEPATH": str(place / "plugins"),
        "HOSTNAME": "argocd-application-controller-0",
        "KUBECONFIG": str(plane.kubeconfig),
        "TMPDIR": str(place),
        "HOME": str(place),
        "PATH": f"{plane.crds.parents[1] / 'bin'}:{os.environ['PATH']}",
        "GOMAXPROCS": "2",
    }
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **variables}, cwd=place)


def _is_there(plane: ControlPlane, place: str) -> bool:
    try:
        plane.call("GET", place)
    except KubernetesError:
        return False
    return True
