"""The shelf: bundles pulled from elsewhere, verified before they lie there and again each time they are taken.

    <state>/bundles/<64 hex>.tar.gz             the archive, by the digest of its bytes
    <state>/bundles/<64 hex>.tar.gz.sigstore.json
    <state>/bundles/latest-<16 hex>.json        what a source without a digest gave last: {"digest","issued_at"}

A source is a file, a folder of archives, https://…, or oci://host/repository[:tag][@sha256:…]. `digest` is always that
of the archive's bytes, as `policy build` prints it. Where nothing is pinned a signature is demanded, and of two the
younger one counts, so that nobody can serve yesterday's rules again.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest, is_digest, same_digest
from customhouse.app.policyspecs import BundleSource
from customhouse.core.errors import ConfigError, CustomhouseError, EvidenceError, PolicyError, StateError, TamperError
from customhouse.core.evidence import EvidenceKind
from customhouse.policy.bundle_archive import MAX_ARCHIVE, Archive, unpack

if TYPE_CHECKING:
    from customhouse.trust.keys import TrustRoot

MAX_SIGNATURE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source gave: nothing of it is believed yet."""

    archive: bytes
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class Pulled:
    """A verified archive. `alert` says why it is the last good one and not what the source has now; else empty."""

    archive: Archive
    signer: str | None
    issued_at: datetime | None
    alert: str = ""


Fetch = Callable[[str, str | None], Fetched]
"""Bytes from a source; the digest helps to find the archive among others. Raises CustomhouseError."""


class Shelf:
    """Bundles below a state directory. Several processes may share it: files appear whole and never change."""

    def __init__(self, folder: Path, fetch: Fetch) -> None:
        self._folder = folder
        self._fetch = fetch

    def for_successor(self, known: Iterable[BundleSource]) -> Shelf:
        """The same shelf for rules that are only proposed: it asks no place that the rules in force do not name.

        Whoever opens a pull request would otherwise make the gate fetch whatever address, or read whatever file.
        """
        origins = {_origin(item.source) for item in known}

        def fetch(source: str, digest: str | None) -> Fetched:
            if _origin(source) not in origins:
                raise PolicyError(
                    "the rules in force name no bundle from there, and nothing is fetched because a change says so",
                    where=source,
                    hint="run `customhouse policy pull` once where the gate runs, then ask again",
                )
            return self._fetch(source, digest)

        return Shelf(self._folder, fetch)

    def take(self, wanted: BundleSource, roots: Sequence[TrustRoot], *, offline: bool = False) -> Pulled:
        """The bundle that an entry means, verified under `roots`.

        Pinned: from the shelf, else pulled. Not pinned: pulled, and what was good last where the source cannot be
        reached or does not verify, with an alert. Raises PolicyError (the gate stays shut) where there is none,
        TamperError as its cause when something does not verify.
        """
        if wanted.digest is None and wanted.key is None:
            raise ConfigError(
                f"the bundle {wanted.source} has neither a digest nor a key",
                hint="pin the digest that `customhouse policy build` printed, or name the key that must have signed",
            )
        if wanted.digest is not None:
            kept = self._kept(wanted.digest, wanted, roots)
            if kept is not None:
                return kept
        try:
            if offline:
                raise PolicyError("it is not on the shelf, and nothing is pulled here", where=wanted.source)
            return self.pull(wanted, roots)
        except CustomhouseError as error:
            last = None if wanted.digest is not None else self._last_good(wanted, roots)
            if last is None:
                raise PolicyError(
                    f"the policy bundle cannot be used: {error}",
                    where=wanted.source,
                    hint="nothing is judged without it; `customhouse policy pull` tries again",
                ) from error
            reason = f"policy bundle {wanted.source}: {error}; judged with the last good one, {last.archive.digest}"
            return Pulled(last.archive, last.signer, last.issued_at, reason)

    def pull(self, wanted: BundleSource, roots: Sequence[TrustRoot]) -> Pulled:
        """Fetch, verify, keep. Raises TamperError for what does not verify; then nothing is kept."""
        got = self._fetch(wanted.source, wanted.digest)
        pulled = _verified(got, wanted, roots)
        last = None if wanted.digest is not None else self._last_good(wanted, roots)
        if last is not None and _older(pulled, last):
            raise TamperError("it was signed before the one that was used last", where=wanted.source)
        digest = pulled.archive.digest
        self._write(_name(digest), got.archive)
        if got.signature is not None:
            from customhouse.trust.attestation import SUFFIX

            self._write(_name(digest) + SUFFIX, got.signature)
        if wanted.digest is None:
            at = None if pulled.issued_at is None else to_rfc3339(pulled.issued_at)
            self._write(_latest(wanted), json.dumps({"digest": digest, "issued_at": at}).encode())
        return pulled

    def _kept(self, digest: str, wanted: BundleSource, roots: Sequence[TrustRoot]) -> Pulled | None:
        """What lies on the shelf; None when there is nothing, or something else than it should be."""
        data = self._read(_name(digest), MAX_ARCHIVE)
        if data is None:
            return None
        from customhouse.trust.attestation import SUFFIX

        signature = self._read(_name(digest) + SUFFIX, MAX_SIGNATURE)
        try:
            return _verified(Fetched(data, signature), BundleSource(wanted.source, digest, wanted.key), roots)
        except CustomhouseError:
            return None  # it is pulled again, and whoever changed the file finds it replaced

    def _last_good(self, wanted: BundleSource, roots: Sequence[TrustRoot]) -> Pulled | None:
        data = self._read(_latest(wanted), 4096)
        try:
            digest = json.loads(data or b"{}").get("digest")
        except (ValueError, AttributeError):
            return None
        if not isinstance(digest, str) or not is_digest(digest):
            return None
        return self._kept(digest, wanted, roots)

    def _read(self, name: str, limit: int) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as handle:
                return handle.read(limit + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"the bundle cannot be read: {error.strerror}", where=str(self._folder / name)) from error

    def _write(self, name: str, data: bytes) -> None:
        draft = self._folder / f".{name}.{secrets.token_hex(6)}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with draft.open("xb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            draft.replace(self._folder / name)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StateError(f"the bundle cannot be kept: {error.strerror}", where=str(self._folder)) from error


