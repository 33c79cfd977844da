"""The custody graph: from the dataset to the charge and back, read off the ledger and the evidence.

An Entry that takes part carries, beside its own body, what it is about and how those things hang together:

    {"nodes": [{"id","kind","name","digest","time","aliases"}], "links": [{"from","to","kind"}], …}

A link goes from cause to effect (dataset → training-run → model → deployment → charge). `entry` writes such an Entry;
`graph` reads any number of them, with Evidence, into one Graph (a pure function); `trace` walks it both ways.

A node's id is `<kind>:<name>`, so that every Entry that speaks of the same thing means the same node. The name of what
has a digest is that digest (`model:sha256:…`); people's names for it go into `aliases`.
"""

from __future__ import annotations

import base64
import difflib
import heapq
import hmac
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import is_digest
from customhouse.core.errors import TamperError, UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.core.ledger import Entry, Receipt
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger import parse_entry
from customhouse.trust.merkle import leaf_hash, verify_inclusion
from customhouse.trust.note import open_checkpoint
from customhouse.trust.provenance import dependencies

MIN_PREFIX = 4
_MOST_SHOWN = 5


class NodeKind(StrEnum):
    """What a node is. Other texts are allowed; these are the ones that Customhouse writes."""

    DATASET = "dataset"
    CODE = "code"
    IMAGE = "image"
    TRAINING_RUN = "training-run"
    MODEL = "model"
    EVIDENCE = "evidence"
    COMMIT = "commit"
    DECISION = "decision"
    DEPLOYMENT = "deployment"
    ROLLOUT = "rollout"
    USAGE = "usage"
    CHARGE = "charge"
    PROPOSAL = "proposal"


class LinkKind(StrEnum):
    """How a cause leads to an effect, read `from <kind> to`. Other texts are allowed."""

    INPUT_OF = "input-of"
    PRODUCED = "produced"
    ATTESTED_BY = "attested-by"
    DECLARED_IN = "declared-in"
    JUDGED_BY = "judged-by"
    ALLOWED = "allowed"
    DENIED = "denied"
    SERVED_AS = "served-as"
    ROLLED_OUT_BY = "rolled-out-by"
    USED = "used"
    CHARGED = "charged"
    REPLACED_BY = "replaced-by"
    PROPOSED = "proposed"


@dataclass(frozen=True, slots=True)
class Node:
    """One thing in the chain. `digest` is `sha256:…` or empty; `aliases` are what people call it (`fraud/v2.0`)."""

    kind: str
    name: str
    digest: str = ""
    time: datetime | None = None
    aliases: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`<kind>:<name>`."""
        return f"{self.kind}:{self.name}"

    @classmethod
    def of(cls, kind: str, digest: str, *aliases: str, time: datetime | None = None) -> Node:
        """A node that is its digest."""
        return cls(str(kind), digest, digest, time, aliases)

    def to_json(self) -> dict[str, Any]:
        """`{"id","kind","digest","time","name","aliases"}`; time is null when not known."""
        return {
            "id": self.id,
            "kind": str(self.kind),
            "digest": self.digest,
            "time": None if self.time is None else to_rfc3339(self.time),
            "name": self.name,
            "aliases": list(self.aliases),
        }


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """source → target: cause → effect."""

    source: str
    target: str
    kind: str

    @classmethod
    def between(cls, source: Node, target: Node, kind: str) -> Link:
        """A link by nodes."""
        return cls(source.id, target.id, str(kind))

    def to_json(self) -> dict[str, str]:
        """`{"from","to","kind"}`."""
        return {"from": self.source, "to": self.target, "kind": str(self.kind)}


def entry(
    kind: str,
    key: str,
    at: datetime,
    actor: str,
    *,
    nodes: Sequence[Node] = (),
    links: Sequence[Link] = (),
    body: Mapping[str, Any] | None = None,
) -> Entry:
    """An Entry with its part of the graph. `key` makes it idempotent (see Entry); the subjects are the nodes' ids.

    Raises UsageError when `body` has keys of its own called nodes or links.
    """
    own = dict(body or {})
    if own.keys() & {"nodes", "links"}:
        raise UsageError("nodes and links are given as arguments, not in the body", where=f"entry {key}")
    own["nodes"] = [node.to_json() for node in nodes]
    own["links"] = [link.to_json() for link in links]
    subjects = dict.fromkeys([*(node.id for node in nodes), *(n for link in links for n in (link.source, link.target))])
    return Entry(key, kind, at, actor, tuple(subjects), own)


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by id, links, and which ledger entries speak of each node and link."""

    nodes: Mapping[str, Node]
    links: frozenset[Link]
    sources: Mapping[str | Link, frozenset[int]]
    downstream: Mapping[str, tuple[Link, ...]] = field(repr=False)
    upstream: Mapping[str, tuple[Link, ...]] = field(repr=False)


