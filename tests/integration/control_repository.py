"""A bare remote and a person's clone of it, made with the real git program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def git(where: Path, *arguments: str, **variables: str) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
        **variables,
    }
    done = subprocess.run(["git", *arguments], cwd=where, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(path))
    return path


@pytest.fixture
def clone(tmp_path: Path, remote: Path) -> Path:
    path = tmp_path / "clone"
    git(tmp_path, "init", "-q", "-b", "main", str(path))
    git(path, "remote", "add", "origin", str(remote))
    return path


def write(clone: Path, files: dict[str, str | None], message: str = "change", *options: str, **variables: str) -> str:
    for name, text in files.items():
        place = clone / name
        if text is None:
            place.unlink()
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", message, *options, **variables)
    git(clone, "push", "-q", "--force", "origin", "HEAD")
    return git(clone, "rev-parse", "HEAD")
