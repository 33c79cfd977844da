"""Whatever lies in a registry: it is read, or refused in words; and nothing that nobody trusted signed is believed."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import ArtifactError, CustomhouseError, EvidenceError
from customhouse.core.evidence import EvidenceKind
from customhouse.trust import cbor
from customhouse.trust.attestation import attest
from customhouse.trust.bundle import seal, statement
from customhouse.trust.cosign import SIGN_TYPE, for_cosign, simple_payload, vulnerability_scan, wrapped_signature
from customhouse.trust.filed import read_filed
from customhouse.trust.keys import PrivateKey, TrustRoot
from customhouse.trust.notary_envelope import read_envelope
from customhouse.trust.oci import Descriptor
from customhouse.trust.oci_evidence import gather
from customhouse.trust.platforms import pack
from customhouse.trust.roots import Roots

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = PrivateKey(ec.generate_private_key(ec.SECP256R1()))
ROOTS = Roots((TrustRoot("release", KEY.public.pem()),))
DIGEST = "sha256:" + "ab" * 32
NAME = "registry.example/team/app"


def signed() -> dict[str, bytes]:
    payload = simple_payload(NAME, DIGEST, NOW)
    said = {"dev.cosignproject.cosign/signature": base64.b64encode(KEY.sign(payload)).decode()}
    return {
        "oci-0.cosign.json": wrapped_signature(payload, said, "here"),
        "oci-1.sigstore.json": for_cosign(seal(statement(NAME, DIGEST[7:], SIGN_TYPE, {}), KEY)),
        "oci-2.sigstore.json": for_cosign(attest(NAME, DIGEST, EvidenceKind.SCAN, {"verdict": "clean"}, KEY)),
    }


SIGNED = signed()
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_what_is_signed_as_it_should_be_is_believed() -> None:
    found = read_filed(SIGNED, DIGEST, ROOTS, NOW)
    assert [(item.kind.value, item.verified) for item in found] == [
        ("signature", True),
        ("signature", True),
        ("scan", True),
    ]


@given(st.sampled_from(sorted(SIGNED)), st.data())
def test_a_changed_byte_is_refused_unless_it_says_nothing(name: str, data: st.DataObject) -> None:
    """Changed anywhere: what is still believed has the payload that was signed, to the last byte."""
    content = bytearray(SIGNED[name])
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    for item in read_filed({name: bytes(content)}, DIGEST, ROOTS, NOW):
        if item.verified:
            assert payload_of(bytes(content)) == payload_of(SIGNED[name])


def payload_of(content: bytes) -> bytes:
    document = json.loads(content)
    return base64.b64decode(document["payload"] if "payload" in document else document["dsseEnvelope"]["payload"])


@given(st.sampled_from(sorted(SIGNED)), st.data())
def test_any_field_may_hold_anything(name: str, data: st.DataObject) -> None:
    """A value anywhere in the document is replaced: read or passed over, never a crash."""
    document = json.loads(SIGNED[name])
    at, path = document, []
    while isinstance(at, (dict, list)) and at and data.draw(st.booleans() if path else st.just(True)):
        keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
        path.append(data.draw(st.sampled_from(keys)))
        at = at[path[-1]]
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(json_values)
    for item in read_filed({name: json.dumps(document).encode()}, DIGEST, ROOTS, NOW):
        assert item.subject == DIGEST


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_envelopes_and_layers_of_strangers_are_refused_in_words(content: bytes) -> None:
    for read in (lambda: read_envelope(content, "here"), lambda: cbor.decode(content)):
        try:
            read()
        except (EvidenceError, cbor.CborError):
            continue
    files = {
        f"oci-0{suffix}": content
        for suffix in (".sigstore.json", ".cosign.json", ".notary.jws", ".notary.cose", ".index.json")
    }
    assert not any(item.verified for item in read_filed(files, DIGEST, ROOTS, NOW))


@given(st.lists(st.sampled_from([DIGEST, "sha256:" + "cd" * 32]), max_size=3), json_values)
def test_what_is_said_of_images_counts_for_the_index_that_names_them_alone(digests: list[str], odd: Any) -> None:
    """Good statements about DIGEST, in an index of any images: they count where it names DIGEST and nothing else."""
    manifests: list[Any] = [{"digest": one, "size": 3, "platform": {"os": "linux"}} for one in digests]
    index = json.dumps({"manifests": [*manifests, *([] if odd is None else [odd])]}).encode()
    files = {"oci-0.index.json": pack(index, {DIGEST: SIGNED})}
    found = read_filed(files, bytes_digest(index), ROOTS, NOW)
    assert any(item.verified for item in found) is (odd is None and set(digests) == {DIGEST})
    assert read_filed(files, DIGEST, ROOTS, NOW) == ()


class Stranger:
    """A registry whose every answer is made up, with the digests that it should have."""

    def __init__(self, manifest: Any, annotations: dict[str, str], blob: bytes, media_type: str) -> None:
        layer = {"mediaType": media_type, "digest": bytes_digest(blob), "size": len(blob), "annotations": annotations}
        self._manifest = json.dumps({"subject": {"digest": DIGEST}, "layers": [layer, manifest]}).encode()
        self._blob = blob

    def resolve(self, repository: str, tag: str) -> str:
        return DIGEST

    def tagged(self, repository: str, tag: str) -> bytes | None:
        return self._manifest

    def manifest(self, repository: str, digest: str) -> bytes:
        return self._manifest

    def blob(self, repository: str, digest: str, *, max_bytes: int) -> bytes:
        return self._blob

    def referrers(self, repository: str, digest: str) -> tuple[Descriptor, ...]:
        return (Descriptor("application/vnd.oci.image.manifest.v1+json", bytes_digest(self._manifest), 3),)


@given(
    json_values | st.fixed_dictionaries({"digest": st.just(DIGEST), "size": st.integers(0, 9)}),
    st.dictionaries(
        st.sampled_from(
            ["dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle"]
        ),
        st.text(max_size=12) | json_values.map(json.dumps),
    ),
    st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.dsse.envelope.v1+json",
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/jose+json",
            "application/cose",
        ]
    ),
)
def test_a_registry_of_strangers_gives_nothing_that_is_believed(
    manifest: Any, annotations: dict[str, str], blob: bytes, media_type: str
) -> None:
    try:
        found = gather(Stranger(manifest, annotations, blob, media_type), "team/app", DIGEST, "here")
    except ArtifactError:
        return  # a manifest that cannot be read shuts the gate, with the reason
    assert not any(item.verified for item in read_filed(found.files, DIGEST, ROOTS, NOW))


@given(json_values)
def test_a_report_of_vulnerabilities_is_never_clean_by_mistake(value: Any) -> None:
    for shape in ({"scanner": {"result": value}}, {"scanner": value}, {"scanner": {"result": {"Results": value}}}):
        try:
            said = vulnerability_scan(shape)
        except CustomhouseError:
            continue
        assert said["verdict"] == "unscannable"
