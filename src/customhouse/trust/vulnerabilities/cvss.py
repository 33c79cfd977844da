"""CVSS base scores from vectors: v2 (first.org/cvss/v2/guide), v3.0 and v3.1 (first.org/cvss/v3.1), v4.0 (`cvss4`).

Written from FIRST's specifications: the one library for it is under the LGPL.
"""

from __future__ import annotations

from collections.abc import Mapping

from customhouse.core.vulnerability import Rating
from customhouse.trust.vulnerabilities.cvss4 import score_v4

MAX_VECTOR = 512
_V3 = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}
_V2 = {
    "AV": {"L": 0.395, "A": 0.646, "N": 1.0},
    "AC": {"H": 0.35, "M": 0.61, "L": 0.71},
    "Au": {"M": 0.45, "S": 0.56, "N": 0.704},
    "C": {"N": 0.0, "P": 0.275, "C": 0.66},
    "I": {"N": 0.0, "P": 0.275, "C": 0.66},
    "A": {"N": 0.0, "P": 0.275, "C": 0.66},
}


def base_score(vector: str) -> float:
    """The base score, 0.0 to 10.0, of a vector; temporal and environmental metrics do not count.

    Raises ValueError for a vector that is malformed, incomplete, or of another version.
    """
    if len(vector) > MAX_VECTOR:
        raise ValueError(f"a vector of {len(vector)} characters")
    head, slash, rest = vector.partition("/")
    if head in ("CVSS:3.0", "CVSS:3.1") and slash:
        return _score_v3(_metrics(rest))
    if head == "CVSS:4.0" and slash:
        return score_v4(_metrics(rest))
    if head.startswith("CVSS:"):
        raise ValueError(f"{head[:20]} is no version of CVSS that is known here")
    return _score_v2(_metrics(vector.strip("()")))


def rating_of(score: float, *, v2: bool = False) -> Rating:
    """The word for a score (v3.1 section 5, v4.0 section 6; of v2 NVD's three)."""
    if score >= 9.0 and not v2:
        return Rating.CRITICAL
    if score >= 7.0:
        return Rating.HIGH
    if score >= 4.0:
        return Rating.MEDIUM
    return Rating.LOW if score > 0.0 or v2 else Rating.NONE


def worst(vectors: tuple[str, ...]) -> tuple[Rating, float | None, str]:
    """The worst of several vectors: rating, score, vector. UNKNOWN and None when none of them can be read."""
    found: tuple[Rating, float | None, str] = (Rating.UNKNOWN, None, "")
    for vector in vectors:
        try:
            score = base_score(vector)
        except ValueError:
            continue
        if found[1] is None or score > found[1]:
            found = (rating_of(score, v2=not vector.startswith("CVSS:")), score, vector)
    return found


def _metrics(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split("/"):
        name, colon, value = part.partition(":")
        if not colon or not name or not value or name in found:
            raise ValueError(f"{part[:20]!r} is no metric, or is there twice")
        found[name] = value
    return found


def _weights(metrics: Mapping[str, str], table: Mapping[str, Mapping[str, float]]) -> list[float]:
    weights = []
    for name, values in table.items():
        value = metrics.get(name, "")
        if value not in values:
            raise ValueError(f"{name}:{value[:10]} is no value of a base metric")
        weights.append(values[value])
    return weights


def _score_v3(metrics: Mapping[str, str]) -> float:
    scope = metrics.get("S", "")
    if scope not in _PRIVILEGES or metrics.get("PR") not in _PRIVILEGES[scope]:
        raise ValueError("S or PR is not there")
    vector, complexity, interaction, *impacts = _weights(metrics, _V3)
    base = 1 - (1 - impacts[0]) * (1 - impacts[1]) * (1 - impacts[2])
    changed = scope == "C"
    impact = 7.52 * (base - 0.029) - 3.25 * (base - 0.02) ** 15 if changed else 6.42 * base
    if impact <= 0:
        return 0.0
    exploitability = 8.22 * vector * complexity * _PRIVILEGES[scope][metrics["PR"]] * interaction
    total = min((1.08 if changed else 1.0) * (impact + exploitability), 10.0)
    return _rounded_up(total)


def _rounded_up(value: float) -> float:
    """The least tenth that is not below (v3.1 appendix A): in whole hundred-thousandths, as floats are not exact."""
    whole = round(value * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (whole // 10_000 + 1) / 10


def _score_v2(metrics: Mapping[str, str]) -> float:
    vector, complexity, authentication, *impacts = _weights(metrics, _V2)
    impact = 10.41 * (1 - (1 - impacts[0]) * (1 - impacts[1]) * (1 - impacts[2]))
    exploitability = 20 * vector * complexity * authentication
    weight = 0.0 if impact == 0 else 1.176
    return round((0.6 * impact + 0.4 * exploitability - 1.5) * weight + 1e-9, 1)
