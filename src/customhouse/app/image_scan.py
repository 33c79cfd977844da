"""`image scan`: what is installed in an image, read layer by layer without a daemon, and what is known against it.

1. The reference is resolved once (registry, layout, archive); from there on everything is by digest.
2. Each layer is read once, unpacked piece by piece and hashed on both sides; remembered layers are not read again.
3. The layers are merged; files that only a link or a second name gives away are read in a second pass.
4. Packages, models and what could not be read are listed; packages are matched against the advisories of the state.
"""

from __future__ import annotations

import json
import os
import platform as machine
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.progress import tell
from customhouse.app import wiring
from customhouse.app.layer_memory import LayerMemory
from customhouse.app.model_signing import By
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.core.vulnerability import Package, Report
from customhouse.trust.images.bounds import Bounds, LayerError
from customhouse.trust.images.configuration import ImageConfiguration, read_configuration
from customhouse.trust.images.layer import Layer, read_layer
from customhouse.trust.images.listing import Listed, Listing, as_json, listing_of, to_read
from customhouse.trust.images.merged import merged
from customhouse.trust.images.places import Archive, Blobs, LayoutFolder, Parts, chosen_digest, parts_of
from customhouse.trust.oci import Descriptor, Reference, read_json
from customhouse.trust.packages.found import SYSTEMS, visible
from customhouse.trust.packages.readers import Reader
from customhouse.trust.scan import Limits
from customhouse.trust.scan.source import FileBacking, Source

_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_CONFIGURATIONS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_MAX_LAYER = 128 << 30
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(slots=True)
class LayerRow:
    """One layer of the result. `state`: read, remembered or not read; `why` for the last."""

    digest: str
    diff_id: str
    media_type: str
    size: int
    command: str = ""
    unpacked: int = 0
    entries: int = 0
    state: str = "not read"
    why: str = ""
    remarks: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """As `image scan` shows it."""
        return {
            "digest": self.digest,
            "diff_id": self.diff_id,
            "media_type": self.media_type,
            "size": self.size,
            "unpacked": self.unpacked,
            "entries": self.entries,
            "command": self.command,
            "state": self.state,
            **({"why": self.why} if self.why else {}),
            **({"remarks": list(self.remarks)} if self.remarks else {}),
        }


