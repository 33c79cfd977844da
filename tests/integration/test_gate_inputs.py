"""What the gate can be asked about: revisions, the work tree, folders, files, standard input; and what it leaves.

The fixes that it offers are taken by the real `git apply` and judged again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from control_repository import git
from gate_world import DECLARATION, MODEL, Shell, released, shell, snapshot

from customhouse.app import remembered

__all__ = ["released", "shell"]

PIN = "@sha256:" + "1" * 64
LABELS = ", ".join(f"customhouse.dev/{name}: x" for name in ("owner", "team", "project", "cost-centre"))
SOFT = f"""\
# Kept as it is.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
  labels: {{{LABELS}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web   # the one container
          image: registry.example.com/web:1.0
          resources: {{requests: {{cpu: 100m, memory: 64Mi}}, limits: {{cpu: 100m, memory: 64Mi}}}}
"""
MENDED = {
    "container-capabilities",
    "container-privilege-escalation",
    "container-root",
    "container-seccomp",
    "pod-token-mounted",
}


@pytest.fixture
def outside(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder that is no repository."""
    place = tmp_path / "outside"
    place.mkdir()
    monkeypatch.chdir(place)
    return Shell(place, shell.run)


def pipe(monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def rules(said) -> set[str]:
    return {finding["rule"] for finding in said.json["findings"]}


# --- standard input ------------------------------------------------------------------------------------------------


def test_standard_input_is_judged_like_a_file(outside: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    outside.write("web.yaml", SOFT)
    named = outside.run("gate", "web.yaml", "-o", "json")
    pipe(monkeypatch, SOFT)
    piped = outside.run("gate", "-", "-o", "json")
    assert (named.status, piped.status) == (1, 1)
    assert rules(named) == rules(piped)
    assert {finding["file"] for finding in piped.json["findings"]} == {"stdin.yaml"}
    pipe(monkeypatch, json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {}}))
    assert outside.run("gate", "-").status == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "standard input is empty"),
        (b" \n\n", "standard input is empty"),
        (b"kind: [", "stdin.yaml:"),
        (b"\xff\xfe\x00", "stdin.yaml"),
        (b"#" * (4 * 1024 * 1024 + 1), "more than 4 MiB"),
        (b"error: chart not found\n", "stdin.yaml:1:1"),
    ],
    ids=["nothing", "blanks", "broken", "no text", "too much", "the words of a program that failed"],
)
def test_what_a_failed_program_pipes_in_is_never_allowed(
    outside: Shell, monkeypatch: pytest.MonkeyPatch, text: bytes, words: str
) -> None:
    pipe(monkeypatch, text)
    said = outside.run("gate", "-", "-o", "github")
    assert said.status == 3
    assert words in said.err
    assert said.out.startswith("::error "), "a person who looks at annotations sees it too"


def test_standard_input_is_read_once(outside: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, SOFT)
    assert outside.run("gate", "-", "-").status == 2


def test_a_named_file_that_would_not_be_read_is_no_file_that_is_allowed(outside: Shell) -> None:
    outside.write("web.txt", SOFT)
    said = outside.run("gate", "web.txt")
    assert said.status == 2
    assert "web.txt would not be read" in said.err


def test_a_pipe_or_a_device_is_no_folder_that_is_empty(outside: Shell) -> None:
    os.mkfifo(outside.path("pipe"))
    for name in ("pipe", "/dev/null"):
        said = outside.run("gate", name)
        assert (said.status, said.out) == (2, "")
        assert "neither a file nor a folder" in said.err


def test_an_object_whose_name_the_server_makes_is_judged(outside: Shell) -> None:
    job = (
        SOFT.replace("apps/v1", "batch/v1")
        .replace("Deployment", "Job")
        .replace("  name: web\n", "  generateName: load-\n")
    )
    outside.write("job.yaml", job.replace("  replicas: 1\n  selector: {matchLabels: {app: web}}\n", ""))
    said = outside.run("gate", "job.yaml", "-o", "json")
    assert said.status == 1
    assert {item["resource"]["name"] for item in said.json["decisions"]} == {"load-"}


