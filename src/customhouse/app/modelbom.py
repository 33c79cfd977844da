"""`customhouse model bom` and `customhouse bom`: bills of materials written, compared and measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from customhouse._kit.reading import absent
from customhouse._kit.single_keys import each_once
from customhouse.app import wiring
from customhouse.app.inspection import read_model, require_files, scan_properties
from customhouse.core.errors import UsageError
from customhouse.trust.bom import model_bom
from customhouse.trust.bom_claims import with_claims
from customhouse.trust.bom_diff import compare
from customhouse.trust.bom_given import Given, read_given
from customhouse.trust.bom_merge import ImageBill, read_image
from customhouse.trust.bom_score import score, summary
from customhouse.trust.bom_spdx import in_spdx
from customhouse.trust.dependency_hints import Hint, hints
from customhouse.trust.libraries import Library, environment_libraries
from customhouse.trust.lockfiles import read_lock
from customhouse.trust.scan import Wish

MAX_CARD = 4 * 1024 * 1024
MAX_FILE = 128 * 1024 * 1024
DIGESTS = {"both": (True, True), "sha256": (True, False), "blake3": (False, True)}


@dataclass(frozen=True, slots=True)
class Sources:
    """What a bill is made from besides the model's files: paths, as given."""

    card: str | None = None
    libraries: tuple[str, ...] = ()
    environment: str | None = None
    images: tuple[str, ...] = ()
    lock: str | None = None
    """What `model pull --lock` wrote of these files."""

    def given(self) -> Given:
        """What people say of the model, completed by what its registry claims. Raises UsageError."""
        given = Given() if self.card is None else read_given(_json(self.card), self.card)
        if self.lock is None:
            return given
        said = self._locked()
        claims = said.get("claims")
        return with_claims(given, said["reference"], claims if isinstance(claims, dict) else {})

    def require_locked(self, digest: str) -> None:
        """Raises UsageError for a lock of other files: what is claimed of a model does not hold for what came of it."""
        if self.lock is not None and self._locked()["tree"] != digest:
            raise UsageError(
                "the lock is of other files",
                where=self.lock,
                hint=f"these have the digest {digest}; a model made from others says so in --card (base-models)",
            )

    def _locked(self) -> dict[str, Any]:
        said = _json(self.lock or "")
        if not isinstance(said, dict) or not all(isinstance(said.get(key), str) for key in ("reference", "tree")):
            raise UsageError("not a lock of `model pull`", where=self.lock or "")
        return said

    def bills(self) -> tuple[ImageBill, ...]:
        """The bills of images. Raises ArtifactError and UsageError."""
        return tuple(read_image(_read(path, MAX_FILE), path) for path in self.images)

    def shelf(self) -> tuple[tuple[Library, ...], tuple[Hint, ...]]:
        """The libraries, each with its hints, and all hints. Raises ArtifactError and UsageError."""
        locks = [read_lock(_read(path, MAX_FILE), path) for path in self.libraries]
        found = [item for lock in locks for item in lock.libraries]
        if self.environment is not None:
            found += environment_libraries(Path(self.environment))
        told = hints(found, [index for lock in locks for index in lock.indexes])
        of = {purl: tuple((h.kind, h.message) for h in told if h.library == purl) for purl in {h.library for h in told}}
        return tuple(replace(item, hints=of.get(item.purl, ())) for item in found), tuple(dict.fromkeys(told))


@dataclass(frozen=True, slots=True)
class BomRequest:
    """What `model bom` was asked."""

    path: str
    name: str | None
    version: str
    sources: Sources = Sources()
    form: str = "cyclonedx"
    spec_version: str | None = None
    digests: str = "both"


def bill(request: BomRequest, wish: Wish) -> tuple[dict[str, Any], tuple[Hint, ...]]:
    """The document, and hints on its libraries. Raises ArtifactError and UsageError."""
    if request.form == "spdx" and request.spec_version not in (None, "3.0.1"):
        raise UsageError(f"SPDX {request.spec_version} is not written", hint="3.0.1 is")
    given = request.sources.given()
    libraries, told = request.sources.shelf()
    images = request.sources.bills()
    place = Path(request.path)
    sha256, blake3 = DIGESTS[request.digests]
    seen = read_model(place, replace(wish, sha256=sha256, blake3=blake3, describe=True))
    require_files(seen, request.path)
    document = model_bom(
        name=request.name or place.resolve().name,
        version=request.version,
        tree=seen.files,
        issued_at=wiring.clock().now(),
        described=seen.descriptions,
        given=given,
        spec_version=(request.form == "cyclonedx" and request.spec_version) or "1.6",
        libraries=libraries,
        images=images,
        properties=scan_properties(seen.scan),
    )
    return (in_spdx(document) if request.form == "spdx" else document), told


def differences(before: str, after: str) -> list[dict[str, str]]:
    """What differs between two bills (files, or signed evidence that holds one): `kind`, `name`, `change`, both sides.

    Raises ArtifactError and UsageError.
    """
    return [row.to_json() for row in compare(_document(before)[0], _document(after)[0], (before, after))]


def measured(path: str) -> dict[str, Any]:
    """How complete a bill is. Raises ArtifactError and UsageError."""
    document, signed = _document(path)
    return summary(score(document, signed=signed, where=path))


def _document(path: str) -> tuple[Mapping[str, Any], bool]:
    """A bill, and whether it came in a signed envelope (which is not verified here: the gate does that)."""
    data = _read(path, MAX_FILE)
    said = _parsed(data, path)
    if not isinstance(said, dict):
        raise UsageError("no bill of materials", where=path)
    if "dsseEnvelope" not in said:
        return said, False
    from customhouse.trust.bundle import read_bundle

    return read_bundle(data, path).statement().predicate, True


def _json(path: str) -> Any:
    return _parsed(_read(path, MAX_CARD), path)


def _parsed(data: bytes, path: str) -> Any:
    try:
        return json.loads(data, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}", where=path) from error


def _read(path: str, limit: int) -> bytes:
    place = Path(path)
    if not place.is_file():
        raise UsageError(absent(path))
    if place.stat().st_size > limit:
        raise UsageError(f"{path} is over {limit >> 20} MiB")
    return place.read_bytes()
