"""`customhouse up` as a whole on a real API server: a fleet of model applications from one push on, beside the floor.

    python benchmarks/kubernetes_fleet.py [--apps 1000] [--changes 50] [--heals 50]

It starts control planes of its own (`make parts`), one for the floor and then one for the rest, a bare Git repository
and `customhouse up` as users start it (with `opa` on PATH it may ask that instead of the built-in engine). An
application is a file of four objects: a ConfigMap, a Service, a Deployment without replicas and a
HorizontalPodAutoscaler. The floor is plain concurrent server-side apply of the same objects in the same run
(`kubernetes_floor.plain`). Then: one push with all of them, until they are applied; a push that changes no object; a
minute without news; pushes that change one application each, from the start of `git push` until a watch tells of the
new content; edits by hand, from their watch event until that of the correction; a restart. CPU seconds and memory are
those of `up` with its engine and its git programs; writes are counted by the API server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kubernetes_floor import application, control_plane, plain

from kubernetes_plane import ControlPlane

RULES = """\
apiVersion: customhouse.dev/v1
target:
  kind: kubernetes
  kubeconfig: KUBECONFIG
  mode: manage
tiers:
  definitions:
    standard:
      requiredEvidence: []
policy:
  requireSignedCommits: false
  trustedRegistries: [registry.example]
optimiser:
  autonomy: observe
budgets:
  - name: fleet
    monthly: "90000000"
    labels: {team: fleet}
prices:
  maxAgeDays: 3650
"""
LABELS = {f"customhouse.dev/{name}": "fleet" for name in ("owner", "team", "project", "cost-centre")}
HARDENED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_TICKS = os.sysconf("SC_CLK_TCK")


def declared(index: int, namespace: str, revision: str = "1") -> list[dict[str, Any]]:
    """The objects of one application, as the rules want them."""
    made = list(application(index, namespace, revision))
    for item in made:
        item["metadata"] = {**item["metadata"], "labels": {**item["metadata"]["labels"], **LABELS}}
    pod = made[2]["spec"]["template"]
    pod["metadata"]["labels"] = {**pod["metadata"]["labels"], **LABELS}
    pod["spec"]["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod["spec"]["containers"][0]["securityContext"] = HARDENED
    pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "500m"
    return made


class Fleet:
    """The repository that is followed."""

    def __init__(self, root: Path, plane: ControlPlane, count: int, namespace: str) -> None:
        self.root, self.count, self.namespace = root, count, namespace
        self.remote, self.clone = root / "remote.git", root / "clone"
        self._git(root, "init", "-q", "--bare", "-b", "main", str(self.remote))
        self._git(root, "init", "-q", "-b", "main", str(self.clone))
        self._git(self.clone, "remote", "add", "origin", str(self.remote))
        self.push({"customhouse.yaml": RULES.replace("KUBECONFIG", str(plane.kubeconfig))})

    def push(self, files: dict[str, str]) -> float:
        """Commit and push; when `git push` began (seconds of the monotonic clock)."""
        for name, text in files.items():
            place = self.clone / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        self._git(self.clone, "add", "--", *(files if len(files) < 50 else ["."]))
        self._git(self.clone, "commit", "-q", "-m", "change")
        began = time.monotonic()
        self._git(self.clone, "push", "-q", "origin", "HEAD:main")
        return began

    def text(self, index: int, revision: str = "1") -> str:
        """One application as a file."""
        import yaml

        return "---\n".join(
            yaml.dump(item, Dumper=yaml.CSafeDumper) for item in declared(index, self.namespace, revision)
        )

    @staticmethod
    def name(index: int) -> str:
        """Where it lies."""
        return f"teams/t{index % 50}/model-{index:05}.yaml"

    @staticmethod
    def _git(folder: Path, *arguments: str) -> None:
        named = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "gc.auto=0"]
        subprocess.run(["git", *named, *arguments], cwd=folder, check=True)


class Watched:
    """What a watch of the namespace's ConfigMaps tells: when (monotonic) each name got each content."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.seen: dict[tuple[str, str], list[float]] = {}
        self.news = threading.Condition()
        self._ended = False
        context = ssl.create_default_context(cafile=str(plane.authority))
        place = f"{plane.server}/api/v1/namespaces/{namespace}/configmaps?watch=1"
        request = urllib.request.Request(place)
        request.add_header("Authorization", f"Bearer {plane.token}")
        self._answer = urllib.request.urlopen(request, context=context)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self._answer:
                at, told = time.monotonic(), json.loads(line)
                item = told["object"]
                with self.news:
                    key = (item["metadata"]["name"], (item.get("data") or {}).get("rev", ""))
                    self.seen.setdefault(key, []).append(at)
                    self.news.notify_all()

    def when(self, name: str, revision: str, after: float, patience: float = 120) -> float:
        """When the content was seen first after a moment. Raises TimeoutError."""
        found: list[float] = []

        def there() -> bool:
            found[:] = [at for at in self.seen.get((name, revision), ()) if at > after][:1]
            return bool(found)

        with self.news:
            if not self.news.wait_for(there, patience):
                raise TimeoutError(f"{name} did not become {revision} within {patience} s")
        return found[0]


