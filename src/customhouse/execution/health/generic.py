"""Health of objects of kinds that no rule knows, from the conventions that controllers share.

Sources: Kubernetes' API conventions (conditions, observedGeneration), kstatus (Stalled, Reconciling, Ready), Cluster
API (severity of a condition), Crossplane (Ready and Synced), Knative (Ready sums up the others), Gateway API
(conditions for each parent). What the object says of itself is read in this order:

1. The controller has not seen this generation: Progressing.
2. It is paused, by what its conditions say, by its spec or by an annotation: Suspended.
3. Its conditions. A condition of failure that is True, and a good one that is False for a reason of failure: Degraded.
   The condition that sums up (Ready, else the others of `_SUMMARIES`) then decides.
4. Its phase or state, a word.
5. Its replica counts, and flags like `ready: true`.
6. An error that it tells in a field of its own.
7. Conditions, phases and states inside it: of parents, listeners, members. The worst one counts.

A status that says none of it is Healthy (kstatus has it so), one with a phase that is no known word is Unknown, and
where there is no status yet the object is Progressing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.plan import Health, HealthStatus
from customhouse.execution.health.counts import replicas
from customhouse.execution.health.seen import (
    DEGRADED,
    HEALTHY,
    MISSING,
    NOT_SEEN,
    PROGRESSING,
    SUSPENDED,
    UNKNOWN,
    Seen,
    behind,
    conditions,
    mapping,
    said,
    state,
    text,
    word,
)
from customhouse.execution.health.words import DECLARES, ENDS, PAUSED, STRONG, Tone, tone, words

_SUMMARIES = (("ready",), ("succeeded",), ("available",), ("healthy",), ("completed",), ("complete",))
"""Types of condition that speak for the whole object, best first; a prefix (`example.io/`) does not count."""
_PHASES = ("phase", "state", "status", "health", "currentStatus", "currentPhase", "currentState", "healthStatus")
_PHASES_MORE = (
    "compliant",
    "printableStatus",
    "syncStatus",
    "deploymentStatus",
    "provisioningState",
    "lifecycleState",
    "stage",
)
_FLAGS = (
    "ready",
    "isReady",
    "readyToUse",
    "healthy",
    "available",
    "synced",
    "applied",
    "bound",
    "deployed",
    "installed",
)
_ERRORS = ("failureMessage", "failureReason", "errorMessage", "errorDescription", "lastError", "error", "errors")
_TONES = {Tone.FAILED: DEGRADED, Tone.PAUSED: SUSPENDED, Tone.BUSY: PROGRESSING, Tone.GOOD: HEALTHY}
_WORST = (DEGRADED, SUSPENDED, MISSING, PROGRESSING, UNKNOWN)
_DEPTH, _INSIDE = 4, 500
"""Levels and mappings of a status that are searched for conditions."""


def generic(seen: Seen) -> Health:
    """The health of an object of any kind."""
    status = seen.status
    if behind(seen.metadata, status):
        return Health(PROGRESSING, NOT_SEEN)
    found = conditions(status)
    reading = _Conditions(seen, found)
    paused = reading.paused() or _paused(seen)
    if paused:
        return Health(SUSPENDED, paused)
    judged = reading.judged()
    if judged is not None and judged.status is HEALTHY and _still_outside(seen, found):
        return Health(PROGRESSING, "it was handed over, and Ready is not told yet")
    if judged is not None and judged.status is PROGRESSING:
        return _told(status) or judged
    phase = _phase(seen)
    if judged is not None and judged.status is HEALTHY:
        if phase is not None and phase.status is not HEALTHY:
            return phase
        counted = None if reading.is_ready else _counted(seen)
        return counted if counted is not None and counted.status is PROGRESSING else judged
    return judged or phase or _counted(seen) or _told(status) or _inside(seen) or _silent(seen)


def _still_outside(seen: Seen, found: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether it stands for something outside (`spec.forProvider`, Crossplane's model): Synced comes before Ready."""
    return "Ready" not in found and "Synced" in found and isinstance(seen.spec.get("forProvider"), Mapping)


