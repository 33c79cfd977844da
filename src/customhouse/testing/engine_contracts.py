"""Contract suite of PolicyEngine: what every Rego v1 engine answers, and how it refuses.

Needs pytest. Subclass it and give it the fixture `engine: PolicyEngine`.
"""

from __future__ import annotations

from typing import Any

try:
    import pytest
except ImportError as error:  # a dependency of tests, not of the product
    raise ImportError("customhouse.testing.engine_contracts needs pytest: pip install pytest") from error

from customhouse.core.errors import PolicyError
from customhouse.core.ports import PolicyEngine

QUERY = "data.customhouse.findings"
BUDGET = """package customhouse

import rego.v1

findings contains finding if {
    some workload in input.workloads
    workload.cost_micro > data.limits.cost_micro
    finding := {"rule": "cost/ceiling", "resource": workload.name, "message": sprintf("%s: over", [workload.name])}
}
"""
LABELS = """package customhouse

import rego.v1

findings contains {"rule": "labels/team", "resource": workload.name} if {
    some workload in input.workloads
    not workload.team
}
"""
LIMITS: dict[str, Any] = {"limits": {"cost_micro": 100}}
BROKEN = {
    "syntax": "package customhouse\n\nfindings contains {",
    "unsafe variable": "package customhouse\n\nimport rego.v1\n\nfindings contains x if { not y }\n",
    "unknown function": "package customhouse\n\nimport rego.v1\n\nfindings contains x if x := no_such(1)\n",
}


def workload(name: str, cost_micro: int, **more: Any) -> dict[str, Any]:
    """One workload of the input."""
    return {"name": name, "cost_micro": cost_micro, **more}


class PolicyEngineContract:
    """What any engine does. Fixture: `engine: PolicyEngine`."""

    def test_findings_of_all_modules_are_one_list(self, engine: PolicyEngine) -> None:
        """A set is a JSON list, each finding once, whatever module it comes from."""
        document = {"workloads": [workload("a", 101), workload("b", 100, team="risk"), workload("c", 2**53 - 1)]}
        found = engine.evaluate({"budget.rego": BUDGET, "labels.rego": LABELS}, LIMITS, document, QUERY)
        assert isinstance(found, list)
        assert sorted((item["rule"], item["resource"]) for item in found) == [
            ("cost/ceiling", "a"),
            ("cost/ceiling", "c"),
            ("labels/team", "a"),
            ("labels/team", "c"),
        ]

    def test_nothing_found_is_an_empty_list_and_not_nothing(self, engine: PolicyEngine) -> None:
        """The difference between `allowed` and `no such rule`."""
        assert engine.evaluate({"budget.rego": BUDGET}, LIMITS, {"workloads": []}, QUERY) == []

    @pytest.mark.parametrize("missing", ["module", "rule"])
    def test_a_query_that_nothing_defines_is_an_error_and_not_no_findings(
        self, engine: PolicyEngine, missing: str
    ) -> None:
        """A bundle that lost its entry point must not let everything pass."""
        modules = {} if missing == "module" else {"other.rego": "package customhouse\n\nimport rego.v1\n\nx := 1\n"}
        with pytest.raises(PolicyError):
            engine.evaluate(modules, {}, {"workloads": []}, QUERY)

    @pytest.mark.parametrize("kind", BROKEN)
    def test_a_module_that_does_not_compile_is_an_error(self, engine: PolicyEngine, kind: str) -> None:
        """Also beside one that does."""
        with pytest.raises(PolicyError) as caught:
            engine.evaluate({"budget.rego": BUDGET, "broken.rego": BROKEN[kind]}, LIMITS, {"workloads": []}, QUERY)
        assert str(caught.value)

    def test_a_rule_with_two_answers_is_an_error_and_never_one_of_them(self, engine: PolicyEngine) -> None:
        """A complete rule has one value."""
        module = (
            "package customhouse\n\nimport rego.v1\n\nverdict := 1 if input.n > 0\n\nverdict := 2 if input.n > 1\n\n"
            "findings contains {'v': verdict} if verdict\n"
        ).replace("'", '"')
        assert engine.evaluate({"a.rego": module}, {}, {"n": 1}, QUERY) == [{"v": 1}]
        with pytest.raises(PolicyError):
            engine.evaluate({"a.rego": module}, {}, {"n": 2}, QUERY)

    def test_nothing_is_kept_from_one_call_to_the_next(self, engine: PolicyEngine) -> None:
        """Neither input, data nor modules; and an error does not spoil the next answer."""
        over = {"workloads": [workload("a", 101, team="risk")]}
        assert len(engine.evaluate({"budget.rego": BUDGET}, LIMITS, over, QUERY)) == 1
        assert engine.evaluate({"budget.rego": BUDGET}, {"limits": {"cost_micro": 500}}, over, QUERY) == []
        assert engine.evaluate({"labels.rego": LABELS}, LIMITS, over, QUERY) == []
        assert engine.evaluate({"budget.rego": BUDGET}, LIMITS, {"workloads": []}, QUERY) == []
        with pytest.raises(PolicyError):
            engine.evaluate({"broken.rego": BROKEN["syntax"]}, LIMITS, over, QUERY)
        assert len(engine.evaluate({"budget.rego": BUDGET}, LIMITS, over, QUERY)) == 1

    def test_the_same_question_has_the_same_answer(self, engine: PolicyEngine) -> None:
        """In the same order, however the input's keys are ordered."""
        workloads = [workload(f"w{number:02}", 200) for number in range(30)]
        first = engine.evaluate({"budget.rego": BUDGET}, LIMITS, {"workloads": workloads}, QUERY)
        turned = [dict(reversed(item.items())) for item in workloads]
        assert engine.evaluate({"budget.rego": BUDGET}, LIMITS, {"workloads": turned}, QUERY) == first

    def test_text_of_any_script_passes_through(self, engine: PolicyEngine) -> None:
        """Also quotes, control characters and what looks like Rego."""
        name = 'Ω"\n\t{{ data }} \U0001f600'
        (found,) = engine.evaluate({"budget.rego": BUDGET}, LIMITS, {"workloads": [workload(name, 101)]}, QUERY)
        assert (found["resource"], found["message"]) == (name, f"{name}: over")

    def test_an_input_that_is_not_json_is_an_error(self, engine: PolicyEngine) -> None:
        """NaN would otherwise compare as false and pass every ceiling."""
        with pytest.raises(PolicyError):
            engine.evaluate({"budget.rego": BUDGET}, LIMITS, {"workloads": [workload("a", float("nan"))]}, QUERY)  # type: ignore[arg-type]
