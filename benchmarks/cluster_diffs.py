"""Every given manifest on a real API server: is a second dry-run diff empty, and is every edit of a live object told?

    python benchmarks/cluster_diffs.py DATA [--edits 3000]

It starts a control plane of its own (`make parts`), with the definitions of the whole ecosystem. DATA is the folder of
the given data; `kustomize` is taken from the parts or PATH, the examples from this repository.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "conformance"))

from cluster_edits import Edit, Schemas, edits, plain
from cluster_manifests import LAST, Told, given, hold, layers, read
from kubernetes_floor import control_plane

from customhouse._kit.clock import SystemClock
from customhouse.control.convergence import Convergence
from customhouse.control.rounds import ObjectDrift
from customhouse.control.stages import Wanted
from customhouse.control.tracked import Inventories
from customhouse.core.cluster import Apply
from customhouse.core.sight import Key, key_of
from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
from customhouse.execution.adapters.kubernetes.kubeconfig import read_access
from customhouse.execution.health import health
from customhouse.execution.sightings import Sightings
from customhouse.testing.memory import MemoryStateStore
from kubernetes_plane import ControlPlane, KubernetesError

ROOT = Path(__file__).resolve().parent.parent
MANAGERS = ("kubectl-edit", "unknown-tool", "kubectl-client-side-apply", "k9s", "helm", "operator")
AN_OBJECT = 12
"""Edits of one object; more where it alone has a field of that sort."""


def define(plane: ControlPlane, cluster: KubernetesCluster) -> None:
    """The definitions of the ecosystem, served."""
    definitions = [item.manifest for item in read(given(plane.crds)) if item.ref.kind == "CustomResourceDefinition"]
    refused = [answer.problem for answer in cluster.write([Apply(item) for item in definitions]) if not answer.ok]
    print(f"{len(definitions) - len(refused)} definitions of the ecosystem are served", *refused)
    kinds = {_defines(item) for item in definitions}
    plane.until(lambda: kinds <= {(kind.group, kind.kind) for kind in cluster.discover().kinds} or refused, 600)


def built(manifests: Path, kustomize: Path) -> Iterator[tuple[str, bytes]]:
    """What kustomize makes of every kustomization of the folder; one that needs the network makes nothing."""
    for path in sorted(manifests.rglob("kustomization.yaml")):
        done = subprocess.run([kustomize, "build", path.parent], capture_output=True, check=False, timeout=60)
        if done.returncode == 0:
            yield f"{path.relative_to(manifests).as_posix()}.yaml", done.stdout


def second_diffs(cluster: KubernetesCluster, data: Path) -> Told:
    """All of it, a layer at a time: objects that are declared in several ways are applied in each of them."""
    manifests, told = data / "manifests", Told()
    kustomize = Path.home() / ".cache/customhouse/parts/bin/kustomize"
    files = [*given(manifests), *built(manifests, kustomize), *given(ROOT / "examples")]
    declared = read([*files, *given(ROOT / "src" / "customhouse" / "app" / "demo")])
    defined = [item for item in declared if item.ref.kind == "CustomResourceDefinition"]
    rest = [item for item in declared if item.ref.kind != "CustomResourceDefinition"]
    served = {(kind.group, kind.kind) for kind in cluster.discover().kinds}
    # Definitions that are there by now stay as they are until the end: those of the data may convert by a server.
    new = [item for item in defined if _defines(item.manifest) not in served]
    for layer in layers(cluster, new):
        hold(cluster, layer, told)
    time.sleep(5)
    for layer in layers(cluster, rest):
        hold(cluster, layer, told)
    for layer in layers(cluster, [item for item in defined if item not in new]):
        hold(cluster, layer, told)
    return told


def _defines(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Group and kind; of a patch, which has none, nothing that is served."""
    spec = manifest.get("spec") or {}
    return str(spec.get("group")), str((spec.get("names") or {}).get("kind"))


class Ahead:
    """A clock that can be set on: who edits an object every second is not answered every second."""

    def __init__(self) -> None:
        self._clock, self.by = SystemClock(), 0.0

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic() + self.by


