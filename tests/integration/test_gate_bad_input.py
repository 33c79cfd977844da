"""Bad input at the gate: it stays shut, says where and what to do, and changes nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from control_repository import git
from gate_world import DECLARATION, MODEL, Shell, released, shell, snapshot

from customhouse._kit.clock import FixedClock
from customhouse._kit.money import Money
from customhouse.app import wiring
from customhouse.core.cost import Charge
from customhouse.core.resource import ResourceRef
from customhouse.store import open_store

__all__ = ["released", "shell"]

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def declare(text: str | bytes) -> Callable[[Shell], None]:
    return lambda shell: shell.write("models/bad.yaml", text)


def configure(old: str, new: str) -> Callable[[Shell], None]:
    return lambda shell: shell.edit("customhouse.yaml", old, new)


def change_declaration(old: str, new: str) -> Callable[[Shell], None]:
    return lambda shell: shell.edit(DECLARATION, old, new)


def damage_model(shell: Shell) -> None:
    shell.write(f"{MODEL}/model.onnx", b"other bytes")


def remove_model(shell: Shell) -> None:
    shell.path(f"{MODEL}/model.onnx").unlink()
    shell.path(MODEL).rmdir()


def empty_model(shell: Shell) -> None:
    shell.path(f"{MODEL}/model.onnx").unlink()


def link_model(shell: Shell) -> None:
    (shell.path(MODEL) / "more.bin").symlink_to("/etc/passwd")


def break_evidence(shell: Shell) -> None:
    next(shell.path(".evidence").rglob("scan.sigstore.json")).write_text("{ not json")


def link_declaration(shell: Shell) -> None:
    shell.path("models/other.yaml").symlink_to("../../secret.yaml")


# What is done to a good repository, the code of the error, where it must say it lies, what it must say to do.
CASES = {
    "broken YAML": (declare("kind: [Job\n"), "CH011", r"models/bad\.yaml:\d+:\d+: ", "."),
    "not YAML at all": (declare(b"\xff\xfe\x00broken"), "CH011", r"models/bad\.yaml", "."),
    "a key twice": (
        declare("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n"),
        "CH011",
        r"models/bad\.yaml:5:3: ",
        "name",
    ),
    "a YAML bomb": (declare(BOMB), "CH011", r"models/bad\.yaml:\d+", "."),
    "deep YAML": (declare("a: " + "[" * 5000), "CH011", r"models/bad\.yaml", "."),
    "an object without a name": (declare("apiVersion: v1\nkind: ConfigMap\n"), "CH011", r"models/bad\.yaml:1", "name"),
    "the same object twice": (
        lambda shell: shell.write("models/twin.yaml", shell.path(DECLARATION).read_text()),
        "CH011",
        r"models/twin\.yaml:\d+",
        "first-model",
    ),
    "a quantity that is none": (change_declaration("256Mi", "lots"), "CH011", r"models/first-model\.yaml:\d+", "lots"),
    "a chart that is no YAML": (
        lambda shell: shell.write("chart/Chart.yaml", "apiVersion: v2\nname: [x\n"),
        "CH011",
        r"chart/Chart\.yaml:\d+",
        ".",
    ),
    "a link for a declaration": (link_declaration, "CH012", r"models/other\.yaml", "."),
    "a missing model": (remove_model, "CH013", r"models/first-model\.yaml:24:\d+: ", "write the model to the volume"),
    "an empty model folder": (empty_model, "CH013", r"models/first-model\.yaml:24:\d+: ", "empty"),
    "a model with another digest": (damage_model, "CH013", r"models/first-model\.yaml:24:\d+: ", "inspect"),
    "a link in a model": (link_model, "CH013", r"models/first-model\.yaml:24:\d+: ", "link"),
    "a path out of the volume": (
        change_declaration("pvc://models/first-model/v1", "pvc://models/../keys"),
        "CH013",
        r"pvc://models/\.\./keys",
        "pvc://claim/folder",
    ),
    "evidence that is not JSON": (break_evidence, "CH014", r"\.evidence/[0-9a-f]{64}/scan\.sigstore\.json", "."),
    "an unknown key in customhouse.yaml": (
        configure("trustedRegistries:", "trustedRegistry:"),
        "CH003",
        r"customhouse\.yaml:\d+:3: unknown key 'trustedRegistry'",
        "did you mean 'trustedRegistries'",
    ),
    "a budget that is a number": (
        configure('monthly: "500"', "monthly: 500"),
        "CH003",
        r"customhouse\.yaml:35:\d+: ",
        "quotes",
    ),
    "a tier that does not exist": (
        configure("default: standard", "default: batchy"),
        "CH003",
        r"customhouse\.yaml:11:\d+: no tier is called 'batchy'",
        "standard",
    ),
    "a key twice in customhouse.yaml": (
        configure("branch: main", "branch: main\nbranch: other"),
        "CH003",
        r"customhouse\.yaml:5:1: ",
        "branch",
    ),
    "signatures asked for, and nobody may sign": (
        lambda shell: (
            shell.edit("customhouse.yaml", "requireSignedCommits: false", "requireSignedCommits: true"),
            shell.edit("customhouse.yaml", "  allowedSigners: trust/allowed_signers\n", ""),
        ),
        "CH003",
        r"customhouse\.yaml:18:\d+: ",
        "trust.allowedSigners",
    ),
    "a trusted key that is not there": (
        configure("trust/evidence.pub", "trust/other.pub"),
        "CH003",
        r"customhouse\.yaml: it names trust/other\.pub",
        "does not exist",
    ),
}


# A work tree and a commit are read by different code; what they hold is judged by the same.
COMMITTED = (
    "broken YAML",
    "not YAML at all",
    "a link for a declaration",
    "a missing model",
    "evidence that is not JSON",
    "an unknown key in customhouse.yaml",
    "a trusted key that is not there",
)


@pytest.mark.parametrize(
    ("name", "worktree"), [*((name, True) for name in CASES), *((name, False) for name in COMMITTED)]
)
def test_the_gate_stays_shut_and_says_why(shell: Shell, name: str, worktree: bool) -> None:
    spoil, code, where, what = CASES[name]
    spoil(shell)
    if not worktree:
        shell.commit()
    before = snapshot(shell.root)
    founding = git(shell.root, "rev-list", "--max-parents=0", "HEAD")
    said = shell.run("gate", "--base", founding, *(["--worktree"] if worktree else []), "-o", "json")
    assert said.status == 3, said.err + said.out
    assert said.out == ""
    assert said.err.startswith(f"error[{code}]: ")
    assert re.search(where, said.err), said.err
    assert re.search(what, said.err), said.err
    assert "Traceback" not in said.err
    assert snapshot(shell.root) == before


def test_a_repository_without_commits_says_so(shell: Shell, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", str(tmp_path / "bare-bones"))
    said = shell.run("gate", "--repo", tmp_path / "bare-bones")
    assert said.status == 3
    assert re.match(r"error\[CH012\]: .*no commits.*\n  fix: ", said.err), said.err


def test_a_folder_that_is_no_repository_says_so(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    said = shell.run("gate", "--repo", tmp_path / "plain")
    assert said.status == 3
    assert "plain" in said.err
    assert "fix: " in said.err


@pytest.mark.parametrize("option", ["--base", "--head"])
@pytest.mark.parametrize("name", ["no-such-branch", "--upload-pack=touch /tmp/x", "", "HEAD^{/x"])
def test_a_revision_that_does_not_exist_is_named(shell: Shell, option: str, name: str) -> None:
    said = shell.run("gate", f"{option}={name}")
    assert said.status in (2, 3)
    assert said.out == ""
    assert said.err.startswith("error[CH0")


def test_histories_that_share_nothing_cannot_be_compared(shell: Shell) -> None:
    git(shell.root, "checkout", "-q", "--orphan", "other")
    shell.commit("another beginning")
    said = shell.run("gate", "--base", "main")
    assert said.status == 3
    assert "share no history" in said.err


def test_without_the_program_git_the_gate_stays_shut(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(shell.root / "nowhere"))
    for command in (["gate"], ["gate", "--worktree"], ["plan"]):
        said = shell.run(*command)
        assert said.status == 3
        assert re.match(r"error\[CH012\]: .*git.*\n  fix: .*install", said.err), said.err


def test_an_accelerator_without_a_price_is_denied_and_never_free(shell: Shell) -> None:
    shell.edit(
        DECLARATION, "memory: 256Mi\n        limits", 'memory: 256Mi\n          nvidia.com/gpu: "1"\n        limits'
    )
    shell.edit(DECLARATION, "  predictor:\n", "  predictor:\n    nodeSelector:\n      nvidia.com/gpu.product: X9000\n")
    said = shell.run("gate", "--worktree", "-o", "json")
    assert said.status == 1
    found = said.json
    assert found["verdict"] == "deny"
    assert "cost-unpriced" in {finding["rule"] for finding in found["findings"]}
    assert any("X9000" in item for item in found["cost"]["unpriced"])
    # What people read says so too: a figure without the part that has no price is the least it can be.
    for form in ("table", "markdown"):
        read = shell.run("gate", "--worktree", "-o", form).out
        assert re.search(r"at least \d+\.\d\d", read)
        assert " or more" in read


def test_a_clock_behind_the_evidence_shuts_the_gate(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "clock", lambda: FixedClock(datetime(2020, 1, 1, tzinfo=UTC)))
    said = shell.run("gate")
    assert said.status == 3
    assert said.err.startswith("error[CH010]: clock: the ")
    assert "2020-01-01" in said.err
    assert "set the clock right" in said.err


def test_a_clock_ahead_makes_old_prices_a_warning_and_ends_an_experiment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "clock", lambda: FixedClock(datetime(2031, 1, 1, tzinfo=UTC)))
    said = shell.run("gate", "-o", "json")
    assert said.status == 1
    found = {finding["rule"]: finding["severity"] for finding in said.json["findings"] if finding["severity"] != "note"}
    assert found == {"price-book-stale": "warning", "ttl-expired": "error"}


def test_a_budget_without_a_spend_record_cannot_be_decided(shell: Shell, tmp_path: Path) -> None:
    said = shell.run("gate", "--state", tmp_path / "none")
    assert said.status == 3
    assert "what was spent this month is not known" in said.err
    assert "--state" in said.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "spoil",
    [lambda place: place.write_bytes(b"not a database, but long enough to be looked at" * 50), Path.mkdir],
    ids=["not a database", "a folder"],
)
def test_a_state_that_cannot_be_read_shuts_the_gate(shell: Shell, spoil: Callable[[Path], object]) -> None:
    place = shell.path(".customhouse/state.db")
    place.unlink()
    spoil(place)
    said = shell.run("gate")
    assert said.status == 3
    assert said.err.startswith("error[CH030]: ")
    assert "state.db" in said.err


def test_a_newer_state_is_left_alone(shell: Shell) -> None:
    import sqlite3

    with sqlite3.connect(shell.path(".customhouse/state.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    said = shell.run("gate")
    assert said.status == 3
    assert "newer" in said.err


def test_a_base_whose_rules_are_broken_judges_nothing(shell: Shell) -> None:
    """A broken customhouse.yaml that got in all the same (a push around the gate) shuts it for everything after."""
    shell.edit("customhouse.yaml", "provider: aws", "provider: asw")
    shell.commit()
    shell.write("README.md", "later")
    shell.commit()
    said = shell.run("gate")
    assert said.status == 3
    assert re.search(r"customhouse\.yaml:30:\d+: provider is 'asw'", said.err)
    assert "did you mean 'aws'" in said.err


def test_rules_that_do_not_compile_shut_the_gate(shell: Shell) -> None:
    shell.edit("customhouse.yaml", "  requireSignedCommits: false", "  requireSignedCommits: false\n  bundle: rules")
    shell.write("rules/own.rego", "package customhouse.rules.own\n\nfindings contains {\n")
    shell.commit()
    said = shell.run("gate")
    assert said.status == 3
    assert re.search(r"rules/own\.rego", said.err), said.err


def test_signatures_that_cannot_be_checked_are_not_taken_for_good_or_bad(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits have to be signed, this one is, and the machine of the gate has no ssh-keygen to verify it with."""
    shell.edit("customhouse.yaml", "requireSignedCommits: false", "requireSignedCommits: true")
    shell.commit("ask for signatures")
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    git(shell.root, "add", "-A")
    options = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={shell.path('.customhouse/keys/commit')}"]
    git(shell.root, *options, "commit", "-q", "-S", "-m", "signed")
    assert shell.run("gate").status == 0
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git") or "git")
    monkeypatch.setenv("PATH", str(programs))
    said = shell.run("gate")
    assert said.status == 3
    assert said.err.startswith("error[CH010]: ")
    assert "ssh-keygen" in said.err


