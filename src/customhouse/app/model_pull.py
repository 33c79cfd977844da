"""Models from where they lie: `oci://`, `s3://`, `https://` and files resolve once, and are verified when they come.

What is written out is recorded in a lock (`model.lock.json` beside the folder, or `--lock`): the reference, its digest,
and the digest of the files. Pulling again by a lock gives the same files or an error. Blobs are kept below the state
directory by their digest and verified each time that they are taken from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import TreeError, is_digest, same_digest, tree
from customhouse._kit.reading import open_regular
from customhouse._kit.single_keys import each_once
from customhouse.app import wiring, wiring_stores
from customhouse.app.registry_images import resolve
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, StateError, TamperError, UsageError
from customhouse.trust.oci import Descriptor, is_index, listed, read_json
from customhouse.trust.remote import Located, RemoteFile, Take
from customhouse.trust.unpack import MODELCAR, TITLE, UNPACK, Limits, unpack_tar, write_file

CACHE = "blobs"
_LAYOUT = "oci-layout://"
MAX_FILE = 512 << 30
_ROOM, _MOST_TIMES = 64 << 20, 20
_TAR_TYPES = ("tar", "tar+gzip", "tar.gzip", "tar.gz", "tar+zstd")
_IMAGE_LAYERS = ("application/vnd.oci.image.layer", "application/vnd.docker.image.rootfs")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came: the reference by digest, where it was written, and the digest of the files (what `pvc://` pins)."""

    reference: str
    digest: str
    tree: str
    files: int
    size: int
    at: str
    pins: tuple[RemoteFile, ...] = ()
    """Each file as a store lists it, with the digest that came and what gives these bytes again."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """What the store says beside: licence, base model, approval. Nothing rests on it."""

    def to_json(self) -> dict[str, Any]:
        """The lock; `pins` and `claims` only where there are any."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "tree": self.tree,
            "files": self.files,
            "size": self.size,
            "resolved_at": self.at,
            **({"pins": [file.to_json() for file in self.pins]} if self.pins else {}),
            **({"claims": dict(self.claims)} if self.claims else {}),
        }


def pull(
    settings: Settings, reference: str, out: str, *, digest: str | None, lock: str | None, platform: str | None = None
) -> Pulled:
    """Fetch a model into a folder that is not there yet, verify it and write the lock.

    `digest` is what an `https://` address or a file must have, when the reference does not say it. A lock that is there
    must fit: the same reference, and then the digests that it records. Raises UsageError, ArtifactError, TamperError.
    """
    place, reference = Path(out), whole_reference(settings, reference)
    kept = _read_lock(Path(lock)) if lock is not None and Path(lock).exists() else None
    if kept is not None:
        reference, digest = _by_lock(kept, reference, digest)
    if place.exists():
        raise UsageError(f"{out} is there already", hint="name a folder that is not there yet")
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    located = None
    try:
        draft.mkdir(parents=True)
        if reference.partition("://")[0] in wiring_stores.MODEL_STORES:
            located = _stored(settings, reference, draft, kept)
            named, found = _as_it_is(located.reference, draft, reference, digest)
        else:
            named, found = _written(settings, reference, draft, digest, platform)
        files = tree(draft)
        if not files.files:
            raise ArtifactError("there is no file in it", where=reference)
        whole = files.digest
        if kept is not None and not same_digest(whole, str(kept["tree"])):
            raise TamperError(f"the files have the digest {whole}, {kept['tree']} is locked", where=reference)
        done = Pulled(named, found, whole, len(files.files), files.size, to_rfc3339(wiring.clock().now()))
        if located is not None:
            done = replace(done, pins=located.files, claims=located.claims)
        if lock is not None and kept is None:
            Path(lock).write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
        draft.rename(place)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror or error}", where=str(place)) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return done


