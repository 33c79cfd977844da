"""Runs `customhouse demo --no-serve -o json` once and watches its process tree while it plays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = str(Path(sys.executable).parent / "customhouse")
_ENDED = (FileNotFoundError, ProcessLookupError, PermissionError)


def tree(root: int, mark: str) -> list[int]:
    """The processes below `root`, and those whose command line names `mark`: model servers outlive their parent."""
    parents: dict[int, int] = {}
    marked = set()
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            parents[int(place.name)] = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if mark in (place / "cmdline").read_text(errors="replace"):
                marked.add(int(place.name))
        except _ENDED:
            continue
    found = {root, *marked} & set(parents)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def pss(pid: int) -> int:
    """Proportional set size in bytes; 0 for a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (*_ENDED, OSError):
        return 0
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) * 1024


def remote_ends(pids: list[int]) -> set[str]:
    """The addresses other than loopback that TCP and UDP sockets of these processes have (hex, as the kernel says)."""
    inodes = set()
    for pid in pids:
        try:
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(handle)
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
        except _ENDED:
            continue
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        place = Path(f"/proc/net/{table}")
        for line in place.read_text().splitlines()[1:] if place.exists() else []:
            fields = line.split()
            if fields[9] in inodes:
                found |= {end for end in fields[1:3] if not _local(end)}
    return found


def _local(end: str) -> bool:
    address, _, port = end.partition(":")
    loopback = address.endswith("7F") and len(address) == 8
    loopback6 = address == "00000000000000000000000001000000"
    mapped = address.startswith("0000000000000000FFFF0000") and address.endswith("7F")
    nobody = set(address) == {"0"} and port == "0000"  # the other end of a socket that only listens
    return loopback or loopback6 or mapped or nobody


@dataclass
class DemoRun:
    """How it went."""

    workspace: Path
    document: dict[str, Any]
    status: int
    stderr: str
    seconds: float
    peak_pss: int = 0
    peak_processes: list[str] = field(default_factory=list)
    outside: set[str] = field(default_factory=set)
    home: Path = Path()

    @property
    def state(self) -> Path:
        return Path(self.document["state"])

    def left_running(self) -> list[str]:
        mark, found = str(self.workspace), []
        for pid in tree(0, mark):
            try:
                found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
            except _ENDED:
                continue
        return [line for line in found if mark in line]

    def cli(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments],
            capture_output=True,
            text=True,
            cwd=cwd or self.workspace,
            env={"PATH": os.environ["PATH"]},
            check=False,
            timeout=300,
        )


def play(root: Path) -> DemoRun:
    """Play the demo in a folder below `root` with an empty HOME, sampling memory and sockets four times a second."""
    workspace, home = root / "demo", root / "home"
    home.mkdir()
    begun = time.monotonic()
    errors = (root / "stderr").open("w+")
    process = subprocess.Popen(
        [PROGRAM, "demo", "--no-serve", "--workspace", str(workspace), "-o", "json"],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=root,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    run = DemoRun(workspace, {}, -1, "", 0.0, home=home)
    for _ in _ticks(process):
        pids = tree(process.pid, str(workspace))
        sizes = {pid: pss(pid) for pid in pids}
        if sum(sizes.values()) > run.peak_pss:
            run.peak_pss = sum(sizes.values())
            run.peak_processes = [f"{size >> 20} MiB {_name(pid)}" for pid, size in sizes.items()]
        run.outside |= remote_ends(pids)
    assert process.stdout is not None
    run.document = json.loads(process.stdout.read() or "{}")
    process.stdout.close()
    errors.seek(0)
    run.stderr = errors.read()
    errors.close()
    run.status, run.seconds = process.returncode, time.monotonic() - begun
    return run


def _ticks(process: subprocess.Popen[str]) -> Iterator[None]:
    end = time.monotonic() + 600  # a machine with nothing else to do needs 40 s; this is for one that is busy
    while process.poll() is None:
        yield
        if time.monotonic() > end + 60:
            process.kill()
        elif time.monotonic() > end:
            process.terminate()  # it ends what it started
        time.sleep(0.25)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:120]
    except _ENDED:
        return "ended"
