"""`model evaluate` on real ONNX models: what it measures, signs and refuses, and what the gate's Facts get of it."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from execution_onnx import logistic

from customhouse.cli.program import run
from customhouse.core.evidence import EvidenceKind
from customhouse.policy.summary import summarise
from customhouse.trust.attestation import read_evidence
from customhouse.trust.keys import TrustRoot, generate
from protobuf_writer import varint

NAMES = ("income", "debt", "age")
WEIGHTS = (2.0, -1.5, 0.2)


def table(path: Path, seed: int, rows: int = 600) -> Path:
    """Rows whose label a logistic function of the columns gives; `team` is a group, `b` is poorer."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    team = rng.integers(0, 2, rows)
    x[:, 0] -= 1.0 * team
    y = rng.random(rows) < 1.0 / (1.0 + np.exp(-(x @ np.array(WEIGHTS))))
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["team", *NAMES, "repaid"])
        writer.writerows(
            [["ab"[t], *(f"{v:.6f}" for v in row), int(label)] for t, row, label in zip(team, x, y, strict=True)]
        )
    return path


PLAN = """\
apiVersion: customhouse.dev/evaluation/v1
label: repaid
task: binary
positive: "1"
features: [income, debt, {name: age, mutable: false}]
groups: [team]
resamples: 200
sample: 300
evasion: {rows: 20, queries: 30, budgets: [0.05]}
bounds:
  - {metric: roc_auc, atLeast: 0.8}
  - {metric: fairness.team.demographic_parity_difference, atMost: %s}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/model.onnx").write_bytes(logistic(list(WEIGHTS), 0.0))
    Path("data").mkdir()
    table(Path("data/holdout.csv"), 1)
    table(Path("data/train.csv"), 2)
    Path("plan.yaml").write_text(PLAN % "0.9")
    key = generate()
    key.save(Path("key.pem"))
    return key


def evaluated(capsys, *words, status=0):
    assert run(["model", "evaluate", *words, "-o", "json"]) == status
    return json.loads(capsys.readouterr().out)


ALL = ("model", "--data", "data/holdout.csv", "--train", "data/train.csv", "--plan", "plan.yaml", "--dataset", "data")


def test_everything_is_measured_signed_and_the_same_once_more(world, capsys):
    done = evaluated(capsys, *ALL, "--attest", "--key", "key.pem")
    again = evaluated(capsys, *ALL)
    del done["evaluated_at"], again["evaluated_at"]
    file = done.pop("file")
    assert done == again
    assert done["passed"] is True
    assert done["measured"] == [
        "performance", "fairness", "calibration", "evasion", "stability", "privacy", "attribution",
    ]  # fmt: skip
    assert done["metrics"]["privacy.membership_auc"]["low"] < 0.5 < done["metrics"]["privacy.membership_auc"]["high"]
    assert list(done["attribution"]["importance"])[:2] == ["income", "debt"]
    root = TrustRoot("release", world.public.pem(), frozenset({EvidenceKind.EVALUATION}))
    (found,) = read_evidence(Path(file).read_bytes(), [root])
    assert found.subject == done["model_digest"]
    assert found.verified, found.problem
    facts = summarise(EvidenceKind.EVALUATION, found.predicate)
    assert facts["passed"] is True
    assert facts["dataset"] == done["dataset"]
    assert facts["within"] == done["data"]["within"]
    assert facts["trained_on"] == done["train"]["digest"]
    assert facts["plan"] == done["plan"]["digest"]
    assert facts["leak"] is False
    assert facts["measured"] == sorted(done["measured"])
    assert facts["metrics"]["accuracy"] == repr(done["metrics"]["accuracy"]["value"])


def test_a_bound_that_does_not_hold_is_named_with_its_line(world, capsys):
    Path("plan.yaml").write_text(PLAN % "0.01")
    assert run(["model", "evaluate", *ALL]) == 1
    said = capsys.readouterr()
    assert "plan.yaml:12:5: fairness.team.demographic_parity_difference must be at most 0.01" in said.err
    assert "not passed: 1 of 2 bounds do not hold" in said.out


def test_the_card_has_the_numbers_of_the_document_and_escapes_what_is_in_files(world, capsys):
    Path("plan.yaml").write_text(PLAN % "0.9" + "considerations: {limitations: ['<script>alert(1)</script> | x']}\n")
    done = evaluated(capsys, *ALL)
    pages = {}
    for form in ("markdown", "html"):
        assert run(["model", "evaluate", *ALL, "-o", form]) == 0
        pages[form] = capsys.readouterr().out
        for name in ("roc_auc", "log_loss", "mcc"):
            item = done["metrics"][name]
            assert f"{item['value']:.4g} ({item['low']:.4g} to {item['high']:.4g})" in pages[form]
        assert done["model_digest"] in pages[form]
        assert "<script" not in pages[form]
    assert "<svg" in pages["html"]


def test_a_leak_is_found_by_digest_and_by_rows(world, capsys):
    done = evaluated(capsys, "model", "--data", "data/train.csv", "--train", "data/train.csv", "--plan", "plan.yaml")
    assert done["leakage"]["leak"] is True
    assert done["leakage"]["same_file"] is True
    lines = Path("data/train.csv").read_text().splitlines()
    Path("mixed.csv").write_text("\n".join([*Path("data/holdout.csv").read_text().splitlines(), *lines[1:100]]) + "\n")
    done = evaluated(capsys, "model", "--data", "mixed.csv", "--train", "data/train.csv", "--plan", "plan.yaml")
    assert (done["leakage"]["rows_in_training"], done["leakage"]["leak"]) == (99, True)
    assert "every figure is too good" in done["limitations"][0]


def test_a_file_that_repeats_its_rows_is_told(world, capsys):
    head, *rows = Path("data/holdout.csv").read_text().splitlines()
    Path("data/holdout.csv").write_text("\n".join([head, *rows, *rows]) + "\n")
    Path("plan.yaml").write_text(
        PLAN % "0.9" + "  - {metric: data.repeated_share, atMost: 0.05}\nmeasure: [performance]\n"
    )
    done = evaluated(capsys, *ALL, status=1)
    assert done["metrics"]["data.repeated_share"]["value"] == 0.5
    assert any("600 of 1200 evaluated rows repeat others" in text for text in done["limitations"])


def test_another_model_is_compared_on_the_same_rows(world, capsys):
    Path("worse").mkdir()
    Path("worse/model.onnx").write_bytes(logistic([0.2, 1.0, 1.0], 0.0))
    done = evaluated(capsys, *ALL, "--against", "worse")
    assert done["metrics"]["better_than_against.roc_auc"]["low"] > 0.2
    assert done["against"]["digest"] != done["model_digest"]


def test_without_a_plan_the_label_is_enough_and_nothing_counts_as_passed(world, capsys):
    words = ("model", "--data", "data/holdout.csv", "--label", "repaid", "--group", "team")
    done = evaluated(capsys, *words)
    assert done["passed"] is None
    assert done["limitations"][0].startswith("no bounds were declared")
    assert {"kind": "privacy", "reason": "membership needs the training data (--train)"} in done["not_measured"]


def test_the_plan_of_the_repository_is_taken_by_itself(world, capsys):
    Path("customhouse.yaml").write_text(
        "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
        "evaluation: {plans: [{name: credit, file: plan.yaml, models: ['pvc://models/**']}]}\n"
    )
    done = evaluated(capsys, "model", "--data", "data/holdout.csv")
    assert done["plan"]["name"] == "plan.yaml"


def bytes_of(number, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(data)) + data


def integer(number, value):
    return varint(number << 3) + varint(value)


def value_info(name, kind, dims):
    shape = b"".join(bytes_of(1, bytes_of(2, dim) if isinstance(dim, str) else integer(1, dim)) for dim in dims)
    return bytes_of(1, name) + bytes_of(2, bytes_of(1, integer(1, kind) + bytes_of(2, shape)))


def node(kind, inputs, outputs, *attributes):
    return (
        b"".join(bytes_of(1, name) for name in inputs)
        + b"".join(bytes_of(2, name) for name in outputs)
        + bytes_of(4, kind)
        + b"".join(bytes_of(5, item) for item in attributes)
    )


def whole(name, value):
    return integer(1, 1) + integer(2, 7) + bytes_of(8, name) + bytes_of(9, struct.pack("<q", value))


def model_of(*parts):
    graph = b"".join(parts) + bytes_of(2, "g") + bytes_of(11, value_info("input", 1, ["n", 3]))
    graph += bytes_of(12, value_info("probability", 1, ["n", 1]))
    return integer(1, 8) + bytes_of(7, graph) + bytes_of(8, integer(2, 17))


def endless():
    """A Loop that goes on for 2⁶² rounds."""
    body = (
        bytes_of(1, node("Identity", ["go"], ["still"]))
        + bytes_of(1, node("Identity", ["seen"], ["next"]))
        + bytes_of(2, "body")
        + bytes_of(11, value_info("round", 7, []))
        + bytes_of(11, value_info("go", 9, []))
        + bytes_of(11, value_info("seen", 1, ["n", 1]))
        + bytes_of(12, value_info("still", 9, []))
        + bytes_of(12, value_info("next", 1, ["n", 1]))
    )
    attribute = bytes_of(1, "body") + bytes_of(6, body) + integer(20, 5)
    return model_of(
        bytes_of(1, node("ReduceSum", ["input", "axis"], ["sum"])),
        bytes_of(1, node("Loop", ["rounds", "", "sum"], ["last"], attribute)),
        bytes_of(1, node("Sigmoid", ["last"], ["probability"])),
        bytes_of(5, whole("axis", 1)),
        bytes_of(5, whole("rounds", 1 << 62)),
    )


def greedy():
    """A tensor of 4·10¹⁰ numbers, summed to one."""
    return model_of(
        bytes_of(1, node("ConstantOfShape", ["much"], ["zeros"])),
        bytes_of(1, node("ReduceSum", ["zeros"], ["one"])),
        bytes_of(1, node("ReduceSum", ["input", "axis"], ["sum"])),
        bytes_of(1, node("Add", ["sum", "one"], ["both"])),
        bytes_of(1, node("Sigmoid", ["both"], ["probability"])),
        bytes_of(5, whole("axis", 1)),
        bytes_of(5, whole("much", 40_000_000_000)),
    )


def refused(capsys, told, *words, status=3):
    assert run(["model", "evaluate", *words, "--attest", "--key", "key.pem"]) == status
    said = capsys.readouterr()
    assert told in said.err, said.err
    assert said.out == ""
    assert not Path(".evidence").exists()
    return said.err


def test_a_model_that_hangs_or_wants_too_much_is_ended_and_nothing_is_attested(world, capsys):
    Path("plan.yaml").write_text(PLAN % "0.9" + "limits: {seconds: 3, memoryMb: 2048}\n")
    Path("model/model.onnx").write_bytes(endless())
    refused(capsys, "the model did not answer within 3 s, and was ended", *ALL)
    Path("plan.yaml").write_text(PLAN % "0.9" + "limits: {seconds: 600, memoryMb: 2048}\n")
    Path("model/model.onnx").write_bytes(greedy())
    refused(capsys, "2048 MiB", *ALL)


def test_a_model_that_is_not_clean_is_not_loaded(world, capsys):
    Path("model/extra.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    error = refused(capsys, "the scan says malicious", *ALL)
    assert "the model is not loaded" in error


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace("income", "incom"), "did you mean 'incom'?"),  # typos: ignore
        (lambda text: text.replace("repaid", "paid"), "there is no column 'repaid' (the label)"),
        (lambda text: text.replace("\na,", "\na,x", 1), "income is 'x"),
        (lambda text: text.splitlines()[0] + "\n", "there are no rows below the header"),
        (
            lambda text: "\n".join(row for row in text.splitlines() if not row.endswith(",1")) + "\n",
            "every row has the label '0'",
        ),
        (lambda text: text[:-3] + ",7\n", "the label is '7', which the model does not know: 0, 1"),
    ],
)
def test_data_that_do_not_fit_are_named_and_nothing_is_attested(world, capsys, change, told):
    place = Path("data/holdout.csv")
    place.write_text(change(place.read_text()))
    refused(capsys, told, *ALL)


def test_a_model_that_takes_something_else_is_named(world, capsys):
    Path("model/model.onnx").write_bytes(logistic([1.0, 2.0], 0.0))
    refused(capsys, "the model takes 2 features, and there are 3: income, debt, age", *ALL)
    Path("model/model.onnx").write_bytes(b"\x08\x08 no model")
    refused(capsys, "model", *ALL)


def test_wrong_options_are_usage_errors(world, capsys):
    assert run(["model", "evaluate", "model", "--data", "data/holdout.csv"]) == 2
    assert run(["model", "evaluate", *ALL, "--label", "repaid"]) == 2
    assert run(["model", "evaluate", *ALL, "--attest"]) == 2
    assert run(["model", "evaluate", *ALL[:-1], "model"]) == 3
    assert "is no file of this dataset" in capsys.readouterr().err


def test_the_gate_asks_for_an_evaluation_by_the_plan_of_the_base(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["init", "team", "--example", "-q"]) == 0
    monkeypatch.chdir(tmp_path / "team")

    def committed(message):
        for words in (["add", "-A", "."], ["add", "-f", ".evidence"], ["commit", "-qm", message]):
            who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
            subprocess.run(["git", *who, *words], check=words[0] == "commit", capture_output=True)

    def gate(base):
        capsys.readouterr()
        status = run(["gate", "--base", base, "-q", "-o", "json"])
        return status, {item["rule"] for item in json.loads(capsys.readouterr().out)["findings"]}

    yaml, declared = Path("customhouse.yaml"), Path("models/first-model.yaml")
    Path("first.yaml").write_text(
        "apiVersion: customhouse.dev/evaluation/v1\nlabel: paid\nmeasure: [performance]\n"
        "bounds: [{metric: accuracy, atLeast: 0.05}]\n"
    )
    plans = "evaluation: {plans: [{name: first, file: first.yaml, models: ['pvc://models/**']}]}\n"
    yaml.write_text(yaml.read_text() + plans)
    committed("a plan")
    rows = np.random.default_rng(1).random((200, 4)).round(3)
    rows[:, 3] = rows[:, 3] > 0.5
    np.savetxt("../h.csv", rows, delimiter=",", fmt="%g", header="a,b,c,paid", comments="")
    assert run(["model", "attest", "artifacts/first-model/v1", "--key", ".customhouse/keys/evidence.key", "-q"]) == 0
    declared.write_text(declared.read_text().replace("maxReplicas: 1", "maxReplicas: 2"))
    committed("a release without an evaluation")
    status, rules = gate("HEAD~1")
    assert (status, "evaluation-plan" in rules) == (1, True)
    words = ["artifacts/first-model/v1", "--data", "../h.csv", "--attest", "--key", ".customhouse/keys/evidence.key"]
    assert run(["model", "evaluate", *words, "-q"]) == 0
    committed("its evaluation")
    status, rules = gate("HEAD~2")
    assert (status, "evaluation-plan" in rules) == (0, False)
    # Bounds that a later revision tightens: what was measured under the old ones does not count any more.
    Path("first.yaml").write_text(Path("first.yaml").read_text().replace("0.05", "0.06"))
    committed("another plan")
    declared.write_text(declared.read_text().replace("maxReplicas: 2", "maxReplicas: 1"))
    committed("a release under it")
    status, rules = gate("HEAD~1")
    assert (status, "evaluation-plan" in rules) == (1, True)