@dataclass(slots=True)
class ImageScan:
    """What a scan found. `report` is None when nothing was looked up."""

    name: str
    digest: str
    parts: Parts
    configuration: ImageConfiguration
    rows: list[LayerRow]
    listing: Listing
    tag: str = ""
    """The tag that was resolved; empty where a digest was named."""
    in_registry: bool = False
    report: Report | None = None

    @property
    def complete(self) -> bool:
        """Whether all that tells of packages was read."""
        return self.listing.complete

    @property
    def pinned(self) -> str:
        """The image's digest, or its configuration's where it has no manifest."""
        return self.digest or self.parts.config.digest

    @property
    def names(self) -> tuple[str, ...]:
        """What a statement about the whole image may call it: its digests."""
        return (self.pinned, self.parts.index, self.parts.config.digest)

    @property
    def problems(self) -> list[str]:
        """What could not be read, as one line each."""
        return [f"{where}: {why}" for where, why in self.listing.unread]

    def layer_documents(self) -> list[dict[str, Any]]:
        """The layers as JSON."""
        return [row.to_json() for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """What `image scan -o json` prints."""
        layers, listing = self.layer_documents(), self.listing
        system = listing.distribution
        return {
            "reference": self.name,
            "digest": self.digest,
            "image_id": self.parts.config.digest,
            "tag": self.tag,
            "index": self.parts.index or None,
            "other_platforms": list(self.parts.passed_over),
            "image": self.configuration.to_json(),
            "distribution": {
                "id": system.identifier,
                "version": system.version,
                "name": system.name,
                "ecosystem": system.ecosystem,
            },
            "layers": layers,
            "packages": [as_json(item, layers) for item in listing.packages],
            "removed": [as_json(item, layers) for item in listing.removed],
            "models": [
                {"layer": number + 1, "hidden": hidden, **scan.to_json()} for number, scan, hidden in listing.models
            ],
            "secret_files": [
                {"path": f"/{path}", "layer": number + 1, "hidden": hidden} for path, number, hidden in listing.secrets
            ],
            "setuid_files": listing.setuid,
            "unread": [{"where": where, "why": why} for where, why in listing.unread],
            "complete": self.complete,
            "vulnerabilities": None if self.report is None else self.report.to_json(),
        }


def scan_image(
    settings: Settings, text: str, *, platform: str | None = None, cache: bool = True, limits: Limits | None = None
) -> ImageScan:
    """Scan an image by its reference, OCI layout (folder or archive) or `docker save` archive.

    Raises UsageError, ArtifactError, TamperError; for a layer that cannot be read the listing is incomplete instead.
    """
    with ExitStack() as stack:
        opened = _open(settings, text, platform, stack)
        return _Scanning(settings, opened, cache=cache, limits=limits or Limits()).scan()


def packages_to_match(listing: Listing, layers: Sequence[Mapping[str, Any]]) -> list[Package]:
    """What is looked up in the advisories.

    Not what a package of the distribution brought (the distribution's advisories speak of that, and its fixes do not
    change upstream's version), but for what programs were linked from, of which distributions do not warn; and not what
    has no version (a program's own module that was built from a work tree).
    """
    linked = ("golang", "cargo")
    return [
        _package(item, layers)
        for item in listing.packages
        if _is_released(item) and (not item.owner or item.found.kind in linked)
    ]


@dataclass(frozen=True, slots=True)
class _Opened:
    """An image that was found: where its parts are, and what it is called."""

    name: str
    parts: Parts
    blobs: Blobs
    configuration: bytes
    members: Sequence[str] = ()
    """Of `docker save`: the layers' members, in their order."""
    tag: str = ""


def _open(settings: Settings, text: str, platform: str | None, stack: ExitStack) -> _Opened:
    place, wanted = _on_disk(text)
    default = f"linux/{_MACHINES.get(machine.machine().lower(), machine.machine().lower())}"
    if place is None:
        return _of_registry(settings, text, platform, default)
    if place.is_dir():
        if not (place / "index.json").is_file():
            raise UsageError(
                "a folder that is no image", where=text, hint="an OCI layout has index.json; for a folder: vuln scan"
            )
        folder = LayoutFolder(place)
        digest = chosen_digest(folder.index(), wanted, str(place))
        parts = parts_of(folder, digest, platform, default, str(place))
        return _Opened(str(place), parts, folder, folder.configuration(parts.config), tag=wanted)
    archive = stack.enter_context(Archive(place))
    saved = archive.saved() if archive.has("manifest.json") else []
    if not archive.has("index.json"):
        return _of_saved(archive, saved, wanted, str(place))
    digest = chosen_digest(archive.index(), wanted, str(place))
    parts = parts_of(archive, digest, platform, default, str(place))
    if saved and not any(archive.saved_parts(item)[0].config.digest == parts.config.digest for item in saved):
        raise ArtifactError(
            "index.json and manifest.json name different images",
            where=str(place),
            hint="programs differ in which counts",
        )
    return _Opened(str(place), parts, archive, archive.configuration(parts.config), tag=wanted)


def _of_saved(archive: Archive, saved: Sequence[dict[str, Any]], wanted: str, where: str) -> _Opened:
    if not saved:
        raise ArtifactError("no archive of an image", where=where, hint="docker save, or an OCI layout")
    fitting = [item for item in saved if not wanted or wanted in _tags(item)]
    if len(fitting) != 1:
        names = ", ".join(tag for item in saved for tag in _tags(item)) or f"{len(saved)} images without a tag"
        raise ArtifactError("it has several images", where=where, hint=f"name one, {where}:TAG; it has {names}")
    parts, configuration, members = archive.saved_parts(fitting[0])
    tags = fitting[0].get("RepoTags")
    tag = visible(str(tags[0])[:500]) if isinstance(tags, list) and tags else ""
    return _Opened(tag or where, parts, archive, configuration, members, tag)


def _tags(item: Mapping[str, Any]) -> list[str]:
    """The names of one image, whole and without the repository."""
    tags = item.get("RepoTags")
    names = [str(tag) for tag in tags] if isinstance(tags, list) else []
    return [*names, *(name.rpartition(":")[2] for name in names)]


def _on_disk(text: str) -> tuple[Path | None, str]:
    """The path of a layout or archive and the image in it that is meant; None for a reference of a registry."""
    if os.path.lexists(text):
        return Path(text), ""
    for sign in ("@", ":"):
        start, found, name = text.rpartition(sign)
        if found and start and os.path.lexists(start):
            return Path(start), name
    if text.startswith(("/", "./", "../")) or text.endswith((".tar", ".tgz", ".tar.gz")):
        raise UsageError("there is no such file or folder", where=text)
    return None, ""


class _RegistryBlobs:
    """The parts of an image in a registry; a layer lies in a file without a name while it is read."""

    def __init__(self, settings: Settings, reference: Reference) -> None:
        self._registry, self._repository = wiring.registry(settings, reference.host), reference.repository
        self._name = reference.name

    def manifest(self, digest: str) -> bytes:
        return self._registry.manifest(self._repository, digest)

    def configuration(self, descriptor: Descriptor) -> bytes:
        return self._registry.blob(self._repository, descriptor.digest, max_bytes=8 << 20)

    @contextmanager
    def layer(self, descriptor: Descriptor) -> Iterator[Source]:
        with tempfile.TemporaryFile() as spool:
            self._registry.download(self._repository, descriptor, spool.write)
            spool.flush()
            yield Source(FileBacking(spool.fileno()), 0, descriptor.size)


def _of_registry(settings: Settings, text: str, platform: str | None, default: str) -> _Opened:
    from customhouse.app.registry_images import resolve

    found = resolve(settings, text)
    blobs = _RegistryBlobs(settings, found.reference)
    parts = parts_of(blobs, found.digest, platform, default, found.pinned)
    tag = Reference.of_image(text).tag or ("" if "@" in text else "latest")
    return _Opened(f"{found.reference.name}@{parts.digest}", parts, blobs, blobs.configuration(parts.config), tag=tag)


class _Scanning:
    def __init__(self, settings: Settings, opened: _Opened, *, cache: bool, limits: Limits) -> None:
        self._opened, self._limits = opened, limits
        kept = cache and (settings.state_named or settings.state.is_dir())
        self._memory = LayerMemory(settings, limits) if kept else None
        self._bounds = Bounds()
        self._clock = wiring.clock()
        where = f"{opened.name}: configuration"
        if opened.parts.config.media_type not in _CONFIGURATIONS:
            raise ArtifactError(
                f"not an image: its configuration is {opened.parts.config.media_type[:100] or 'of no type'}",
                where=opened.name,
                hint="a model in a registry: `model pull`, then `model scan`",
            )
        try:
            said = read_json(opened.configuration, where)
            self._configuration = read_configuration(said, opened.parts.annotations)
        except ValueError as error:
            raise ArtifactError(str(error), where=where) from error

    def scan(self) -> ImageScan:
        opened, configuration = self._opened, self._configuration
        parts = opened.parts
        if len(parts.layers) != len(configuration.diff_ids):
            raise ArtifactError(
                f"{len(parts.layers)} layers, and its configuration lists {len(configuration.diff_ids)}",
                where=opened.name,
                hint="no runtime starts such an image; build it again",
            )
        if len(parts.layers) > self._bounds.layers:
            raise ArtifactError(f"more than {self._bounds.layers} layers", where=opened.name)
        commands = configuration.commands()
        rows = [
            LayerRow("" if opened.members else layer.digest, diff_id, layer.media_type, layer.size, command)
            for layer, diff_id, command in zip(parts.layers, configuration.diff_ids, commands, strict=True)
        ]
        layers: list[Layer | None] = []
        for number in range(len(rows)):
            tell("reading layers", number, len(rows))
            layers.append(self._layer(number, rows, None))
        image = merged(layers)
        for number, wanted in to_read(image, layers).items():
            layers[number] = self._layer(number, rows, wanted) or layers[number]
        listing = listing_of(image, layers)
        for number, row in enumerate(rows):
            if row.state == "not read":
                listing.unread.append((f"layer {number + 1} ({row.digest or row.diff_id})", row.why))
        if not configuration.platform.startswith("linux/"):
            listing.unread.append(("image", f"it is for {configuration.platform or 'no platform'}: only Linux is read"))
        there = isinstance(opened.blobs, _RegistryBlobs)
        return ImageScan(opened.name, parts.digest, parts, configuration, rows, listing, opened.tag, there)

    def _layer(self, number: int, rows: Sequence[LayerRow], wanted: Mapping[int, Reader] | None) -> Layer | None:
        row = rows[number]
        known = self._memory.recall(row.digest, row.diff_id) if self._memory is not None and wanted is None else None
        if known is not None:
            self._bounds.entries -= len(known.entries)
            _told(row, known, "remembered")
            return known
        try:
            with self._packed(number, row) as source:
                row.size = source.size
                layer = read_layer(
                    source,
                    row.digest,
                    row.diff_id,
                    self._bounds,
                    row.digest or row.diff_id,
                    wanted=wanted,
                    limits=self._limits,
                    clock=self._clock,
                )
        except ArtifactError as error:
            row.state, row.why = "not read", error.message
            return None
        _told(row, layer, "read")
        if self._memory is not None:
            self._memory.keep(layer, row.diff_id)
        return layer

    @contextmanager
    def _packed(self, number: int, row: LayerRow) -> Iterator[Source]:
        opened = self._opened
        if opened.members and isinstance(opened.blobs, Archive):
            yield opened.blobs.member(opened.members[number])
            return
        layer = opened.parts.layers[number]
        if layer.size > _MAX_LAYER:
            raise LayerError(f"{layer.size} bytes, more than are read of a layer", where=row.digest)
        if layer.media_type.endswith("+encrypted"):
            raise LayerError("it is encrypted", where=row.digest)
        if not layer.media_type.startswith(_LAYERS) or ".tar" not in layer.media_type:
            raise LayerError(f"a layer of type {layer.media_type[:120]!r} is not read", where=row.digest)
        try:
            with opened.blobs.layer(layer) as source:
                yield source
        except LayerError:
            raise
        except ArtifactError as error:
            if "foreign" in layer.media_type or "nondistributable" in layer.media_type:
                raise LayerError(
                    "it is not distributed with the image, and was not fetched", where=row.digest
                ) from error
            raise


def _told(row: LayerRow, layer: Layer, state: str) -> None:
    row.state, row.why, row.remarks = state, "", tuple(layer.remarks)
    row.size, row.unpacked, row.entries = layer.size, layer.unpacked, len(layer.entries)


def _package(item: Listed, layers: Sequence[Mapping[str, Any]]) -> Package:
    found = item.found
    layer = layers[item.layer] if item.layer < len(layers) else {}
    command = str(layer.get("command", ""))
    within = str(layer.get("digest") or layer.get("diff_id") or "")
    # Advisories of the RPM family go by the package itself.
    by_source = found.kind in SYSTEMS and found.kind != "rpm" and found.source != found.name
    return Package(
        found.name,
        found.version,
        item.ecosystem,
        item.purl,
        f"/{item.path}",
        0,
        f"{within} ({command[:80]})" if command else within,
        found.source if by_source else "",
        found.source_version if found.kind != "rpm" and found.source_version != found.version else "",
    )


def _is_released(item: Listed) -> bool:
    return bool(item.found.version) and item.found.version != "(devel)"


def look_up(
    settings: Settings, scan: ImageScan, *, vex: Sequence[str], db: str | None, max_age_days: int, must: bool
) -> None:
    """Match the packages against the advisories and keep the report in `scan`.

    Without a store of advisories nothing is looked up, unless it `must`. Raises what `scan_packages` does.
    """
    from customhouse.app.vulnerabilities import scan_packages

    there = Path(db) if db else settings.state / wiring.ADVISORIES_FILE
    if not must and not there.exists():
        return
    packages = packages_to_match(scan.listing, scan.layer_documents())
    scan.report = scan_packages(
        settings, packages, vex=vex, db=db, max_age_days=max_age_days, subjects=[item for item in scan.names if item]
    )


def write_bill(scan: ImageScan, place: Path) -> None:
    """Write the bill of materials of what was found. Raises UsageError when it cannot be written."""
    try:
        place.write_text(json.dumps(_bill(scan), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(place)) from error


def _bill(scan: ImageScan) -> dict[str, Any]:
    from customhouse.trust.images.bill import image_bill

    name = scan.name.rpartition("@")[0] or scan.name
    platform = scan.configuration.platform
    return image_bill(name, scan.pinned, scan.listing, scan.layer_documents(), wiring.clock().now(), platform)


def attest_scan(settings: Settings, scan: ImageScan, by: By) -> dict[str, str]:
    """Sign the bill of an image in a registry, and what the advisories say, and attach both: kind to where it is.

    What could not be read is a gap of the report, so that no rule takes it for the whole truth; of an image that was
    not read whole no bill is signed. Raises what `vuln attest` does, and UsageError when there is nothing to sign.
    """
    from customhouse.app.registry_images import attach_statement
    from customhouse.app.vulnerability_attest import Asked, attest_vulnerabilities
    from customhouse.core.evidence import EvidenceKind
    from customhouse.trust.attestation import PREDICATE_TYPES
    from customhouse.trust.bundle import ISSUED_AT, statement

    if not scan.in_registry:
        raise UsageError(
            "only an image in a registry has a place for it",
            where=scan.name,
            hint="--sbom FILE and -o json of the scan, then: vuln attest --subject DIGEST",
        )
    done: dict[str, str] = {}
    if scan.complete:
        bill, now = PREDICATE_TYPES[EvidenceKind.BOM], to_rfc3339(wiring.clock().now())
        name, _, digest = scan.name.rpartition("@sha256:")
        said = statement(name, digest, bill, _bill(scan), {ISSUED_AT: now})
        done["bom"] = attach_statement(settings, scan.name, said, bill, by)
    if scan.report is not None:
        unread = [{"ecosystem": where, "packages": 0, "reason": why} for where, why in scan.listing.unread]
        document = scan.report.to_json()
        document["unknown"] = [*document["unknown"], *unread]
        found = attest_vulnerabilities(settings, document, Asked(by, image=scan.name), scan.name)
        done["vulnerabilities"] = str(found["attached"])
    if not done:
        raise UsageError("not read whole, and nothing was looked up: there is nothing to sign", where=scan.name)
    return done
