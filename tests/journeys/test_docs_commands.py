"""What the documentation tells a person to type does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from docs_console import commands, matches, run_page

from customhouse.app.configuration import schema
from customhouse.app.governance import read_configuration
from customhouse.cli.long_work import Line

ROOT = Path(__file__).resolve().parent.parent.parent
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    if "<!-- run -->\n```console" in path.read_text()
)


def test_there_are_pages_with_commands() -> None:
    assert ROOT / "docs" / "tutorial.md" in PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    problems = run_page(page.read_text(), tmp_path, Path(sys.executable).parent)
    assert not problems, "\n".join(problems)


def test_pages_that_are_made_from_the_code_are_in_step_with_it() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "reference.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [(path, target) for path in pages for target in _LINK.findall(path.read_text())]
    assert links
    dead = [f"{path.relative_to(ROOT)}: {target}" for path, target in links if not (path.parent / target).exists()]
    assert dead == []


def test_settings_that_a_page_shows_are_understood() -> None:
    known = set(schema()["properties"])
    shown = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            document = yaml.safe_load(block)
            if isinstance(document, dict) and set(document) <= known:
                whole = {"apiVersion": "customhouse.dev/v1", **document}
                whole["policy"] = {"requireSignedCommits": False, **document.get("policy", {})}
                # A date without quotes is a text here, as it is where customhouse.yaml is read.
                read_configuration(json.dumps(whole, default=str).encode())
                shown += 1
    assert shown >= 5


PAGE = """
<!-- run -->
```console
$ mkdir -p a/b && cd a/b && name=value
$ pwd
.../a/b
$ echo "$name" &&
> echo two
value
two
$ false  # exit 1
$ seq 1 9
1
...
9
```

```console
$ this block is not run
```
"""


def test_a_block_keeps_its_folder_and_variables_and_may_leave_lines_out(tmp_path: Path) -> None:
    assert [command.line for command in commands(PAGE)] == [4, 5, 7, 11, 12]
    assert run_page(PAGE, tmp_path, Path(sys.executable).parent) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("$ echo one\ntwo", "printed\none"),
        ("$ false", "exit 1"),
        ("$ true  # exit 3", "exit 0"),
        ("$ no-such-program", "exit 127"),
        ("$ seq 1 3\n1\n3", "printed\n1\n2\n3"),
    ],
)
def test_a_page_that_says_what_is_not_so_is_found(body: str, problem: str, tmp_path: Path) -> None:
    page = f"<!-- run -->\n```console\n{body}\n```\n"
    (found,) = run_page(page, tmp_path, Path(sys.executable).parent)
    assert problem in found


def test_output_is_compared_as_text() -> None:
    assert matches("a.c (x)", "a.c (x)  \n")
    assert not matches("a.c", "abc\n")
    assert not matches("a", "a\nb\n")
    assert matches("a\n...", "a\nb\nc\n")
    assert matches("total ... ms", "total 12.5 ms\n")


def test_what_a_slow_machine_says_of_its_progress_does_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, *[60.0 * step for step in range(1, 10)]])
    line = Line(terminal=False, now=lambda: next(times))
    line.tell("reading", 0, 5)
    line.tell("reading, MiB", 200, 400)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 2
    assert matches("Denied: 1\n...", f"{said}Denied: 1\nnote\n")
    assert not matches("Denied: 1", "3 of 5 files: denied\nDenied: 1\n")
