"""OPA's conformance cases, Rego v0 and v1, through what answers for policies of others.

The embedded engine may decline; it may not answer otherwise. Which cases it answers is recorded in
policy_foreign_answered.json (`UPDATE_ANSWERED=1` writes it anew): the list may only grow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
from customhouse.policy.foreign import UNDEFINED, Program

ANSWERED = Path(__file__).with_name("policy_foreign_answered.json")
OTHERWISE = {
    # Sums of integers beyond 64 bits; no quantity of Kubernetes is.
    "v1/aggregates/test-aggregates-bignum.yaml#1",
    # `k, v in {…}` on a set: nothing in the text says that the right side is one.
    "v1/aggregates/test-membership.yaml#1",
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Times stay text, as the cases mean them."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _cases(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for version in ("v0", "v1"):
        for path in sorted((folder / version).rglob("*.yaml")):
            for index, case in enumerate(yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)["cases"]):
                yield f"{version}/{path.relative_to(folder / version).as_posix()}#{index}", case


def _plain(bindings: Any) -> list[str]:
    # 5 and 5.0 are one number to Rego, and to JSON.
    return sorted({json.dumps(item, sort_keys=True).replace(".0}", "}").replace(".0,", ",") for item in bindings or ()})


def _run(engine: EmbeddedForeign, key: str, case: dict[str, Any]) -> bool | None:
    """Whether the engine says what OPA says; None when it declines."""
    v0, wanted = key.startswith("v0/"), case.get("want_result")
    bound = ", ".join(f'"{name}": {name}' for name in sorted({name for item in wanted or () for name in item}))
    asked = f"bindings[found__] {{ {case['query']}; found__ := {{{bound}}} }}"
    if not v0:
        asked = f"bindings contains {{{bound}}} if {{ {case['query']} }}"
    modules = {f"m{index}.rego": source for index, source in enumerate(case.get("modules") or ())}
    program = Program({**modules, "query.rego": f"package conformance_query\n\n{asked}\n"}, v0)
    try:
        rows = engine.ask(program, case.get("data") or {}, [case.get("input")], ["data.conformance_query.bindings"])
    except PolicyError:
        return None
    found = [] if rows[0][0] is UNDEFINED else rows[0][0]
    if "want_error" in case or "want_error_code" in case:
        # An error of a built-in is undefined here, as Gatekeeper and conftest run it.
        return bool(case.get("strict_error"))
    if wanted is not None:
        return _plain(found) == _plain(wanted)
    return "want_defined" not in case or bool(found) == case["want_defined"]


@pytest.fixture(scope="module")
def outcome(shared_data) -> dict[str, bool | None]:
    engine = EmbeddedForeign()
    cases = _cases(shared_data / "policies" / "opa-conformance")
    return {key: _run(engine, key, case) for key, case in cases if "input_term" not in case}


def test_no_case_is_answered_otherwise_than_by_opa(outcome):
    assert {key for key, said in outcome.items() if said is False} <= OTHERWISE


def test_the_list_of_cases_that_are_answered_only_grows(outcome):
    answered = {key for key, said in outcome.items() if said}
    if os.environ.get("UPDATE_ANSWERED"):
        ANSWERED.write_text(json.dumps(sorted(answered), indent=0) + "\n", encoding="utf-8")
    assert len(answered) > 950
    assert set(json.loads(ANSWERED.read_text(encoding="utf-8"))) - answered == set()
