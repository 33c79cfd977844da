"""Placing: which of several targets an object is for.

1. The cluster that the Application of an object names, then the folder (scene) that the object is in: where one of them
   is called as a target is, it is for that one. The same object may then be declared for several targets.
2. The environment of its namespace, where that names a target; of a Namespace, its own name counts.
3. Anything else is for none, which is an error: a guess would put it into a wrong cluster, or delete it from one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from customhouse.control.scenes import of_one_scene, target_of
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, ResourceRef


@dataclass(frozen=True, slots=True)
class Placing:
    """`targets` in their order; none where there is one target, which all is for. `namespaces`: pattern and target."""

    targets: tuple[str, ...] = ()
    namespaces: tuple[tuple[str, str], ...] = ()
    """The first pattern that fits counts, unless it stands there with another target too; "" stands for none."""

    def of(self, ref: ResourceRef, scene: str = "") -> str:
        """The name of the target; empty for none, and where there is but one."""
        found = target_of(ref.scene or scene, self.targets)
        if found:
            return found
        own = ref.kind == "Namespace" and ref.api_version == "v1"
        namespace = ref.name if own else ref.namespace
        fits = [(pattern, name) for pattern, name in self.namespaces if namespace and fnmatchcase(namespace, pattern)]
        named = {name for pattern, name in fits if pattern == fits[0][0]}
        return named.pop() if len(named) == 1 else ""

    def split(self, declared: Sequence[Declaration]) -> Mapping[str, tuple[Declaration, ...]]:
        """What each target is to have, with its own scenes in the references; a single target is called "".

        Raises DeclarationError: an object that is for none, or is there twice for one.
        """
        if not self.targets:
            return {"": of_one_scene(tuple(declared))}
        found: dict[str, list[Declaration]] = {name: [] for name in self.targets}
        seen: dict[tuple[str, ResourceRef], Declaration] = {}
        for item in declared:
            name = self.of(item.ref, item.scene)
            if not name:
                raise DeclarationError(
                    f"{item.ref} is for none of the targets {', '.join(self.targets)}",
                    where=str(item.location),
                    hint="put it below `paths` of one under `targets` in customhouse.yaml, or name a `target` for the "
                    "environment that has its namespace",
                )
            key = (name, bare(item.ref))
            if key in seen:
                raise DeclarationError(
                    f"{bare(item.ref)} is declared twice for the target {name}: here and at {seen[key].location}",
                    where=str(item.location),
                    hint="leave one of them",
                )
            seen[key] = item
            found[name].append(item)
        return {name: tuple(items) for name, items in found.items()}

    def guests(self, part: Sequence[Declaration], declared: Sequence[Declaration]) -> Sequence[tuple[Declaration, str]]:
        """The Applications that stand in other clusters and have objects in a part, each with the target it stands in.

        Raises DeclarationError for two of one name.
        """
        own = {bare(item.ref) for item in part}
        wanted = {item.owner for item in part if item.owner is not None and bare(item.owner) not in own}
        found = {}
        for item in declared if wanted else ():
            if item.ref not in wanted:
                continue
            if bare(item.ref) in found:
                raise DeclarationError(
                    f"two Applications called {bare(item.ref)} have objects in one cluster",
                    where=str(item.location),
                    hint="give them different names",
                )
            found[bare(item.ref)] = (item, self.of(item.ref, item.scene))
        return tuple(found.values())

    def anywhere(self, declared: Sequence[Declaration]) -> tuple[Declaration, ...]:
        """What is declared for whichever cluster one stands in, where that is not known: as that cluster knows it.

        An object that is declared otherwise for another cluster is left out: who asks takes it for nobody's, and judges
        it as what is new. Raises DeclarationError as `split` does.
        """
        if not self.targets:
            return of_one_scene(tuple(declared))
        found: dict[ResourceRef, Declaration | None] = {}
        for part in self.split(declared).values():
            for item in map(unplaced, part):
                known = found.setdefault(item.ref, item)
                if known is not None and known.digest != item.digest:
                    found[item.ref] = None
        return tuple(item for item in found.values() if item is not None)

    def there(self, declared: Sequence[Declaration], target: str) -> tuple[Declaration, ...]:
        """What one of the targets is to have, as that cluster knows it. Raises DeclarationError as `split` does."""
        return tuple(map(unplaced, self.split(declared)[target]))

    def checked(self, declared: Sequence[Declaration]) -> tuple[Declaration, ...]:
        """The same, if each object has its target. Raises DeclarationError as `split` does."""
        for part in self.split(declared).values():
            self.guests(part, declared)
        return tuple(declared)


def bare(ref: ResourceRef) -> ResourceRef:
    """As the one cluster knows the object."""
    return replace(ref, scene="") if ref.scene else ref


def unplaced(item: Declaration) -> Declaration:
    """A Declaration as the one cluster knows it."""
    owner = None if item.owner is None else bare(item.owner)
    if not item.ref.scene and owner == item.owner:
        return item
    return replace(item, ref=bare(item.ref), owner=owner)
