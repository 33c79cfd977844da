"""The gate: Facts and a Bundle in, a Decision out. Any trouble on the way is an exception, and the gate stays shut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.digest import json_digest
from customhouse._kit.money import MICRO_IN_PICO, Money
from customhouse.core.change import Change, SignatureState
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, verdict_of
from customhouse.core.errors import CannotDecideError, PolicyError
from customhouse.core.facts import SCHEMA, Facts
from customhouse.core.ports import PolicyEngine
from customhouse.core.resource import Location, ResourceRef
from customhouse.policy import waiver as waiving
from customhouse.policy.bundle import QUERY, Bundle
from customhouse.policy.waiver import Waiver

MAX_FINDINGS = 1000
MAX_TEXT = 16 * 1024
_SEVERITIES = {
    "error": (0, Severity.ERROR),
    "warning": (1, Severity.WARNING),
    "note": (2, Severity.NOTE),
}
_CATEGORIES = {item.value: item for item in Category}
_REQUIRED = frozenset({"rule", "category", "severity", "message", "fix", "pointer"})
_ALLOWED = _REQUIRED | {"cost_delta_micro", "advisories"}
_MOST_ADVISORIES = 32
_Order = tuple[int, str, str, str, str, str, int]
_Known = TypeVar("_Known")


class Gate:
    """Judges changes with one engine, one bundle and the waivers in force."""

    def __init__(self, engine: PolicyEngine, bundle: Bundle, waivers: Sequence[Waiver] = ()) -> None:
        self._engine = engine
        self._bundle = bundle
        self._waivers = tuple(waivers)
        self._waived = frozenset(rule for item in self._waivers for rule in item.rules)
        # DESIGN section 1: a bundle is policies, data and waivers; a Decision has to name all that it rests on.
        self.bundle_digest = (
            json_digest({"bundle": bundle.digest, "waivers": [item.to_json() for item in self._waivers]})
            if self._waivers
            else bundle.digest
        )

    @property
    def bundle(self) -> Bundle:
        """The bundle that is judged with."""
        return self._bundle

    @property
    def beside(self) -> bool:
        """Whether the engine works in a process of its own and threads may share it."""
        return bool(getattr(self._engine, "beside", False))

    def judge(
        self, change: Change, facts: Facts, *, point: Point, decided_at: datetime, answer: Any = None
    ) -> Decision:
        """The Decision on one Change. Its body depends on the Facts, the Bundle and the waivers alone.

        `answer`: what the engine has said of these Facts already. Raises PolicyError when the engine fails or answers
        with something that is no finding, CannotDecideError when the Facts are those of another Change or a required
        signature could not be checked.
        """
        # 1. The facts have to be about this change.
        _check_facts(change, facts)
        # 2. What could not be checked is not judged.
        _check_signature(change, facts)
        # 3. and 4. The rules, and the waivers.
        findings = self._judged(facts, change.ref, self.answer(facts) if answer is None else answer)
        # 5. The verdict; places are outside the body.
        return Decision(
            resource=change.ref,
            verdict=verdict_of(findings),
            findings=findings,
            facts_digest=facts.digest,
            bundle_digest=self.bundle_digest,
            point=point,
            decided_at=decided_at,
            locations=_locations(change, findings),
            revision=None if change.revision is None else change.revision.id,
        )

    def rejudge(self, facts: Facts, *, point: Point, decided_at: datetime, answer: Any = None) -> Decision:
        """The Decision on recorded Facts, without the Change that they were about: no place in a file, no revision.

        The body is that of `judge` on the same Facts. `answer`: what the engine has said of them already. Raises
        PolicyError, and CannotDecideError for Facts of another schema.
        """
        if facts.document.get("schema") != SCHEMA:
            raise CannotDecideError(f"the facts have the schema {facts.document.get('schema')!r}, not {SCHEMA}")
        about = facts.document["change"]["resource"]
        ref = ResourceRef(about["apiVersion"], about["kind"], about["namespace"], about["name"])
        findings = self._judged(facts, ref, self.answer(facts) if answer is None else answer)
        return Decision(
            resource=ref,
            verdict=verdict_of(findings),
            findings=findings,
            facts_digest=facts.digest,
            bundle_digest=self.bundle_digest,
            point=point,
            decided_at=decided_at,
        )

    def answers(self, facts: Sequence[Facts]) -> list[Any]:
        """What the engine says of each, asked at once where it can. Raises PolicyError, the first in their order."""
        together = getattr(self._engine, "evaluate_all", None)
        if together is not None:
            with suppress(PolicyError):  # which one it was is found by asking one by one
                documents = [item.canonical for item in facts]
                found: list[Any] = together(self._bundle.modules, self._bundle.data, documents, QUERY)
                return found
        return [self.answer(item) for item in facts]

    def answer(self, facts: Facts) -> Any:
        """What the engine says of Facts, as it says it. Raises PolicyError."""
        return self._engine.evaluate(self._bundle.modules, self._bundle.data, facts.canonical, QUERY)

    def _judged(self, facts: Facts, ref: ResourceRef, answer: Any) -> tuple[Finding, ...]:
        """What the rules found, in order, with the waivers as of the facts' own time."""
        currency = facts.document["cost"]["currency"]
        # Findings of one key are the same: the key holds all but the resource, which is the same for all.
        found = dict([_finding(item, ref, currency) for item in _items(answer)])
        ordered = [found[key] for key in sorted(found)]
        # What no waiver names any rule of is not held against each of them.
        if self._waived.isdisjoint([finding.rule for finding in ordered]):
            return tuple(ordered)
        return waiving.apply(ordered, self._waivers, from_rfc3339(facts.document["as_of"]))


