"""The table of kinds: what their own words mean, where the rule for kinds never seen would read them wrong.

Data, in `tables/*.txt`: heads `GROUP/KIND` (`*` stands for any part), under them the steps of their rule, indented, as
`table` tells. Written from the documented status of each API (its CRD or API reference, as of 2026-11) and from what
its controllers write, not from other tools' scripts. A head without `*` comes first, then the one with most letters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from customhouse.core.plan import Health
from customhouse.execution.health.seen import Seen
from customhouse.execution.health.table import compiled

_FOLDER = Path(__file__).with_name("tables")


_LONGEST = 253 + 63
"""Letters of a group and a kind: more is neither, and would only fill the memory of rules."""


def rule_of(group: str, kind: str) -> Callable[[Seen], Health] | None:
    """The rule of a kind, None when the table has none."""
    return _rule_of(group, kind) if len(group) + len(kind) <= _LONGEST else None


@lru_cache(maxsize=4096)
def _rule_of(group: str, kind: str) -> Callable[[Seen], Health] | None:
    exact, patterns = _rows()
    name = f"{group}/{kind}"
    steps = exact.get(name) or next((steps for pattern, steps in patterns if fnmatchcase(name, pattern)), None)
    return None if steps is None else compiled(steps)


@lru_cache(maxsize=1)
def _rows() -> tuple[dict[str, tuple[str, ...]], list[tuple[str, tuple[str, ...]]]]:
    rows = dict(rows_of_all())
    patterns = sorted(((name, steps) for name, steps in rows.items() if "*" in name), key=lambda row: -len(row[0]))
    return {name: steps for name, steps in rows.items() if "*" not in name}, patterns


def rows_of_all() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every head with its steps. Raises ValueError for a table that cannot be read."""
    for place in sorted(_FOLDER.glob("*.txt")):
        heads: list[str] = []
        steps: list[str] = []
        for number, line in enumerate([*place.read_text(encoding="utf-8").splitlines(), "end"], start=1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("  "):
                if not heads:
                    raise ValueError(f"{place.name}:{number}: a step of no kind")
                steps.append(line.strip())
                continue
            if steps:
                yield from ((head, tuple(steps)) for head in heads)
                heads, steps = [], []
            heads.append(line.strip())
