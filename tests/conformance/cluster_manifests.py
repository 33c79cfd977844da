"""The given manifests on a real API server: applied, then asked about again by dry runs, as `customhouse plan` does.

Shared by the conformance test, which takes what plain Kubernetes and KServe serve, and `benchmarks/cluster_diffs.py`,
which takes all of it, with the definitions of the whole ecosystem.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from customhouse.control.drift import FieldDrift
from customhouse.control.preview import preview
from customhouse.control.render import render
from customhouse.control.stages import Wanted, in_place, wanted, without_aggregated
from customhouse.control.tracked import Tracked
from customhouse.core.cluster import Apply, Cluster, Delete, Refusal, Written
from customhouse.core.errors import CustomhouseError, TargetError
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.core.sight import Key, key_of

# They answer for all that is written after them, with servers that are not there: tried last, one by one, and removed.
LAST = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService", "ValidatingAdmissionPolicy")
_SAME_AGAIN = 40


@dataclass
class Told:
    """What became of the objects. `unequal` must stay empty."""

    accepted: int = 0
    kinds: set[tuple[str, str]] = field(default_factory=set)
    refused: list[tuple[Declaration, Written]] = field(default_factory=list)
    unequal: list[tuple[ResourceRef, Sequence[FieldDrift]]] = field(default_factory=list)
    """Objects of which a second dry run gives another state."""
    rewritten: list[ResourceRef] = field(default_factory=list)
    """Objects whose version a second real apply raised."""


def read(files: Iterable[tuple[str, bytes]]) -> list[Declaration]:
    """The objects of the files, each as often as it is declared otherwise; a file that is none has none."""
    found: dict[tuple[Key, str], Declaration] = {}
    for name, data in files:
        try:
            declared = render({name: data})
        except CustomhouseError:
            continue
        for item in declared:
            found.setdefault((key_of(item.ref), item.digest), item)
    return list(found.values())


def given(manifests: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the folder that may hold objects."""
    for path in sorted(manifests.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json") and path.stem != "kustomization" and path.name != "Chart.yaml":
            yield path.relative_to(manifests).as_posix(), path.read_bytes()


def layers(cluster: Cluster, declared: Iterable[Declaration]) -> list[list[Wanted]]:
    """One object once in each layer, all in the place where the API has them."""
    scopes = {(kind.group, kind.kind): kind.namespaced for kind in cluster.discover().kinds}
    made: list[dict[Key, Wanted]] = []
    for item in declared:
        ref = item.ref
        group, slash, _ = ref.api_version.rpartition("/")
        if not scopes.get((group if slash else "", ref.kind), True):
            ref = ResourceRef(ref.api_version, ref.kind, "", ref.name)
        try:
            one = wanted(item, ref, correct=True)
        except TargetError:
            continue
        place = next((layer for layer in made if one.key not in layer), None)
        if place is None:
            place = {}
            made.append(place)
        place[one.key] = one
    return [sorted(layer.values(), key=lambda one: (one.ref.kind in LAST, one.order)) for layer in made]


def make_rooms(cluster: Cluster, items: Sequence[Wanted]) -> None:
    """The namespaces that the objects are for."""
    rooms = {item.ref.namespace for item in items} - {""}
    named = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": room}} for room in sorted(rooms)]
    cluster.write([Apply(room) for room in named])


def hold(cluster: Cluster, items: Sequence[Wanted], told: Told) -> None:
    """Apply the objects, ask what a second run would change, and apply them a second time."""
    make_rooms(cluster, items)
    plain = [item for item in items if item.ref.kind not in LAST]
    _hold(cluster, plain, told)
    for item in items:
        if item.ref.kind in LAST:
            _hold(cluster, [item], told)
            cluster.write([Delete(item.ref)])


def shaped(item: Wanted) -> Manifest:
    """What is sent of an object."""
    return without_aggregated(in_place(item.declaration.manifest, item.ref))


def _hold(cluster: Cluster, items: Sequence[Wanted], told: Told) -> None:
    answers = list(cluster.write([Apply(shaped(item), force=True) for item in items]))
    for index, (item, answer) in enumerate(zip(items, answers, strict=True)):
        if answer.refusal is Refusal.INVALID and "immutable" in answer.problem:  # it is there from a layer before
            cluster.write([Delete(item.ref)])
            answers[index] = cluster.write([Apply(shaped(item), force=True)])[0]
    taken = []
    for item, answer in zip(items, answers, strict=True):
        if answer.ok:
            taken.append(item)
        else:
            told.refused.append((item.declaration, answer))
    told.accepted += len(taken)
    told.kinds |= {(item.key[0], item.key[1]) for item in taken}
    entries = {item.key: Tracked(item.ref, "known", digest=item.digest) for item in taken}
    told.unequal += [(found.ref, found.fields) for found in preview(cluster, taken, entries)]
    versions = [_version(live) for live in cluster.get([item.ref for item in taken])]
    again = cluster.write([Apply(shaped(item), force=True) for item in taken])
    for item, version, answer in zip(taken, versions, again, strict=True):
        if _version(answer.manifest) != version and not _settling(cluster, item):
            told.rewritten.append(item.ref)


def _settling(cluster: Cluster, item: Wanted) -> bool:
    """Whether it was a controller that wrote meanwhile: then an apply after that writes nothing."""
    for _ in range(_SAME_AGAIN):
        (live,) = cluster.get([item.ref])
        (again,) = cluster.write([Apply(shaped(item), force=True)])
        if _version(live) == _version(again.manifest):
            return True
    return False


def _version(manifest: Manifest | None) -> str:
    return "" if manifest is None else str(manifest["metadata"].get("resourceVersion"))
