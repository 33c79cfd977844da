"""Leader election: one of several controllers works, by a Lease (coordination.k8s.io/v1) in the cluster.

Steps of an attempt, numbered in the code:

1. Who leads renews by the version that it wrote last: nobody else's write is overwritten.
2. Who does not, reads. A record counts as alive for its duration after it was last *seen to change*, on the reader's
   own monotonic clock; the times in it are for people. So clocks that differ, and jump, elect nobody wrongly.
3. What is free, given back or expired is taken, by uid and version. All candidates are one field manager, for which an
   apply is no conflict: the version alone decides who was first.

A leader leads until `RENEW_S` after it *sent* its last renewal that was answered, and others wait `DURATION_S` after
they saw it: there is a gap in between. What a leader sent before and what arrives later is not fenced off; it harms
nobody, since applies are idempotent and deletions name a uid. Ask `leads` before each batch of writes.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from customhouse._kit.clock import Clock
from customhouse.core.cluster import Apply, Cluster, Refusal, Written
from customhouse.core.errors import TargetError
from customhouse.core.resource import Manifest, ResourceRef

# client-go's defaults for controllers.
DURATION_S = 15
RENEW_S = 10.0
PAUSE_S = 2.0
LONGEST_S = 600
"""The longest duration that is believed of another's record."""
API_VERSION = "coordination.k8s.io/v1"
_NOT_YET_MADE = "1"
"""The version of no Lease: an apply that names it makes one, and is a conflict where there is one already."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a Lease said, and since when it has said so (monotonic)."""

    spec: Mapping[str, Any]
    since: float


class Lease:
    """One candidate. `identity` must be of this process alone (a host name and something random)."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, identity: str, clock: Clock) -> None:
        if not identity:
            raise ValueError("a candidate needs an identity")
        self._cluster = cluster
        self._ref = ResourceRef(API_VERSION, "Lease", namespace, name)
        self._identity = identity
        self._clock = clock
        self._held: Manifest | None = None
        self._valid_until = float("-inf")
        self._seen: _Seen | None = None
        self._stamped: datetime | None = None
        self._lock = threading.Lock()
        self.problem = ""
        """Why the last attempt got no answer or no right; empty after one that did."""

    @property
    def leads(self) -> bool:
        """Whether this candidate may work now. It turns false by itself as time goes by."""
        return self._clock.monotonic() < self._valid_until

    @property
    def holder(self) -> str:
        """Who held it when it was last seen; empty for nobody."""
        return _text(self._seen.spec.get("holderIdentity")) if self._seen is not None else ""

    def attempt(self) -> bool:
        """Acquire or renew, once; whether this candidate leads. What goes wrong is `problem`, and never raised."""
        with self._lock:
            self.problem = ""
            try:
                self._attempt()
            except TargetError as error:
                self.problem = str(error)
            return self.leads

    def release(self) -> None:
        """Give it back, so that another need not wait; nothing when it is not held."""
        with self._lock:
            held, self._held = self._held, None
            led, self._valid_until = self.leads, float("-inf")
            if held is None or not led:
                return
            spec = {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
            try:
                self._write(held, spec)
            except TargetError as error:
                self.problem = str(error)  # it expires

    def _attempt(self) -> None:
        if self._held is not None:  # 1.
            done = self._take(self._held, self._held["spec"])
            if done.ok or done.refusal is not Refusal.CONFLICT:
                return
            self._held = None
        # A conflict may be with ourselves: a write that was done, though its answer was lost, and was sent again.
        if self._look() is Refusal.CONFLICT:
            self._look()

    def _look(self) -> Refusal | None:
        """Read, and take what may be taken; why it could not be."""
        (found,) = self._cluster.get([self._ref])  # 2.
        if found is None:
            return self._take(None, {}).refusal
        spec = found.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        now = self._clock.monotonic()
        if self._seen is None or self._seen.spec != spec:
            self._seen = _Seen(spec, now)
        holder = _text(spec.get("holderIdentity"))
        if not holder or holder == self._identity or now - self._seen.since > _duration(spec):
            return self._take(found, spec).refusal  # 3.
        self._valid_until = float("-inf")
        return None

    def _take(self, found: Manifest | None, spec: Mapping[str, Any]) -> Written:
        began = self._clock.monotonic()
        stamp = self._stamp()
        wanted: dict[str, Any] = {"holderIdentity": self._identity, "leaseDurationSeconds": DURATION_S}
        if spec.get("holderIdentity") == self._identity:
            kept = {key: spec[key] for key in ("acquireTime", "leaseTransitions") if key in spec}
        else:
            kept = {
                "acquireTime": stamp,
                "leaseTransitions": _count(spec.get("leaseTransitions")) + (found is not None),
            }
        done = self._write(found, {**wanted, **kept, "renewTime": stamp})
        if done.ok and done.manifest is not None:
            self._held = done.manifest
            self._seen = _Seen(done.manifest["spec"], began)
            self._valid_until = began + RENEW_S
        elif done.refusal is Refusal.CONFLICT:
            self._valid_until = float("-inf")
        else:
            self.problem = done.problem
        return done

    def _write(self, found: Manifest | None, spec: Mapping[str, Any]) -> Written:
        if found is None:
            place = {"resourceVersion": _NOT_YET_MADE}
        else:
            place = {key: str(found["metadata"][key]) for key in ("uid", "resourceVersion")}
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace, **place}
        manifest = {"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata, "spec": dict(spec)}
        (done,) = self._cluster.write([Apply(manifest, force=True)])
        return done

    def _stamp(self) -> str:
        """Now, and always later than the one before.

        A renewal that changes nothing, since the clock was set back or stands still, would be one that nobody sees.
        """
        now = self._clock.now()
        self._stamped = now if self._stamped is None else max(now, self._stamped + timedelta(microseconds=1))
        return f"{self._stamped:%Y-%m-%dT%H:%M:%S.%fZ}"


class Election:
    """Attempts and renews in a thread of its own until `close`, which gives the Lease back.

    `told` is called from that thread with whether this candidate leads, when that has changed. It may come late, when
    an attempt waits for an API that does not answer; `Lease.leads` never does.
    """

    def __init__(self, lease: Lease, told: Callable[[bool], None]) -> None:
        self._lease = lease
        self._told = told
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, and give the Lease back."""
        self._ended.set()
        self._thread.join()
        self._lease.release()

    def _run(self) -> None:
        led = False
        while not self._ended.is_set():
            leads = self._lease.attempt()
            if leads != led:
                led = leads
                self._told(leads)
            spread = random.uniform(1.0, 1.2)  # noqa: S311 - spreads load, guards nothing
            self._ended.wait(PAUSE_S * spread)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _duration(spec: Mapping[str, Any]) -> int:
    return min(max(_count(spec.get("leaseDurationSeconds")), DURATION_S), LONGEST_S)