def _verified(got: Fetched, wanted: BundleSource, roots: Sequence[TrustRoot]) -> Pulled:
    # 1. The bytes are those that were pinned.
    digest = bytes_digest(got.archive)
    if wanted.digest is not None and not same_digest(digest, wanted.digest):
        raise TamperError(f"its digest is {digest}, not {wanted.digest}", where=wanted.source)
    # 2. A key of the base revision signed a statement about these bytes, where one is demanded.
    signer, issued_at = None, None
    if wanted.key is not None:
        signer, issued_at = _signed(got, digest, wanted, roots)
    # 3. It is a bundle.
    return Pulled(unpack(got.archive, wanted.source), signer, issued_at)


def _signed(
    got: Fetched, digest: str, wanted: BundleSource, roots: Sequence[TrustRoot]
) -> tuple[str | None, datetime | None]:
    named = [root for root in roots if root.name == wanted.key]
    if not named:
        raise ConfigError(f"no trust key is called {wanted.key!r}", hint="name one of trust.keys")
    if got.signature is None:
        raise TamperError("it is not signed", where=wanted.source, hint="`customhouse policy build --sign KEY` signs")
    from customhouse.trust.attestation import SUFFIX, read_evidence  # with `cryptography`: where a key is named

    try:
        said = read_evidence(got.signature, named, wanted.source + SUFFIX)
    except EvidenceError as error:
        raise TamperError(f"its signature cannot be read: {error}", where=wanted.source) from error
    about = [item for item in said if item.kind is EvidenceKind.POLICY_BUNDLE and same_digest(item.subject, digest)]
    if not about:
        raise TamperError("its signature is about something else", where=wanted.source)
    if not about[0].verified:
        raise TamperError(f"its signature does not verify: {about[0].problem}", where=wanted.source)
    return about[0].signer, about[0].issued_at


def _older(new: Pulled, last: Pulled) -> bool:
    if last.issued_at is None:
        return False
    return new.issued_at is None or new.issued_at < last.issued_at


def _name(digest: str) -> str:
    return digest.removeprefix("sha256:") + ".tar.gz"


def _latest(wanted: BundleSource) -> str:
    return f"latest-{bytes_digest(wanted.source.encode())[7:23]}.json"


def _origin(source: str) -> str:
    """Scheme and host, or the folder of a path."""
    if "://" in source:
        parts = urlsplit(source)
        return f"{parts.scheme}://{parts.netloc}".lower()
    return os.path.dirname(os.path.normpath(source))
