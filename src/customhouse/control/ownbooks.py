"""What Customhouse keeps its books in, in a cluster: nobody's to declare, whatever a commit was allowed to say.

The inventory says what is ours and may be deleted, the note which commit rules the webhook, the Lease who of several
works. Applied from a declaration they would say what its author wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from customhouse.control.tracked import FOLLOWED, LABEL, NAMESPACE
from customhouse.core.resource import Care, Declaration

HELD = "Customhouse keeps its own books in it; take it out of Git"
_NAMES = ("inventory-", "followed-")


def is_book(item: Declaration, note: str = "") -> bool:
    """Whether an object is one of them. `note`: the ConfigMap that the last allowed commit is noted in."""
    kind = (item.ref.kind, item.ref.api_version.partition("/")[0])
    if item.ref.namespace != NAMESPACE:
        return False
    if kind == ("Lease", "coordination.k8s.io"):
        return item.ref.name.startswith("customhouse-")
    labels = item.manifest["metadata"].get("labels") or {}
    labelled = LABEL in labels or FOLLOWED in labels
    return kind == ("ConfigMap", "v1") and (item.ref.name == note or item.ref.name.startswith(_NAMES) or labelled)


def without_books(declarations: Sequence[Declaration], note: str = "") -> tuple[Declaration, ...]:
    """The same, with each of them held: neither applied nor deleted."""
    return tuple(
        replace(item, care=replace(item.care or Care(), hold=HELD, release=True)) if is_book(item, note) else item
        for item in declarations
    )
