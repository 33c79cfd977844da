"""Controls are met by proofs alone, and more that is known never makes one worse."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.core.compliance import Control, Framework, Need, Proof, Said, Spoken, State, judge

TODAY = date(2026, 11, 22)
SCAN = Need("evidence", "scan", {"verdict": "clean"}, "scan it")
LEVEL = Need("evidence", "provenance", {"level": {"min": 2}}, "build it")
PARTS = Need("evidence", "evaluation", {"measured": ["fairness", "privacy"]}, "measure it")


def framework(*needs: Need) -> Framework:
    return Framework("x", "X", "text", "https://x.example", (Control("1", "one", "there", needs),), "sha256:0")


def said(check: str, value: str, **fields: object) -> Said:
    return Said(check, value, fields, Proof("evidence", "sha256:1", "it says so"))


def state(known: list[Said], *needs: Need, spoken: tuple[Spoken, ...] = ()) -> State:
    return judge(framework(*needs), known, spoken, TODAY)[0].state


@pytest.mark.parametrize(
    ("known", "needs", "expected"),
    [
        ([], (SCAN,), State.MISSING),
        ([said("evidence", "scan", verdict="malicious")], (SCAN,), State.MISSING),
        ([said("evidence", "scan", verdict="clean")], (SCAN,), State.MET),
        ([said("evidence", "scan", verdict="clean")], (SCAN, LEVEL), State.PARTLY),
        ([said("evidence", "provenance", level=1)], (LEVEL,), State.MISSING),
        ([said("evidence", "provenance", level=True)], (LEVEL,), State.MISSING),
        ([said("evidence", "provenance", level=3)], (LEVEL,), State.MET),
        ([said("evidence", "evaluation", measured=["fairness"])], (PARTS,), State.MISSING),
        ([said("evidence", "evaluation", measured=["privacy", "fairness", "x"])], (PARTS,), State.MET),
        ([said("evidence", "evaluation", measured="fairness privacy")], (PARTS,), State.MISSING),
        ([], (), State.NOT_SHOWN),
    ],
)
def test_a_control_is_met_when_each_of_its_needs_is(known, needs, expected):
    assert state(known, *needs) is expected


def spoken(until: str, *, applies: bool = True) -> Spoken:
    return Spoken("1", "qa@example.com", "we do", date.fromisoformat(until), "statements.yaml:3", applies)


def test_a_process_is_met_by_a_statement_until_it_ends():
    assert state([], spoken=(spoken("2026-11-22"),)) is State.MET
    (judged,) = judge(framework(), [], (spoken("2026-11-21"),), TODAY)
    assert judged.state is State.NOT_SHOWN
    assert "ended on 2026-11-21" in judged.note


def test_a_statement_does_not_stand_for_evidence_that_is_missing():
    assert state([], SCAN, spoken=(spoken("2027-01-01"),)) is State.PARTLY


def test_what_does_not_apply_says_who_says_so():
    (judged,) = judge(framework(SCAN), [], (spoken("2027-01-01", applies=False),), TODAY)
    assert judged.state is State.NOT_APPLICABLE
    assert "qa@example.com" in judged.note
    assert state([], SCAN, spoken=(spoken("2026-01-01", applies=False),)) is State.MISSING


NEEDS = st.sampled_from([SCAN, LEVEL, PARTS, Need("decision", "allowed"), Need("statement", "backups")])
SOME_NEEDS = st.lists(NEEDS, unique_by=lambda need: (need.check, need.value), min_size=1)
KNOWN = st.sampled_from(
    [
        said("evidence", "scan", verdict="clean"),
        said("evidence", "scan", verdict="suspicious"),
        said("evidence", "provenance", level=2),
        said("evidence", "evaluation", measured=["fairness", "privacy"]),
        said("decision", "allowed"),
        said("statement", "backups"),
    ]
)
ORDER = [State.NOT_SHOWN, State.MISSING, State.PARTLY, State.MET]


@given(SOME_NEEDS, st.lists(KNOWN), KNOWN)
def test_more_that_is_known_never_makes_a_control_worse(needs, known, more):
    before, after = state(known, *needs), state([*known, more], *needs)
    assert ORDER.index(after) >= ORDER.index(before)


@given(SOME_NEEDS, st.lists(KNOWN, min_size=1))
def test_what_is_met_is_no_longer_met_without_the_proofs_of_one_need(needs, known):
    if state(known, *needs) is State.MET:
        gone = needs[0]
        assert (
            state([item for item in known if (item.check, item.value) != (gone.check, gone.value)], *needs)
            is not State.MET
        )
