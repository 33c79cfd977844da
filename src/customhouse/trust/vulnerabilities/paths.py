"""How a package comes in: the shortest way to it through what needs what."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

MAX_SHOWN = 12


def ways(needs: Mapping[str, Iterable[str]], roots: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """Node → the nodes before it, from the top down; a node that is at the top, or that nothing leads to, has none.

    `needs` is who needs what. Without `roots` whatever nobody needs is at the top.
    """
    needed = {need for wanted in needs.values() for need in wanted}
    top = list(roots) or [node for node in needs if node not in needed]
    found: dict[str, tuple[str, ...]] = dict.fromkeys(top, ())
    pending = deque(top)
    while pending:
        node = pending.popleft()
        way = (*found[node], node)
        for need in needs.get(node, ()):
            if need not in found:
                found[need] = way if len(way) <= MAX_SHOWN else (way[0], "…", *way[2 - MAX_SHOWN :])
                pending.append(need)
    return found