def _written(
    settings: Settings, reference: str, folder: Path, digest: str | None, platform: str | None
) -> tuple[str, str]:
    """The files of what is no store that lists them, written out: the pinned reference and its digest."""
    if reference.startswith("oci://"):
        return _oci(settings, reference, folder, platform)
    if reference.startswith(_LAYOUT):
        return _layout(settings, reference, folder)
    if reference.startswith(("https://", "http://")):
        return _https(settings, reference, folder, digest)
    return _local(reference.removeprefix("file://"), folder, digest)


def whole_reference(settings: Settings, reference: str) -> str:
    """`models:/NAME/VERSION`, as MLflow writes it, with the server that the environment names; a layout's whole path.

    So that what the ledger and a lock say leads there from anywhere. Raises UsageError.
    """
    if reference.startswith(_LAYOUT) and reference != _LAYOUT:
        return f"{_LAYOUT}{Path(reference.removeprefix(_LAYOUT)).absolute()}"
    if not reference.startswith("models:/"):
        return reference
    host = urlsplit(settings.environment.get("MLFLOW_TRACKING_URI", "")).netloc
    if not host:
        raise UsageError(
            "of which server is not said", where=reference, hint="set MLFLOW_TRACKING_URI, or mlflow://HOST/…"
        )
    return f"mlflow://{host}/{reference.removeprefix('models:/').lstrip('/')}"


def _stored(settings: Settings, text: str, folder: Path, kept: Mapping[str, Any] | None) -> Located:
    """The files of a store that lists them, written out; the digest of each is in what comes back."""
    plain = text.rpartition("@")[0] if is_digest(text.rpartition("@")[2]) else text
    store = wiring_stores.model_store(settings, text.partition("://")[0])
    if kept is not None and kept.get("pins"):
        pins = kept["pins"] if isinstance(kept["pins"], list) else [None]
        claims = kept.get("claims") if isinstance(kept.get("claims"), dict) else {}
        located = Located(plain, tuple(RemoteFile.from_json(item, "the lock") for item in pins), claims or {})
    else:
        located = store.locate(plain)
    total = sum(file.size for file in located.files)
    if total > MAX_FILE:
        raise ArtifactError(f"the store says that it has {total} bytes; {MAX_FILE} are the most", where=text)
    limits, taken = Limits(size=_ROOM + total), []
    for file in located.files:

        def fetch(take: Callable[[bytes], object], file: RemoteFile = file) -> None:
            store.fetch(located, file, take)

        blob, digest = _taken(settings, file.digest, fetch)
        with blob.open("rb") as data:
            write_file(file.path, data, folder, limits, text)
        taken.append(replace(file, digest=digest))
    return replace(located, files=tuple(taken))


def _as_it_is(reference: str, folder: Path, asked: str, digest: str | None) -> tuple[str, str]:
    """The reference with the digest of the files, held against the one that was asked for. Raises TamperError."""
    found = tree(folder).digest
    said = asked.rpartition("@")[2]
    for wanted in (digest, said if is_digest(said) else None):
        if wanted is not None and not same_digest(found, wanted):
            raise TamperError(f"the files have the digest {found}, {wanted} was expected", where=asked)
    return f"{reference}@{found}", found


def _oci(settings: Settings, text: str, folder: Path, platform: str | None) -> tuple[str, str]:
    found = resolve(settings, text, platform)
    where = found.pinned
    registry = wiring.registry(settings, found.reference.host)
    repository = found.reference.repository
    document = read_json(registry.manifest(repository, found.digest), where)
    if is_index(document):
        raise UsageError(f"{where} is for several platforms", hint=f"--platform, one of {', '.join(found.platforms)}")

    def download(layer: Descriptor, take: Take) -> None:
        registry.download(repository, layer, take)

    _write_layers(settings, document, download, folder, where)
    return f"oci://{found.pinned}", found.digest