def test_the_name_of_a_file_gives_no_command_to_the_ci(outside: Shell) -> None:
    outside.write("x\n::error::injected.yaml", "kind: [")
    said = outside.run("gate", ".")
    assert said.status == 3
    assert not [line for line in said.err.splitlines() if line.lstrip().startswith("::")]


# --- two folders, two files ----------------------------------------------------------------------------------------


def test_two_folders_are_two_states_of_one_repository(shell: Shell, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(shell.root, before, ignore=shutil.ignore_patterns(".git"))
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    said = shell.run("gate", "--before", before, shell.root, "-o", "json", "--state", shell.path(".customhouse"))
    assert said.status == 0, said.err
    (only,) = said.json["decisions"]
    assert only["resource"]["kind"] == "InferenceService"
    (work,) = said.json["cost"]["workloads"]
    assert work["before"] == said.json["cost"]["monthly_before"]
    assert said.json["cost"]["removed"] == []


def test_the_folder_before_governs(shell: Shell, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(shell.root, before, ignore=shutil.ignore_patterns(".git", ".customhouse"))
    shell.edit("customhouse.yaml", 'monthly: "', 'monthly: "9')
    shell.edit(DECLARATION, "    customhouse.dev/owner: you\n", "")
    said = shell.run("gate", "--before", before, shell.root, "-o", "json", "--state", shell.path(".customhouse"))
    assert said.status == 1
    assert "labels-missing" in rules(said)
    (budget,) = said.json["cost"]["budgets"]
    assert not budget["limit"].startswith("9"), "the limit is the one before"
    assert {"Governance", "InferenceService"} == {item["resource"]["kind"] for item in said.json["decisions"]}


def test_what_is_in_neither_folder_has_not_changed(outside: Shell) -> None:
    outside.write("old/web.yaml", SOFT)
    outside.write("new/moved/to/web.yaml", SOFT)
    said = outside.run("gate", "--before", "old", "new", "-o", "json")
    assert (said.status, said.json["decisions"]) == (0, [])


def test_a_removed_workload_is_in_the_columns_that_add_up(outside: Shell) -> None:
    outside.write("old/web.yaml", SOFT)
    outside.write("old/other.yaml", SOFT.replace("name: web\n", "name: other\n", 1))
    outside.write("new/web.yaml", SOFT.replace("replicas: 1", "replicas: 3"))
    cost = outside.run("gate", "--before", "old", "new", "-o", "json").json["cost"]
    (work,), (gone,) = cost["workloads"], cost["removed"]
    assert gone["resource"]["name"] == "other"
    assert money(work["before"]) + money(gone["before"]) == money(cost["monthly_before"])
    assert money(work["monthly"]) == money(cost["monthly_after"]) == 3 * money(work["before"])
    shown = outside.run("gate", "--before", "old", "new").out
    assert "Deployment default/other: " in shown
    assert "removed" in shown


def money(text: str) -> int:
    from customhouse._kit.money import Money

    return Money.parse(text).pico


def test_two_files_are_compared(outside: Shell) -> None:
    outside.write("a.yaml", SOFT)
    outside.write("b.yaml", SOFT.replace("replicas: 1", "replicas: 2"))
    said = outside.run("gate", "--before", "a.yaml", "b.yaml", "-o", "json")
    assert [item["resource"]["name"] for item in said.json["decisions"]] == ["web"]
    assert said.json["cost"]["monthly_before"] != "0"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--before", "a.yaml"),
        ("--before", "a.yaml", "folder"),
        ("--before", "nothing", "folder"),
        ("--before", "folder", "-"),
        ("--before", "a.yaml", "a.yaml", "folder"),
        ("a.yaml", "--base", "main"),
        ("--report", "sarif", "a.yaml"),
        ("--report", "pdf=x", "a.yaml"),
    ],
)
def test_what_cannot_be_compared_is_a_wrong_command(outside: Shell, arguments: tuple[str, ...]) -> None:
    outside.write("a.yaml", SOFT)
    outside.write("folder/b.yaml", SOFT)
    assert outside.run("gate", *arguments).status == 2


