"""Interruptions beside `up`: a watch of nodes in each cluster that asks for it, and ledger entries of what it did.

A notice gives thirty seconds, and a step of the loop may wait for a remote or a big commit: a thread of its own acts,
and the loop enters afterwards what the thread has noted (`interruption_log`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import Clock, from_rfc3339
from customhouse.app.clusterkeeping import ClusterTarget
from customhouse.app.interruption_cases import MARK, Cases, Rule
from customhouse.app.interruption_cost import lost
from customhouse.app.interruption_known import Watching
from customhouse.app.interruption_log import InterruptionLog, Record
from customhouse.app.journal import ACTOR, commit_node
from customhouse.app.overview import Overview
from customhouse.app.several_targets import SeveralTargets
from customhouse.app.target_spec import DRAIN, MANAGE, OFF
from customhouse.control.placing import bare
from customhouse.core.cluster import Cluster, cluster_identity
from customhouse.core.errors import CustomhouseError
from customhouse.core.ledger import Entry
from customhouse.core.plan import LiveObject
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import Key, key_of
from customhouse.execution.interruption_drain import Occupant, Owner, controller_of
from customhouse.trust.custody import entry

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane
    from customhouse.app.governance import Governance

PULSE_S = 1.0
"""While a node goes: budgets are asked again, and time runs out."""
QUIET_S = 30.0
_DEEPEST = 6
"""Pod → ReplicaSet → Deployment → InferenceService → …"""


class Ownership:
    """Whose a pod is: one that Git declares, itself or by the chain of its controllers. One thread's."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.declared: frozenset[Key] = frozenset()
        self._chains: dict[tuple[str, Owner], tuple[Key, ...]] = {}
        """By all that a pod says of its owner: who may write a pod may say anything of a uid that is another's."""

    def why_not(self, pod: Occupant) -> str:
        """Empty for a declared one; else why it is left alone."""
        if pod.owner is None:
            own = ("", "Pod", pod.namespace, pod.name)
            return "" if own in self.declared else "Git does not declare it"
        chain = self._chains.get((pod.namespace, pod.owner))
        if chain is None:
            if len(self._chains) > 10_000:
                self._chains.clear()
            found = self._follow(pod.namespace, pod.owner)
            if isinstance(found, str):
                return found
            chain = self._chains[pod.namespace, pod.owner] = found
        return "" if not self.declared.isdisjoint(chain) else "Git does not declare it"

    def _follow(self, namespace: str, owner: Owner) -> tuple[Key, ...] | str:
        """The keys of what is there by name and uid, up to the first that is declared; or why that cannot be told."""
        keys: list[Key] = []
        while len(keys) < _DEEPEST:
            ref = ResourceRef(owner.api_version, owner.kind, namespace, owner.name)
            try:
                (found,) = self._cluster.get([ref])
            except CustomhouseError as error:
                return f"whose it is cannot be told: {error}"[:300]
            if found is None or cluster_identity(found) != owner.uid:
                return f"whose it is cannot be told: {owner.kind} {owner.name} is not the one that it names"[:300]
            keys.append(key_of(ref))
            above = controller_of(found)
            if keys[-1] in self.declared or above is None:
                break
            owner = above
        return tuple(keys)


