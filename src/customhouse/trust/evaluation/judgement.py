"""Bounds against what was measured. What was declared and not measured has failed: silence is no proof."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse.trust.evaluation.intervals import Estimate, rounded
from customhouse.trust.evaluation.plan import Bound


def judge(bounds: Sequence[Bound], measured: Mapping[str, Estimate]) -> tuple[list[dict[str, Any]], bool | None]:
    """A row for each bound (`metric`, `must`, `value`, `low`, `high`, `met`, `problem`, `place`), and whether all hold.

    None where no bound is declared: nothing was judged then.
    """
    rows = [_judged(bound, measured) for bound in bounds]
    return rows, all(row["met"] for row in rows) if rows else None


def _judged(bound: Bound, measured: Mapping[str, Estimate]) -> dict[str, Any]:
    row: dict[str, Any] = {"metric": bound.metric, "must": bound.text, "place": bound.place}
    found = measured.get(bound.metric)
    if found is None:
        near = difflib.get_close_matches(bound.metric, measured, n=1, cutoff=0.5)
        problem = "it was not measured" + (f"; did you mean {near[0]!r}?" if near else "")
        return row | {"value": None, "low": None, "high": None, "met": False, "problem": problem}
    row |= {key: item for key, item in found.to_json().items() if key != "count"}
    counted = {"low": found.low, "high": found.high, "value": found.value}[bound.on]
    if counted is None:
        return row | {"met": False, "problem": "there is no interval: too few rows"}
    # The written digits decide, so that the verdict can be checked from the document alone.
    shown = rounded(counted)
    problem = ""
    if bound.at_least is not None and not shown >= bound.at_least:
        problem = f"{shown:g} is below {bound.at_least:g}"
    if bound.at_most is not None and not shown <= bound.at_most:
        problem = f"{shown:g} is above {bound.at_most:g}"
    return row | {"met": not problem, "problem": problem}
