"""`model sign` and `model verify`: what is left out, what is linked, and whom to believe."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from customhouse.app.model_signing import By, sign
from customhouse.app.model_verify import Request, as_json, verify
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.bundle import read_bundle, seal
from customhouse.trust.keys import Algorithm, generate_pair, load_private


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generate_pair(tmp_path, "own", Algorithm.ECDSA_P256)
    (tmp_path / "model" / ".git").mkdir(parents=True)
    (tmp_path / "model" / ".git" / "HEAD").write_text("ref")
    (tmp_path / "model" / "weights").write_text("w")
    return tmp_path


def by(folder: Path) -> By:
    return By(str(folder / "own.key"))


def asked(folder: Path, **options: object) -> Request:
    return Request(str(folder / "model"), str(folder / "sig"), str(folder / "own.pub"), **options)  # type: ignore[arg-type]


def test_what_is_ignored_is_said_by_the_signature_and_by_whoever_verifies(folder: Path) -> None:
    sign(str(folder / "model"), by(folder), None, str(folder / "sig"), ignore=[".git"])
    (folder / "model" / ".git" / "HEAD").write_text("changed")
    check = verify(asked(folder))
    assert check.verified
    assert as_json(check)["ignored"] == [".git"]
    (folder / "model" / ".gitignore").write_text("not in that folder")
    assert verify(asked(folder)).extra == (".gitignore",)
    assert verify(asked(folder, ignore=(".gitignore",))).verified


def test_paths_to_ignore_may_be_given_from_where_one_stands(folder: Path) -> None:
    sign(str(folder / "model"), by(folder), None, str(folder / "sig"), ignore=[str(folder / "model" / ".git")])
    assert verify(asked(folder)).ignored == (".git",)
    for path in (".", str(folder / "model")):
        with pytest.raises(UsageError, match="whole model"):
            verify(asked(folder, ignore=(path,)))


def test_a_name_that_differs_in_spelling_alone_is_said(folder: Path) -> None:
    (folder / "model" / "caf\u00e9").write_text("x")  # typos: ignore
    sign(str(folder / "model"), by(folder), None, str(folder / "sig"))
    (folder / "model" / "caf\u00e9").rename(folder / "model" / "cafe\u0301")  # typos: ignore
    (folder / "model" / "weights").rename(folder / "model" / "Weights")
    problems = "\n".join(verify(asked(folder)).problems())
    assert "Unicode normalisation alone" in problems
    assert "upper and lower case alone" in problems


def test_links_are_read_where_the_signer_did_so_and_it_is_asked_for(folder: Path) -> None:
    (folder / "model" / "link").write_text("w")
    sign(str(folder / "model"), by(folder), None, str(folder / "sig"))
    (folder / "model" / "link").unlink()
    (folder / "model" / "link").symlink_to("weights")
    with pytest.raises(ArtifactError, match="symbolic link"):
        verify(asked(folder))
    with pytest.raises(UsageError, match="signer allowed no"):
        verify(asked(folder, allow_symlinks=True))
    # As another tool signs that follows links.
    statement = json.loads(read_bundle((folder / "sig").read_bytes()).payload)
    statement["predicate"]["serialization"]["allow_symlinks"] = True
    del statement["subject"][0]["annotations"]
    (folder / "sig").write_bytes(seal(json.dumps(statement).encode(), load_private(folder / "own.key")))
    assert verify(asked(folder, allow_symlinks=True)).verified
    with pytest.raises(ArtifactError, match="symbolic link"):
        verify(asked(folder))
    (folder / "model" / "more").symlink_to(folder / "model" / ".git")
    with pytest.raises(ArtifactError, match="symbolic link"):
        verify(asked(folder, allow_symlinks=True))


def test_whom_to_believe_must_be_said_in_one_way(folder: Path) -> None:
    sign(str(folder / "model"), by(folder), None, str(folder / "sig"))
    for request in (
        Request(str(folder / "model"), str(folder / "sig")),
        asked(folder, authorities=(str(folder / "own.pub"),)),
    ):
        with pytest.raises(UsageError, match="in one way"):
            verify(request)


def test_another_key_and_a_changed_statement_are_told_apart(folder: Path) -> None:
    sign(str(folder / "model"), by(folder), None, str(folder / "sig"))
    generate_pair(folder, "other", Algorithm.ECDSA_P256)
    other = Request(str(folder / "model"), str(folder / "sig"), str(folder / "other.pub"))
    assert "unknown key" in verify(other).problem
    document = json.loads((folder / "sig").read_bytes())
    payload = base64.b64decode(document["dsseEnvelope"]["payload"]).replace(b'"model"', b'"modem"')
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (folder / "sig").write_text(json.dumps(document))
    assert "changed after signing" in verify(asked(folder)).problem
