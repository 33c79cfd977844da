"""What a reference of `trace` may be beyond the names in the graph: an entry, rows of a dataset, a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from customhouse._kit.digest import TreeError, tree
from customhouse.core.errors import UsageError
from customhouse.core.ledger import Entry
from customhouse.trust.custody import NodeKind
from customhouse.trust.custody_reference import ENTRY, ROWS
from customhouse.trust.custody_trace import Names, resolve_name

_MAX_COMMITS = 10_000


class Touching(Protocol):
    """Which commits touched a file (`control.adapters.git_proof`)."""

    def touching(self, path: str) -> Sequence[str]:
        """The newest first."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The nodes that a reference names, and the rows when it names some (counted from 0, as data profiles do)."""

    nodes: tuple[str, ...]
    rows: tuple[int, int] | None = None


def meant(
    reference: str, names: Names, entry: Callable[[int], Entry | None], sources: Callable[[], Sequence[Touching]]
) -> Meant:
    """What a reference names.

    1. `NAME#rows=A-B`: the dataset NAME, rows A to B. 2. `entry:12`, `#12`, or 12 where nothing is called so and there
    is such an entry (else it may be the beginning of a commit): what the entry is about. 3. What the graph knows
    (`resolve_name`). 4. A file or folder here, by its digest. 5. A path in the repository: the commits that changed it.
    Raises UsageError.
    """
    wanted = reference.strip()
    rows = ROWS.fullmatch(wanted)
    if rows is not None:
        return _rows(rows, names)
    number = ENTRY.fullmatch(wanted)
    if number is not None and not wanted.isdigit():
        return Meant(_of_entry(int(number[1]), entry))
    if number is not None and not names.exact(wanted) and entry(int(wanted)) is not None:
        return Meant(_of_entry(int(wanted), entry))
    try:
        return Meant(resolve_name(names, wanted))
    except UsageError as error:
        if "nothing is known of" not in error.message:
            raise
        found = _of_file(wanted, names, sources())
        if not found:
            raise
        return Meant(found)


def _rows(said: re.Match[str], names: Names) -> Meant:
    first = int(said["first"])
    last = int(said["last"] or first)
    if last < first:
        raise UsageError(f"rows {first} to {last}: no range", hint="NAME#rows=100-200; the first row is 0")
    name = said["name"].strip()
    if name.startswith("dataset@"):
        name = name.removeprefix("dataset@")
    nodes = resolve_name(names, name)
    if len(nodes) != 1 or not nodes[0].startswith(f"{NodeKind.DATASET}:"):
        raise UsageError(
            f"{name[:80]!r} is not one dataset", hint=f"name its digest; it stands for {', '.join(nodes[:5])[:300]}"
        )
    return Meant(nodes, (first, last + 1))


def _of_entry(index: int, entry: Callable[[int], Entry | None]) -> tuple[str, ...]:
    found = entry(index)
    if found is None:
        raise UsageError(
            f"the ledger has no entry {index}", hint="`customhouse ledger checkpoint` says how many there are"
        )
    if not found.subjects:
        raise UsageError(f"entry {index} ({found.kind}) speaks of nothing that can be traced")
    return tuple(sorted(found.subjects))


def _of_file(path: str, names: Names, sources: Sequence[Touching]) -> tuple[str, ...]:
    place = Path(path)
    try:
        digest = tree(place).digest if place.exists() else ""
    except (TreeError, OSError, ValueError):
        digest = ""
    if digest and (known := names.exact(digest)):
        return tuple(sorted(node.id for node in known))
    commits = {commit for source in sources for commit in source.touching(path)}
    found = {
        node.id
        for commit in sorted(commits)[:_MAX_COMMITS]
        for node in names.exact(commit)
        if node.kind == NodeKind.COMMIT
    }
    if not found and digest:
        raise UsageError(f"no entry of the ledger speaks of {path[:80]!r}", hint=f"its digest is {digest}")
    return tuple(sorted(found))
