"""What scripts rely on: data on stdout, talk on stderr, exit statuses, and the JSON shapes that are promised."""

from __future__ import annotations

import ast
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from control_repository import git
from execution_onnx import logistic
from gate_world import DECLARATION, KEY, MODEL, Shell, released, shell, snapshot

from customhouse.cli.program import VERBS, run

__all__ = ["released", "shell"]

PROGRAM = str(Path(sys.executable).parent / "customhouse")
COST = {
    "currency": str,
    "book": dict,
    "monthly_before": str,
    "monthly_after": str,
    "monthly_low": str,
    "monthly_high": str,
    "workloads": list,
    "budgets": list,
    "unpriced": list,
}


def commands() -> Iterator[tuple[str, ...]]:
    """Every command and group, as it is typed."""

    def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        if isinstance(command, click.Group):
            for name, child in command.commands.items():
                yield from walk(child, (*path, name))

    yield ()
    for verb, (place, _) in VERBS.items():
        module, _, name = place.partition(":")
        yield from walk(getattr(import_module(f"customhouse.cli.{module}"), name), (verb,))


def check_types(value: dict[str, object], types: dict[str, type]) -> None:
    assert {name: type(value[name]) for name in types} == types


# shapes
def test_gate_prints_the_promised_json(shell: Shell) -> None:
    shell.edit(DECLARATION, "    customhouse.dev/owner: you\n", "")
    said = shell.run("gate", "--worktree", "-o", "json")
    assert said.status == 1
    found = said.json
    check_types(found, {"verdict": str, "findings": list, "cost": dict})
    assert found["verdict"] == "deny"
    for name in ("digest", "facts_digest", "bundle_digest"):
        assert found[name].startswith("sha256:")
    error = next(item for item in found["findings"] if item["severity"] == "error")
    assert error.keys() >= {"rule", "category", "severity", "resource", "file", "line", "column", "message", "fix"}
    assert error["resource"] == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "namespace": "default",
        "name": "first-model",
    }
    assert error["file"] == DECLARATION
    assert error["waiver"] is None
    check_types(found["cost"], COST)
    (budget,) = found["cost"]["budgets"]
    assert budget.keys() >= {"name", "limit", "month_to_date", "forecast", "left"}
    assert said.err == "deny: 1 change\n"


def test_the_verdict_has_one_digest_wherever_and_whenever_it_is_made(shell: Shell) -> None:
    first, second = (shell.run("gate", "-o", "json").json for _ in range(2))
    # `as_of` is a fact, so two runs differ in the Facts and in nothing that is said.
    assert first["findings"] == second["findings"]
    assert first["cost"] == second["cost"]
    assert first["bundle_digest"] == second["bundle_digest"]


def test_gate_writes_markdown_for_a_pull_request(shell: Shell) -> None:
    said = shell.run("gate", "-o", "markdown")
    assert said.status == 0
    assert said.out.startswith("<!-- customhouse:gate -->\n## Customhouse: allow\n")


def test_cost_estimate_prints_cost(shell: Shell) -> None:
    said = shell.run("cost", "estimate", "models", "-o", "json")
    assert said.status == 0
    assert said.err == ""
    check_types(said.json, COST)
    (work,) = said.json["workloads"]
    assert work.keys() >= {"resource", "monthly", "low", "high", "breakdown"}
    assert said.json["monthly_after"] == work["monthly"]
    assert float(work["monthly"]) > 0


def test_health_gives_a_row_per_object_in_order(shell: Shell) -> None:
    shell.write("job.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {}\nstatus: {succeeded: 1}\n")
    said = shell.run("health", DECLARATION, "job.yaml", DECLARATION, "-o", "json")
    assert said.status == 0
    assert [row["resource"]["kind"] for row in said.json["objects"]] == ["InferenceService", "Job", "InferenceService"]
    assert all(row.keys() >= {"resource", "status", "message"} for row in said.json["objects"])


