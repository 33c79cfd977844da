"""One case a node that carries a notice, from the notice until what ran there runs again elsewhere.

A round, numbered in the code; it may be repeated and cut off anywhere:

1. A notice opens a case. When it was first seen is written on the node (annotation), so that a restart, or another
   control plane that leads from then on, goes on with the same time.
2. The node is cordoned, by server-side apply as a field of our own: what we set we can take back, and nothing else.
3. Of the pods there, those that Git declares are asked to leave (`execution.interruption_drain`), by the eviction API
   and by uid: nothing is evicted twice, nor what only has the name.
4. What left is followed until another pod of the same owner runs: that is the time that was lost.
5. A notice that is taken back opens the node again; a node that is gone ends the case; what was still there is lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.app.interruption_cost import Lost
from customhouse.app.interruption_known import Known
from customhouse.app.interruption_log import InterruptionLog, Record
from customhouse.core.cluster import Apply, Cluster, Evict, Refusal, Written
from customhouse.core.resource import PREFIX, Manifest, ResourceRef
from customhouse.execution.interruption import Notice, Response, gravest
from customhouse.execution.interruption_drain import Around, Occupant, Step, drain

MARK = PREFIX + "interruption"
MANAGER = "customhouse-interruptions"
"""Who owns what we write on nodes: not the manager of what Git declares, so that neither takes the other's away."""
FOLLOWED = timedelta(hours=1)
"""How long what left a node is waited for elsewhere."""
_RIGHTS = "give the account deploy/kustomize/components/interruptions"


@dataclass(slots=True)
class Move:
    """One pod of ours that left, or was lost with its node."""

    pod: Occupant
    manifest: Manifest
    at: datetime
    lost: bool = False
    again: datetime | None = None
    where: str = ""


