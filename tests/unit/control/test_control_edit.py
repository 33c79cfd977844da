"""Minimal edits: one value changes, every other byte stays."""

from __future__ import annotations

import pytest

from customhouse.control.edit import edit
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import ResourceRef

TEXT = """\
# right-sized by hand
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web   # the name
spec:
  replicas: 2      # two
  template:
    spec:
      containers:
      - name: web
        image: 'nginx:1'
        resources:
          limits: { cpu: "2", memory: 4Gi }  # flow
          requests:
            cpu: 500m
        command: ["a", b]
      - name: side
        args: |
          long
          text

        empty:
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {}
"""
WEB = ResourceRef("apps/v1", "Deployment", "default", "web")
CONFIG = ResourceRef("v1", "ConfigMap", "default", "c")
LIMITS = "/spec/template/spec/containers/0/resources/limits"


def changed(pointer: str, value: str, subject: ResourceRef | int = WEB, text: str = TEXT) -> list[tuple[str, str]]:
    """The lines that differ, as (before, after); the file keeps its number of lines unless one is added."""
    after = edit(text.encode(), subject, [FieldEdit(pointer, value)], file="f.yaml").decode()
    old, new = text.splitlines(keepends=True), after.splitlines(keepends=True)
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return [("".join(old), "".join(new))]


@pytest.mark.parametrize(
    ("pointer", "value", "before", "after"),
    [
        ("/spec/replicas", "3", "  replicas: 2      # two\n", "  replicas: 3      # two\n"),
        (
            f"{LIMITS}/memory",
            "768Mi",
            '          limits: { cpu: "2", memory: 4Gi }  # flow\n',
            '          limits: { cpu: "2", memory: 768Mi }  # flow\n',
        ),
        (
            f"{LIMITS}/cpu",
            "1",
            '          limits: { cpu: "2", memory: 4Gi }  # flow\n',
            '          limits: { cpu: "1", memory: 4Gi }  # flow\n',
        ),
        (
            "/spec/template/spec/containers/0/image",
            "it's:2",
            "        image: 'nginx:1'\n",
            "        image: 'it''s:2'\n",
        ),
        (
            "/spec/template/spec/containers/0/command/1",
            '"x,y"',
            '        command: ["a", b]\n',
            '        command: ["a", "x,y"]\n',
        ),
        ("/spec/template/spec/containers/1/empty", "now", "        empty:\n", "        empty: now\n"),
        (
            "/spec/template/spec/containers/1/args",
            "short",
            "        args: |\n          long\n          text\n",
            "        args: short\n",
        ),
    ],
)
def test_a_scalar_is_replaced_in_its_own_style(pointer: str, value: str, before: str, after: str) -> None:
    assert changed(pointer, value) == [(before, after)]


@pytest.mark.parametrize(
    ("pointer", "value", "subject", "before", "after"),
    [
        ("/spec/template/spec/containers/0/resources/requests/memory", "1Gi", WEB, "", "            memory: 1Gi\n"),
        ("/metadata/labels/customhouse.dev~1team", "risk", WEB, "", "  labels:\n    customhouse.dev/team: risk\n"),
        ("/data/key", "v", CONFIG, "data: {}\n", "data: {key: v}\n"),
        ("/metadata/labels/a", "v", 1, "metadata: {name: c}\n", "metadata: {name: c, labels: {a: v}}\n"),
        (
            "/spec/template/spec/containers/1/empty/cpu",
            "1",
            WEB,
            "        empty:\n",
            "        empty: {cpu: 1}\n",
        ),
        ("/data/yes", "v", CONFIG, "data: {}\n", 'data: {"yes": v}\n'),
    ],
)
def test_a_missing_key_is_added_in_the_style_of_its_mapping(
    pointer: str, value: str, subject: ResourceRef | int, before: str, after: str
) -> None:
    assert changed(pointer, value, subject) == [(before, after)]


def test_a_key_is_added_before_a_block_scalar_whose_end_is_not_sure() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: |+\n    x\n\n"
    assert changed("/data/b", "1x", CONFIG, text) == [("", "  b: 1x\n")]