def test_scan_tells_clean_malicious_and_unscannable_apart_by_exit_status(shell: Shell) -> None:
    shell.write("evil.pkl", b"cos\nsystem\n(S'true'\ntR.")
    shell.write("odd.bin", os.urandom(64) + b"\x93")
    clean = shell.run("model", "scan", MODEL, "-o", "json")
    assert clean.status == 0
    assert [row["verdict"] for row in clean.json["files"]] == ["clean"]
    assert clean.json["files"][0].keys() >= {"path", "format", "verdict", "findings"}
    evil = shell.run("model", "scan", "evil.pkl", MODEL, "-o", "json")
    assert evil.status == 1
    assert [row["verdict"] for row in evil.json["files"]] == ["malicious", "clean"]
    odd = shell.run("model", "scan", "odd.bin", "-o", "json")
    assert odd.status == 3
    assert odd.json["files"][0]["verdict"] == "unscannable"


def test_policy_test_counts_and_names_failures(shell: Shell) -> None:
    said = shell.run("policy", "test", "-o", "json")
    assert said.status == 0
    assert said.json["tests"] == said.json["passed"] > 100
    shell.write("rules/own.rego", "package customhouse.rules.own\n\nfindings contains 1 if false\n")
    shell.write("rules/own_test.rego", "package customhouse.tests.own\n\ntest_it if 1 == 2\n")
    said = shell.run("policy", "test", "rules", "-o", "json")
    assert said.status == 1
    assert said.json["failed"] == [
        {"name": "data.customhouse.tests.own.test_it", "file": "rules/own_test.rego", "line": 3}
    ]
    shell.write("rules/own_test.rego", "package customhouse.tests.own\n\ntest_it if {\n")
    assert shell.run("policy", "test", "rules").status == 3
    shell.path("rules/own_test.rego").unlink()
    assert shell.run("policy", "test", "rules").status == 3
    assert shell.run("policy", "test", "nowhere").status == 2


# models
def test_a_signature_in_the_models_own_folder_verifies(shell: Shell) -> None:
    signature = f"{MODEL}/model.sig"
    public = KEY.replace(".key", ".pub")
    for _ in range(2):  # the second signature replaces the first, and does not sign it
        assert shell.run("model", "sign", MODEL, "--key", KEY, "--out", signature).status == 0
        said = shell.run("model", "verify", MODEL, "--signature", signature, "--key", public)
        assert (said.status, said.out) == (0, "verified\n")
    shell.write(f"{MODEL}/more.bin", b"x")
    said = shell.run("model", "verify", MODEL, "--signature", signature, "--key", public)
    assert said.status == 5
    assert "more.bin: is there and was not signed" in said.out
    said = shell.run("model", "verify", MODEL, "--signature", "nothing.sig", "--key", public)
    assert said.status == 2
    assert "there is no file nothing.sig" in said.err


def test_a_bill_of_materials_is_cyclonedx(shell: Shell) -> None:
    said = shell.run("model", "bom", MODEL, "--name", "first-model", "--version", "v1")
    assert said.status == 0
    assert said.err == ""
    assert (said.json["bomFormat"], said.json["specVersion"]) == ("CycloneDX", "1.6")
    assert said.json["metadata"]["component"]["name"] == "first-model"


def test_another_key_does_not_verify(shell: Shell) -> None:
    assert shell.run("model", "sign", MODEL, "--key", KEY, "--out", "sig").status == 0
    assert shell.run("init", "other", "-q").status == 0
    said = shell.run("model", "verify", MODEL, "--signature", "sig", "--key", "other/trust/evidence.pub")
    assert said.status == 5


