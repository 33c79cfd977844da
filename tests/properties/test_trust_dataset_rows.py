"""Laws of the tree over a dataset's rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.errors import TamperError, UsageError
from customhouse.trust.dataset.rowtree import CHUNK, RangeProof, RowHasher, verify_range
from customhouse.trust.merkle import MerkleTree, leaf_hash


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, int]:
    rows = draw(st.integers(1, 40) | st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]))
    start = draw(st.integers(0, rows - 1))
    return rows, start, draw(st.integers(start + 1, rows))


@settings(deadline=None, max_examples=60)
@given(ranges())
def test_a_range_of_rows_is_proved_and_every_other_row_is_refused(asked: tuple[int, int, int]) -> None:
    count, start, end = asked
    rows = [f"row {number}".encode() for number in range(count)]
    hasher = RowHasher(keep=(start, end))
    hasher.extend(rows[: count // 3])
    hasher.extend(rows[count // 3 :])
    tree = hasher.finish()
    assert tree.root == "sha256:" + MerkleTree(map(leaf_hash, rows)).root().hex(), "the tree is RFC 6962's"
    proof = RangeProof.of_json(hasher.proof(start, end).to_json())
    verify_range(proof, tree, rows[start:end])
    other = list(rows[start:end])
    other[-1] += b"!"
    for wrong in (other, rows[start : end - 1], [*rows[start:end], b"more"]):
        with pytest.raises(TamperError):
            verify_range(proof, tree, wrong)
    for side in ("before", "inside", "after"):
        hashes = getattr(proof, side)
        if hashes:
            changed = (*hashes[:-1], bytes([hashes[-1][0] ^ 1]) + hashes[-1][1:])
            for forged in (replace(proof, **{side: changed}), replace(proof, **{side: hashes[:-1]})):
                with pytest.raises(TamperError):
                    verify_range(forged, tree)
    if end < count:
        with pytest.raises(TamperError):
            verify_range(replace(proof, end=end + 1), tree)


def test_a_range_that_is_not_there_is_refused() -> None:
    hasher = RowHasher(keep=(0, 1))
    hasher.extend([b"a", b"b"])
    hasher.finish()
    for start, end in ((0, 3), (1, 1), (-1, 1)):
        with pytest.raises(UsageError, match="the first row is 0"):
            hasher.proof(start, end)
    with pytest.raises(TamperError):
        RangeProof.of_json({"rows": "2", "start": 0, "end": 1, "before": [], "inside": [], "after": []})
