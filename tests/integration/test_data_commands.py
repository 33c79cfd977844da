"""`data validate|register|verify` as a person types them, and what the gate makes of the evidence."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from control_repository import git
from gate_world import KEY, Said, Shell, released, shell

from customhouse.app.datasets import person
from customhouse.app.settings import read_settings
from customhouse.cli.program import run
from customhouse.trust.custody import LinkKind
from dataset_cases import table

__all__ = ["released", "shell"]

SCHEMA = """schema: customhouse.dev/dataset/v1
label: label
columns:
  a: {type: integer, min: 0, unique: true}
  b: {type: integer}
  label: {values: [0, 1]}
"""
JOB = """apiVersion: batch/v1
kind: Job
metadata:
  name: train
  namespace: models
  labels: {customhouse.dev/tier: experiment}
  annotations: {customhouse.dev/dataset: "%s"}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: train, image: "registry.example/train@sha256:%s", command: [python, train.py]}
"""


def dataset(shell: Shell, rows: str = "", schema: str = SCHEMA) -> Path:
    shell.write("../data/rows.csv", rows or table(300))
    shell.write("../data/dataset.schema.yaml", schema)
    os.chmod(shell.path("../data/rows.csv"), 0o640)
    return shell.path("../data")


def test_good_data_are_registered_once_and_verified(shell: Shell) -> None:
    path = dataset(shell)
    first = shell.run("data", "register", path, "--name", "tx", "--from", "s3://bucket/raw.csv", "-o", "json").json
    assert (first["registered"], first["version"], first["rows"], first["findings"]) == (True, 1, 300, [])
    again = shell.run("data", "register", path, "--name", "tx", "-o", "json").json
    assert (again["registered"], again["version"], again["entry"]) == (False, 1, first["entry"])
    assert shell.run("data", "verify", "tx", path).status == 0
    told = shell.run("trace", first["digest"], "-o", "json").json
    kinds = {edge["kind"] for edge in told["edges"]}
    assert LinkKind.PRODUCED.value in kinds
    assert "source:s3://bucket/raw.csv" in {node["id"] for node in told["nodes"]}


def test_changed_bytes_are_caught_and_are_the_next_version(shell: Shell) -> None:
    path = dataset(shell)
    first = shell.run("data", "register", path, "--name", "tx", "-o", "json").json
    shell.write("../data/rows.csv", table(301))
    caught = shell.run("data", "verify", "tx", path)
    assert caught.status == 5
    assert first["digest"] in caught.err
    second = shell.run("data", "register", path, "--name", "tx", "-o", "json").json
    assert (second["registered"], second["version"]) == (True, 2)
    told = shell.run("trace", second["digest"], "-o", "json").json
    link = {"from": f"dataset:{first['digest']}", "to": f"dataset:{second['digest']}", "kind": "replaced-by"}
    assert any(link.items() <= edge.items() for edge in told["edges"])
    shell.write("../data/rows.csv", table(300))
    assert shell.run("data", "verify", "tx@1", path).status == 0
    assert shell.run("data", "verify", "tx@2", path).status == 5
    assert "later version" in shell.run("data", "verify", "tx", path).err
    assert shell.run("data", "verify", "unknown", path).status == 2


def test_data_validated_under_an_older_schema_are_told_and_validated_again(shell: Shell) -> None:
    path = shell.path("../data")
    shell.write("../data/rows.csv", table(300))
    os.chmod(shell.path("../data/rows.csv"), 0o640)

    def run(verb: str, version: int, more: str = "") -> Said:
        shell.write("schema.yaml", SCHEMA + (f"version: {version}\n" if version else "") + more)
        named = ("--name", "tx") if verb == "register" else ()
        place = ("tx", path) if verb == "verify" else (path,)
        return shell.run("data", verb, *place, *named, "--schema", "schema.yaml", "-o", "json")

    first = run("register", 1).json
    assert (first["version"], run("verify", 1).status) == (1, 0)
    old = run("verify", 2)
    assert (old.status, old.json["schema"]) == (1, {"registered": 1, "declared": 2, "older": True})
    assert "register it again" in old.err
    second = run("register", 2).json
    assert (second["registered"], second["version"], second["digest"]) == (True, 2, first["digest"])
    assert run("verify", 2).status == 0
    assert run("register", 2).json["registered"] is False
    for version in (1, 0):
        refused = run("register", version)
        assert (refused.status, refused.json["registered"]) == (1, False)
        assert [item["rule"] for item in refused.json["findings"]] == ["older-schema"]
    changed = run("register", 2, "rows: {min: 10}\n")
    assert [(item["rule"], item["severity"]) for item in changed.json["findings"]] == [("older-schema", "warning")]


def test_failing_data_are_not_registered(shell: Shell) -> None:
    path = dataset(shell, table(300) + "-1,2,0\n")
    done = shell.run("data", "register", path, "--name", "tx", "-o", "json")
    assert done.status == 1
    assert (done.json["registered"], done.json["entry"], done.json["passed"]) == (False, None, False)
    assert done.json["findings"][0]["rows"] == ["rows.csv:302"]
    assert "not registered" in done.err
    assert shell.run("data", "verify", "tx", path).status == 2


def test_what_holds_no_rows_is_registered_and_says_that_nobody_validated_it(shell: Shell) -> None:
    shell.write("blobs/a.bin", b"\0\1")
    done = shell.run("data", "register", "blobs", "--name", "blobs", "-o", "json")
    assert (done.status, done.json["validated"], done.json["registered"]) == (0, False, True)
    assert "without a validation" in done.err
    assert shell.run("data", "validate", "blobs").status == 1
    shell.write("blobs/dataset.schema.yaml", SCHEMA)
    assert shell.run("data", "register", "blobs", "--name", "blobs").status == 2


def test_a_schema_with_a_mistake_names_its_line(shell: Shell) -> None:
    dataset(shell, schema=SCHEMA + "labels_: {}\n")
    done = shell.run("data", "validate", "../data")
    assert done.status == 3
    assert "dataset.schema.yaml:7" in done.err
    assert "did you mean 'labels'" in done.err
    dataset(shell, schema=SCHEMA.replace("min: 0", "min: zero"))
    done = shell.run("data", "validate", "../data")
    assert (done.status, "dataset.schema.yaml:4" in done.err) == (3, True)


def test_an_inferred_schema_is_met_by_its_data(shell: Shell) -> None:
    path = dataset(shell)
    shell.path("../data/dataset.schema.yaml").unlink()
    done = shell.run("data", "validate", path, "--label", "label", "--infer")
    assert done.status == 0
    shell.write("inferred.yaml", done.out)
    report = shell.run("data", "validate", path, "--schema", "inferred.yaml", "-o", "json")
    assert (report.status, report.json["findings"]) == (0, [])
    assert report.json["schema"].startswith("sha256:")


def test_foreign_keys_are_looked_up_in_their_file(shell: Shell) -> None:
    schema = """schema: customhouse.dev/dataset/v1
