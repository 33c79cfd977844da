"""What changed from one version of a model to the next, in words that a reviewer needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from customhouse._kit.digest import FileEntry, Tree, bytes_digest
from customhouse.core.errors import ArtifactError
from customhouse.trust.bom import model_bom
from customhouse.trust.bom_diff import compare
from customhouse.trust.bom_parts import Material, Metric
from customhouse.trust.libraries import Archive, Library

WEIGHTS = FileEntry("model.safetensors", bytes_digest(b"1"), 1)
CONFIG = FileEntry("config.json", bytes_digest(b"{}"), 2)
NUMPY = Library("numpy", "2.0", "pkg:pypi/numpy@2.0", "BSD-3-Clause")
TORCH = Library("torch", "2.5", "pkg:pypi/torch@2.5", "BSD-3-Clause", ("numpy",))


def bill(hour: int = 0, **others: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "version": "1",
        "tree": Tree((CONFIG, WEIGHTS)),
        "datasets": [Material("tx", bytes_digest(b"d"))],
        "libraries": [NUMPY, TORCH],
        "metrics": [Metric("auc", "0.9")],
        "licence": "MIT",
        **others,
    }
    return model_bom(name="m", issued_at=datetime(2026, 1, 1, hour, tzinfo=UTC), **values)


def rows(**others: Any) -> set[tuple[str, str, str]]:
    return {(row.kind, row.name, row.change) for row in compare(bill(), bill(hour=5, **others))}


def test_the_time_of_writing_is_no_difference() -> None:
    assert rows() == set()
    assert rows(spec_version="1.7") == set()


def test_other_weights_are_named() -> None:
    changed = Tree((CONFIG, replace(WEIGHTS, digest=bytes_digest(b"2"))))
    assert rows(tree=changed) == {("weights", "model.safetensors", "changed"), ("model", "files", "changed")}
    assert ("weights", "config.json", "removed") in rows(tree=Tree((WEIGHTS,)))


def test_libraries_added_removed_and_upgraded() -> None:
    newer = replace(NUMPY, version="2.1", purl="pkg:pypi/numpy@2.1")
    extra = Library("evil", "1", "pkg:pypi/evil@1", "Proprietary")
    assert rows(libraries=[newer, extra]) == {
        ("library", "pkg:pypi/numpy", "changed"),
        ("library", "pkg:pypi/torch", "removed"),
        ("library", "pkg:pypi/evil", "added"),
        ("licence", "Proprietary", "added"),
    }
    (row,) = (r for r in compare(bill(), bill(libraries=[newer, TORCH])) if r.kind == "library")
    assert (row.before, row.after) == ("2.0 BSD-3-Clause", "2.1 BSD-3-Clause")


def test_the_same_version_from_other_archives_is_a_change() -> None:
    """What an attacker does who replaces a file on an index: any of several digests counts."""
    files = tuple(Archive(f"https://e/{n}", bytes_digest(bytes([n]))) for n in range(3))
    other = (*files[:2], Archive("https://e/2", bytes_digest(b"other")))
    before, after = ([replace(NUMPY, files=found)] for found in (files, other))
    assert [row.change for row in compare(bill(libraries=before), bill(libraries=after))] == ["changed"]


def test_two_versions_of_one_library_side_by_side() -> None:
    one, two = (Library("b", v, f"pkg:npm/b@{v}") for v in ("1", "2"))
    (row,) = (r for r in compare(bill(libraries=[one]), bill(libraries=[one, two])) if r.name == "pkg:npm/b")
    assert (row.change, row.after) == ("added", "2")


def test_datasets_metrics_and_licences() -> None:
    assert rows(datasets=[Material("tx", bytes_digest(b"e"))]) == {("dataset", "tx", "changed")}
    assert rows(metrics=[Metric("auc", "0.8")]) == {("model", "metric auc", "changed")}
    assert rows(metrics=[]) == {("model", "metric auc", "removed")}
    assert rows(licence="Apache-2.0") == {
        ("model", "licence", "changed"),
        ("licence", "MIT", "removed"),
        ("licence", "Apache-2.0", "added"),
    }


def test_one_more_digest_of_the_same_bytes_is_no_difference() -> None:
    both = Tree(tuple(replace(entry, blake3="blake3:" + "0" * 64) for entry in (CONFIG, WEIGHTS)))
    assert rows(tree=both) == set()


@pytest.mark.parametrize(
    "odd", [{}, [], {"bomFormat": "SPDX"}, {"bomFormat": "CycloneDX", "components": 7},
            {"bomFormat": "CycloneDX", "components": [7]}, {"bomFormat": "CycloneDX", "metadata": []}]
)  # fmt: skip
def test_what_is_no_bill_is_refused(odd: Any) -> None:
    with pytest.raises(ArtifactError, match="bill of materials") as refused:
        compare(bill(), odd, ("1.json", "2.json"))
    assert refused.value.where == "2.json"
