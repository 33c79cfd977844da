"""The trusted root: a file (`trusted_root.json`, versions 0.1 and 0.2) that names whose word counts, and when it did.

Times of validity are closed intervals (protobuf-specs, `TimeRange`). One that lacks its beginning makes the file wrong;
a key of a kind that is not used here (a newer algorithm) is passed over, so nothing that it signed verifies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from cryptography import x509

from customhouse._kit.clock import from_rfc3339
from customhouse.core.errors import ConfigError, CustomhouseError, TamperError
from customhouse.trust import strict_json
from customhouse.trust.certificates import read_certificate
from customhouse.trust.keys import PublicKey
from customhouse.trust.sigstore.fields import Fields

MAX_BYTES = 1 << 20
_TYPES = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
)
_CONFIG_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_MAX_ENTRIES = 100
_HINT = "it must be a Sigstore trusted_root.json, as `cosign trusted-root create` and TUF repositories have it"


@dataclass(frozen=True, slots=True)
class Window:
    """When something was valid, ends included; `end` None: until further notice, `start` None: not limited."""

    start: datetime | None = None
    end: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether `at` is in it."""
        return (self.start is None or self.start <= at) and (self.end is None or at <= self.end)

    def __str__(self) -> str:
        return (
            f"from {self.start.isoformat() if self.start else 'ever'} to {self.end.isoformat() if self.end else 'now'}"
        )


@dataclass(frozen=True, slots=True)
class LogKey:
    """The key of a transparency log (of certificates or of signatures).

    `ids`: what entries name it by, its log ID and that of its checkpoints (32 bytes, or 4 for the latter alone).
    """

    name: str
    key: PublicKey
    window: Window
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority's certificates: the last one is trusted, the others lead to it."""

    name: str
    anchor: x509.Certificate
    between: tuple[x509.Certificate, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class SigstoreRoot:
    """A trusted root as read."""

    logs: tuple[LogKey, ...]
    authorities: tuple[Authority, ...]
    certificate_logs: tuple[LogKey, ...]
    timestamp_authorities: tuple[Authority, ...]
    where: str


@lru_cache(maxsize=8)
def read_root(data: bytes, where: str = "trusted root") -> SigstoreRoot:
    """Read a trusted root, or the one inside a client's trust configuration. Raises ConfigError, naming what is wrong.

    An authority without certificates, or a log without a key, is an error: it could not have been meant. The last few
    are remembered by their bytes: a gate verifies hundreds of signatures under one root.
    """
    try:
        document = Fields(strict_json.parse(data, where, max_bytes=MAX_BYTES), "the trusted root")
        if document.text("mediaType") == _CONFIG_TYPE:
            document = document.part("trustedRoot")
        if document.text("mediaType") not in _TYPES:
            raise TamperError("not a trusted root of version 0.1 or 0.2")
        return SigstoreRoot(
            logs=_logs(document.parts("tlogs", _MAX_ENTRIES)),
            authorities=_authorities(document.parts("certificateAuthorities", _MAX_ENTRIES)),
            certificate_logs=_logs(document.parts("ctlogs", _MAX_ENTRIES)),
            timestamp_authorities=_authorities(document.parts("timestampAuthorities", _MAX_ENTRIES)),
            where=where,
        )
    except CustomhouseError as error:
        raise ConfigError(error.message, where=where, hint=_HINT) from error


def read_roots(data: bytes, where: str = "trusted root") -> tuple[SigstoreRoot, ...]:
    """The trusted roots of a file: one, or one a line, as `gh attestation trusted-root` prints them.

    Raises ConfigError.
    """
    lines = documents(data)
    if len(lines) == 1:
        return (read_root(data, where),)
    return tuple(read_root(line, f"{where}:{number}") for number, line in enumerate(lines, 1))


def documents(data: bytes) -> list[bytes]:
    """The JSON documents of a file: its lines where each begins one (JSON Lines), else the whole."""
    lines = [line for line in data.split(b"\n") if line.strip()]
    return lines if len(lines) > 1 and all(line[:1] == b"{" for line in lines[:_MAX_ENTRIES]) else [data]


def _logs(listed: Sequence[Fields]) -> tuple[LogKey, ...]:
    return tuple(log for log in map(_log, listed) if log is not None)


def _log(fields: Fields) -> LogKey | None:
    held = fields.part("publicKey")
    window = _window(held.optional_part("validFor"), held.what)
    named = [fields.optional_part(name) for name in ("logId", "checkpointKeyId")]
    raw = held.octets("rawBytes")
    ids = [part.octets("keyId") for part in named if part is not None]
    if fields.text("hashAlgorithm", "SHA2_256") != "SHA2_256":
        return None  # its tree is of a kind that is not read here
    try:
        key = PublicKey.from_der(raw, held.what)
    except ConfigError:
        return None
    ids.append(hashlib.sha256(raw).digest())
    return LogKey(fields.text("baseUrl", "") or "a log", key, window, tuple(dict.fromkeys(ids)))


def _authorities(listed: Sequence[Fields]) -> tuple[Authority, ...]:
    return tuple(_authority(fields) for fields in listed)


def _authority(fields: Fields) -> Authority:
    held = fields.part("certChain").parts("certificates", 10)
    if not held:
        raise TamperError(f"{fields.what} has no certificate")
    chain = [read_certificate(part.octets("rawBytes")) for part in held]
    window = _window(fields.optional_part("validFor"), fields.what)
    return Authority(fields.text("uri", "") or "an authority", chain[-1], tuple(chain[:-1]), window)


def _window(fields: Fields | None, what: str) -> Window:
    if fields is None:
        return Window()
    start = _time(fields.raw, "start", what)
    if start is None:
        raise TamperError(f"{what}: its validity has no beginning")
    return Window(start, _time(fields.raw, "end", what))


def _time(values: Mapping[str, Any], name: str, what: str) -> datetime | None:
    text = values.get(name)
    if text is None:
        return None
    try:
        return from_rfc3339(str(text))
    except ValueError as error:
        raise TamperError(f"{what}: {name} of its validity is not a time") from error
