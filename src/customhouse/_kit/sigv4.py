"""AWS Signature Version 4 of one request, as S3 wants it (the path is encoded once and never normalised).

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" of the Amazon S3 API
Reference; its worked examples are the test vectors.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit

EMPTY = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key; never shown."""

    access: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    """The session token of temporary keys; empty for lasting ones."""


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    payload: str,
    keys: Keys,
    region: str,
    at: datetime,
    *,
    service: str = "s3",
) -> dict[str, str]:
    """The headers to send, `Authorization` among them.

    `payload` is the SHA-256 of the body in hexadecimal digits; `at` is aware, in UTC. Every given header is signed.
    """
    parts = urlsplit(url)
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "x-amz-date": stamp, "x-amz-content-sha256": payload}
    if keys.token:
        sent["x-amz-security-token"] = keys.token
    said = {key.lower(): " ".join(value.split()) for key, value in sent.items()} | {"host": parts.netloc}
    names = ";".join(sorted(said))
    canonical = "\n".join(
        (
            method,
            parts.path or "/",
            canonical_query(parts.query),
            *(f"{name}:{said[name]}" for name in sorted(said)),
            "",
            names,
            payload,
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{keys.secret}".encode()
    for part in (stamp[:8], region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    sent["Authorization"] = f"{_ALGORITHM} Credential={keys.access}/{scope},SignedHeaders={names},Signature={key.hex()}"
    return sent


def canonical_query(query: str) -> str:
    """Names and values encoded as the signature has them, in its order; what is sent should be the same."""
    pairs = [(quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))
