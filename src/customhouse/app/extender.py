"""The scheduler's extender as a use case: which rules and prices hold, and what one call is answered.

Rules and prices are those of the revision that is in force (`app.in_force`), or of `--config`, as the admission webhook
reads them. A newer state that cannot be read is told, and the one before goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import Clock, from_rfc3339
from customhouse.app import wiring
from customhouse.app.admission_context import state_of
from customhouse.app.extender_prices import NodePrices
from customhouse.app.extender_tally import Tally
from customhouse.app.extender_wire import filter_result, preemption_result, priorities, read_arguments
from customhouse.app.governance import Governance, governance
from customhouse.app.in_force import InForce, in_force
from customhouse.app.settings import Settings
from customhouse.app.tiering import TIER, judged_tier
from customhouse.core.errors import CustomhouseError, DeclarationError, SourceError
from customhouse.core.resource import Declaration, Location, Manifest, ResourceRef
from customhouse.execution.extender import Filtered, Placer, PodNeeds, TierPlacing
from customhouse.execution.extender_nodes import NODES, PODS, NodeFacts, Occupancy, requests_of

if TYPE_CHECKING:
    from customhouse.core.cluster import Cluster
    from customhouse.store.database import Store

BLIND_S = 60.0
"""A watch that has failed for so long tells of another cluster: from then on nothing is answered."""
ASKED_AGAIN_S = 300.0
Tell = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Generation:
    """Rules and prices of one revision."""

    number: int
    governing: Governance
    prices: NodePrices
    revision: str | None
    unsure: str = ""
    """Why nobody knows whether that revision was allowed."""
    _tiers: dict[tuple[str, str | None], TierPlacing] = field(default_factory=dict, compare=False, repr=False)

    def tier(self, pod: Manifest) -> TierPlacing:
        """The tier that a pod is placed under: a label asks for one, reviewed configuration grants it."""
        metadata = pod["metadata"]
        labels = metadata.get("labels")
        asked = labels.get(TIER) if isinstance(labels, Mapping) else None
        namespace = str(metadata.get("namespace") or "default")
        key = (namespace, None if asked is None else str(asked))
        known = self._tiers.get(key)
        if known is None:
            if len(self._tiers) > 10_000:
                self._tiers.clear()
            ref = ResourceRef("v1", "Pod", namespace, str(metadata.get("name") or ""))
            judged = judged_tier(self.governing.configuration, Declaration(ref, pod, Location("scheduler")))
            spec = judged.spec
            known = self._tiers[key] = TierPlacing(
                judged.name,
                spec.gpu_classes,
                spec.spot,
                spec.dedicated_nodes,
                judged.reserved_nodes,
                None if spec.spot_fallback_minutes is None else 60 * spec.spot_fallback_minutes,
            )
        return known


class Extending:
    """One extender: reads generations, keeps the watches, answers calls. Close it to end the watches."""

    def __init__(self, settings: Settings, repo: str | None, clock: Clock, tell: Tell) -> None:
        self._settings, self._repo, self._clock, self._tell = settings, repo, clock, tell
        self._seen, self._read_at = "", 0.0
        self._stops: list[Callable[[], None]] = []
        self.occupancy = Occupancy(clock)
        self.tally = Tally(clock)
        self.problem = ""
        """Why the newest rules could not be taken over."""
        self.generation = self._read(1)
        self._placer = Placer(self.occupancy, self._price, self._doubts)

    def _price(self, node: NodeFacts) -> float | None:
        return self.generation.prices(node)

    def _doubts(self, node: NodeFacts) -> bool:
        return self.generation.prices.doubts(node)

    def follow(self, cluster: Cluster) -> None:
        """Begin to watch nodes and pods."""
        self._stops = [
            cluster.watch([NODES], self.occupancy.nodes_sink),
            cluster.watch([PODS], self.occupancy.pods_sink),
        ]

    def close(self) -> None:
        """End the watches."""
        for stop in self._stops:
            stop()

    # generations
    def look(self) -> None:
        """Take over newer rules and prices, if there are any. Called every few seconds; raises nothing."""
        try:
            with self._store() as opened:
                seen = self._state(opened)
            # Of a repository elsewhere nothing tells that it moved.
            far = self._repo is not None and "://" in self._repo
            due = far and self._clock.monotonic() - self._read_at > ASKED_AGAIN_S
            if seen == self._seen and not due:
                return
            self._seen = seen
            generation = self._read(self.generation.number + 1)
        except CustomhouseError as error:
            if isinstance(error, SourceError):
                self._seen = ""  # a repository that was out of reach, or busy, is asked again
            self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the new ones, those in force go on
            self._refuse(f"{type(error).__name__}: {error}")
        else:
            self.generation, self.problem = generation, ""
            self._placer.forget()

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:
            self._tell("rules-refused", {"problem": problem})
        self.problem = problem

    def _store(self) -> contextlib.AbstractContextManager[Store | None]:
        return wiring.store(self._settings) if wiring.has_store(self._settings) else contextlib.nullcontext()

    def _state(self, opened: Store | None) -> str:
        # The day is in it: a price book goes stale without anybody touching it.
        return f"{self._clock.now().date()}\n{state_of(self._settings, self._repo, opened)}"

    def _read(self, number: int) -> Generation:
        """Read what holds now. Raises ConfigError, PriceError or SourceError."""
        self._read_at = self._clock.monotonic()
        with self._store() as opened:
            self._seen = self._state(opened)
            objects = None if self._repo is None else wiring.commits(self._settings, self._repo)
            standing = InForce(None) if objects is None else in_force(self._settings, objects, opened)
            governing = governance(objects, standing.revision, self._settings.config, wiring.shelf(self._settings))
        prices = NodePrices(governing, self._clock.now())
        self._tell(
            "generation", {"generation": number, "revision": standing.revision, "prices": prices.warning or "current"}
        )
        if prices.warning:
            self._tell("prices-not-used", {"problem": prices.warning})
        if standing.unsure:
            self._tell("rules-not-sure", {"problem": standing.unsure})
        return Generation(number, governing, prices, standing.revision, standing.unsure)

    # calls
    def ready(self) -> str:
        """Empty when calls are answered, else why not: the scheduler then goes on without this extender."""
        seconds, why = self.occupancy.failing()
        if not self.occupancy.synced:
            return f"nodes and pods are not known yet{f' ({why})' if why else ''}"
        return f"what is known of the cluster is {seconds:.0f} seconds old ({why})" if seconds > BLIND_S else ""

    def filter(self, body: bytes) -> tuple[bytes, int, int]:
        """The answer to a filter call, and how many nodes are left and forbidden. Raises UsageError."""
        asked = read_arguments(body, eviction=False)
        tier = ""
        try:
            needs = self._needs(asked.pod)
            tier, found = needs.tier.name, self._placer.filter(needs, asked.names)
        except DeclarationError as error:
            # What cannot be read cannot be held against a rule, so it goes nowhere; the pod's events say why.
            reason = f"the pod cannot be read: {error}"
            found = Filtered((), dict.fromkeys(asked.names, reason), {})
        self.tally.note(asked.pod, tier, found)
        return filter_result(found), len(found.left), len(found.forbidden)

    def prioritise(self, body: bytes) -> bytes:
        """The answer to a prioritise call. Raises UsageError."""
        asked = read_arguments(body, eviction=False)
        try:
            return priorities(self._placer.prioritise(self._needs(asked.pod), asked.names))
        except DeclarationError:
            return priorities([(name, 0) for name in asked.names])

    def preempt(self, body: bytes) -> bytes:
        """The answer to a preempt call: nobody is evicted from a node that the pod may not use. Raises UsageError."""
        asked = read_arguments(body, eviction=True)
        try:
            spared = self._placer.spared(self._needs(asked.pod), asked.names)
        except DeclarationError:
            spared = frozenset(asked.names)
        return preemption_result({name: asked.victims[name] for name in asked.names if name not in spared})

    def _needs(self, pod: Manifest) -> PodNeeds:
        uid = str(pod["metadata"].get("uid") or "")
        spec = pod["spec"]
        tier = self.generation.tier(pod).after(self._age(pod))
        return PodNeeds(uid, requests_of(spec), tier, bool(spec.get("resourceClaims")))

    def _age(self, pod: Manifest) -> float:
        """Seconds since the pod was made; 0 where it does not say, so that nothing is laxer for it."""
        try:
            made = from_rfc3339(str(pod["metadata"].get("creationTimestamp")))
        except ValueError:
            return 0.0
        return (self._clock.now() - made).total_seconds()
