"""Walking the custody graph: what a reference names, all that led to it and all that came of it, and on what it rests.

A name may stand for several nodes that are one thing (a workload's releases); one that stands for different things is
refused with the candidates. What a link rests on is said with it: entries of the ledger, or nobody's proof but a claim.
"""

from __future__ import annotations

import base64
import difflib
import heapq
import hmac
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

from customhouse._kit.digest import is_digest
from customhouse.core.errors import TamperError, UsageError
from customhouse.core.ledger import Entry, Receipt
from customhouse.trust.custody import Graph, Link, Node, NodeKind
from customhouse.trust.entry_text import entry_text
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger import parse_entry
from customhouse.trust.merkle import leaf_hash, verify_inclusion
from customhouse.trust.note import open_checkpoint

MIN_PREFIX = 4
_MOST_SHOWN = 8
_NEVER = datetime.max.replace(tzinfo=UTC)
_WORKLOAD = frozenset(
    {
        NodeKind.DEPLOYMENT,
        NodeKind.TRAINING_RUN,
        NodeKind.ROLLOUT,
        NodeKind.POD,
        NodeKind.PREDICTIONS,
        NodeKind.USAGE,
        NodeKind.CHARGE,
    }
)
"""Kinds that are all of one workload: its name stands for any of them."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Which way a trace goes, and how many links far (None: to the end)."""

    up: bool = True
    down: bool = True
    depth: int | None = None

    def to_json(self) -> dict[str, Any]:
        """`{"up","down","depth"}`."""
        return {"up": self.up, "down": self.down, "depth": self.depth}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Walk:
        """The inverse. Raises TamperError."""
        depth = value.get("depth")
        if set(value) != {"up", "down", "depth"} or not all(type(value[way]) is bool for way in ("up", "down")):
            raise TamperError("not a way to walk")
        if depth is not None and (type(depth) is not int or not 0 <= depth <= 2**31):
            raise TamperError("not a number of links")
        return cls(value["up"], value["down"], depth)


class Names(Protocol):
    """By which names the nodes of a graph are known."""

    def exact(self, text: str) -> Sequence[Node]:
        """The nodes whose id, name, digest or alias it is."""

    def begun(self, prefix: str) -> Sequence[Node]:
        """The nodes whose digest (without `sha256:`), or name where they have none, begins so (lower-case hex)."""

    def near(self, text: str) -> Iterable[str]:
        """Names among which the nearest to one that nobody knows may be."""


