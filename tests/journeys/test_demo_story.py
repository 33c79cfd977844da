"""The demo as a newcomer runs it, and the commands of the README on the workspace that it leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from demo_run import DemoRun, play

from customhouse.app.custody_verify import verify
from customhouse.app.demo.script import SCRIPT
from customhouse.trust.keys import generate, load_private

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    return play(tmp_path_factory.mktemp("demo"))


def test_every_step_of_the_story_comes_out_as_it_must(demo: DemoRun) -> None:
    failed = [step for step in demo.document.get("steps", []) if not step["ok"]]
    assert not failed, failed
    assert demo.status == 0, demo.stderr[-2000:]
    assert demo.document["ok"] is True
    assert [step["name"] for step in demo.document["steps"]] == [name for name, _ in SCRIPT]
    for step in demo.document["steps"]:
        assert set(step) == {"name", "ok", "seconds", "detail"}
        assert isinstance(step["seconds"], float)
        assert step["detail"]


def test_files_from_outside_are_judged_for_what_they_are(demo: DemoRun) -> None:
    said = {step["name"].partition(":")[0]: step["detail"] for step in demo.document["steps"]}
    assert "malicious (pickle-dangerous-global" in said["weights from outside"]
    assert (
        "not what fraud-detection expects: no material is code"
        in said["a model that another image trained is denied by its provenance"]
    )
    assert re.match(r"\d\d of 50 minimum elements", said["the bill of materials says how complete it is"])
    assert "train.csv: differs" in said["a signed dataset verifies; with one flipped bit it does not"]


def test_quality_is_asked_for_and_what_is_in_an_image_or_registry_is_told(demo: DemoRun) -> None:
    said = {step["name"].partition(":")[0]: step["detail"] for step in demo.document["steps"]}
    assert "No verified evaluation" in said["without an evaluation by the plan in Git, v2.0 is denied"]
    assert re.match(r"4800 rows: AUC 0\.\d+ .*; all 4 bounds of evaluation/fraud.yaml hold", said["model evaluate"])
    assert re.search(r"4 Debian and 2 Python packages; numpy \S+ has DEMO-2026-0001; .*malicious", said["image scan"])
    assert "v2.1-pickle: malicious, nothing was sent" in said["model register"]
    layout = demo.workspace / "registry"
    out = demo.workspace / "again"
    done = demo.cli("model", "pull", f"oci-layout://{layout}:v2.1", str(out), "--evidence", str(out), "-o", "json")
    assert done.returncode == 0, done.stderr
    assert (out / "model.onnx").read_bytes() == (demo.workspace / "pulled" / "model.onnx").read_bytes()
    assert len(json.loads(done.stdout)["evidence"]) == 3


def test_the_picture_says_who_signed_what_of_the_model_that_serves(demo: DemoRun) -> None:
    said = demo.cli("status", "-o", "json", "--state", str(demo.state))
    (serving,) = [row for row in json.loads(said.stdout)["releases"] if row["state"] == "serving"]
    texts = [item["text"] for item in serving["evidence"]]
    assert {"scan clean, by evidence", "provenance, SLSA Build L1, by evidence"} <= set(texts)
    assert [item["kind"] for item in serving["evidence"]][:4] == ["scan", "signature", "bom", "provenance"]


def test_no_request_fails_in_any_roll_or_rollback(demo: DemoRun) -> None:
    step = next(item for item in demo.document["steps"] if item["name"].startswith("no request failed"))
    sent, failed = re.findall(r"(\d+) requests, (\d+) failed", step["detail"])[0]
    assert int(sent) > 500
    assert failed == "0"


def test_the_progress_is_talk_and_only_the_document_is_data(demo: DemoRun) -> None:
    assert demo.stderr.count("ok (") == len(demo.document["steps"])
    assert f"{len(SCRIPT)} of {len(SCRIPT)} steps" in demo.stderr


def test_the_whole_process_tree_stays_below_400_mb(demo: DemoRun) -> None:
    assert 30 << 20 < demo.peak_pss < 400_000_000, (demo.peak_pss, demo.peak_processes)


def test_no_socket_reaches_beyond_loopback(demo: DemoRun) -> None:
    assert demo.outside == set()


def test_nothing_is_written_to_an_empty_home(demo: DemoRun) -> None:
    assert list(demo.home.iterdir()) == []


def test_nothing_is_left_running(demo: DemoRun) -> None:
    assert demo.left_running() == []


def test_trace_leads_from_the_dataset_to_the_charge(demo: DemoRun) -> None:
    digest = json.loads(json.dumps(demo.document["steps"][0]["detail"])).rpartition(" ")[2]
    done = demo.cli("trace", digest, "-o", "json", "--state", str(demo.state))
    assert done.returncode == 0, done.stderr
    kinds = {node["kind"] for node in json.loads(done.stdout)["nodes"]}
    assert {"dataset", "training-run", "model", "evidence", "commit", "decision", "deployment", "charge"} <= kinds


def test_a_stranger_verifies_the_release_and_finds_every_flipped_byte(demo: DemoRun, tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    assert demo.cli("trace", "fraud/fraud-detection", "--export", str(file), "--state", str(demo.state)).returncode == 0
    key = tmp_path / "ledger.pub"
    key.write_bytes((demo.state / "keys" / "ledger.pub").read_bytes())
    (tmp_path / "empty").mkdir()
    done = demo.cli("verify", str(file), "--key", str(key), "-o", "json", cwd=tmp_path / "empty")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    found = json.loads(done.stdout)
    assert found["broken"] == 0
    proved = {link["step"] for link in found["links"] if link["state"] == "proved"}
    assert {1, 2, 3, 4, 5, 6, 7, 8, 10} <= proved
    # Statements verify under the keys of deployed commits, and commits under their allowed signers.
    signed = [link for link in found["links"] if link["name"].startswith("signature of")]
    assert any("evidence" in link["name"] and link["state"] == "proved" for link in signed)
    data = file.read_bytes()
    for number in range(20):
        at = number * len(data) // 20 + 17
        assert not verify_bytes(data[:at] + bytes([data[at] ^ 1 << number % 8]) + data[at + 1 :], file, key), at


def test_the_compliance_report_names_what_can_be_looked_up_and_is_signed(demo: DemoRun, tmp_path: Path) -> None:
    key = tmp_path / "signer.pem"
    generate().save(key)
    (tmp_path / "signer.pub").write_bytes(load_private(key).public.pem())
    out, state = tmp_path / "out", ("--state", str(demo.state))
    done = demo.cli(
        "report", "compliance", "fraud-detection", *state, "-o", "json", "--out", str(out), "--key", str(key)
    )
    assert done.returncode == 1, done.stderr  # some controls are not met, and that is said
    found = json.loads(done.stdout)
    assert json.loads((out / "compliance.json").read_bytes()) == found
    proofs = [p for f in found["frameworks"] for c in f["controls"] for m in c["met"] for p in m["proofs"]]
    entry = next(proof for proof in proofs if proof["kind"] == "entry")
    shown = json.loads(demo.cli("ledger", "proof", entry["ref"], *state).stdout)
    assert json.loads(shown["entry"])["body"]["text"] == entry["said"]
    decision = next(proof for proof in proofs if proof["kind"] == "decision")
    assert demo.cli("explain", decision["ref"], *state).returncode == 0
    page = (out / "compliance.html").read_text()
    assert all(f"{control['id']} " in page for f in found["frameworks"] for control in f["controls"])
    assert "<script" not in page
    bundle = ("--bundle", str(out / "compliance.json.sigstore.json"), "--key", str(tmp_path / "signer.pub"))
    assert demo.cli("artifact", "verify", str(out / "compliance.json"), *bundle).returncode == 0
    (out / "compliance.json").write_text((out / "compliance.json").read_text().replace('"missing"', '"met"', 1))
    assert demo.cli("artifact", "verify", str(out / "compliance.json"), *bundle).returncode == 5


def verify_bytes(data: bytes, file: Path, key: Path) -> bool:
    file.write_bytes(data)
    return verify(str(file), keys=[str(key)]).ok


def test_the_ledger_verifies_and_one_altered_byte_does_not(demo: DemoRun, tmp_path: Path) -> None:
    assert demo.cli("ledger", "verify", "--state", str(demo.state)).returncode == 0
    copy = tmp_path / "state"
    (copy / "keys").mkdir(parents=True)
    for name in ("keys/ledger.pub", "state.db"):
        (copy / name).write_bytes((demo.state / name).read_bytes())
    data = (copy / "state.db").read_bytes()
    at = data.index(b'"kind":"revert"')
    (copy / "state.db").write_bytes(data[:at] + data[at:].replace(b'"kind":"revert"', b'"kind":"qevert"', 1))
    assert demo.cli("ledger", "verify", "--state", str(copy)).returncode == 5


def test_model_scan_tells_the_clean_model_from_the_malicious_one(demo: DemoRun) -> None:
    models = demo.workspace / "artifacts" / "fraud-detection"
    clean = demo.cli("model", "scan", str(models / "v2.1"), "-o", "json")
    assert {row["verdict"] for row in json.loads(clean.stdout)["files"]} == {"clean"}
    assert clean.returncode == 0
    bad = demo.cli("model", "scan", str(models / "v2.1-pickle"), "-o", "json")
    rows = {Path(row["path"]).name: row["verdict"] for row in json.loads(bad.stdout)["files"]}
    assert rows["preprocess.pkl"] == "malicious"
    assert bad.returncode == 1


def test_the_gate_and_the_estimate_answer_on_the_workspace(demo: DemoRun) -> None:
    clone = demo.workspace / "clone"
    gate = demo.cli("gate", "--repo", str(clone), "-o", "json", "--state", str(demo.state))
    assert gate.returncode == 0, gate.stderr
    assert json.loads(gate.stdout)["verdict"] == "allow"
    denied = demo.cli(
        *("gate", "--repo", str(clone), "--base", "origin/main", "--head", "origin/wish/h100", "-o", "json"),
        *("--state", str(demo.state)),
    )
    found = json.loads(denied.stdout)
    assert denied.returncode == 1
    assert found["verdict"] == "deny"
    assert {"cost"} <= {finding["category"] for finding in found["findings"]}
    files = sorted(str(path) for path in (clone / "models").rglob("*.yaml"))
    cost = demo.cli("cost", "estimate", *files, "-o", "json")
    assert cost.returncode == 0, cost.stderr
    assert float(json.loads(cost.stdout)["monthly_after"]) > 0


def test_a_second_demo_replaces_the_first_and_spares_what_is_not_its_own(demo: DemoRun, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    done = demo.cli("demo", "--no-serve", "--workspace", str(mine))
    assert done.returncode == 2
    assert "no demo made it" in done.stderr
    assert (mine / "thesis.tex").read_text() == "years of work"