@dataclass
class Spent:
    """Seconds by the clock, CPU seconds of `up` and its children, writes as the API server counts them."""

    seconds: float
    cpu: float
    writes: int


class Up:
    """`customhouse up` as a process, and what it takes."""

    def __init__(self, fleet: Fleet, plane: ControlPlane) -> None:
        self.fleet, self.plane = fleet, plane
        self.most = 0.0
        self.alone = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._sampling = threading.Event()

    def start(self) -> None:
        """Start it, and the sampling of its memory."""
        command = [str(Path(sys.executable).parent / "customhouse"), "up", "--repo", str(self.fleet.remote)]
        if profile := os.environ.get("FLEET_PROFILE"):  # of what is here, not of what is installed
            self.starts = getattr(self, "starts", 0) + 1
            command = [sys.executable, "-m", "cProfile", "-o", f"{profile}.{self.starts}", *command]
        command += ["--port", "0", "--state", str(self.fleet.root / ".customhouse")]
        command += os.environ.get("FLEET_OPTIONS", "").split()
        with (self.fleet.root / "up.log").open("a") as log:
            environment = {**os.environ, "HOME": str(self.fleet.root)}
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, text=True, cwd=self.fleet.root, env=environment
            )
        self._sampling.clear()
        threading.Thread(target=self._sample, args=(self._process.pid,), daemon=True).start()

    def end(self) -> None:
        """End it as a person does."""
        assert self._process is not None
        self._sampling.set()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def _sample(self, pid: int) -> None:
        while not self._sampling.wait(0.2):
            held = {process: _proportional(process) for process in _family(pid)}
            self.most = max(self.most, sum(held.values()))
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                self.alone = max([self.alone, *(int(one) / 1024 for one in re.findall(r"VmHWM:\s+(\d+)", status))])

    def cpu(self) -> float:
        """CPU seconds so far, of it, of what it started, and of what of that has ended."""
        assert self._process is not None
        ticks = 0
        for process in _family(self._process.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += sum(map(int, fields[11:15]))
        return ticks / _TICKS

    def status(self) -> dict[str, Any]:
        """The board's picture; empty while there is none."""
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.fleet.root / ".customhouse" / "overview.json").read_text())
            return found
        return {}

    def until(self, holds: Callable[[], bool], patience: float = 900) -> None:
        """Wait for something. Raises TimeoutError with what `up` says."""
        end = time.monotonic() + patience
        while not holds():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > end:
                raise TimeoutError((self.fleet.root / "up.log").read_text()[-3000:])
            time.sleep(0.05)

    @contextlib.contextmanager
    def measured(self) -> Iterator[Spent]:
        """What a piece of work took, from here to where the block ends."""
        spent = Spent(0, 0, 0)
        began, cpu, writes = time.monotonic(), self.cpu(), _writes(self.plane)
        yield spent
        spent.seconds, spent.cpu = time.monotonic() - began, self.cpu() - cpu
        spent.writes = _writes(self.plane) - writes


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    found, at = [pid], 0
    while at < len(found):
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{found[at]}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        at += 1
    return found


