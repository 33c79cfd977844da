"""The trainer's image, as a build makes it: an OCI layout of four layers, which is read without a daemon."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest
from customhouse.app.demo.story import Story
from customhouse.app.demo.story_artifacts import EVIL
from customhouse.app.image_scan import look_up, scan_image, write_bill
from customhouse.app.modelbom import measured

_SITE = "usr/local/lib/python3.11/site-packages"
_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
_DEBIAN = (
    ("base-files", "12.4+deb12u11", "base-files"),
    ("libc6", "2.36-9+deb12u10", "glibc"),
    ("libssl3", "3.0.16-1~deb12u1", "openssl"),
    ("zlib1g", "1:1.2.13.dfsg-1", "zlib"),
)
"""Name, version, source: a few of those that Debian 12's images have."""


def scanned(story: Story) -> str:
    """What is in the image, what is known against it, and what a layer still holds that a later one took away."""
    place = story.space.root / "image"
    _layout(place, _layers(story.space.training))
    found = scan_image(story.space.settings, str(place))
    look_up(story.space.settings, found, vex=(), db=None, max_age_days=36500, must=True)
    story.check(found.complete, f"not read: {found.problems}")
    kinds = [item.found.kind for item in found.listing.packages]
    story.check(kinds.count("deb") == len(_DEBIAN) and "pypi" in kinds, f"not the packages that are in it: {kinds}")
    hit = next((row for row in (found.report.findings if found.report else ()) if row.package.name == "numpy"), None)
    story.check(hit is not None, "the advisory of numpy is not found in the image")
    assert hit is not None  # noqa: S101 - narrowed by the check
    hidden = [scan for _, scan, gone in found.listing.models if gone and scan.verdict.value == "malicious"]
    story.check(bool(hidden), "the pickle in a lower layer was not seen")
    bill = story.space.root / "image.cdx.json"
    write_bill(found, bill)
    story.check(measured(str(bill))["met"] > 0, "nothing is in the image's bill")
    return (
        f"{len(found.rows)} layers, {kinds.count('deb')} Debian and {kinds.count('pypi')} Python packages; numpy "
        f"{hit.package.version} has {hit.id}; /{hidden[0].path} is malicious, and only hidden by a later layer"
    )


def _layers(training: Path) -> Sequence[tuple[str, Mapping[str, bytes]]]:
    """Command and files of each layer: the system, libraries, the code with old weights, and their removal."""
    status = "".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nSource: {source}\nVersion: {version}\n\n"
        for name, version, source in _DEBIAN
    )
    libraries = {}
    for name in ("numpy", "onnxruntime"):
        # What pip wrote where this program runs.
        said = metadata.distribution(name)
        text = said.read_text("METADATA") or f"Metadata-Version: 2.1\nName: {name}\nVersion: {said.version}\n"
        libraries[f"{_SITE}/{name}-{said.version}.dist-info/METADATA"] = text.encode()
    code = {f"app/{item.name}": item.read_bytes() for item in sorted(training.glob("*.py"))}
    return (
        ("debootstrap bookworm", {"etc/os-release": _RELEASE, "var/lib/dpkg/status": status.encode()}),
        ("RUN pip install numpy onnxruntime", libraries),
        ("COPY training /app", {**code, "app/old-weights.pkl": EVIL}),
        ("RUN rm /app/old-weights.pkl", {"app/.wh.old-weights.pkl": b""}),
    )


def _layout(place: Path, layers: Sequence[tuple[str, Mapping[str, bytes]]]) -> None:
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = bytes_digest(data)
        (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    packed = [put(_tar(files), "layer.v1.tar") for _, files in layers]
    configuration = {
        "os": "linux",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "config": {"User": "10001"},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in packed]},
        "history": [{"created_by": command} for command, _ in layers],
    }
    config = put(canonical_json(configuration), "config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": packed}
    named = put(
        canonical_json({**manifest, "mediaType": "application/vnd.oci.image.manifest.v1+json"}), "manifest.v1+json"
    )
    (place / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', encoding="utf-8")
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}), encoding="utf-8")


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()
