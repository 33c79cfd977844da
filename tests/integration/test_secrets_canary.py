"""Values that SOPS encrypted, for every kind of key, in a real cluster: there and nowhere else.

Searched for are the values and the keys of the files: on disk, in log, ledger, database, pages, arguments of processes.
The files are SOPS' own; the way to their key is written here for all but the shared one.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from test_secrets_amazon import Transit
from test_up_kubernetes import ClusterWorld

from amazon_server import KEYS as AMAZON
from amazon_server import Amazon
from customhouse._kit.amazon import AmazonApi
from customhouse._kit.clock import SystemClock
from customhouse.control.adapters.age import identities, opened
from kubernetes_plane import ControlPlane, KubernetesError

SOPS = Path(__file__).resolve().parents[1] / "conformance" / "sops"
CANARY, TOKEN = "canary-7f3a-password", "token-canary"
KINDS = ("pgp", "kms", "vault", "shared")


def data_key(kind: str) -> bytes:
    (document,) = yaml.safe_load_all((SOPS / f"by-{kind}.yaml").read_text())
    key = opened(document["sops"]["age"][0]["enc"], identities((SOPS / "age.txt").read_text()))
    assert key is not None
    return key


def wrapped(kind: str, name: str, entry: dict[str, str]) -> str:
    """The file with another way to its key: SOPS' code covers the values, not its own part."""
    (document,) = yaml.safe_load_all((SOPS / f"by-{kind}.yaml").read_text())
    del document["sops"]["age"]
    document["sops"][name] = [entry]
    return yaml.safe_dump(document, sort_keys=False)


@pytest.fixture
def world(tmp_path: Path, kubernetes: ControlPlane) -> Iterator[ClusterWorld]:
    made = ClusterWorld(tmp_path, kubernetes, "manage")
    yield made
    made.close()


@pytest.fixture
def vault() -> Iterator[str]:
    Transit.key = data_key("vault")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Transit)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def amazon(find_part: Callable[[str], Path], tmp_path: Path) -> Iterator[Amazon]:
    made = Amazon(find_part("moto_server"), tmp_path)
    yield made
    made.stop()


def for_kms(amazon: Amazon) -> str:
    api = AmazonApi("kms", "us-east-1", AMAZON, SystemClock(), amazon.url)
    arn = str(api.ask("TrentService.CreateKey", {})["KeyMetadata"]["Arn"])
    body = {"KeyId": arn, "Plaintext": base64.b64encode(data_key("kms")).decode()}
    return wrapped("kms", "kms", {"arn": arn, "enc": api.ask("TrentService.Encrypt", body)["CiphertextBlob"]})


def for_pgp(gpg: str, environment: dict[str, str]) -> str:
    making = [gpg, "--batch", "--passphrase", "", "--quiet", "--quick-generate-key", "deploy@example.com"]
    subprocess.run([*making, "default", "default", "never"], env=environment, check=True, capture_output=True)
    listing = [gpg, "--list-keys", "--with-colons"]
    listed = subprocess.run(listing, env=environment, check=True, capture_output=True, text=True).stdout
    fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
    sealing = [gpg, "--batch", "--trust-model", "always", "--armor", "--encrypt", "--recipient", fingerprint]
    done = subprocess.run(sealing, env=environment, input=data_key("pgp"), check=True, capture_output=True)
    return wrapped("pgp", "pgp", {"fp": fingerprint, "enc": done.stdout.decode()})


def processes(leader: int) -> list[bytes]:
    """The arguments of every process of a session."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if os.getsid(int(place.name)) == leader:
                    found.append((place / "cmdline").read_bytes())
            except (OSError, ProcessLookupError):
                continue
    return found


def pages(address: str) -> Iterator[bytes]:
    """The board's first page and what it leads to."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        first = answer.read()
    yield first
    links = {link.decode() for link in re.findall(rb'(?:href|src|data-[a-z]+)="/?([^":#]+)"', first)}
    for link in sorted({*links, "metrics"}):
        try:
            with urllib.request.urlopen(address + link, timeout=30) as answer:
                yield answer.read(1 << 20)
        except (urllib.error.HTTPError, TimeoutError):
            continue  # a stream, or what is no page


@pytest.mark.part("kubernetes", "gpg", "moto_server")
def test_a_value_is_in_the_cluster_and_in_no_other_place_whatever_key_it_is_encrypted_for(
    world: ClusterWorld, amazon: Amazon, vault: str, find_part: Callable[[str], Path]
) -> None:
    keys = world.root / "keys"
    ring = keys / "ring"
    ring.mkdir(parents=True, mode=0o700)
    (keys / "age.txt").write_text((SOPS / "age.txt").read_text() + (SOPS / "age-other.txt").read_text())
    gpg = str(find_part("gpg"))
    program = world.root / "gpg"  # tells what it was started with
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{world.root}/gpg.arguments\nexec {gpg} "$@"\n')
    program.chmod(0o755)
    own = {"PATH": os.environ["PATH"], "HOME": str(world.root), "GNUPGHOME": str(ring)}
    entry = {"vault_address": vault, "engine_path": "transit", "key_name": "sops", "enc": "vault:v1:abc"}
    files: dict[str, str | None] = {
        "risk.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: risk\n",
        "by-pgp.yaml": for_pgp(gpg, own),
        "by-kms.yaml": for_kms(amazon),
        "by-vault.yaml": wrapped("vault", "hc_vault", entry),
        "by-shared.yaml": (SOPS / "by-shared.yaml").read_text(),
    }
    try:
        commit = world.push(files)
        process = world.start(
            SOPS_AGE_KEY_FILE=str(keys / "age.txt"), SOPS_GPG_EXEC=str(program), GNUPGHOME=str(ring),
            VAULT_ADDR=vault, VAULT_TOKEN=TOKEN, **amazon.environment,
        )  # fmt: skip

        def values() -> set[str]:
            found = set()
            for kind in KINDS:
                try:
                    secret = world.plane.call("GET", f"/api/v1/namespaces/risk/secrets/by-{kind}")
                    found.add(f"{kind} {base64.b64decode(secret['data']['password']).decode()}")
                except KubernetesError:
                    continue
            return found

        world.until(lambda: values() == {f"{kind} {CANARY}" for kind in KINDS}, 120)
        world.until(lambda: world.overview().get("deployed") == commit)
        board = re.findall(r"dashboard: (\S+);", world.said())[-1]
        seen = [*processes(process.pid), *pages(board), world.cli("status", "-o", "json").stdout.encode()]
        assert b"Max core file size        0" in Path(f"/proc/{process.pid}/limits").read_bytes()
        assert world.end() == 0
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=own, check=False, capture_output=True)
    assert "--decrypt" in (world.root / "gpg.arguments").read_text()

    raw = [CANARY.encode(), TOKEN.encode(), AMAZON.secret.encode(), *map(data_key, ("pgp", "kms", "vault"))]
    forms = [form for one in raw for form in (one, base64.b64encode(one), one.hex().encode())]
    kept = [place for place in world.root.rglob("*") if place.is_file() and keys not in place.parents]
    assert len(kept) > 20
    assert [str(place) for place in kept for form in forms if form in place.read_bytes()] == []
    assert [text[:300] for text in seen for form in forms if form in text] == []
