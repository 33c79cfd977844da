"""Many ledger entries proved at once, under one checkpoint: each tile is read once, each node hashed once."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence

from customhouse.core.errors import TamperError
from customhouse.core.ledger import Checkpoint, Entry, Receipt
from customhouse.trust import merkle
from customhouse.trust.ledger import parse_entry

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
    if not wanted:
        return {}
    node = merkle.TiledTree(hashes).node
    data = read(wanted)
    leaves = {index: merkle.leaf_hash(data[index]) for index in wanted}
    try:
        root, paths = merkle.inclusion_proofs(leaves, checkpoint.size, node)
    except IndexError:  # a tile that is too short
        root, paths = b"", {}
    if not hmac.compare_digest(root, checkpoint.root):
        raise _not_under(leaves, checkpoint, node)
    return {
        index: (Receipt(index, leaf, paths[index], checkpoint), parse_entry(data[index]))
        for index, leaf in leaves.items()
    }


def _not_under(leaves: Mapping[int, bytes], checkpoint: Checkpoint, node: merkle.NodeReader) -> TamperError:
    """Which of the entries it is, each by its own path."""
    for index, leaf in leaves.items():
        try:
            proof = merkle.inclusion_proof(index, checkpoint.size, node)
            merkle.verify_inclusion(index, checkpoint.size, leaf, proof, checkpoint.root)
        except (TamperError, IndexError):
            where = f"entry {index}"
            break
    else:
        where = ""
    return TamperError(
        "the stored entry does not lead to the checkpoint", where=where, hint="run `customhouse ledger verify`"
    )