files: [orders.csv]
columns:
  order: {unique: true}
  customer: {references: {file: customers.csv, column: id}}
"""
    shell.write("shop/customers.csv", "id,name\nc1,x\nc2,y\n")
    shell.write("shop/orders.csv", "order,customer\n1,c1\n2,c3\n3,c2\n")
    shell.write("schema.yaml", schema)
    done = shell.run("data", "validate", "shop", "--schema", "schema.yaml", "-o", "json")
    assert [(item["rule"], item["rows"]) for item in done.json["findings"]] == [("foreign-key", ["orders.csv:3"])]
    shell.write("schema.yaml", schema.replace("customers.csv", "../trust/allowed_signers"))
    assert shell.run("data", "validate", "shop", "--schema", "schema.yaml").status == 2


def test_files_that_everybody_may_read_hold_no_personal_data(shell: Shell) -> None:
    rows = "mail,a\n" + "".join(f"u{i}@example.org,{i}\n" for i in range(30))
    schema = "schema: customhouse.dev/dataset/v1\ncolumns: {mail: {sensitive: pii}, a: {}}\n"
    path = dataset(shell, rows, schema)

    def said() -> list[str]:
        done = shell.run("data", "validate", path, "-o", "json").json
        return [item["rule"] for item in done["findings"] if item["severity"] == "error"]

    assert "storage-unknown" in said() or "storage-unprotected" in said()
    dataset(shell, rows, schema + "storage: {encrypted: true, accessControlled: true, evidence: KMS key 7}\n")
    assert said() == []
    dataset(shell, rows, schema + "storage: {encrypted: false, accessControlled: true, evidence: none}\n")
    assert "storage-unprotected" in said() or "storage-unknown" not in said()


@pytest.mark.parametrize("form", ["table", "json", "markdown", "html"])
def test_a_report_names_rows_and_what_to_do_and_no_markup_of_the_data(shell: Shell, form: str) -> None:
    shell.write("odd.csv", "<b>a</b>,b|c\n" + "".join(f"{i},x{i}\n" for i in range(50)) + "word,y\n")
    done = shell.run("data", "validate", "odd.csv", "-o", form)
    assert done.status == 1
    assert "odd.csv:52" in done.out
    if form == "html":
        assert "<b>a</b>" not in done.out
        assert "<script" not in done.out
    if form == "json":
        assert json.loads(done.out)["passed"] is False


def gated(shell: Shell, digest: str) -> list[str]:
    shell.write("models/train.yaml", JOB % (digest, "c" * 64))
    git(shell.root, "checkout", "-q", "-b", "topic")
    shell.commit("the Job")
    done = shell.run("gate", "--base", "main", "-o", "json")
    assert done.status in (0, 1), done.err
    git(shell.root, "checkout", "-q", "main")
    git(shell.root, "branch", "-q", "-D", "topic")
    return [item["rule"] for item in done.json["findings"] if item["rule"].startswith("dataset-")]


def test_the_gate_asks_for_a_validation_that_passed(shell: Shell) -> None:
    text = shell.path("customhouse.yaml").read_text()
    text = text.replace("provenance, evaluation]", "provenance, evaluation, data-validation]")
    tiers = ", ".join(f"{name}: {{requiredDatasetEvidence: [data-validation]}}" for name in ("experiment", "standard"))
    shell.write("customhouse.yaml", text.replace("tiers:\n", f"tiers:\n  definitions: {{{tiers}}}\n"))
    shell.commit("Datasets need evidence")
    path = dataset(shell)
    digest = shell.run("data", "validate", path, "-o", "json").json["digest"]
    assert gated(shell, digest) == ["dataset-evidence-missing"]
    assert gated(shell, "transactions") == ["dataset-not-pinned"]
    # 1. Evidence of what passed.
    signed = shell.run("data", "validate", path, "--attest", "tx", "--key", shell.path(KEY))
    assert signed.status == 0, signed.err
    shell.commit("evidence")
    assert gated(shell, digest) == []
    # 2. Evidence of what failed.
    bad = shell.path("../bad")
    bad.mkdir()
    (bad / "rows.csv").write_text("a,a\n1,2\n")
    failed = shell.run("data", "validate", bad, "--attest", "bad", "--key", shell.path(KEY), "-o", "json")
    assert failed.status == 1
    shell.commit("evidence of a failure")
    assert "dataset-validation-failed" in gated(shell, failed.json["digest"])
    # 3. Sensitive data whose storage nobody knows.
    rows = "mail,a\n" + "".join(f"u{random.Random(i).random()}@example.org,{i}\n" for i in range(30))
    schema = "schema: customhouse.dev/dataset/v1\ncolumns: {mail: {sensitive: pii}, a: {}}\n"
    path = dataset(shell, rows, schema + "checks: {storage-unknown: warning, storage-unprotected: warning}\n")
    done = shell.run("data", "validate", path, "--attest", "mail", "--key", shell.path(KEY), "-o", "json")
    assert done.status == 0, done.out
    shell.commit("evidence of sensitive data")
    assert "dataset-storage-unprotected" in gated(shell, done.json["digest"])


SNAPSHOT = """schema: customhouse.dev/feature-snapshot/v1
store: feast
project: fraud
asOf: 2026-01-31T00:00:00Z
views:
  - {name: cards, entities: [card], features: [spent], timestamp: at, files: [cards.csv]}
  - {name: shops, entities: [shop], features: [risk], files: [shops.csv]}
