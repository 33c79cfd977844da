"""Where files are found: volumes, named files, and the texts of a new repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse.app.artifacts import Volumes
from customhouse.app.governance import read_configuration
from customhouse.app.initialise import Founding, configuration_text, initialise, read_signers
from customhouse.app.named_files import NamedFiles
from customhouse.core.errors import ArtifactError, SourceError, UsageError


# volumes
@pytest.mark.parametrize(
    "reference",
    [
        "pvc://models/../secret",
        "pvc://models/a/../../secret",
        "pvc://models/",
        "pvc://models",
        "pvc://models//etc/passwd",
        "pvc://models/link/x",
    ],
)
def test_a_reference_cannot_leave_its_volume(tmp_path: Path, reference: str) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "artifacts" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError):
        Volumes.of({"models": "artifacts"}, tmp_path).locate(reference)


def test_a_claim_that_is_not_here_and_other_schemes_are_nowhere(tmp_path: Path) -> None:
    volumes = Volumes.of({"models": "artifacts"}, tmp_path)
    assert volumes.locate("pvc://others/a") is None
    assert volumes.locate("s3://models/a") is None
    assert volumes.locate("pvc://models/a/b") == tmp_path / "artifacts" / "a" / "b"


# named files
def test_names_are_relative_and_bytes_are_read_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / ".hidden").mkdir(parents=True)
    (tmp_path / "models" / "a.yaml").write_bytes(b"a")
    (tmp_path / "models" / ".hidden" / "b.yaml").write_bytes(b"b")
    (tmp_path / "models" / ".git").mkdir()
    (tmp_path / "models" / ".git" / "config").write_bytes(b"c")
    found = NamedFiles(["models"])
    assert dict(found) == {"models/a.yaml": b"a", "models/.hidden/b.yaml": b"b"}
    assert found.read("any", "models/a.yaml") == b"a"
    assert found.read("any", "models/c.yaml") is None
    assert dict(found.files("any", "models/.h")) == {"models/.hidden/b.yaml": b"b"}
    (tmp_path / "models" / "a.yaml").write_bytes(b"later")
    assert found["models/a.yaml"] == b"later"


def test_what_a_person_names_is_meant_also_where_it_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".checkout" / "models").mkdir(parents=True)
    (tmp_path / ".checkout" / "models" / "a.yaml").write_bytes(b"a")
    (tmp_path / ".b.yaml").write_bytes(b"b")
    assert list(NamedFiles([".checkout"])) == ["models/a.yaml"]
    assert list(NamedFiles([str(tmp_path / ".checkout/models/a.yaml")])) == ["models/a.yaml"]
    assert list(NamedFiles([".b.yaml"])) == ["b.yaml"]


def test_links_large_files_and_clashes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.yaml").symlink_to("/etc/hostname")
    with pytest.raises(SourceError, match="a link is not read"):
        NamedFiles(["link.yaml"])["link.yaml"]
    (tmp_path / "large.yaml").write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(SourceError, match="4 MiB"):
        NamedFiles(["large.yaml"])["large.yaml"]
    for folder in (".a", ".b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_bytes(folder.encode())
    with pytest.raises(UsageError, match=r"would both be called x\.yaml"):
        NamedFiles([".a", ".b"])
    assert list(NamedFiles([".a", ".a/x.yaml"])) == ["x.yaml"]


# a new repository
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, max_size=3
    ),
    st.dictionaries(
        st.text("abc: #-{}[]'\"yn01", min_size=1, max_size=6), st.text("ab c:#'\"/", min_size=1), max_size=2
    ),
)
def test_whatever_it_is_told_the_text_says_just_that(registries: list[str], folders: dict[str, str]) -> None:
    founding = Founding(registries=tuple(registries), volumes=folders or None, images=folders)
    found = read_configuration(configuration_text(founding).encode())
    assert found.trusted_registries == tuple(registries)
    assert dict(found.volumes) == (folders or {"models": "artifacts"})
    assert dict(found.images) == folders
    assert found.require_signed_commits is False


def test_a_failure_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "mine").mkdir()
    for folder in ("mine", "new"):
        with pytest.raises(SourceError, match="broken"):
            initialise(tmp_path / folder, Founding(), os.environ["PATH"])
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_keys_of_a_new_repository_are_not_in_git_and_not_for_others(tmp_path: Path) -> None:
    initialise(tmp_path / "mine", Founding(), os.environ["PATH"])
    keys = tmp_path / "mine" / ".customhouse" / "keys"
    assert keys.stat().st_mode & 0o077 == 0
    assert all(key.stat().st_mode & 0o077 == 0 for key in keys.iterdir() if key.suffix != ".pub")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=tmp_path / "mine", capture_output=True, text=True, check=True
    ).stdout.split()
    assert listed == [
        ".gitignore",
        "customhouse.yaml",
        "trust/allowed_signers",
        "trust/control-plane.pub",
        "trust/evidence.pub",
    ]


def test_one_principal_has_one_key(tmp_path: Path) -> None:
    key = tmp_path / "a.pub"
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGpjEPlRxTQJ2Vj1tQG5r0HjU1mY0S1hT3m2v2mQb0nX comment here\n")
    assert read_signers([f"a@example.com={key}"]) == {"a@example.com": key.read_text().strip()}
    with pytest.raises(UsageError, match="twice"):
        read_signers([f"a@example.com={key}"] * 2)
    with pytest.raises(UsageError, match="twice"):
        read_signers([f"customhouse@customhouse.dev={key}"])
