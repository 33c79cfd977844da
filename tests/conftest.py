"""Fixtures of the whole suite: where the given data is, and the real parts that `make parts` installs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from kubernetes_plane import ControlPlane
    from mlflow_server import MlflowServer

ROOT = Path(__file__).resolve().parent.parent
CI = os.environ.get("CI", "") not in ("", "0", "false")

# pytest-xdist gives its workers a narrow terminal; tests that ask for a width say so themselves.
os.environ.pop("COLUMNS", None)

# Each worker of xdist would start a thread of BLAS for every core, and these wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A busy machine is slow, not wrong; CI draws the same examples for the same code, so that a red run can be repeated.
settings.register_profile("house", deadline=None, derandomize=CI, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")

# Debian calls the browser `chromium`; other systems have it under another name.
_ALIASES = {"chromium": ("chromium", "chromium-browser", "google-chrome")}


# The control plane is one part made of several programs and of files.
_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


def parts_folder() -> Path:
    """The cache that `make parts` fills (scripts/parts.sh reads the same variables)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("CUSTOMHOUSE_PARTS") or cache / "customhouse" / "parts")


def locate_part(name: str) -> Path | None:
    """The program of a part: from the cache first (that version is pinned), then from PATH.

    `kubernetes` is the whole control plane: the folder of its CRDs and stages, when its programs are there too.
    """
    if name == "kubernetes":
        files = parts_folder() / "kubernetes"
        whole = (files / "stages.yaml").is_file() and all(locate_part(program) for program in _PLANE)
        return files if whole else None
    own = parts_folder() / "bin" / name
    if own.is_file() and os.access(own, os.X_OK):
        return own
    for alias in _ALIASES.get(name, (name,)):
        if found := shutil.which(alias):
            return Path(found)
    return None


def _go_without(name: str) -> NoReturn:
    """Skip; fail in CI, but for a part that `make parts` left out because the machine is slow."""
    said = f"the part {name!r} is not installed: run `make parts`"
    (pytest.fail if CI and not (parts_folder() / "left-out" / name).exists() else pytest.skip)(said)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose part is missing and say how to get it; in CI a missing part is a failure."""
    for mark in item.iter_markers("part"):
        for name in mark.args:
            if locate_part(str(name)) is None:
                _go_without(str(name))


@pytest.fixture(scope="session")
def find_part() -> Callable[[str], Path]:
    """`find_part("opa")` is the program's path; a test that calls it without the marker skips (fails in CI) itself."""

    def find(name: str) -> Path:
        found = locate_part(name)
        if found is None:
            _go_without(name)
        return found

    return find


@pytest.fixture(scope="session")
def kubernetes(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real Kubernetes control plane, started once (3 s): keep to `kubernetes.namespace()`s of your own."""
    from kubernetes_plane import start_control_plane

    files = find_part("kubernetes")
    programs = {name: find_part(name) for name in _PLANE}
    plane = start_control_plane(tmp_path_factory.mktemp("kubernetes"), programs, files)
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def mlflow_server(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server, started once (8 s of its imports): keep to names of your own."""
    from mlflow_server import MlflowServer

    running = MlflowServer(find_part("mlflow"), tmp_path_factory.mktemp("mlflow"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The given data: a folder beside the repository, or CUSTOMHOUSE_SHARED_DATA. A clone alone does not have it."""
    named = os.environ.get("CUSTOMHOUSE_SHARED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: the given data is not part of a clone; set CUSTOMHOUSE_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The root of this clone."""
    return ROOT
