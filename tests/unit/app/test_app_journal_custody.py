"""What the journal enters of the graph fits into entries, however much there is to say, and nothing of it is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from customhouse._kit.money import Money
from customhouse.app import journal
from customhouse.core.change import Revision, SignatureState
from customhouse.core.cost import Charge, Usage
from customhouse.core.decision import Decision, Point, Verdict
from customhouse.core.facts import Facts
from customhouse.core.ledger import Entry
from customhouse.core.resource import ResourceRef
from customhouse.trust.custody import Graph, LinkKind, NodeKind, graph
from customhouse.trust.ledger import MAX_ENTRY_BYTES

AT = datetime(2026, 3, 1, tzinfo=UTC)
REF = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "fraud", "scores")
COMMIT = "c0" * 20


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def judged(artifacts: int, statements: int) -> list[Entry]:
    document: dict[str, Any] = {
        "artifacts": [
            {
                "role": ("model", "image", "dataset", "code")[number % 4],
                "digest": digest(number),
                "reference": "registry.example.com/" + "x" * 900,
                "evidence": [
                    {"kind": "scan", "digest": digest(10**6 + number * 100 + item), "verified": True, "signer": "t"}
                    for item in range(statements)
                ],
            }
            for number in range(artifacts)
        ]
    }
    revision = Revision(COMMIT, (), "Ada <a@b>", AT, "x", SignatureState.VERIFIED, "ada", descends=True)
    decision = Decision(REF, Verdict.ALLOW, (), digest(1), digest(2), Point.GATE, AT, (), COMMIT)
    return list(journal.judged(revision, decision, Facts(document)))


def known(entries: list[Entry]) -> Graph:
    assert all(len(item.to_bytes()) <= MAX_ENTRY_BYTES for item in entries)
    assert len({item.key for item in entries}) == len(entries)
    return graph(enumerate(entries))


def test_a_decision_names_all_that_it_rests_on() -> None:
    found = known(judged(2, 3))
    kinds = [node.kind for node in found.nodes.values()]
    assert kinds.count(NodeKind.EVIDENCE) == 6
    assert {"model", "image", "commit", "decision", "policy-bundle"} <= set(kinds)
    considered = [link for link in found.links if link.kind == LinkKind.CONSIDERED_IN]
    assert len(considered) == 6
    assert len([item for item in judged(2, 3) if item.kind.startswith("decision")]) == 1


def test_a_decision_about_hundreds_of_artifacts_loses_none() -> None:
    entries = judged(150, 6)
    found = known(entries)
    assert len([link for link in found.links if link.kind == LinkKind.CONSIDERED_IN]) == 900
    assert len([link for link in found.links if link.kind == LinkKind.DECLARED_IN]) == 150
    assert len([item for item in entries if item.kind == "decision"]) == 1
    assert len([item for item in entries if item.kind == "decision-basis"]) > 10


def test_usage_of_many_releases_with_many_pods_loses_no_release() -> None:
    end = AT + timedelta(hours=1)
    rows = [
        Usage(
            ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "team", f"model-{number}"),
            digest(number),
            AT,
            end,
            *(3_600_000, 1, 1, 1, 1),
            requests=number % 2,
        )
        for number in range(120)
    ]
    pods = {(row.resource, row.release): [f"pod-{row.release[-4:]}-{pod}" for pod in range(40)] for row in rows}
    entries = list(journal.measured(rows, pods))
    found = known(entries)
    kinds = [node.kind for node in found.nodes.values()]
    assert kinds.count(NodeKind.USAGE) == 120
    assert kinds.count(NodeKind.PREDICTIONS) == 60
    assert kinds.count(NodeKind.POD) == 120 * 20
    # Each leads from its release to the charge that `journal.charged` enters under the same name.
    assert {link.target for link in found.links if link.kind == LinkKind.CHARGED} == {
        f"charge:team/model-{number}@{digest(number)[7:19]}:2026-03-01T00:00:00Z/2026-03-01T01:00:00Z"
        for number in range(120)
    }
    assert list(journal.measured(rows, pods)) == entries


def test_the_money_of_very_many_releases_is_entered_and_bound_whole() -> None:
    rows = [
        Charge(
            REF, f"sha256:{number:012x}" + "0" * 52, "", AT, AT + timedelta(minutes=1), "compute", Money.parse("0.1")
        )
        for number in range(500)
    ]
    entries = list(journal.charged(rows, AT, AT + timedelta(minutes=1)))
    found = known(entries)
    assert sum(node.kind == NodeKind.CHARGE for node in found.nodes.values()) == len(rows) == 500
    assert [item.kind for item in entries][:2] == ["charge", "charge-part"]
    assert entries[0].body["rows"] == journal.rows_digest(rows)
    assert len(list(journal.charged(rows[:1], AT, AT + timedelta(minutes=1)))) == 1