def test_a_model_of_ones_own_goes_through_the_gate_step_by_step(shell: Shell) -> None:
    """As docs/tutorial.md says, with a second version."""
    shell.write("artifacts/first-model/v2/model.onnx", logistic([1.0, 2.0], 0.5))
    attest = ["model", "attest", "artifacts/first-model/v2", "--key", KEY, "--name", "first-model", "--version", "v2"]
    done = shell.run(*attest, "-o", "json")
    assert done.status == 0
    assert done.json["verdict"] == "clean"
    assert all(shell.path(name).is_file() for name in done.json["files"])
    old = git(shell.root, "show", f"HEAD:{DECLARATION}").split("model-digest: ")[1].split("\n")[0]
    shell.edit(DECLARATION, "first-model/v1", "first-model/v2")
    assert shell.run("gate", "--worktree").status == 3  # the digest is still that of v1
    shell.edit(DECLARATION, old, done.json["digest"])
    assert shell.run("gate", "--worktree").status == 0
    shell.commit()
    assert shell.run("gate", "-o", "json").json["verdict"] == "allow"


def test_evidence_is_written_whole_or_not_at_all(shell: Shell, tmp_path: Path) -> None:
    """A file that may not grow (as on a full disk) leaves neither half a statement nor a draft."""
    before = snapshot(shell.root)
    command = [PROGRAM, "model", "attest", MODEL, "--key", KEY, "--name", "again", "--version", "v9"]
    done = limited(command, shell.root, 1024)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error[CH030]: ")
    assert not [name for name in snapshot(shell.root) if "draft" in name]
    after = snapshot(shell.root)
    for name in before:
        assert json.loads(after[name]) if name.endswith(".json") else after[name] == before[name]


def test_a_full_disk_under_the_state_is_a_clear_error_and_nothing_is_entered(shell: Shell) -> None:
    done = limited([PROGRAM, "data", "register", "models", "--name", "m"], shell.root, 8192)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error[CH030]: ")
    said = shell.run("data", "register", "models", "--name", "m", "-o", "json")
    assert said.json["entry"] == 0
    assert shell.run("ledger", "verify").status == 0


def limited(command: list[str], where: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Run with files that can be `size` bytes long: the system says so as it says that a disk is full."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # Python would leave cut-off bytecode beside its modules, for everybody who comes after.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command,
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=limit,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_answer_that_cannot_be_written_is_no_answer(shell: Shell) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "gate", "-o", "json"], cwd=shell.root, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_reader_that_leaves_does_not_make_a_denial_look_allowed(shell: Shell) -> None:
    shell.edit(DECLARATION, "    customhouse.dev/owner: you\n", "")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [PROGRAM, "gate", "--worktree", "-o", "json"],
        cwd=shell.root,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr


# data and ledger
def test_a_dataset_is_entered_once_traced_and_proved(shell: Shell) -> None:
    shell.write("data/rows.csv", "a,b\n1,2\n")
    register = ["data", "register", "data", "--name", "rows", "--by", "Ada <ada@example.com>", "-o", "json"]
    first, again = shell.run(*register).json, shell.run(*register).json
    assert first["registered"] is True
    assert again["registered"] is False
    assert first["entry"] == again["entry"] == 0
    traced = shell.run("trace", first["digest"], "-o", "json")
    assert traced.status == 0
    assert traced.json.keys() >= {"nodes", "edges", "proofs"}
    assert any(node["digest"] == first["digest"] for node in traced.json["nodes"])
    assert shell.run("ledger", "verify", "-o", "json").json["ok"] is True
    assert shell.run("ledger", "proof", "0").json
    assert shell.run("ledger", "checkpoint").out.startswith("customhouse.dev/ledger\n1\n")
    assert shell.run("ledger", "proof", "7").status == 2


