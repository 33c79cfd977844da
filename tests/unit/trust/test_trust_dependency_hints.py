"""Names that are one slip from a well-known one are pointed out; well-known names and most others are not."""

from __future__ import annotations

import pytest

from customhouse.trust.dependency_hints import hints, imitated
from customhouse.trust.libraries import Archive, Library

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("reqeusts", "requests"),  # typos: ignore
        ("numppy", "numpy"),
        ("pandsa", "pandas"),
        ("djang0", "django"),
        ("python-requests", "requests"),
        ("scikitlearn", "scikit-learn"),
        ("tensorfow", "tensorflow"),
        ("openai2", "openai"),
    ],
)
def test_a_slip_is_found_with_what_was_meant(name: str, meant: str) -> None:
    assert imitated(name) == meant


@pytest.mark.parametrize("name", ["numpy", "requests", "python-dateutil", "customhouse", "my-own-library", "abc", ""])
def test_well_known_names_and_names_of_ones_own_are_left_alone(name: str) -> None:
    assert imitated(name) == ""


def library(name: str, note: str = "", *, locked: bool = True) -> Library:
    files = (Archive(f"https://e/{name}", DIGEST),) if locked else ()
    return Library(name, "1", f"pkg:pypi/{name}@1", files=files, note=note)


def test_a_name_that_two_indexes_can_answer_for_is_pointed_out() -> None:
    own = "https://index.example.com/simple"
    assert [hint.kind for hint in hints([library("numpy", own)])] == ["dependency-confusion"]
    assert [hint.kind for hint in hints([library("our-private-tool", own, locked=False)])] == ["dependency-confusion"]
    assert hints([library("our-private-tool", own)]) == ()
    assert hints([library("numpy")]) == ()


def test_a_second_index_with_anything_unlocked_is_a_hint_for_the_whole_list() -> None:
    (hint,) = hints([library("numpy", locked=False)], ["https://index.example.com/simple"])
    assert (hint.library, hint.kind) == ("", "dependency-confusion")
    assert hints([library("numpy")], ["https://index.example.com/simple"]) == ()


def test_libraries_of_other_languages_are_not_compared_with_pythons() -> None:
    assert hints([Library("reqeusts", "1", "pkg:npm/reqeusts@1")]) == ()  # typos: ignore
