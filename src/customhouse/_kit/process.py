"""The one place that starts other programs: argument lists only, never a shell; a limit on time and output."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class ProgramMissingError(Exception):
    """The program is not installed; `program` says which."""

    def __init__(self, program: str) -> None:
        super().__init__(f"the program {program!r} is not on PATH")
        self.program = program


class ProgramError(Exception):
    """The program ran and failed, or ran past its time; carries what it said on stderr."""

    def __init__(self, arguments: Sequence[str], status: int | None, stderr: str) -> None:
        what = "ran past its time limit" if status is None else f"ended with status {status}"
        super().__init__(f"{' '.join(arguments[:3])} {what}: {stderr.strip()[-2000:]}")
        self.status = status
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended: exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


def find_program(name: str) -> str:
    """The absolute path of a program on PATH. Raises ProgramMissingError."""
    found = shutil.which(name)
    if found is None:
        raise ProgramMissingError(name)
    return os.path.abspath(found)


def run(
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout_s: float = 60.0,
    accept: Sequence[int] = (0,),
) -> Finished:
    """Run a program to its end. `env` replaces the whole environment when given.

    Raises ProgramMissingError, or ProgramError when its status is not in `accept` or it outlives `timeout_s`.
    """
    program = find_program(arguments[0])
    try:
        done = subprocess.run(
            [program, *arguments[1:]],
            cwd=cwd,
            env=None if env is None else dict(env),
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(arguments, None, (error.stderr or b"").decode(errors="replace")) from error
    stderr = done.stderr.decode(errors="replace")
    if done.returncode not in accept:
        raise ProgramError(arguments, done.returncode, stderr)
    return Finished(done.returncode, done.stdout, stderr)
