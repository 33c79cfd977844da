"""A person of the demo: a clone of the remote, an identity, a signing key, and ordinary git commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from customhouse._kit.process import ProgramError, run
from customhouse.core.errors import SourceError


class Person:
    """Works on a clone as people do. Nothing of the machine's own git configuration is read or written."""

    def __init__(self, name: str, email: str, clone: Path, key: Path | None, search_path: str) -> None:
        self.name, self.email, self.clone = name, email, clone
        self._key = key
        self._search_path = search_path

    @property
    def author(self) -> str:
        """As Git writes it."""
        return f"{self.name} <{self.email}>"

    def begin(self, remote: Path, branch: str) -> None:
        """Clone the remote (it may be empty)."""
        self.clone.parent.mkdir(parents=True, exist_ok=True)
        self._git(["clone", "-q", str(remote), str(self.clone)], cwd=self.clone.parent)
        self.git("checkout", "-q", "-B", branch)

    def git(self, *arguments: str) -> str:
        """One git command in the clone; its stdout."""
        return self._git(list(arguments), cwd=self.clone)

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """Write files of the clone; None removes."""
        for name, data in files.items():
            path = self.clone / name
            if data is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def commit(self, message: str, files: Mapping[str, bytes | None]) -> str:
        """Write, stage and commit, signed when there is a key; the new commit's id."""
        self.write(files)
        self.git("add", "--all", "--", *files)
        self.git("commit", "-q", *(["-S"] if self._key else []), "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def push(self, branch: str) -> None:
        """Push the current commit to a branch of the remote."""
        self.git("push", "-q", "origin", f"HEAD:refs/heads/{branch}")

    def pull(self, branch: str) -> str:
        """Take over the remote's branch exactly; its commit id."""
        self.git("fetch", "-q", "origin", branch)
        self.git("checkout", "-q", "-B", branch, "FETCH_HEAD")
        return self.git("rev-parse", "HEAD").strip()

    def _git(self, arguments: Sequence[str], cwd: Path) -> str:
        settings = {
            "user.name": self.name,
            "user.email": self.email,
            "init.defaultBranch": "main",
            "commit.gpgSign": "false",
            "core.hooksPath": "/dev/null",
            "gc.auto": "0",
        }
        if self._key is not None:
            settings |= {"gpg.format": "ssh", "user.signingKey": str(self._key)}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        environment = {
            "PATH": self._search_path,
            "HOME": str(cwd),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
        }
        try:
            return run(["git", *flags, *arguments], cwd=cwd, env=environment).stdout.decode()
        except ProgramError as error:
            raise SourceError(f"git {arguments[0]} failed: {error.stderr.strip()[-500:]}", where=str(cwd)) from error
