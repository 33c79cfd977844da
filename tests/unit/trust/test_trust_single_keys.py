"""JSON that names a member twice says two things to two readers: as evidence it says nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.app.modelbom import differences
from customhouse.app.models import read_evaluation
from customhouse.app.package_sources import read_listed
from customhouse.core.errors import CustomhouseError
from customhouse.trust.bom_merge import read_image
from customhouse.trust.images.places import read_json
from customhouse.trust.lockfiles import read_lock
from customhouse.trust.strict_json import parse, parse_many
from customhouse.trust.vulnerabilities.locks import read_packages

BILL = b'{"bomFormat":"CycloneDX","components":[{"type":"library","purl":"pkg:pypi/a@1","name":"a"}],"components" :[]}'
LOCK = b'{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1.0.0"},"node_modules/a" :{"version":"2.0.0"}}}'
COMPOSER = b'{"packages":[{"name":"a/b","version":"1"}],"packages":[]}'
READERS: dict[str, Any] = {
    "vuln scan of a bill": lambda place: read_listed(place("app.cdx.json", BILL)),
    "vuln scan of a lock": lambda place: read_listed(place("composer.lock", COMPOSER)),
    "bom --image": lambda _: read_image(BILL, "image.json"),
    "bom --lock": lambda _: read_lock(LOCK, "package-lock.json"),
    "composer.lock": lambda _: read_packages(COMPOSER, "composer.lock"),
    "bom diff": lambda place: differences(str(place("a.json", BILL)), str(place("b.json", BILL))),
    "an evaluation": lambda place: read_evaluation(str(place("e.json", b'{"auc":0.5,"auc":0.9}'))),
    "an image's manifest": lambda _: read_json(b'{"layers":[],"layers":[1]}', "manifest"),
    "a statement": lambda _: parse(b'{"a":1,"a":2}', "statement"),
}


@pytest.mark.parametrize("reader", READERS)
def test_evidence_that_names_a_member_twice_is_refused_by_its_name(tmp_path: Path, reader: str) -> None:
    def place(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    with pytest.raises(CustomhouseError, match="is there twice"):
        READERS[reader](place)


TEXTS = st.text(alphabet=':"\\\\ abu03Aé', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(TEXTS, inner), max_size=3).map(tuple),
    max_leaves=12,
)


def _written(value: Any, blanks: str, draw: Any) -> str:
    """A tuple of pairs as an object, whose names may be there twice; texts with escapes that nobody needs."""
    if isinstance(value, tuple):
        return (
            "{" + ",".join(f"{_written(k, blanks, draw)}{blanks}:{_written(v, blanks, draw)}" for k, v in value) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(_written(item, blanks, draw) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace(":", r"\u003a") if isinstance(value, str) and draw(st.booleans()) else text


def _has_twin(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(dict(value)) != len(value) or any(_has_twin(item) for _, item in value)
    return isinstance(value, list) and any(map(_has_twin, value))


@settings(max_examples=400, deadline=None)
@given(value=VALUES, blanks=st.sampled_from(("", " ", "\n\t")), data=st.data())
def test_a_name_that_is_there_twice_is_found_wherever_it_is_and_nothing_else_is(
    value: Any, blanks: str, data: st.DataObject
) -> None:
    text = _written(value, blanks, data.draw)
    if _has_twin(value):
        with pytest.raises(ValueError, match="is there twice"):
            parse_many(text.encode())
    else:
        assert parse_many(text.encode()) == json.loads(text)


@pytest.mark.parametrize("depth", [250, 300])
def test_what_is_nested_deeper_than_it_can_be_written_is_read(depth: int) -> None:
    assert parse_many(b'{"a":' * depth + b"1" + b"}" * depth)


@pytest.mark.parametrize("depth", [1100, 100_000])
def test_what_is_nested_too_deep_is_refused_and_no_crash(depth: int) -> None:
    with pytest.raises(ValueError, match=r"deep|depth|recursion"):
        parse_many(b'{"a":' * depth + b"1" + b"}" * depth)