def test_several_edits_are_made_together() -> None:
    pointer = "/spec/template/spec/containers/1/resources/limits"
    after = edit(
        TEXT.encode(), WEB, [FieldEdit(f"{pointer}/cpu", "1"), FieldEdit(f"{pointer}/memory", "1Gi")], file="f"
    ).decode()
    assert "resources:\n          limits:\n            cpu: 1\n            memory: 1Gi\n" in after.replace(
        "  - ", "  - "
    )


def test_windows_line_ends_and_byte_order_mark_stay() -> None:
    text = "\ufeff" + TEXT.replace("\n", "\r\n")
    after = edit(text.encode(), WEB, [FieldEdit("/spec/replicas", "3"), FieldEdit("/spec/paused", "true")], file="f")
    assert after.startswith(b"\xef\xbb\xbf# right-sized")
    assert after.count(b"\n") == after.count(b"\r\n") == text.count("\n") + 1
    assert b"  paused: true\r\n" in after


def test_a_file_without_a_last_line_break_keeps_it_so() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c"
    assert edit(text.encode(), 0, [FieldEdit("/metadata/x", "1")]).decode() == text + "\n  x: 1"


def test_json_stays_json() -> None:
    import json

    text = (
        '{\n  "apiVersion": "v1", "kind": "ConfigMap",\n  "metadata": {\n    "name": "c"\n  },\n  "n": 1, "b": {}\n}\n'
    )
    edits = [FieldEdit("/n", "2"), FieldEdit("/metadata/x", "z"), FieldEdit("/b/c", "true"), FieldEdit("/d/e", "2Gi")]
    after = edit(text.encode(), 0, edits)
    assert json.loads(after)["metadata"] == {"name": "c", "x": "z"}
    assert json.loads(after) | {"metadata": 0} == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": 0,
        "n": 2,
        "b": {"c": True},
        "d": {"e": "2Gi"},
    }


def test_an_object_of_a_list_is_found() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- " + TEXT.partition("---")[0].replace("\n", "\n  ").rstrip() + "\n"
    assert changed("/spec/replicas", "3", WEB, text) == [
        ("    replicas: 2      # two\n", "    replicas: 3      # two\n"),
    ]


@pytest.mark.parametrize(
    ("text", "pointer", "value", "message"),
    [
        ("a: &x 1\nb: *x\n", "/a", "2", "shared by an alias"),
        ("a: &x {c: 1}\nb: *x\n", "/a/c", "2", "shared by an alias"),
        ("a: &x {c: 1}\nb: *x\n", "/b/c", "2", "shared by an alias"),
        ("a: &x {c: 1}\nb: {<<: *x}\n", "/b/c", "2", "comes from a merge"),
        ("a: !!str 1\n", "/a", "2", "an anchor or a tag"),
        ("a: {b: 1}\n", "/a", "2", "only scalars"),
        ("a: [1]\n", "/a/1", "2", "no item 1"),
        ("a: x\n", "/a/b", "2", "no mapping to hold"),
        ("a: 1\n", "/b/0/c", "2", "list items are not added"),
        ("a: 1\n", "a", "2", "begins with '/'"),
        ("a: 1\n", "/a", "x: y", "not one scalar"),
        ("a: 1\n", "/a", "1 # x", "not one scalar"),
        ("a: 1\n", "/a", "1\nb: 2", "not"),
        ("a: 1\n", "/a", "", "not one scalar"),
        ("a: 1\n", "/a", "*x", "not YAML"),
        ("a: 1\n", "/a", "&x 1", "not one scalar"),
        ("a: 1\n", "/a", "!!str 1", "not one scalar"),
        ("a: 1\n", "/a", "[1]", "not one scalar"),
        ("a: 1\n", "/a", "--- 1", "not one scalar"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(text: str, pointer: str, value: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        edit(text.encode(), 0, [FieldEdit(pointer, value)], file="f.yaml")


def test_an_object_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeclarationError, match="not in this file"):
        edit(TEXT.encode(), ResourceRef("v1", "Pod", "default", "x"), [FieldEdit("/a", "1")])
    with pytest.raises(DeclarationError, match="no document 7"):
        edit(TEXT.encode(), 7, [FieldEdit("/a", "1")])


def test_text_in_a_flow_list_is_quoted_when_it_must_be() -> None:
    assert changed("/a/0", "x,y", 0, "a: [b, c]\n") == [("a: [b, c]\n", 'a: ["x,y", c]\n')]