@dataclass
class Outcome:
    """Of one edit: `told` as drift, `named`: with its manager and when, `healed`: undone."""

    edit: Edit
    kind: str
    manager: str
    told: bool
    named: bool
    healed: bool


class Editing:
    """A convergence of accepted objects, each of which is edited again and again."""

    def __init__(self, plane: ControlPlane, cluster: KubernetesCluster, items: Sequence[Wanted]) -> None:
        self.plane, self.cluster, self.clock = plane, cluster, Ahead()
        self.schemas = Schemas(plane)
        self.uid = plane.call("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
        self.paths = {
            (kind.group, kind.kind, kind.version): (kind.plural, kind.namespaced) for kind in cluster.discover().served
        }
        self.sight = Sightings(cluster, health, self.clock)
        inventory = Inventories(cluster, MemoryStateStore(), "edits", "edits", plane.namespace("edits"))
        self.convergence = Convergence(cluster, self.sight, inventory, self.clock)
        self.convergence.load()
        self.convergence.declare([item.declaration for item in items])
        self.items = items
        self.rounds = [self.convergence.step()]
        self.quiet({})

    def close(self) -> None:
        """End the watches."""
        self.sight.close()

    def quiet(self, versions: Mapping[Key, int]) -> list[ObjectDrift]:
        """Step until the watch has come to these versions and nothing is left to do; the drift that was told."""
        told: list[ObjectDrift] = []
        end, calm = time.monotonic() + 120, 0
        while calm < 3 and time.monotonic() < end:
            time.sleep(0.03)
            made = self.convergence.step()
            told += made.drift
            come = all((seen := self.sight.seen(key)) and seen.version >= at for key, at in versions.items())
            calm = calm + 1 if come and self.convergence.settled and not made.touched else 0
            self.clock.by += 1
        return told

    def place(self, manifest: Mapping[str, Any]) -> str:
        """The path of an object."""
        group, slash, version = str(manifest["apiVersion"]).rpartition("/")
        plural, namespaced = self.paths[group if slash else "", str(manifest["kind"]), version]
        room = f"/namespaces/{manifest['metadata']['namespace']}" if namespaced else ""
        root = f"/apis/{manifest['apiVersion']}" if slash else "/api/v1"
        return f"{root}{room}/{plural}/{manifest['metadata']['name']}"

    def put(self, manifest: dict[str, Any], manager: str) -> dict[str, Any] | None:
        """The object as it is after an edit; None when the API refuses it."""
        manifest = json.loads(json.dumps(manifest).replace('"@kube-system"', f'"{self.uid}"'))
        manifest["metadata"].pop("resourceVersion", None)
        try:
            return self.plane.call("PUT", f"{self.place(manifest)}?fieldManager={manager}", manifest)
        except KubernetesError:
            return None

    def run(self, most: int) -> list[Outcome]:
        """Edit: one edit an object a round, those of sorts and fields that were seldom so far first."""
        waiting = self._edits(most)
        found: list[Outcome] = []
        for number in range(max(map(len, waiting.values()), default=0)):
            found += self._round(
                [(key, found_edits[number]) for key, found_edits in waiting.items() if number < len(found_edits)],
                number,
            )
        return found

    def _edits(self, most: int) -> dict[Key, list[Edit]]:
        lives = self.cluster.get([item.ref for item in self.items])
        everything = [
            (item.key, edit)
            for item, live in zip(self.items, lives, strict=True)
            if live
            for edit in edits(live, self.schemas)
        ]
        random.Random(7).shuffle(everything)
        seen: Counter[tuple[str, str, str]] = Counter()
        ranked = []
        for key, edit in everything:
            place = (key[1], edit.sort, re.sub(r"/\d+", "/*", edit.pointer))
            ranked.append((seen[place], len(ranked), key, edit))
            seen[place] += 1
        chosen: dict[Key, list[Edit]] = defaultdict(list)
        for rank, _, key, edit in sorted(ranked, key=lambda row: row[:2]):
            if len(chosen[key]) < AN_OBJECT or rank == 0:
                chosen[key].append(edit)
        while sum(map(len, chosen.values())) > most:
            chosen[max(chosen, key=lambda key: len(chosen[key]))].pop()
        return chosen

    def _round(self, batch: Sequence[tuple[Key, Edit]], number: int) -> list[Outcome]:
        refs = {item.key: item.ref for item in self.items}
        lives = self.cluster.get([refs[key] for key, _ in batch])
        edited = {}
        for index, ((key, edit), live) in enumerate(zip(batch, lives, strict=True)):
            manager = MANAGERS[(index + number) % len(MANAGERS)]
            if live is None or (live.get("aggregationRule") and edit.pointer.startswith("/rules")):
                continue  # the cluster makes these rules of others, and puts them right itself
            after = self.put(edit.manifest, manager)
            if after is not None and plain(live) != plain(after):
                edited[key] = (edit, manager, live, int(after["metadata"]["resourceVersion"]))
        told = self.quiet({key: row[3] for key, row in edited.items()})
        told += self.convergence.drifting.values()
        now = self.cluster.get([refs[key] for key in edited])
        found = []
        for (key, (edit, manager, before, _)), live in zip(edited.items(), now, strict=True):
            said = [item for item in told if key_of(item.ref) == key]
            named = any(one.manager == manager and one.at for item in said for one in item.fields)
            healed = live is not None and plain(live) == plain(before)
            found.append(Outcome(edit, key[1], manager, bool(said), named, healed))
            if live is not None and not healed:
                self.put({**before, "metadata": {**before["metadata"]}}, "kube-controller-manager")
        self.clock.by += 300
        self.quiet({})
        return found


def edited(plane: ControlPlane, cluster: KubernetesCluster, data: Path, most: int) -> list[Outcome]:
    """So many edits of the objects of the files, each of which is declared in one way only."""
    declared = read([*given(data / "manifests"), *given(ROOT / "examples")])
    left = ("CustomResourceDefinition", "Namespace", "Pod", *LAST)
    layer = layers(cluster, [item for item in declared if item.ref.kind not in left])[0]
    told = Told()
    hold(cluster, layer, told)
    refused = {id(item) for item, _ in told.refused}
    found = Editing(plane, cluster, [item for item in layer if id(item.declaration) not in refused])
    try:
        return found.run(most)
    finally:
        found.close()


def say_diffs(told: Told) -> None:
    """The figures of the second diffs; what was refused goes to standard error."""
    print(f"{told.accepted} objects of {len(told.kinds)} kinds were accepted, {len(told.refused)} refused")
    print(f"a second dry run differs for {len(told.unequal)}; a second apply wrote {len(told.rewritten)}")
    for ref, fields in told.unequal:
        print("  differs:", ref, *fields[:3])
    for ref in told.rewritten:
        print("  written:", ref)
    reasons = Counter((answer.refusal.value if answer.refusal else "") for _, answer in told.refused)
    print("refused:", ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()))
    for item, answer in told.refused:
        print("  refused:", item.ref, answer.problem[:160], file=sys.stderr)


