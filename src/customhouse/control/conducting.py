"""Conducting: what Applications say about their objects, put onto the objects, so that whoever applies needs no more.

1. An Application that another one reconciles, that is suspended, that goes to another cluster, that cannot be followed
   or that is not automated: its objects are held. Held is neither applied nor deleted. So is the Application itself
   where another one reconciles it and somebody else put it there (`control.beside`).
2. Else its objects carry how they are kept: pruned or not, healed or only told, which fields may differ, and when they
   are applied (waves within the Application, hooks anew for each state of it, the Applications that it depends on).
3. A namespace that it is to create (`control.rooms`) comes first and is never pruned, as with Argo CD.
4. Objects of Argo CD's and Flux's own kinds are there for them: where a cluster does not know them, none is applied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from customhouse.control.beside import left_to, otherwise, put_by_others
from customhouse.control.graph_parts import with_parts
from customhouse.control.hooks import run_of
from customhouse.control.ignoring import leeway_of, not_followed
from customhouse.control.objectsync import object_sync
from customhouse.control.reconcilers import reconcilers, status_of
from customhouse.control.rooms import CREATED
from customhouse.control.scenes import of_one_scene
from customhouse.control.secret_references import needed
from customhouse.control.sources import belongs_to, in_order, source_sets
from customhouse.core.application import Application, Engine, Hook, ReconcilerStatus, SourceSet
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Care, Declaration, HookRun, Manifest, Need, ResourceRef

_HOOK = 100_000
"""Waves between a hook and the rest; Argo CD's own waves are far fewer."""
_BEFORE_AND_AFTER = {Hook.PRE_SYNC: -_HOOK, Hook.SYNC: 0, Hook.POST_SYNC: _HOOK, Hook.SYNC_FAIL: 2 * _HOOK}


@dataclass(frozen=True, slots=True)
class Conducted:
    """What is to be applied, and of each Application who reconciles it, why, and what that one says."""

    declarations: tuple[Declaration, ...]
    by: Mapping[ResourceRef, tuple[Engine, str]]
    statuses: Mapping[ResourceRef, ReconcilerStatus]
    held: Mapping[ResourceRef, str]
    """Application → why its objects are left alone, where that is not because another one reconciles them."""
    foreign: Mapping[ResourceRef, Declaration] = field(default_factory=dict)
    """Those that others reconcile and put there themselves, as they are declared."""
    otherwise: Mapping[ResourceRef, tuple[str, ...]] = field(default_factory=dict)
    """Of these, the fields that Git declares otherwise than the cluster has them."""
    elsewhere: frozenset[ResourceRef] = frozenset()
    """Applications whose one source is not a folder of this repository."""


@dataclass(frozen=True, slots=True)
class Among:
    """Which cluster of several this is: what it is called, what the others are.

    `guests` are Applications that stand in one of the others and have objects here: they are not applied here, and a
    text says why they cannot be followed now.
    """

    called: str = ""
    others: Collection[str] = ()
    guests: Mapping[ResourceRef, str] = field(default_factory=dict)

    def is_elsewhere(self, item: Application) -> bool:
        """Whether the objects of an Application are for one of the others."""
        return item.destination.cluster in self.others


ALONE = Among()


