"""Verifying a custody export offline: numbered steps over one file, each link proved, claimed or broken.

    found = verify_export(data, Trusted(key=vkey), roots_at)
    found.ok            # nothing is broken
    found.vouched       # and the ledger's key is one that the caller named

1. The form: within limits, one canonical JSON object of known members.
2. The seal: the ledger's key signed the digest of every other member.
3. The ledger: the checkpoint is signed, by the key that the caller trusts if one is named, and fits what they remember.
4. The entries: each leads to the checkpoint.
5. The graph: the nodes and links are those that the entries say, all of them, and no others.
6. Decisions, 7. commits and files, 8. evidence, 9. rows, 10. charges: see `custody_check_parts`.

What the caller did not name is taken from the file itself, and is said to be unproved.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from customhouse._kit.canonical import CanonicalError, canonical_json
from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse.core.errors import ConfigError, CustomhouseError, EvidenceError, TamperError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.trust import strict_json
from customhouse.trust.cosignature import CosignerKey, cosignatures
from customhouse.trust.custody import graph
from customhouse.trust.custody_export import FORMAT, MAX_BYTES, SEAL_TITLE, SECTIONS
from customhouse.trust.custody_findings import BROKEN, CLAIMED, KEPT, PROVED, Findings, Trusted, Verification, plain
from customhouse.trust.custody_place import first_difference, place_of
from customhouse.trust.custody_reference import is_named
from customhouse.trust.custody_trace import Trace, Walk, trace_from
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger import parse_entry
from customhouse.trust.ledger_keys import KIND as ROTATION
from customhouse.trust.ledger_keys import followed, handed_on
from customhouse.trust.merkle import leaf_hash, verify_consistency, verify_inclusion
from customhouse.trust.note import NoteKey, open_checkpoint, open_note

MAX_ENTRIES = 100_000
MAX_PARTS = 20_000
"""Evidence, decisions, commits, ranges of rows and charges, each."""
MAX_PROOF = 64
_MAX_CONTAINERS = 2_000_000
_MAX_VALUES = 8_000_000
"""Counted before anything is parsed, texts included: 64 MiB of `[],` would be gigabytes of lists."""

_SHAPE: Mapping[str, type | tuple[type, ...]] = {
    "charges": list,
    "checkpoint": str,
    "commits": list,
    "consistency": (dict, type(None)),
    "decisions": list,
    "edges": list,
    "entries": list,
    "evidence": list,
    "format": str,
    "found": list,
    "keys": list,
    "nodes": list,
    "objects": dict,
    "reference": str,
    "rows": list,
    "seal": str,
    "walk": dict,
}


@dataclass(frozen=True, slots=True)
class Ground:
    """What the later steps stand on: the parsed file, the proved entries, the graph that they make."""

    document: Mapping[str, Any]
    entries: Mapping[int, Entry]
    traced: Trace
    trusted: Trusted


Parts = Callable[[Ground, Findings], None]


def verify_export(data: bytes, trusted: Trusted, parts: Parts, tick: Callable[[], None] = lambda: None) -> Verification:
    """Every step of the module's description; `parts` are steps 6 to 10. Never raises for what is wrong in the file.

    `tick` may raise when the time is up, and that goes through.
    """
    findings = Findings(tick=tick)
    document = _form(data, findings)
    if document is None:
        return Verification(tuple(findings.links))
    key = _seal(document, findings)
    vouched, named, entries = False, False, dict[int, Entry]()
    checkpoint = None if key is None else _ledger(document, key, trusted, findings)
    if key is not None and checkpoint is not None:
        entries = _entries(document, checkpoint, findings)
        _remembered(document, key, checkpoint, entries, trusted, findings)
        vouched = _vouched(key, entries, trusted, findings)
        traced = _graph(document, entries, findings)
        if traced is not None:
            named = _named_so(document, entries, findings)
            parts(Ground(document, entries, traced, trusted), findings)
    return Verification(
        tuple(findings.links),
        reference=plain(document["reference"]),
        found=tuple(plain(str(item)) for item in document["found"]),
        named=named,
        origin="" if key is None else key.name,
        size=0 if checkpoint is None else checkpoint.size,
        key="" if key is None else key.vkey,
        fingerprint="" if key is None else key.key.key_id,
        vouched=vouched,
    )


# 1
def _form(data: bytes, findings: Findings) -> dict[str, Any] | None:
    findings.tick()
    where: int | None = None
    if data.count(b"{") + data.count(b"[") > _MAX_CONTAINERS or data.count(b",") > _MAX_VALUES:
        findings.add(1, "the file", BROKEN, "more values than any export has")
        return None
    try:
        document = strict_json.parse(data, "export", max_bytes=MAX_BYTES)
        again = canonical_json(document)
    except EvidenceError as error:
        message, where = error.message, _offset(data, error.__cause__)
    except CanonicalError as error:
        message = str(error)
    else:
        if again == data:
            return _shaped(document, len(data), findings)
        message = "not in canonical form: something was added, moved or written in another way"
        where = first_difference(data, again)
    name = "the file" if where is None else f"{place_of(data, where)} (byte {where})"
    findings.add(1, name, BROKEN, message)
    return None


def _shaped(document: Any, size: int, findings: Findings) -> dict[str, Any] | None:
    """The document, when it has the members of an export and no others."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        findings.add(1, "/format", BROKEN, f"not a custody export ({FORMAT})")
        return None
    odd = sorted(document.keys() ^ _SHAPE.keys())
    wrong = [name for name, kind in _SHAPE.items() if name in document and not isinstance(document[name], kind)]
    if odd or wrong:
        findings.add(1, f"/{(odd or wrong)[0][:64]}", BROKEN, "missing, of another type, or not a member of an export")
        return None
    for name, value in document.items():
        most = MAX_ENTRIES if name in ("entries", "nodes", "edges", "objects") else MAX_PARTS
        if isinstance(value, (list, dict)) and len(value) > most:
            findings.add(1, f"/{name}", BROKEN, f"more than {most}")
            return None
    findings.add(1, "the form", PROVED, f"{size} bytes of canonical JSON")
    return document


