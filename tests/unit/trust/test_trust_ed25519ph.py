"""Ed25519 over a digest: the vector of RFC 8032 (section 7.3), and that nothing near it passes."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from customhouse.core.errors import TamperError
from customhouse.trust.keys import PublicKey
from customhouse.trust.sigstore import ed25519ph
from customhouse.trust.sigstore.verification import Artifact, Policy, verify_bundle
from sigstore_world import NOW, V03

KEY = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
SIGNATURE = bytes.fromhex(
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
)
DIGEST = hashlib.sha512(b"abc").digest()
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_the_vector_of_the_standard_verifies() -> None:
    assert ed25519ph.verify(KEY, DIGEST, SIGNATURE)


@settings(max_examples=60)
@given(part=st.sampled_from(["key", "digest", "signature"]), bit=st.integers(0, 255))
def test_a_changed_bit_is_refused(part: str, bit: int) -> None:
    values = {"key": bytearray(KEY), "digest": bytearray(DIGEST), "signature": bytearray(SIGNATURE)}
    values[part][bit // 8] ^= 1 << bit % 8
    assert not ed25519ph.verify(*(bytes(value) for value in values.values()))


def test_a_second_spelling_of_the_same_signature_is_refused() -> None:
    scalar = int.from_bytes(SIGNATURE[32:], "little") + ORDER
    assert not ed25519ph.verify(KEY, DIGEST, SIGNATURE[:32] + scalar.to_bytes(32, "little"))
    beyond = (2**255 - 19 + 1).to_bytes(32, "little")  # y = p + 1, another spelling of 1
    assert not ed25519ph.verify(KEY, DIGEST, beyond + SIGNATURE[32:])
    for short in (SIGNATURE[:-1], b"", SIGNATURE + b"\0"):
        assert not ed25519ph.verify(KEY, DIGEST, short)


def test_a_bundle_signed_over_the_digest_verifies_also_by_the_digest_alone() -> None:
    bundle = {
        "mediaType": V03,
        "verificationMaterial": {"publicKey": {"hint": ""}},
        "messageSignature": {"signature": base64.b64encode(SIGNATURE).decode()},
    }
    policy = Policy(key=PublicKey(Ed25519PublicKey.from_public_bytes(KEY)))
    data = json.dumps(bundle).encode()
    for artifact in (Artifact.of_bytes(b"abc"), Artifact.of_digest(f"sha512:{DIGEST.hex()}")):
        assert verify_bundle(data, artifact, policy, None, NOW).method == "key"
    for artifact in (Artifact.of_bytes(b"abx"), Artifact.of_digest("sha256:" + hashlib.sha256(b"abc").hexdigest())):
        with pytest.raises(TamperError):
            verify_bundle(data, artifact, policy, None, NOW)