def _proportional(pid: int) -> float:
    """MiB, what is shared shared out."""
    with contextlib.suppress(OSError, IndexError):
        return int(re.findall(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[0]) / 1024
    return 0.0


def _ask(plane: ControlPlane, path: str, body: bytes | None = None) -> str:
    request = urllib.request.Request(f"{plane.server}{path}", body, method="GET" if body is None else "PATCH")
    request.add_header("Authorization", f"Bearer {plane.token}")
    if body is not None:
        request.add_header("Content-Type", "application/merge-patch+json")
    context = ssl.create_default_context(cafile=str(plane.authority))
    with urllib.request.urlopen(request, context=context) as answer:
        return str(answer.read().decode())


def _writes(plane: ControlPlane) -> int:
    """Server-side applies, patches and deletions so far; leases and events, and what controllers update, are none."""
    total = 0.0
    for line in _ask(plane, "/metrics").splitlines():
        if line.startswith("apiserver_request_total{") and 'dry_run=""' in line:
            verb, what = (re.findall(f'{name}="([^"]*)"', line)[0] for name in ("verb", "resource"))
            if verb in ("APPLY", "DELETE") and what != "leases":
                total += float(line.rsplit(" ", 1)[1])
    return int(total)


def _count(plane: ControlPlane, namespace: str, place: str) -> int:
    """How many objects of a kind there are, without having them sent."""
    told = json.loads(_ask(plane, f"{place.format(namespace)}?limit=1"))
    return len(told["items"]) + int(told["metadata"].get("remainingItemCount") or 0)


LISTS = (
    "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "/apis/apps/v1/namespaces/{}/deployments",
    "/api/v1/namespaces/{}/services",
    "/api/v1/namespaces/{}/configmaps",
)


def _all_there(plane: ControlPlane, namespace: str, count: int) -> bool:
    extra = {LISTS[3]: 1}  # kube-root-ca.crt
    return all(_count(plane, namespace, place) >= count + extra.get(place, 0) for place in LISTS)


def main() -> None:
    """Start everything and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--heals", type=int, default=50)
    parser.add_argument("--idle", type=float, default=60)
    parser.add_argument("--floor", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        print(json.dumps(_floor(*options.floor, count=options.apps)))
        return
    # In a control plane of its own: what its controllers go on doing with a thousand applications takes half a core.
    with control_plane() as plane:
        floor = _floor_beside(plane, options.apps)
    with control_plane() as plane, tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        _measure(plane, Path(folder), options, floor)


def _floor(server: str, token: str, authority: str, namespace: str, *, count: int) -> float:
    objects = [item for index in range(count) for item in declared(index, namespace)]
    began = time.perf_counter()
    refused = asyncio.run(plain((server, token, authority), objects))
    assert not refused
    return time.perf_counter() - began


def _floor_beside(plane: ControlPlane, count: int) -> float:
    command = [sys.executable, __file__, "--apps", str(count), "--floor", plane.server, plane.token]
    done = subprocess.run(
        [*command, str(plane.authority), plane.namespace("floor")], check=True, stdout=subprocess.PIPE
    )
    return float(json.loads(done.stdout))


def _measure(plane: ControlPlane, root: Path, options: argparse.Namespace, floor: float) -> None:
    count = options.apps
    namespace = plane.namespace("fleet")
    fleet = Fleet(root, plane, count, namespace)
    up = Up(fleet, plane)
    up.start()
    up.until(lambda: up.status().get("deployed", "") != "")
    print(f"{count} applications, {4 * count} objects; floor {floor:.2f} s; {up.alone:.0f} MiB before them", flush=True)
    files = {fleet.name(index): fleet.text(index) for index in range(count)}
    with up.measured() as first:
        began = fleet.push(files)
        up.until(lambda: _all_there(plane, namespace, count))
        ended = time.monotonic()
        _settled(up)
    print(
        f"  one push, until all is applied {ended - began:7.2f} s ({(ended - began) / floor:.2f} × floor), until it is"
        f" written down {first.seconds:.1f} s, {first.cpu:.1f} CPU-s, {first.writes} writes, "
        f"{up.alone:.0f} MiB ({up.most:.0f} with engine and git)",
        flush=True,
    )
    _told("quiet at first (10 s)", _waited(up, 10), first)
    with up.measured() as none:
        fleet.push({"README.md": "nothing of this is an object\n"})
        _settled(up)
    _told("a push that changes no object", none, first)
    _told(f"no news for {options.idle:.0f} s", _waited(up, options.idle), first)
    _one_by_one(up, plane, fleet, options)
    with up.measured() as restart:
        up.end()
        up.start()
        before = restart_cpu = 0.0
        up.until(lambda: up.status().get("problem", "x") == "", 120)
        time.sleep(15)
        restart_cpu = up.cpu()
    restart.cpu = restart_cpu - before
    _told("a restart, and 15 s after it", restart, first)
    print(f"  most memory {up.alone:.0f} MiB ({up.most:.0f} with engine and git)")
    print(f"  it says: {up.status().get('problem')!r}; so far: {(root / 'up.log').read_text()[-800:]!r}")
    up.end()


def _settled(up: Up) -> None:
    head = subprocess.run(
        ["git", "rev-parse", "main"], cwd=up.fleet.remote, check=True, capture_output=True, text=True
    ).stdout.strip()
    up.until(lambda: up.status().get("deployed") == head and not up.status()["cluster"].get("waiting"))


def _waited(up: Up, seconds: float) -> Spent:
    with up.measured() as spent:
        time.sleep(seconds)
    return spent


def _told(what: str, spent: Spent, first: Spent) -> None:
    share = 100 * spent.cpu / first.cpu
    print(
        f"  {what}: {spent.seconds:.1f} s, {spent.cpu:.2f} CPU-s ({share:.1f} % of the push's), {spent.writes} writes",
        flush=True,
    )


def _one_by_one(up: Up, plane: ControlPlane, fleet: Fleet, options: argparse.Namespace) -> None:
    watched = Watched(plane, fleet.namespace)
    times = []
    with up.measured() as spent:
        for number in range(options.changes):
            index = number * 7 % fleet.count
            began = fleet.push({fleet.name(index): fleet.text(index, f"c{number}")})
            times.append(watched.when(f"model-{index:05}", f"c{number}", began) - began)
    _spread("changed", times, spent)
    times = []
    with up.measured() as spent:
        for number in range(options.heals):
            index = number * 11 % fleet.count
            name = f"model-{index:05}"
            right = (
                next(revision for one, revision in reversed(watched.seen) if one == name)
                if any(one == name for one, _ in watched.seen)
                else "1"
            )
            began = time.monotonic()
            path = f"/api/v1/namespaces/{fleet.namespace}/configmaps/{name}?fieldManager=kubectl-edit"
            _ask(plane, path, json.dumps({"data": {"rev": f"mine-{number}"}}).encode())
            told = watched.when(name, f"mine-{number}", began)
            times.append(watched.when(name, right, told) - told)
    _spread("healed", times, spent)


def _spread(what: str, times: list[float], spent: Spent) -> None:
    if not times:
        return
    times = sorted(times)
    worst = times[min(len(times) - 1, int(0.99 * len(times)))]
    print(
        f"  one {what}, {len(times)} times: p50 {statistics.median(times):.3f} s, p99 {worst:.3f} s, "
        f"{1e3 * spent.cpu / len(times):.0f} CPU-ms each",
        flush=True,
    )


if __name__ == "__main__":
    main()