class NodeWatch:
    """The interruptions of one cluster, in a thread of their own between `start` and `stop`."""

    def __init__(
        self, cluster: Cluster, clock: Clock, log: InterruptionLog, acts: Callable[[Governance], tuple[bool, bool]]
    ) -> None:
        self.cluster = cluster
        self._clock, self._acts = clock, acts
        self._news, self._ended = threading.Event(), threading.Event()
        self._watching = Watching(cluster, MARK, self._news.set)
        self._cases = Cases(cluster, log)
        self._ownership = Ownership(cluster)
        self._governing: Governance | None = None
        self._declared: frozenset[Key] | None = None
        self._thread = threading.Thread(target=self._run, name="interruptions", daemon=True)
        self.problem = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """End; what is asked of the cluster at this moment is not waited for longer than the patience."""
        self._ended.set()
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def tell(self, governing: Governance, declared: frozenset[Key]) -> None:
        """What holds from now on; from the loop."""
        first = self._declared is None
        self._governing, self._declared = governing, declared
        if first:
            self._news.set()

    def rows(self) -> list[dict[str, Any]]:
        """For `status`."""
        return self._cases.rows()

    @property
    def holds(self) -> bool:
        """Whether a node is known that carries our mark."""
        known = self._watching.known()
        return known is not None and bool(known.marked)

    def _run(self) -> None:
        started = False
        while not self._ended.is_set():
            try:
                if not started:
                    self._watching.start()
                    started = True
                self._round()
                said = [self._cases.problem]
                said += [f"{name} cannot be watched: {why}" for name, why in tuple(self._watching.problems.items())]
                self.problem = "; ".join(filter(None, said))
            except (CustomhouseError, OSError) as error:
                self.problem = str(error)
            except Exception as error:  # noqa: BLE001 - a node that goes is handled again in the next round, and it is told
                self.problem = f"internal error: {error!r}"[:500]
            self._news.wait(PULSE_S if self._cases.open or self.problem else QUIET_S)
            self._news.clear()
            if self._cases.open and not self._ended.is_set():
                self._ended.wait(0.1)  # events of one moment come one by one
        try:
            self._watching.close()
        except CustomhouseError:
            return  # the connection was closed before

    def _round(self) -> None:
        known, governing, declared = self._watching.known(), self._governing, self._declared
        if known is None or governing is None or declared is None:
            return
        self._ownership.declared = declared
        rule = Rule(*self._acts(governing), self._ownership.why_not, partial(_priced, governing))
        self._cases.round(known, rule, self._clock.now())
        self._watching.pods(self._cases.open)


def _priced(governing: Governance, node: Manifest, pod: Manifest, minutes: Any) -> Any:
    return lost(governing, node, pod, minutes)


