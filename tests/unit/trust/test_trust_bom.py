"""The bill of materials of a model is CycloneDX 1.6 whatever goes in, and the same whenever it is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse._kit.digest import FileEntry, Tree, bytes_digest, tree
from customhouse.core.errors import ArtifactError
from customhouse.trust.bom import (
    Considerations,
    Library,
    Material,
    Metric,
    OnnxModel,
    describe_onnx,
    installed_libraries,
    model_bom,
)
from customhouse.trust.scan.onnx import OnnxValue

AT = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
ONNX = bytes.fromhex(
    "080e3a5d0a110a01780a0177120179220"
    "64d61744d756c1201672a1b08020802100142017"
    "74a10000000000000000000000000000000005a130a017812"
    "0e0a0c080112080a0208020a0208026213"
    "0a0179120e0a0c080112080a0208020a02080242021" + "01c"
)
"""One MatMul of a 2×2 initializer `w` with the input `x`, written by hand after onnx.proto3."""


def _valid(document: dict[str, object]) -> None:
    problem = VALIDATOR.validate_str(json.dumps(document))
    assert problem is None, str(problem)[:2000]


def _tree() -> Tree:
    config = FileEntry("config.json", bytes_digest(b"{}"), 2)
    return Tree((config, FileEntry("model.onnx", bytes_digest(ONNX), len(ONNX))))


def test_full_model_card_is_valid_cyclonedx(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(ONNX)
    libraries = installed_libraries(["sqlalchemy", "numpy"])
    document = model_bom(
        name="fraud-detection",
        version="v2.0",
        tree=_tree(),
        issued_at=AT,
        onnx=describe_onnx(path),
        task="tabular-classification",
        architecture_family="logistic regression",
        datasets=[Material("transactions", bytes_digest(b"d"), "2026-01", 10, "CC-BY-4.0", "synthetic")],
        training_code=Material("train.py", bytes_digest(b"c"), licence="Apache-2.0"),
        libraries=libraries,
        metrics=[Metric("auc", Decimal("0.97"), "holdout", "0.96", "0.98")],
        considerations=Considerations(["risk team"], ["scoring"], ["synthetic data"], [], {"bias": "audit"}),
        licence="Apache-2.0",
        description="Scores card transactions.",
        properties={"customhouse:team": "risk"},
    )
    _valid(document)
    component = document["metadata"]["component"]
    parameters = component["modelCard"]["modelParameters"]
    assert parameters["inputs"] == [{"format": "x: float32[2,2]"}]
    assert parameters["outputs"] == [{"format": "y: float32[2,2]"}]
    assert parameters["modelArchitecture"] == "MatMul×1"
    assert parameters["datasets"] == [{"ref": f"data:transactions@{bytes_digest(b'd')}"}]
    assert component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0]["value"] == "0.97"
    names = {part["name"] for part in document["components"]}
    assert {"model.onnx", "config.json", "transactions", "train.py"} <= names
    assert {"numpy", "sqlalchemy", "typing-extensions"} <= names


def test_every_dependency_refers_to_a_part_that_is_listed() -> None:
    document = model_bom(
        name="m",
        version="1",
        tree=_tree(),
        issued_at=AT,
        training_code=Material("train.py", bytes_digest(b"c")),
        libraries=installed_libraries(["alembic"]),
    )
    parts = {part["bom-ref"] for part in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    rows = document["dependencies"]
    assert {row["ref"] for row in rows} == parts
    assert {need for row in rows for need in row["dependsOn"]} <= parts
    code = next(row for row in rows if row["ref"].startswith("code:"))
    assert [need for need in code["dependsOn"] if "alembic" in need], "the code rests on the library it asked for"


def test_the_same_model_gives_the_same_document_at_any_order_of_inputs() -> None:
    libraries = installed_libraries(["numpy", "jinja2"])
    data = [Material("b", bytes_digest(b"2")), Material("a", bytes_digest(b"1"))]
    first = model_bom(name="m", version="1", tree=_tree(), issued_at=AT, libraries=libraries, datasets=data)
    second = model_bom(
        name="m", version="1", tree=_tree(), issued_at=AT, libraries=libraries[::-1], datasets=data[::-1]
    )
    assert first == second
    other = model_bom(name="m", version="1", tree=Tree((FileEntry("a", bytes_digest(b"a"), 1),)), issued_at=AT)
    assert other["serialNumber"] != first["serialNumber"]


def test_weight_files_carry_the_digests_that_the_tree_has(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(ONNX)
    (tmp_path / "README.md").write_text("hello")
    folder = tree(tmp_path)
    document = model_bom(name="m", version="1", tree=folder, issued_at=AT)
    listed = {part["name"]: part["hashes"][0]["content"] for part in document["components"]}
    assert listed == {entry.path: entry.digest.removeprefix("sha256:") for entry in folder.files}
    assert document["metadata"]["component"]["hashes"][0]["content"] == folder.digest.removeprefix("sha256:")


def test_a_dataset_without_a_digest_is_refused() -> None:
    with pytest.raises(ArtifactError, match="no digest"):
        model_bom(name="m", version="1", tree=_tree(), issued_at=AT, datasets=[Material("d", "latest")])


def test_a_nameless_model_and_an_unknown_approach_are_refused() -> None:
    with pytest.raises(ArtifactError, match="name"):
        model_bom(name="", version="1", tree=_tree(), issued_at=AT)
    with pytest.raises(ArtifactError, match="approach"):
        model_bom(name="m", version="1", tree=_tree(), issued_at=AT, approach="magic")


def test_a_library_that_is_not_installed_is_refused_by_name() -> None:
    with pytest.raises(ArtifactError, match="no-such-library-here"):
        installed_libraries(["no-such-library-here"])


def test_libraries_come_with_licences_and_what_they_need() -> None:
    found = {library.name: library for library in installed_libraries(["Jinja2"])}
    assert found["jinja2"].requires == ("markupsafe",)
    assert found["markupsafe"].licence
    assert found["jinja2"].purl == f"pkg:pypi/jinja2@{found['jinja2'].version}"


def test_describing_something_else_than_onnx_says_so(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(ArtifactError, match="no ONNX"):
        describe_onnx(path)
    with pytest.raises(ArtifactError, match="nothing"):
        describe_onnx(tmp_path / "absent.onnx")
    (tmp_path / "link.onnx").symlink_to(path)
    with pytest.raises(ArtifactError, match="link"):
        describe_onnx(tmp_path / "link.onnx")


_TEXT = st.text(min_size=1, max_size=20)
_DIGEST = st.binary(max_size=4).map(bytes_digest)
_MATERIAL = st.builds(Material, _TEXT, _DIGEST, st.text(max_size=5), st.none() | st.integers(0, 9), st.text(max_size=9))
_LIBRARY = st.builds(
    lambda name, version, licence, needs: Library(name, version, f"pkg:pypi/{name}@{version}", licence, tuple(needs)),
    st.sampled_from(["numpy", "onnx", "scipy"]),
    st.sampled_from(["1", "2.0"]),
    st.sampled_from(["MIT", "", "MIT OR Apache-2.0", "mine, ask me"]),
    st.lists(st.sampled_from(["numpy", "onnx", "absent"]), max_size=2),
)
_VALUE = st.builds(OnnxValue, _TEXT, _TEXT, st.lists(st.text(max_size=3), max_size=3).map(tuple))


@settings(max_examples=40, deadline=None)
@given(
    name=_TEXT,
    datasets=st.lists(_MATERIAL, max_size=3, unique_by=lambda item: (item.name, item.digest)),
    code=st.none() | _MATERIAL,
    libraries=st.lists(_LIBRARY, max_size=4),
    metrics=st.lists(st.builds(Metric, _TEXT, st.decimals(allow_nan=False, allow_infinity=False)), max_size=3),
    values=st.lists(_VALUE, max_size=2),
    licence=st.text(max_size=30),
)
def test_any_inputs_give_a_valid_document(
    name: str,
    datasets: list[Material],
    code: Material | None,
    libraries: list[Library],
    metrics: list[Metric],
    values: list[OnnxValue],
    licence: str,
) -> None:
    document = model_bom(
        name=name,
        version="1",
        tree=_tree(),
        issued_at=AT,
        onnx=OnnxModel(ir_version=8, inputs=values, outputs=values, operators={"Add": 1}, opsets={"": 17}),
        datasets=datasets,
        training_code=code,
        libraries=libraries,
        metrics=metrics,
        considerations=Considerations(ethical={name: "x"}),
        licence=licence,
    )
    _valid(document)