def _silent(seen: Seen) -> Health:
    """Of an object that says nothing of itself that is understood."""
    if _ends(seen.kind) and seen.status.get("startTime"):
        ended = next((key for key in _ENDED if seen.status.get(key)), None)
        return Health(PROGRESSING, "it has started") if ended is None else Health(HEALTHY, f"{ended} is told")
    for key in ("phase", "state", "status", "health"):
        if isinstance(told := seen.status.get(key), (str, int)):
            return Health(UNKNOWN, f"{key} is {word(told)!r}, which is no word that is known")
    if any(seen.status.values()) and seen.status.get("conditions") != []:
        return Health(HEALTHY, "its status tells of no condition, phase or error")
    if seen.status:
        return Health(PROGRESSING, "its status is empty")
    names = words(seen.kind)
    if names and (names[-1] in DECLARES or names[0] == "cron"):
        return Health(HEALTHY, "it has no status")
    return Health(PROGRESSING, "it has no status yet")


class _Conditions:
    """One list of conditions, read as one statement."""

    def __init__(self, seen: Seen, found: Mapping[str, Mapping[str, Any]]) -> None:
        self._found = found
        self._generation = seen.metadata.get("generation")
        self._ends = _ends(seen.kind)
        by_words = {words(kind.rpartition("/")[2].rpartition(".")[2]): kind for kind in found}
        self.is_ready = ("ready",) in by_words
        self.summary = next((by_words[names] for names in _SUMMARIES if names in by_words), None)

    def paused(self) -> str:
        """Why the object is paused; empty when its conditions do not say so."""
        for kind, condition in self._found.items():
            names = words(kind)
            if state(condition) == "True" and names and names[-1] in PAUSED:
                return said(condition) or f"{kind} is true"
            if state(condition) in ("False", "Unknown") and tone(text(condition, "reason")) is Tone.PAUSED:
                return said(condition)
        return ""

    def judged(self) -> Health | None:
        """Their verdict; None when there are none."""
        verdicts: dict[HealthStatus, str] = {}
        good: list[str] = []
        for kind, condition in self._found.items():
            status = self._one(kind, condition)
            if status is not None:
                verdicts.setdefault(status, kind)
            if status is HEALTHY:
                good.append(kind)
        if self.summary is not None:
            decisive = self._one(self.summary, self._found[self.summary])
            if DEGRADED in verdicts:
                return self._health(DEGRADED, self.summary if decisive is DEGRADED else verdicts[DEGRADED])
            if decisive is not None and decisive is not HEALTHY:
                return self._health(decisive, self.summary)
            if PROGRESSING not in verdicts:
                return self._health(HEALTHY, self.summary)
        for status in (DEGRADED, PROGRESSING, UNKNOWN, HEALTHY):
            if status in verdicts:
                on_the_way = status is HEALTHY and all(words(kind)[-1:] and words(kind)[-1] in _STEPS for kind in good)
                return self._health(PROGRESSING if on_the_way else status, verdicts[status])
        return None

    def _one(self, kind: str, condition: Mapping[str, Any]) -> HealthStatus | None:
        """What one condition says; None when nothing, or when what sums up knows better what it means."""
        value, meaning = state(condition), _type_tone(kind)
        if condition.get("severity") == "Info":
            return None
        reason = tone(text(condition, "reason"))
        whole = kind == self.summary or self.summary is None
        if self._old(condition):
            return PROGRESSING if whole and meaning is not Tone.PAUSED else None
        if meaning is Tone.FAILED:
            if value == "True" and condition.get("severity") != "Warning":
                return DEGRADED
            return HEALTHY if value == "False" and self.summary is None else None
        if meaning is Tone.BUSY:
            # "Progressing: True, NewReplicaSetAvailable" is how Deployments say that they are done.
            if reason is Tone.FAILED:
                return DEGRADED
            done = _DONE.intersection(words(text(condition, "reason"))[-1:])
            return PROGRESSING if value == "Unknown" or (value == "True" and not done) else None
        if meaning is Tone.PAUSED:
            return None
        if value == "True":
            goes_on = self._ends and self.summary is None and words(kind) in (("running",), ("created",))
            if goes_on:
                return PROGRESSING
            if meaning is not Tone.GOOD and self.summary is not None:
                return None
            return HEALTHY
        return self._not_true(kind, condition, reason, meaning)

    def _not_true(
        self, kind: str, condition: Mapping[str, Any], reason: Tone | None, meaning: Tone | None
    ) -> HealthStatus | None:
        value = state(condition)
        if condition.get("severity") == "Error":
            reason = Tone.FAILED
        elif condition.get("severity") == "Warning":
            reason = Tone.BUSY
        whole = kind == self.summary or self.summary is None
        if value == "False" and reason is not Tone.FAILED and whole:
            reason = _message_tone(text(condition, "message")) or reason
        if value == "False" and reason is Tone.FAILED:
            return DEGRADED
        if not whole or (meaning is None and reason is not Tone.BUSY):
            return None
        if value != "False":
            strong = not STRONG.isdisjoint(words(text(condition, "reason")))
            return (DEGRADED if meaning is Tone.GOOD else UNKNOWN) if strong else PROGRESSING
        at_once = not _AT_ONCE.isdisjoint(words(kind))
        # A controller that waits says so; a reason of no known word is most often that of a failure.
        # So is one that only says again that it is not ready.
        why = words(text(condition, "reason"))
        named = bool(why) and meaning is Tone.GOOD and (reason is None or why == ("not", "ready"))
        return DEGRADED if named or (at_once and reason is not Tone.BUSY) else PROGRESSING

    def _old(self, condition: Mapping[str, Any]) -> bool:
        observed = condition.get("observedGeneration")
        return isinstance(observed, int) and isinstance(self._generation, int) and observed < self._generation

    def _health(self, status: HealthStatus, kind: str) -> Health:
        condition = self._found[kind]
        if status is PROGRESSING and self._old(condition):
            return Health(status, NOT_SEEN)
        return Health(status, said(condition) or f"{kind} is {state(condition).lower()}")


