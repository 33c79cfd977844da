"""Where a value is written: whatever a file looks like, what is altered is the lines that have it, and nothing else."""

from __future__ import annotations

import difflib

import yaml
from hypothesis import given
from hypothesis import strategies as st

from customhouse.control.promote import scalar
from customhouse.control.written import written
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration, Location, Rendering, ResourceRef

words = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True).filter(lambda word: word not in ("y", "n", "on", "no"))
tags = st.from_regex(r"v?[0-9]{1,3}(\.[0-9]{1,2}){0,2}(-rc\.[0-9])?", fullmatch=True)
quotes = st.sampled_from(["", "'", '"'])
comments = st.sampled_from(["", "  # a comment", " # {{ not a template }}"])


def rendered(image: str) -> Declaration:
    container = {"name": "main", "image": image}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    ref = ResourceRef("apps/v1", "Deployment", "b", "a")
    return Declaration(ref, manifest, Location("chart/t.yaml", 1, 1), rendering=Rendering("chart", "helm", "4", ""))


@st.composite
def files(draw: st.DrawFn) -> tuple[str, str, str, str]:
    """A values file with an image in parts at some depth, the image now and as it is to be, and the line of its tag."""
    repository = f"registry.example/{draw(words)}"
    old, new = draw(st.lists(tags, min_size=2, max_size=2, unique=True))
    mark = draw(quotes)
    depth = draw(st.integers(0, 3))
    step = draw(st.sampled_from([2, 4]))
    indent = " " * (step * depth)
    lines = [f"{' ' * (step * level)}part{level}:{draw(comments)}" for level in range(depth)]
    line = f"{indent}tag: {mark}{old}{mark}{draw(comments)}"
    lines += [f"{indent}repository: {repository}{draw(comments)}", line, f"{indent}pullPolicy: Always"]
    before = [f"{draw(words)}0: [1, {{a: b}}]{draw(comments)}", "", "# a line of words"]
    after = ["last: |", "  tag: kept", f"  {old}"]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join([*before, *lines, *after, ""]), f"{repository}:{old}", f"{repository}:{new}", line


@given(files())
def test_one_line_of_a_values_file_is_altered_and_says_the_new_tag(case: tuple[str, str, str, str]) -> None:
    text, old, new, line = case
    edit = FieldEdit("/spec/template/spec/containers/0/image", scalar(new))
    name = "environments/values.yaml"
    found = [(made[name].decode(), rest) for made, rest in written(rendered(old), [edit], {name: text.encode()})]
    assert found, text
    after, rest = found[0]
    assert rest == ()
    difference = list(difflib.ndiff(text.splitlines(keepends=True), after.splitlines(keepends=True)))
    assert [one[2:].rstrip("\r\n") for one in difference if one[0] == "-"] == [line]
    assert sum(one[0] == "+" for one in difference) == 1
    assert [one for one in _leaves(yaml.safe_load(after)) if one == new.rpartition(":")[2]]


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in _leaves(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]
