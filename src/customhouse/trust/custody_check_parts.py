"""Steps 6 to 10 of verifying a custody export: what hangs on the entries is what they name, and there is nothing else.

6. Decisions: body and Facts have the digests that an entry names, with its verdict and bundle.
7. Commits and files: git's ids from the bytes up to the commit that an entry names; SSH signatures of commits.
8. Evidence: the bytes have the digest that an entry names, and verify under keys that the caller named, or that a
   deployed commit declares; else what they say is claimed.
9. Rows: ranges lead to the root of rows in the dataset's entry.
10. Charges: their rows have the digest that their entry names.

What an entry names and the file does not hold is claimed: the ledger says so, and the thing itself was not looked at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse._kit.single_keys import each_once
from customhouse.core.errors import CustomhouseError, TamperError
from customhouse.core.ledger import Entry
from customhouse.trust.attestation import FOLDER
from customhouse.trust.custody import LinkKind, NodeKind
from customhouse.trust.custody_check import Ground
from customhouse.trust.custody_findings import CLAIMED, PROVED, Findings
from customhouse.trust.custody_git import Commit, Objects, principals, read_ssh_signature, ssh_verifies
from customhouse.trust.dataset.rowtree import RangeProof, RowTree, verify_range
from customhouse.trust.filed import read_filed
from customhouse.trust.roots import Roots

Read = Callable[[str], bytes]
Folder = Callable[[str], Mapping[str, bytes]]
Governing = Callable[[Read, Folder], tuple[Roots, bytes | None]]
"""Whom a customhouse.yaml and the files that it names trust: roots of evidence, and the allowed signers."""
_MAX_GOVERNANCE = 4 << 20
_MAX_GOVERNANCES = 50
"""Different sets of rules that are read: each is parsed."""


def check_parts(ground: Ground, findings: Findings, governing: Governing) -> None:
    """All of it; see the module's description."""
    _decisions(ground, findings)
    believed = _commits(ground, findings, governing)
    _evidence(ground, findings, believed)
    _rows(ground, findings)
    _charges(ground, findings)


def _listed(items: Sequence[Any], key: str, members: set[str]) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """(key, item) of a list that is in order and has no item twice. Raises TamperError."""
    last: Any = None
    for item in items:
        if not isinstance(item, Mapping) or set(item) != members:
            raise TamperError("not the members that belong there")
        value = item[key]
        if type(value) not in (str, int):
            raise TamperError(f"a {key} that is no text and no number")
        if last is not None and not last < value:
            raise TamperError("out of order, or there twice")
        last = value
        yield value, item


def _each(
    ground: Ground, findings: Findings, step: int, section: str, key: str, members: set[str]
) -> list[tuple[Any, Mapping[str, Any]]]:
    found: list[tuple[Any, Mapping[str, Any]]] = []

    def look() -> str:
        found.extend(_listed(ground.document[section], key, members))
        return f"{len(found)} in order"

    findings.check(step, f"/{section}", look)
    return found


def _names(ground: Ground, kind: str) -> set[str]:
    return {node.name for node in ground.traced.nodes if node.kind == kind}


def _entries_of(ground: Ground, node: str) -> Iterator[tuple[int, Entry]]:
    return ((index, item) for index, item in ground.entries.items() if node in item.subjects)


def _absent(ground: Ground, findings: Findings, step: int, kind: str, here: set[str], what: str) -> None:
    for name in sorted(_names(ground, kind) - here):
        findings.add(step, f"{kind} {name}", CLAIMED, what)


# 6
def _decisions(ground: Ground, findings: Findings) -> None:
    listed = _each(ground, findings, 6, "decisions", "digest", {"digest", "body", "facts"})
    for digest, item in listed:

        def look(digest: str = digest, item: Mapping[str, Any] = item) -> str:
            body, facts = item["body"].encode(), bytes_digest(item["facts"].encode())
            if bytes_digest(body) != digest:
                raise TamperError("its body has another digest")
            said = json.loads(body, object_pairs_hook=each_once)
            if said["facts_digest"] != facts:
                raise TamperError("its Facts have another digest")
            entered = [
                index
                for index, entry in _entries_of(ground, f"{NodeKind.DECISION}:{digest}")
                if entry.body.get("decision") == digest
                and entry.body.get("facts") == facts
                and entry.body.get("bundle") == said["bundle_digest"]
                and entry.body.get("verdict") == said["verdict"]
            ]
            if not entered:
                raise TamperError("no entry says the same of it")
            return f"{said['verdict']}, with its Facts, by bundle {said['bundle_digest'][:19]}…; entry {entered[0]}"

        findings.check(6, f"decision {digest}", look)
    text = "an entry names it; its body is not in the file"
    _absent(ground, findings, 6, NodeKind.DECISION, {digest for digest, _ in listed}, text)


