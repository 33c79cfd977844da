"""OPA's own conformance cases (Rego v1) on the embedded engine: how many it passes, and what becomes of the rest.

The misses are listed with their reasons in policy_opa_misses.json; `UPDATE_MISSES=1` writes the list anew. What
matters for the gate: a miss has to be an error or to be refused by the lint; another answer would be a wrong decision.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus import RegorusEngine
from customhouse.policy.lint import check_modules

MISSES = Path(__file__).with_name("policy_opa_misses.json")
MEASURED = 0.69
"""Of 1,105 cases with gordon-to-regorus 0.13.0 (765 passed)."""
KNOWN_OTHER_ANSWERS = {
    # `k, v in {…}` on a set: nothing in the text says that the right side is a set.
    "aggregates/test-membership.yaml#1",
    # The query is the whole of `data`, in which the package that this test adds is seen too.
    "topdowndynamicdispatch/test-topdowndynamicdispatch-1068.yaml#0",
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Times stay text, as the cases mean them."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in _Loader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Miss:
    reason: str
    other_answer: bool
    modules: dict[str, str]


@pytest.fixture(scope="module")
def outcome(shared_data) -> tuple[int, dict[str, Miss]]:
    engine, count, misses = RegorusEngine(lint=False), 0, {}
    for key, case in _cases(shared_data / "policies" / "opa-conformance" / "v1"):
        count += 1
        if (miss := _run(engine, case)) is not None:
            misses[key] = miss
    return count, misses


def test_the_embedded_engine_passes_as_many_cases_as_were_measured(outcome):
    count, misses = outcome
    assert count > 1000
    assert (count - len(misses)) / count >= MEASURED


def test_every_miss_is_known_with_its_reason(outcome):
    _, misses = outcome
    if os.environ.get("UPDATE_MISSES"):
        text = json.dumps({key: miss.reason for key, miss in sorted(misses.items())}, indent=1, ensure_ascii=False)
        MISSES.write_text(text + "\n", encoding="utf-8")
    known = json.loads(MISSES.read_text(encoding="utf-8"))
    assert {key: miss.reason for key, miss in misses.items() if key not in known} == {}
    assert all(known.values())


def test_no_miss_that_passes_the_lint_gives_another_answer_than_opa(outcome):
    _, misses = outcome
    other = {key for key, miss in misses.items() if miss.other_answer and _passes_lint(miss.modules)}
    assert other <= KNOWN_OTHER_ANSWERS


def _cases(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.rglob("*.yaml")):
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        for index, case in enumerate(loaded["cases"]):
            yield f"{path.relative_to(folder).as_posix()}#{index}", case


def _run(engine: RegorusEngine, case: dict[str, Any]) -> Miss | None:
    wanted = case.get("want_result")
    names = sorted({name for binding in wanted or [] for name in binding})
    query = case["query"] + (f" with input as {case['input_term']}" if "input_term" in case else "")
    modules = {f"m{index}.rego": source for index, source in enumerate(case.get("modules") or [])}
    bound = ", ".join(f'"{name}": {name}' for name in names)
    asked = {**modules, "query.rego": f"package conformance_query\n\nbindings contains {{{bound}}} if {{ {query} }}\n"}
    try:
        got = engine.evaluate(asked, case.get("data") or {}, case.get("input"), "data.conformance_query.bindings")
    except PolicyError as error:
        expected = "want_error" in case or "want_error_code" in case
        return None if expected else Miss(_reason(str(error)), other_answer=False, modules=modules)
    if "want_error" in case or "want_error_code" in case:
        return Miss("answers where OPA has an error", other_answer=True, modules=modules)
    if wanted is not None and _sorted(got) != _sorted(wanted):
        return Miss("another answer", other_answer=True, modules=modules)
    if "want_defined" in case and bool(got) != case["want_defined"]:
        return Miss("another answer", other_answer=True, modules=modules)
    return None


def _sorted(bindings: list[Any]) -> list[str]:
    return sorted({json.dumps(binding, sort_keys=True) for binding in bindings})


def _reason(message: str) -> str:
    if match := re.search(r"could not find function ([\w.]+)", message):
        return f"no built-in {match[1]}"
    if "is unsafe" in message:
        return "a variable that another expression binds is unsafe to it (a call's result as last argument, for one)"
    if "maximum column width" in message:
        return "a line of more than 1,024 columns"
    if "not a valid rule path" in message or "is undefined" in message:
        return "a rule path that it does not know"
    reason = message.rpartition("error: ")[2] or message
    return re.sub(r"\s+", " ", re.sub(r"`[^`]*`|\"[^\"]*\"|\d+", "…", reason))[:120]


def _passes_lint(modules: dict[str, str]) -> bool:
    try:
        check_modules(modules)
    except PolicyError:
        return False
    return True
