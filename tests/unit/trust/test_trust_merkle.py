"""The Merkle tree's edges; its laws are in tests/properties, its vectors in tests/conformance."""

from __future__ import annotations

import pytest

from customhouse.core.errors import TamperError
from customhouse.trust import merkle


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    assert merkle.MerkleTree().root() == merkle.CompactRange().root() == merkle.EMPTY_ROOT


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 2)])
def test_no_proof_is_made_for_a_leaf_that_is_not_there(index: int, size: int) -> None:
    tree = merkle.MerkleTree([merkle.leaf_hash(b"x")] * 3)
    with pytest.raises(ValueError, match="is not in a tree"):
        tree.inclusion_proof(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (3, 2)])
def test_no_proof_is_made_from_nothing_or_backwards(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no proof"):
        merkle.MerkleTree([merkle.leaf_hash(b"x")] * 3).consistency_proof(old, new)


def test_a_hash_of_another_length_is_refused() -> None:
    leaf = merkle.leaf_hash(b"x")
    with pytest.raises(TamperError, match="32 bytes"):
        merkle.verify_inclusion(0, 2, leaf, [leaf[:31]], leaf)


def test_a_subtree_that_is_not_complete_has_no_hash() -> None:
    tree = merkle.MerkleTree([merkle.leaf_hash(b"x")] * 3)
    with pytest.raises(IndexError, match="level 1"):
        tree.node(1, 1)
    assert tree.nodes(9, 0, 1) == b""
