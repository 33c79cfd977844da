"""Git objects that prove themselves, held against what the git program and ssh-keygen make."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from customhouse.core.errors import TamperError
from customhouse.trust.custody_git import (
    Objects,
    principals,
    read_commit,
    read_ssh_signature,
    ssh_verifies,
    tree_entries,
)

KEYS = ["ed25519", "ecdsa", "rsa"]


def git(where: Path, *arguments: str) -> bytes:
    env = {"PATH": os.environ["PATH"], "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1"}
    for who in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{who}_NAME": "Ada <x", f"GIT_{who}_EMAIL": "ada@example.com"}
    return subprocess.run(["git", *arguments], cwd=where, env=env, capture_output=True, check=True).stdout


def founded(root: Path, *signing: str, form: str = "sha1") -> tuple[str, Objects]:
    git(root, "init", "-q", "-b", "main", f"--object-format={form}")
    (root / "deploy" / "team").mkdir(parents=True)
    (root / "deploy" / "team" / "a.yaml").write_text("kind: Job\n")
    (root / "run.sh").write_text("echo\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("run.sh")
    git(root, "add", "-A")
    git(root, *signing, "commit", "-q", "-m", "First\n\nbody", *(["-S"] if signing else []))
    raw = {}
    for line in git(root, "cat-file", "--batch-all-objects", "--batch-check").decode().splitlines():
        name, kind, size = line.split()
        raw[name] = f"{kind} {size}\0".encode() + git(root, "cat-file", kind, name)
    return git(root, "rev-parse", "HEAD").decode().strip(), Objects(raw)


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_a_file_is_proved_from_the_commit_by_hashes_alone(tmp_path: Path, form: str) -> None:
    head, objects = founded(tmp_path, form=form)
    assert objects.file(head, "deploy/team/a.yaml") == b"kind: Job\n"
    assert objects.file(head, "run.sh") == b"echo\n"
    assert objects.commit(head).subject == "First"
    assert objects.commit(head).author == "Ada x <ada@example.com>"
    for path in ("deploy", "deploy/team/b.yaml", "link", "run.sh/x", "", "/run.sh", "../x"):
        with pytest.raises(TamperError):
            objects.file(head, path)


def test_an_object_that_is_another_than_its_id_says_is_found(tmp_path: Path) -> None:
    head, objects = founded(tmp_path)
    for name, raw in objects.raw.items():
        kind = raw.partition(b" ")[0]
        assert objects.read(name, kind) == raw.partition(b"\0")[2]
        for at in (0, len(raw) // 2, len(raw) - 1):
            changed = bytearray(raw)
            changed[at] ^= 1
            with pytest.raises(TamperError):
                Objects({name: bytes(changed)}).read(name, kind)
        with pytest.raises(TamperError):
            objects.read(name, b"tag")
    with pytest.raises(KeyError):
        Objects({head: objects.raw[head]}).file(head, "run.sh")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen on PATH")
@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_of_ssh_is_checked_as_ssh_keygen_does(tmp_path: Path, kind: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key)], check=True)
    root = tmp_path / "r"
    root.mkdir()
    head, objects = founded(root, "-c", "gpg.format=ssh", "-c", f"user.signingKey={key}")
    commit = objects.commit(head)
    signature = read_ssh_signature(commit.signature)
    assert signature is not None
    assert ssh_verifies(signature, commit.payload) is True
    assert ssh_verifies(signature, commit.payload + b"x") is False
    public = key.with_suffix(".pub").read_text().split()
    assert signature.key == " ".join(public[:2])
    shown = subprocess.run(["ssh-keygen", "-lf", str(key)], capture_output=True, text=True, check=True).stdout
    assert signature.fingerprint in shown
    line = f'ada@example.com namespaces="git" {signature.key} a comment\n'
    assert principals(line.encode(), signature.key) == ("ada@example.com",)
    assert principals(b"# " + line.encode(), signature.key) == ()
    assert principals(line.replace("AAAA", "AAAB").encode(), signature.key) == ()
    for options, owners in (
        ("", 1),
        ('namespaces="file,git"', 1),
        ('namespaces="*"', 1),
        ('namespaces="file"', 0),
        ("cert-authority", 0),
        ('namespaces="git",valid-before="20200101"', 0),
    ):
        assert len(principals(f"ada@example.com {options} {signature.key}".encode(), signature.key)) == owners, options


def test_signatures_of_other_kinds_and_broken_ones_are_told_apart() -> None:
    assert read_ssh_signature(b"-----BEGIN PGP SIGNATURE-----\n") is None
    for body in (b"", b"AAAA", b"U1NIU0lHAAAAAg==", b"U1NIU0lHAAAAAQAAADM="):
        with pytest.raises(TamperError):
            read_ssh_signature(b"-----BEGIN SSH SIGNATURE-----\n" + body + b"\n-----END SSH SIGNATURE-----\n")


def test_what_is_no_commit_and_no_tree_is_refused() -> None:
    good = b"tree " + b"a" * 40 + b"\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx"
    assert read_commit(good).tree == "a" * 40
    two = good.replace(b"\n\n", b"\ngpgsig one\ngpgsig two\n\n")
    for content in (b"", b"tree xyz\n\n", good.replace(b"tree ", b"tree " + b"b" * 40 + b"\ntree "), two):
        with pytest.raises(TamperError):
            read_commit(content)
    for content in (b"100644 a", b"100644 a\0short", b"100644a\0" + b"x" * 20, b"\xff" * 300):
        with pytest.raises(TamperError):
            list(tree_entries(content, 20))
