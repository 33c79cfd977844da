"""Touching: makes a controller look again that has lost what was written for it.

Argo Rollouts up to v1.9 puts what a write of its own answered into its cache, without asking whether something newer is
there by then (argoproj/argo-rollouts#4073, #4786; `writeBackToInformer`). What somebody wrote in between is lost to it
until something else happens to the object: its resync reads the same cache. A bad version would keep its share for as
long. Any write makes the API tell of the object again, so one that changes nothing that anybody runs is enough.

No other controller that Customhouse waits for has this: Kubernetes', KServe's and Knative's read a cache that watches
alone fill, and name the version that they have read when they write.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from customhouse._kit.clock import Clock
from customhouse.core.cluster import Apply, Cluster
from customhouse.core.errors import TargetError
from customhouse.core.plan import LiveObject
from customhouse.core.resource import ResourceRef
from customhouse.core.sight import TOUCHED, Key, Sight

MANAGER = "customhouse-touch"
"""A field manager of its own: taken together with what is declared, the next apply would take it away again."""
_KIND = ("argoproj.io", "Rollout")
_AFTER_S, _MOST_S = 3.0, 300.0
"""How long a controller is given, and how long at most until it is asked again: each time twice as long."""
_AT_ONCE = 20
"""Objects a step: where all are late their controller has much to do, or is not there, and more would not help."""


@dataclass(slots=True)
class _Late:
    """One object whose controller has not seen it as it is. `due`: when it is touched (next), monotonic seconds."""

    live: LiveObject
    generation: int
    due: float
    touches: int = 0
    problem: str = ""


class Touching:
    """Belongs to the thread of one keeper."""

    def __init__(self, cluster: Cluster, sight: Sight, clock: Clock) -> None:
        self._cluster, self._sight, self._clock = cluster, sight, clock
        self._late: dict[Key, _Late] = {}
        self._cured: dict[Key, LiveObject] = {}
        """What still says that it was touched, and need not any more."""

    def step(self, touched: Collection[Key], ours: Mapping[Key, ResourceRef]) -> None:
        """Look at those of our objects that something happened to, and touch what has been late for long enough."""
        now = self._clock.monotonic()
        for key in self._late.keys() | self._cured.keys():
            if key not in ours:
                self._late.pop(key, None)
                self._cured.pop(key, None)
        for key in touched:
            if key[:2] == _KIND and key in ours:
                self._look(key, now)
        due = [key for key, item in self._late.items() if item.due <= now][:_AT_ONCE]
        for key in due:
            self._touch(self._late[key], now)
        for key in list(self._cured)[:_AT_ONCE]:
            self._write(self._cured.pop(key), {})  # a failure leaves a word that nobody reads

    def problems(self) -> tuple[str, ...]:
        """What controllers have not taken in although it was written again."""
        return tuple(
            f"{item.live.ref}: its controller has not taken in what was written, and was made to look again"
            f" ({'once' if item.touches == 1 else f'{item.touches} times'})"
            + (f"; that was refused: {item.problem}" if item.problem else "")
            for item in self._late.values()
            if item.touches
        )

    def _look(self, key: Key, now: float) -> None:
        live = self._sight.live(key)
        seen = None if live is None else generations(live)
        if live is None or seen is None or seen[0] <= seen[1] or live.manifest["metadata"].get("deletionTimestamp"):
            self._late.pop(key, None)
            if live is not None and TOUCHED in (live.manifest["metadata"].get("annotations") or {}):
                self._cured[key] = live
            return
        self._cured.pop(key, None)
        before = self._late.get(key)
        if before is None or before.generation != seen[0]:
            self._late[key] = _Late(live, seen[0], now + _AFTER_S)
        else:
            before.live = live

    def _touch(self, item: _Late, now: float) -> None:
        item.touches += 1
        item.due = now + min(_AFTER_S * 2**item.touches, _MOST_S)
        item.problem = self._write(item.live, {TOUCHED: f"{item.generation}.{item.touches}"})

    def _write(self, live: LiveObject, annotations: Mapping[str, str]) -> str:
        metadata = live.manifest["metadata"]
        # The uid makes the API refuse to create it, should it be gone by now.
        named = {name: metadata[name] for name in ("name", "namespace", "uid") if name in metadata}
        manifest = {
            "apiVersion": live.manifest["apiVersion"],
            "kind": live.manifest["kind"],
            "metadata": {**named, **({"annotations": dict(annotations)} if annotations else {})},
        }
        try:
            (answer,) = self._cluster.write([Apply(manifest, force=True, manager=MANAGER)])
        except TargetError as error:
            return str(error)
        return "" if answer.ok else answer.problem


def generations(live: LiveObject) -> tuple[int, int] | None:
    """The generation of an object and the one that its controller has observed; None where it says none.

    Argo Rollouts writes its number as a text, and before v1.0 wrote a digest.
    """
    generation, observed = live.manifest["metadata"].get("generation"), live.status.get("observedGeneration")
    if isinstance(observed, str) and observed.isascii() and observed.isdigit() and len(observed) < 20:
        observed = int(observed)
    if type(generation) is not int or type(observed) is not int:
        return None
    return generation, observed