# 7
def _commits(ground: Ground, findings: Findings, governing: Governing) -> list[Roots]:
    raw: dict[str, bytes] = {}

    def decode() -> str:
        for name, text in ground.document["objects"].items():
            raw[name] = _bytes(text)
        return f"{len(raw)} git objects"

    if not findings.check(7, "/objects", decode):
        return []
    objects = Objects(raw)
    listed = _each(ground, findings, 7, "commits", "commit", {"commit", "governance", "paths"})
    deployed = _deployed(ground)
    believed: dict[str, tuple[Roots, bytes | None]] = {}
    read: dict[str, Commit] = {}
    for commit, item in listed:

        def look(commit: str = commit, item: Mapping[str, Any] = item) -> str:
            if commit not in _names(ground, NodeKind.COMMIT):
                raise TamperError("nothing that was traced names it")
            read[commit] = objects.commit(commit)
            paths = [*item["governance"], *item["paths"]]
            if len(set(paths)) != len(paths):
                raise TamperError("a path is there twice")
            contents = {}
            for path in paths:
                findings.tick()
                contents[path] = _file(objects, commit, path)
            if commit in deployed and item["governance"]:
                _believe({path: contents[path] for path in item["governance"]}, believed, governing)
            return f"{read[commit].subject!r} by {read[commit].author}; {len(paths)} files by their hashes"

        findings.check(7, f"commit {commit}", look)
    signers = [signers for _, signers in believed.values() if signers]
    for commit, content in read.items():
        _signature(findings, commit, content, signers)
    unused = sorted(raw.keys() - objects.used)
    if unused:
        findings.check(7, f"object {unused[0][:64]}", _nobody)
    text = "an entry names it; the commit itself is not in the file"
    _absent(ground, findings, 7, NodeKind.COMMIT, {commit for commit, _ in listed}, text)
    return [roots for roots, _ in believed.values()]


def _believe(files: Mapping[str, bytes], believed: dict[str, tuple[Roots, bytes | None]], governing: Governing) -> None:
    """Take in whom the rules of a deployed commit trust; the same rules once."""
    if sum(map(len, files.values())) > _MAX_GOVERNANCE:
        raise TamperError("more rules than anybody writes")
    key = "\n".join(f"{path} {bytes_digest(data)}" for path, data in files.items())
    if key not in believed and len(believed) < _MAX_GOVERNANCES:
        believed[key] = governing(_reader(files), _folder(files))


def _nobody() -> str:
    raise TamperError("no commit in the file needs it")


def _deployed(ground: Ground) -> set[str]:
    """The commits whose rules count: what was deployed, and what was founded on. A denied one may say anything."""
    found = set()
    for link in ground.traced.links:
        if link.kind == LinkKind.SERVED_AS and link.source.startswith("commit:"):
            found.add(link.source.removeprefix("commit:"))
    for item in ground.entries.values():
        if item.kind == "founding":
            found |= {name.removeprefix("commit:") for name in item.subjects if name.startswith("commit:")}
    return found


def _file(objects: Objects, commit: str, path: str) -> bytes:
    try:
        return objects.file(commit, path)
    except KeyError as error:
        raise TamperError(f"the object {str(error)[:70]} on the way to {path[:100]} is missing") from error


def _reader(files: Mapping[str, bytes]) -> Read:
    def read(path: str) -> bytes:
        if path not in files:
            raise TamperError(f"its customhouse.yaml names {path[:100]}, which is not in the file")
        return files[path]

    return read


def _folder(files: Mapping[str, bytes]) -> Folder:
    return lambda folder: {path: data for path, data in files.items() if path.startswith(folder.rstrip("/") + "/")}


def _signature(findings: Findings, commit: str, content: Commit, signers: Sequence[bytes]) -> None:
    name = f"signature of commit {commit}"
    findings.tick()
    if not content.signature:
        findings.add(7, name, CLAIMED, "it is not signed")
        return
    try:
        signature = read_ssh_signature(content.signature)
        good = None if signature is None else ssh_verifies(signature, content.payload)
    except TamperError as error:
        findings.add(7, name, CLAIMED, f"{error.message}: whoever judged the commit saw it too")
        return
    if signature is None or good is None:
        findings.add(7, name, CLAIMED, "of a kind that is not checked here (OpenPGP, X.509, a key in hardware)")
    elif not good:
        findings.add(7, name, CLAIMED, "it does not verify: whoever judged the commit saw that too")
    else:
        owners = sorted({owner for file in signers for owner in principals(file, signature.key)})
        if owners:
            text = f"signed by {', '.join(owners)} ({signature.fingerprint}), whom a deployed commit names"
            findings.add(7, name, PROVED, text)
        else:
            text = f"signed by {signature.fingerprint}, whom no deployed commit in the file names"
            findings.add(7, name, CLAIMED, text)


