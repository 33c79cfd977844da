"""A repository made by `customhouse init --example`, its first model inspected and committed; and the command line.

Commands run in this process through the program's own entry (`cli.program.run`), which is what `customhouse` calls.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from control_repository import git

from customhouse.cli.program import run

MODEL = "artifacts/first-model/v1"
DECLARATION = "models/first-model.yaml"
KEY = ".customhouse/keys/evidence.key"


@dataclass(frozen=True, slots=True)
class Said:
    """What a command ended with and printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """A work tree and a command line that stands in it."""

    root: Path
    run: Callable[..., Said]

    def path(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, content: str | bytes) -> None:
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text()
        assert old in text, f"{old!r} is not in {name}"
        (self.root / name).write_text(text.replace(old, new))

    def commit(self, message: str = "change") -> str:
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.root, "rev-parse", "HEAD")


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The founded repository with one release, as the tutorial makes it. Not to be changed: see `shell`."""
    root = tmp_path_factory.mktemp("released") / "repository"
    assert run(["init", str(root), "--example", "-q"]) == 0
    attest = ["model", "attest", str(root / MODEL), "--repo", str(root), "--key", str(root / KEY)]
    assert run([*attest, "--name", "first-model", "--version", "v1"]) == 0
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "A first model")
    return root


@pytest.fixture
def shell(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A copy of `released` to be changed at will, with the working directory in it."""
    root = tmp_path / "repository"
    shutil.copytree(released, root, symlinks=True)
    monkeypatch.chdir(root)
    for name in ("CUSTOMHOUSE_STATE", "CUSTOMHOUSE_CONFIG", "CUSTOMHOUSE_ENGINE"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: str | Path) -> Said:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return Shell(root, command)


def snapshot(root: Path) -> Mapping[str, bytes]:
    """Every file below a folder with its bytes, but for the side files of an open database."""
    return {
        str(item.relative_to(root)): item.read_bytes()
        for item in sorted(root.rglob("*"))
        if item.is_file() and not item.is_symlink() and item.suffix not in (".db-wal", ".db-shm")
    }
