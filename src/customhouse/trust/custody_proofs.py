"""Many ledger entries proved at once, under one checkpoint: each tile of the tree is read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from customhouse.core.errors import TamperError
from customhouse.core.ledger import Checkpoint, Entry, Receipt
from customhouse.trust import merkle
from customhouse.trust.ledger import parse_entry

_MOST_NODES = 1 << 17
"""Hashes of the tree that are kept while entries are proved: some 30 MB."""
Read = Callable[[Sequence[int]], Mapping[int, bytes]]
"""The leaf data of some positions."""
Hashes = Callable[[int, int, int], bytes]
"""(tile level, start, end) → the joined hashes of the stored tree."""


def prove_entries(
    indexes: Sequence[int], checkpoint: Checkpoint, read: Read, hashes: Hashes
) -> dict[int, tuple[Receipt, Entry]]:
    """The proof and the Entry of each index, in order; `checkpoint` is one that was verified.

    Raises TamperError for an entry that is not under the checkpoint as it is stored.
    """
    wanted = sorted(set(indexes))
    if wanted and not 0 <= wanted[0] <= wanted[-1] < checkpoint.size:
        raise TamperError(f"entries {wanted[0]} to {wanted[-1]} are not under the checkpoint of {checkpoint.size}")
    # Paths of entries that lie beside each other are the same but for their first steps.
    node = lru_cache(maxsize=_MOST_NODES)(merkle.TiledTree(hashes).node)
    data = read(wanted)
    found: dict[int, tuple[Receipt, Entry]] = {}
    for index in wanted:
        leaf = merkle.leaf_hash(data[index])
        try:
            proof = merkle.inclusion_proof(index, checkpoint.size, node)
            merkle.verify_inclusion(index, checkpoint.size, leaf, proof, checkpoint.root)
        except (TamperError, IndexError) as error:
            raise TamperError(
                "the stored entry does not lead to the checkpoint",
                where=f"entry {index}",
                hint="run `customhouse ledger verify`",
            ) from error
        found[index] = (Receipt(index, leaf, proof, checkpoint), parse_entry(data[index]))
    return found