def _offset(data: bytes, error: BaseException | None) -> int | None:
    """Where the reader stumbled, in bytes."""
    start = getattr(error, "start", None)  # UnicodeDecodeError
    if isinstance(start, int):
        return start
    position = getattr(error, "pos", None)  # json.JSONDecodeError, in characters
    if not isinstance(position, int):
        return None
    return len(data.decode("utf-8", "replace")[:position].encode())


# 2
def _seal(document: Mapping[str, Any], findings: Findings) -> NoteKey | None:
    findings.tick()
    try:
        (said,) = document["keys"]
        key = NoteKey.from_vkey(said)
    except (ConfigError, ValueError, TypeError, AttributeError) as error:
        findings.add(2, "/keys", BROKEN, getattr(error, "message", "one verifier key is expected"))
        return None
    try:
        text = open_note(document["seal"], key)
    except TamperError as error:
        findings.add(2, "/seal", BROKEN, error.message)
        return key
    lines = text.splitlines()
    if document["seal"].count("\n— ") != 1 or lines[:1] != [SEAL_TITLE] or len(lines) != len(SECTIONS) + 1:
        findings.add(2, "/seal", BROKEN, "not the seal of an export")
        return key
    good = True
    for line, name in zip(lines[1:], SECTIONS, strict=True):
        if not hmac.compare_digest(line.encode(), f"{name} {json_digest(document[name])}".encode()):
            findings.add(2, f"/{name}", BROKEN, "not what the ledger's key sealed")
            good = False
    if good:
        findings.add(2, "the seal", PROVED, f"{key.name} signed the digest of each of {len(SECTIONS)} members")
    return key


# 3
def _is_trusted(key: NoteKey, trusted: Trusted) -> bool:
    known = any(hmac.compare_digest(key.vkey.encode(), item.vkey.encode()) for item in trusted.keys)
    return known or any(
        hmac.compare_digest(key.key.key_id.encode(), item.removeprefix("sha256:").encode())
        for item in trusted.fingerprints
    )