_DONE = frozenset(
    ("available", "complete", "completed", "done", "finished", "ready", "running", "stable", "succeeded", "success")
)
_STEPS = frozenset(
    ("approved", "bootstrapped", "created", "initialized", "launched", "registered", "scheduled", "started")
)
"""Last words of conditions that come true on the way to something."""
_AT_ONCE = frozenset(("synced", "valid", "accepted", "reconciled", "applied", "resolved", "synchronized", "admitted"))
"""Good words that come true in one step: what is not is no matter of waiting, unless the reason says so."""


def _type_tone(kind: str) -> Tone | None:
    """What it means that a condition of this type is True; a denied good word ("NotReady") is failure here."""
    names = words(kind)
    if len(names) > 1 and names[0] in ("not", "non"):
        return Tone.FAILED
    if names == ("unavailable",):
        return Tone.FAILED
    if names[-1:] in (("warning",), ("warnings",)):
        return None
    return tone(kind)


_FAILING = (
    "fail", "error", "cannot", "could not", "can't", "unable", "invalid", "not found", "denied", "forbidden",
    "unauthorized", "exceeded", "unsupported", "not exist", "refused", "missing", "rejected", "conflict", "timed out",
)  # fmt: skip


def _message_tone(message: str) -> Tone | None:
    lowered = message[:2000].lower()
    return Tone.FAILED if any(part in lowered for part in _FAILING) else None


_SPEC_PAUSES = ("suspend", "suspended", "paused", "pause", "hibernate", "stopped")


def _paused(seen: Seen) -> str:
    for key in _SPEC_PAUSES:
        if seen.spec.get(key) is True:
            return f"spec.{key} is true"
    for key in ("paused", "suspended", "hibernated"):
        if seen.status.get(key) is True:
            return f"{key} is true"
    rolling = mapping(mapping(seen.spec, "updateStrategy"), "rollingUpdate")
    if rolling.get("paused") is True:
        return "spec.updateStrategy.rollingUpdate.paused is true"
    for key, value in mapping(seen.metadata, "annotations").items():
        name = key.rpartition("/")[2] if isinstance(key, str) else ""
        if name in ("paused", "pause", "stop", "suspend", "suspended", "hibernate") and value in ("true", "True"):
            return f"the annotation {key} is {value}"
        if name == "hibernation" and value in ("on", "true"):
            return f"the annotation {key} is {value}"
        if name in ("reconcile", "reconciliation", "reconciliationLoop") and value in ("disabled", "off", "false"):
            return f"the annotation {key} is {value}"
    return ""


def _ends(kind: str) -> bool:
    return words(kind)[-1:] != () and words(kind)[-1] in ENDS


