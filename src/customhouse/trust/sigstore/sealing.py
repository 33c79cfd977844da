"""A bundle with a signature over an artifact's bytes, made with a key of one's own."""

from __future__ import annotations

import base64

import orjson

from customhouse.trust.bundle import BUNDLE_TYPE
from customhouse.trust.keys import PrivateKey
from customhouse.trust.sigstore.verification import Artifact

_NAMES = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}


def seal_message(artifact: Artifact, key: PrivateKey) -> bytes:
    """The bundle (version 0.3, JSON). The hint is the base64 of the key's sha256, as cosign writes it.

    An Ed25519 key signs the bytes themselves. Raises TamperError when there are too many of them for that.
    """
    name = key.public.hash_name
    if name:
        signature = key.sign_digest(artifact.digest(name))
    else:
        name, signature = "sha256", key.sign(artifact.whole())
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": base64.b64encode(bytes.fromhex(key.public.key_id)).decode()},
        },
        "messageSignature": {
            "messageDigest": {
                "algorithm": _NAMES[name],
                "digest": base64.b64encode(artifact.digest(name)).decode(),
            },
            "signature": base64.b64encode(signature).decode(),
        },
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
