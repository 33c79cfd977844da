"""OPA's conformance cases, Rego v0 and v1, through the adapter of OPA itself: it has to answer as OPA does.

A process a case: one in eighty is asked, by the digest of its name; `OPA_CASES=all` asks all 2,028 (three minutes).
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.opa_foreign import OpaForeign
from customhouse.policy.foreign import Program

NOT_BY_THE_PROGRAM = {
    # The program refuses to load data beside a rule of the same name, and has no test.sleep: OPA's own tests do.
    "baseandvirtualdocs/test-baseandvirtualdocs-0704.yaml#0",
    "time/test-time-0947.yaml#0",
}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Times stay text, as the cases mean them."""


_Loader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for key, resolvers in _Loader.yaml_implicit_resolvers.items()
}


@pytest.mark.timeout(1200)
@pytest.mark.part("opa")
def test_opa_answers_its_own_cases(find_part, shared_data):
    engine = OpaForeign(str(find_part("opa")), whole=True)
    folder = shared_data / "policies" / "opa-conformance"
    asked, wrong = 0, []
    for version in ("v0", "v1"):
        for path in sorted((folder / version).rglob("*.yaml")):
            name = path.relative_to(folder / version).as_posix()
            if os.environ.get("OPA_CASES") != "all" and hashlib.sha256(name.encode()).digest()[0] % 80:
                continue
            for index, case in enumerate(_cases(path)):
                if f"{name}#{index}" not in NOT_BY_THE_PROGRAM:
                    asked += 1
                    wrong += [] if _holds(engine, case, version == "v0") else [f"{version}/{name}#{index}"]
    assert asked > 20
    assert wrong == []


def _cases(path: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)["cases"]
    return cases


def _holds(engine: OpaForeign, case: dict[str, Any], v0: bool) -> bool:
    query = case["query"] + (f" with input as {case['input_term']}" if "input_term" in case else "")
    modules = {f"m{index}.rego": source for index, source in enumerate(case.get("modules") or ())}
    document = json.dumps(case["input"]).encode() if "input" in case else None
    fails = "want_error" in case or "want_error_code" in case
    try:
        strict = bool(case.get("strict_error"))
        found = engine.evaluate(Program(modules, v0), case.get("data") or {}, document, query, strict=strict)
    except PolicyError:
        return fails
    if fails:
        return False
    if "want_result" in case:
        return _plain([item.get("bindings", {}) for item in found]) == _plain(case["want_result"] or [])
    return bool(found) == case.get("want_defined", True)


def _plain(value: Any) -> str:
    """Lists without their order: a set is one too, and JSON does not tell; 5 and 5.0 are one number."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(sorted({_plain(item) for item in value})) + "]"
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