def graph(entries: Iterable[tuple[int, Entry]], evidence: Iterable[Evidence] = ()) -> Graph:
    """Fold ledger entries and Evidence into one Graph.

    Entries without nodes and links add nothing. Evidence adds a node under its model; verified provenance also links
    the datasets and code that it names to the model. Malformed parts of a body are left out: the ledger keeps them.
    """
    draft = _Draft()
    for index, item in entries:
        for node in _nodes(item):
            draft.add(node, index)
        for link in _links(item):
            draft.connect(link, index)
    for statement in evidence:
        found_nodes, found_links = _of_evidence(statement)
        for node in found_nodes:
            draft.add(node)
        for link in found_links:
            draft.connect(link)
    return draft.graph()


class _Draft:
    """A Graph in the making."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._links: set[Link] = set()
        self._sources: dict[str | Link, set[int]] = {}

    def add(self, node: Node, index: int | None = None) -> None:
        self._nodes[node.id] = _merge(self._nodes.get(node.id), node)
        if index is not None:
            self._sources.setdefault(node.id, set()).add(index)

    def connect(self, link: Link, index: int | None = None) -> None:
        self._links.add(link)
        for end in (link.source, link.target):
            if end not in self._nodes:
                kind, _, name = end.partition(":")
                self._nodes[end] = Node(kind, name, name if is_digest(name) else "")
        if index is not None:
            self._sources.setdefault(link, set()).add(index)

    def graph(self) -> Graph:
        downstream: dict[str, list[Link]] = {}
        upstream: dict[str, list[Link]] = {}
        for link in sorted(self._links):
            downstream.setdefault(link.source, []).append(link)
            upstream.setdefault(link.target, []).append(link)
        return Graph(
            self._nodes,
            frozenset(self._links),
            {key: frozenset(indexes) for key, indexes in self._sources.items()},
            {key: tuple(items) for key, items in downstream.items()},
            {key: tuple(items) for key, items in upstream.items()},
        )


@dataclass(frozen=True, slots=True)
class Trace:
    """What leads to a thing and what came of it, with the proof of every ledger entry that says so."""

    reference: str
    found: tuple[str, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    entries: tuple[int, ...]
    proofs: tuple[tuple[Receipt, Entry], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`{"nodes":[…],"edges":[{"from","to","kind"}],"proofs":[…],"reference","found"}` (DESIGN section 5)."""
        return {
            "reference": self.reference,
            "found": list(self.found),
            "nodes": [node.to_json() for node in self.nodes],
            "edges": [link.to_json() for link in self.links],
            "proofs": [proof_json(receipt, item) for receipt, item in self.proofs],
        }


def proof_json(receipt: Receipt, item: Entry) -> dict[str, Any]:
    """One inclusion proof, complete enough to be checked without the ledger (hashes in base64)."""
    return {
        "index": receipt.index,
        "entry": item.to_bytes().decode(),
        "leaf_hash": base64.b64encode(receipt.leaf_hash).decode(),
        "proof": [base64.b64encode(step).decode() for step in receipt.proof],
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


def trace(known: Graph, reference: str, prove: Callable[[int], tuple[Receipt, Entry]] | None = None) -> Trace:
    """Everything upstream and downstream of what `reference` names, oldest first.

    A reference is a node's id, name or digest, an alias, or at least MIN_PREFIX digits that begin a digest or commit.
    `prove` gives the proof and the Entry of an index (the ledger's); without it there are no proofs.
    Raises UsageError when nothing, or several different things, are meant: with the nearest names.
    """
    found = resolve(known, reference)
    reached = set(found)
    passed: set[Link] = set()
    for ways, end in ((known.upstream, "source"), (known.downstream, "target")):
        queue, seen = deque(found), set(found)
        while queue:
            for link in ways.get(queue.popleft(), ()):
                passed.add(link)
                following = str(getattr(link, end))
                if following not in seen:
                    seen.add(following)
                    queue.append(following)
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
        proofs=() if prove is None else tuple(prove(index) for index in numbers),
    )