def test_a_clock_behind_the_last_charge_shuts_the_gate(shell: Shell) -> None:
    """Else this month's spend would count as another month's."""
    later = wiring.clock().now() + timedelta(hours=3)
    ref = ResourceRef("apps/v1", "Deployment", "default", "web")
    with open_store(shell.path(".customhouse/state.db")) as store:
        store.measurements.charge(
            [Charge(ref, "r", "", later - timedelta(minutes=1), later, "compute", Money.parse("1"))]
        )
    said = shell.run("gate")
    assert said.status == 3
    assert said.err.startswith("error[CH010]: clock: the last charge in the state was made at ")


@pytest.mark.parametrize("command", [("cost", "estimate"), ("health",), ("gate",)])
@pytest.mark.parametrize(
    "text", ["kind: [Job\n", BOMB, "apiVersion: v1\nkind: ConfigMap\n"], ids=["broken", "bomb", "no name"]
)
def test_named_files_that_cannot_be_read_say_where(shell: Shell, command: tuple[str, ...], text: str) -> None:
    shell.write("bad.yaml", text)
    said = shell.run(*command, "bad.yaml", "-o", "json")
    if command == ("health",) and "ConfigMap" in text:  # what is in a dump has a health, with or without a name
        assert said.json["objects"][0]["resource"]["name"] == ""
        return
    assert said.status == 3
    assert said.out == ""
    assert said.err.startswith("error[CH011]: bad.yaml:")
    assert "fix: " in said.err


def test_a_bare_repository_has_no_work_tree(shell: Shell, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(shell.root), str(tmp_path / "bare.git"))
    said = shell.run("gate", "--worktree", "--repo", tmp_path / "bare.git")
    assert said.status == 3
    assert said.err.startswith("error[CH012]: ")
    assert shell.run("gate", "--repo", tmp_path / "bare.git").status == 0