def _check_facts(change: Change, facts: Facts) -> None:
    document = facts.document
    about = document.get("change", {}) if document.get("schema") == SCHEMA else {}
    if about.get("resource") != change.ref.to_json() or about.get("operation") != change.operation.value:
        raise CannotDecideError(f"the facts are not those of the change of {change.ref}")


def _check_signature(change: Change, facts: Facts) -> None:
    if change.revision is None or not facts.document["settings"]["require_signed_commits"]:
        return
    if change.revision.signature is SignatureState.UNKNOWN:
        raise CannotDecideError(
            f"the signature of commit {change.revision.id[:12]} could not be checked",
            hint="install gpg or ssh-keygen, or set policy.require_signed_commits to false by review",
        )


def _items(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise PolicyError(f"{QUERY} is a {type(answer).__name__}, not a set of findings")
    if len(answer) > MAX_FINDINGS:
        raise PolicyError(f"{len(answer)} findings on one change; the limit is {MAX_FINDINGS}")
    return answer


def _finding(item: Any, ref: ResourceRef, currency: str) -> tuple[_Order, Finding]:
    """The finding, and what it is ordered by. Raises PolicyError for what is none."""
    # To ask an abstract class takes far longer, and what engines answer is a dict.
    if (type(item) is not dict and not isinstance(item, Mapping)) or not _REQUIRED <= item.keys() <= _ALLOWED:
        raise PolicyError(
            f"a rule answered {str(item)[:200]}, which is no finding",
            hint=f"a finding has {', '.join(sorted(_REQUIRED))} and may have cost_delta_micro and advisories",
        )
    rule, message, fix, pointer = item["rule"], item["message"], item["fix"], item["pointer"]
    if not (
        (type(rule) is type(message) is type(fix) is type(pointer) is str)
        and rule
        and len(rule) <= MAX_TEXT >= len(message)
        and len(fix) <= MAX_TEXT >= len(pointer)
    ):
        raise PolicyError(f"a finding of rule {str(rule)[:100]!r} has a field that is no text, or too long")
    delta = item.get("cost_delta_micro")
    if delta is not None and (isinstance(delta, bool) or not isinstance(delta, int)):
        raise PolicyError(f"rule {rule}: cost_delta_micro is {delta!r}, not a whole number")
    advisories = item.get("advisories", ())
    if advisories and (
        type(advisories) is not list
        or len(advisories) > _MOST_ADVISORIES
        or not all(type(name) is str and len(name) <= MAX_TEXT for name in advisories)
    ):
        raise PolicyError(f"rule {rule}: advisories is no list of names, or too long a one")
    category = _known(_CATEGORIES, item["category"], "Category", rule)
    rank, severity = _known(_SEVERITIES, item["severity"], "Severity", rule)
    cost = None if delta is None else Money(delta * MICRO_IN_PICO, currency)
    key = (rank, item["category"], rule, pointer, message, fix, 0 if cost is None else cost.pico)
    return key, Finding(rule, category, severity, ref, message, fix, pointer, cost, advisories=tuple(advisories))


def _known(words: Mapping[str, _Known], word: Any, what: str, rule: str) -> _Known:
    found = words.get(word) if type(word) is str else None
    if found is None:
        raise PolicyError(f"rule {rule}: {word!r} is not a valid {what}")
    return found


def _locations(change: Change, findings: Sequence[Finding]) -> tuple[Location | None, ...]:
    declaration = change.after or change.before
    if declaration is None:
        return (None,) * len(findings)
    pointers = [finding.pointer for finding in findings]
    places = {pointer: declaration.locate(pointer) for pointer in set(pointers)}  # several findings share one
    return tuple([places[pointer] for pointer in pointers])
