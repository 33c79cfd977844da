"""What a cluster that is full, and one that is killed in the middle, does to what is declared: a run with real parts.

    python benchmarks/cluster_faults.py

It starts a control plane of its own (`make parts`) whose etcd has room for 24 MiB, fills it until etcd takes nothing
more, declares a commit that changes, makes and deletes objects, makes room again, and looks at what came of it. Then
the API server is killed and started again while another commit is applied.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "integration"))

from convergence_world import ConvergenceWorld, config_map

from kubernetes_plane import ControlPlane, KubernetesError, start_control_plane

ROOM = 24 * 1024 * 1024
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")


def main() -> int:
    """Run both; 1 when something was lost or deleted by mistake."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parts = Path(os.environ.get("CUSTOMHOUSE_PARTS") or cache / "customhouse" / "parts")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        programs = {program: parts / "bin" / program for program in NAMES}
        small = folder / "small" / "etcd"
        small.parent.mkdir()
        small.write_text(f'#!/bin/sh\nexec {programs["etcd"]} --quota-backend-bytes {ROOM} "$@"\n')
        small.chmod(0o700)
        (folder / "plane").mkdir()
        plane = start_control_plane(folder / "plane", {**programs, "etcd": small}, parts / "kubernetes")
        try:
            full = full_etcd(plane)
            killed = killed_api(plane)
        finally:
            plane.stop()
    return 0 if full and killed else 1


def maps(place: str, text: str, count: int) -> list[dict[str, Any]]:
    """So many declared objects."""
    return [config_map(f"c{number:02}", place, text=text) for number in range(count)]


def full_etcd(plane: ControlPlane) -> bool:
    """Whether a commit during which etcd was full is applied after it, and nothing else was touched."""
    world = ConvergenceWorld(plane)
    place = plane.namespace("full")
    world.declare(*maps(place, "1", 10))
    world.settle()
    waste = plane.namespace("waste")
    filled = 0
    while filled < 200:
        big = config_map(f"w{filled:03}", waste, text="x" * 900_000)
        try:
            plane.call("POST", f"/api/v1/namespaces/{waste}/configmaps", big)
        except KubernetesError as error:
            print(f"full after {filled} MB: {error}")
            break
        filled += 1
    world.declare(*maps(place, "2", 8), config_map("new", place, text="2"))
    end, said = time.monotonic() + 60, ""
    while not said and time.monotonic() < end:
        try:
            world.convergence.step()
            said = next(iter(world.convergence.problems.values()), "")
        except Exception as error:  # noqa: BLE001 - `up` tells it and goes on
            said = f"{type(error).__name__}: {error}"
    print(f"told meanwhile: {said[:200]}")
    held = _texts(plane, place)
    print(f"meanwhile: {len(held)} of 10 objects are there, as before: {set(held.values()) == {'1'}}")
    for number in range(filled):
        plane.call("DELETE", f"/api/v1/namespaces/{waste}/configmaps/w{number:03}")
    _make_room(plane)
    end = time.monotonic() + 120
    wanted = {f"c{number:02}": "2" for number in range(8)} | {"new": "2"}
    while time.monotonic() < end and _texts(plane, place) != wanted:
        try:
            world.convergence.step()
        except Exception as error:  # noqa: BLE001
            said = str(error)
        time.sleep(0.2)
    found = _texts(plane, place)
    print(
        f"with room again: as declared {found == wanted}; two that left are gone: {not {'c08', 'c09'} & found.keys()}"
    )
    world.end()
    return found == wanted and len(held) == 10


def _make_room(plane: ControlPlane) -> None:
    """Compact and defragment, and take the alarm away: what etcd's documentation says to do."""
    command = plane._children[0].args  # noqa: SLF001 - what was started is said nowhere else
    assert isinstance(command, list)
    client = str(command[command.index("--listen-client-urls") + 1])

    def post(path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{client}/v3/{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    revision = post("kv/range", {"key": "AA=="})["header"]["revision"]
    post("kv/compaction", {"revision": revision, "physical": True})
    post("maintenance/defragment", {})
    for alarm in post("maintenance/alarm", {"action": "GET"}).get("alarms", ()):
        post("maintenance/alarm", {"action": "DEACTIVATE", **alarm})


def killed_api(plane: ControlPlane) -> bool:
    """Whether a commit is applied whole although the API server is killed in the middle and comes back."""
    world = ConvergenceWorld(plane, "killed")
    place = plane.namespace("killed")
    world.declare(*maps(place, "1", 90))
    world.settle()
    server = plane._children[1]  # noqa: SLF001

    def kill() -> None:
        time.sleep(0.1)
        server.kill()
        server.wait()
        with (plane.folder / "again.log").open("wb") as log:
            again = subprocess.Popen(server.args, stdout=log, stderr=log, cwd=plane.folder)
            plane._children[1] = again  # noqa: SLF001 - so that it is ended with the others

    world.declare(*maps(place, "2", 80))
    thread = threading.Thread(target=kill)
    thread.start()
    wanted = {f"c{number:02}": "2" for number in range(80)}
    end, told = time.monotonic() + 180, set[str]()
    while time.monotonic() < end:
        try:
            world.convergence.step()
            told |= {text[:90] for text in world.convergence.problems.values()}
            if world.convergence.settled and not world.convergence.waiting() and not thread.is_alive():
                break
        except Exception as error:  # noqa: BLE001
            told.add(f"{type(error).__name__}: {error}"[:90])
        time.sleep(0.1)
    found = plane.until(lambda: _texts(plane, place), 60)
    print(f"killed API server: as declared {found == wanted}; told meanwhile: {sorted(told)[:3]}")
    world.end()
    return bool(found == wanted)


def _texts(plane: ControlPlane, place: str) -> dict[str, str]:
    items = plane.call("GET", f"/api/v1/namespaces/{place}/configmaps")["items"]
    return {item["metadata"]["name"]: item["data"]["text"] for item in items if "text" in item.get("data", {})}


if __name__ == "__main__":
    raise SystemExit(main())
