"""Laws of the Merkle tree: whoever computes it, one root; every proof verifies; no changed proof does."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.errors import TamperError
from customhouse.trust import merkle

sizes = st.integers(1, 300)


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"leaf %d" % number) for number in range(count)]


def defined(items: list[bytes]) -> bytes:
    """MTH, word for word as RFC 6962 section 2.1 defines it."""
    if not items:
        return hashlib.sha256().digest()
    if len(items) == 1:
        return items[0]
    split = 1
    while split * 2 < len(items):
        split *= 2
    return hashlib.sha256(b"\x01" + defined(items[:split]) + defined(items[split:])).digest()


@given(st.integers(0, 130), st.lists(st.integers(1, 40), max_size=6))
@settings(deadline=None)
def test_one_root_however_the_leaves_arrive(first: int, batches: list[int]) -> None:
    items = leaves(first + sum(batches))
    tree = merkle.MerkleTree(items[:first])
    for batch in batches:
        tree.extend(items[tree.size : tree.size + batch])
    assert tree.root() == defined(items) == merkle.root(items)
    assert [tree.root(size) for size in range(tree.size + 1)] == [
        merkle.MerkleTree(items[:size]).root() for size in range(tree.size + 1)
    ]


@given(sizes, st.data())
@settings(deadline=None)
def test_every_leaf_proves_itself_and_no_other(size: int, data: st.DataObject) -> None:
    items = leaves(size)
    tree = merkle.MerkleTree(items)
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index)
    merkle.verify_inclusion(index, size, items[index], proof, tree.root())
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        with pytest.raises(TamperError):
            merkle.verify_inclusion(other, size, items[index], proof, tree.root())
        with pytest.raises(TamperError):
            merkle.verify_inclusion(index, size, items[other], proof, tree.root())


@given(sizes, st.data())
@settings(deadline=None)
def test_every_past_is_proved_and_no_other_past(size: int, data: st.DataObject) -> None:
    tree = merkle.MerkleTree(leaves(size))
    old = data.draw(st.integers(1, size))
    proof = tree.consistency_proof(old)
    merkle.verify_consistency(old, size, proof, tree.root(old), tree.root())
    lie = merkle.MerkleTree([merkle.leaf_hash(b"lie"), *leaves(size)[1:]])
    with pytest.raises(TamperError):
        merkle.verify_consistency(old, size, proof, lie.root(old), tree.root())


@given(sizes, st.data())
@settings(deadline=None)
def test_one_flipped_bit_in_a_proof_is_seen(size: int, data: st.DataObject) -> None:
    tree = merkle.MerkleTree(leaves(size))
    index = data.draw(st.integers(0, size - 1))
    proof = list(tree.inclusion_proof(index))
    if not proof:
        return
    step, place, bit = data.draw(st.tuples(st.integers(0, len(proof) - 1), st.integers(0, 31), st.integers(0, 7)))
    changed = bytearray(proof[step])
    changed[place] ^= 1 << bit
    proof[step] = bytes(changed)
    with pytest.raises(TamperError):
        merkle.verify_inclusion(index, size, tree.node(0, index), proof, tree.root())
