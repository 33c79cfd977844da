"""`customhouse health`: rows in the order of what is named, from files, folders and standard input; clear errors."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from customhouse.app.healthcheck import health_of
from customhouse.core.errors import CustomhouseError, DeclarationError, SourceError, UsageError

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop}\nstatus: {phase: Succeeded}\n"


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["resource"]["name"] for row in rows]


def test_rows_are_in_the_order_of_the_arguments_and_of_the_documents(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(POD % "b1" + "---\n" + POD % "b2")
    (tmp_path / "a.yaml").write_text(POD % "a")
    rows = health_of([str(tmp_path / "b.yaml"), "-", str(tmp_path / "a.yaml")], io.BytesIO((POD % "in").encode()))
    assert _names(rows) == ["b1", "b2", "in", "a"]
    assert rows[0] == {
        "resource": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "b1"},
        "status": "Healthy",
        "message": "it succeeded",
    }


def test_lists_are_told_item_by_item_in_json_and_yaml_and_names_may_be_missing(tmp_path: Path) -> None:
    items = [{"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Failed"}}, {"apiVersion": "v1", "kind": "Secret"}]
    place = tmp_path / "dump.json"
    place.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    listed = tmp_path / "dump.yaml"
    listed.write_text("apiVersion: v1\nkind: PodList\nitems:\n- {apiVersion: v1, kind: Pod}\n")
    rows = health_of([str(place), str(listed)])
    assert [(row["resource"]["kind"], row["status"]) for row in rows] == [
        ("Pod", "Degraded"),
        ("Secret", "Healthy"),
        ("Pod", "Progressing"),
    ]
    assert _names(rows) == ["", "", ""]


def test_a_folder_is_read_in_order_and_its_data_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("z.yaml", "sub/a.yml", ".hidden/x.yaml", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(POD % name.replace("/", "-"))
    (tmp_path / "values.json").write_text('{"replicas": 3}')
    assert _names(health_of([str(tmp_path)])) == ["sub-a.yml", "z.yaml"]


@pytest.mark.parametrize(
    ("text", "error", "part"),
    [
        ("a: [1", DeclarationError, "stdin:2:1"),
        ("a: 1\na: 2", DeclarationError, "a"),
        (POD % "x" + "---\nfoo: 1\n", DeclarationError, "stdin:6:1: this is no Kubernetes object"),
        ('{"apiVersion": "v1"}', DeclarationError, "no Kubernetes object"),
        ('{"apiVersion": "v1", "kind": "Pod", "kind": "Secret"}', DeclarationError, "the key 'kind' is there twice"),
        ("[1]", DeclarationError, "no Kubernetes object"),
        ("# nothing\n", DeclarationError, "no object"),
        ("", SourceError, "empty"),
        ('{"a":' * 70 + "1" + "}" * 70, DeclarationError, "64 levels"),
        ("[" * 100_000, DeclarationError, "stdin"),
    ],
)
def test_what_cannot_be_read_is_an_error_with_its_place(text: str, error: type[CustomhouseError], part: str) -> None:
    with pytest.raises(error) as caught:
        health_of(["-"], io.BytesIO(text.encode()))
    assert part in str(caught.value)
    assert caught.value.exit_status == 3
    assert caught.value.hint


def test_broken_json_names_line_and_column(tmp_path: Path) -> None:
    place = tmp_path / "dump.json"
    place.write_text('{"apiVersion": "v1",\n "kind": }')
    with pytest.raises(DeclarationError, match=r"dump\.json:2:10"):
        health_of([str(place)])


def test_a_place_that_is_not_there_is_a_mistake_of_usage(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none.yaml"), str(tmp_path)):
        with pytest.raises(UsageError):
            health_of([path])
