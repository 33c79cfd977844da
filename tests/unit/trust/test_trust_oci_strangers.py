"""What whoever may push attaches to an image so that nobody can read it: told, left out, and the rest is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import ArtifactError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust import oci_evidence
from customhouse.trust.attestation import attest
from customhouse.trust.bundle import BUNDLE_TYPE
from customhouse.trust.cosign import for_cosign
from customhouse.trust.keys import PrivateKey
from customhouse.trust.oci import MANIFEST_TYPE, Descriptor
from customhouse.trust.oci_evidence import gather

IMAGE = "sha256:" + "ab" * 32
KEY = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
BUNDLE = for_cosign(attest("app", IMAGE, EvidenceKind.SCAN, {"verdict": "malicious"}, KEY))


class Pushed:
    """A registry of one repository, whose documents are given as bytes."""

    def __init__(self, referrers: list[bytes], tags: dict[str, bytes] | None = None) -> None:
        self._manifests = {bytes_digest(body): body for body in referrers}
        self._tags = tags or {}
        self._blobs = {bytes_digest(BUNDLE): BUNDLE}

    def resolve(self, repository: str, tag: str) -> str:
        raise NotImplementedError

    def tagged(self, repository: str, tag: str) -> bytes | None:
        return self._tags.get(tag)

    def manifest(self, repository: str, digest: str) -> bytes:
        return self._manifests[digest]

    def blob(self, repository: str, digest: str, *, max_bytes: int) -> bytes:
        return self._blobs[digest]

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        return tuple(
            Descriptor(MANIFEST_TYPE, found, len(body), BUNDLE_TYPE) for found, body in self._manifests.items()
        )


def document(**more: Any) -> dict[str, Any]:
    layer = Descriptor(BUNDLE_TYPE, bytes_digest(BUNDLE), len(BUNDLE)).to_json()
    return {"mediaType": MANIFEST_TYPE, "subject": {"digest": IMAGE}, "layers": [layer], **more}


GOOD = json.dumps(document()).encode()
BROKEN = [
    GOOD[:-1] + b', "layers": []}',
    json.dumps(document(layers=[{"digest": "sha256:12", "size": 1}])).encode(),
    json.dumps(document(layers="all")).encode(),
    b"[" * 100_000,
    b"\xff\xfe",
    b"[]",
]


@pytest.mark.parametrize("broken", BROKEN)
def test_an_attached_document_that_cannot_be_read_hides_nothing_and_shuts_nothing(broken: bytes) -> None:
    tags = {f"sha256-{IMAGE[7:]}.sig": broken, f"sha256-{IMAGE[7:]}.att": broken}
    found = gather(Pushed([broken, GOOD, b"{" + broken], tags), "app", IMAGE, "here")
    assert list(found.files.values()) == [BUNDLE]
    assert len(found.ignored) == 4
    assert any("here .sig: " in text for text in found.ignored)


def test_more_statements_than_are_read_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_evidence, "MAX_STATEMENTS", 0)
    with pytest.raises(ArtifactError, match="more than 0 statements") as raised:
        gather(Pushed([GOOD]), "app", IMAGE, "here")
    assert "oras discover" in raised.value.hint
