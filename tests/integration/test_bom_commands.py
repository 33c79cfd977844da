"""`model bom`, `bom diff` and `bom score` as a person uses them, and evidence that carries what was said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEADER = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
CARD = {
    "producer": "Acme",
    "licence": "MIT",
    "datasets": [{"name": "d", "digest": "sha256:" + "0" * 64}],
    "hyper-parameters": {"rate": 0.1},
}


def run(root: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from customhouse.cli import main; sys.exit(main())", *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout[-2000:] + done.stderr
    return done


@pytest.fixture
def place(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "w.safetensors").write_bytes(len(HEADER).to_bytes(8, "little") + HEADER + bytes(16))
    (model / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    (tmp_path / "requirements.txt").write_text(
        "--extra-index-url https://me:secret@index.example.com/simple\nnumpy==2.0.0\nreqeusts==1.0\n"  # typos: ignore
    )
    return tmp_path


def test_from_a_model_to_what_changed_in_its_next_version(place: Path) -> None:
    made = ["--card", "card.json", "--libraries", "requirements.txt"]
    said = run(place, "model", "bom", "model", "--version", "1", *made)
    assert "hint (typosquat): reqeusts is one slip from requests" in said.stderr  # typos: ignore
    assert "hint (dependency-confusion): https://index.example.com/simple" in said.stderr
    assert "secret" not in said.stdout + said.stderr
    first: dict[str, Any] = json.loads(said.stdout)
    model = first["metadata"]["component"]
    assert model["modelCard"]["modelParameters"]["modelArchitecture"] == "LlamaForCausalLM"
    assert {"name": "customhouse:scan:verdict", "value": "clean"} in model["properties"]
    (place / "1.json").write_text(said.stdout)

    (place / "model" / "config.json").write_text('{"model_type": "mamba"}')
    (place / "requirements.txt").write_text("numpy==2.1.0\n")
    (place / "2.json").write_text(run(place, "model", "bom", "model", "--version", "2", *made).stdout)
    table = run(place, "bom", "diff", "1.json", "2.json", status=1).stdout
    assert re.search(r"library .*pkg:pypi/numpy .*changed .*2\.0\.0 .*2\.1\.0", table)
    rows = json.loads(run(place, "bom", "diff", "1.json", "2.json", "-o", "json", status=1).stdout)["differences"]
    assert {"weights", "library", "model"} == {row["kind"] for row in rows}
    marked = run(place, "bom", "diff", "1.json", "2.json", "-o", "markdown", status=1).stdout
    assert "| ~ | weights | config.json |" in marked
    assert run(place, "bom", "diff", "1.json", "1.json").stdout.strip() == "no differences"


def test_evidence_carries_the_card_and_is_scored_as_signed(place: Path) -> None:
    run(place, "init", "repo", "--example")
    key = next((place / "repo").rglob("evidence.key"))
    (place / "requirements.txt").write_text("numppy==1.0\n")
    done = json.loads(
        run(place, "model", "attest", "model", "--repo", "repo", "--key", str(key), "--card", "card.json",
            "--libraries", "requirements.txt", "-o", "json")
        .stdout
    )  # fmt: skip
    assert [hint["kind"] for hint in done["hints"]] == ["typosquat"]
    evidence = next(name for name in done["files"] if "bom" in name)
    found = json.loads(run(place, "bom", "score", f"repo/{evidence}", "-o", "json").stdout)
    states = {row["name"]: row["state"] for row in found["elements"]}
    assert (states["SBOM author signature"], states["Model license"], states["Dataset hash"]) == ("met",) * 3
    assert states["Security controls"] == "missing"
    run(place, "bom", "score", f"repo/{evidence}", "--min", "50", status=1)
    (place / "1.json").write_text(
        run(place, "model", "bom", "model", "--card", "card.json", "--libraries", "requirements.txt").stdout
    )
    assert run(place, "bom", "diff", f"repo/{evidence}", "1.json").stdout.strip() == "no differences"


def test_spdx_and_versions_that_are_not_written(place: Path) -> None:
    document = json.loads(run(place, "model", "bom", "model", "--format", "spdx").stdout)
    assert document["@context"] == "https://spdx.org/rdf/3.0.1/spdx-context.jsonld"
    assert "1.7" in json.loads(run(place, "model", "bom", "model", "--spec-version", "1.7").stdout)["$schema"]
    assert "one of 1.6, 1.7" in run(place, "model", "bom", "model", "--spec-version", "1.5", status=3).stderr
    assert (
        "3.0.1 is" in run(place, "model", "bom", "model", "--format", "spdx", "--spec-version", "2.3", status=2).stderr
    )


def test_an_empty_folder_has_no_bill_and_no_evidence(place: Path) -> None:
    (place / "empty").mkdir()
    assert "empty: an empty folder" in run(place, "model", "bom", "empty", status=3).stderr


def test_what_is_no_bill_is_named(place: Path) -> None:
    assert "card.json: no CycloneDX bill" in run(place, "bom", "diff", "card.json", "card.json", status=3).stderr
    assert "card.json: no CycloneDX bill" in run(place, "bom", "score", "card.json", status=3).stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--card", "nothing.json"], 2, "there is no file nothing.json"),
        (["--card", "requirements.txt"], 2, "not JSON"),
        (["--libraries", "card.json"], 3, "card.json: of no kind of lock file"),
        (["--environment", "model"], 3, "no Python packages are installed here"),
        (["--image-sbom", "card.json"], 3, "card.json: no bill of materials of an image"),
    ],
)
def test_wrong_input_is_named(place: Path, words: list[str], status: int, said: str) -> None:
    assert said in run(place, "model", "bom", "model", *words, status=status).stderr
