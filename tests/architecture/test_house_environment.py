"""The two environments, the commands of the Makefile and what CI runs: pinned, and in step with one another."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

TARGETS = ("help", "demo", "test", "check", "parts", "bench")


def _locked(repository_root: Path) -> dict[str, str]:
    lock = tomllib.loads((repository_root / "uv.lock").read_text())
    return {package["name"]: package["version"] for package in lock["package"] if "editable" not in package["source"]}


def _pinned(path: Path) -> dict[str, tuple[str, int]]:
    """Package → version and how many hashes it has."""
    found: dict[str, tuple[str, int]] = {}
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("==")
            found[name.strip()] = (rest.split()[0], line.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("kind", ["run", "dev"])
def test_every_package_that_pip_installs_is_the_locked_one_with_its_hash(kind: str, repository_root: Path) -> None:
    locked = _locked(repository_root)
    pinned = _pinned(repository_root / "requirements" / f"{kind}.txt")
    assert pinned
    assert {name: version for name, (version, _) in pinned.items() if locked[name] != version} == {}
    assert [name for name, (_, hashes) in pinned.items() if not hashes] == []


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed, and only it can export its lock file")
def test_the_exported_lists_are_in_step_with_the_lock_file(repository_root: Path, tmp_path: Path) -> None:
    subprocess.run(
        [repository_root / "scripts" / "export_requirements.sh", tmp_path], check=True, timeout=60, capture_output=True
    )
    for kind in ("run", "dev"):
        exported = (tmp_path / f"{kind}.txt").read_text()
        assert exported == (repository_root / "requirements" / f"{kind}.txt").read_text(), "run `make lock`"


def test_the_product_alone_is_at_most_64_packages(repository_root: Path) -> None:
    """What builds it is counted too. Sizes are measured by the demo's own test."""
    run = _pinned(repository_root / "requirements" / "run.txt")
    assert len(run) + 1 <= 64
    assert not {"pytest", "mypy", "ruff", "hypothesis"} & set(run)


@pytest.mark.skipif(shutil.which("uv") is None, reason="without uv it takes a minute; `make demo` measures it then")
def test_the_product_alone_is_at_most_330_megabytes_and_starts(repository_root: Path, tmp_path: Path) -> None:
    subprocess.run(
        [repository_root / "scripts" / "environment.sh", "run", tmp_path / "venv"],
        check=True, timeout=100, capture_output=True,
    )  # fmt: skip
    size = sum(path.stat().st_size for path in (tmp_path / "venv").rglob("*") if path.is_file())
    assert size <= 330 * 10**6
    packages = list((tmp_path / "venv").glob("lib/python*/site-packages/*.dist-info"))
    assert 20 <= len(packages) <= 64
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "customhouse", "--version"],
        capture_output=True, text=True, check=True, timeout=30, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.startswith("customhouse, version ")


def test_make_alone_says_what_there_is(repository_root: Path) -> None:
    done = subprocess.run(["make"], cwd=repository_root, capture_output=True, text=True, check=True, timeout=20)
    for target in TARGETS:
        assert re.search(rf"^{target} +\S", done.stdout, re.MULTILINE), target


@pytest.mark.parametrize("target", TARGETS)
def test_each_command_of_the_readme_is_a_target(target: str, repository_root: Path) -> None:
    done = subprocess.run(
        ["make", "-n", target, "DEMO_ARGS=--no-serve"],
        cwd=repository_root,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    if target == "demo":
        assert "customhouse demo --no-serve" in done.stdout


def test_the_readme_begins_with_the_two_commands(repository_root: Path) -> None:
    block = (repository_root / "README.md").read_text().split("```")[1]
    assert [line.split("#")[0].split()[:2] for line in block.strip().splitlines()] == [
        ["make", "demo"],
        ["make", "test"],
    ]


def test_scripts_are_strict_and_can_be_run(repository_root: Path) -> None:
    scripts = [repository_root / ".ci" / "run", *(repository_root / "scripts").glob("*.sh")]
    assert len(scripts) >= 4
    for script in scripts:
        assert script.stat().st_mode & stat.S_IXUSR, script
        assert re.search(r"^set -e?uo pipefail$", script.read_text(), re.MULTILINE), script
        subprocess.run(["bash", "-n", script], check=True, timeout=10)


def test_an_interpreter_that_is_too_old_is_named_and_nothing_is_made(repository_root: Path, tmp_path: Path) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    for tool in ("bash", "dirname", "env", "cat"):
        (fake / tool).symlink_to(str(shutil.which(tool)))
    old = fake / "python3"
    old.write_text('#!/usr/bin/env bash\n[[ ${1:-} == --version ]] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        [repository_root / "scripts" / "environment.sh", "run", tmp_path / "venv"],
        env={"PATH": str(fake), "CUSTOMHOUSE_NO_UV": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode != 0
    assert "Python 3.11 or later is needed; Python 3.9.2 was found" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_part_is_skipped_with_the_command_and_fails_in_ci(repository_root: Path, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((repository_root / "tests" / "conftest.py").read_text())
    (tmp_path / "test_part.py").write_text(
        "import pytest\n@pytest.mark.part('no-such-part')\ndef test_it(): pass\n"
        "def test_asking(find_part): find_part('no-such-part')\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # they take longer than the test
    for ci, expected in ({}, "2 skipped"), ({"CI": "true"}, "2 errors"):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tmp_path,
             "-W", "ignore", tmp_path],
            env={**environment, **ci}, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "make parts" in done.stdout
        assert expected.split()[1].rstrip("s") in done.stdout
        assert done.returncode == (1 if ci else 0), done.stdout