def conduct(
    declared: Sequence[Declaration],
    *,
    remotes: Sequence[str] = (),
    reconciled_by: Mapping[Engine, Engine] | None = None,
    live: Mapping[ResourceRef, Manifest] | None = None,
    served: Callable[[ResourceRef], bool] = lambda _: False,
    among: Among = ALONE,
) -> Conducted:
    """Steps 1 to 4. `live` are the Application objects as the cluster has them, `served` whether it knows a kind.

    `among` says which cluster this is of several.
    Raises DeclarationError: scenes that are apart, an annotation that cannot be read.
    """
    every = source_sets(of_one_scene(tuple(declared)), remotes)
    sets = [one for one in every if one.application is None or not among.is_elsewhere(one.application)]
    found = {item.application.ref: item.application for item in sets if item.application is not None}
    live = live or {}
    by = reconcilers(found, reconciled_by or {}, live)
    said = ((ref, status_of(ref, manifest)) for ref, manifest in live.items())
    statuses = {ref: status for ref, status in said if status is not None}
    ordered, circles = in_order(found.values())
    levels = _needs(ordered)
    held = {
        ref: reason
        for ref, item in found.items()
        if (reason := _left_alone(item, by[ref][0], circles, among.called) or among.guests.get(ref, ""))
    }
    foreign = put_by_others(by, live)
    result: list[Declaration] = []
    for one in sets:
        items = (_left(item, foreign, by, live) for item in _of_set(one, by, held, levels, served))
        result += [item for item in items if item.ref not in among.guests]
    result = list(_rooms(result, sets, held, by))
    makers = with_parts(needed(result), result)
    if makers:
        result = [_after(item, makers.get(item.ref, ())) for item in result]
    own = {i.ref: i for i in result if i.ref in by and i.owner is None and left_to(i.ref, foreign, by, live)}
    differing = {ref: pointers for ref, item in own.items() if (pointers := otherwise(item, live.get(ref)))}
    outside = frozenset(ref for ref, item in found.items() if not any(source.here for source in item.sources))
    return Conducted(tuple(result), by, statuses, held, own, differing, outside)


def _left(
    item: Declaration,
    foreign: Collection[ResourceRef],
    by: Mapping[ResourceRef, tuple[Engine, str]],
    live: Collection[ResourceRef],
) -> Declaration:
    """Held, where it is an object of another engine that has it (`control.beside`)."""
    engine = None if item.owner is not None else left_to(item.ref, foreign, by, live)
    if engine is None:
        return item
    return replace(item, care=Care(hold=f"{engine} has it, and somebody else than Customhouse put it there"))


def _after(item: Declaration, makers: tuple[ResourceRef, ...]) -> Declaration:
    """With its parts and what makes its Secrets before it; without an Application its own annotations count."""
    if not makers:
        return item
    own = object_sync(item.manifest)
    return replace(item, care=replace(item.care or Care(own.wave, keep=not own.prune), after=makers))


def _left_alone(item: Application, by: Engine, circles: Mapping[ResourceRef, str], called: str) -> str:
    if by is not Engine.CUSTOMHOUSE:
        return ""
    if item.suspended:
        return "it is suspended"
    if item.destination.cluster and item.destination.cluster != called:
        return f"it goes to the cluster {item.destination.cluster}, which is not this target"
    if not item.sync.automated:
        return "its syncPolicy is not automated: nothing is applied until that is written"
    return item.problem or circles.get(item.ref, "") or not_followed(item)


def _needs(ordered: Sequence[Application]) -> Mapping[ResourceRef, tuple[Need, ...]]:
    """What comes before each: of those that it depends on, what makes them ready in Flux's own words."""
    known = {item.ref: item for item in ordered}
    return {
        item.ref: tuple(
            Need(other.name, other.sync.wait, other.health_checks, other.sync.timeout_s)
            for ref in item.depends_on
            if (other := known.get(ref)) is not None
        )
        for item in ordered
    }


def _of_set(
    one: SourceSet,
    by: Mapping[ResourceRef, tuple[Engine, str]],
    held: Mapping[ResourceRef, str],
    levels: Mapping[ResourceRef, tuple[Need, ...]],
    served: Callable[[ResourceRef], bool],
) -> Iterator[Declaration]:
    application = one.application
    runs = _Runs(one.declarations)
    for item in map(_unsaid, one.declarations):
        if belongs_to(item.ref) is not None and not served(item.ref):
            continue
        if application is None:
            care = _care(item, None, runs)
            yield runs.named(item if care is item.care else replace(item, care=care))
            continue
        reason = held.get(application.ref, "")
        if by[application.ref][0] is not Engine.CUSTOMHOUSE:
            reason = f"{by[application.ref][0]} reconciles {application.ref}"
        elif reason:
            reason = f"{application.ref}: {reason}"
        released = by[application.ref][0] is not Engine.CUSTOMHOUSE
        if reason:
            yield replace(item, care=Care(hold=reason, release=released))
            continue
        care = _care(item, application, runs)
        yield runs.named(replace(item, care=replace(care or Care(), needs=levels.get(application.ref, ()))))