def resolve(known: Graph, reference: str) -> tuple[str, ...]:
    """The ids of the nodes that a reference names; see `trace`. One name may stand for several (all of one thing)."""
    wanted = reference.strip()
    if not wanted:
        raise UsageError("name something to trace", hint="a digest, a resource, a commit")
    exact = [node.id for node in known.nodes.values() if wanted in (node.id, node.name, node.digest, *node.aliases)]
    if exact:
        return tuple(sorted(exact))
    prefix = wanted.lower().removeprefix("sha256:")
    if len(prefix) >= MIN_PREFIX and all(letter in "0123456789abcdef" for letter in prefix):
        begun: dict[str, list[str]] = {}
        for node in known.nodes.values():
            name = node.digest or node.name
            if name.removeprefix("sha256:").startswith(prefix):
                begun.setdefault(name, []).append(node.id)
        if len(begun) == 1:
            return tuple(sorted(next(iter(begun.values()))))
        if begun:
            shown = ", ".join(sorted(ids[0] for ids in begun.values())[:_MOST_SHOWN])
            raise UsageError(f"{reference[:80]!r} is the beginning of {len(begun)} things", hint=f"one of: {shown}")
    names = {name for node in known.nodes.values() for name in (node.id, node.name, *node.aliases)}
    near = difflib.get_close_matches(wanted, sorted(names), n=_MOST_SHOWN, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else "`customhouse history` shows what there is"
    raise UsageError(f"nothing is known of {reference[:80]!r}", hint=hint)


def _in_order(known: Graph, reached: set[str], passed: set[Link]) -> list[str]:
    """Causes before effects; among equals the older, then the id. A cycle (which is odd) is broken by age."""
    waiting = dict.fromkeys(reached, 0)
    for link in passed:
        if link.source != link.target:
            waiting[link.target] += 1

    def age(node: str) -> tuple[str, str]:
        at = known.nodes[node].time
        return ("~" if at is None else to_rfc3339(at), node)

    order: list[str] = []
    ready = [age(node) for node, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    while waiting:
        if not ready:  # only a cycle is left
            ready.append(min(age(node) for node in waiting))
        _, node = heapq.heappop(ready)
        order.append(node)
        del waiting[node]
        for link in known.downstream.get(node, ()):
            if link in passed and link.target in waiting:
                waiting[link.target] -= 1
                if waiting[link.target] == 0:
                    heapq.heappush(ready, age(link.target))
    return order


def _merge(before: Node | None, node: Node) -> Node:
    if before is None:
        return node
    times = [at for at in (before.time, node.time) if at is not None]
    aliases = tuple(dict.fromkeys([*before.aliases, *node.aliases]))
    return replace(before, digest=before.digest or node.digest, time=min(times, default=None), aliases=aliases)


def _nodes(item: Entry) -> list[Node]:
    listed = item.body.get("nodes")
    found: list[Node] = []
    for value in listed if isinstance(listed, (list, tuple)) else ():
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            continue
        name, digest = value.get("name"), value.get("digest")
        if isinstance(name, str) and name:
            aliases = value.get("aliases")
            kept = tuple(str(a) for a in aliases) if isinstance(aliases, (list, tuple)) else ()
            # A node without a time of its own is as old as the entry that first speaks of it.
            found.append(Node(value["kind"], name, digest if isinstance(digest, str) else "", _time(value, item), kept))
    return found


def _time(value: Mapping[str, Any], item: Entry) -> datetime:
    try:
        return from_rfc3339(value["time"]) if isinstance(value.get("time"), str) else item.at
    except ValueError:
        return item.at


def _links(item: Entry) -> list[Link]:
    listed = item.body.get("links")
    found: list[Link] = []
    for value in listed if isinstance(listed, (list, tuple)) else ():
        ends = [value.get(key) for key in ("from", "to", "kind")] if isinstance(value, Mapping) else []
        if ends and all(isinstance(end, str) and end for end in ends):
            found.append(Link(*(str(end) for end in ends)))
    return found


def _of_evidence(item: Evidence) -> tuple[list[Node], list[Link]]:
    about = NodeKind.DATASET if item.kind is EvidenceKind.DATA_VALIDATION else NodeKind.MODEL
    subject = Node.of(about, item.subject)
    said = Node.of(NodeKind.EVIDENCE, item.digest, f"{item.kind.value}/{item.subject[7:19]}", time=item.issued_at)
    links = [Link.between(subject, said, LinkKind.ATTESTED_BY)]
    nodes = [subject, said]
    if item.kind is EvidenceKind.PROVENANCE and item.verified:
        for part in dependencies(item.predicate):
            if part.digest and part.role in (NodeKind.DATASET, NodeKind.CODE, NodeKind.IMAGE, NodeKind.MODEL):
                node = Node.of(part.role, part.digest, part.uri)
            elif part.commit:
                node = Node(NodeKind.COMMIT, part.commit)
            else:
                continue
            nodes.append(node)
            links.append(Link.between(node, subject, LinkKind.INPUT_OF))
    return nodes, links
