"""`scan.names` of customhouse.yaml: what may be declared, and which evidence it lets count."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse.app.configuration import parse
from customhouse.app.configuring import as_document
from customhouse.app.governance import read_configuration
from customhouse.app.scan_names import ScanSpec
from customhouse.core.errors import ConfigError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust.scan.names import Use

HEAD = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\nscan:\n  names:\n"
ROW = "    - {name: acme.Ranker, use: state, reason: it was read, owner: risk}\n"
BEFORE, AFTER = datetime(2027, 4, 30, 23, 59, tzinfo=UTC), datetime(2027, 5, 1, tzinfo=UTC)


def spec(rows: str) -> ScanSpec:
    return read_configuration((HEAD + rows).encode()).scan


def scan(added: Any, kind: EvidenceKind = EvidenceKind.SCAN, problem: str = "") -> Evidence:
    predicate = {"verdict": "clean", "added_names": added}
    return Evidence("sha256:1", kind, "t", predicate, None, "key", not problem, "sha256:2", problem)


def test_names_are_read_shown_and_end() -> None:
    found = read_configuration((HEAD + ROW.replace("risk", "risk, expires: 2027-05-01")).encode())
    assert found.scan.uses(BEFORE) == {"acme.Ranker": Use.STATE}
    assert found.scan.uses(AFTER) == {}
    assert parse(as_document(found), {}).scan == found.scan
    assert spec(ROW).uses(AFTER) == {"acme.Ranker": Use.STATE}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROW.replace("acme.Ranker", "os.system"), "Python's own"),
        (ROW.replace("acme.Ranker", "torch.hub.load"), "can run code"),
        (ROW.replace("acme.Ranker", "'acme.*'"), "no wildcards"),
        (ROW.replace("state", "checked"), "use is 'checked'"),
        (ROW.replace(", owner: risk", ""), "owner is missing"),
        (ROW.replace("reason: it was read, ", ""), "reason is missing"),
        (ROW.replace("it was read", "' '"), "reason is empty"),
        (ROW + ROW, "listed twice"),
        (ROW.replace("risk", "risk, expires: soon"), "expires"),
        (ROW.replace("risk", "risk, expires: 2027-02-30"), "expires"),
        (ROW.replace("risk", "risk, until: 2027-05-01"), "unknown key 'until'"),
    ],
)
def test_what_may_not_be_declared_is_refused_at_its_line(rows: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        spec(rows)
    assert said in caught.value.message
    assert caught.value.where.startswith(("customhouse.yaml:5", "customhouse.yaml:6"))


def test_a_thousand_names_are_enough() -> None:
    rows = "".join(ROW.replace("Ranker", f"Ranker{number}") for number in range(1001))
    with pytest.raises(ConfigError, match="more than 1000 names"):
        spec(rows)


@pytest.mark.parametrize(
    ("added", "why"),
    [
        ([{"name": "acme.Other", "use": "state"}], "acme.Other (not declared)"),
        ([{"name": "acme.Ranker", "use": "call"}], "declared for state, not for call"),
        ([{"name": "acme.Ranker", "use": "state"}, {"name": "os.system", "use": "call"}], "os.system (not declared)"),
        ("acme.Ranker", "cannot be read"),
        ([{"name": "acme.Ranker"}], "cannot be read"),
    ],
)
def test_a_scan_that_rests_on_what_is_not_declared_is_not_believed(added: Any, why: str) -> None:
    found = spec(ROW).believed(scan(added), BEFORE)
    assert not found.verified
    assert why in found.problem
    assert not ScanSpec().believed(scan([{"name": "acme.Ranker", "use": "state"}]), BEFORE).verified


def test_a_scan_that_rests_on_declared_names_is_believed_if_it_was_before() -> None:
    added = [{"name": "acme.Ranker", "use": "state"}]
    assert spec(ROW).believed(scan(added), BEFORE).verified
    assert spec(ROW.replace("risk", "risk, expires: 2027-05-01")).believed(scan(added), BEFORE).verified
    assert not spec(ROW.replace("risk", "risk, expires: 2027-05-01")).believed(scan(added), AFTER).verified
    forged = scan(added, problem="the signature does not verify")
    assert spec(ROW).believed(forged, BEFORE) is forged
    other = scan("anything", EvidenceKind.BOM)
    assert ScanSpec().believed(other, BEFORE) is other
