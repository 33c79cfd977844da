"""What a change does to files that are no Declarations, and what it takes out of sight."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from customhouse.app import filescan
from customhouse.app.filescan import Before, repository_files
from customhouse.control.rendering import Job, Output, Program, RenderEntry, Sight
from customhouse.control.rendering_tree import render_tree
from customhouse.core.errors import CannotDecideError

OBJECT = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\n"
OTHER = OBJECT + b"data: {a: b}\n"
PLAIN = b"resources: [web.yaml]\n"
TAMED = b"resources: [../prod]\npatches: [{patch: '{}', target: {kind: ConfigMap}}]\n"
APPLICATION = b"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec:
  source: {path: prod, repoURL: 'https://git.example.com/x', kustomize: {namePrefix: a-}}
"""
CARD = b"id,card\n1,4539 1488 0343 6467\n"


class Nothing:
    def run(self, job: Job) -> Output:
        return Output(b"", Program("recorder", "v1.0.0", "sha256:" + "0" * 64))


def seen(files: Mapping[str, bytes], entries: tuple[RenderEntry, ...] = ()) -> Sight:
    sight = Sight()
    render_tree(files, Nothing(), entries=entries, sight=sight)
    return sight


def problems(before: Mapping[str, bytes] | None, after: Mapping[str, bytes], **more: object) -> list[tuple[str, str]]:
    state = Before() if before is None else Before(before, seen(before), known=True)
    found = repository_files(state, after, seen(after), **more)  # type: ignore[arg-type]
    return [] if found is None else [(row["path"], row["problem"]) for row in found.manifest["spec"]["files"]]


ROOT = {"prod/kustomization.yaml": PLAIN, "prod/web.yaml": OBJECT}


@pytest.mark.parametrize(
    "cover",
    [
        {"zzz/kustomization.yaml": TAMED},
        {"apps/shop.yaml": APPLICATION},
        {"prod/kustomization.yaml": b"kind: Component\n" + PLAIN},
    ],
    ids=["another kustomization refers to it", "an Application changes it", "it is made a component"],
)
def test_a_root_that_a_change_takes_out_of_sight_is_told_and_altering_it_as_well_is_refused(
    cover: Mapping[str, bytes],
) -> None:
    problem = "hidden" if "prod/kustomization.yaml" in cover else "unjudged"
    assert ("prod/kustomization.yaml", problem) in problems(ROOT, {**ROOT, **cover})
    altered = problems(ROOT, {**ROOT, **cover, "prod/web.yaml": OTHER})
    assert ("prod/kustomization.yaml", "hidden") in altered


def test_a_base_outside_of_the_roots_folder_is_part_of_it() -> None:
    before = {"base/web.yaml": OBJECT, "base/kustomization.yaml": PLAIN}
    before["prod/kustomization.yaml"] = b"resources: [../base]\n"
    after = {**before, "zzz/kustomization.yaml": TAMED, "base/web.yaml": OTHER}
    assert problems(before, after) == [("prod/kustomization.yaml", "hidden")]


def test_a_root_that_customhouse_yaml_names_stays_in_sight() -> None:
    after = {**ROOT, "zzz/kustomization.yaml": TAMED, "prod/web.yaml": OTHER}
    sight = seen(after, (RenderEntry("prod"),))
    assert repository_files(Before(ROOT, seen(ROOT), known=True), after, sight) is None


def test_an_application_that_changes_nothing_hides_nothing() -> None:
    plain = APPLICATION.replace(b", kustomize: {namePrefix: a-}", b"")
    assert problems(ROOT, {**ROOT, "apps/shop.yaml": plain, "prod/web.yaml": OTHER}) == []