class Interruptions:
    """Keeps the watches that the governance in force asks for. `step` belongs to the loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._log = InterruptionLog(plane.settings.state)
        self._told: set[str] = set()
        """Entries about Jobs of this machine that were made: the ledger would not take them twice."""
        self._watches: dict[str, NodeWatch] = {}
        self._declared: tuple[object, object, Mapping[str, frozenset[Key]]] = ((), (), {})

    @property
    def problem(self) -> str:
        """What is in the way; empty when nothing is."""
        told = ((name, watch.problem) for name, watch in self._watches.items())
        return "; ".join(f"interruptions{f' of {name}' if name else ''}: {why}" for name, why in told if why)[:1000]

    def step(self) -> None:
        """Begin and end watches, tell them what holds, enter what they did. Raises StateError."""
        plane = self._plane
        clusters = plane.governing().configuration.clusters
        target = plane.target
        members: Mapping[str, ClusterTarget] = {}
        if isinstance(target, SeveralTargets):
            members = target.members
        elif isinstance(target, ClusterTarget):
            members = {"": target}
        wanted = {name for name, spec in clusters.items() if spec.interruptions != OFF and name in members}
        # What was cordoned while it was asked for is opened before the watch ends.
        wanted |= {name for name in clusters.keys() & members if name in self._watches and self._watches[name].holds}
        for name in [name for name in self._watches if name not in wanted]:
            self._watches.pop(name).stop()
        declared = self._keys(members) if wanted else {}
        for name in wanted:
            watch = self._watches.get(name)
            if watch is None or watch.cluster is not members[name].cluster:
                if watch is not None:
                    watch.stop()
                acts = partial(self._acts, name)
                watch = self._watches[name] = NodeWatch(members[name].cluster, plane.clock, self._log, acts)
                watch.start()
            watch.tell(plane.governing(), declared.get(name, frozenset()))
        if not clusters:
            self._log.write([item for item in local_records(plane.live) if item.key not in self._told])
        self._enter()

    def stop(self) -> None:
        """End the watches, and enter what they did last."""
        for watch in self._watches.values():
            watch.stop()
        self._watches = {}
        self._enter()

    def _acts(self, name: str, governing: Governance) -> tuple[bool, bool]:
        """Whether nodes may be cordoned and drained, and whether they are to be opened again (`Rule`).

        Asked by the watch's thread: what is in force is told to it, and never read there.
        """
        spec, keeping = governing.configuration.clusters.get(name), self._plane.keeping
        if spec is None or spec.mode != MANAGE or keeping is None or not keeping.leads(name):
            return False, False
        return spec.interruptions == DRAIN, spec.interruptions != DRAIN

    def _keys(self, members: Mapping[str, ClusterTarget]) -> Mapping[str, frozenset[Key]]:
        """What is declared for each cluster, and what a rollout has made of it."""
        plane = self._plane
        declared, live = plane.declared(), plane.live
        if self._declared[0] is declared and self._declared[1] == live.keys():
            return self._declared[2]
        refs = {*(item.ref for item in declared), *live}
        if isinstance(plane.target, SeveralTargets):
            found = {
                name: frozenset(key_of(bare(ref)) for ref in items)
                for name, items in plane.target.by_member(refs).items()
            }
        else:
            found = {"": frozenset(map(key_of, refs))}
        self._declared = (declared, frozenset(live), found)
        return found

    def _enter(self) -> None:
        records = self._log.waiting()
        if not records:
            return
        deployed = self._plane.memory.deployed
        revision = "" if deployed is None else deployed.revision
        self._plane.outbox.commit({}, [_entry(item, revision) for item in records])
        self._log.forget(records)
        self._told.update(item.key for item in records)
        self._plane.changes += 1

    def shown(self, picture: Overview) -> Overview:
        """The picture with the nodes that go."""
        rows = [
            {**row, **({"target": name} if name else {})}
            for name, watch in self._watches.items()
            for row in watch.rows()
        ]
        return replace(picture, cluster={**picture.cluster, "interruptions": rows}) if rows else picture

    def metrics(self) -> str:
        """Prometheus text; empty where nothing is watched."""
        if not self._watches:
            return ""
        rows = [row for watch in self._watches.values() for row in watch.rows()]
        name = "customhouse_interrupted_nodes"
        return f"# HELP {name} Nodes with an interruption notice.\n# TYPE {name} gauge\n{name} {len(rows)}\n"


def local_records(live: Mapping[ResourceRef, LiveObject]) -> Iterator[Record]:
    """What happened to Jobs of this machine that were asked to end before they were done."""
    for ref, found in live.items():
        local = found.status.get("local")
        if ref.kind != "Job" or not isinstance(local, Mapping):
            continue
        for item in local.get("interruptions") or ():
            about = {"job": f"{ref.namespace}/{ref.name}", **item}
            key = f"job:{ref.namespace}/{ref.name}:{local.get('run')}:{item['asked']}"
            if item["ended"]:
                text = f"Job {ref.namespace}/{ref.name} ended before it was done: {item['reason']}"
                yield Record(f"{key}:left", from_rfc3339(item["ended"]), text, about)
            if item["again"]:
                away = (from_rfc3339(item["again"]) - from_rfc3339(item["asked"])).total_seconds()
                text = f"Job {ref.namespace}/{ref.name} runs again, {away:.0f} s after it was asked to end"
                yield Record(f"{key}:again", from_rfc3339(item["again"]), text, about)


def _entry(item: Record, revision: str) -> Entry:
    nodes = [commit_node(revision)] if revision else []
    body = {"text": item.text[:500], **item.body}
    return entry("interruption", f"interruption:{item.key}", item.at, ACTOR, nodes=nodes, body=body)
