"""Laws of the control plane: reading, editing, differences, and a reconciler that is killed and interfered with."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import json_digest
from customhouse.control.diff import changes, field_diff
from customhouse.control.edit import edit
from customhouse.control.plan import PRUNE
from customhouse.control.reconcile import reconcile
from customhouse.control.render import render
from customhouse.control.yaml_scalars import plain_value
from customhouse.control.yaml_values import escape
from customhouse.core.change import Actor, ActorKind, Operation
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit" / "control"))

from control_world import Killed, MemoryStore, MemoryTarget, declare

# What libyaml can write and read back: no lone surrogates, no control characters.
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp")), max_size=12)
KEYS = st.one_of(TEXT, st.sampled_from(["a", "on", "y", "1", "~", "a/b", "a~1b", "", " x", "- a", "#", "k: v"]))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.sampled_from(["yes", "0644", "1:30", "2026-01-31", "512Mi", "a: b", "'", '"', "*x", "&x", "!x", "<<", "=", "%"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def manifest(value: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "x": value}


def pointers(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar with its JSON pointer."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from pointers(item, f"{pointer}/{escape(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from pointers(item, f"{pointer}/{index}")
    else:
        yield pointer, value


@CALM
@given(VALUES, st.booleans(), st.sampled_from([None, True, False]))
def test_what_was_written_is_read_back(value: Any, quoted: bool, flow: bool | None) -> None:
    document = manifest(value)
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if quoted:  # every scalar in quotes, numbers with their tag
        text = yaml.safe_dump(document, default_style='"', default_flow_style=flow, allow_unicode=True)
    (found,) = render({"f.yaml": text.encode()})
    assert canonical_json(found.manifest) == canonical_json(document)
    assert found.digest == json_digest(document)


@CALM
@given(VALUES)
def test_every_scalar_is_where_its_mark_says(value: Any) -> None:
    text = json.dumps(manifest(value), ensure_ascii=False, indent=2)
    lines = text.split("\n")
    (found,) = render({"f.yaml": text.encode()})
    for pointer, scalar in pointers(found.manifest):
        place = found.marks[pointer]
        assert lines[place.line - 1][place.column - 1 :].startswith(json.dumps(scalar, ensure_ascii=False))


@CALM
@given(st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]:-&*!|>'\"#%@`, \n\tab01?~<=", max_size=80)))
def test_any_bytes_are_read_or_refused_with_a_place(data: bytes | str) -> None:
    try:
        render({"f.yaml": data if isinstance(data, bytes) else data.encode()})
    except DeclarationError as error:
        place = error.where
    else:
        place = "f.yaml"
    assert place.startswith("f.yaml")


@CALM
@given(st.text(alphabet="0123456789xobXOB_+-.eEinfaNyYsSTRUruel~:", max_size=20))
def test_a_plain_scalar_is_a_json_value_or_refused(text: str) -> None:
    try:
        canonical_json(plain_value(text))
    except ValueError:
        assert any(character.isdigit() for character in text) or "n" in text.lower()


@CALM
@given(
    VALUES.filter(lambda value: bool(list(pointers(value)))),
    st.data(),
    st.sampled_from(["3", "512Mi", '"a # b"', "'x'", "true", "null", "x,y", "[".join(["'", "'"])]),
    st.sampled_from(["json", "block", "flow", "quoted"]),
)
def test_an_edit_changes_one_value_and_no_other(value: Any, data: st.DataObject, new: str, style: str) -> None:
    document = manifest(value)
    text = {
        "json": lambda: json.dumps(document, ensure_ascii=False),
        "block": lambda: yaml.safe_dump(document, default_flow_style=False, allow_unicode=True, width=9999),
        "flow": lambda: yaml.safe_dump(document, default_flow_style=True, allow_unicode=True),
        "quoted": lambda: yaml.safe_dump(document, default_style="'", default_flow_style=False, allow_unicode=True),
    }[style]()
    try:
        (before,) = render({"f.yaml": text.encode()})
    except DeclarationError:  # PyYAML writes `y` as a plain key, which Kubernetes reads as true
        return
    pointer, _ = data.draw(st.sampled_from([item for item in pointers(before.manifest) if item[0].startswith("/x")]))
    try:
        after_text = edit(text.encode(), before.ref, [FieldEdit(pointer, new)], file="f.yaml")
    except DeclarationError as error:
        assert "anchor or a tag" in error.message or "alias" in error.message  # noqa: PT017
        return
    (after,) = render({"f.yaml": after_text})
    old, now = dict(pointers(before.manifest)), dict(pointers(after.manifest))
    assert old.keys() == now.keys()
    assert {key for key in old if json_digest(old[key]) != json_digest(now[key])} <= {pointer}
    assert str(now[pointer]).strip("'\"") in (new.strip("'\""), "True", "None")


@CALM
@given(st.dictionaries(st.sampled_from("abcdef"), SCALARS), st.dictionaries(st.sampled_from("abcdef"), SCALARS))
def test_applying_the_changes_to_the_old_state_gives_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    def declared(state: dict[str, Any]) -> tuple[Any, ...]:
        documents = [{**manifest(value), "metadata": {"name": name}} for name, value in state.items()]
        return render({"f.yaml": "\n---\n".join(json.dumps(item, ensure_ascii=False) for item in documents).encode()})

    state = {item.ref: item for item in declared(old)}
    for change in changes(declared(old), declared(new), None, Actor(ActorKind.PERSON, "Ada <a@b>")):
        if change.operation is Operation.DELETE:
            del state[change.ref]
        else:
            assert change.after is not None
            assert (change.operation is Operation.CREATE) == (change.ref not in state)
            state[change.ref] = change.after
    assert {ref: item.digest for ref, item in state.items()} == {item.ref: item.digest for item in declared(new)}


@CALM
@given(VALUES, VALUES)
def test_no_difference_to_itself_and_none_to_more(value: Any, extra: Any) -> None:
    declared = {"kind": "X", "spec": {"a": value}}
    assert field_diff(declared, copy.deepcopy(declared)) == ()
    assert field_diff(declared, {**declared, "spec": {"a": value, "b": extra}, "status": extra}) == ()


class Fleet(RuleBasedStateMachine):
    """Two sources, strangers' objects and kills; nothing that is not ours is ever touched."""

    def __init__(self) -> None:
        super().__init__()
        self.target, self.store = MemoryTarget(), MemoryStore()
        self.strangers = {item.ref: dict(item.manifest) for item in declare(("s1", "x"), ("s2", "x"))}
        self.target.objects.update(self.strangers)
        self.declared: dict[str, dict[str, tuple[str, bool]]] = {"one": {}, "two": {}}
        self.ever: dict[str, set[str]] = {"one": set(), "two": set()}
        self.kept: set[str] = set()

    @rule(source=st.sampled_from(["one", "two"]), number=st.integers(0, 4), value=st.integers(0, 3), keep=st.booleans())
    def write(self, source: str, number: int, value: int, keep: bool) -> None:
        self.declared[source][f"{source}-{number}"] = (str(value), keep)

    @rule(source=st.sampled_from(["one", "two"]), number=st.integers(0, 4))
    def remove(self, source: str, number: int) -> None:
        self.declared[source].pop(f"{source}-{number}", None)

    @rule(number=st.integers(0, 4), gone=st.booleans())
    def interfere(self, number: int, gone: bool) -> None:
        for ref in list(self.target.objects):
            if ref.name == f"one-{number}":
                if gone:
                    del self.target.objects[ref]
                else:
                    self.target.objects[ref] = {**self.target.objects[ref], "data": {"k": "evil"}}

    @rule(
        source=st.sampled_from(["one", "two"]),
        moment=st.one_of(st.none(), st.integers(0, 4)),
        in_store=st.booleans(),
        budget=st.sampled_from([0, 50, 100]),
    )
    def sync(self, source: str, moment: int | None, in_store: bool, budget: int) -> None:
        wanted = self.declared[source]
        desired = (
            declare(*((name, value, {PRUNE: "disabled"} if keep else {}) for name, (value, keep) in wanted.items()))
            if wanted
            else ()
        )
        before = dict(self.target.objects)
        if in_store:
            self.store.kill_on_write = moment
        else:
            self.target.kill_after = moment
        try:
            report = reconcile(self.target, self.store, source, "r", desired, prune_budget_percent=budget)
        except Killed:
            return
        finally:
            self.store.kill_on_write = self.target.kill_after = None
        others = {ref: item for ref, item in before.items() if not ref.name.startswith(f"{source}-")}
        assert {ref: self.target.objects.get(ref) for ref in others} == others
        if report.blocked is not None:
            assert self.target.objects == before
            return
        assert all(field_diff(item.manifest, self.target.objects[item.ref]) == () for item in desired)
        left = {ref.name for ref in self.target.objects if ref.name.startswith(f"{source}-")} - set(wanted)
        assert left == {ref.name for ref in report.kept}
        writes, self.target.log = self.store.writes, []
        again = reconcile(self.target, self.store, source, "r", desired, prune_budget_percent=budget)
        assert again.settled
        assert (self.store.writes, self.target.log) == (writes, [])

    @invariant()
    def strangers_are_untouched(self) -> None:
        assert {ref: self.target.objects.get(ref) for ref in self.strangers} == self.strangers


Fleet.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestFleet = Fleet.TestCase
