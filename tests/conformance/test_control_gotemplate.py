"""Templates of ApplicationSets against what Go's text/template with Sprig 3.3.0 made of them (gotemplate_cases.json).

The answers were written down from a Go program of thirty lines: `template.New("").Funcs(sprig.TxtFuncMap())`,
parameters read by encoding/json, `missingkey=error` where `strict`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from customhouse.control.gotemplate import rendered
from customhouse.control.gotemplate_functions import TemplateError

CASES = json.loads(Path(__file__).with_name("gotemplate_cases.json").read_text())
NOT_KNOWN_HERE = ("snakecase", "define")
"""What is refused by name although Go takes it."""


def as_go_reads(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_go_reads(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_go_reads(item) for item in value]
    return float(value) if type(value) is int else value


def test_every_template_comes_out_as_in_go_or_is_refused_by_name() -> None:
    parameters = as_go_reads(CASES["parameters"])
    exact, refused = 0, []
    for case in CASES["cases"]:
        try:
            said = rendered(case["template"], parameters, missing_is_error=case["strict"])
        except TemplateError as error:
            if "out" in case:
                refused.append(str(error))
            exact += "out" not in case
            continue
        assert said == case.get("out"), case
        exact += 1
    assert exact == 62
    assert len(refused) == 3
    assert all(any(word in said for word in NOT_KNOWN_HERE) for said in refused)
