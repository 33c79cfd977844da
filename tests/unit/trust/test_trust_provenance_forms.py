"""Provenance of others in one form: who built, from which commit and with what; and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import provenance_documents as documents
from customhouse.core.errors import EvidenceError
from customhouse.trust.provenance_forms import MAX_MATERIALS, as_v1, read_provenance, ref_of, repository_of

GITHUB, GITLAB = "https://github.com/acme/fraud", "https://gitlab.com/acme/fraud"
COMMIT = documents.COMMIT


@pytest.mark.parametrize(
    ("predicate", "repository", "ref"),
    [
        (documents.github(), GITHUB, "refs/heads/main"),
        (as_v1(documents.generator_v02()), GITHUB, "refs/tags/v1.2.3"),
        (documents.container_based(), GITHUB, "refs/heads/main"),
        (documents.tekton(), GITHUB, ""),
        (as_v1(documents.tekton_v02()), GITHUB, ""),
        (documents.gitlab(), GITLAB, ""),
        (as_v1(documents.gitlab_v02()), GITLAB, ""),
    ],
    ids=["github", "generator-v0.2", "container-based", "tekton", "tekton-v0.2", "gitlab", "gitlab-v0.2"],
)
def test_the_source_of_a_build_is_found_in_what_each_builder_writes(
    predicate: dict[str, Any], repository: str, ref: str
) -> None:
    said = read_provenance(predicate)
    assert said.source is not None
    assert (said.source.repository, said.source.ref, said.source.commit) == (repository, ref, COMMIT)
    assert said.builder
    assert said.build_type


def test_parameters_are_named_by_their_place_and_a_list_is_one() -> None:
    said = read_provenance(documents.tekton())
    assert said.parameters["runSpec.pipelineRef.name"] == "build"
    assert said.parameters["runSpec.params"] == '[{"name": "revision", "value": "main"}]'


def test_a_dot_in_a_key_is_no_place_below_another() -> None:
    changed = documents.github()
    changed["buildDefinition"]["externalParameters"] = {"a.b": "1", "a": {"b": "2"}}
    assert read_provenance(changed).parameters == {"a~1b": "1", "a.b": "2"}


def test_commits_of_one_repository_that_disagree_are_no_commit() -> None:
    changed = documents.github()
    listed = changed["buildDefinition"]["resolvedDependencies"]
    listed.append({**listed[0], "digest": {"gitCommit": "9" * 40}})
    said = read_provenance(changed)
    assert said.source is not None
    assert said.source.commit == ""


def test_two_repositories_and_no_word_which_is_the_source_are_no_source() -> None:
    changed = documents.tekton()
    listed = changed["buildDefinition"]["resolvedDependencies"]
    del listed[2]["name"]
    assert read_provenance(changed).source is None


@pytest.mark.parametrize(
    ("uri", "repository", "ref"),
    [
        ("git+https://GitHub.com/Acme/Fraud.git@refs/heads/a@b", "https://github.com/Acme/Fraud", "refs/heads/a@b"),
        ("https://user:secret@github.com/acme/fraud/", GITHUB, ""),
        ("https://github.com@evil.example/acme/fraud", "https://evil.example/acme/fraud", ""),
        ("git@github.com:acme/fraud.git", "git@github.com:acme/fraud", ""),
        ("git+ssh://git@github.com/acme/fraud#refs/heads/x", "ssh://github.com/acme/fraud", ""),
    ],
)
def test_repositories_are_compared_by_their_address(uri: str, repository: str, ref: str) -> None:
    assert (repository_of(uri), ref_of(uri)) == (repository, ref)


def _without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def _with(value: Any, *path: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "at"),
    [
        (_without("buildDefinition"), "/buildDefinition"),
        (_without("buildDefinition", "buildType"), "/buildDefinition/buildType"),
        (_without("buildDefinition", "externalParameters"), "/buildDefinition/externalParameters"),
        (_without("runDetails"), "/runDetails"),
        (_without("runDetails", "builder", "id"), "/runDetails/builder/id"),
        (_with(7, "runDetails", "builder", "id"), "/runDetails/builder/id"),
        (_with("x" * 9000, "runDetails", "builder", "id"), "/runDetails/builder/id"),
        (_with({}, "buildDefinition", "resolvedDependencies"), "/buildDefinition/resolvedDependencies"),
        (_with([[]], "buildDefinition", "resolvedDependencies"), "/buildDefinition/resolvedDependencies/0"),
        (_with([{}], "buildDefinition", "resolvedDependencies"), "/buildDefinition/resolvedDependencies/0"),
        (
            _with("zz", "buildDefinition", "resolvedDependencies", 0, "digest", "sha256"),
            "/buildDefinition/resolvedDependencies/0/digest/sha256",
        ),
        (
            _with("ab", "buildDefinition", "resolvedDependencies", 0, "digest", "gitCommit"),
            "/buildDefinition/resolvedDependencies/0/digest/gitCommit",
        ),
        (
            _with([{"uri": "a"}] * (MAX_MATERIALS + 1), "buildDefinition", "resolvedDependencies"),
            "/buildDefinition/resolvedDependencies",
        ),
        (
            _with({str(key): "" for key in range(2001)}, "buildDefinition", "externalParameters"),
            "/buildDefinition/externalParameters",
        ),
        (_with("soon", "runDetails", "metadata", "startedOn"), "/runDetails/metadata/startedOn"),
        (
            _with(
                {"startedOn": "2026-03-02T00:00:00Z", "finishedOn": "2026-03-01T00:00:00Z"}, "runDetails", "metadata"
            ),
            "/runDetails/metadata/finishedOn",
        ),
        (_with({}, "runDetails", "byproducts"), "/runDetails/byproducts"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(change: Callable[[dict[str, Any]], None], at: str) -> None:
    document = copy.deepcopy(documents.github())
    change(document)
    with pytest.raises(EvidenceError) as caught:
        read_provenance(document, "a file")
    assert f"({at})" in str(caught.value)
    assert caught.value.where == "a file"


def test_v02_without_anything_is_refused_and_not_mapped_to_something_harmless() -> None:
    with pytest.raises(EvidenceError):
        read_provenance(as_v1({}))
