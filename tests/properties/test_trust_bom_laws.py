"""Laws of bills of materials: valid for any names, nothing differs from itself, merging keeps all, both ways agree."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from spdx_python_model import v3_0_1 as spdx

from customhouse._kit.digest import FileEntry, Tree, bytes_digest
from customhouse.trust.bom import SPEC_VERSIONS, model_bom
from customhouse.trust.bom_diff import compare
from customhouse.trust.bom_merge import read_image
from customhouse.trust.bom_parts import Material
from customhouse.trust.bom_spdx import in_spdx
from customhouse.trust.libraries import Library
from customhouse.trust.scan import Description

AT = datetime(2026, 1, 1, tzinfo=UTC)
VALIDATORS = {"1.6": JsonStrictValidator(SchemaVersion.V1_6), "1.7": JsonStrictValidator(SchemaVersion.V1_7)}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
"""What a file or a licence may be called: anything that is UTF-8."""
DIGESTS = st.binary(max_size=4).map(bytes_digest)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple)
DESCRIPTIONS = st.builds(
    Description, architecture=TEXTS, family=TEXTS, task=TEXTS, licence=TEXTS, about=TEXTS,
    parameters=st.integers(0, 10**12), element_types=st.just((("F32", "3"),)),
    inputs=st.lists(TEXTS, max_size=2).map(tuple),
    base_models=st.lists(TEXTS, max_size=2, unique=True).map(tuple), datasets=st.lists(TEXTS, max_size=2).map(tuple),
    properties=PAIRS, metrics=PAIRS,
)  # fmt: skip
LIBRARIES = st.lists(
    st.builds(lambda name, version, licence: Library(name, version, f"pkg:pypi/{name}@{version}", licence),
              st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.from_regex(r"[0-9]\.[0-9]", fullmatch=True), TEXTS),
    max_size=4,
)  # fmt: skip


@st.composite
def bills(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(TEXTS, min_size=1, max_size=4, unique=True))
    tree = Tree(tuple(FileEntry(name, draw(DIGESTS), draw(st.integers(0, 9))) for name in names))
    data = draw(st.lists(st.builds(Material, TEXTS, DIGESTS, licence=TEXTS), max_size=2))
    said = draw(st.dictionaries(st.sampled_from(names), DESCRIPTIONS, max_size=2))
    return model_bom(
        name=draw(TEXTS),
        version=draw(TEXTS),
        tree=tree,
        issued_at=AT,
        described=said,
        datasets=data,
        libraries=draw(LIBRARIES),
        spec_version=draw(st.sampled_from(SPEC_VERSIONS)),
    )


@settings(max_examples=25, deadline=None)
@given(bills())
def test_any_names_make_a_valid_document_in_both_formats(bill: dict[str, Any]) -> None:
    problem = VALIDATORS[bill["specVersion"]].validate_str(json.dumps(bill))
    assert problem is None, str(problem)[:1500]
    found = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().deserialize_data(json.loads(json.dumps(in_spdx(bill))), found)
    assert len([item for item in found.foreach() if isinstance(item, spdx.software_File)]) == sum(
        part["type"] == "file" for part in bill["components"]
    )


@settings(max_examples=60, deadline=None)
@given(bills(), bills())
def test_nothing_differs_from_itself_and_the_other_way_round_is_the_mirror(
    left: dict[str, Any], right: dict[str, Any]
) -> None:
    assert compare(left, left) == ()
    there, back = compare(left, right), compare(right, left)
    mirror = {"added": "removed", "removed": "added", "changed": "changed"}
    assert sorted((row.kind, row.name, row.change, row.before, row.after) for row in there) == sorted(
        (row.kind, row.name, mirror[row.change], row.after, row.before) for row in back
    )
    if left["components"] != right["components"]:
        assert there, "two bills with other parts differ in something"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(["library", "file", "odd", "operating-system"])), max_size=6),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=6),
)
def test_merging_an_image_keeps_every_part_and_every_need(
    parts: list[tuple[str, str, str]], needs: list[tuple[int, int]]
) -> None:
    listed = [{"bom-ref": f"r{n}", "name": a, "version": b, "type": kind} for n, (a, b, kind) in enumerate(parts)]
    image = {
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"bom-ref": "top", "name": "image", "type": "container"}},
        "components": listed,
        "dependencies": [{"ref": f"r{a}", "dependsOn": [f"r{b}"]} for a, b in dict(needs).items()],
    }
    tree = Tree((FileEntry("w", bytes_digest(b"w"), 1),))
    bill = model_bom(
        name="m", version="1", tree=tree, issued_at=AT, images=[read_image(json.dumps(image).encode(), "i")] * 2
    )
    assert VALIDATORS["1.6"].validate_str(json.dumps(bill)) is None
    for which in ("image1", "image2"):
        kept = [part for part in bill["components"] if part["bom-ref"].startswith(f"{which}:")]
        assert [part["name"] for part in kept] == ["image", *(name for name, _, _ in parts)]
        rows = {row["ref"]: row["dependsOn"] for row in bill["dependencies"]}
        for a, b in dict(needs).items():
            if a < len(parts) and b < len(parts):
                assert f"{which}:r{b}" in rows[f"{which}:r{a}"]
