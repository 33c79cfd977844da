"""Flux's own controllers reconcile, and `customhouse up` beside them gates, watches, records and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beside_world import BesideWorld, document

from flux_controllers import KUSTOMIZE, SOURCES, flux_on, git_repository, kustomization
from kubernetes_plane import ControlPlane

pytestmark = [pytest.mark.part("kubernetes"), pytest.mark.part("source-controller", "kustomize-controller")]


class FluxWorld(BesideWorld):
    """As `flux bootstrap` leaves it: the sync's own objects lie in the folder that they sync."""

    def bootstrap(self) -> None:
        source = git_repository("shop", self.namespace, self.url)
        sync = kustomization("shop", self.namespace, "shop", "./clusters/shop")
        self.push({"clusters/shop/sync.yaml": document(source) + "---\n" + document(sync)}, "What Flux syncs")
        self.plane.apply(f"{SOURCES}/namespaces/{self.namespace}/gitrepositories/shop", source, manager="flux")
        self.plane.apply(f"{KUSTOMIZE}/namespaces/{self.namespace}/kustomizations/shop", sync, manager="flux")

    def release(self, version: int, *, privileged: bool = False) -> str:
        text = self.score(version, privileged=privileged)
        return self.push({"clusters/shop/score.yaml": text}, f"Serve {version}")

    def is_at(self, commit: str) -> bool:
        """Whether Customhouse has heard of Flux that it is there."""
        row = self.application("shop")
        status = row.get("status", {})
        told = (row.get("by"), status.get("sync"), status.get("health"), status.get("revision"))
        return told == ("flux", "Synced", "Healthy", commit)


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane, find_part: Callable[[str], Path]) -> Iterator[FluxWorld]:
    programs = {name: find_part(name) for name in ("source-controller", "kustomize-controller")}
    made = FluxWorld(tmp_path, kubernetes, kubernetes.namespace("flux"))
    with flux_on(kubernetes, programs, tmp_path, made.namespace):
        yield made
        made.close()


def test_what_flux_applies_is_gated_watched_and_recorded_and_nothing_of_it_is_written(world: FluxWorld) -> None:
    world.bootstrap()
    first = world.release(1)
    world.until(lambda: world.version() == 1, 240)
    before = len(world.plane.asked("customhouse-controller"))
    world.start()
    world.until(lambda: world.is_at(first), 240)
    second = world.release(2)
    world.until(lambda: world.version() == 2 and world.is_at(second), 240)
    world.until(lambda: [item["revision"] for item in world.releases_of("score")] == [second, first], 240)
    assert {item["phase"] for item in world.releases_of("score")} == {"promoted"}
    shown = world.cli("status")
    assert f"flux: Kustomization {world.namespace}/shop: Synced, Healthy at {second[:12]}" in shown.stdout, shown
    assert shown.returncode == 0

    # What was merged against the rules Flux applies all the same, and that is told.
    bad = world.release(3, privileged=True)
    world.until(lambda: world.version() == 3, 240)
    world.problem(f"flux has applied {bad[:12]}, which was denied (Kustomization", f"{bad[:12]} is denied", seconds=240)
    assert world.releases_of("score")[0]["revision"] == second
    assert [item for item in world.entries("reconciled") if "which was denied" in item.body["text"]]

    # It is put right by a commit, and what leaves Git is Flux's to delete.
    last = world.push({"clusters/shop/score.yaml": None}, "No more")
    world.until(lambda: world.version() == 0, 240)
    world.until(lambda: world.is_at(last) and world.overview()["problem"] == "", 240)
    assert world.end() == 0
    assert world.writes(before) == []
