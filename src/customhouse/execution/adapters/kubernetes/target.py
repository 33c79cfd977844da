"""The Kubernetes target: `core.ports.Target` over a Cluster, with what its watches have told.

What is declared is applied by `control.convergence`, which works on the same `cluster` and `sight`; this class gives
the rest of the control plane the same face as the local target has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from customhouse._kit.clock import Clock
from customhouse.core.cluster import Apply, Cluster, Delete, Written, cluster_identity
from customhouse.core.errors import TargetError
from customhouse.core.observation import Observation
from customhouse.core.plan import Action, ActionKind, ActionResult, LiveObject
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import key_of
from customhouse.execution.adapters.kubernetes.lease import Election, Lease
from customhouse.execution.health import health
from customhouse.execution.sightings import HealthRule, Sightings


class KubernetesTarget:
    """One API. `close` (as `stop`) ends the watches; the cluster itself belongs to who opened it."""

    name = "kubernetes"
    port = 0
    """Nothing is served from this machine."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self.cluster = cluster
        self.sight = Sightings(cluster, health, clock)
        self._clock = clock
        self._election: Election | None = None
        self._applied: dict[ResourceRef, None] = {}
        self._health: HealthRule = health
        self._end_rule: Callable[[], None] = lambda: None

    def judge_by(self, rule: HealthRule = health, end: Callable[[], None] = lambda: None) -> None:
        """Say by another rule from now on how objects are; `end` is called when it is no longer asked."""
        self._health, (before, self._end_rule) = rule, (self._end_rule, end)
        self.sight.judge_by(rule)
        before()

    def stand(self, namespace: str, name: str, identity: str, told: Callable[[bool], None]) -> Lease:
        """Stand for election, in a thread of its own, until `stop`; the Lease says whether this process leads.

        The namespace of the Lease is made where it is missing. Raises TargetError when it cannot be.
        """
        room = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        if self.cluster.get([ResourceRef.of(room, "")])[0] is None:
            (made,) = self.cluster.write([Apply(room)])
            if not made.ok:
                raise TargetError(f"the namespace of leases cannot be made: {made.problem}", where=namespace)
        self.resign()
        lease = Lease(self.cluster, namespace, name, identity, self._clock)
        self._election = Election(lease, told)
        return lease

    def resign(self) -> None:
        """Stand no longer: the Lease, when it is held, is given back."""
        if self._election is not None:
            self._election.close()
            self._election = None

    # life, as the local target has it
    def start(self) -> None:
        """Nothing has to be started: the first declarations begin the watches."""

    def stop(self, *, keep_serving: bool = False) -> None:
        """End the watches and the connection; what runs in the cluster goes on."""
        self.resign()
        self.sight.close()
        self._end_rule()
        close = getattr(self.cluster, "close", None)
        if close is not None:
            close()

    def configure(self, volumes: Mapping[str, Path], images: Mapping[str, Path]) -> None:
        """Folders of this machine mean nothing to a cluster."""

    def observe(self) -> Sequence[Observation]:
        """What is measured in a cluster comes from elsewhere (Prometheus)."""
        return ()

    # the port
    def read(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
        """See the port: from what the watches have told, else from the API."""
        found: dict[ResourceRef, LiveObject] = {}
        unknown = []
        for ref in refs:
            live = self.sight.live(key_of(ref))
            if live is not None:
                found[ref] = live
            elif not self.sight.absent(key_of(ref)):
                unknown.append(ref)
        for ref, manifest in zip(unknown, self.cluster.get(unknown) if unknown else (), strict=True):
            if manifest is not None:
                found[ref] = self._live(ref, manifest)
        return found

    def _live(self, ref: ResourceRef, manifest: Manifest) -> LiveObject:
        status = manifest.get("status")
        return LiveObject(ref, manifest, self._health(manifest), status if isinstance(status, Mapping) else {})

    def managed(self) -> Sequence[ResourceRef]:
        """What was applied through this port and is still there."""
        asked = tuple(self._applied)
        there = [ref for ref, item in zip(asked, self.cluster.get(asked), strict=True) if item is not None]
        self._applied = dict.fromkeys(there)
        return tuple(there)

    def apply(self, actions: Sequence[Action]) -> Sequence[ActionResult]:
        """See the port. A deletion names the uid of what is there now.

        Raises TargetError for what SOPS encrypted: nothing opens it here, and its ciphertext is no value of anything.
        """
        for action in actions:
            if action.desired is not None and isinstance(action.desired.get("sops"), Mapping):
                raise TargetError("it is encrypted by SOPS and nothing opens it here", where=str(action.ref))
        before = self.cluster.get([item.ref for item in actions]) if actions else ()
        changes: list[Apply | Delete] = []
        for action, live in zip(actions, before, strict=True):
            if action.kind is ActionKind.DELETE or action.desired is None:
                changes.append(Delete(action.ref, uid="" if live is None else cluster_identity(live)))
            else:
                changes.append(Apply(_in_place(action.desired, action.ref), force=True))
        answers = self.cluster.write(changes)
        return [self._result(*found) for found in zip(actions, before, answers, strict=True)]

    def _result(self, action: Action, before: Manifest | None, answer: Written) -> ActionResult:
        if not answer.ok:
            return ActionResult(action, ok=False, changed=False, message=answer.problem)
        if action.kind is ActionKind.DELETE:
            self._applied.pop(action.ref, None)
            return ActionResult(action, ok=True, changed=before is not None)
        self._applied[action.ref] = None
        same = before is not None and answer.manifest is not None and _version(before) == _version(answer.manifest)
        return ActionResult(action, ok=True, changed=not same)


def _in_place(manifest: Manifest, ref: ResourceRef) -> Manifest:
    """With the namespace that it is for, which a file may leave to its Application, chart or overlay."""
    if not ref.namespace or manifest["metadata"].get("namespace"):
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": ref.namespace}}


def _version(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("resourceVersion"))