# 8
def _evidence(ground: Ground, findings: Findings, believed: Sequence[Roots]) -> None:
    listed = _each(ground, findings, 8, "evidence", "digest", {"digest", "path", "data"})
    roots = [Roots(keys=ground.trusted.roots)] if ground.trusted.roots else list(believed)
    subjects: dict[str, list[str]] = {}
    for link in ground.traced.links:
        if link.kind == LinkKind.ATTESTED_BY:
            subjects.setdefault(link.target, []).append(link.source.partition(":")[2])
    for digest, item in listed:
        name = f"evidence {digest}"
        data = b""

        def look(digest: str = digest, item: Mapping[str, Any] = item) -> str:
            nonlocal data
            if digest not in _names(ground, NodeKind.EVIDENCE):
                raise TamperError("nothing that was traced names it")
            data = _bytes(item["data"])
            if bytes_digest(data) != digest:
                raise TamperError("its bytes have another digest")
            return f"{item['path']}, {len(data)} bytes, as an entry names it"

        if findings.check(8, name, look):
            about = subjects.get(f"{NodeKind.EVIDENCE}:{digest}", [])
            _statement(ground, findings, digest, str(item["path"]), data, about, roots)
    text = "an entry names it; its bytes are not in the file"
    _absent(ground, findings, 8, NodeKind.EVIDENCE, {digest for digest, _ in listed}, text)


def _statement(
    ground: Ground,
    findings: Findings,
    digest: str,
    path: str,
    data: bytes,
    subjects: Sequence[str],
    roots: Sequence[Roots],
) -> None:
    """Whether a statement verifies under whomever is believed, about the things that the entries file it under."""
    at = min((item.at for _, item in _entries_of(ground, f"{NodeKind.EVIDENCE}:{digest}")), default=None)
    problem = "no key is here that could have signed it"
    for subject in subjects:
        name = f"signature of evidence {digest}"
        for one in roots:
            findings.tick()
            place = path if not path.startswith(FOLDER) else f"{FOLDER}/{subject[7:]}/{path.rpartition('/')[2]}"
            try:
                assert at is not None  # noqa: S101 - its node comes from an entry
                read = read_filed({place: data}, subject, one, at)
            except (CustomhouseError, ValueError) as error:
                problem = getattr(error, "message", "it cannot be read")
                continue
            good = [item for item in read if item.verified]
            if good:
                text = f"{good[0].kind.value} of {subject[:19]}…, signed by {good[0].signer}"
                findings.add(8, name, PROVED, text)
                break
            problem = next((item.problem for item in read), "it says nothing of what it is filed under")
        else:
            findings.add(8, name, CLAIMED, f"about {subject[:19]}…: {problem}")


# 9
def _rows(ground: Ground, findings: Findings) -> None:
    for number, item in enumerate(ground.document["rows"]):

        def look(item: Mapping[str, Any] = item) -> str:
            if set(item) != {"dataset", "proof"}:
                raise TamperError("not the members that belong there")
            proof = RangeProof.of_json(item["proof"])
            if proof.to_json() != item["proof"]:
                raise TamperError("not in the form that proofs have")
            for index, entry in _entries_of(ground, f"{NodeKind.DATASET}:{item['dataset']}"):
                said = entry.body.get("row_tree")
                if entry.kind == NodeKind.DATASET and isinstance(said, Mapping):
                    verify_range(proof, RowTree(int(said["rows"]), str(said["root"]), int(said["chunk"])))
                    return f"rows {proof.start} to {proof.end - 1} of {proof.rows} lead to the root in entry {index}"
            raise TamperError("no entry names a root of its rows")

        findings.check(9, f"rows {number} of {item.get('dataset', '?') if isinstance(item, Mapping) else '?'}", look)


# 10
def _charges(ground: Ground, findings: Findings) -> None:
    listed = _each(ground, findings, 10, "charges", "entry", {"entry", "rows"})
    for index, item in listed:

        def look(index: int = index, item: Mapping[str, Any] = item) -> str:
            entry = ground.entries.get(index)
            if entry is None or entry.kind != "charge":
                raise TamperError("there is no such charge")
            if bytes_digest(item["rows"].encode()) != entry.body.get("rows"):
                raise TamperError("its rows have another digest")
            return f"{len(json.loads(item['rows']))} rows, {entry.body.get('text')}"

        findings.check(10, f"charge of entry {index}", look)
    here = {index for index, _ in listed}
    for index, entry in ground.entries.items():
        if entry.kind == "charge" and index not in here:
            findings.add(10, f"charge of entry {index}", CLAIMED, "its rows are not in the file")


def _bytes(text: Any) -> bytes:
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise TamperError("base64 that is not canonical")
    return data
