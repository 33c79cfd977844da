"""Many entries proved in one walk, and plain ones read and written the quick way: the same as each alone, carefully."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from customhouse._kit.canonical import CanonicalError
from customhouse.cli.output import _STEERING, harmless
from customhouse.core.errors import TamperError
from customhouse.core.ledger import Checkpoint, Entry
from customhouse.trust import ledger_check, merkle
from customhouse.trust.custody_proofs import prove_entries
from customhouse.trust.entry_text import entry_text

AT = datetime(2026, 3, 1, tzinfo=UTC)
TEXT = st.text(max_size=6) | st.sampled_from(["\ud800", "\U0001f600", "\ue000", "\x7f", '"\\', "1e5"])
VALUE = st.recursive(
    st.integers(-(2**54), 2**54) | st.floats(allow_nan=False) | st.booleans() | st.none() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
BODY = st.dictionaries(TEXT, VALUE, max_size=3)


DATA = [Entry(f"k{number}", "x", AT, "up", (), {"n": number}).to_bytes() for number in range(600)]
LEAVES = [merkle.leaf_hash(item) for item in DATA]


def stored(count: int) -> tuple[list[bytes], merkle.MerkleTree, Checkpoint]:
    tree = merkle.MerkleTree(LEAVES[:count])
    return DATA[:count], tree, Checkpoint("o", count, tree.root(), "note")


def prove(data: list[bytes], tree: merkle.MerkleTree, checkpoint: Checkpoint, wanted: list[int]) -> Any:
    return prove_entries(
        wanted,
        checkpoint,
        lambda indexes: {index: data[index] for index in indexes},
        lambda level, start, end: tree.nodes(8 * level, start, end),
    )


@given(st.data())
def test_the_proofs_of_many_are_those_of_each(given_data: st.DataObject) -> None:
    size = given_data.draw(st.integers(1, 600))
    data, tree, checkpoint = stored(size)
    wanted = given_data.draw(st.lists(st.integers(0, size - 1), max_size=12))
    found = prove(data, tree, checkpoint, wanted)
    assert list(found) == sorted(set(wanted))
    for index, (receipt, item) in found.items():
        assert receipt.proof == tree.inclusion_proof(index)
        merkle.verify_inclusion(index, size, receipt.leaf_hash, receipt.proof, checkpoint.root)
        assert item.to_bytes() == data[index]


@given(st.data())
def test_one_changed_entry_among_many_is_named(given_data: st.DataObject) -> None:
    size = given_data.draw(st.integers(1, 600))
    data, tree, checkpoint = stored(size)
    wanted = given_data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12))
    bad = given_data.draw(st.sampled_from(wanted))
    data[bad] = data[bad].replace(b'"up"', b'"me"')
    with pytest.raises(TamperError) as caught:
        prove(data, tree, checkpoint, wanted)
    assert caught.value.where == f"entry {bad}"


@given(st.data())
def test_a_changed_hash_of_the_tree_proves_nothing(given_data: st.DataObject) -> None:
    size = given_data.draw(st.integers(2, 600))
    data, _, checkpoint = stored(size)
    wanted = given_data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=12))
    changed = given_data.draw(st.integers(0, size - 1))
    assume(changed not in wanted)
    leaves = LEAVES[:size]
    leaves[changed] = bytes(32)
    with pytest.raises(TamperError, match="does not lead to the checkpoint"):
        prove(data, merkle.MerkleTree(leaves), checkpoint, wanted)


def test_of_an_empty_list_nothing_is_read_and_beyond_the_end_nothing_is_proved() -> None:
    data, tree, checkpoint = stored(3)
    assert prove(data, tree, checkpoint, []) == {}
    with pytest.raises(TamperError, match="not under the checkpoint of 3"):
        prove(data, tree, checkpoint, [1, 3])


@given(BODY, st.datetimes(timezones=st.just(UTC)), st.lists(TEXT, max_size=2))
def test_an_entry_is_written_as_it_always_was(body: dict[str, object], at: datetime, subjects: list[str]) -> None:
    item = Entry("k", "x", at, "up", tuple(subjects), body)
    try:
        careful = item.to_bytes()
    except CanonicalError:
        with pytest.raises(CanonicalError):
            entry_text(item)
        return
    assert entry_text(item).encode() == careful
    assert ledger_check.parse_entry(careful) == item


@given(BODY, st.data())
def test_what_is_read_quickly_is_read_the_same_carefully(body: dict[str, object], given_data: st.DataObject) -> None:
    """Whatever the bytes are: the quick way takes nothing that the careful one refuses, and sees nothing else in it."""
    try:
        text = bytearray(Entry("k", "x", AT, "up", ("a",), body).to_bytes())
    except CanonicalError:
        return
    for _ in range(given_data.draw(st.integers(0, 2))):
        place = given_data.draw(st.integers(0, len(text) - 1))
        text[place : place + given_data.draw(st.integers(0, 2))] = given_data.draw(
            st.sampled_from([b"", b" ", b"0", b".5", b"e5", b'"', b"1", b",", b"\\u0041", b"\xff", b"Z", b"[", b"null"])
        )
    data = bytes(text)
    assert outcome(data) == careful_outcome(data)


def outcome(data: bytes) -> object:
    try:
        return ledger_check.parse_entry(data)
    except TamperError as error:
        return error.message


def careful_outcome(data: bytes) -> object:
    with patch.object(ledger_check, "quick_entry", lambda _: None):
        return outcome(data)


@given(st.text(st.sampled_from("ab \t\n\r\x1b\x7f\x85é—\u202e\u2067\ud800"), max_size=12))
def test_what_steers_a_terminal_is_found_in_whatever_it_stands(text: str) -> None:
    assert harmless(text) == _STEERING.sub("\ufffd", text)
