"""Whatever bytes are put in place of evidence, notes, entries or tiles: the answer is one of ours, never a crash."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customhouse._kit.clock import FixedClock
from customhouse._kit.digest import FileEntry as File
from customhouse._kit.digest import Tree, bytes_digest
from customhouse.core.errors import EvidenceError, TamperError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.ledger import Entry
from customhouse.store import open_store
from customhouse.trust.adapters.tiles import publish, verify
from customhouse.trust.attestation import attest, read_evidence
from customhouse.trust.bundle import PAYLOAD_TYPE, pae
from customhouse.trust.custody import graph
from customhouse.trust.custody_trace import trace
from customhouse.trust.keys import TrustRoot, generate
from customhouse.trust.ledger import Ledger, parse_entry
from customhouse.trust.note import NoteKey, open_note
from customhouse.trust.provenance import Expectations, check_provenance
from customhouse.trust.signing import verify_model

KEY = generate()
ROOTS = [TrustRoot("release", KEY.public.pem())]
DIGEST = "sha256:" + "ab" * 32
GOOD = attest("x", DIGEST, EvidenceKind.SCAN, {"verdict": "clean"}, KEY, issued_at=datetime(2026, 3, 1, tzinfo=UTC))
TREE = Tree((File("a", bytes_digest(b"a"), 1),))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
named = st.sampled_from(
    ["_type", "subject", "predicateType", "predicate", "name", "digest", "sha256", "resources", "serialization",
     "annotations", "customhouse.dev/issued-at", "customhouse.dev/tree-digest", "algorithm", "method", "ignore_paths"]
)  # fmt: skip
statements = st.dictionaries(named, json_values | st.dictionaries(named, json_values, max_size=4), max_size=6)


@given(st.binary(max_size=200) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_as_evidence(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        read_evidence(data, ROOTS)


@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=3))
def test_evidence_with_any_place_overwritten_never_says_something_else(position: int, junk: bytes) -> None:
    changed = GOOD[:position] + junk + GOOD[position + len(junk) :]
    try:
        (read,) = read_evidence(changed, ROOTS)
    except EvidenceError:
        return
    if read.verified:  # what was overwritten was not signed (the hint, the key id, white space)
        assert (read.subject, read.predicate) == (DIGEST, {"verdict": "clean"})


@given(statements, st.sampled_from(["https://model_signing/signature/v1.0", "https://model_signing/Digests/v0.1"]))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
def test_any_statement_that_a_trusted_key_signed(statement: dict[str, object], predicate_type: str) -> None:
    base = {"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate_type}
    subject = {"subject": [{"name": "x", "digest": {"sha256": "ab" * 32}}]}
    for document in (statement, {**subject, **statement, **base}, {**statement, **subject, **base}):
        payload = json.dumps(document).encode()
        bundle = json.loads(GOOD)
        envelope = bundle["dsseEnvelope"]
        envelope["payload"] = base64.b64encode(payload).decode()
        envelope["signatures"][0]["sig"] = base64.b64encode(KEY.sign(pae(PAYLOAD_TYPE, payload))).decode()
        data = json.dumps(bundle).encode()
        for read in (lambda d=data: read_evidence(d, ROOTS), lambda d=data: verify_model(d, TREE, ROOTS).problems()):
            try:
                read()
            except EvidenceError:
                continue


@given(json_values)
def test_any_predicate_as_provenance(value: object) -> None:
    predicate = {"buildDefinition": value, "runDetails": value}
    assert check_provenance(predicate, Expectations(builders=["b"]))


@given(st.text(max_size=80))
def test_any_text_as_a_note(text: str) -> None:
    with pytest.raises(TamperError):
        open_note(text, NoteKey("n", KEY.public))


@given(st.binary(max_size=100) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_as_an_entry(data: bytes) -> None:
    with pytest.raises(TamperError):
        parse_entry(data)


@given(st.dictionaries(st.sampled_from(["nodes", "links", "x"]), json_values), st.text(max_size=10))
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=50)
def test_any_body_and_reference_in_the_custody_graph(body: dict[str, object], reference: str) -> None:
    known = graph([(0, Entry("k", "x", datetime(2026, 3, 1, tzinfo=UTC), "ada", (), body))])
    for node in known.nodes:
        assert trace(known, node).found
    with suppress(UsageError):
        assert set(trace(known, reference).found) <= set(known.nodes)


@given(st.sampled_from(["checkpoint", "tile/0/000.p/9", "tile/entries/000.p/9"]), st.binary(max_size=400))
@settings(deadline=None, max_examples=25)
def test_any_bytes_in_a_file_of_the_tiles(tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes) -> None:
    folder = _tiles(tmp_path_factory)
    genuine = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        assert not verify(folder, "l.example", KEY.public, FixedClock(datetime(2026, 3, 1, tzinfo=UTC))).ok
    finally:
        (folder / name).write_bytes(genuine)


_made: list[Path] = []


def _tiles(factory: pytest.TempPathFactory) -> Path:
    if not _made:
        folder = factory.mktemp("tiles")
        at = datetime(2026, 3, 1, tzinfo=UTC)
        with open_store(folder / "state.db") as store:
            book = Ledger(store.ledger, KEY, "l.example", FixedClock(at))
            book.append([Entry(f"k{n}", "x", at, "ada", (), {}) for n in range(9)])
            publish(store.ledger, folder / "out", "l.example", KEY.public)
        _made.append(folder / "out")
    return _made[0]
