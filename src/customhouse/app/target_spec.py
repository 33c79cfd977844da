"""The parts `target` and `targets` of customhouse.yaml that name clusters, from a document that was checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

OBSERVE, MANAGE = "observe", "manage"
OFF, TELL, DRAIN = "off", "tell", "drain"
"""What is done about nodes that carry an interruption notice."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")
"""A target's name becomes part of the names of its inventory and Lease."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A Kubernetes API as the target. `kubeconfig` and `context` empty: as the environment says."""

    kubeconfig: str = ""
    context: str = ""
    mode: str = OBSERVE
    """`observe` writes nothing into the cluster; `customhouse adopt` makes it `manage`, by a commit."""
    drift: str = "correct"
    prune: bool = True
    prune_budget_percent: int = 50
    full_pass_minutes: int = 10
    source: str = ""
    """The name of this repository's inventory in the cluster; empty: made from its address and its first commit."""
    interruptions: str = OFF
    """`drain` asks declared pods to leave nodes that will be taken away; `tell` only says what happens."""
    paths: tuple[str, ...] = ()
    """Of one of several targets: the folders that are for it alone."""

    @classmethod
    def parse(cls, target: Mapping[str, Any]) -> ClusterSpec | None:
        """From a checked document; None where the target is this machine."""
        if target.get("kind") != "kubernetes":
            return None
        default = cls()
        return cls(
            kubeconfig=target.get("kubeconfig") or "",
            context=target.get("context") or "",
            mode=target.get("mode", default.mode),
            drift=target.get("drift", default.drift),
            prune=target.get("prune", default.prune),
            prune_budget_percent=target.get("pruneBudgetPercent", default.prune_budget_percent),
            full_pass_minutes=target.get("fullPassMinutes", default.full_pass_minutes),
            source=target.get("source") or "",
            interruptions=target.get("interruptions", default.interruptions),
            paths=tuple(target.get("paths") or ()),
        )

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        value = {
            "kubeconfig": self.kubeconfig,
            "context": self.context,
            "mode": self.mode,
            "drift": self.drift,
            "prune": self.prune,
            "pruneBudgetPercent": self.prune_budget_percent,
            "fullPassMinutes": self.full_pass_minutes,
            "source": self.source,
            "interruptions": self.interruptions if self.interruptions != OFF else "",
        }
        paths = {"paths": list(self.paths)} if self.paths else {}
        return {"kind": "kubernetes", **{name: item for name, item in value.items() if item != ""}, **paths}


def place_of(spec: ClusterSpec | None) -> tuple[str, ...]:
    """Which target a configuration names, and which inventory in it; empty for this machine."""
    return () if spec is None else ("kubernetes", spec.kubeconfig, spec.context, spec.source)


def places_of(specs: Mapping[str, ClusterSpec]) -> tuple[tuple[str, ...], ...]:
    """Which clusters a configuration names, each with its name, and which inventories in them."""
    return tuple((name, *place_of(spec)) for name, spec in specs.items())


def targets_of(document: Mapping[str, Any], fail: Callable[[str, str], NoReturn]) -> Mapping[str, ClusterSpec]:
    """`targets`, by name in their order. `fail` raises at a pointer.

    Two of them never share an inventory, whichever clusters they turn out to be: their names are part of its name, and
    a `source` that is given is given once.
    """
    given = document.get("targets") or {}
    if given and "target" in document:
        fail("/target", "there is one target or there are several: write `target` or `targets`")
    found: dict[str, ClusterSpec] = {}
    places: dict[tuple[str, ...], str] = {}
    folders: dict[str, str] = {}
    for name, item in given.items():
        if not _NAME.fullmatch(name):
            fail(f"/targets/{name}", f"a target is called {name!r}: lower-case letters, digits, dashes, 30 at most")
        spec = ClusterSpec.parse({"kind": "kubernetes", **item})
        assert spec is not None  # noqa: S101 - the kind was just said
        access = ("cluster", spec.kubeconfig, spec.context)
        if access in places:
            fail(f"/targets/{name}", f"it is the same kubeconfig and context as that of {places[access]!r}")
        places[access] = name
        if spec.source:
            if ("source", spec.source) in places:
                fail(f"/targets/{name}/source", f"{places['source', spec.source]!r} has the same source")
            places["source", spec.source] = name
        for index, path in enumerate(spec.paths):
            folder = path.strip("/")
            if folder in folders:
                fail(f"/targets/{name}/paths/{index}", f"{path!r} is a folder of {folders[folder]!r} too")
            folders[folder] = name
        found[name] = spec
    return found


def environment_targets(
    document: Mapping[str, Any], targets: Mapping[str, ClusterSpec], fail: Callable[[str, str], NoReturn]
) -> Mapping[str, str]:
    """Environment → the target that it names; those that name none are not in it."""
    found: dict[str, str] = {}
    for name, item in (document.get("environments") or {}).items():
        target = item.get("target")
        if target is None:
            continue
        if target not in targets:
            known = ", ".join(targets) or "none, customhouse.yaml has no `targets`"
            fail(f"/environments/{name}/target", f"no target is called {target!r}; there are: {known}")
        found[name] = target
    return found
