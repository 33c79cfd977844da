"""`customhouse explain`: rules and errors from their own documentation, decisions from the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.app import records
from customhouse.app.memory import ref_of
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.policy.bundle import RuleDoc, builtin_bundle
from customhouse.policy.explain import explain, finding_lines, plain, verdict_text

_PREFIX = re.compile(r"(sha256:)?[0-9a-f]{6,64}")


def explanation(settings: Settings, identifier: str) -> dict[str, Any]:
    """What there is to say, with `shown` as text for people. Raises UsageError, naming the nearest ids."""
    if _PREFIX.fullmatch(identifier):
        stored = records.decision_of(settings, identifier)
        if stored is not None:
            return {**stored, "text": stored_text(stored), "shown": "\n".join(_told(stored))}
    if identifier.startswith("sha256:"):
        raise UsageError(
            f"no decision that begins with {identifier} is recorded in {settings.state}",
            hint="name the state that it was recorded in: `gate --state DIR` and `up` record; six digits are enough",
        )
    found = explain(identifier, builtin_bundle())
    return {**found.to_json(), "shown": str(found)}


def stored_text(stored: Mapping[str, Any]) -> str:
    """What a stored Decision says: to the byte what was said when it was made (`policy.explain.verdict_text`)."""
    return verdict_text(str(ref_of(stored["envelope"]["resource"])), stored["body"], stored["digest"])


def _told(stored: Mapping[str, Any]) -> Iterator[str]:
    """First what was said, then each finding with its rule, what the rule saw and the evidence, then all the Facts."""
    body, envelope, facts = stored["body"], stored["envelope"], stored["facts"]
    unnamed = "files that no commit names" if envelope["point"] == "gate" else "an object that no commit declares"
    about = f"about commit {envelope['revision']}" if envelope["revision"] else f"about {unnamed}"
    yield stored_text(stored)
    yield ""
    yield f"decided at {envelope['point']} on {envelope['decided_at']} {about}"
    yield f"facts {body['facts_digest']}"
    yield f"bundle {body['bundle_digest']}"
    if timings := envelope.get("timings"):
        yield "checks took " + ", ".join(f"{name} {taken:g} ms" for name, taken in timings.items())
    known = {rule.id: rule for rule in builtin_bundle().rules}
    for item, place in zip(body["findings"], envelope["locations"], strict=True):
        yield ""
        yield from finding_lines(item)
        yield from (f"  {line}" for line in _about(item, place, known.get(item["rule"]), facts))
    yield ""
    yield "Evidence:"
    yield from (f"  {line}" for line in _evidence(facts))
    yield ""
    yield "What the rules saw:"
    yield json.dumps(facts, indent=2, ensure_ascii=False)


def _about(item: Mapping[str, Any], place: str | None, rule: RuleDoc | None, facts: Mapping[str, Any]) -> Iterator[str]:
    if item["waiver"]:
        yield f"waived by {plain(item['waiver'])}"
    if rule is not None:
        yield f"rule: {plain(rule.title)}. {plain(rule.description)}"
    pointer = f", at {plain(item['pointer'])}" if item["pointer"] else ""
    yield f"where: {plain(place or 'no file')}{pointer}"
    seen = _seen(facts, item["pointer"])
    if seen is not None:
        yield f"input: {plain(json.dumps(seen, ensure_ascii=False, sort_keys=True))}"


def _seen(facts: Mapping[str, Any], pointer: str) -> Any:
    """The part of the Facts that says where it comes from with this pointer, or with the nearest one above it."""
    places: dict[str, Any] = {}
    waiting: list[Any] = [facts]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            if isinstance(value.get("pointer"), str):
                places.setdefault(value["pointer"], value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    while pointer:
        if pointer in places:
            return places[pointer]
        pointer = pointer.rpartition("/")[0]
    return None


def _evidence(facts: Mapping[str, Any]) -> Iterator[str]:
    artifacts = facts.get("artifacts") or []
    for artifact in artifacts:
        yield f"{artifact['role']} {plain(str(artifact['reference']))} {artifact['digest'] or 'not pinned'}"
        for said in artifact["evidence"]:
            state = f"verified, signed by {said['signer']}" if said["verified"] else f"not verified: {said['problem']}"
            yield f"  {said['kind']}: {plain(state)}"
        if not artifact["evidence"] and artifact["role"] == "model":
            yield "  none"
    if not artifacts:
        yield "none was asked for"
