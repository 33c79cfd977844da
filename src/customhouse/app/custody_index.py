"""The custody index of a state: grown with the ledger, asked for what a reference names and which entries it takes.

What it answers is checked against the ledger by whoever asks (`app.custody`): a stale or altered index can hide, it
cannot make anything up. It is deleted and made again whenever it does not fit the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson

from customhouse.app import wiring
from customhouse.app.settings import Settings
from customhouse.core.ledger import Checkpoint
from customhouse.trust.custody import Node, said
from customhouse.trust.custody_trace import Walk

if TYPE_CHECKING:
    from customhouse.store import Store
    from customhouse.store.graph_index import GraphIndex, Spoken

_BATCH = 4096

Told = Callable[[str, int, int], None]


class IndexNames:
    """The names in an index, as `custody_trace.resolve_name` asks for them."""

    def __init__(self, index: GraphIndex) -> None:
        self._index = index

    def exact(self, text: str) -> Sequence[Node]:
        """See custody_trace.Names."""
        return [_node(*row) for row in self._index.exact(text)]

    def begun(self, prefix: str) -> Sequence[Node]:
        """See custody_trace.Names."""
        return [_node(*row) for row in self._index.begun(prefix)]

    def near(self, text: str) -> Iterable[str]:
        """See custody_trace.Names."""
        return self._index.near(text)


def _node(identity: str, digest: str) -> Node:
    kind, _, name = identity.partition(":")
    return Node(kind, name, digest)


def positions(index: GraphIndex, nodes: Sequence[str], walk: Walk) -> list[int]:
    """The entries that a walk from some nodes needs."""
    ways = [name for name, taken in (("up", walk.up), ("down", walk.down)) if taken]
    return index.entries(nodes, ways, walk.depth)


@contextmanager
def opened_index(settings: Settings, opened: Store, checkpoint: Checkpoint, told: Told) -> Iterator[GraphIndex]:
    """The index, grown to the checkpoint. Raises StateError when it cannot be read."""
    index = wiring.graph_index(settings)
    try:
        _grow(index, opened, checkpoint, told)
        yield index
    finally:
        index.close()


def throw_away(settings: Settings) -> None:
    """Delete an index: nothing is in it that the ledger does not have."""
    place = settings.state / wiring.INDEX_FILE
    for suffix in ("", "-wal", "-shm"):
        place.with_name(place.name + suffix).unlink(missing_ok=True)


def _grow(index: GraphIndex, opened: Store, checkpoint: Checkpoint, told: Told) -> None:
    if index.state == (checkpoint.size, _leaf(opened, checkpoint.size)):
        return
    with index.growing():  # another process may have grown it meanwhile
        size, leaf = index.state
        if not 0 <= size <= checkpoint.size or leaf != _leaf(opened, size):
            index.clear()
            size = 0
        for start in range(size, checkpoint.size, _BATCH):
            end = min(start + _BATCH, checkpoint.size)
            index.add(_spoken(opened.ledger.read(start, end), start))
            if checkpoint.size - size > 5 * _BATCH:
                told("entries indexed", end, checkpoint.size)
        index.grown(checkpoint.size, _leaf(opened, checkpoint.size))


def _leaf(opened: Store, size: int) -> str:
    """The leaf hash (hex) of the last of `size` entries; empty for none."""
    return opened.ledger.hashes(0, size - 1, size).hex() if size else ""


def _spoken(rows: Sequence[bytes], start: int) -> Iterator[Spoken]:
    from customhouse.store.graph_index import Spoken

    for position, data in enumerate(rows, start):
        try:
            body = orjson.loads(data)["body"]
        except (ValueError, KeyError, TypeError):
            continue  # `ledger verify` names it
        if isinstance(body, dict):
            nodes, links = said(body)
            yield Spoken(position, nodes, links)