def _ledger(document: Mapping[str, Any], key: NoteKey, trusted: Trusted, findings: Findings) -> Checkpoint | None:
    findings.tick()
    try:
        checkpoint = open_checkpoint(document["checkpoint"], key.name, key.key)
    except TamperError as error:
        findings.add(3, "/checkpoint", BROKEN, error.message)
        return None
    findings.add(3, "the checkpoint", PROVED, f"{checkpoint.size} entries, root {checkpoint.root.hex()}")
    for witness in trusted.witnesses:
        findings.check(3, f"witness {witness.name}", partial(_cosigned, document["checkpoint"], witness))
    return checkpoint


def _cosigned(note: str, witness: CosignerKey) -> str:
    found = cosignatures(note, [witness])
    if not found:
        raise TamperError("it has not cosigned this checkpoint")
    return f"saw this checkpoint at {to_rfc3339(found[0].at)}, and nothing that contradicts it before"


def _vouched(key: NoteKey, entries: Mapping[int, Entry], trusted: Trusted, findings: Findings) -> bool:
    """Whether the key is one that the caller named, or follows from one by entries that the one before signed."""
    name, known = "the ledger's key", _is_trusted(key, trusted)
    if known:
        findings.add(3, name, PROVED, f"the one that you named: {key.key.key_id}")
        return True
    if not (trusted.keys or trusted.fingerprints):
        findings.add(3, name, CLAIMED, f"the file itself names {key.vkey}; ask its owner for it")
        return False
    following: PublicKey | None = None
    for index, item in entries.items():
        if item.kind != ROTATION:
            continue
        try:
            before, after = handed_on(item, key.name)
        except TamperError as error:
            findings.add(3, f"entry {index}", BROKEN, error.message)
            return False
        if before == following or _is_trusted(NoteKey(key.name, before), trusted):
            following = after
    if following is not None and following == key.key:
        findings.add(3, name, PROVED, f"it follows the one that you named: {key.key.key_id}")
        return True
    findings.add(3, name, BROKEN, f"{key.vkey} is not one that you named")
    return False


def _remembered(
    document: Mapping[str, Any],
    key: NoteKey,
    checkpoint: Checkpoint,
    entries: Mapping[int, Entry],
    trusted: Trusted,
    findings: Findings,
) -> None:
    """Hold the checkpoint against the one that the caller kept, under the ledger's key or one that it follows."""
    name = KEPT
    if not trusted.checkpoint:
        return
    try:
        kept = open_checkpoint(trusted.checkpoint, key.name, *followed(key, entries))
    except TamperError as error:
        text = f"{error.message}; it has to be signed by the file's key {key.vkey}, or one before it that entries name"
        findings.add(3, name, BROKEN, text)
        return
    said = document["consistency"]
    if kept.size == checkpoint.size:
        findings.check(3, name, lambda: _same(kept, checkpoint))
    elif kept.size > checkpoint.size:
        findings.add(3, name, CLAIMED, f"it is newer ({kept.size} entries): this file cannot be held against it")
    elif said is None or said.get("size") != kept.size:
        text = f"no proof from {kept.size} entries is here: ask for an export with --since your checkpoint"
        findings.add(3, name, CLAIMED, text)
    else:
        findings.check(3, name, lambda: _grown(kept, checkpoint, said["proof"]))


def _same(kept: Checkpoint, checkpoint: Checkpoint) -> str:
    if not hmac.compare_digest(kept.root, checkpoint.root):
        raise TamperError("another root at the same size: the ledger was forked")
    return "the same root"


def _grown(kept: Checkpoint, checkpoint: Checkpoint, proof: Sequence[str]) -> str:
    if len(proof) > 2 * MAX_PROOF:
        raise TamperError("too long a proof")
    verify_consistency(kept.size, checkpoint.size, [_hash(step) for step in proof], kept.root, checkpoint.root)
    return f"the ledger has grown from its {kept.size} entries, and nothing of them was altered"


