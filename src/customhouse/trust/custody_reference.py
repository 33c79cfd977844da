"""Whether a reference names what was found for it, by the entries alone: what an export calls itself is anybody's word.

`trace` knows more names (files of its machine, paths of a repository): those stay what somebody said.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from customhouse.core.errors import UsageError
from customhouse.core.ledger import Entry
from customhouse.trust.custody import Graph
from customhouse.trust.custody_trace import resolve

ENTRY = re.compile(r"(?:entry:|#)?([0-9]{1,15})", re.ASCII)
ROWS = re.compile(r"(?P<name>[^#]+)#rows=(?P<first>[0-9]{1,15})(?:-(?P<last>[0-9]{1,15}))?", re.ASCII)


def is_named(reference: str, found: Collection[str], known: Graph, entries: Mapping[int, Entry]) -> bool:
    """Whether the entries call exactly the nodes `found` by that name, as `app.custody_names.meant` reads it."""
    wanted = reference.strip()
    rows = ROWS.fullmatch(wanted)
    if rows is not None:
        wanted = rows["name"].strip().removeprefix("dataset@")
    number = ENTRY.fullmatch(wanted)
    entry = None if number is None else entries.get(int(number[1]))
    if entry is not None and set(entry.subjects) == set(found):
        return True
    try:
        return set(resolve(known, wanted)) == set(found)
    except UsageError:
        return False