@dataclass(slots=True)
class Case:
    """One node that goes, or went."""

    node: Manifest
    uid: str
    notice: Notice
    first: datetime
    cordoned: str = ""
    """The sign for which it was cordoned."""
    steps: list[Step] = field(default_factory=list)
    stays: dict[str, str] = field(default_factory=dict)
    """Pod → why it is not asked: not ours, or nobody can tell."""
    why: dict[str, str] = field(default_factory=dict)
    """Pod uid → why its eviction was refused the last time."""
    moves: dict[str, Move] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    """Pods of the groups that were there when the case began: none of them is a replacement."""
    ended: datetime | None = None
    how: str = ""

    @property
    def name(self) -> str:
        """The node's."""
        return self.notice.node

    @property
    def deadline(self) -> datetime | None:
        """When the node goes, as far as is said."""
        return self.notice.deadline(self.first)


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for a round."""

    acts: bool
    """Whether anything may be written: opted in, managed, and this control plane leads."""
    releases: bool
    """Whether nodes are opened again that were cordoned when that was asked for, and it no longer is."""
    ours: Callable[[Occupant], str]
    """Empty for a pod that Git declares; else why it is not touched."""
    price: Callable[[Manifest, Manifest, Fraction], Lost]


class Cases:
    """The cases of one cluster. Belongs to one thread; `rows` may be asked by another."""

    def __init__(self, cluster: Cluster, log: InterruptionLog) -> None:
        self._cluster, self._log = cluster, log
        self._cases: dict[str, Case] = {}
        self._before: dict[str, int] = {}
        self.problem = ""

    @property
    def open(self) -> bool:
        """Whether anything is to be followed."""
        return bool(self._cases)

    def round(self, known: Known, rule: Rule, now: datetime) -> None:
        """See the module. Raises TargetError and OSError: the next round goes on from there."""
        self.problem = ""
        self._end(known, rule, now)  # 5
        self._begin(known, now)  # 1
        if rule.acts:
            self._cordon(known)  # 2
            self._reopen(known, known.noticed)
        elif rule.releases:
            self._reopen(known, ())
            for case in self._cases.values():
                case.cordoned = ""
        if known.pods is not None:
            self._remember(known.pods)
            self._leave(known, rule, now)  # 3
            self._follow(known.pods, rule, now)  # 4
        if not self._cases:
            self._before = {}

    # 1
    def _begin(self, known: Known, now: datetime) -> None:
        for name, (manifest, notices) in known.noticed.items():
            case = self._cases.get(name)
            notice = gravest(notices, now if case is None else case.first)
            if notice is None:
                continue
            if case is None or case.uid != notice.uid:
                since, sign = _marked(manifest)
                first = since if since is not None and sign == notice.sign.name else now
                case = self._cases[name] = Case(manifest, notice.uid, notice, first)
            elif case.notice.key == notice.key:
                case.node = manifest
                case.notice = notice
                continue
            elif case.notice.sign.response is not notice.sign.response:
                case.first = now  # it was said that it may go, and now that it goes
            case.node, case.notice = manifest, notice
            self._log.write([self._noticed(case, now)])

    def _noticed(self, case: Case, now: datetime) -> Record:
        notice, end = case.notice, case.deadline
        when = "nobody says when" if end is None else f"by {to_rfc3339(end)}"
        late = "" if end is None or end > now else "; that is past already"
        said = {
            Response.DRAIN: f"goes, {when}{late}",
            Response.HOLD: "may go",
            Response.THEIRS: "is drained by others",
            Response.LOST: "is gone",
        }[notice.sign.response]
        text = f"node {case.name} {said}: {notice.sign.name}, by {notice.sign.sender}"
        return Record(f"notice:{notice.key}:{to_rfc3339(case.first)}", now, text, _about(case))

    # 2
    def _cordon(self, known: Known) -> None:
        wanted = [
            case
            for case in self._cases.values()
            if case.ended is None
            and case.notice.sign.response in (Response.DRAIN, Response.HOLD)
            and case.cordoned != case.notice.key
            and case.name in known.noticed
        ]
        changes = [_mark(case.node, {"unschedulable": True}, case.first, case.notice) for case in wanted]
        for case, answer in zip(wanted, self._cluster.write(changes) if changes else (), strict=True):
            if answer.ok:
                case.cordoned = case.notice.key
            elif answer.refusal not in (Refusal.CONFLICT, Refusal.NOT_FOUND):  # else it is gone, or another one
                self._refused(f"node {case.name} could not be cordoned", answer)

    def _reopen(self, known: Known, held: Container[str]) -> None:
        """Nodes that we marked and that are not held any more; also of a process before this one."""
        names = [name for name in known.marked if name not in held]
        changes = [_mark(known.marked[name], None) for name in names]
        for name, answer in zip(names, self._cluster.write(changes) if changes else (), strict=True):
            if not answer.ok and answer.refusal not in (Refusal.CONFLICT, Refusal.NOT_FOUND):
                self._refused(f"node {name} could not be opened again", answer)

    # 3
    def _remember(self, pods: Mapping[str, Occupant]) -> None:
        """How many of each owner are ready before anybody is asked, and which pods there are."""
        for case in self._cases.values():
            fresh = {pod.group for pod in pods.values() if pod.node == case.name} - case.groups
            if not fresh or case.ended is not None:
                continue
            case.groups |= fresh
            for pod in pods.values():
                if pod.group in fresh:
                    case.known.add(pod.uid)
            for group in fresh - self._before.keys():
                self._before[group] = _ready(pods.values()).get(group, 0)

    def _leave(self, known: Known, rule: Rule, now: datetime) -> None:
        pods = known.pods or {}
        ready = _ready(pods.values())
        leaving = {pod.group for pod in pods.values() if pod.leaving and pod.node in self._cases}
        last: dict[str, datetime] = {}
        for move in (move for case in self._cases.values() for move in case.moves.values()):
            last[move.pod.group] = max(move.at, last.get(move.pod.group, move.at))
        for case in self._cases.values():
            if case.ended is not None:
                continue
            here = []
            case.stays = {}
            for pod in pods.values():
                if pod.node != case.name or pod.of_node:
                    continue
                why = rule.ours(pod)
                if why:
                    case.stays[f"{pod.namespace}/{pod.name}"] = why
                else:
                    here.append(pod)
            self._seen_leaving(case, here, known, now)
            asked = frozenset(case.moves)
            around = Around(ready, self._before, asked, frozenset(leaving), last)
            case.steps = drain(here, around, now, case.first, case.deadline)
            if rule.acts and case.notice.sign.response is Response.DRAIN:
                leaving |= {step.pod.group for step in self._evict(case, known, now)}

    def _seen_leaving(self, case: Case, here: Iterable[Occupant], known: Known, now: datetime) -> None:
        """Whoever asked it: an earlier process of ours, Karpenter, a person; or nobody, where the node is gone."""
        gone = case.notice.sign.response is Response.LOST
        for pod in here:
            if pod.uid in case.moves or pod.ended or not (pod.leaving or gone):
                continue
            move = case.moves[pod.uid] = Move(pod, known.manifests.get(pod.uid, {}), now, lost=not pod.evicted)
            self._log.write([self._left(case, move, "was lost with its node" if gone else "leaves")])

    def _evict(self, case: Case, known: Known, now: datetime) -> list[Step]:
        steps = [step for step in case.steps if step.evict]
        moves = {step.pod.uid: Move(step.pod, known.manifests.get(step.pod.uid, {}), now) for step in steps}
        records = {uid: self._left(case, move, "was evicted") for uid, move in moves.items()}
        self._log.write([_asked(item) for item in records.values()])
        changes = [Evict(_pod_ref(step.pod), step.pod.uid, step.grace_s) for step in steps]
        done = []
        for step, answer in zip(steps, self._cluster.write(changes) if changes else (), strict=True):
            uid = step.pod.uid
            case.why.pop(uid, None)
            if answer.ok:
                case.moves[uid] = moves[uid]
                self._log.write([records[uid]])
                done.append(step)
                continue
            self._log.unasked(records[uid].key)
            if answer.refusal is Refusal.BUDGET:
                case.why[uid] = "its PodDisruptionBudget lets none go now; it is asked again"
            elif answer.refusal not in (Refusal.CONFLICT, Refusal.NOT_FOUND):
                case.why[uid] = answer.problem
                self._refused(f"pod {step.pod.namespace}/{step.pod.name} could not be evicted", answer)
        return done

    def _left(self, case: Case, move: Move, how: str) -> Record:
        pod = move.pod
        text = f"pod {pod.namespace}/{pod.name} {how}: node {case.name}, {case.notice.sign.name}"
        body = {**_about(case), "pod": f"{pod.namespace}/{pod.name}", "owner": _owner(pod), "saves": pod.checkpoint}
        return Record(f"left:{case.uid}:{pod.uid}", move.at, text, body)

    # 4
    def _follow(self, pods: Mapping[str, Occupant], rule: Rule, now: datetime) -> None:
        for case in self._cases.values():
            taken = {move.where for move in case.moves.values() if move.where}
            fresh = [pod for pod in pods.values() if pod.uid not in case.known and pod.group in case.groups]
            for move in case.moves.values():
                if move.again is not None:
                    continue
                for pod in fresh:
                    works = pod.running and (pod.batch or pod.ready)
                    if pod.group == move.pod.group and works and pod.uid not in taken and pod.node != case.name:
                        move.again, move.where = now, pod.uid
                        taken.add(pod.uid)
                        self._log.write([self._again(case, move, pod, rule)])
                        break

    def _again(self, case: Case, move: Move, pod: Occupant, rule: Rule) -> Record:
        away = (move.again or move.at) - move.at
        ran = _ran(move.manifest, move.at) if move.pod.batch and not move.pod.checkpoint else timedelta(0)
        lost = rule.price(case.node, move.manifest, Fraction(int((away + ran).total_seconds() * 1000), 60_000))
        was = f"pod {move.pod.namespace}/{move.pod.name} of node {case.name}"
        text = f"{was} runs again as {pod.name} on {pod.node}, {away.total_seconds():.0f} s later"
        body = {**_about(case), "owner": _owner(pod), "pod": f"{pod.namespace}/{pod.name}", "lost": lost.to_json()}
        return Record(f"again:{case.uid}:{move.pod.uid}", move.again or move.at, text, body)

    # 5
    def _end(self, known: Known, rule: Rule, now: datetime) -> None:
        for name, case in list(self._cases.items()):
            gone = known.nodes.get(name) != case.uid
            if case.ended is None and (gone or name not in known.noticed):
                case.ended, case.how = now, "gone" if gone else "withdrawn"
                for pod in (known.pods or {}).values() if gone else ():
                    if pod.node == name and not pod.ended and pod.uid not in case.moves and not rule.ours(pod):
                        move = case.moves[pod.uid] = Move(pod, known.manifests.get(pod.uid, {}), now, lost=True)
                        self._log.write([self._left(case, move, "was lost with its node")])
                said = "is gone" if gone else "stays: the notice was taken back"
                key = f"ended:{case.notice.key}:{to_rfc3339(case.first)}:{case.how}"
                self._log.write([Record(key, now, f"node {name} {said}", _about(case))])
            if case.ended is not None:
                waits = any(move.again is None for move in case.moves.values()) and now - case.ended < FOLLOWED
                if not waits or known.noticed.get(name):
                    del self._cases[name]

    def _refused(self, what: str, answer: Written) -> None:
        hint = f" ({_RIGHTS})" if answer.refusal is Refusal.FORBIDDEN else ""
        self.problem = f"{what}: {answer.problem}{hint}"[:500]

    def rows(self) -> list[dict[str, Any]]:
        """For `status`."""
        found = []
        for case in tuple(self._cases.values()):
            pods = [
                {
                    "pod": f"{step.pod.namespace}/{step.pod.name}",
                    "state": case.why.get(step.pod.uid) or step.why or "is asked",
                }
                for step in tuple(case.steps)
                if step.pod.uid not in case.moves
            ]
            for move in tuple(case.moves.values()):
                state = "runs again" if move.again else "lost with its node" if move.lost else "left"
                pods.append({"pod": f"{move.pod.namespace}/{move.pod.name}", "state": state})
            stays = [{"pod": name, "state": f"stays: {why}"} for name, why in dict(case.stays).items()]
            found.append({**_about(case), "state": case.how or _state(case), "pods": [*pods, *stays]})
        return found


def _state(case: Case) -> str:
    return {
        Response.DRAIN: "draining" if case.cordoned else "told",
        Response.HOLD: "held" if case.cordoned else "told",
        Response.THEIRS: "drained by others",
        Response.LOST: "lost",
    }[case.notice.sign.response]


def _about(case: Case) -> dict[str, Any]:
    notice, end = case.notice, case.deadline
    return {
        "node": case.name,
        "sign": notice.sign.name,
        "sender": notice.sign.sender,
        "response": notice.sign.response.value,
        "said": notice.said,
        "first_seen": to_rfc3339(case.first),
        "deadline": None if end is None else to_rfc3339(end),
    }


def _mark(
    node: Manifest, spec: Mapping[str, Any] | None, first: datetime | None = None, of: Notice | None = None
) -> Apply:
    """The whole of what we say of a node: the API takes away what we said before and do not say now.

    The uid names that very node: an apply of a name alone would make a node that is gone anew.
    """
    metadata: dict[str, Any] = {"name": node["metadata"]["name"], "uid": node["metadata"]["uid"]}
    if first is not None and of is not None:
        said = {"since": to_rfc3339(first), "sign": of.sign.name}
        metadata["annotations"] = {MARK: json.dumps(said, separators=(",", ":"))}
    manifest: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": metadata}
    return Apply(manifest if spec is None else {**manifest, "spec": dict(spec)}, force=True, manager=MANAGER)


def _marked(node: Manifest) -> tuple[datetime | None, str]:
    """When a control plane first saw which notice, as it wrote on the node."""
    text = (node["metadata"].get("annotations") or {}).get(MARK)
    try:
        value = json.loads(text) if isinstance(text, str) and len(text) < 1000 else {}
        return from_rfc3339(str(value["since"])), str(value["sign"])
    except (ValueError, KeyError, TypeError, RecursionError):  # each kubelet may write annotations of its node
        return None, ""


def _asked(item: Record) -> Record:
    return Record(item.key, item.at, item.text, item.body, asked=True)


def _ready(pods: Iterable[Occupant]) -> dict[str, int]:
    found: dict[str, int] = {}
    for pod in pods:
        if pod.ready and not pod.leaving:
            found[pod.group] = found.get(pod.group, 0) + 1
    return found


def _ran(manifest: Manifest, until: datetime) -> timedelta:
    start = (manifest.get("status") or {}).get("startTime")
    try:
        return max(until - from_rfc3339(start), timedelta(0)) if isinstance(start, str) else timedelta(0)
    except ValueError:
        return timedelta(0)


def _owner(pod: Occupant) -> str:
    return "" if pod.owner is None else f"{pod.owner.kind} {pod.namespace}/{pod.owner.name}"


def _pod_ref(pod: Occupant) -> ResourceRef:
    return ResourceRef("v1", "Pod", pod.namespace, pod.name)
