"""CVSS base scores: the examples of FIRST's documents, and vectors that are none."""

from __future__ import annotations

import pytest

from customhouse.core.vulnerability import Rating
from customhouse.trust.vulnerabilities.cvss import base_score, rating_of, worst


@pytest.mark.parametrize(
    ("vector", "score"),
    [
        # first.org/cvss/v3.1/examples, and the last two by the library `cvss` 3.6
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
        ("CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", 3.1),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8),
        ("CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:C/C:H/I:H/A:H", 9.1),
        ("CVSS:3.1/AV:L/AC:L/PR:N/UI:R/S:C/C:H/I:H/A:H", 8.6),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0),
        ("CVSS:3.1/AV:P/AC:H/PR:L/UI:N/S:U/C:L/I:H/A:H/E:U/RL:O", 5.9),
        # first.org/cvss/v2/guide, section 3.3
        ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8),
        ("AV:N/AC:L/Au:N/C:C/I:C/A:C", 10.0),
        ("(AV:L/AC:H/Au:N/C:C/I:C/A:C)", 6.2),
        # v4.0, as the library `cvss` 3.6 has them too (20,000 vectors drawn at random were the same)
        ("CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 7.3),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 8.7),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", 10.0),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:A/VC:N/VI:N/VA:N/SC:L/SI:L/SA:N", 5.1),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:N/VI:N/VA:N/SC:N/SI:N/SA:N", 0.0),
    ],
)
def test_the_score_is_that_of_the_specifications(vector: str, score: float) -> None:
    assert base_score(vector) == score


@pytest.mark.parametrize(
    "vector",
    [
        "",
        "CVSS:3.1",
        "CVSS:3.1/",
        "CVSS:9.9/AV:N",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H",
        "CVSS:3.1/AV:N/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:NN/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H",
        "AV:N/AC:L",
        "A" * 5000,
    ],
)
def test_a_vector_that_is_none_has_no_score_and_rates_nothing_as_harmless(vector: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        base_score(vector)
    assert worst((vector,)) == (Rating.UNKNOWN, None, "")


def test_of_several_vectors_the_worst_counts() -> None:
    low, high = "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
    assert worst((low, "nonsense", high))[:2] == (Rating.CRITICAL, 9.8)


def test_words_for_scores() -> None:
    assert [rating_of(score) for score in (0.0, 0.1, 3.9, 4.0, 6.9, 7.0, 8.9, 9.0)] == [
        Rating.NONE, Rating.LOW, Rating.LOW, Rating.MEDIUM, Rating.MEDIUM, Rating.HIGH, Rating.HIGH, Rating.CRITICAL,
    ]  # fmt: skip
    assert rating_of(10.0, v2=True) is Rating.HIGH
