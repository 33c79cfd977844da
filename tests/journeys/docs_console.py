"""Console blocks of the documentation: how they are written, found and run.

A block counts when the line before it is `<!-- run -->`:

    <!-- run -->
    ```console
    $ customhouse gate
    allowed: nothing changes
    ...
    $ customhouse gate --no-such-option  # exit 2
    ```

A line that begins with `$ ` is a command (bash, in one folder a page, `cd` and variables kept); `> ` continues it;
`# exit N` at its end says the exit status that it must have (0). What follows is what it must print, stdout and stderr
together; `...` alone on a line stands for any lines, within a line for any text. Without such lines it may print what
it likes. How far long work has come (`reading: 0 of 5`) does not count: a slow machine says it, a quick one does not.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^<!-- run -->\n```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"\s+# exit (\d+)$")
_PROGRESS = re.compile(r"^[a-z][^:\n]*: \d+ of \d+(?: \d+%, \d+ s left)?\n", re.MULTILINE)
"""What `customhouse.cli.long_work` says where stderr is no terminal."""
TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page, with what it must end with and print (None: anything)."""

    line: int
    text: str
    status: int
    output: str | None


def commands(page: str) -> Iterator[Command]:
    """The commands of all blocks of a page, in order."""
    for block in _BLOCK.finditer(page):
        first = page[: block.start(1)].count("\n") + 1
        lines = block[1].splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        if not starts or starts[0] != 0:
            raise AssertionError(f"line {first}: a block that is run begins with a command (`$ …`)")
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            text, output = lines[start][2:], list(lines[start + 1 : end])
            while output and output[0].startswith("> "):
                text += "\n" + output.pop(0)[2:]
            status = _EXIT.search(text)
            yield Command(
                first + start,
                _EXIT.sub("", text),
                int(status[1]) if status else 0,
                "\n".join(output) if output else None,
            )


def matches(expected: str, printed: str) -> bool:
    """Whether what was printed is what the page shows; spaces at the ends of lines and progress do not count."""
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ \t]*\n"
    return re.fullmatch(pattern, _PROGRESS.sub("", printed.rstrip() + "\n")) is not None


def run_page(page: str, folder: Path, programs: Path) -> list[str]:
    """Run every command of a page in `folder`, which is its home too; what went wrong, one text a command."""
    memory = folder / ".shell"
    environment = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    keep = f"trap 'declare -p > {shlex.quote(str(memory))} 2>/dev/null; pwd > {shlex.quote(str(memory))}.pwd' EXIT"
    problems, here = [], folder
    for command in commands(page):
        restore = f"source {shlex.quote(str(memory))} 2>/dev/null || true" if memory.exists() else ":"
        done = subprocess.run(
            ["bash", "-c", f"{restore}\n{keep}\n{command.text}"],
            cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        where = memory.with_name(".shell.pwd")
        here = Path(where.read_text().strip()) if where.exists() else here
        if done.returncode != command.status:
            problems.append(f"line {command.line}: {command.text}: exit {done.returncode}\n{done.stdout}")
        elif command.output is not None and not matches(command.output, done.stdout):
            problems.append(f"line {command.line}: {command.text}: printed\n{done.stdout}")
    return problems