def _layout(settings: Settings, text: str, folder: Path) -> tuple[str, str]:
    """An artifact of an OCI layout, as `model register` and `oras` write it. Raises ArtifactError, UsageError."""
    layout, digest = wiring_stores.layout(text)
    document = read_json(layout.manifest("", digest), text)
    if is_index(document):
        raise UsageError(f"{text} is for several platforms", hint="name the manifest of one: @sha256:…")

    def download(layer: Descriptor, take: Take) -> None:
        layout.download("", layer, take)

    _write_layers(settings, document, download, folder, text)
    return f"{layout.name}@{digest}", digest


def _write_layers(
    settings: Settings,
    document: Mapping[str, Any],
    download: Callable[[Descriptor, Take], None],
    folder: Path,
    where: str,
) -> None:
    """The files of a manifest's layers. Raises ArtifactError, also when none of them is a model."""
    layers, count = listed(document, "layers", where), 0
    # Weights hardly compress: what unpacks to far more than it weighs is a bomb, and a disk is soon full.
    limits = Limits(size=_ROOM + _MOST_TIMES * sum(layer.size for layer in layers))
    for layer in layers:

        def fetch(take: Callable[[bytes], object], layer: Descriptor = layer) -> None:
            download(layer, take)

        blob = _cached(settings, layer.digest, fetch)
        count += _unpack(layer, blob, folder, limits, where)
    if count == 0:
        raise ArtifactError(
            "no layer of it is a model that is read here",
            where=where,
            hint=f"layers named by {TITLE}, tar layers, or an image with its model below /{MODELCAR}",
        )


def _unpack(layer: Descriptor, blob: Path, folder: Path, limits: Limits, where: str) -> int:
    title = layer.annotations.get(TITLE)
    packed = layer.media_type.endswith(_TAR_TYPES)
    if layer.media_type.startswith(_IMAGE_LAYERS) and (title is None or layer.annotations.get(UNPACK) != "true"):
        if title is not None and not packed:
            return _plain(title, blob, folder, limits, where)
        return unpack_tar(blob, layer.media_type, folder, limits, where, below=MODELCAR)
    if packed and (title is None or layer.annotations.get(UNPACK) == "true" or "kitops" in layer.media_type):
        return unpack_tar(blob, layer.media_type, folder, limits, where)
    return 0 if title is None else _plain(title, blob, folder, limits, where)


def _plain(title: str, blob: Path, folder: Path, limits: Limits, where: str) -> int:
    with blob.open("rb") as data:
        write_file(title, data, folder, limits, where)
    return 1


def _https(settings: Settings, url: str, folder: Path, digest: str | None) -> tuple[str, str]:
    from customhouse._kit.http import HttpError, request

    address, _, tail = url.rpartition("@")
    if is_digest(tail):
        url, digest = address, tail
    if digest is None or not is_digest(digest):
        raise UsageError(
            "what an address serves today it may not serve tomorrow",
            where=url,
            hint="say what it must be: --digest sha256:…, or https://…@sha256:…",
        )
    name = urlsplit(url).path.rpartition("/")[2] or "model"

    def fetch(take: Callable[[bytes], object]) -> None:
        try:
            answer = request("GET", url, timeout_s=3600, max_bytes=MAX_FILE, sink=take)
        except HttpError as error:
            raise ArtifactError(str(error), where=url) from error
        if answer.status != 200:
            raise ArtifactError(f"it answers {answer.status}", where=url)

    with _cached(settings, digest, fetch).open("rb") as data:
        write_file(name, data, folder, Limits(), url)
    return f"{url}@{digest}", digest


def _local(path: str, folder: Path, digest: str | None) -> tuple[str, str]:
    source = Path(path)
    if not source.exists():
        raise UsageError(f"there is nothing at {path}")
    if digest is None or not is_digest(digest):
        raise UsageError(
            "which files are meant was not said", where=path, hint="--digest sha256:… (`model sign` prints it)"
        )
    root = source if source.is_dir() else source.parent
    try:
        names = [entry.path for entry in tree(source).files]
    except TreeError as error:
        raise ArtifactError(f"cannot be read: {error}", where=path, hint="a model is regular files") from error
    limits = Limits()
    for name in names:
        with (root / name).open("rb") as data:
            write_file(name, data, folder, limits, path)
    # What was copied is what counts: the source may have changed while it was read.
    copied = tree(folder if source.is_dir() else folder / names[0])
    if not same_digest(copied.digest, digest):
        raise TamperError(f"the files have the digest {copied.digest}, {digest} was expected", where=path)
    return f"file://{source.absolute()}", digest