def _phase(seen: Seen) -> Health | None:
    status = seen.status
    for keys in (_PHASES, _PHASES_MORE, [key for key in status if isinstance(key, str) and key.endswith(_ENDINGS)]):
        found = [
            verdict
            for key in keys
            if (value := _worded(status.get(key))) and (verdict := _word(seen, key, value)) is not None
        ]
        if found:
            worst = next((item for worst in _WORST for item in found if item.status is worst), found[0])
            return _beside(status) or worst if worst.status is HEALTHY else worst
    return None


_ENDED = ("completionTime", "completionTimestamp", "completedAt", "finishedAt", "endTime")
_VERDICTS = ("pass", "passed", "success", "succeeded", "valid")


def _beside(status: Mapping[str, Any]) -> Health | None:
    """What a good phase does not tell: that the outcome was bad, or the health of the thing that runs."""
    for key in _VERDICTS:
        if status.get(key) is False:
            return Health(DEGRADED, f"{key} is false")
    for key, part in status.items():
        if isinstance(part, Mapping) and tone(text(part, "health")) is Tone.FAILED:
            return Health(DEGRADED, f"{key}.health is {text(part, 'health')[:200]}")
    return None


def _worded(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("state") or value.get("status") or value.get("phase")
    return value if isinstance(value, str) else ""


_ENDINGS = ("Status", "State", "Phase", "Health")


def _word(seen: Seen, key: str, value: str) -> Health | None:
    """What a phase says, with the message beside it; None when it is not understood."""
    names = words(value)
    if names == ("unknown",):
        return Health(UNKNOWN, f"{key} is {value}")
    if names in (("not", "found"), ("missing",)):
        return Health(MISSING, f"{key} is {value}")
    meaning = tone(value)
    if meaning is None:
        return None
    if meaning is Tone.GOOD and _ends(seen.kind) and names[-1] in ("running", "active", "created", "started"):
        meaning = Tone.BUSY
    if meaning is Tone.GOOD and (short := _counted(seen)) is not None and short.status is PROGRESSING:
        return short
    told = next((text(seen.status, name) for name in _BESIDE if text(seen.status, name)), "")
    return Health(_TONES[meaning], told or f"{key} is {value[:200]}")


_BESIDE = ("message", "reason", "description")


def _counted(seen: Seen) -> Health | None:
    status = seen.status
    counted = replicas(seen.spec, status)
    if counted is not None:
        return counted
    flags = [key for key in _FLAGS if isinstance(status.get(key), bool)]
    if not flags:
        return None
    bad = next((key for key in flags if status[key] is False), None)
    if bad is None:
        return Health(HEALTHY, f"{flags[0]} is true")
    return _told(status) or Health(PROGRESSING, f"{bad} is false")


def _told(status: Mapping[str, Any]) -> Health | None:
    for key in _ERRORS:
        value = status.get(key)
        if isinstance(value, Mapping):
            value = value.get("message")
        if isinstance(value, list) and value:
            value = text(value[0], "message") or word(value[0])
        if isinstance(value, str) and value.strip():
            return Health(DEGRADED, value[:4096])
    return None


def _inside(seen: Seen) -> Health | None:
    verdicts: list[Health] = []
    old: list[Health] = []
    for part in _parts(seen.status):
        inner = Seen(seen.group, seen.kind, seen.metadata, {}, part, part)
        found = conditions(part)
        verdict = _Conditions(seen, found).judged() if found else _phase(inner) or _counted(inner) or _told(part)
        if verdict is not None:
            # A parent that a route had before keeps what it said of an older generation.
            (old if verdict.message == NOT_SEEN else verdicts).append(verdict)
    verdicts = verdicts or old
    for status in _WORST:
        if worst := next((verdict for verdict in verdicts if verdict.status is status), None):
            return worst
    return verdicts[0] if verdicts else None


def _parts(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The mappings inside a status, from the outside in."""
    level: list[Any] = [value for value in status.values() if isinstance(value, (Mapping, list))]
    left = _INSIDE
    for _ in range(_DEPTH):
        following: list[Any] = []
        for value in level:
            if isinstance(value, list):
                following.extend(item for item in value[:_INSIDE] if isinstance(item, (Mapping, list)))
                continue
            left -= 1
            if left < 0:
                return
            yield value
            following.extend(
                item for key, item in value.items() if key != "conditions" and isinstance(item, (Mapping, list))
            )
        level = following
