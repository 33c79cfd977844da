"""Contract suite of Target: apply, read, managed, whatever runs the objects.

Run by pytest. Subclass it and give it the fixtures `target: Target` (started; the fixture stops it),
`manifest: Manifest` (an object that the target can run and make Healthy), `altered: Manifest` (the same object,
changed) and `refused: Manifest` (one that it cannot run).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

from customhouse.core.plan import Action, ActionKind, HealthStatus, LiveObject
from customhouse.core.ports import Target
from customhouse.core.resource import Manifest, ResourceRef

PATIENCE_S = 60.0
"""An object may take this long to become what was asked for: `apply` returns at once."""


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether `holds()` becomes true within PATIENCE_S."""
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S / 0.1)):
        if holds():
            return True
        waiting.wait(0.1)
    return holds()


def create(manifest: Manifest) -> Action:
    """Ask for an object."""
    return Action(ActionKind.CREATE, ResourceRef.of(manifest), manifest)


def patch(manifest: Manifest) -> Action:
    """Ask for a change of an object."""
    return Action(ActionKind.PATCH, ResourceRef.of(manifest), manifest)


def delete(ref: ResourceRef) -> Action:
    """Ask for an object's end."""
    return Action(ActionKind.DELETE, ref)


class TargetContract:
    """What any Target does."""

    def test_what_does_not_exist_is_absent(self, target: Target, manifest: Manifest) -> None:
        """From what is read and from what is managed."""
        ref = ResourceRef.of(manifest)
        assert target.name
        assert dict(target.read([ref])) == {}
        assert dict(target.read([])) == {}
        assert ref not in target.managed()

    def test_what_is_created_becomes_healthy_and_is_managed(self, target: Target, manifest: Manifest) -> None:
        """One result for the action, that says that something changed."""
        ref = ResourceRef.of(manifest)
        (result,) = target.apply([create(manifest)])
        assert (result.ok, result.changed) == (True, True), result.message
        assert eventually(lambda: self._health(target, ref) is HealthStatus.HEALTHY), target.read([ref])
        assert ref in target.managed()
        live = target.read([ref])[ref]
        assert isinstance(live, LiveObject)
        assert live.manifest["spec"] == manifest["spec"]

    def test_a_second_time_changes_nothing(self, target: Target, manifest: Manifest) -> None:
        """Idempotent, also for a patch to what is already so."""
        target.apply([create(manifest)])
        for again in (create(manifest), patch(copy.deepcopy(dict(manifest)))):
            (result,) = target.apply([again])
            assert (result.ok, result.changed) == (True, False), result.message

    def test_a_patch_is_carried_out(self, target: Target, manifest: Manifest, altered: Manifest) -> None:
        """The live object becomes what the last action asked for."""
        ref = ResourceRef.of(manifest)
        target.apply([create(manifest)])
        (result,) = target.apply([patch(altered)])
        assert (result.ok, result.changed) == (True, True), result.message
        assert eventually(
            lambda: (
                target.read([ref])[ref].manifest["spec"] == altered["spec"]
                and self._health(target, ref) is HealthStatus.HEALTHY
            )
        )

    def test_what_is_deleted_goes_and_a_second_time_changes_nothing(self, target: Target, manifest: Manifest) -> None:
        """Deleting what is not there is no error."""
        ref = ResourceRef.of(manifest)
        target.apply([create(manifest)])
        (result,) = target.apply([delete(ref)])
        assert (result.ok, result.changed) == (True, True), result.message
        assert eventually(lambda: ref not in target.read([ref]) and ref not in target.managed())
        (result,) = target.apply([delete(ref)])
        assert (result.ok, result.changed) == (True, False), result.message

    def test_one_that_is_refused_does_not_stop_the_others(
        self, target: Target, manifest: Manifest, refused: Manifest
    ) -> None:
        """One result per action, in order; the refused one says why."""
        actions = [create(refused), create(manifest)]
        first, second = target.apply(actions)
        assert (first.action, second.action) == tuple(actions)
        assert (first.ok, second.ok) == (False, True), second.message
        assert first.message
        assert ResourceRef.of(refused) not in target.read([ResourceRef.of(refused)])

    @staticmethod
    def _health(target: Target, ref: ResourceRef) -> HealthStatus | None:
        live = target.read([ref]).get(ref)
        return None if live is None else live.health.status