def test_a_flipped_byte_in_the_ledger_is_exit_5(shell: Shell) -> None:
    shell.write("data/rows.csv", "a,b\n1,2\n")
    shell.run("data", "register", "data", "--name", "rows-of-ada")
    import sqlite3

    database = sqlite3.connect(shell.path(".customhouse/state.db"))
    table, column = next(
        (table, column)
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%ledger%'")
        for _, column, *_ in database.execute(f"PRAGMA table_info({table})")
        if database.execute(f"SELECT count(*) FROM {table} WHERE instr({column}, 'rows-of-ada')").fetchone()[0]
    )
    database.execute(f"UPDATE {table} SET {column} = CAST(replace({column}, 'rows-of-ada', 'rows-of-eve') AS BLOB)")
    database.commit()
    database.close()
    said = shell.run("ledger", "verify", "-o", "json")
    assert said.status == 5
    assert said.json["ok"] is False
    assert said.json["problems"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 200, "-"])
def test_a_dataset_needs_a_name(shell: Shell, name: str) -> None:
    assert shell.run("data", "register", "models", f"--name={name}").status == 2


# configuration
def test_config_show_says_what_is_in_force_and_where_it_comes_from(shell: Shell) -> None:
    shell.edit("customhouse.yaml", "requireSignedCommits: false", "requireSignedCommits: true")
    found = shell.run("config", "show", "-o", "json").json
    keys = {row["key"]: row for row in found["keys"]}
    assert found["configuration"]["policy"]["requireSignedCommits"] is True
    assert keys["policy.requireSignedCommits"]["origin"] == "customhouse.yaml:18:25"
    assert keys["policy.requiredLabels"]["origin"] == "default"
    committed = shell.run("config", "show", "--revision", "HEAD", "-o", "json").json
    assert committed["configuration"]["policy"]["requireSignedCommits"] is False
    again = shell.run("config", "show", "-o", "yaml")
    shell.write("customhouse.yaml", again.out)
    assert shell.run("config", "show", "-o", "json").json["configuration"] == found["configuration"]
    shell.path("customhouse.yaml").unlink()
    assert shell.run("config", "show", "-o", "json").json["source"] == "built-in defaults"


def test_config_explain_knows_every_key_and_the_nearest_one(shell: Shell) -> None:
    said = shell.run("config", "explain", "budgets.monthly", "-o", "json")
    assert said.json["key"] == "budgets[].monthly"
    assert said.json["description"]
    said = shell.run("config", "explain", "policy.requireSignedCommit")
    assert said.status == 2
    assert "did you mean 'policy.requireSignedCommits'?" in said.err


# forecasts
def test_a_series_is_forecast_as_csv(shell: Shell) -> None:
    rows = [f"2026-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z,{10 + hour % 24}" for hour in range(24 * 14)]
    shell.write("series.csv", "\n".join(["timestamp,value", *rows]) + "\n")
    said = shell.run("cost", "forecast", "--series", "series.csv", "--horizon", "24", "--level", "90", "-o", "csv")
    assert said.status == 0
    lines = said.out.splitlines()
    assert lines[0] == "timestamp,mean,lo,hi"
    assert len(lines) == 25
    for hour, line in enumerate(lines[1:]):
        at, mean, low, high = line.split(",")
        assert at == f"2026-01-15T{hour:02d}:00:00Z"
        assert float(low) <= float(mean) <= float(high)
        assert float(mean) == pytest.approx(10 + hour, abs=1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no columns"), ("timestamp,value\nyesterday,1\n", "series.csv:2"), ("timestamp,value\n2026-01-01,1\n", "")],
)
def test_a_series_that_is_none_is_a_usage_error(shell: Shell, text: str, said: str) -> None:
    shell.write("series.csv", text)
    found = shell.run("cost", "forecast", "--series", "series.csv", "--horizon", "2", "-o", "csv")
    assert found.status == 2
    assert found.out == ""
    assert said in found.err


def test_the_month_is_forecast_without_charges_from_what_is_declared(shell: Shell) -> None:
    found = shell.run("cost", "forecast", "-o", "json")
    assert found.status == 0
    assert found.json.keys() >= {"currency", "as_of", "level", "month_to_date", "mean", "low", "high", "method"}
    assert shell.run("cost", "forecast", "--horizon", "3").status == 2
    assert shell.run("cost", "forecast", "--state", "none").status == 2


