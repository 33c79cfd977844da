"""Drafts: gone after their command, removed after a kill, and never taken from a command that is at work."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from customhouse.app.drafts import clear, draft
from customhouse.core.errors import StateError

KILLED = """
import os, signal, sys
from pathlib import Path
from customhouse.app.drafts import draft
with draft(Path(sys.argv[1])) as place:
    (place / "weights").write_bytes(b"w" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
WAITING = """
import sys
from pathlib import Path
from customhouse.app.drafts import draft
with draft(Path(sys.argv[1])) as place:
    (place / "weights").write_bytes(b"w")
    print("there", flush=True)
    sys.stdin.read()
"""


def test_a_draft_is_gone_after_its_command(tmp_path: Path) -> None:
    parent = tmp_path / "state" / "registering"
    with draft(parent) as place:
        (place / "weights").write_bytes(b"w")
        assert clear(parent) == 0
        assert place.is_dir()
    assert list(parent.iterdir()) == []
    with pytest.raises(StateError), draft(parent):
        raise OSError(28, "No space left on device")
    assert list(parent.iterdir()) == []
    assert clear(tmp_path / "nothing") == 0


def test_what_a_killed_command_left_is_removed_and_counted(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert clear(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_another_command_works_in_is_left_to_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "there\n"
        assert clear(tmp_path) == 0
        assert len(list(tmp_path.iterdir())) == 1
        other.communicate()
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_of_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(StateError) as found:
        clear(tmp_path)
    assert found.value.hint == "remove it by hand"
