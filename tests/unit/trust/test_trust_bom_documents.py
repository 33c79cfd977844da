"""Bills with everything in them: valid in both versions of CycloneDX and in SPDX 3, bound to bytes, and as complete
as they say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_python_model import v3_0_1 as spdx

from customhouse._kit.digest import FileEntry, Tree, bytes_digest
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.bom import model_bom
from customhouse.trust.bom_given import read_given
from customhouse.trust.bom_merge import read_image
from customhouse.trust.bom_parts import Material
from customhouse.trust.bom_score import score, summary
from customhouse.trust.bom_spdx import in_spdx
from customhouse.trust.libraries import Archive, Library
from customhouse.trust.scan import Description

AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
VALIDATORS = {"1.6": JsonStrictValidator(SchemaVersion.V1_6), "1.7": JsonStrictValidator(SchemaVersion.V1_7)}
TREE = Tree(
    (
        FileEntry("config.json", bytes_digest(b"{}"), 2),
        FileEntry("w.safetensors", bytes_digest(b"w"), 1, "blake3:" + "0" * 64),
    )
)
CARD: dict[str, Any] = {
    "producer": "Risk Models Ltd",
    "author": "Release engineering",
    "licence": "apache-2.0",
    "description": "Scores card transactions.",
    "released": "2026-02-28T12:00:00+01:00",
    "identifier": "pkg:generic/fraud@2.0",
    "application-area": "payments",
    "data-flow": "transactions in, scores out",
    "data-usage": "pseudonymised card data",
    "task": "tabular-classification",
    "approach": "supervised",
    "family": "gradient boosting",
    "architecture": "300 trees",
    "inputs": ["x: float32[?,12]"],
    "outputs": ["p: float32[?,1]"],
    "hyper-parameters": {"depth": 6, "rate": 0.1},
    "base-models": [{"name": "acme/base", "digest": bytes_digest(b"b"), "version": "abc", "note": "fine-tuned"}],
    "datasets": [
        {
            "name": "transactions",
            "digest": bytes_digest(b"d"),
            "version": "2026-01",
            "size": 1000,
            "licence": "CC-BY-4.0",
            "description": "card transactions of 2025",
            "content": "tabular, 10 million rows",
            "identifier": "https://example.com/data/transactions",
            "provenance": "collected by the acquirer",
            "statistics": "0.1 % fraud",
            "sensitivity": "pseudonymised",
        }
    ],
    "training-code": {"name": "training", "repository": "https://example.com/train.git", "commit": "a" * 40},
    "metrics": {"auc": "0.97"},
    "considerations": {"use-cases": ["scoring"], "limitations": ["one country"], "ethical": {"bias": "audited"}},
    "energy": [{"activity": "training", "kwh": "12.5", "provider": "Works", "source": "wind", "co2-tonnes": 0.001}],
    "software": "onnxruntime",
    "hardware": "1 CPU",
    "security": {
        "controls": ["signed releases"],
        "compliance": ["ISO 42001"],
        "policy": "https://example.com/security.txt",
        "vulnerabilities": "https://example.com/vex.json",
        "metrics": {"robust accuracy": 0.9},
    },
    "references": [{"type": "documentation", "url": "https://example.com/a page"}],
}
LIBRARIES = (
    Library(
        "numpy", "2.2.0", "pkg:pypi/numpy@2.2.0", "BSD-3-Clause", (), (Archive("https://e/n.whl", bytes_digest(b"n")),)
    ),
    Library("own", "1", "pkg:pypi/own@1", "Our own licence", ("numpy",), note="https://index.example.com/simple"),
)
SYFT = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {"component": {"bom-ref": "img", "type": "container", "name": "python", "version": "3.12-slim"}},
    "components": [
        {
            "bom-ref": "deb",
            "type": "library",
            "name": "libc6",
            "version": "2.36",
            "purl": "pkg:deb/debian/libc6@2.36",
            "licenses": [{"license": {"id": "LGPL-2.1-only"}}, {"license": {"name": "GFDL"}}],
            "hashes": [{"alg": "SHA-1", "content": "f" * 40}, {"alg": "SHA-256", "content": "short"}],
            "components": [{"type": "file", "name": "nested"}],
        },
        {"bom-ref": "deb", "type": "odd-kind", "name": "the same reference again"},
    ],
    "dependencies": [{"ref": "img", "dependsOn": ["deb", "nowhere"]}],
}
SPDX2 = {
    "spdxVersion": "SPDX-2.3",
    "documentDescribes": ["SPDXRef-Image"],
    "packages": [
        {"SPDXID": "SPDXRef-lib", "name": "zlib", "versionInfo": "1.3", "licenseDeclared": "Zlib",
         "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:deb/debian/zlib@1.3"}],
         "checksums": [{"algorithm": "SHA256", "checksumValue": "A" * 64}]},
        {"SPDXID": "SPDXRef-Image", "name": "alpine", "primaryPackagePurpose": "CONTAINER"},
    ],
    "relationships": [
        {"spdxElementId": "SPDXRef-lib", "relatedSpdxElement": "SPDXRef-Image", "relationshipType": "CONTAINED_BY"}
    ],
}  # fmt: skip


def document(card: dict[str, Any] | None = None, spec_version: str = "1.6", **others: Any) -> dict[str, Any]:
    given = read_given(CARD if card is None else card, "card.json")
    values = {"libraries": LIBRARIES, "images": [read_image(json.dumps(SYFT).encode(), "s.json")], **others}
    return model_bom(
        name="fraud", version="2.0", tree=TREE, issued_at=AT, given=given, spec_version=spec_version, **values
    )


@pytest.mark.parametrize("version", ["1.6", "1.7"])
@pytest.mark.parametrize("card", [CARD, {}], ids=["full", "empty"])
def test_a_bill_is_valid_cyclonedx_with_much_and_with_little(version: str, card: dict[str, Any]) -> None:
    images = [read_image(json.dumps(SYFT).encode(), "s"), read_image(json.dumps(SPDX2).encode(), "t")]
    bill = document(card, version, images=images)
    problem = VALIDATORS[version].validate_str(json.dumps(bill))
    assert problem is None, str(problem)[:2000]
    assert bill["specVersion"] == version


def test_every_part_can_be_reached_from_the_model_and_none_is_there_twice() -> None:
    images = [read_image(json.dumps(SYFT).encode(), "s"), read_image(json.dumps(SPDX2).encode(), "t")]
    bill = document(images=images)
    refs = [part["bom-ref"] for part in bill["components"]]
    assert len(refs) == len(set(refs))
    needs = {row["ref"]: row["dependsOn"] for row in bill["dependencies"]}
    reached, waiting = set(), [bill["metadata"]["component"]["bom-ref"]]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting.extend(needs[ref])
    assert reached - {bill["metadata"]["component"]["bom-ref"]} == set(refs)
    names = [part["name"] for part in bill["components"]]
    assert {"libc6", "nested", "the same reference again", "python", "zlib", "alpine"} <= set(names)


def test_files_carry_both_digests_and_blake3_alone_is_never_taken_for_the_pin() -> None:
    weights = next(part for part in document()["components"] if part["name"] == "w.safetensors")
    assert [row["alg"] for row in weights["hashes"]] == ["SHA-256", "BLAKE3"]
    quick = Tree(tuple(FileEntry(f.path, "blake3:" + "1" * 64, f.size, "blake3:" + "1" * 64) for f in TREE.files))
    bill = model_bom(name="m", version="1", tree=quick, issued_at=AT)
    assert VALIDATORS["1.6"].validate_str(json.dumps(bill)) is None
    model = bill["metadata"]["component"]
    assert "hashes" not in model
    assert "customhouse:tree-digest" not in {row["name"] for row in model["properties"]}
    assert [row["alg"] for row in bill["components"][0]["hashes"]] == ["BLAKE3"]
    assert quick.digest != TREE.digest


def test_what_people_say_comes_before_what_files_say_and_files_fill_the_rest() -> None:
    said = {
        "README.md": Description(task="text-classification", licence="mit", base_models=("acme/base", "other/one")),
        "config.json": Description(task="fill-mask", family="bert", datasets=("imdb",)),
        "w.safetensors": Description(parameters=8, element_types=(("F32", "6"), ("F16", "2"))),
    }
    model = document({"family": "roberta"}, described=said)["metadata"]["component"]
    parameters = model["modelCard"]["modelParameters"]
    assert (parameters["task"], parameters["architectureFamily"]) == ("text-classification", "roberta")
    assert parameters["datasets"][0]["name"] == "imdb"
    assert model["licenses"] == [{"license": {"id": "MIT"}}]
    assert [base["purl"] for base in model["pedigree"]["ancestors"]] == [
        "pkg:huggingface/acme/base",
        "pkg:huggingface/other/one",
    ]
    facts = {row["name"]: row["value"] for row in model["modelCard"]["properties"]}
    assert (facts["customhouse:parameters"], facts["customhouse:elements:F32"]) == ("8", "6")


def test_a_dataset_that_the_card_and_the_command_name_is_one() -> None:
    bill = document(
        datasets=[Material("transactions", bytes_digest(b"d")), Material("transactions", bytes_digest(b"x"))]
    )
    found = [part for part in bill["components"] if part["type"] == "data"]
    assert len({part["bom-ref"] for part in found}) == len(found) == 2
    assert sum("licenses" in part for part in found) == 1


def test_energy_code_and_hashes_of_libraries_are_where_cyclonedx_has_them() -> None:
    bill = document()
    spent = bill["metadata"]["component"]["modelCard"]["considerations"]["environmentalConsiderations"]
    assert spent["energyConsumptions"][0]["activityEnergyCost"] == {"value": 12.5, "unit": "kWh"}
    parts = {part["name"]: part for part in bill["components"]}
    assert parts["training"]["pedigree"]["commits"][0]["uid"] == "a" * 40
    assert parts["numpy"]["externalReferences"][0]["hashes"][0]["content"] == bytes_digest(b"n").removeprefix("sha256:")
    assert parts["own"]["properties"] == [{"name": "customhouse:origin", "value": "https://index.example.com/simple"}]


@pytest.mark.parametrize("card", [CARD, {}], ids=["full", "empty"])
def test_spdx_is_what_the_projects_own_model_reads_and_its_profiles_ask(card: dict[str, Any]) -> None:
    written = json.loads(json.dumps(in_spdx(document(card))))
    found = spdx.SHACLObjectSet()
    spdx.JSONLDDeserializer().deserialize_data(written, found)
    missing = found.link()
    assert missing <= {"https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertion"}
    graph = written["@graph"]
    ids = [item["spdxId"] for item in graph if "spdxId" in item]
    assert len(ids) == len(set(ids))
    for element in (item for item in graph if item["type"] in ("ai_AIPackage", "dataset_DatasetPackage")):
        kinds = [r["relationshipType"] for r in graph if r.get("from") == element["spdxId"]]
        assert (kinds.count("hasDeclaredLicense"), kinds.count("hasConcludedLicense")) == (1, 1)
    model = next(item for item in graph if item["type"] == "ai_AIPackage")
    numpy = next(item for item in graph if item.get("name") == "numpy")
    assert numpy["verifiedUsing"][0]["hashValue"] == bytes_digest(b"n").removeprefix("sha256:")
    assert model["verifiedUsing"][0]["hashValue"] == TREE.digest.removeprefix("sha256:")
    if card:
        assert model["ai_energyConsumption"]["ai_trainingEnergyConsumption"][0]["ai_energyQuantity"] == "12.5"
        assert any(item.get("relationshipType") == "trainedOn" for item in graph)


def test_the_score_counts_what_is_there_and_says_where_to_add_the_rest() -> None:
    full = summary(score(document(), signed=True))
    assert (full["met"], full["of"]) == (50, 50)
    unsigned = summary(score(document()))
    assert [row["id"] for row in unsigned["elements"] if row["state"] != "met"] == ["G7AI-MD-05"]
    little = summary(score(model_bom(name="m", version="0", tree=TREE, issued_at=AT)))
    missing = {row["name"]: row["add"] for row in little["elements"] if row["state"] == "missing"}
    assert {"Dataset name", "Model license", "Security controls", "System version", "SBOM author"} <= set(missing)
    assert all(missing.values())
    assert little["met"] < 20


@pytest.mark.parametrize("key", ["licence", "producer", "datasets", "metrics", "hardware", "data-flow", "security"])
def test_each_thing_left_out_of_the_card_is_missed(key: str) -> None:
    card = {name: value for name, value in CARD.items() if name != key and name != "author"}
    assert summary(score(document(card), signed=True))["met"] < summary(score(document(), signed=True))["met"]


def test_of_several_datasets_one_that_says_less_makes_an_element_partly_met() -> None:
    card = {**CARD, "datasets": [*CARD["datasets"], {"name": "second", "digest": bytes_digest(b"2")}]}
    rows = {row.id: row.state for row in score(document(card))}
    assert (rows["DP-05"], rows["DP-10"]) == ("met", "partly")


@pytest.mark.parametrize(
    ("card", "where", "hint"),
    [
        ({"licen": "MIT"}, "card.json", "licence"),  # typos: ignore
        ({"datasets": [{"name": "d"}]}, "datasets[0]: digest", "sha256:"),
        ({"datasets": [{"name": "d", "digest": "sha256:12"}]}, "datasets[0]: digest", "64 hex"),
        ({"datasets": {}}, "datasets", "a list"),
        ({"training-code": {"name": "c", "commit": "main"}}, "training-code: commit", "40 or 64"),
        ({"energy": [{"activity": "cooking", "kwh": 1}]}, "energy[0]: activity", "training"),
        ({"energy": [{"activity": "training", "kwh": "NaN"}]}, "energy[0]: kwh", "a number"),
        ({"energy": [{"activity": "training", "kwh": True}]}, "energy[0]: kwh", "a number"),
        ({"released": "yesterday"}, "released", "2026-"),
        ({"approach": "magic"}, "approach", "supervised"),
        ({"references": [{"type": "documentation", "url": "no address"}]}, "references[0]: url", "https"),
        ({"metrics": {"auc": [1]}}, "metrics: auc", "a number"),
        ({"inputs": "x"}, "inputs", "a list of texts"),
        ({"description": "x" * 5000}, "description", "4000"),
        ([], "card.json", "an object"),
    ],
)
def test_a_card_that_is_wrong_is_refused_with_its_place_and_the_fix(card: Any, where: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_given(card, "card.json")
    assert where in refused.value.where
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b'{"bomFormat":"CycloneDX"}', b'{"bomFormat":"CycloneDX","components":[{}]}',
             b'{"spdxVersion":"SPDX-2.3","packages":[{}]}', b'{"bomFormat":"CycloneDX","components":7}']
)  # fmt: skip
def test_what_is_no_bill_of_an_image_is_refused(text: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"bill of materials|lists nothing") as refused:
        read_image(text, "image.json")
    assert refused.value.where == "image.json"


def test_an_image_whose_parts_nest_without_end_is_refused() -> None:
    part: dict[str, Any] = {"name": "leaf", "type": "library"}
    for _ in range(100):
        part = {"name": "n", "type": "library", "components": [part]}
    with pytest.raises(ArtifactError, match="nested too deep"):
        read_image(json.dumps({"bomFormat": "CycloneDX", "components": [part]}).encode(), "image.json")


def test_the_card_that_the_page_shows_is_read_and_shows_every_key(repository_root: Path) -> None:
    page = (repository_root / "docs" / "bom.md").read_text()
    text = page.split("```json\n")[1].split("```")[0]
    text = text.replace("sha256:…", bytes_digest(b"")).replace("40 hex digits", "a" * 40)
    shown = json.loads(text)
    assert read_given(shown, "docs/bom.md").producer == "Risk Models Ltd"
    assert set(shown) == set(CARD)