# --- reports -------------------------------------------------------------------------------------------------------


def test_one_run_writes_every_report(outside: Shell) -> None:
    outside.write("web.yaml", SOFT)
    forms = {"sarif": "a.sarif", "junit": "a.xml", "markdown": "a.md", "gitlab": "a.json", "github": "a.txt"}
    arguments = [part for form, file in forms.items() for part in ("--report", f"{form}={file}")]
    said = outside.run("gate", "web.yaml", *arguments, "-o", "json")
    assert said.status == 1
    number = len(said.json["findings"])
    assert len(json.loads(outside.path("a.sarif").read_text())["runs"][0]["results"]) == number
    assert len(ET.parse(outside.path("a.xml")).findall(".//testcase")) == number + 1
    assert len(json.loads(outside.path("a.json").read_text())) == number
    assert outside.path("a.txt").read_text().count("::error ") >= 4
    assert outside.path("a.md").read_text().startswith("<!-- customhouse:gate -->")
    assert not list(outside.root.glob("*.new"))


def test_every_decision_tells_what_its_checks_took(shell: Shell) -> None:
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    said = shell.run("gate", "--worktree", "-o", "json")
    (only,) = said.json["decisions"]
    assert set(only["timings"]) == {"artifacts", "evidence", "price", "facts", "rules"}
    assert all(taken > 0 for taken in only["timings"].values()), only
    assert said.json["timings"] == only["timings"]
    again = shell.run("gate", "--worktree", "-o", "json")
    assert "timings" not in json.dumps(again.json["findings"])


# --- fixes ---------------------------------------------------------------------------------------------------------


def test_the_patch_is_taken_by_git_and_mends_what_it_says(outside: Shell) -> None:
    git(outside.root, "init", "-q")
    outside.write("models/my web.yaml", SOFT)
    before = outside.run("gate", "models", "-o", "json")
    assert rules(before) >= MENDED
    said = outside.run("gate", "models", "--fix-patch")
    assert said.status == 1, "offering a patch does not make the change good"
    outside.write("fix.patch", said.out)
    git(outside.root, "apply", "--check", "fix.patch")
    git(outside.root, "apply", "fix.patch")
    after = outside.run("gate", "models", "-o", "json")
    assert rules(after) == rules(before) - MENDED
    old, new = SOFT.splitlines(), outside.path("models/my web.yaml").read_text().splitlines()
    assert [line for line in new if line in old] == old, "lines are added, none is changed, comments stay"
    assert outside.run("gate", "models", "--fix-patch").out == ""


def test_a_pin_that_the_repository_knows_is_offered(outside: Shell) -> None:
    outside.write("a.yaml", SOFT)
    outside.write("b.yaml", SOFT.replace("name: web\n", "name: other\n", 1).replace("web:1.0", f"web:1.0{PIN}"))
    lenient = (
        "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
        "tiers: {definitions: {standard: {requiredImageEvidence: []}}}\n"
    )
    outside.write(".rules/customhouse.yaml", lenient)
    pinned = f"+          image: registry.example.com/web:1.0{PIN}"
    assert pinned in outside.run("gate", ".", "--fix-patch", "--config", ".rules/customhouse.yaml").out
    said = outside.run("gate", ".", "--fix-patch")
    assert pinned not in said.out, "where a pin opens the question of its evidence, it mends nothing by itself"
    assert said.out.count("+          securityContext:") == 2, "the other fixes of that object are offered all the same"


def test_of_two_pins_none_is_offered(outside: Shell) -> None:
    outside.write("a.yaml", SOFT)
    for name, digit in (("b", "1"), ("c", "2")):
        pin = "@sha256:" + digit * 64
        outside.write(
            f"{name}.yaml", SOFT.replace("name: web\n", f"name: {name}\n", 1).replace("web:1.0", f"web:1.0{pin}")
        )
    assert "image:" not in "".join(
        line for line in outside.run("gate", ".", "--fix-patch").out.splitlines() if line[:1] in "+-"
    )


