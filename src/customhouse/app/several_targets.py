"""Several clusters with the face of one target: what is asked about an object is asked of the cluster it is for.

One that does not answer in time holds up nobody: of its objects is then said that they are there and that their health
is unknown, which begins and ends nothing by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from customhouse.app.clusterkeeping import ClusterTarget
from customhouse.app.metrics_spec import MetricsSpec
from customhouse.app.rollout_signals import Signals, asked_signals
from customhouse.app.rollouts import Walk
from customhouse.control.placing import Placing, bare
from customhouse.core.errors import CustomhouseError, TargetError
from customhouse.core.observation import Observation
from customhouse.core.plan import Action, ActionResult, Health, HealthStatus, LiveObject
from customhouse.core.ports import Target
from customhouse.core.resource import ResourceRef

PATIENCE_S = 5.0
"""How long one cluster is waited for where others wait behind it."""
TARGET = "$target"
_T = TypeVar("_T")


class Asked(Generic[_T]):
    """A question that is answered in a thread of its own, by `job`; `told` is called when it is."""

    def __init__(self, job: Callable[[], _T], told: Callable[[], None] = lambda: None) -> None:
        self._job, self._told = job, told
        self._answer: list[_T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._job())
        except BaseException as error:  # noqa: BLE001 - handed to who asked
            self._error = error
        finally:
            self._told()

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether there is an answer, within some seconds."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def answer(self) -> _T:
        """Of a question that has ended; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._answer[0]


class Member(ClusterTarget, Target, Protocol):
    """One cluster: what the control plane asks of `KubernetesTarget`."""

    def start(self) -> None:
        """Nothing has to be started before declarations come."""

    def stop(self, *, keep_serving: bool = False) -> None:
        """End watches and connections."""


class SeveralTargets:
    """`members` by name. Of whom an object is for, `placing` says."""

    name = "kubernetes"
    port = 0

    def __init__(self, members: Mapping[str, Member], placing: Placing) -> None:
        self.members = members
        self.placing = placing
        self._open: dict[str, Asked[Any]] = {}
        """The question that a cluster was silent about; until that has ended it is asked no other."""

    def start(self) -> None:
        """See `Member`."""
        for member in self.members.values():
            member.start()

    def stop(self, *, keep_serving: bool = False) -> None:
        """All of them, also when one does not answer."""
        asked = [Asked(member.stop) for member in self.members.values()]
        for one in asked:
            one.ended(PATIENCE_S)

    def configure(self, volumes: Mapping[str, Path], images: Mapping[str, Path]) -> None:
        """Folders of this machine mean nothing to a cluster."""

    def observe(self) -> Sequence[Observation]:
        """What is measured in a cluster comes from elsewhere (Prometheus)."""
        return ()

    def by_member(self, refs: Iterable[ResourceRef]) -> Mapping[str, tuple[ResourceRef, ...]]:
        """Some references by the cluster that they are for; those for none are left out."""
        found: dict[str, list[ResourceRef]] = {}
        for ref in refs:
            name = self.placing.of(ref)
            if name in self.members:
                found.setdefault(name, []).append(ref)
        return {name: tuple(items) for name, items in found.items()}

    # the port
    def read(self, refs: Sequence[ResourceRef]) -> Mapping[ResourceRef, LiveObject]:
        """See the port. What a cluster does not tell now is there, in unknown health."""
        found: dict[ResourceRef, LiveObject] = {}
        asked = {
            name: (items, self._ask(name, partial(self.members[name].read, [bare(ref) for ref in items])))
            for name, items in self.by_member(refs).items()
        }
        for name, (items, one) in asked.items():
            try:
                live = one.answer() if one is not None and self._ended(name, one) else None
                said = "" if live is not None else "it does not answer"
            except TargetError as error:
                live, said = None, str(error)
            for ref in items:
                if live is None:
                    found[ref] = LiveObject(ref, {}, Health(HealthStatus.UNKNOWN, f"{name}: {said}"))
                elif bare(ref) in live:
                    found[ref] = replace(live[bare(ref)], ref=ref)
        return found

    def _ask(self, name: str, job: Callable[[], _T]) -> Asked[_T] | None:
        """Ask a cluster; None where it still owes an answer."""
        before = self._open.get(name)
        if before is not None and not before.ended():
            return None
        self._open.pop(name, None)
        return Asked(job)

    def _ended(self, name: str, question: Asked[Any]) -> bool:
        """Whether a cluster has answered, or said that it cannot be reached, in time."""
        if question.ended(PATIENCE_S):
            return True
        self._open[name] = question
        return False

    def managed(self) -> Sequence[ResourceRef]:
        """What is applied here is applied by keepers, which know it themselves."""
        return ()

    def apply(self, actions: Sequence[Action]) -> Sequence[ActionResult]:
        """Refused: what goes to which cluster is the keepers' to do, under its Lease and its inventory."""
        return [
            ActionResult(action, ok=False, changed=False, message="it is applied by its keeper") for action in actions
        ]

    def signals(self, walks: Mapping[ResourceRef, Walk], spec: MetricsSpec, now: datetime) -> Signals:
        """As `asked_signals`, of each cluster about its own; of one that does not answer nothing is known."""
        seen: list[Observation] = []
        live: dict[ResourceRef, LiveObject] = {}
        unknown: dict[ResourceRef, str] = {}
        promoted: dict[ResourceRef, str] = {}
        mute = any(TARGET not in query for query in spec.queries.values())
        asked: list[tuple[str, tuple[ResourceRef, ...], Asked[Signals] | None]] = []
        for name, refs in self.by_member(walks).items():
            told = tuple(ref for ref in refs if not (mute and ref.scene))
            queries = {key: query.replace(TARGET, name) for key, query in spec.queries.items()}
            asked.append((name, told, self._asked(name, told, walks, replace(spec, queries=queries), now)))
            if alike := tuple(ref for ref in refs if ref not in told):
                # Its namesake in another cluster has the same labels: one would be judged by the other's numbers.
                unknown |= dict.fromkeys(alike, f"metrics.queries do not tell clusters apart: use {TARGET} in each")
                asked.append((name, alike, self._asked(name, alike, walks, replace(spec, prometheus=""), now)))
        for name, refs, one in asked:
            try:
                if one is None or not self._ended(name, one):
                    raise TargetError("it does not answer")
                said = one.answer()
            except CustomhouseError as error:
                unknown |= dict.fromkeys(refs, f"{name}: {error}")
                continue
            seen += said.observations
            live |= said.live
            promoted |= said.promoted
            unknown = {**said.unknown, **unknown}
        left = {ref: "it is for none of the targets" for ref in walks if ref not in live and ref not in unknown}
        return Signals(tuple(seen), live, {**unknown, **left}, promoted)

    def _asked(
        self,
        name: str,
        refs: Sequence[ResourceRef],
        walks: Mapping[ResourceRef, Walk],
        spec: MetricsSpec,
        now: datetime,
    ) -> Asked[Signals] | None:
        cluster, own = self.members[name].cluster, {ref: walks[ref] for ref in refs}
        return self._ask(name, lambda: asked_signals(cluster, own, spec, now))
