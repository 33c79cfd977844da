"""The custody graph: from the dataset to the charge and back, read off the ledger and the evidence.

An Entry that takes part carries, beside its own body, what it is about and how those things hang together:

    {"nodes": [{"id","kind","name","digest","time","aliases"}], "links": [{"from","to","kind"}], …}

A link goes from cause to effect (dataset → training-run → model → deployment → charge). `entry` writes such an Entry;
`graph` reads any number of them, with Evidence, into one Graph (a pure function); `custody_trace.trace` walks it.

A node's id is `<kind>:<name>`, so that every Entry that speaks of the same thing means the same node. The name of what
has a digest is that digest (`model:sha256:…`); people's names for it go into `aliases`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import is_digest
from customhouse.core.errors import UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.core.ledger import Entry
from customhouse.trust.provenance import dependencies

_BY_ENDS = attrgetter("source", "target", "kind")

CLAIM = "claim"
"""The kind of an Entry that passes on what somebody else says: what rests on such entries alone is not proved."""


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
    POD = "pod"
    PREDICTIONS = "predictions"
    INVOICE_LINE = "invoice-line"
    POLICY_BUNDLE = "policy-bundle"
    WAIVER = "waiver"
    VULNERABILITY = "vulnerability"


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
    CONSIDERED_IN = "considered-in"
    JUDGED_UNDER = "judged-under"
    RAN_AS = "ran-as"
    ANSWERED = "answered"
    MEASURED = "measured"
    BILLED_AS = "billed-as"
    BASE_OF = "base-of"
    FOUND_IN = "found-in"


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
    claimed: frozenset[int]
    """The entries that only pass on what somebody else says."""
    evidence: Mapping[int, str]
    """Entry → digest of the signed statement that it is about."""
    downstream: Mapping[str, tuple[Link, ...]] = field(repr=False)
    upstream: Mapping[str, tuple[Link, ...]] = field(repr=False)


def graph(entries: Iterable[tuple[int, Entry]], evidence: Iterable[Evidence] = ()) -> Graph:
    """Fold ledger entries and Evidence into one Graph.

    Entries without nodes and links add nothing. Evidence adds a node under its model; verified provenance also links
    the datasets and code that it names to the model. Malformed parts of a body are left out: the ledger keeps them.
    """
    draft = _Draft()
    for index, item in entries:
        if item.kind == CLAIM:
            draft.claimed.add(index)
        for node in _nodes(item):
            draft.add(node, index)
            if item.kind == NodeKind.EVIDENCE == node.kind:
                draft.evidence[index] = node.digest
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
        self.claimed: set[int] = set()
        self.evidence: dict[int, str] = {}

    def add(self, node: Node, index: int | None = None) -> None:
        name = node.id
        self._nodes[name] = _merge(self._nodes.get(name), node)
        if index is not None:
            self._sources.setdefault(name, set()).add(index)

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
        for link in sorted(self._links, key=_BY_ENDS):
            downstream.setdefault(link.source, []).append(link)
            upstream.setdefault(link.target, []).append(link)
        return Graph(
            self._nodes,
            frozenset(self._links),
            {key: frozenset(indexes) for key, indexes in self._sources.items()},
            frozenset(self.claimed),
            self.evidence,
            {key: tuple(items) for key, items in downstream.items()},
            {key: tuple(items) for key, items in upstream.items()},
        )


def _merge(before: Node | None, node: Node) -> Node:
    if before is None:
        return node
    if (
        node.digest in ("", before.digest)
        and (node.time is None or (before.time is not None and before.time <= node.time))
        and before.aliases[: len(node.aliases)] == node.aliases
    ):
        return before  # nothing new, which is said of most things most of the time
    times = [at for at in (before.time, node.time) if at is not None]
    aliases = tuple(dict.fromkeys([*before.aliases, *node.aliases]))
    return replace(before, digest=before.digest or node.digest, time=min(times, default=None), aliases=aliases)


def said(body: Mapping[str, Any]) -> tuple[list[tuple[str, str, tuple[str, ...]]], list[tuple[str, str, str]]]:
    """What the body of an entry says, without its times: (id, digest, aliases) of nodes, (from, to, kind) of links."""
    nodes = [(f"{value['kind']}:{name}", digest, aliases) for value, name, digest, aliases in _node_values(body)]
    return nodes, list(_link_values(body))


def _node_values(body: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, str, tuple[str, ...]]]:
    listed = body.get("nodes")
    for value in listed if isinstance(listed, (list, tuple)) else ():
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            continue
        name, digest, aliases = value.get("name"), value.get("digest"), value.get("aliases")
        if isinstance(name, str) and name:
            kept = tuple(str(a) for a in aliases) if isinstance(aliases, (list, tuple)) else ()
            yield value, name, digest if isinstance(digest, str) else "", kept


def _link_values(body: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    listed = body.get("links")
    for value in listed if isinstance(listed, (list, tuple)) else ():
        ends = [value.get(key) for key in ("from", "to", "kind")] if isinstance(value, Mapping) else []
        if ends and all(isinstance(end, str) and end for end in ends):
            yield str(ends[0]), str(ends[1]), str(ends[2])


def _nodes(item: Entry) -> list[Node]:
    # A node without a time of its own is as old as the entry that first speaks of it.
    return [
        Node(value["kind"], name, digest, _time(value, item), aliases)
        for value, name, digest, aliases in _node_values(item.body)
    ]


def _time(value: Mapping[str, Any], item: Entry) -> datetime:
    try:
        return from_rfc3339(value["time"]) if isinstance(value.get("time"), str) else item.at
    except ValueError:
        return item.at


def _links(item: Entry) -> list[Link]:
    return [Link(*ends) for ends in _link_values(item.body)]


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