def test_what_cannot_be_mended_is_left_to_a_person(outside: Shell) -> None:
    aliased = SOFT.replace("      containers:", "      automountServiceAccountToken: false\n      containers:")
    aliased = aliased.replace("      containers:", "      securityContext: &same {runAsUser: 0}\n      containers:")
    aliased += "          securityContext: *same\n"
    outside.write("web.yaml", aliased)
    said = outside.run("gate", "web.yaml", "--fix-patch")
    assert (said.status, said.out) == (1, "")
    assert "could not be mended" in said.err


def test_the_last_line_without_an_end_stays_so(outside: Shell) -> None:
    git(outside.root, "init", "-q")
    outside.write("web.yaml", SOFT.rstrip("\n"))
    outside.write("fix.patch", outside.run("gate", "web.yaml", "--fix-patch").out)
    git(outside.root, "apply", "fix.patch")
    assert outside.run("gate", "web.yaml", "--fix-patch").out == ""


# --- what is left behind -------------------------------------------------------------------------------------------


def test_without_a_named_state_nothing_is_written(shell: Shell) -> None:
    before = snapshot(shell.root)
    assert shell.run("gate").status == 0
    assert shell.run("gate", "--worktree").status == 0
    assert snapshot(shell.root) == before


def test_a_named_state_gets_the_decision_and_an_entry(shell: Shell) -> None:
    state = shell.path(".customhouse")
    entries = json.loads(shell.run("ledger", "verify", "-o", "json", "--state", state).out)["size"]
    said = shell.run("gate", "-o", "json", "--state", state)
    assert said.status == 0
    made = said.json["decisions"]
    report = shell.run("ledger", "verify", "-o", "json", "--state", state)
    assert report.status == 0
    assert report.json["size"] > entries
    told = shell.run("explain", made[0]["digest"], "--state", state)
    assert told.status == 0
    assert f"decision {made[0]['digest']}" in told.out
    assert shell.run("trace", git(shell.root, "rev-parse", "HEAD"), "--state", state).status == 0


def test_a_state_of_gates_alone_knows_no_spend(shell: Shell, tmp_path: Path) -> None:
    """Otherwise the second run would take an empty record for a month without cost."""
    new = tmp_path / "new"
    shell.write("web/web.yaml", SOFT)
    assert shell.run("gate", "web", "--state", new).status == 1
    assert shell.run("ledger", "verify", "--state", new).status == 0
    assert shell.run("gate", "--state", new).status == 3, "a budget is declared, and this state knows nothing of it"


# --- alone ---------------------------------------------------------------------------------------------------------


def test_the_gate_needs_no_network(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the gate asked the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    assert shell.run("gate").status == 0
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    assert shell.run("gate", "--worktree", "-o", "sarif").status == 0


def test_the_whole_program_runs_where_there_is_no_network_at_all(shell: Shell) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system gives no network namespaces to users")
    program = Path(sys.executable).with_name("customhouse")
    done = subprocess.run(
        [*alone, program, "gate", "-o", "json"], check=False, capture_output=True, cwd=shell.root, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "allow"


# --- evidence ------------------------------------------------------------------------------------------------------


def test_a_model_of_many_declarations_is_hashed_once(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    real = remembered.tree

    def counted(place, progress, hashing):
        hashed.append(place)
        return real(place, progress, hashing)

    monkeypatch.setattr(remembered, "tree", counted)
    text = shell.path(DECLARATION).read_text()
    for number in range(5):
        shell.write(f"models/copy-{number}.yaml", text.replace("name: first-model", f"name: copy-{number}", 1))
    said = shell.run("gate", "--worktree", "-o", "json")
    assert len(said.json["decisions"]) == 5
    assert [place.relative_to(shell.root).as_posix() for place in hashed] == [MODEL]
