"""SLSA provenance of a training Job: what went in, who built it, and every way in which it is not as expected."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from customhouse.core.errors import UsageError
from customhouse.trust.provenance import (
    BUILD_TYPE,
    Build,
    Dependency,
    Expectations,
    check_provenance,
    dependencies,
    provenance,
)

DATA, CODE, JOB = ("sha256:" + letter * 64 for letter in "abc")
COMMIT = "d" * 40
AT = datetime(2026, 3, 1, tzinfo=UTC)
BUILD = Build(
    job="Job default/train",
    job_digest=JOB,
    command=("python", "train.py"),
    dependencies=(
        Dependency("dataset", "pvc://data/transactions", DATA),
        Dependency("code", "git+https://example.com/fraud", CODE, COMMIT),
    ),
    builder="https://customhouse.dev/builder/local",
    invocation="run-1",
    started=AT,
    finished=AT + timedelta(seconds=5),
    parameters={"seed": "7"},
)
EXPECTED = Expectations(builders=[BUILD.builder], job_digest=JOB, dataset=DATA, code=CODE, commit=COMMIT)


def test_the_predicate_has_the_fields_of_slsa_v1() -> None:
    made = provenance(BUILD)
    assert made["buildDefinition"]["buildType"] == BUILD_TYPE
    assert made["buildDefinition"]["externalParameters"]["command"] == ["python", "train.py"]
    assert made["buildDefinition"]["resolvedDependencies"][1]["digest"] == {"sha256": "b" * 64, "gitCommit": COMMIT}
    assert made["runDetails"]["builder"] == {"id": BUILD.builder}
    assert made["runDetails"]["metadata"] == {
        "invocationId": "run-1",
        "startedOn": "2026-03-01T00:00:00Z",
        "finishedOn": "2026-03-01T00:00:05Z",
    }


def test_provenance_as_expected_has_no_problems() -> None:
    assert check_provenance(provenance(BUILD), EXPECTED) == ()
    assert check_provenance(provenance(BUILD), Expectations()) == ()
    assert dependencies(provenance(BUILD)) == BUILD.dependencies


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (replace(EXPECTED, builders=["https://other"]), "not a trusted builder"),
        (replace(EXPECTED, job_digest=DATA), "another Job"),
        (replace(EXPECTED, dataset=CODE), f"the dataset {CODE} is not among"),
        (replace(EXPECTED, code=DATA), f"the code {DATA} is not among"),
        (replace(EXPECTED, commit="e" * 40), "the commit"),
    ],
)
def test_what_is_not_as_expected_is_said(expected: Expectations, said: str) -> None:
    (problem,) = check_provenance(provenance(BUILD), expected)
    assert said in problem


@pytest.mark.parametrize("predicate", [{}, {"buildDefinition": 7, "runDetails": []}, {"buildDefinition": {}}])
def test_an_empty_or_odd_predicate_meets_nothing(predicate: dict[str, Any]) -> None:
    problems = check_provenance(predicate, EXPECTED)
    assert len(problems) == 7
    assert dependencies(predicate) == ()


def test_an_end_before_the_start_is_a_problem() -> None:
    made = provenance(BUILD)
    made["runDetails"]["metadata"]["finishedOn"] = "2026-02-01T00:00:00Z"
    assert check_provenance(made, EXPECTED) == ("it finished before it started",)


def test_dependencies_without_a_digest_are_not_written_and_not_read() -> None:
    with pytest.raises(UsageError, match="proves nothing"):
        provenance(replace(BUILD, dependencies=(Dependency("dataset", "s3://x"),)))
    with pytest.raises(UsageError, match="not a role"):
        provenance(replace(BUILD, dependencies=(Dependency("coffee", "s3://x", DATA),)))
    with pytest.raises(UsageError, match="not a digest"):
        provenance(replace(BUILD, job_digest="latest"))
    with pytest.raises(UsageError, match="ended before it began"):
        provenance(replace(BUILD, finished=AT - timedelta(seconds=1)))
    odd = [7, {}, {"digest": {}}, {"digest": {"sha256": "zz"}}, {"name": "code", "digest": {"gitCommit": COMMIT}}]
    read = dependencies({"buildDefinition": {"resolvedDependencies": odd}})
    assert read == (Dependency("code", "", "", COMMIT),)
