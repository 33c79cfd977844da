"""Model signatures of our own: over every file, bound to the digest that declarations pin."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.digest import Tree, tree
from customhouse.core.errors import EvidenceError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust.attestation import collect, evidence_path, read_evidence
from customhouse.trust.bundle import pae
from customhouse.trust.keys import TrustRoot, generate
from customhouse.trust.signing import sign_model, verify_model

AT = datetime(2026, 3, 1, tzinfo=UTC)
KEY = generate()
ROOTS = [TrustRoot("release", KEY.public.pem())]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "weights").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "weights" / "a-1.bin").write_bytes(b"one")
    (folder / "weights" / "a.bin").write_bytes(b"two")
    return folder


def resigned(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """The bundle with another statement, signed again by the same key."""
    document = json.loads(data)
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    edit(statement)
    payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(KEY.sign(pae(envelope["payloadType"], payload))).decode()
    return json.dumps(document).encode()


def without_our_digest(statement: dict[str, Any]) -> None:
    del statement["subject"][0]["annotations"]


def test_a_signed_model_verifies_and_is_evidence_for_its_digest(model: Path) -> None:
    files = tree(model)
    data = sign_model(files, "fraud/v2.0", KEY, AT)
    check = verify_model(data, files, ROOTS)
    assert (check.verified, check.signer, check.method) == (True, "release", "key")
    assert set(check.resources) == {"model.onnx", "weights/a-1.bin", "weights/a.bin"}
    (read,) = read_evidence(data, ROOTS)
    assert (read.subject, read.kind, read.verified) == (files.digest, EvidenceKind.SIGNATURE, True)
    assert read.issued_at == AT


def test_the_statement_is_laid_out_as_the_specification_says(model: Path) -> None:
    files = tree(model)
    statement = json.loads(base64.b64decode(json.loads(sign_model(files, "fraud", KEY))["dsseEnvelope"]["payload"]))
    listed = statement["predicate"]["resources"]
    assert [item["name"] for item in listed] == sorted(item["name"] for item in listed)
    assert {item["algorithm"] for item in listed} == {"sha256"}
    raw = b"".join(bytes.fromhex(item["digest"]) for item in listed)
    assert statement["subject"][0]["digest"]["sha256"] == hashlib.sha256(raw).hexdigest()
    assert statement["predicate"]["serialization"]["method"] == "files"


def test_a_single_file_is_signed_as_the_reference_does(model: Path) -> None:
    files = tree(model / "model.onnx")
    check = verify_model(sign_model(files, "m", KEY), files, ROOTS)
    assert check.verified
    assert list(check.resources) == ["."]


def test_a_single_file_that_was_signed_by_its_own_name_verifies(model: Path) -> None:
    files = tree(model / "model.onnx")

    def rename(statement: dict[str, Any]) -> None:
        statement["predicate"]["resources"][0]["name"] = "model.onnx"

    data = resigned(sign_model(files, "m", KEY), rename)
    assert verify_model(data, files, ROOTS).verified
    (model / "model.onnx").write_bytes(b"other")
    assert verify_model(data, tree(model / "model.onnx"), ROOTS).differing == ("model.onnx",)
    assert not verify_model(data, tree(model), ROOTS).verified


def test_every_file_that_differs_is_missing_or_is_extra_is_named(model: Path) -> None:
    data = sign_model(tree(model), "fraud", KEY)
    (model / "model.onnx").write_bytes(b"Graph")
    (model / "weights" / "a.bin").unlink()
    (model / "weights" / "evil.pkl").write_bytes(b"x")
    check = verify_model(data, tree(model), ROOTS)
    assert (check.differing, check.missing, check.extra) == (("model.onnx",), ("weights/a.bin",), ("weights/evil.pkl",))
    assert len(check.problems()) == 3  # the three files, and that the digest is another one


def test_two_files_that_changed_names_are_seen(model: Path) -> None:
    data = sign_model(tree(model), "fraud", KEY)
    one, two = model / "weights" / "a-1.bin", model / "weights" / "a.bin"
    one.rename(model / "x")
    two.rename(one)
    (model / "x").rename(two)
    assert verify_model(data, tree(model), ROOTS).differing == ("weights/a-1.bin", "weights/a.bin")


def test_what_the_caller_or_the_signer_left_out_is_not_extra(model: Path) -> None:
    data = sign_model(tree(model), "fraud", KEY)
    (model / "cache").mkdir()
    (model / "cache" / "x").write_bytes(b"x")
    stranger = resigned(data, without_our_digest)
    assert verify_model(stranger, tree(model), ROOTS).extra == ("cache/x",)
    assert verify_model(stranger, tree(model), ROOTS, ignore=["cache"]).verified
    said = resigned(stranger, lambda statement: statement["predicate"]["serialization"].update(ignore_paths=["cache"]))
    check = verify_model(said, tree(model), ROOTS)
    assert check.verified
    assert check.ignored == ("cache",)


def test_a_signed_file_cannot_be_left_out(model: Path) -> None:
    data = resigned(sign_model(tree(model), "fraud", KEY), without_our_digest)
    (model / "model.onnx").write_bytes(b"other")
    assert verify_model(data, tree(model), ROOTS, ignore=["model.onnx"]).differing == ("model.onnx",)


def test_a_root_that_may_not_sign_models_does_not_count(model: Path) -> None:
    root = TrustRoot("scanner", KEY.public.pem(), frozenset({EvidenceKind.SCAN}))
    check = verify_model(sign_model(tree(model), "fraud", KEY), tree(model), [root])
    assert check.problem == "scanner may not sign signature"


def test_a_list_that_is_not_the_subjects_is_refused(model: Path) -> None:
    def swap(statement: dict[str, Any]) -> None:
        statement["subject"][0]["digest"]["sha256"] = "ab" * 32

    check = verify_model(resigned(sign_model(tree(model), "fraud", KEY), swap), tree(model), ROOTS)
    assert "not that of the listed files" in check.problem


def test_a_signature_for_another_digest_is_refused(model: Path) -> None:
    def swap(statement: dict[str, Any]) -> None:
        statement["subject"][0]["annotations"]["customhouse.dev/tree-digest"] = "sha256:" + "ab" * 32

    check = verify_model(resigned(sign_model(tree(model), "fraud", KEY), swap), tree(model), ROOTS)
    assert "another digest" in check.problem


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s["predicate"].update(resources=[]),
        lambda s: s["predicate"].update(resources=[*s["predicate"]["resources"], s["predicate"]["resources"][0]]),
        lambda s: s["predicate"]["resources"][0].update(algorithm="blake2b"),
        lambda s: s["predicate"]["resources"][0].update(digest="zz" * 32),
        lambda s: s["predicate"]["resources"][0].update(name=""),
        lambda s: s["predicate"]["serialization"].update(method="shards"),
        lambda s: s["predicate"].pop("serialization"),
    ],
)
def test_a_signature_of_a_form_that_is_not_read_says_so(model: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    data = resigned(sign_model(tree(model), "fraud", KEY), edit)
    with pytest.raises(EvidenceError) as error:
        verify_model(data, tree(model), ROOTS, where="model.sig")
    assert error.value.where == "model.sig" or "hex" in error.value.message


def gathered(data: bytes, files: Tree, digest: str, *, bound: bool) -> Any:
    path = evidence_path(digest, EvidenceKind.SIGNATURE)
    (read,) = collect({path: data}, digest, ROOTS, files if bound else None)
    return read


def test_another_tools_signature_counts_once_it_is_bound_to_the_files(model: Path) -> None:
    files = tree(model)
    data = resigned(sign_model(files, "fraud", KEY), without_our_digest)
    unbound = gathered(data, files, files.digest, bound=False)
    assert (unbound.verified, unbound.subject) == (False, files.digest)
    assert "another tool" in unbound.problem
    bound = gathered(data, files, files.digest, bound=True)
    assert (bound.verified, bound.signer, bound.subject) == (True, "release", files.digest)


def test_another_tools_signature_by_a_stranger_does_not_count_when_bound(model: Path) -> None:
    files = tree(model)
    data = resigned(sign_model(files, "fraud", KEY), without_our_digest)
    (read,) = collect({evidence_path(files.digest, EvidenceKind.SIGNATURE): data}, files.digest, [], files)
    assert not read.verified
    root = TrustRoot("scanner", KEY.public.pem(), frozenset({EvidenceKind.SCAN}))
    (read,) = collect({evidence_path(files.digest, EvidenceKind.SIGNATURE): data}, files.digest, [root], files)
    assert (read.verified, read.problem) == (False, "scanner may not sign signature")


def test_a_signature_over_other_files_does_not_count_when_bound(model: Path) -> None:
    data = sign_model(tree(model), "fraud", KEY)
    (model / "extra").write_bytes(b"x")
    files = tree(model)
    read = gathered(data, files, files.digest, bound=True)
    assert (read.verified, read.problem) == (False, "it was signed over other files than the artifact's")