"""


def test_a_snapshot_of_a_feature_store_is_entered_by_digest(shell: Shell) -> None:
    shell.write("../export/cards.csv", "card,spent,at\n1,5,2026-01-02T00:00:00Z\n2,7,2026-01-30T00:00:00Z\n")
    shell.write("../export/shops.csv", "shop,risk\na,0.5\nb,0.7\n")
    shell.write("../snapshot.yaml", SNAPSHOT)
    schema = "schema: customhouse.dev/dataset/v1\nfiles: [cards.csv]\n"
    shell.write("../cards.yaml", schema)
    asked = ("data", "register", "../export", "--name", "features", "--schema", "../cards.yaml")
    done = shell.run(*asked, "--snapshot", "../snapshot.yaml", "-o", "json")
    assert done.status == 0, done.out
    first = done.json["snapshot"]
    assert [(view["name"], view["rows"]) for view in first["views"]] == [("cards", 2), ("shops", 2)]
    told = shell.run("trace", done.json["digest"], "-o", "json").json
    assert "feature-view:feast/fraud/cards" in {node["id"] for node in told["nodes"]}
    # Another moment, or another byte, is another snapshot; a row from the future, a column that is missing: none.
    shell.write("../export/cards.csv", "card,spent,at\n1,5,2026-01-02T00:00:00Z\n2,7,2026-02-01T00:00:00Z\n")
    late = shell.run(*asked, "--snapshot", "../snapshot.yaml", "-o", "json")
    assert (late.status, late.json["findings"][0]["rule"], late.json["registered"]) == (1, "leakage-by-time", False)
    assert late.json["snapshot"]["digest"] != first["digest"]
    shell.write("../snapshot.yaml", SNAPSHOT.replace("[risk]", "[risk, gone]"))
    rules = {
        item["rule"] for item in shell.run(*asked, "--snapshot", "../snapshot.yaml", "-o", "json").json["findings"]
    }
    assert "missing-column" in rules
    for wrong, said in (("files: [shops.csv]", "files: [none.csv]"), ("files: [shops.csv]", "files: ['*.csv']")):
        shell.write("../snapshot.yaml", SNAPSHOT.replace(wrong, said))
        refused = shell.run(*asked, "--snapshot", "../snapshot.yaml")
        assert (refused.status, "snapshot.yaml:7" in refused.err) == (3, True)


def test_the_first_dataset_of_a_fresh_state_is_registered_and_one_that_fails_begins_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("empty/rows.csv").write_text("a,a\n1,2\n")
    assert run(["data", "register", "empty", "--name", "orders"]) != 0
    assert not Path(".customhouse").exists()
    Path("rows.csv").write_text("a,b\n" + "".join(f"{n},{n * 7 % 13}\n" for n in range(50)))
    assert run(["data", "register", "rows.csv", "--name", "orders"]) == 0
    assert run(["ledger", "verify"]) == 0


def test_a_registration_names_the_git_author_and_not_a_guess(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "EMAIL", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    monkeypatch.chdir(tmp_path)
    assert person(read_settings()) == "unknown"
    (tmp_path / ".gitconfig").write_text("[user]\nname = Ada Lovelace\nemail = ada@example.com\n")
    assert person(read_settings()) == "Ada Lovelace <ada@example.com>"
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace")
    assert person(read_settings()) == "Grace"


def test_no_schema_is_inferred_of_tables_that_are_unlike(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "unlike"
    folder.mkdir()
    (folder / "one.csv").write_text("a,b\n1,2\n")
    (folder / "two.csv").write_text("x,y\n1,2\n")
    said = shell.run("data", "validate", folder, "--infer")
    assert (said.status, said.out) == (2, "")
    assert "one.csv, two.csv" in said.err
    assert shell.run("data", "validate", folder / "one.csv", "--infer").status == 0