def _cached(settings: Settings, digest: str, fetch: Callable[[Callable[[bytes], object]], None]) -> Path:
    """The blob with this digest, from the cache where it still has it, else fetched. Raises ArtifactError."""
    return _taken(settings, digest, fetch)[0]


def _taken(
    settings: Settings, digest: str | None, fetch: Callable[[Callable[[bytes], object]], None]
) -> tuple[Path, str]:
    """A blob in the cache and its digest, which is `digest` where that is known before."""
    folder = settings.state / CACHE / "sha256"
    if digest is not None and (place := folder / digest.removeprefix("sha256:")).is_file():
        if same_digest(_digest_of(place), digest):
            return place, digest
        place.unlink()  # a disk that rots, or a hand that writes
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / f".{secrets.token_hex(8)}"
    try:
        with draft.open("wb") as handle:
            fetch(handle.write)
        found = _digest_of(draft)
        if digest is not None and not same_digest(found, digest):
            raise TamperError(
                f"what came has the digest {found}, {digest} was expected",
                hint="it was changed where it lies; do not use it",
            )
        place = folder / found.removeprefix("sha256:")
        os.replace(draft, place)
    finally:
        with suppress(OSError):
            draft.unlink()
    return place, found


def _digest_of(place: Path) -> str:
    hasher = hashlib.sha256()
    with place.open("rb") as handle:
        _feed(handle, hasher.update)
    return f"sha256:{hasher.hexdigest()}"


def _feed(handle: IO[bytes], take: Callable[[bytes], object]) -> None:
    while piece := handle.read(1 << 20):
        take(piece)


_MOST_LOCK = 1 << 20


def _read_lock(place: Path) -> dict[str, Any]:
    try:
        with open_regular(place) as handle:
            value = json.loads(handle.read(_MOST_LOCK), object_pairs_hook=each_once)
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"the lock cannot be read: {why}", where=str(place)) from error
    fields = ("reference", "digest", "tree")
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in fields):
        raise UsageError("not a lock of `model pull`", where=str(place))
    return value


def _by_lock(kept: dict[str, Any], reference: str, digest: str | None) -> tuple[str, str | None]:
    """The locked reference, which the one that was asked for must lead to."""
    locked = str(kept["reference"])
    name = locked.rpartition("@")[0] or locked
    asked = reference.rpartition("@")[0] if is_digest(reference.rpartition("@")[2]) else reference
    head, colon, tag = asked.rpartition(":")
    same = asked in (name, locked, name.partition("?")[0]) or (colon and "/" not in tag and head == name)
    versioned = locked.startswith(("mlflow://", "hf://", "sagemaker://"))
    same = same or (versioned and _unversioned(asked) == _unversioned(name))
    if not same:
        raise UsageError(f"the lock is of {locked}", where=reference, hint="remove the lock to resolve it anew")
    if digest is not None and digest != kept["digest"]:
        raise TamperError(f"the lock says {kept['digest']}, and {digest} is asked for", where=reference)
    listed = locked.partition("://")[0] in ("oci", "oci-layout", *wiring_stores.MODEL_STORES)
    return (locked, None) if listed else (reference, str(kept["digest"]))


def _unversioned(reference: str) -> str:
    """A model of a registry or a hub without its version, stage, alias or revision."""
    plain = reference.partition("@")[0]
    if plain.startswith("sagemaker://"):
        return "/".join(plain.split("/")[:3])
    return plain if "@" in reference or plain.startswith("hf://") else plain.rpartition("/")[0]