def _unsaid(item: Declaration) -> Declaration:
    """Without a status: what Git says there would be taken for the word of who reconciles, and all would be let go."""
    if belongs_to(item.ref) is None or "status" not in item.manifest:
        return item
    return replace(item, manifest={key: value for key, value in item.manifest.items() if key != "status"})


class _Runs:
    """The runs of the hooks of one set. What no Application has goes with what is rendered from the same root."""

    def __init__(self, declared: Sequence[Declaration]) -> None:
        self._declared = declared
        self._known: dict[str, str] = {}

    def of(self, item: Declaration) -> str:
        """The run that a hook belongs to."""
        root = _root(item)
        if root not in self._known:
            self._known[root] = run_of([one for one in self._declared if _root(one) == root])
        return self._known[root]

    def named(self, item: Declaration) -> Declaration:
        """A hook that has generateName with the name of its run: each run is an object of its own."""
        metadata = item.manifest.get("metadata")
        hook = None if item.care is None else item.care.hook
        if hook is None or not isinstance(metadata, Mapping) or metadata.get("name") is not None:
            return item
        name = f"{str(metadata.get('generateName'))[:50]}{hook.run.removeprefix('sha256:')[:10]}"
        manifest = {**item.manifest, "metadata": {**metadata, "name": name}}
        return replace(item, ref=replace(item.ref, name=name), manifest=manifest)


def _root(item: Declaration) -> str:
    return "" if item.owner is not None or item.rendering is None else item.rendering.root


def _care(item: Declaration, application: Application | None, runs: _Runs) -> Care | None:
    try:
        own = object_sync(item.manifest)
    except DeclarationError as error:
        where = str(item.locate(error.where))
        raise DeclarationError(error.message, where=where, hint=error.hint) from error
    skipped = [hook for hook in own.hooks if hook not in _BEFORE_AND_AFTER]
    if own.ignored or skipped:
        what = f"it is a hook for {skipped[0]}" if skipped else "it is annotated to be left alone"
        return Care(hold=f"{item.ref}: {what}")
    wave = own.wave + (_BEFORE_AND_AFTER[own.hooks[0]] if own.hooks else 0)
    hook = HookRun(runs.of(item), own.delete_hook, Hook.SYNC_FAIL in own.hooks) if own.hooks else None
    if application is None:
        return Care(wave, keep=not own.prune, hook=hook) if own.hooks else None
    return Care(
        wave,
        keep=not own.prune or not application.sync.prune,
        heal=application.sync.self_heal,
        group=application.name,
        hook=hook,
        leeway=leeway_of(application, item.ref),
    )


def _rooms(
    result: Sequence[Declaration],
    sets: Sequence[SourceSet],
    held: Mapping[ResourceRef, str],
    by: Mapping[ResourceRef, tuple[Engine, str]],
) -> Iterator[Declaration]:
    """With the namespaces that Applications create: there before anything in them, and for as long as one is kept."""
    wanting = [item.application for item in sets if item.application is not None]
    free = {
        item.destination.namespace
        for item in wanting
        if item.sync.create_namespace and item.ref not in held and by[item.ref][0] is Engine.CUSTOMHOUSE
    }
    first = min((item.care.wave for item in result if item.care is not None), default=0)
    for item in result:
        made = item.rendering is not None and item.rendering.program == CREATED
        yield replace(item, care=Care(min(first, 0), keep=True, heal=False)) if made and item.ref.name in free else item
