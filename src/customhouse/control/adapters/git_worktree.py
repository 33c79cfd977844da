"""The uncommitted files of a work tree, as `--worktree` judges them: what git tracks or would add, nothing ignored."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from customhouse._kit.process import ProgramError, ProgramMissingError, run
from customhouse.control.adapters.git_objects import MAX_FILE, MAX_FILES, GitObjects
from customhouse.control.adapters.git_program import Git, failed, git_environment, missing_git
from customhouse.core.errors import SourceError


class WorkTree:
    """A work tree. `objects` reads the commits of its repository (its own base, without a mirror).

    Raises SourceError when `path` is not inside one.
    """

    def __init__(self, path: Path, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})
        self.root = Path(self._git(path, "rev-parse", "--show-toplevel").decode().rstrip("\n"))
        directory = Path(self._git(path, "rev-parse", "--absolute-git-dir").decode().rstrip("\n"))
        self.objects = GitObjects(Git(directory, self._environment))

    def files(self, prefix: str = "") -> Mapping[str, bytes]:
        """Every file that is tracked or would be added, by POSIX path from the root; bytes are read when asked for.

        Raises SourceError for more than MAX_FILES; asking for a link or a file over MAX_FILE raises it too.
        """
        done = self._git(self.root, "ls-files", "-z", "-c", "-o", "--exclude-standard", "--deduplicate")
        names = sorted({name.decode("utf-8", "replace") for name in done.split(b"\0") if name})
        inside = prefix.strip("/")
        wanted = [name for name in names if not inside or name == inside or name.startswith(inside + "/")]
        if len(wanted) > MAX_FILES:
            raise SourceError(f"the work tree holds {len(wanted)} files; at most {MAX_FILES} are read")
        return _Files(self.root, [name for name in wanted if os.path.lexists(self.root / name)])

    def read(self, path: str) -> bytes | None:
        """One file, None when there is none. Raises SourceError for a link or a file over MAX_FILE."""
        return self.files(path).get(path)

    def _git(self, where: Path, *arguments: str) -> bytes:
        # core.fsmonitor of a stranger's repository names a program that any index refresh would start.
        command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
        try:
            return run(command, cwd=where, env=git_environment(self._environment)).stdout
        except ProgramMissingError as error:
            raise missing_git() from error
        except NotADirectoryError as error:
            raise SourceError("not a folder", where=str(where)) from error
        except FileNotFoundError as error:
            raise SourceError(
                "there is no such folder", where=str(where), hint="give the path of a work tree"
            ) from error
        except ProgramError as error:
            if "not a git repository" in error.stderr:
                raise SourceError(
                    "not inside a Git work tree", where=str(where), hint="run `git init`, or give --repo"
                ) from error
            raise failed(arguments[0], error) from error


class _Files(Mapping[str, bytes]):
    def __init__(self, root: Path, names: list[str]) -> None:
        self._root = root
        self._names = dict.fromkeys(names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, path: object) -> bool:
        return path in self._names  # Mapping's own would read the file

    def __getitem__(self, path: str) -> bytes:
        if path not in self._names:
            raise KeyError(path)
        return _read_confined(self._root, path)

    def size(self, path: str) -> int:
        """How many bytes a file has; 0 for what is no plain file."""
        status = os.lstat(self._root / path)
        return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _read_confined(root: Path, path: str) -> bytes:
    """Open part by part without following links, so that no folder of the path can lead outside."""
    parts = path.split("/")
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with os.fdopen(os.open(parts[-1], flags, dir_fd=directory), "rb") as handle:
            status = os.fstat(handle.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SourceError("not a regular file", where=path, hint="commit a regular file")
            data = handle.read(MAX_FILE + 1)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=path, hint="links are not followed") from error
    finally:
        os.close(directory)
    if len(data) > MAX_FILE:
        raise SourceError(f"the file is over {MAX_FILE} bytes", where=path)
    return data
