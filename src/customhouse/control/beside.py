"""Beside: Argo CD's and Flux's own objects where these reconcile, and somebody else than Customhouse put them there.

1. An Application, Kustomization or HelmRelease whose engine has a status on it, and on which nothing is ours, is left
   as it is: it was put there by a person, by `flux bootstrap` or by another Application.
2. So are that engine's other objects (sources, projects) which no Application of this tree has, and Applications that
   are not there yet: who put the others there puts these there too.
3. Where Git declares one of them otherwise than it is in the cluster, its engine does something else than was judged:
   that is told, until somebody applies it.

What Customhouse made, or is to make since nobody has, it keeps as declared, like any other object.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from customhouse.control.diff import field_diff
from customhouse.control.drift import is_ours
from customhouse.control.sources import belongs_to
from customhouse.core.application import Engine
from customhouse.core.cluster import managers_of
from customhouse.core.resource import Declaration, Manifest, ResourceRef

_TOLD = 5
NOT_THERE = ("/",)
"""What is otherwise of one that the cluster does not have."""


def put_by_others(
    by: Mapping[ResourceRef, tuple[Engine, str]], live: Mapping[ResourceRef, Manifest]
) -> frozenset[ResourceRef]:
    """Step 1: those that another one reconciles and that Customhouse did not write."""
    theirs = (ref for ref, (engine, _) in by.items() if engine is not Engine.CUSTOMHOUSE and ref in live)
    return frozenset(ref for ref in theirs if not any(map(is_ours, managers_of(live[ref]))))


def left_to(
    ref: ResourceRef,
    foreign: Collection[ResourceRef],
    by: Mapping[ResourceRef, tuple[Engine, str]],
    live: Collection[ResourceRef],
) -> Engine | None:
    """Steps 1 and 2, of an object that no Application has: the engine whose affair it is."""
    engine = belongs_to(ref)
    if engine is None or ref in foreign:
        return engine
    if ref in by and (ref in live or by[ref][0] is not engine):
        return None
    return engine if any(by[one][0] is engine for one in foreign) else None


def otherwise(declared: Declaration, live: Manifest | None) -> tuple[str, ...]:
    """Step 3: the pointers of what is declared otherwise than it is; what the API adds is no difference."""
    if live is None:
        return NOT_THERE
    found = field_diff({"spec": declared.manifest.get("spec") or {}}, {"spec": live.get("spec") or {}})
    return tuple(item.pointer for item in found)


def told_otherwise(ref: ResourceRef, engine: Engine, pointers: Collection[str]) -> str:
    """For who reads the status."""
    if tuple(pointers) == NOT_THERE:
        return f"{ref} is not in the cluster, where somebody else puts what {engine} has: apply it there"
    shown = ", ".join(list(pointers)[:_TOLD]) + (", …" if len(pointers) > _TOLD else "")
    return f"{ref} is declared otherwise than {engine} has it in the cluster ({shown}): apply it there"
