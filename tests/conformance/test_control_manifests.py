"""Real repositories' YAML: it renders or says why not, and an edit of it is one line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
import yaml

from customhouse._kit.digest import json_digest
from customhouse.control.edit import edit
from customhouse.control.render import render, render_noted
from customhouse.control.yaml_values import escape
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration

Rendered = dict[Path, tuple[Declaration, ...]]


@pytest.fixture(scope="module")
def manifests(shared_data: Path) -> Path:
    return shared_data / "manifests"


@pytest.fixture(scope="module")
def rendered(manifests: Path) -> tuple[Rendered, dict[Path, DeclarationError]]:
    found: Rendered = {}
    refused: dict[Path, DeclarationError] = {}
    for path in sorted(manifests.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json") and path.stem != "kustomization" and path.name != "Chart.yaml":
            try:
                found[path] = render({path.name: path.read_bytes()})
            except DeclarationError as error:
                refused[path] = error
    return found, refused


def scalars(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from scalars(item, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from scalars(item, f"{pointer}/{index}")
    else:
        yield pointer, value


def test_every_file_renders_or_says_where_and_why_not(
    rendered: tuple[Rendered, dict[Path, DeclarationError]],
) -> None:
    found, refused = rendered
    assert len(found) >= 350
    assert sum(map(len, found.values())) >= 770
    # Placeholders such as {username}, Kustomize's variables and patches: not objects by Kubernetes' own reading either.
    assert len(refused) <= 30
    for path, error in refused.items():
        assert error.where.startswith(f"{path.name}:")
        assert error.message


def test_values_are_those_that_another_reader_gives(rendered: tuple[Rendered, dict[Path, DeclarationError]]) -> None:
    compared = 0
    for path, declarations in rendered[0].items():
        text = path.read_text()
        if len(text) > 100_000:
            continue
        try:
            # The base loader keeps every scalar as text, so it differs in no rule of scalars.
            documents = [item for item in yaml.load_all(text, Loader=yaml.CBaseLoader) if item]
        except yaml.YAMLError:
            continue
        documents = [item for document in documents for item in document.get("items", [document])]
        if len(documents) != len(declarations):
            continue
        for document, declaration in zip(documents, declarations, strict=True):
            ours = {pointer for pointer, _ in scalars(declaration.manifest)}
            theirs = {pointer for pointer, _ in scalars(document)}
            if "<<" not in text:
                assert ours == theirs
                compared += 1
    assert compared > 450


def test_an_edit_of_a_real_manifest_is_one_line(rendered: tuple[Rendered, dict[Path, DeclarationError]]) -> None:
    edits = one_line = 0
    for path, declarations in rendered[0].items():
        data = path.read_bytes()
        if len(data) > 6_000:  # the larger ones differ in length alone
            continue
        lines = data.decode().splitlines()
        for declaration in declarations[:2]:
            candidates = [
                (pointer, value)
                for pointer, value in scalars(declaration.manifest)
                if value is not None and "\n" not in str(value) and pointer.startswith("/spec")
            ]
            for pointer, _ in candidates[:: max(1, len(candidates) // 3)]:
                after = edit(data, declaration.ref, [FieldEdit(pointer, "changed-1")], file=path.name)
                difference = list(unified_diff(lines, after.decode().splitlines(), n=0))[2:]
                marks = [line[0] for line in difference if line[0] in "+-"]
                edits += 1
                # A long scalar that its author folded over several lines becomes one; nothing else may.
                one_line += marks == ["-", "+"]
    assert edits > 400
    assert one_line / edits > 0.98


def test_an_added_key_adds_its_lines_and_changes_none(
    rendered: tuple[Rendered, dict[Path, DeclarationError]],
) -> None:
    added = 0
    for path, declarations in rendered[0].items():
        data = path.read_bytes()
        if len(data) > 6_000 or b"{" in data:
            continue
        for declaration in declarations[:2]:
            after = edit(data, declaration.ref, [FieldEdit("/metadata/annotations/customhouse.dev~1wave", '"1"')])
            difference = list(unified_diff(data.decode().splitlines(), after.decode().splitlines(), n=0))[2:]
            assert not [line for line in difference if line.startswith("-")], path
            added += 1
    assert added > 150


def test_a_whole_repository_notes_every_kustomization(manifests: Path) -> None:
    root = manifests / "fluxcd__flux2-kustomize-helm-example"
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    # Two clusters of one repository declare objects of the same names: they are two targets.
    files = {name: data for name, data in files.items() if not name.startswith("clusters/staging/")}
    found = render_noted(files)
    kustomizations = {name for name in files if Path(name).stem == "kustomization"}
    assert kustomizations
    assert {note.location.file for note in found.notes} == kustomizations
    folders = {str(Path(name).parent) + "/" for name in kustomizations}
    # Flux's own objects of that name are plain declarations.
    assert "Kustomization" in {item.ref.kind for item in found.declarations}
    assert not [item for item in found.declarations if any(item.location.file.startswith(name) for name in folders)]
    with pytest.raises(DeclarationError, match="needs Kustomize"):
        render(files)


def test_a_thousand_objects_are_read_within_seconds(
    rendered: tuple[Rendered, dict[Path, DeclarationError]],
) -> None:
    document = b"---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d-%d\n  labels: {app: web}\nspec:\n"
    document += b"  replicas: 2\n  template:\n    spec:\n      containers:\n      - name: web\n        image: nginx\n"
    document += b"        resources:\n          limits: {cpu: 1, memory: 1Gi}\n"
    data = b"".join(document % number for number in range(1000))
    started = time.process_time()
    declarations = render({"f.yaml": data})
    seconds = time.process_time() - started
    assert len({json_digest(item.manifest) for item in declarations}) == 1000
    assert seconds < 5
