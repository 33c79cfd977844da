"""The quick reader agrees with the whole reader, or says nothing: on real manifests and on mutations of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from customhouse._kit.digest import json_digest
from customhouse.control import yaml_nodes
from customhouse.control.render import render
from customhouse.control.yaml_marks import MarksLater
from customhouse.control.yaml_nodes import Limits
from customhouse.control.yaml_quick import quick_documents
from customhouse.control.yaml_scalars import Json
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError

BASE = """\
apiVersion: apps/v1
kind: Deployment # a comment
metadata:
  name: web
  labels: {app: web, tier: "a b"}
  annotations:
    note: 'it''s
      folded'
    other: "two\\nlines and
      a third"
spec:
  replicas: 2
  args: [a, 'b', "c"]
  script: |-
    line one

      deeper
  text: >
    folded
    text

    again
  list:
  - name: x
    value: 0644
  - - a
    - 1.5
  -
    k: ~
  plain: goes on
    here: not
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
"""
PIECES = (
    *(": ", " #", "#", "- ", "-", "---\n", "...\n", "\t", "'", '"', "\\", "\\\n", "|", ">", "|-", ">-", "|+", ">+\n"),
    *("|2\n", "&a ", "*a", "!!str ", "!!int ", "<<: *a\n", "{", "}", "[", "]", ",", "? ", ":", "\n", "\n\n", "  ", " "),
    *("   \n", "yes", "no", "on", "~", "null", "0x1F", "0o17", "017", "08", "1_000", "1e3", ".5", "+1", "1.", ".inf"),
    *("1:30", "2001-01-01", "\r\n", "\r", "\ufeff", "\x85", "\u2028", "\xa0", "é", "😀", "%YAML 1.1\n", "@", "`", "="),
    *("\x00", "\\u0041", "\\x41", "\\ ", "''", '""', "on: ", "y: ", "1: ", "null: ", "'a': ", '"a": ', "name: again\n"),
    *("[[", "{a: }"),
)  # fmt: skip


def whole(text: str, limits: Limits = yaml_nodes.LIMITS) -> list[tuple[Json, int, int]]:
    reader = Reader("f", limits)
    return [(reader.read(root).value, root.line, root.column) for root in yaml_nodes.compose(text, "f", limits)]


def agrees(text: str) -> bool:
    """Whether the quick reader understood it; then it has to be right."""
    found = quick_documents(text)
    if found is None:
        return False
    # By digest: 1 and true and 1.0 are equal in Python, and not here.
    assert json_digest([[item.value, item.line, item.column] for item in found]) == json_digest(
        [list(item) for item in whole(text)]
    )
    return True


def one_by_one(text: str) -> None:
    """A place that is asked for by itself is the one that the whole reader gives, or none where it gives none."""
    asked = MarksLater("f", text.encode(), yaml_nodes.LIMITS, None)
    reader = Reader("f", yaml_nodes.LIMITS)
    for number, root in enumerate(yaml_nodes.compose(text, "f")):
        marks = reader.read(root).marks
        for pointer in [*marks, *(f"{known}/{more}" for known in marks for more in ("", "0", "00", "a", "~1"))]:
            assert asked.place(number, pointer) == marks.get(pointer)


def test_real_manifests_are_read_quickly_and_right(shared_data: Path) -> None:
    files = read = understood = 0
    for path in sorted((shared_data / "manifests").rglob("*.y*ml")):
        text = path.read_text()
        if len(text) > 60_000:  # a few large files of definitions are ten seconds of the whole reader
            continue
        files, read = files + 1, read + len(text)
        understood += len(text) if agrees(text) else 0
    assert files > 420
    assert understood / read > 0.95


def test_places_in_real_manifests_are_those_of_the_whole_reader(shared_data: Path) -> None:
    files = [path for path in sorted((shared_data / "manifests").rglob("*.y*ml")) if path.stat().st_size < 20_000]
    understood = [text for text in (path.read_text() for path in files[::12]) if quick_documents(text) is not None]
    assert len(understood) > 30
    for text in understood:
        one_by_one(text)


edits = st.tuples(
    st.sampled_from(["insert", "delete", "indent", "copy", "cut"]), st.integers(0, 10_000), st.integers(0, 200)
)


@settings(max_examples=250)
@given(st.lists(edits, min_size=1, max_size=6))
@example([("insert", 95, 7)])
def test_whatever_becomes_of_a_manifest_is_read_alike_or_not_at_all(steps: list[tuple[str, int, int]]) -> None:
    text = BASE.replace("    here: not\n", "")
    for kind, place, choice in steps:
        at = place % (len(text) + 1)
        lines = text.split("\n")
        line = place % len(lines)
        if kind == "insert":
            text = text[:at] + PIECES[choice % len(PIECES)] + text[at:]
        elif kind == "delete":
            text = text[:at] + text[at + 1 + choice % 8 :]
        elif kind == "indent":
            lines[line] = " " * (choice % 8) + lines[line].lstrip(" ")
            text = "\n".join(lines)
        elif kind == "copy":
            lines.insert(line, lines[choice % len(lines)])
            text = "\n".join(lines)
        else:
            text = text[:at]
    try:
        whole(text)
    except DeclarationError:
        assert quick_documents(text) is None
    else:
        if agrees(text):
            one_by_one(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a: b",
            "a:",
            "a: |\n  x",
            "a: 'x'",
            "- a\n",
            "a: b\n\n",
            "# only\n",
            "",
            "---\n---\na: 1\n---\n",
            "a: !!str 1\n",
        ),
        *(
            "a:\n- b\n-\n- c:\n    d\n",
            "a: x\n  # c\n",
            "a: x\n\n\n  y\n",
            "a: [1, 2,]\n",
            "a: {b: 1}\n",
            "a: '1' # c\n",
        ),
        *(
            'a: "x\\\n  y"\n',
            'a: "x\\ \n  y"\n',
            'a: "x\\\\ \n  y"\n',
            'a: "x\n  y\\ \n  z"\n',
            "a: |+\n  x\n\n\nb: 1\n",
        ),
        *(
            "a: >-\n  x\n\n  y\n",
            "a: |\n  \tx\n",
            "a: |\n\n  x\n",
            "a: |\n \t x\n   y\n",
            "a: -\n",
            "a: --x\n",
            "a: [-, b]\n",
        ),
        *("a: [--1]\n", "a: [y, on, 017]\n", "a: 1 2\n", "a: 1\n  2\n", "a: b: c\n"),
    ],
)
def test_odd_but_plain_text(text: str) -> None:
    try:
        whole(text)
    except DeclarationError:
        assert quick_documents(text) is None
    else:
        agrees(text)


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("".join(f"{'  ' * level}k:\n" for level in range(70)), yaml_nodes.LIMITS),
        ("a:\n" + "- x\n" * 120, Limits(nodes=100)),
        ("a: [" + "x, " * 120 + "x]\n", Limits(nodes=100)),
        ("k" * 100 + ":\n" + "  a: b\n" + "".join(f"  a{n}: b\n" for n in range(99)), Limits(characters=5_000)),
    ],
)
def test_the_limits_are_those_of_the_whole_reader(text: str, limits: Limits) -> None:
    with pytest.raises(DeclarationError):
        whole(text, limits)
    assert quick_documents(text, limits) is None


def test_places_are_the_same_when_they_are_asked_for() -> None:
    text = BASE.replace("    here: not\n", "")
    quick = render({"f.yaml": text.encode()})
    slow = render({"f.yaml": ("\ufeff" + text).encode()})  # a byte order mark is left to the whole reader
    assert quick == slow
    for one, other in zip(quick, slow, strict=True):
        assert dict(one.marks) == dict(other.marks)
    one_by_one(text)
    assert quick[0].locate("/spec/list/0/value").line == 25
