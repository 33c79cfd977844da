"""What other tools say of where things come from, entered into the ledger as what it is: their word, passed on.

The entries are of kind `claim`: a link that rests on them alone is shown as claimed. Where the bytes were looked at and
are what the claim says, its node is their sha256, so that it meets what is proved of the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from customhouse._kit.digest import is_digest, json_digest
from customhouse.app import wiring
from customhouse.app.settings import Settings
from customhouse.core.ledger import Entry
from customhouse.trust.custody import CLAIM, Link, LinkKind, Node, NodeKind, entry
from customhouse.trust.lineage import Claim

_MOST = 50
"""Claims of one entry."""
_NAME = 300
_KINDS = {"dataset": NodeKind.DATASET, "code": NodeKind.CODE, "model": NodeKind.MODEL, "run": NodeKind.TRAINING_RUN}


def enter_claims(settings: Settings, claims: Iterable[Claim], actor: str) -> dict[str, Any]:
    """`{"entries":[index …],"new"}`. What was entered before is not entered again. Raises StateError."""
    made = list(_entries(claims, actor))
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        before = ledger.size
        receipts = ledger.append(made) if made else ()
    indexes = [receipt.index for receipt in receipts]
    return {"entries": indexes, "new": sum(index >= before for index in indexes)}


def _entries(claims: Iterable[Claim], actor: str) -> Iterable[Entry]:
    by_source: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_source[claim.source].append(claim)
    at = wiring.clock().now()
    for source, said in by_source.items():
        middle = _middle(source, said)
        for start in range(0, len(said), _MOST):
            part = said[start : start + _MOST]
            nodes, links = _graph(middle, part)
            body = {"text": f"{source} says: {len(part)} claims"[:500], "claims": json_digest([_of(c) for c in part])}
            key = f"claim:{json_digest([source[:_NAME], body['claims']])[7:]}"
            yield entry(CLAIM, key, at, actor, nodes=nodes, links=links, body=body)


def _of(claim: Claim) -> dict[str, Any]:
    return {**claim.to_json(), "digests": dict(claim.digests)}


def _middle(source: str, said: Sequence[Claim]) -> Node:
    """What the source speaks of: a version of a model, else a run."""
    about = next((claim for claim in said if claim.direction == "of"), None)
    if about is not None and about.role == "model":
        return Node(NodeKind.MODEL, about.name[:_NAME], aliases=(source[:_NAME],))
    aliases = () if about is None else (about.name[:_NAME],)
    return Node(NodeKind.TRAINING_RUN, source[:_NAME], aliases=aliases)


def _graph(middle: Node, said: Sequence[Claim]) -> tuple[list[Node], list[Link]]:
    nodes, links = [middle], []
    for claim in said:
        if claim.direction not in ("input", "output"):
            continue
        node = _node(claim)
        nodes.append(node)
        if claim.direction == "input":
            kind = LinkKind.PRODUCED if claim.role == "run" else LinkKind.INPUT_OF
            links.append(Link.between(node, middle, kind))
        else:
            links.append(Link.between(middle, node, LinkKind.PRODUCED))
    return nodes, links


def _node(claim: Claim) -> Node:
    kind, shown = _KINDS.get(claim.role, NodeKind.DATASET), claim.name[:_NAME]
    digest = claim.measured if claim.state == "bytes match" else ""
    sha256 = f"sha256:{claim.digests.get('sha256', '')}"
    if not digest and is_digest(sha256):
        digest = sha256
    if is_digest(digest):
        return Node.of(kind, digest, shown)
    if claim.commit:
        return Node(NodeKind.COMMIT, claim.commit, aliases=(claim.commit[:12],))
    if claim.role == "run":
        return Node(kind, f"MLflow run {shown}", aliases=(shown,))
    return Node(kind, (claim.uri or claim.name)[:_NAME], aliases=(shown,) if claim.uri else ())
