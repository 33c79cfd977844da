"""The custody graph: from any thing to all that led to it and all that came of it, with proofs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.clock import FixedClock
from customhouse.core.errors import TamperError, UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.core.ledger import Entry
from customhouse.store import open_store
from customhouse.trust.attestation import attest, read_evidence
from customhouse.trust.custody import Link, LinkKind, Node, NodeKind, entry, graph
from customhouse.trust.custody_trace import check_proof, resolve, trace
from customhouse.trust.keys import TrustRoot, generate
from customhouse.trust.ledger import Ledger
from customhouse.trust.provenance import Build, Dependency, provenance

AT = datetime(2026, 3, 1, tzinfo=UTC)
DATA, V1, V2, RUN1, RUN2 = (
    "sha256:" + text * 8 for text in ("aaaa0000", "bbbb1111", "bbbb2222", "cccc0001", "cccc0002")
)
COMMIT = "d00d" * 10


def story() -> list[Entry]:
    data = Node.of(NodeKind.DATASET, DATA, "transactions/2026-02")
    made: list[Entry] = [entry("dataset", "data", AT, "ada", nodes=[data])]
    for number, (digest, run) in enumerate([(V1, "run-1"), (V2, "run-2")], 1):
        at = AT + timedelta(hours=number)
        model = Node.of(NodeKind.MODEL, digest, f"fraud/v2.{number}")
        training = Node(NodeKind.TRAINING_RUN, run)
        made.append(
            entry(
                "training-run",
                run,
                at,
                "ada",
                nodes=[training, model],
                links=[
                    Link.between(data, training, LinkKind.INPUT_OF),
                    Link.between(training, model, LinkKind.PRODUCED),
                ],
            )
        )
        release = Node(NodeKind.DEPLOYMENT, f"release-{number}", aliases=("fraud-detection",))
        made.append(
            entry(
                "deployment",
                f"release-{number}",
                at + timedelta(minutes=5),
                "customhouse",
                nodes=[release, Node(NodeKind.COMMIT, COMMIT)] if number == 1 else [release],
                links=[Link.between(model, release, LinkKind.SERVED_AS)],
                body={"replicas": 2},
            )
        )
        charge = Node(NodeKind.CHARGE, f"charge-{number}")
        made.append(
            entry(
                "charge",
                f"charge-{number}",
                at + timedelta(minutes=9),
                "customhouse",
                nodes=[charge],
                links=[Link.between(release, charge, LinkKind.CHARGED)],
            )
        )
    return made


@pytest.fixture
def known() -> Any:
    return graph(enumerate(story()))


def ids(found: Any) -> list[str]:
    return [node.id for node in found.nodes]


def test_from_the_charge_back_to_the_dataset(known: Any) -> None:
    assert ids(trace(known, "charge:charge-1")) == [
        f"dataset:{DATA}",
        "training-run:run-1",
        f"model:{V1}",
        "deployment:release-1",
        "charge:charge-1",
    ]


def test_from_the_dataset_to_everything_that_came_of_it(known: Any) -> None:
    found = trace(known, DATA)
    assert len(found.nodes) == 9
    assert len(found.links) == 8
    assert ids(found)[0] == f"dataset:{DATA}"


def test_from_the_middle_both_ways_and_not_to_siblings(known: Any) -> None:
    found = trace(known, "fraud/v2.1")
    assert "charge:charge-1" in ids(found)
    assert f"dataset:{DATA}" in ids(found)
    assert f"model:{V2}" not in ids(found)
    assert found.entries == (0, 1, 2, 3)


def test_the_json_is_that_of_the_command_line(known: Any) -> None:
    shown = trace(known, "charge-1").to_json()
    assert shown["nodes"][0] == {
        "id": f"dataset:{DATA}",
        "kind": "dataset",
        "digest": DATA,
        "time": "2026-03-01T00:00:00Z",
        "name": DATA,
        "aliases": ["transactions/2026-02"],
    }
    assert shown["edges"][0] == {
        "from": f"dataset:{DATA}",
        "to": "training-run:run-1",
        "kind": "input-of",
        "state": "proved",
        "entries": [1],
        "evidence": [],
    }
    assert shown["proofs"] == []


@pytest.mark.parametrize("reference", [DATA, DATA[7:], "aaaa", "AAAA0000", f"dataset:{DATA}", "transactions/2026-02"])
def test_a_thing_is_named_by_id_digest_beginning_or_alias(known: Any, reference: str) -> None:
    assert resolve(known, reference) == (f"dataset:{DATA}",)


def test_a_commit_is_named_by_its_beginning(known: Any) -> None:
    assert resolve(known, "d00dd0") == (f"commit:{COMMIT}",)


def test_a_resources_name_stands_for_all_its_releases(known: Any) -> None:
    assert resolve(known, "fraud-detection") == ("deployment:release-1", "deployment:release-2")
    assert len(trace(known, "fraud-detection").nodes) == 9


def test_an_ambiguous_beginning_lists_what_it_could_be(known: Any) -> None:
    with pytest.raises(UsageError, match="beginning of 2 things") as error:
        resolve(known, "bbbb")
    assert f"model:{V1}" in error.value.hint


@pytest.mark.parametrize(("reference", "hint"), [("fraud/v2.3", "fraud/v2.1"), ("charge-9", "charge-1")])
def test_an_unknown_name_gets_the_nearest(known: Any, reference: str, hint: str) -> None:
    with pytest.raises(UsageError, match="nothing is known") as error:
        resolve(known, reference)
    assert hint in error.value.hint


def test_nothing_and_nothing_like_it_are_refused(known: Any) -> None:
    with pytest.raises(UsageError, match="name something"):
        resolve(known, "  ")
    with pytest.raises(UsageError, match="nothing is known"):
        resolve(graph([]), "§§§")
    with pytest.raises(UsageError, match="nothing is known"):
        resolve(known, "aaa")


def test_each_entry_used_is_proved_and_the_proof_holds_alone(tmp_path: Path) -> None:
    key = generate()
    with open_store(tmp_path / "state.db") as store:
        book = Ledger(store.ledger, key, "example.com/l", FixedClock(AT))
        book.append(story())
        found = trace(graph(book.entries()), "charge-2", book.proved)
    shown = found.to_json()["proofs"]
    assert [proof["index"] for proof in shown] == list(found.entries) == [0, 4, 5, 6]
    for proof in shown:
        assert check_proof(proof, "example.com/l", key.public) == story()[proof["index"]]
        for change in (
            {"entry": proof["entry"].replace("2026", "2025", 1)},
            {"index": proof["index"] + 1},
            {"proof": proof["proof"][::-1]},
            {"checkpoint": proof["checkpoint"].replace("7", "8", 1)},
            {"leaf_hash": "?"},
        ):
            with pytest.raises(TamperError):
                check_proof({**proof, **change}, "example.com/l", key.public)
        with pytest.raises(TamperError):
            check_proof(proof, "example.com/l", generate().public)


def evidence(kind: EvidenceKind, predicate: Any, *, trusted: bool = True) -> Evidence:
    key = generate()
    data = attest("fraud", V1, kind, predicate, key, issued_at=AT)
    (read,) = read_evidence(data, [TrustRoot("t", key.public.pem())] if trusted else [])
    return read


def built() -> dict[str, Any]:
    parts = (Dependency("dataset", "pvc://d", DATA), Dependency("code", "git", "", COMMIT))
    return provenance(Build("Job x", RUN1, ("python",), parts, "b", "i", AT, AT))


def test_evidence_hangs_under_its_model() -> None:
    scan = evidence(EvidenceKind.SCAN, {"verdict": "clean"})
    found = trace(graph(enumerate(story()), [scan]), "fraud/v2.1")
    assert Link(f"model:{V1}", f"evidence:{scan.digest}", "attested-by") in found.links


def test_verified_provenance_leads_to_the_data_and_the_commit() -> None:
    found = trace(graph([], [evidence(EvidenceKind.PROVENANCE, built())]), V1)
    assert ids(found)[:2] == [f"commit:{COMMIT}", f"dataset:{DATA}"]


def test_unverified_provenance_leads_nowhere() -> None:
    found = trace(graph([], [evidence(EvidenceKind.PROVENANCE, built(), trusted=False)]), V1)
    assert len(found.nodes) == 2


def test_odd_bodies_of_foreign_entries_do_not_break_the_graph() -> None:
    bodies: list[dict[str, Any]] = [
        {},
        {"nodes": 7, "links": "x"},
        {"nodes": [7, {"kind": 1}, {"kind": "x"}], "links": [7, {}, {"from": "a", "to": "", "kind": "x"}]},
        {"nodes": [{"kind": "x", "name": "y", "time": "yesterday", "aliases": 3}]},
    ]
    made = graph((n, Entry(str(n), "x", AT, "ada", (), body)) for n, body in enumerate(bodies))
    assert list(made.nodes) == ["x:y"]
    assert made.nodes["x:y"].time == AT


def test_a_cycle_is_shown_and_does_not_hang() -> None:
    one, two = Node("a", "1", time=AT), Node("a", "2", time=AT)
    links = [Link.between(one, two, "x"), Link.between(two, one, "x"), Link.between(one, one, "x")]
    found = trace(graph([(0, entry("e", "k", AT, "ada", nodes=[one, two], links=links))]), "a:1")
    assert (len(found.nodes), len(found.links)) == (2, 3)


def test_an_entry_keeps_its_own_body_apart() -> None:
    made = entry("e", "k", AT, "ada", nodes=[Node("a", "1")], links=[Link("a:1", "b:2", "x")], body={"n": 1})
    assert made.subjects == ("a:1", "b:2")
    assert made.body["n"] == 1
    with pytest.raises(UsageError, match="as arguments"):
        entry("e", "k", AT, "ada", body={"links": []})


def test_a_long_history_is_traced_without_delay() -> None:
    chain = [Node("step", str(number), time=AT) for number in range(20_000)]
    made = entry("e", "k", AT, "ada", links=[Link.between(a, b, "then") for a, b in pairwise(chain)])
    known = graph([(0, made)])
    started = time.process_time()
    found = trace(known, "step:10000")
    assert time.process_time() - started < 5
    assert [node.id for node in found.nodes] == [node.id for node in chain]


def test_of_two_things_the_older_one_is_shown_first_by_parts_of_a_second_too() -> None:
    whole, half = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    data = Node("dataset", "d")
    runs = [Node("training-run", "b", time=whole), Node("training-run", "a", time=half)]
    links = [Link.between(data, run, "input-of") for run in runs]
    found = trace(graph([(0, entry("x", "k", whole, "up", nodes=[data, *runs], links=links))]), "d")
    assert [node.name for node in found.nodes] == ["d", "b", "a"]
