"""Files that are no Declarations, at the gate: in revisions, in the work tree and in folders."""

from __future__ import annotations

import os

from control_repository import git
from gate_world import Said, Shell, released, shell

__all__ = ["released", "shell"]

CARD = "4539 1488 0343 6467"
TOKEN = "ghp_" + "a1B2" * 9


def rules(said: Said) -> set[tuple[str, str]]:
    return {(item["rule"], item["file"]) for item in said.json["findings"]}


def test_personal_data_data_files_and_secrets_are_refused_at_every_input_and_never_printed(shell: Shell) -> None:
    shell.write("data/customers.txt", f"id,card\n1,{CARD}\n")
    shell.write("data/train.csv", "a,b\n" * 10_001)
    shell.write("data/huge.bin", b"\0" * (4 * 1024 * 1024 + 1))
    shell.write("notes/deploy", f"token {TOKEN}\n")
    os.symlink("/etc", shell.path("models/more"))
    expected = {
        ("personal-data-in-git", "data/customers.txt"),
        ("data-file-in-git", "data/train.csv"),
        ("data-file-in-git", "data/huge.bin"),
        ("secret-in-file", "notes/deploy"),
        ("file-not-judged", "models/more"),
    }
    tree = shell.run("gate", "--worktree", "-o", "json")
    shell.write("data/odd\\name.txt", f"{CARD}\n")
    shell.commit()
    assert ("data-file-in-git", "data/odd\\name.txt") in rules(shell.run("gate", "-o", "json"))
    revision = shell.run("gate", "-o", "json")
    folder = shell.run("gate", "data", "notes", "-o", "json")
    for said, wanted in (
        (tree, expected),
        (revision, expected),
        (folder, {one for one in expected if "models" not in one[1]}),
    ):
        assert said.status == 1
        assert wanted <= rules(said)
        assert CARD not in said.out + said.err
        assert TOKEN not in said.out + said.err
    table = shell.run("gate")
    assert "data/customers.txt:1" in table.out
    assert CARD not in table.out
    # What was there is not the next change's; taking it out is allowed.
    shell.write("notes/other", "hello\n")
    git(shell.root, "rm", "-q", "data/train.csv")
    shell.commit()
    assert shell.run("gate", "-q").status == 0
