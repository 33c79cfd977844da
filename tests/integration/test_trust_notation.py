"""Notary Project signatures by the real notation, JWS and COSE, with timestamps of a real authority (openssl ts)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from customhouse.core.evidence import Evidence
from customhouse.trust.adapters.registries.oci import OciRegistry
from customhouse.trust.filed import read_filed
from customhouse.trust.oci_evidence import gather
from customhouse.trust.roots import NotaryRoot, Roots
from oci_registry import Registry

pytestmark = [pytest.mark.part("docker-registry"), pytest.mark.part("notation")]
REPOSITORY = "team/app"
SUBJECT = "x509.subject: C=US, ST=WA, O=Notary"


class Notation:
    """The program with a home of its own and a self-signed test certificate; a registry to write to."""

    def __init__(self, program: Path, folder: Path, registry: Registry) -> None:
        self.folder, self.registry, self._program = folder, registry, program
        self._environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self.must("cert", "generate-test", "--default", "acme.example")
        self.store = {
            f"x509/ca/acme.example/{item.name}": item.read_bytes()
            for item in (folder / "notation/truststore/x509/ca/acme.example").iterdir()
        }

    def must(self, *arguments: str) -> None:
        command = [str(self._program), *arguments]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=60, check=False, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr

    def signs(self, digest: str, *more: str) -> dict[str, bytes]:
        """Sign, and give what is attached now."""
        self.must("sign", "--insecure-registry", *more, f"{self.registry.host}/{REPOSITORY}@{digest}")
        return dict(gather(OciRegistry(self.registry.host), REPOSITORY, digest, "here").files)

    def policy(self, **fields: Any) -> NotaryRoot:
        rule = {
            "name": "images",
            "registryScopes": [f"{self.registry.host}/{REPOSITORY}"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:acme.example"],
            "trustedIdentities": [SUBJECT],
            **fields,
        }
        return NotaryRoot(json.dumps({"version": "1.0", "trustPolicies": [rule]}).encode(), self.store)

    def read(
        self,
        files: dict[str, bytes],
        digest: str,
        root: NotaryRoot | None,
        later: timedelta = timedelta(),
        name: str = "",
    ) -> tuple[Evidence, ...]:
        named = name or f"{self.registry.host}/{REPOSITORY}"
        return read_filed(files, digest, Roots(notary=root), datetime.now(UTC) + later, name=named)


@pytest.fixture(scope="module")
def notation(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notation]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield Notation(find_part("notation"), tmp_path_factory.mktemp("notation"), running)
    running.stop()


@pytest.fixture(scope="module")
def signed(notation: Notation) -> tuple[str, dict[str, bytes]]:
    """An image signed in both envelopes, and what is attached to it."""
    digest = notation.registry.image(REPOSITORY, "both", b"both")
    notation.signs(digest, "--signature-format", "jws")
    return digest, notation.signs(digest, "--signature-format", "cose", "--expiry", "24h")


def problems(found: tuple[Evidence, ...]) -> set[str]:
    return {item.problem for item in found}


def test_both_envelopes_verify_under_a_strict_policy(notation: Notation, signed: tuple[str, dict[str, bytes]]) -> None:
    digest, files = signed
    assert sorted(name.rpartition(".")[2] for name in files) == ["cose", "jws"]
    found = notation.read(files, digest, notation.policy())
    assert [item.verified for item in found] == [True, True]
    assert {item.signer for item in found} == {"CN=acme.example,O=Notary,L=Seattle,ST=WA,C=US"}
    assert all(item.issued_at is not None and datetime.now(UTC) - item.issued_at < timedelta(hours=1) for item in found)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"trustedIdentities": ["x509.subject: C=US, ST=WA, O=Evil"]}, "does not trust"),
        ({"registryScopes": ["registry.example/else"]}, "no trust policy is for"),
        ({"signatureVerification": {"level": "audit"}}, "enforces no authenticity"),
        (
            {"signatureVerification": {"level": "skip"}, "trustStores": [], "trustedIdentities": []},
            "enforces no authenticity",
        ),
        (
            {"signatureVerification": {"level": "strict", "override": {"authenticity": "log"}}},
            "enforces no authenticity",
        ),
        ({"trustStores": ["signingAuthority:acme.example"]}, "no certificate of its chain"),
    ],
)
def test_a_policy_that_does_not_name_the_signer_believes_nothing(
    notation: Notation, signed: tuple[str, dict[str, bytes]], fields: dict[str, Any], said: str
) -> None:
    digest, files = signed
    found = notation.read(files, digest, notation.policy(**fields))
    assert [item.verified for item in found] == [False, False]
    assert all(said in problem for problem in problems(found))


def test_another_image_another_time_and_no_policy_are_refused(
    notation: Notation, signed: tuple[str, dict[str, bytes]]
) -> None:
    digest, files = signed
    other = "sha256:" + "1" * 64
    assert all("it speaks of" in problem for problem in problems(notation.read(files, other, notation.policy())))
    late = notation.read(files, digest, notation.policy(), timedelta(days=3))
    assert all("was not valid at" in problem for problem in problems(late))
    assert problems(notation.read(files, digest, None)) == {
        "signed for the Notary Project, and no trust policy is declared (trust.notary)"
    }
    # `permissive` notes a certificate that has run out, and the expiry that its signer set.
    level = {"signatureVerification": {"level": "permissive"}}
    noted = notation.read(files, digest, notation.policy(**level), timedelta(days=3))
    assert [item.verified for item in noted] == [True, True]
    assert {check.partition(":")[0] for item in noted for check in item.predicate["logged"]} == {
        "authenticTimestamp",
        "expiry",
    }


def test_no_byte_of_an_envelope_can_be_changed_unseen(notation: Notation, signed: tuple[str, dict[str, bytes]]) -> None:
    """Each byte of what is signed or signs; the rest (signing agent) is protected by nothing and believed by nobody."""
    digest, files = signed
    root = notation.policy()
    for name, data in files.items():
        agent = data.find(b"signingAgent")
        accepted = []
        for position in range(0, len(data), 3):
            changed = bytearray(data)
            changed[position] ^= 0x01
            if any(item.verified for item in notation.read({name: bytes(changed)}, digest, root)):
                accepted.append(position)
        assert all(agent - 20 <= position <= agent + 60 for position in accepted), [
            data[p - 9 : p + 9] for p in accepted
        ]


def test_a_signature_outlives_its_certificate_by_a_timestamp(
    notation: Notation, tmp_path: Path, signed: tuple[str, dict[str, bytes]]
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    with Stamper(tmp_path) as stamper:
        digest = notation.registry.image(REPOSITORY, "stamped", b"stamped")
        how = ("--timestamp-url", stamper.url, "--timestamp-root-cert", str(tmp_path / "ca.pem"))
        files = {**notation.signs(digest, "--signature-format", "cose", *how)}
        files.update(notation.signs(digest, *how))
    stores = {"trustStores": ["ca:acme.example", "tsa:clock"]}
    root = notation.policy(**stores)
    root = replace(root, store={**root.store, "x509/tsa/clock/ca.pem": (tmp_path / "ca.pem").read_bytes()})
    later = timedelta(days=30)
    found = notation.read(files, digest, root, later)
    assert [item.problem for item in found] == ["", ""]
    assert all(item.issued_at is not None and datetime.now(UTC) - item.issued_at < timedelta(hours=1) for item in found)
    # By a policy that knows no such authority it has run out; and where a timestamp is wanted, one must be there.
    assert all("was not valid at" in item.problem for item in notation.read(files, digest, notation.policy(), later))
    bare, unstamped = signed
    assert problems(notation.read(unstamped, bare, root)) == {
        "it has no timestamp of an authority, and the policy wants one"
    }


class Stamper:
    """A timestamp authority: `openssl ts` behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "tsa.cnf").write_text(
            f"""[req]
distinguished_name = dn
prompt = no
[dn]
CN = Clock
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
[tsa_config]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/ca.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""
        )
        (folder / "serial").write_text("01\n")
        self._openssl(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 400 -config tsa.cnf -extensions ca"
        )
        self._openssl("req -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -config tsa.cnf -subj /CN=Stamper")
        self._openssl(
            "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 300 -extfile tsa.cnf "
            "-extensions tsa"
        )
        stamper = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                (folder / "query").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
                stamper._openssl("ts -reply -config tsa.cnf -section tsa_config -queryfile query -out reply")
                body = (folder / "reply").read_bytes()
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Stamper:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _openssl(self, line: str) -> None:
        subprocess.run(["openssl", *line.split()], cwd=self._folder, check=True, capture_output=True, timeout=60)
