"""CVSS v4.0 base scores (first.org/cvss/v4-0/specification-document, section 8): macrovectors and interpolation.

Only the base metrics count, so of the specification's six equivalence classes the fifth (threat) is always 0, and the
sixth (requirements) follows from the third. Scores are in whole tenths, fractions are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

_LEVELS = {
    "AV": "NALP",
    "PR": "NLH",
    "UI": "NPA",
    "AC": "LH",
    "AT": "NP",
    "VC": "HLN",
    "VI": "HLN",
    "VA": "HLN",
    "SC": "HLN",
    "SI": "HLN",
    "SA": "HLN",
}
"""The values of each base metric, the worst first: a step down is a tenth (section 8.3)."""
_SCORES = {
    (0, 0): ((100, 93), (96, 90), (93, 88), (92, 80), (79, 69)),
    (0, 1): ((95, 92), (91, 81), (92, 84), (82, 70), (71, 63)),
    (1, 0): ((94, 87), (89, 75), (86, 72), (76, 57), (65, 53)),
    (1, 1): ((90, 77), (77, 66), (74, 61), (59, 52), (58, 23)),
    (2, 0): ((86, 70), (74, 54), (72, 53), (57, 36), (47, 24)),
    (2, 1): ((73, 54), (55, 43), (61, 46), (51, 18), (24, 10)),
}
"""The specification's table: classes 1, 2 → for classes 3 and 6 of 00, 01, 10, 11, 21 the tenths at class 4 = 1, 2."""
_COLUMN = {"00": 0, "01": 1, "10": 2, "11": 3, "21": 4}
_DEPTH = {1: (1, 4, 5), 2: (1, 2), 3: (7, 8, 10), 4: (0, 5, 4)}
"""How many steps down each class goes (section 8.3, table of depths); class 3 together with class 6."""
_TOP = {1: (0, 1, 3), 2: (0, 1), 3: (0, 1, 3), 4: (0, 0, 3)}
"""Steps from the very worst to the worst vector of each class: all of a class's worst vectors have the same sum."""


def score_v4(metrics: Mapping[str, str]) -> float:
    """The base score (CVSS-B) of metrics. Raises ValueError for one that is missing or has no such value."""
    steps = {}
    for name, values in _LEVELS.items():
        value = metrics.get(name, "")
        if not value or value not in values:
            raise ValueError(f"{name}:{value[:10]} is no value of a base metric")
        steps[name] = values.index(value)
    if all(steps[name] == 2 for name in ("VC", "VI", "VA", "SC", "SI", "SA")):
        return 0.0
    one, two, three, four = _classes(steps)
    six = 1 if three == 2 else 0
    score = _tenths(one, two, f"{three}{six}", four)
    # Section 8.2: from the score of the macrovector down, by how far the vector is below the worst of its class, in
    # the mean over the classes that have a lower one. The threat class has, and no distance from its worst.
    lower = {
        1: None if one == 2 else _tenths(one + 1, two, f"{three}{six}", four),
        2: None if two == 1 else _tenths(one, two + 1, f"{three}{six}", four),
        3: _below(one, two, three, four),
        4: None if four == 2 else _tenths(one, two, f"{three}{six}", four + 1),
    }
    sums = {
        1: (one, steps["AV"] + steps["PR"] + steps["UI"]),
        2: (two, steps["AC"] + steps["AT"]),
        3: (three, steps["VC"] + steps["VI"] + steps["VA"]),
        4: (four, steps["SC"] + steps["SI"] + steps["SA"]),
    }
    total = Fraction(0)
    for number, below in lower.items():
        level, distance = sums[number]
        if below is not None:
            total += Fraction((score - below) * (distance - _TOP[number][level]), _DEPTH[number][level])
    classes = 1 + sum(below is not None for below in lower.values())
    exact = max(Fraction(0), score - total / classes)
    return int(exact + Fraction(1, 2)) / 10


def _classes(steps: Mapping[str, int]) -> tuple[int, int, int, int]:
    """The levels of equivalence classes 1 to 4 (section 8.1, tables 24 to 27)."""
    free = [steps[name] == 0 for name in ("AV", "PR", "UI")]
    one = 0 if all(free) else 1 if any(free) and steps["AV"] != 3 else 2
    two = 0 if steps["AC"] == steps["AT"] == 0 else 1
    some = 0 in (steps["VC"], steps["VI"], steps["VA"])
    three = 0 if steps["VC"] == steps["VI"] == 0 else 1 if some else 2
    four = 1 if 0 in (steps["SC"], steps["SI"], steps["SA"]) else 2
    return one, two, three, four


def _tenths(one: int, two: int, three_six: str, four: int) -> int:
    return _SCORES[one, two][_COLUMN[three_six]][four - 1]


def _below(one: int, two: int, three: int, four: int) -> int | None:
    """What is next below classes 3 and 6 together; of two ways down the one that loses less."""
    if three == 0:
        return max(_tenths(one, two, "01", four), _tenths(one, two, "10", four))
    return _tenths(one, two, "11", four) if three == 1 else None
