"""The serving process verifies once more: only a model that was admitted, by a signature over the bytes it has read."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from execution_world import World

from customhouse._kit.digest import FileEntry, tree
from customhouse.app.admitted import write_admitted
from customhouse.app.configuration import Configuration
from customhouse.app.governance import Governance
from customhouse.app.model_check import problem_of
from customhouse.core.plan import HealthStatus
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.observability.prices import PriceBook
from customhouse.policy.bundle import builtin_bundle
from customhouse.trust.keys import PrivateKey, TrustRoot
from customhouse.trust.signing import sign_model

NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY, OTHER = (PrivateKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))


class Files:
    """A revision's files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def files(self, rev: str, prefix: str = "") -> dict[str, bytes]:
        return {path: data for path, data in self._files.items() if path.startswith(prefix)}

    def read(self, rev: str, path: str) -> bytes | None:
        return self._files.get(path)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    checker = (sys.executable, "-I", "-m", "customhouse.app.model_check", str(tmp_path / "admitted"))
    made = World(tmp_path, checker=checker)
    made.target.start()
    yield made
    made.target.stop()


def admit(world: World, manifest: Any, key: PrivateKey | None = KEY) -> Path:
    """Write what `up` writes for a model with this signature; where."""
    files = tree(world.models / "v1")
    name = f".evidence/{files.digest.removeprefix('sha256:')}/signature.sigstore.json"
    evidence = {} if key is None else {name: sign_model(files, "fraud", key, NOW)}
    root = TrustRoot("release", KEY.public.pem())
    governing = Governance(Configuration(), builtin_bundle(), PriceBook.load(), (root,))
    declared = Declaration(ResourceRef.of(manifest), manifest, Location("fraud.yaml"))
    write_admitted(Files(evidence), "1", [declared], governing, None, world.root / "admitted", NOW)
    return world.root / "admitted" / f"{files.digest.removeprefix('sha256:')}.json"


def reasons(world: World, manifest: Any) -> str:
    live = world.live(manifest)
    return f"{live.health.message} {json.dumps(live.status['local'])}"


def test_a_model_is_loaded_once_it_was_admitted_with_a_trusted_signature(world: World) -> None:
    manifest = world.manifest("v1")
    # Nobody admitted it: whatever runs the target's API by another way does not get it served.
    assert world.apply(manifest).ok
    world.until(manifest, HealthStatus.DEGRADED)
    assert "nothing says that" in reasons(world, manifest)
    # Admitted, with a signature of the trusted key over these files: the next start loads it.
    admit(world, manifest)
    world.until(manifest, HealthStatus.HEALTHY, 30.0)
    assert world.answer() == 0.87


def test_other_files_another_record_and_another_signature_are_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    manifest = world.manifest("v1")
    place = admit(world, manifest)
    files = tree(world.models / "v1")
    folder, digest = place.parent, files.digest
    assert problem_of(folder, digest, files) == ""
    # One file more than was signed: the digest is another.
    more = replace(files, files=(*files.files, FileEntry("zz.py", "sha256:" + "0" * 64, 1)))
    assert "is to be served" in problem_of(folder, digest, more)
    # A record that was exchanged for that of another model.
    record = json.loads(place.read_text())
    place.write_text(json.dumps({**record, "digest": "sha256:" + "1" * 64}))
    assert "another model" in problem_of(folder, digest, files)
    # A signature that is broken, and one that is not there.
    name = next(iter(record["files"]))
    bundle = base64.b64decode(record["files"][name]).replace(b'"sig": "ME', b'"sig": "MF')
    place.write_text(json.dumps({**record, "files": {name: base64.b64encode(bundle).decode()}}))
    assert "changed after signing" in problem_of(folder, digest, files)
    admit(world, manifest, OTHER)
    assert "signed by an unknown key" in problem_of(folder, digest, files)
    admit(world, manifest, None)
    assert "there is none" in problem_of(folder, digest, files)
    place.unlink()
    assert "was admitted" in problem_of(folder, digest, files)