# 4
def _entries(document: Mapping[str, Any], checkpoint: Checkpoint, findings: Findings) -> dict[int, Entry]:
    found: dict[int, Entry] = {}
    last = -1
    for number, item in enumerate(document["entries"]):
        if not number % 64:
            findings.tick()
        index = item.get("index") if isinstance(item, Mapping) else None
        name = f"entry {index}" if type(index) is int else f"/entries/{number}"
        if type(index) is not int or set(item) != {"index", "entry", "proof"} or index <= last:
            findings.add(4, name, BROKEN, "not an entry with its proof, out of order, or there twice")
            continue
        last = index
        try:
            data, path = item["entry"].encode(), [_hash(step) for step in item["proof"][: MAX_PROOF + 1]]
            verify_inclusion(index, checkpoint.size, leaf_hash(data), path, checkpoint.root)
            found[index] = parse_entry(data)
        except TamperError as error:
            findings.add(4, name, BROKEN, f"it does not lead to the checkpoint: {error.message}")
        except (TypeError, ValueError, AttributeError, KeyError):
            findings.add(4, name, BROKEN, "malformed")
        else:
            at = found[index].at.date()
            findings.add(4, name, PROVED, f"{found[index].kind} of {at} by {found[index].actor}")
    return found


def _hash(text: Any) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise TamperError("a hash that is not canonical base64")
    return data


# 5
def _graph(document: Mapping[str, Any], entries: Mapping[int, Entry], findings: Findings) -> Trace | None:
    findings.tick()
    try:
        walk = Walk.of_json(document["walk"])
        found = tuple(document["found"])
        known = graph(entries.items())
        traced = trace_from(known, document["reference"], found, None, walk)
    except (CustomhouseError, TypeError, ValueError) as error:
        findings.add(5, "/found", BROKEN, f"the entries lead nowhere from it: {getattr(error, 'message', 'malformed')}")
        return None
    good = _compare(document["nodes"], traced.nodes_json(), "nodes", findings)
    good &= _compare(document["edges"], traced.edges_json(), "edges", findings)
    more = sorted({index for index, item in entries.items() if item.kind != ROTATION} - set(traced.entries))
    if more:
        findings.add(5, f"entry {more[0]}", BROKEN, "nothing that was traced needs it")
        good = False
    if good:
        findings.add(
            5, "the graph", PROVED, f"{len(traced.nodes)} nodes and {len(traced.links)} links are what the entries say"
        )
    for link in traced.links:
        if not traced.basis[link].proved:
            findings.add(
                5, f"{link.source} → {link.target}", CLAIMED, f"{link.kind}: somebody says so, nothing proves it"
            )
    return traced


def _named_so(document: Mapping[str, Any], entries: Mapping[int, Entry], findings: Findings) -> bool:
    """Whether the name that the file goes by is one that the entries give to what was found."""
    reference, found = document["reference"], document["found"]
    if is_named(reference, found, graph(entries.items()), entries):
        findings.add(5, "the reference", PROVED, f"{reference}: the entries call it so")
        return True
    shown = ", ".join(str(item) for item in found[:5])
    findings.add(5, "the reference", CLAIMED, f"{reference}: whoever sealed it calls it so; the entries know {shown}")
    return False


def _compare(said: Sequence[Any], made: Sequence[Mapping[str, Any]], what: str, findings: Findings) -> bool:
    if canonical_json(said) == canonical_json(list(made)):
        return True
    for number, (one, other) in enumerate(zip(said, made, strict=False)):
        if one != other:
            findings.add(5, f"/{what}/{number} ({_named(other)})", BROKEN, "not what the entries say")
            return False
    findings.add(5, f"/{what}", BROKEN, f"{len(said)} are listed, and the entries make {len(made)}")
    return False


def _named(item: Mapping[str, Any]) -> str:
    return str(item["id"]) if "id" in item else f"{item['from']} → {item['to']}"