# usage
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gat"], "did you mean 'gate'"),
        (["gate", "--no-such"], "no-such"),
        (["gate", "nowhere.yaml"], "there is nothing at nowhere.yaml"),
        (["gate", "models", "--base", "HEAD"], "exclude one another"),
        (["gate", "--worktree", "--head", "HEAD"], "exclude one another"),
        (["cost", "estimate"], "PATH"),
        (["cost", "estimate", "nowhere"], "there is nothing at nowhere"),
        (["model", "scan", "nowhere"], "there is nothing at nowhere"),
        (["health", "nowhere"], "there is no file nowhere"),
        (["status", "--state", "none"], "no control plane has run"),
        (["history", "--state", "none"], "there is no state in"),
        (["trace", "x", "--state", "none"], "there is no state in"),
        (["ledger", "verify", "--state", "none"], "there is no state in"),
        (["rollback", "nothing"], "nothing called 'nothing' was released"),
        (["explain", "evidence-mising"], "evidence-missing"),  # typos: ignore
        (["explain", "sha256:000000"], "no decision that begins with sha256:000000"),
        (["config", "show", "--config", "none.yaml"], "there is no file none.yaml"),
        (["gate", "--engine", "magic"], "magic"),
        (["init", "models"], "is not empty"),
        (["model", "attest", MODEL, "--key", KEY, "--dataset", "x"], "NAME=sha256"),
        (["model", "attest", MODEL, "--key", KEY, "--evaluation", "none.json"], "there is no file none.json"),
        (["model", "attest", MODEL, "--key", KEY, "--repo", "none"], "there is no folder none"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_is_exit_2_and_leaves_nothing_behind(shell: Shell, arguments: list[str], said: str) -> None:
    before = snapshot(shell.root)
    found = shell.run(*arguments)
    assert found.status == 2, found.err
    assert said in found.err
    assert found.out == ""
    assert snapshot(shell.root) == before


def test_init_names_who_may_sign(shell: Shell, tmp_path: Path) -> None:
    key = tmp_path / "ada"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    said = shell.run("init", tmp_path / "own", "--signer", f"ada@example.com={key}.pub")
    assert said.status == 0
    assert "requireSignedCommits: true" in (tmp_path / "own" / "customhouse.yaml").read_text()
    signers = (tmp_path / "own" / "trust" / "allowed_signers").read_text()
    assert f'ada@example.com namespaces="git" {" ".join(Path(f"{key}.pub").read_text().split()[:2])}\n' in signers
    assert "customhouse@customhouse.dev" in signers
    # An unsigned commit is now denied, one by Ada's key allowed.
    root = tmp_path / "own"
    (root / "README.md").write_text("mine")
    (root / "customhouse.yaml").write_text((root / "customhouse.yaml").read_text().replace('"500"', '"600"'))
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "unsigned")
    state = ["--state", str(root / ".customhouse")]
    assert shell.run("gate", "--repo", root, *state).status == 1
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"]
    git(root, *options, "commit", "-q", "--amend", "-S", "-m", "signed")
    assert shell.run("gate", "--repo", root, *state).status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--signer", "ada"], "PRINCIPAL=PUBLIC_KEY_FILE"),
        (["--signer", "ada@example.com=none.pub"], "there is no file none.pub"),
        (["--signer", f"ada@example.com={KEY}"], "private key"),
        (["--signer", "ada@example.com=customhouse.yaml"], "not one SSH public key"),
        (["--signer", 'ada" evil=customhouse.yaml'], "PRINCIPAL=PUBLIC_KEY_FILE"),
        (["--namespace", "Not A Namespace"], "not a namespace"),
        (["--budget", "much"], "write it like 500 or 12.50"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_init_refuses_what_makes_no_sense_and_leaves_nothing(shell: Shell, arguments: list[str], said: str) -> None:
    found = shell.run("init", "new", *arguments)
    assert found.status == 2
    assert said in found.err
    assert not shell.path("new").exists()


# help
def test_every_command_has_help_and_a_reason_to_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for path in commands():
        assert run([*path, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("Usage: customhouse")
        assert len(text.splitlines()[2].strip()) > 15, path


def test_help_loads_nothing_heavy() -> None:
    """What makes start-up slow is what is imported; the time itself is measured by `make bench`."""
    heavy = {"alembic", "cryptography", "jinja2", "numpy", "onnxruntime", "regorus", "rich", "sqlalchemy", "starlette"}
    program = (
        "import sys; from customhouse.cli.program import run; "
        f"[run([*path, '--help']) for path in {[list(path) for path in commands()]!r}]; "
        "print(sorted(m for m in sys.modules if '.' not in m), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert heavy & set(ast.literal_eval(done.stderr.strip().splitlines()[-1])) == set()


@pytest.mark.parametrize(("words", "wanted"), [("customhouse ga", "gate"), ("customhouse model ve", "verify")])
def test_the_shell_completes_commands(words: str, wanted: str) -> None:
    environment = {**os.environ, "_CUSTOMHOUSE_COMPLETE": "bash_complete", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(len(words.split()) - 1)
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.stdout.split() == [f"plain,{wanted}"]


def test_a_bug_is_not_taken_for_a_denial(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from customhouse.app import gatekeeping

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(gatekeeping, "judge", broken)
    said = shell.run("gate")
    assert said.status == 70
    assert said.err.startswith("error[CH000]: this is a bug of Customhouse\n")


def test_commands_at_the_same_time_enter_each_dataset_once(shell: Shell) -> None:
    for number in range(3):
        shell.write(f"data{number}/rows.csv", f"n\n{number}\n")
    running = [
        subprocess.Popen(
            [PROGRAM, "data", "register", f"data{number % 3}", "--name", f"d{number % 3}", "-o", "json", "-q"],
            cwd=shell.root,
            stdout=subprocess.PIPE,
        )
        for number in range(4)
    ]
    said = [json.loads(process.communicate(timeout=60)[0]) for process in running]
    assert {item["entry"] for item in said} == {0, 1, 2}
    assert said[0]["entry"] == said[3]["entry"]
    report = shell.run("ledger", "verify", "-o", "json").json
    assert (report["ok"], report["size"]) == (True, 3)


def test_a_full_disk_leaves_no_half_a_repository(shell: Shell) -> None:
    done = limited([PROGRAM, "init", "new"], shell.root, 300)
    assert done.returncode == 3, done.stderr
    assert done.stderr.startswith("error[CH0")
    assert "Traceback" not in done.stderr
    assert not shell.path("new").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_names_that_the_terminal_cannot_show_are_shown_escaped(shell: Shell, encoding: str) -> None:
    odd = os.fsencode(shell.root) + b"/models/\xff\xf0\x9f\x93\xa6.bin"
    Path(os.fsdecode(odd)).write_bytes(b"x")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"}
    for output in ("json", "table"):
        done = subprocess.run(
            [PROGRAM, "model", "scan", "models", "-o", output],
            cwd=shell.root,
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 3, done.stderr  # such a name cannot be signed
        assert b"Traceback" not in done.stderr
        if output == "json":
            assert len(json.loads(done.stdout.decode(encoding))["files"]) == 2


def test_doctor_says_what_is_missing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(shell.root))
    said = shell.run("doctor", "-o", "json")
    assert said.status == 3
    assert {row["name"]: row["state"] for row in said.json["checks"]}["git"] == "missing"
    shell.path(".customhouse/state.db").write_bytes(b"not a database at all" * 100)
    said = shell.run("doctor", "-o", "json")
    assert {row["name"]: row["state"] for row in said.json["checks"]}["state"] == "missing"
