"""Starting other programs: no shell, an environment of its own, a limit on time and on output."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from customhouse._kit.process import ProgramError, ProgramMissingError, find_program, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_program_wrote_and_how_it_ended_is_told() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = run(python(code), accept=(0, 3))
    assert (done.status, done.stdout, done.stderr) == (3, b"out\n", "err\n")


def test_a_status_that_was_not_expected_is_an_error_with_what_it_said() -> None:
    with pytest.raises(ProgramError, match="ended with status 3: no such thing") as caught:
        run(python("import sys; sys.exit(print('no such thing', file=sys.stderr) or 3)"))
    assert caught.value.status == 3


def test_nothing_is_read_by_a_shell(tmp_path: Path) -> None:
    word = f"$HOME `touch {tmp_path}/x` ; touch {tmp_path}/y | * ' \""
    done = run([*python("import sys; print(sys.argv[1], end='')"), word])
    assert done.stdout.decode() == word
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_exactly_what_was_given() -> None:
    done = run([find_program("env")], env={"ONLY": "this"})
    assert done.stdout == b"ONLY=this\n"


def test_input_is_passed_and_a_program_that_does_not_read_it_is_no_error(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    assert run(python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"), stdin=data).stdout == data
    assert run(python("pass"), stdin=data).status == 0
    assert run(python("import os; print(os.getcwd())"), cwd=tmp_path).stdout.decode().strip() == str(tmp_path)


def test_a_program_that_runs_on_is_ended_with_its_children(tmp_path: Path) -> None:
    """The child holds the pipe open: killing its parent alone would leave us waiting for it."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "print('begun', file=sys.stderr, flush=True)\n"
        "time.sleep(60)"
    )
    started = time.monotonic()
    with pytest.raises(ProgramError, match="ran past its time limit of 3 s: begun") as caught:
        run(python(code), timeout_s=3.0)
    assert time.monotonic() - started < 20
    assert caught.value.status is None
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _runs(pid):
            break
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_that_writes_without_end_is_ended_and_memory_stays_bounded() -> None:
    with pytest.raises(ProgramError, match="wrote more than 1000000 bytes"):
        run([find_program("yes")], max_output=1_000_000, timeout_s=30)
    with pytest.raises(ProgramError, match="wrote more than 1000 bytes"):
        run(python("import sys; sys.stderr.write('x' * 5000)"), max_output=1000)


def test_a_program_that_is_killed_says_by_what() -> None:
    with pytest.raises(ProgramError, match=f"status -{signal.SIGKILL:d}"):
        run(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ProgramMissingError, match="no-such-program") as caught:
        run(["no-such-program", "--version"])
    assert caught.value.program == "no-such-program"


@pytest.mark.parametrize("word", ["a\0b", "x" * 10_000_000], ids=["zero byte", "too long"])
def test_a_program_that_cannot_be_started_is_a_program_error(word: str) -> None:
    with pytest.raises(ProgramError, match="could not be started"):
        run([*python("pass"), word])


def test_a_folder_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        run(python("pass"), cwd=tmp_path / "missing")
    with pytest.raises(NotADirectoryError):
        run(python("pass"), cwd=Path(sys.executable))


def test_a_program_that_leaves_a_child_with_the_pipe_behind_is_ended_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))"
    )
    with pytest.raises(ProgramError, match="time limit"):
        run(python(code), timeout_s=2.0)
    pid = int((tmp_path / "pid").read_text())
    assert any(not _runs(pid) or time.sleep(0.05) for _ in range(100))


def test_a_relative_entry_of_path_does_not_decide_which_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The absolute path is found first, so that `cwd` (an untrusted clone) cannot bring a `git` of its own."""
    evil = tmp_path / "git"
    evil.write_text("#!/bin/sh\necho evil\n")
    evil.chmod(0o755)
    assert os.path.isabs(find_program("git"))
    assert b"evil" not in run(["git", "--version"], cwd=tmp_path).stdout
