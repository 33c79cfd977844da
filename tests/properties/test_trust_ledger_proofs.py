"""Proofs that stand alone, over random trees: each proves its entry, and nothing else does."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from customhouse._kit.hashtree import CompactRange
from customhouse.core.errors import TamperError
from customhouse.core.ledger import Receipt
from customhouse.trust import merkle
from customhouse.trust.cosignature import CosignerKey, cosign, with_lines
from customhouse.trust.keys import generate
from customhouse.trust.note import sign_checkpoint
from customhouse.trust.tlog_proof import verify_proof, write_proof

LOG, WITNESS, ORIGIN = generate(), generate(), "log.example/one"
COSIGNER = CosignerKey("w1", WITNESS.public)
AT = datetime(2026, 3, 1, tzinfo=UTC)


def tree_of(size: int) -> merkle.MerkleTree:
    return merkle.MerkleTree(merkle.leaf_hash(b"%d" % n) for n in range(size))


def proof_of(index: int, size: int) -> str:
    tree = tree_of(size)
    checkpoint = sign_checkpoint(ORIGIN, size, tree.root(), LOG)
    receipt = Receipt(index, tree.node(0, index), tree.inclusion_proof(index), checkpoint)
    return write_proof(receipt, with_lines(checkpoint.note, [cosign(checkpoint.note, "w1", WITNESS, AT)]))


@given(st.data())
def test_every_entry_is_proved_and_no_other_is(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    text = proof_of(index, size)
    found = verify_proof(text, b"%d" % index, ORIGIN, (LOG.public,), (COSIGNER,))
    assert (found.index, found.checkpoint.size) == (index, size)
    assert [(item.witness, item.at) for item in found.cosigned] == [("w1", AT)]
    other = data.draw(st.integers(0, 400))
    assume(other != index)
    with pytest.raises(TamperError):
        verify_proof(text, b"%d" % other, ORIGIN, (LOG.public,))
    with pytest.raises(TamperError):
        verify_proof(text.replace(f"index {index}\n", f"index {other}\n"), b"%d" % index, ORIGIN, (LOG.public,))


@given(st.integers(1, 200), st.data())
def test_a_changed_character_is_found_or_changes_nothing_that_is_said(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    text = proof_of(index, size)
    position = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("A0\n +=—z"))
    changed = text[:position] + letter + text[position + 1 :]
    assume(changed != text)
    genuine = verify_proof(text, b"%d" % index, ORIGIN, (LOG.public,), (COSIGNER,))
    try:
        found = verify_proof(changed, b"%d" % index, ORIGIN, (LOG.public,), (COSIGNER,))
    except TamperError:
        return
    # Only a signature line may be spoilt without harm: a name that nobody knows is then passed over.
    assert (found.index, found.checkpoint.size, found.checkpoint.root) == (index, size, genuine.checkpoint.root)
    assert set(found.cosigned) <= set(genuine.cosigned)


def test_extra_data_is_read_past_and_the_rest_of_the_form_is_held() -> None:
    text = proof_of(3, 9)
    head, _, tail = text.partition("\n")
    extra = base64.b64encode(b"opaque").decode()
    assert verify_proof(f"{head}\nextra {extra}\n{tail}", b"3", ORIGIN, (LOG.public,)).index == 3
    for broken in (
        f"{head}\nextra !\n{tail}",
        tail,
        text.replace("@v1", "@v2"),
        text.replace("index 3", "index 03"),
        text.replace("index 3", "index -3"),
        text.replace("\n\n", "\n", 1),
        text.replace("\n", "\r\n"),
        f"{head}\n{tail.partition(chr(10))[2]}",
        text[:40],
        "",
        head + "\nindex 3\n" + (base64.b64encode(bytes(32)).decode() + "\n") * 64 + "\n" + text.partition("\n\n")[2],
    ):
        with pytest.raises(TamperError):
            verify_proof(broken, b"3", ORIGIN, (LOG.public,))
    with pytest.raises(TamperError):
        verify_proof(text, b"3", "log.example/two", (LOG.public,))
    with pytest.raises(TamperError):
        verify_proof(text, b"3", ORIGIN, (generate().public,))


def test_the_longest_proof_at_a_thousand_million_entries_has_960_bytes_of_hashes() -> None:
    size = 10**9
    proof = merkle.inclusion_proof(0, size, lambda _level, _index: bytes(32))
    assert sum(map(len, proof)) == 960


@given(st.lists(st.integers(0, 700), min_size=1, max_size=6))
def test_a_tree_that_is_read_by_tiles_gives_the_proofs_of_the_whole_one(grown: list[int]) -> None:
    tree = merkle.MerkleTree()
    tiled = merkle.TiledTree(lambda level, start, end: tree.nodes(8 * level, start, end))
    frontier = CompactRange()
    for count in grown:
        leaves = [merkle.leaf_hash(b"%d" % n) for n in range(tree.size, tree.size + count)]
        tree.extend(leaves)
        frontier.extend(leaves)
        assert frontier.root() == tree.root()
        assert CompactRange(tree.size, frontier.peaks).root() == tree.root()
        if tree.size:
            for index in {0, tree.size // 2, tree.size - 1}:
                assert merkle.inclusion_proof(index, tree.size, tiled.node) == tree.inclusion_proof(index)
            assert merkle.consistency_proof(1 + tree.size // 3, tree.size, tiled.node) == tree.consistency_proof(
                1 + tree.size // 3
            )
    per_level: dict[int, list[bytes]] = {}
    for level, top in frontier.completed:
        per_level.setdefault(level, []).append(top)
    for level, hashes in per_level.items():
        assert b"".join(hashes) == tree.nodes(8 * level, 0, tree.size)
