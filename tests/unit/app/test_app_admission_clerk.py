"""What the clerk makes of records: denials with their Facts; of what was allowed a share, and a digest of all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.app import admission_clerk, wiring
from customhouse.app.admission import Admission
from customhouse.app.admission_clerk import RECORD, _Books, _records, _Waiting
from customhouse.app.admission_context import AdmissionContext
from customhouse.app.admission_evaluator import _record
from customhouse.app.admission_review import Review, read_review
from customhouse.app.governance import governance
from customhouse.app.settings import Settings, read_settings
from customhouse.core.errors import UsageError
from customhouse.policy.adapters.regorus import RegorusEngine

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def asked(name: str, image: str) -> Review:
    obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "prod"},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }
    request = {
        "uid": name,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "prod",
        "name": name,
        "userInfo": {"username": "ada"},
        "object": obj,
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return read_review(json.dumps(review).encode())


@pytest.fixture(scope="module")
def written() -> list[bytes]:
    """Records of three pods: two were refused, one was let in."""
    admission = Admission(AdmissionContext(governance(None, None)), RegorusEngine(), FixedClock(NOW))
    found = []
    for name, image in (("a", "evil.example/x:1"), ("b", "evil.example/y\n:2"), ("c", "evil.example/z:3")):
        review = asked(name, image)
        outcome = admission.validate(review)
        assert not outcome.answer.allowed
        if name == "c":  # as if a rule had only warned
            outcome = replace(outcome, answer=replace(outcome.answer, allowed=True))
        found.append(_record(review, outcome))
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "customhouse.yaml").write_text("apiVersion: customhouse.dev/v1\n")
    return read_settings(state=str(tmp_path / "state"), config=str(tmp_path / "customhouse.yaml"))


def framed(records: list[bytes], number: int = 0) -> bytes:
    return b"".join(RECORD.pack(len(record), number) + record for record in records)


def test_records_come_whole_however_the_bytes_are_cut(written: list[bytes]) -> None:
    data = framed(written, 7)
    for step in (1, 997, len(data)):
        buffer, found = bytearray(), list[_Waiting]()
        for at in range(0, len(data), step):
            buffer += data[at : at + step]
            found += _records(buffer)
        assert not buffer
        assert [(item.number, item.value["uid"]) for item in found] == [(7, "a"), (7, "b"), (7, "c")]
        assert all(item.decision is not None and item.decision["facts"]["as_of"] for item in found)


def stored(settings: Settings) -> tuple[list[dict[str, Any]], int]:
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        return [dict(entry.body, kind=entry.kind) for _, entry in ledger.entries()], len(opened.decisions.recent())


def test_a_denial_is_an_entry_with_its_decision_and_its_rules(settings: Settings, written: list[bytes]) -> None:
    books = _Books(settings)
    books.write(_records(bytearray(framed(written))), NOW)
    entries, kept = stored(settings)
    assert kept == 3
    denied = [entry for entry in entries if entry["kind"] == "admission"]
    assert [entry["resource"]["name"] for entry in denied] == ["a", "b"]
    assert all(entry["decision"].startswith("sha256:") and entry["rules"] for entry in denied)
    assert all(books.store.decisions.find(entry["decision"]) for entry in denied)
    (batch,) = [entry for entry in entries if entry["kind"] == "admission-batch"]
    assert batch["deny"] == 1
    assert batch["text"].startswith("1 requests allowed")


def test_of_what_was_allowed_only_a_share_is_kept_and_all_is_counted(
    settings: Settings, written: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_clerk, "_ALLOWED_KEPT", 0)
    waiting = _records(bytearray(framed(written)))
    _Books(settings).write(waiting, NOW)
    entries, kept = stored(settings)
    assert kept == 2
    assert any(entry["kind"] == "admission-batch" for entry in entries)
    assert waiting[2]._read is None  # what is not kept is not even parsed


def test_facts_of_another_decision_spoil_the_batch_and_nothing_of_it_is_stored(
    settings: Settings, written: list[bytes]
) -> None:
    waiting = _records(bytearray(framed(written)))
    waiting[1].detail = waiting[1].detail.replace(b'"as_of":"2026', b'"as_of":"2025')
    books = _Books(settings)
    with pytest.raises(UsageError, match="not the Facts"):
        books.write(waiting, NOW)
    entries, kept = stored(settings)
    assert kept == 0
    assert not [entry for entry in entries if entry["kind"] == "admission"]
