"""Values that are made quickly are the values that their dataclass makes, and as frozen."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from customhouse._kit.frozen import quickly_made


@quickly_made
@dataclass(frozen=True, slots=True, order=True)
class Quick:
    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list, compare=False)
    fourth: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    fifth: bytes | None = field(default=None, init=False)
    sixth: int = field(default=6, kw_only=True)


@dataclass(frozen=True, slots=True, order=True)
class Plain:
    first: int
    second: str = "two"
    third: list[int] = field(default_factory=list, compare=False)
    fourth: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)
    fifth: bytes | None = field(default=None, init=False)
    sixth: int = field(default=6, kw_only=True)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((1,), {}),
        ((1, "a"), {}),
        ((1, "a", [3]), {"sixth": 0}),
        ((), {"second": "b", "first": 2}),
        ((1,), {"third": []}),
    ],
)
def test_it_holds_what_the_dataclass_holds(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    quick, plain = Quick(*given, **named), Plain(*given, **named)
    assert type(quick) is Quick
    assert [getattr(quick, one.name) for one in fields(Quick)] == [getattr(plain, one.name) for one in fields(Plain)]
    assert repr(quick) == repr(plain).replace("Plain", "Quick")
    assert quick == Quick(*given, **named)
    assert hash(quick) == hash(plain)


def test_each_instance_has_containers_of_its_own() -> None:
    one, other = Quick(1), Quick(1)
    assert one.third is not other.third
    assert one.fourth is not other.fourth


def test_it_is_frozen() -> None:
    quick = Quick(1)
    for name in ("first", "fifth", "unknown", "__class__"):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(quick, name, 2)
    with pytest.raises(FrozenInstanceError):
        del quick.first
    assert quick.first == 1


def test_it_is_replaced_copied_and_ordered_as_before() -> None:
    quick = Quick(1, "a", [1], sixth=7)
    assert replace(quick, first=2) == Quick(2, "a", [1], sixth=7)
    for same in (copy.copy(quick), copy.deepcopy(quick), pickle.loads(pickle.dumps(quick))):
        assert same == quick
        assert type(same) is Quick
    assert Quick(1) < Quick(2)


@pytest.mark.parametrize(("given", "named"), [((), {}), ((1, 2, 3, 4), {}), ((1,), {"fourth": {}}), ((1,), {"x": 1})])
def test_wrong_arguments_are_refused_as_before(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as plain:
        Plain(*given, **named)
    with pytest.raises(TypeError) as quick:
        Quick(*given, **named)
    assert str(quick.value) == str(plain.value).replace("Plain", "Quick")


def test_its_arguments_can_be_read_as_before() -> None:
    quick, plain = (inspect.signature(one.__init__).parameters for one in (Quick, Plain))
    assert [(name, one.kind, one.annotation) for name, one in quick.items()] == [
        (name, one.kind, one.annotation) for name, one in plain.items()
    ]


def test_what_does_not_stand_by_itself_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be derived"):

        class Derived(Quick):
            pass

    class Altered:
        first: int

    with pytest.raises(TypeError, match="slots"):
        quickly_made(dataclass(frozen=True)(type("Bare", (), {"__annotations__": {"first": int}})))
    with pytest.raises(TypeError, match="no frozen dataclass"):
        quickly_made(dataclass(slots=True)(Altered))
