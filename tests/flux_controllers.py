"""Flux's own source-controller and kustomize-controller on a control plane of a test, for one namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes_plane import ControlPlane, KubernetesError
from prometheus_server import free_port

SOURCES = "/apis/source.toolkit.fluxcd.io/v1"
KUSTOMIZE = "/apis/kustomize.toolkit.fluxcd.io/v1"
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_KINDS = (
    *(f"{name}.source.toolkit.fluxcd.io" for name in ("gitrepositories", "ocirepositories", "buckets", "helmcharts")),
    *(f"{name}.source.toolkit.fluxcd.io" for name in ("helmrepositories", "externalartifacts")),
    "kustomizations.kustomize.toolkit.fluxcd.io",
)


@contextmanager
def flux_on(plane: ControlPlane, programs: Mapping[str, Path], folder: Path, namespace: str) -> Iterator[None]:
    """Both controllers, looking at one namespace, until the end of the block; its definitions go with them.

    In the cluster of other tests Flux's objects are files that nobody applies: so the definitions may not stay.
    """
    plane.install_crds("flux-source", "flux-kustomize")
    address = f"127.0.0.1:{free_port()}"
    storage = (f"--storage-path={folder / 'flux'}", f"--storage-addr={address}", f"--storage-adv-addr={address}")
    children = [
        _started(plane, programs["source-controller"], folder, namespace, *storage),
        _started(plane, programs["kustomize-controller"], folder, namespace),
    ]
    try:
        yield
        for kind in ("kustomizations", "gitrepositories"):
            place = f"{KUSTOMIZE if kind == 'kustomizations' else SOURCES}/namespaces/{namespace}/{kind}"
            plane.call("DELETE", place)
            plane.until(lambda place=place: not plane.call("GET", place)["items"], 240)
    finally:
        for child in children:
            child.kill()
            child.wait()
        for name in _KINDS:
            plane.call("DELETE", f"{_DEFINITIONS}/{name}")
        plane.until(lambda: not any(_is_there(plane, f"{_DEFINITIONS}/{name}") for name in _KINDS), 240)


def _started(
    plane: ControlPlane, program: Path, folder: Path, namespace: str, *options: str
) -> subprocess.Popen[bytes]:
    (folder / "flux").mkdir(exist_ok=True)
    quiet = ("--metrics-addr=0", "--health-addr=127.0.0.1:0", "--log-encoding=console")
    variables = {"KUBECONFIG": str(plane.kubeconfig), "RUNTIME_NAMESPACE": namespace, "TMPDIR": str(folder)}
    with (folder / f"{program.name}.log").open("wb") as log:
        return subprocess.Popen(
            [program, "--watch-all-namespaces=false", *quiet, *options],
            stdout=log,
            stderr=log,
            env={**os.environ, **variables, "GOMAXPROCS": "2"},
            cwd=folder,
        )


def _is_there(plane: ControlPlane, place: str) -> bool:
    try:
        plane.call("GET", place)
    except KubernetesError:
        return False
    return True


def git_repository(name: str, namespace: str, url: str, branch: str = "main") -> dict[str, Any]:
    """A GitRepository that is looked at each second."""
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"interval": "1s", "url": url, "ref": {"branch": branch}},
    }


def kustomization(name: str, namespace: str, source: str, path: str, **more: Any) -> dict[str, Any]:
    """A Kustomization that prunes and waits."""
    spec = {"interval": "10m", "retryInterval": "2s", "timeout": "2m", "prune": True, "wait": True, "path": path}
    return {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**spec, "sourceRef": {"kind": "GitRepository", "name": source}, **more},
    }