def say_edits(found: Sequence[Outcome]) -> None:
    """The figures of the edits by kind of field, and each that was not told."""
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for item in found:
        rows[item.edit.sort].append(item)
    rows["all"] = list(found)
    print(f"{'kind of field and edit':32} edits  told with manager and time  undone")
    for sort in sorted(rows):
        of = rows[sort]
        counts = (sum(item.told for item in of), sum(item.named for item in of), sum(item.healed for item in of))
        print(f"{sort:32} {len(of):5} {counts[0]:5} {counts[1]:21} {counts[2]:7}")
    for item in sorted((item for item in found if not item.told), key=lambda item: (item.edit.sort, item.kind)):
        print("  not told:", item.edit.sort, item.kind, item.edit.pointer, "by", item.manager)


def main() -> int:
    """Start a control plane, hold everything against it, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--edits", type=int, default=0)
    options = parser.parse_args()
    with control_plane() as plane, KubernetesCluster(read_access([plane.kubeconfig]), {}, SystemClock()) as cluster:
        define(plane, cluster)
        told = second_diffs(cluster, options.data)
        say_diffs(told)
        if options.edits:
            say_edits(edited(plane, cluster, options.data, options.edits))
    return 1 if told.unequal or told.rewritten else 0


if __name__ == "__main__":
    raise SystemExit(main())
