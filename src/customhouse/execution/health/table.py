"""How a row of the table of kinds is read: steps in order, the first whose tests hold gives the status.

A step is `TEST & TEST : STATUS`. Tests are

    [Ready]=True              the condition Ready has this status (one of several: `=False,Unknown`)
    [Ready]=False/Fail*,Err*  and its reason is one of these
    [Ready]                   the condition is there
    .phase=Running,Pend*      the field status.phase is one of these, in any case of letters; `.ready=true` for flags
    .error                    the field is there and not empty, 0 or false
    spec.suspend=true         likewise from the root of the object
    .ready<spec.replicas      the first number is lower (a field that is not there counts 0)
    .shown=all                the field says "3/3"
    @name=true, #name=true    the annotation, the label has this value
    behind                    status.observedGeneration is older than metadata.generation
    anything                  always
    stale, severe, ...        a test of `special`

and `!` before a test denies it. STATUS is a letter (H, P, D, S, U, M) or a rule of `special` (`generic` is the one for
kinds never seen, and what counts when no step holds). After it a field may be named whose text is the message
(`D ~ .message`); else it is the message of the condition.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from customhouse.core.plan import Health, HealthStatus
from customhouse.execution.health.generic import generic
from customhouse.execution.health.seen import (
    DEGRADED,
    HEALTHY,
    MISSING,
    NOT_SEEN,
    PROGRESSING,
    SUSPENDED,
    UNKNOWN,
    Seen,
    at,
    behind,
    conditions,
    mapping,
    number,
    said,
    state,
    word,
)
from customhouse.execution.health.special import RULES, TESTS, Test

_STATUSES = {"H": HEALTHY, "P": PROGRESSING, "D": DEGRADED, "S": SUSPENDED, "U": UNKNOWN, "M": MISSING}
_CONDITION = re.compile(r"\[([^\]]+)\](?:=([^/]*))?(?:/(.+))?")
_DEFAULTS = {
    PROGRESSING: "it is not ready yet",
    HEALTHY: "it is ready",
    DEGRADED: "it failed",
    SUSPENDED: "it is paused",
}


def compiled(steps: tuple[str, ...]) -> Callable[[Seen], Health]:
    """The rule that steps make. Raises ValueError for one that cannot be read."""
    found = []
    for step in steps:
        tests, colon, outcome = step.rpartition(" : ")
        name, _, message = (part.strip() for part in outcome.partition("~"))
        status = _STATUSES.get(name) or RULES.get(name)
        if not colon or status is None:
            raise ValueError(f"no step of a health rule: {step!r}")
        found.append((tuple(_test(test.strip()) for test in tests.split(" & ")), status, message))
    return partial(_judge, tuple(found))


_Step = tuple[tuple[Test, ...], HealthStatus | Callable[[Seen], Health], str]


def _judge(steps: tuple[_Step, ...], seen: Seen) -> Health:
    for tests, status, message in steps:
        why = ""
        for test in tests:
            because = test(seen)
            if because is None:
                break
            why = why or because
        else:
            if not isinstance(status, HealthStatus):
                return status(seen)
            told = _field(seen, message) if message else None
            return Health(status, told if isinstance(told, str) and told else why or _DEFAULTS.get(status, ""))
    return generic(seen)


def _test(written: str) -> Test:
    if written.startswith("!"):
        return partial(_denied, _test(written[1:]))
    if written == "anything":
        return lambda _: ""
    if written in TESTS:
        return TESTS[written]
    if written == "behind":
        return lambda seen: NOT_SEEN if behind(seen.metadata, seen.status) else None
    if match := _CONDITION.fullmatch(written):
        kind, states, reasons = match.groups()
        return partial(_condition, kind, tuple((states or "*").split(",")), tuple((reasons or "").split(",")))
    if "<" in written:
        low, _, high = written.partition("<")
        return partial(_lower, low, high)
    path, equals, values = written.partition("=")
    if not re.fullmatch(r"[.@#]?[A-Za-z][\w./-]*", path):
        raise ValueError(f"no test of a health rule: {written!r}")
    return partial(_value, path, tuple(values.lower().split(","))) if equals else partial(_there, path)


def _denied(test: Test, seen: Seen) -> str | None:
    return "" if test(seen) is None else None


def _condition(kind: str, states: tuple[str, ...], reasons: tuple[str, ...], seen: Seen) -> str | None:
    condition = conditions(seen.status).get(kind)
    if condition is None or not _any(state(condition), states):
        return None
    if reasons != ("",) and not _any(word(condition.get("reason")), reasons):
        return None
    return said(condition) or f"{kind} is {state(condition).lower()}"


def _field(seen: Seen, path: str) -> Any:
    if path[0] in "@#":
        return mapping(seen.metadata, "annotations" if path[0] == "@" else "labels").get(path[1:])
    return at(seen.status, path[1:]) if path.startswith(".") else at(seen.manifest, path)


def _value(path: str, values: tuple[str, ...], seen: Seen) -> str | None:
    found = _field(seen, path)
    shown = word(found)
    if not shown:
        return None
    if values == ("all",):
        ready, _, wanted = shown.partition("/")
        return f"{path.lstrip('.')} is {shown}" if ready == wanted else None
    return f"{path.lstrip('.')} is {shown}" if _any(shown.lower(), values) else None


def _there(path: str, seen: Seen) -> str | None:
    found = _field(seen, path)
    if not found:
        return None
    return found[:4096] if isinstance(found, str) else f"{path.lstrip('.')} is set"


def _lower(low: str, high: str, seen: Seen) -> str | None:
    first, second = (int(path) if path.isdigit() else number({"": _field(seen, path)}, "") for path in (low, high))
    return f"{low.lstrip('.')} is {first} of {second}" if first < second else None


def _any(value: str, patterns: tuple[str, ...]) -> bool:
    return any(value == pattern or ("*" in pattern and fnmatchcase(value, pattern)) for pattern in patterns)