class GraphNames:
    """The names of a Graph in memory."""

    def __init__(self, known: Graph) -> None:
        self._known = known

    def exact(self, text: str) -> Sequence[Node]:
        """See Names."""
        nodes = self._known.nodes.values()
        return [node for node in nodes if text in (node.id, node.name, node.digest, *node.aliases)]

    def begun(self, prefix: str) -> Sequence[Node]:
        """See Names."""
        nodes = self._known.nodes.values()
        return [node for node in nodes if (node.digest or node.name).removeprefix("sha256:").startswith(prefix)]

    def near(self, text: str) -> Iterable[str]:
        """See Names."""
        for node in self._known.nodes.values():
            yield from (node.id, node.name, *node.aliases)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a link rests on: ledger entries, and the signed statements that these are about."""

    entries: tuple[int, ...]
    evidence: tuple[str, ...]
    proved: bool
    """Whether any of it is more than somebody's claim."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What leads to a thing and what came of it, with the proof of every ledger entry that says so."""

    reference: str
    found: tuple[str, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    entries: tuple[int, ...]
    basis: Mapping[Link, Basis]
    proofs: tuple[tuple[Receipt, Entry], ...] = ()
    walk: Walk = Walk()

    def nodes_json(self) -> list[dict[str, Any]]:
        """As `Node.to_json`."""
        return [node.to_json() for node in self.nodes]

    def edges_json(self) -> list[dict[str, Any]]:
        """`{"from","to","kind","state","entries","evidence"}`; state is proved or claimed."""
        found = []
        for link in self.links:
            rests = self.basis[link]
            state = "proved" if rests.proved else "claimed"
            found.append(
                {**link.to_json(), "state": state, "entries": list(rests.entries), "evidence": list(rests.evidence)}
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """`{"nodes":[…],"edges":[{"from","to","kind",…}],"proofs":[…],"reference","found"}` (DESIGN section 5)."""
        return {
            "reference": self.reference,
            "found": list(self.found),
            "nodes": self.nodes_json(),
            "edges": self.edges_json(),
            "proofs": [proof_json(receipt, item) for receipt, item in self.proofs],
        }

    def only(self, kinds: Collection[str]) -> Trace:
        """Some kinds of nodes alone, and what is between them; all of them where `kinds` is empty."""
        if not kinds:
            return self
        nodes = tuple(node for node in self.nodes if node.kind in kinds)
        left = {node.id for node in nodes}
        links = tuple(link for link in self.links if link.source in left and link.target in left)
        return replace(self, nodes=nodes, links=links)


@lru_cache(maxsize=1 << 12)
def _in_base64(step: bytes) -> str:
    """Most steps of a proof are in the proofs of its neighbours too."""
    return base64.b64encode(step).decode()


def proof_json(receipt: Receipt, item: Entry) -> dict[str, Any]:
    """One inclusion proof, complete enough to be checked without the ledger (hashes in base64)."""
    return {
        "index": receipt.index,
        "entry": entry_text(item),
        "leaf_hash": base64.b64encode(receipt.leaf_hash).decode(),
        "proof": [_in_base64(step) for step in receipt.proof],
        "checkpoint": receipt.checkpoint.note,
    }


def check_proof(document: Mapping[str, Any], origin: str, key: PublicKey) -> Entry:
    """The Entry that a `proof_json` document proves, checked without the ledger, with its public key only.

    Raises TamperError when the checkpoint is not signed, the path does not lead to it, or the entry is another one.
    """
    try:
        data = str(document["entry"]).encode()
        leaf = base64.b64decode(document["leaf_hash"], validate=True)
        path = [base64.b64decode(step, validate=True) for step in document["proof"]]
        index, note = int(document["index"]), str(document["checkpoint"])
    except (KeyError, TypeError, ValueError) as error:
        raise TamperError("not an inclusion proof") from error
    if not hmac.compare_digest(leaf_hash(data), leaf):
        raise TamperError("the entry is not the one that was proved", where=f"entry {index}")
    checkpoint = open_checkpoint(note, origin, key)
    verify_inclusion(index, checkpoint.size, leaf, path, checkpoint.root)
    return parse_entry(data)


def trace(
    known: Graph,
    reference: str,
    prove: Callable[[int], tuple[Receipt, Entry]] | None = None,
    walk: Walk | None = None,
) -> Trace:
    """Everything upstream and downstream of what `reference` names, oldest first.

    A reference is a node's id, name or digest, an alias, or at least MIN_PREFIX digits that begin a digest or commit.
    `prove` gives the proof and the Entry of an index (the ledger's); without it there are no proofs.
    Raises UsageError when nothing, or several different things, are meant: with the candidates or the nearest names.
    """
    return trace_from(known, reference, resolve(known, reference), prove, walk)


def trace_from(
    known: Graph,
    reference: str,
    found: tuple[str, ...],
    prove: Callable[[int], tuple[Receipt, Entry]] | None = None,
    walk: Walk | None = None,
) -> Trace:
    """`trace` from nodes that are known by their ids. Raises UsageError for one that is not there."""
    way = walk or Walk()
    if not set(found) <= known.nodes.keys():
        raise UsageError(f"the graph has no node {min(set(found) - known.nodes.keys())[:120]!r}")
    reached = set(found)
    passed: set[Link] = set()
    sides = ((way.up, known.upstream, "source"), (way.down, known.downstream, "target"))
    for wanted, ways, end in sides:
        queue, seen = deque((node, 0) for node in found), set(found)
        while wanted and queue:
            node, far = queue.popleft()
            if way.depth is not None and far >= way.depth:
                continue
            for link in ways.get(node, ()):
                passed.add(link)
                following = str(getattr(link, end))
                if following not in seen:
                    seen.add(following)
                    queue.append((following, far + 1))
        reached |= seen
    order = _in_order(known, reached, passed)
    place = {node: number for number, node in enumerate(order)}
    spoken: list[str | Link] = [*reached, *passed]
    numbers = tuple(sorted({index for key in spoken for index in known.sources.get(key, ())}))
    return Trace(
        reference=reference,
        found=found,
        nodes=tuple(known.nodes[node] for node in order),
        links=tuple(sorted(passed, key=lambda link: (place[link.source], place[link.target], link.kind))),
        entries=numbers,
        basis={link: _basis(known, link) for link in passed},
        proofs=() if prove is None else tuple(prove(index) for index in numbers),
        walk=way,
    )


def _basis(known: Graph, link: Link) -> Basis:
    entries = tuple(sorted(known.sources.get(link, ())))
    said = sorted({known.evidence[index] for index in entries if known.evidence.get(index)})
    return Basis(entries, tuple(said), not known.claimed.issuperset(entries))


def resolve(known: Graph, reference: str) -> tuple[str, ...]:
    """The ids of the nodes that a reference names; see `trace`."""
    return resolve_name(GraphNames(known), reference)


def resolve_name(names: Names, reference: str) -> tuple[str, ...]:
    """The ids of the nodes that a reference names.

    1. A node's id (`model:sha256:…`) is that node. 2. A name, digest or alias is every node that has it, if they are
    one thing. 3. `kind:name` is the same among nodes of that kind. 4. The beginning of a digest or commit.
    Raises UsageError.
    """
    wanted = reference.strip()
    if not wanted:
        raise UsageError("name something to trace", hint="a digest, a resource, a commit")
    exact = names.exact(wanted)
    if exact:
        itself = [node.id for node in exact if node.id == wanted]
        return tuple(itself) if itself else _one_thing(reference, exact)
    kind, colon, rest = wanted.partition(":")
    if colon and (of_kind := [node for node in names.exact(rest) if node.kind == kind]):
        return tuple(sorted(node.id for node in of_kind))
    prefix = wanted.lower().removeprefix("sha256:")
    if len(prefix) >= MIN_PREFIX and all(letter in "0123456789abcdef" for letter in prefix):
        begun: dict[str, list[str]] = {}
        for node in names.begun(prefix):
            begun.setdefault(node.digest or node.name, []).append(node.id)
        if len(begun) == 1:
            return tuple(sorted(next(iter(begun.values()))))
        if begun:
            shown = ", ".join(sorted(ids[0] for ids in begun.values())[:_MOST_SHOWN])
            raise UsageError(f"{reference[:80]!r} is the beginning of {len(begun)} things", hint=f"one of: {shown}")
    near = difflib.get_close_matches(wanted[:200], sorted(set(names.near(wanted))), n=5, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "`customhouse history` shows what there is"
    raise UsageError(f"nothing is known of {reference[:80]!r}", hint=hint)


def _one_thing(reference: str, found: Sequence[Node]) -> tuple[str, ...]:
    """What is one thing by several names; else a UsageError with every candidate by an id that is exact."""
    families = {"workload" if node.kind in _WORKLOAD else node.kind for node in found}
    if len(families) > 1 and not is_digest(reference):
        ids = sorted(node.id for node in found)
        more = f" and {len(ids) - _MOST_SHOWN} more" if len(ids) > _MOST_SHOWN else ""
        raise UsageError(
            f"{reference[:80]!r} names {len(found)} different things",
            hint=f"one of: {', '.join(ids[:_MOST_SHOWN])}{more}",
        )
    return tuple(sorted(node.id for node in found))


def _in_order(known: Graph, reached: set[str], passed: set[Link]) -> list[str]:
    """Causes before effects; among equals the older, then the id. A cycle (which is odd) is broken by age."""
    waiting = dict.fromkeys(reached, 0)
    following: dict[str, list[str]] = {}
    for link in passed:
        if link.source != link.target:
            waiting[link.target] += 1
            following.setdefault(link.source, []).append(link.target)

    def age(node: str) -> tuple[bool, datetime, str]:
        at = known.nodes[node].time
        return (at is None, at or _NEVER, node)

    order: list[str] = []
    ready = [age(node) for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    while waiting:
        if not ready:  # only a cycle is left
            ready.append(min(age(node) for node in waiting))
        node = heapq.heappop(ready)[-1]
        order.append(node)
        del waiting[node]
        for target in following.get(node, ()):
            if target in waiting:
                waiting[target] -= 1
                if waiting[target] == 0:
                    heapq.heappush(ready, age(target))
    return order
