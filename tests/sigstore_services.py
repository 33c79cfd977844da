"""The services of the in-memory Sigstore over HTTP: Fulcio (API v2), Rekor (APIs v1 and v2), a timestamp authority.

`spoil` names a service that answers wrongly: `certificate` (of another key), `stamp` (over other bytes), `entry` (of
another signature), or `status` (all say 500).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from customhouse.trust.sigstore import der
from sigstore_world import World, b64


def entered(world: World, asked: dict[str, Any], now: datetime, spoil: str) -> dict[str, Any]:
    """The log entry of a request of API version 2, as the bundle has it."""
    held = asked["hashedRekordRequestV002"]
    signature = dict(held["signature"])
    if spoil == "entry":
        signature["content"] = b64(b"another signature")
    spec = {"hashedRekordV002": {"data": {"algorithm": "SHA2_256", "digest": held["digest"]}, "signature": signature}}
    return world.entry({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": spec}, now)


def entered_1(world: World, asked: dict[str, Any], now: datetime) -> dict[str, Any]:
    """The answer of API version 1."""
    body = asked
    if asked["kind"] == "dsse":
        proposed = asked["spec"]["proposedContent"]
        envelope = json.loads(proposed["envelope"])
        payload = base64.b64decode(envelope["payload"])
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(proposed["envelope"].encode()).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": proposed["verifiers"][0]}],
        }
        body = {"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}
    entry = world.entry(body, now)
    proof = entry["inclusionProof"]

    def digits(text: str) -> str:
        return base64.b64decode(text).hex()

    answer = {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logID": digits(entry["logId"]["keyId"]),
        "logIndex": int(entry["logIndex"]),
        "verification": {
            "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "inclusionProof": {
                "checkpoint": proof["checkpoint"]["envelope"],
                "hashes": [digits(item) for item in proof["hashes"]],
                "logIndex": int(proof["logIndex"]),
                "rootHash": digits(proof["rootHash"]),
                "treeSize": int(proof["treeSize"]),
            },
        },
    }
    return {"24296fb2" + "0" * 72: answer}


@contextmanager
def serving(world: World, spoil: str = "") -> Iterator[tuple[str, list[str]]]:
    """(address, the tokens that were shown) of the services, for as long as the block runs."""
    tokens: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            now = datetime.now(UTC).replace(microsecond=0)
            if spoil == "status":
                self.answer(500, b"no")
            elif self.path == "/api/v2/signingCert":
                tokens.append(self.headers["Authorization"])
                request = x509.load_pem_x509_csr(base64.b64decode(json.loads(body)["certificateSigningRequest"]))
                key = ec.generate_private_key(ec.SECP256R1()) if spoil == "certificate" else None
                leaf = world.leaf(key.public_key() if key else request.public_key(), at=now)
                chain = [leaf, world.authority.between, world.authority.root]
                pems = [item.public_bytes(Encoding.PEM).decode() for item in chain]
                self.answer(
                    200, json.dumps({"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}).encode()
                )
            elif self.path == "/stamp":
                items = der.whole(body)
                items.take(der.INTEGER)
                imprint = items.take(der.SEQUENCE).items()
                imprint.take(der.SEQUENCE)
                digest, nonce = imprint.take(der.OCTETS).content, items.take(der.INTEGER).number()
                digest = bytes(32) if spoil == "stamp" else digest
                self.answer(200, world.stamp(b"", now, imprint=digest, nonce=nonce))
            elif self.path == "/api/v2/log/entries":
                self.answer(201, json.dumps(entered(world, json.loads(body), now, spoil)).encode())
            else:
                self.answer(201, json.dumps(entered_1(world, json.loads(body), now)).encode())

        def do_GET(self) -> None:
            # The reference asks for an OpenID provider's description, also where it has a token already.
            own = f"http://127.0.0.1:{server.server_port}"
            self.answer(200, json.dumps({"authorization_endpoint": own, "token_endpoint": own}).encode())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", tokens
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def trust_config(world: World, address: str, log_version: int = 2) -> dict[str, Any]:
    """The client's trust configuration for the services at `address`."""

    def service(path: str = "", version: int = 1) -> list[dict[str, Any]]:
        valid = {"start": "2025-01-01T00:00:00Z"}
        return [{"url": address + path, "majorApiVersion": version, "validFor": valid, "operator": "example.org"}]

    signing = {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": service(),
        "oidcUrls": service(),
        "rekorTlogUrls": service("", log_version),
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": service("/stamp"),
        "tsaConfig": {"selector": "ANY"},
    }
    return {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": world.root(),
        "signingConfig": signing,
    }
