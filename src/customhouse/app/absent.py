"""What an Argo CD or Flux object had rendered and now names in a registry, not here: that is no deletion.

A line of the lock file that goes, a registry that is no longer trusted, a chart in place of a folder: the objects
are not declared any more, yet nobody said that they are to go. To delete them and to leave them are both guesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from customhouse.control.outside import FETCHED
from customhouse.control.rendering import Sight
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, ResourceRef

_Owner = tuple[str, str, str, str]


def require_present(base: Iterable[Declaration], declared: Iterable[Declaration], sight: Sight) -> None:
    """Raise DeclarationError, at the object, for one with fewer places than before, one of which is not here."""
    if not sight.missing:
        return
    wanted = {_key(ref): found for ref, found in sight.missing.items()}
    before, after = _places(base, wanted), _places(declared, wanted)
    for key, (ref, (place, what)) in ((_key(ref), (ref, found)) for ref, found in sight.missing.items()):
        if len(after.get(key, ())) < len(before.get(key, ())):
            raise DeclarationError(
                f"{ref} had objects rendered, and now they are not here: {what}",
                where=str(place),
                hint="have it here (`customhouse sources lock` writes digests), or delete the object itself",
            )


def _places(declared: Iterable[Declaration], wanted: Mapping[_Owner, object]) -> Mapping[_Owner, set[str]]:
    """Owner → the places that its objects come from. A version that changes is no other place."""
    found: dict[_Owner, set[str]] = {}
    for item in declared:
        if item.owner is not None and _key(item.owner) in wanted:
            root = "" if item.rendering is None else item.rendering.root
            place = root.rpartition("/")[0] if root.startswith(FETCHED + "/") else root
            found.setdefault(_key(item.owner), set()).add(place)
    return found


def _key(ref: ResourceRef) -> _Owner:
    return (ref.api_version.rpartition("/")[0], ref.kind, ref.namespace, ref.name)