def test_plain_files_that_a_kustomization_or_chart_covers_are_told() -> None:
    before = {"models/web.yaml": OBJECT}
    for cover in ({"models/kustomization.yaml": b"resources: []\n"}, {"models/Chart.yaml": b"name: x\n"}):
        assert problems(before, {**before, **cover}) == [("models/web.yaml", "unjudged")]
        both = problems(before, {**cover, "models/web.yaml": OTHER})
        assert ("models/web.yaml", "hidden") in both


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("prod/extra.yaml", True),  # in the folder of a kustomization that does not refer to it
        ("models/web.YAML", True),
        ("models/web", True),
        ("models/web.yaml.txt", True),
        (".deploy/web.yaml", True),
        ("models/web.jsonnet", True),
        ("docs/web.md", False),
        ("models/web.txt", False),
        ("models/web.yaml", False),  # read
    ],
)
def test_an_object_in_a_file_that_is_not_read_is_told(name: str, told: bool) -> None:
    assert problems(ROOT, {**ROOT, name: OBJECT}) == ([(name, "unjudged")] if told else [])


def test_what_an_application_renders_from_elsewhere_is_told() -> None:
    elsewhere = APPLICATION.replace(b"path: prod", b"path: not/here").replace(b", kustomize: {namePrefix: a-}", b"")
    assert problems({}, {"apps/shop.yaml": elsewhere}) == [("apps/shop.yaml", "unjudged")]
    chart = elsewhere.replace(b"path: not/here", b"chart: nginx")
    assert problems({}, {"apps/shop.yaml": chart}) == [("apps/shop.yaml", "unjudged")]
    assert problems({"apps/shop.yaml": chart}, {"apps/shop.yaml": chart}) == []
    assert problems(None, {"apps/shop.yaml": chart}) == [("apps/shop.yaml", "unjudged")]
    asked = b"spec:\n  generators: [{clusters: {}}]\n"
    every = APPLICATION.replace(b"kind: Application", b"kind: ApplicationSet").replace(b"spec:\n", asked)
    assert problems({}, {"apps/shop.yaml": every}) == [("apps/shop.yaml", "unjudged")]


def test_personal_data_and_data_files_are_found_wherever_they_lie_unless_they_were_there_before() -> None:
    after = {"notes/customers": CARD, ".hidden/train.parquet": b"PAR1\x00", "utf16.txt": CARD.decode().encode("utf-16")}
    assert problems({}, after) == [
        (".hidden/train.parquet", "data"),
        ("notes/customers", "personal"),
        ("utf16.txt", "personal"),
    ]
    assert problems(after, after) == []
    assert problems(None, after) == [("notes/customers", "personal"), ("utf16.txt", "personal")]


def test_json_that_declares_nothing_is_looked_at() -> None:
    assert problems({}, {"models/a.json": b'{"card": "4539 1488 0343 6467"}'}) == [("models/a.json", "personal")]
    several = b'[{"apiVersion": "v1", "kind": "Pod"}]'
    assert problems({}, {"models/a.json": several}) == [("models/a.json", "unjudged")]


def test_a_comment_in_a_declaration_is_looked_at_too() -> None:
    token = b"ghp_" + b"a1B2" * 9
    assert problems({}, {"a.yaml": OBJECT + b"# " + token + b"\n"}) == [("a.yaml", "secret")]
    found = repository_files(Before({}, Sight(), known=True), {"a.txt": token}, Sight())
    assert found is not None
    assert token.decode() not in str(found.manifest)


def test_lists_of_people_who_agreed_to_be_named_and_files_of_our_own_are_left_alone() -> None:
    people = "\n".join(f"* person{number}@mail.co" for number in range(9)).encode()
    assert problems({}, {"CODEOWNERS": people, "AUTHORS.md": people, "signers": people}, governed=["signers"]) == []
    assert problems({}, {"people.md": people}) == [("people.md", "personal")]
    assert problems({}, {"signers": CARD}, governed=["signers"]) == [("signers", "personal")]


def test_more_than_can_be_looked_at_shuts_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filescan, "MAX_SCANNED", 10)
    with pytest.raises(CannotDecideError):
        problems({}, {"a.txt": b"x" * 11})
