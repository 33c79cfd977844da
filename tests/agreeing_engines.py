"""The embedded engine, interpreted and compiled, and Open Policy Agent on the same hostile Facts, byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse.core.decision import Point
from customhouse.core.errors import PolicyError
from customhouse.core.facts import Facts
from customhouse.policy.adapters.opa import OpaEngine
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.bundle import QUERY, Bundle
from customhouse.policy.gate import Gate
from customhouse.policy.waiver import Waiver
from hostile_cases import bundle_of, hostile
from policy_cases import NOW

REFUSED = "refused"
"""What an engine says that could not decide: the gate stays shut."""
_INTERPRETED, _COMPILED = RegorusEngine(), RegorusEngine(compile_packaged=True)


def compare(exact: OpaEngine, seeds: Sequence[int], *, own: bool, typed: bool) -> tuple[Counter[str], list[str]]:
    """How the cases fell, and what differs: `own` with rules of a project's own, `typed` with values of Facts' types.

    Facts of other types are never made: there the embedded engine may refuse what OPA decides, and nothing else.
    """
    bundle, told, problems = bundle_of(own), Counter[str](), list[str]()
    cases = [hostile(seed, typed=typed) for seed in seeds]
    embedded = [_asked(_INTERPRETED, bundle, facts) for facts, _ in cases]
    open_cases = [index for index, answer in enumerate(embedded) if answer is not REFUSED or typed]
    answers = _all(exact, bundle, [cases[index][0].document for index in open_cases])
    told["refused"] += len(cases) - len(open_cases)
    for index, answer in zip(open_cases, answers, strict=True):
        facts, waivers = cases[index]
        said = {"embedded": _decided(bundle, facts, waivers, embedded[index])}
        if typed and not own:
            said["compiled"] = _decided(bundle, facts, waivers, _asked(_COMPILED, bundle, facts))
        said["opa"] = _decided(bundle, facts, waivers, answer)
        verdict = said["opa"][0]
        told[verdict] += 1
        if len(set(said.values())) != 1:
            kind = "finding" if len({item[0] for item in said.values()}) == 1 else "verdict"
            told[f"other {kind}"] += 1
            problems.append(f"seed {seeds[index]} own={own} typed={typed}: {_difference(said)}")
    return told, problems


def _asked(engine: RegorusEngine, bundle: Bundle, facts: Facts) -> Any:
    try:
        return engine.evaluate(bundle.modules, bundle.data, facts.document, QUERY)
    except PolicyError:
        return REFUSED


def _all(exact: OpaEngine, bundle: Bundle, documents: Sequence[Mapping[str, Any]]) -> list[Any]:
    """One process for all; where one of them ends it, halves are asked."""
    if not documents:
        return []
    try:
        return exact.evaluate_all(bundle.modules, bundle.data, documents, QUERY)
    except PolicyError:
        if len(documents) == 1:
            return [REFUSED]
        middle = len(documents) // 2
        return [*_all(exact, bundle, documents[:middle]), *_all(exact, bundle, documents[middle:])]


def _decided(bundle: Bundle, facts: Facts, waivers: tuple[Waiver, ...], answer: Any) -> tuple[str, bytes]:
    """The verdict and the body; what is no finding is refused, whoever says it."""
    if answer is REFUSED:
        return REFUSED, b""
    try:
        gate = Gate(_INTERPRETED, bundle, waivers)
        decision = gate.rejudge(facts, point=Point.AUDIT, decided_at=NOW, answer=answer)
    except PolicyError as error:
        return REFUSED, error.message.encode()
    return decision.verdict.value, canonical_json(decision.body())


def _difference(said: Mapping[str, tuple[str, bytes]]) -> str:
    verdicts = ", ".join(f"{name} {verdict}" for name, (verdict, _) in said.items())
    one, other = said["embedded"][1].decode(), said["opa"][1].decode()
    at = next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return f"{verdicts}; …{one[max(at - 60, 0) : at + 60]}… is …{other[max(at - 60, 0) : at + 60]}…"
