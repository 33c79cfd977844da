"""A custody export: one file with which a stranger verifies a chain offline. docs/custody.md describes it for others.

The file is one canonical JSON object (RFC 8785): there is one spelling of it, and no byte that could be anything else:

| member | what | how it is bound |
|---|---|---|
| `format`, `reference`, `found`, `walk` | what was asked | `found` leads to `nodes` and `edges` by `walk` |
| `keys`, `checkpoint`, `consistency` | whose ledger, at which size | the signature of the checkpoint |
| `entries` | ledger entries with inclusion proofs | each leads to the checkpoint |
| `nodes`, `edges` | the graph | made again from `entries`, they are the same |
| `evidence` | signed statements, whole | the digest that an entry names; their own signatures |
| `decisions` | bodies and Facts | the digests that an entry names |
| `commits`, `objects` | commits and the files that they declare | git's ids, which entries name |
| `rows` | ranges of datasets | the root of rows in a dataset's entry |
| `charges` | the rows of a charge | the digest that its entry names |
| `seal` | a signed note with the digest of every other member | the ledger's key |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import json_digest
from customhouse.core.errors import UsageError
from customhouse.core.ledger import Entry, Receipt
from customhouse.trust.custody_trace import Trace
from customhouse.trust.keys import PrivateKey
from customhouse.trust.note import NoteKey, sign_note

FORMAT = "customhouse.dev/custody/v1"
MAX_BYTES = 64 << 20
"""Of an export: a release of the demo has 1 MB, and a year of hourly charges some 20 MB."""
SEAL_TITLE = "customhouse.dev/custody-seal/v1"
"""The first line of a seal. It is no origin of a ledger, so a seal can never be taken for a checkpoint."""
SECTIONS = (
    "charges",
    "checkpoint",
    "commits",
    "consistency",
    "decisions",
    "edges",
    "entries",
    "evidence",
    "format",
    "found",
    "keys",
    "nodes",
    "objects",
    "reference",
    "rows",
    "walk",
)


@dataclass(frozen=True, slots=True)
class Attachments:
    """What goes along with the entries. Texts are canonical JSON, whose digest is what an entry names."""

    evidence: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    """Digest → (path, bytes)."""
    decisions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Digest → (body, Facts)."""
    commits: Mapping[str, tuple[Sequence[str], Sequence[str]]] = field(default_factory=dict)
    """Commit → the paths of it that are here: of those that say who is trusted, and of the others."""
    objects: Mapping[str, bytes] = field(default_factory=dict)
    """Git id → raw object (header and content)."""
    rows: Sequence[Mapping[str, Any]] = ()
    """`{"dataset","proof"}`."""
    charges: Mapping[int, str] = field(default_factory=dict)
    """Entry → the rows of the charge."""
    consistency: Mapping[str, Any] | None = None
    """`{"size","proof"}` from an older checkpoint."""
    handed_on: Sequence[tuple[Receipt, Entry]] = ()
    """The entries by which the ledger went on under another key."""


def write_export(traced: Trace, with_it: Attachments, origin: str, key: PrivateKey) -> bytes:
    """The bytes of the file; the same trace of the same ledger gives the same bytes.

    Raises UsageError when it would be larger than MAX_BYTES, or the trace has no proof.
    """
    if not traced.proofs:
        raise UsageError("no entry of the ledger speaks of it: there is nothing to prove")
    known = {receipt.index: (receipt, item) for receipt, item in (*with_it.handed_on, *traced.proofs)}
    proofs = [known[index] for index in sorted(known)]
    document: dict[str, Any] = {
        "format": FORMAT,
        "reference": traced.reference,
        "found": list(traced.found),
        "walk": traced.walk.to_json(),
        "keys": [NoteKey(origin, key.public).vkey],
        "checkpoint": traced.proofs[0][0].checkpoint.note,
        "consistency": None if with_it.consistency is None else dict(with_it.consistency),
        "entries": [_entry(receipt, item) for receipt, item in proofs],
        "nodes": traced.nodes_json(),
        "edges": traced.edges_json(),
        "evidence": [
            {"digest": digest, "path": path, "data": _text(data)}
            for digest, (path, data) in sorted(with_it.evidence.items())
        ],
        "decisions": [
            {"digest": digest, "body": body, "facts": facts}
            for digest, (body, facts) in sorted(with_it.decisions.items())
        ],
        "commits": [
            {"commit": commit, "governance": sorted(rules), "paths": sorted(paths)}
            for commit, (rules, paths) in sorted(with_it.commits.items())
        ],
        "objects": {name: _text(raw) for name, raw in with_it.objects.items()},
        "rows": [dict(item) for item in with_it.rows],
        "charges": [{"entry": index, "rows": rows} for index, rows in sorted(with_it.charges.items())],
    }
    document["seal"] = sign_note(seal_text(document), origin, key)
    data = canonical_json(document)
    if len(data) > MAX_BYTES:
        raise UsageError(
            f"the export would have {len(data) >> 20} MiB, more than {MAX_BYTES >> 20}",
            hint="trace one release, or take --depth, --up or --down",
        )
    return data


def seal_text(document: Mapping[str, Any]) -> str:
    """The text of the seal: a title, then a line for every member with the digest of its canonical form."""
    lines = [f"{name} {json_digest(document[name])}" for name in SECTIONS]
    return "\n".join([SEAL_TITLE, *lines]) + "\n"


def _entry(receipt: Receipt, item: Entry) -> dict[str, Any]:
    proof = [base64.b64encode(step).decode() for step in receipt.proof]
    return {"index": receipt.index, "entry": item.to_bytes().decode(), "proof": proof}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
