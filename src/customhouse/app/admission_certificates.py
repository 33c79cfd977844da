"""The webhook's certificate: of files that somebody else renews (cert-manager), or of an authority of our own."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from customhouse.core.errors import ConfigError
from customhouse.trust.certificates_serving import ServingFiles, ensure_serving, expiry


class Certificates:
    """Looks after the files, and gives TLS contexts. Raises StateError and ConfigError at the start only."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        given: ServingFiles | None,
        now: datetime,
        clients: Path | None = None,
    ) -> None:
        """`clients`: the authorities that issue the API server's client certificate; reviews of others are refused."""
        self.clients = clients
        self._folder, self._names, self._given = folder, tuple(names), given
        self.files = given or ensure_serving(folder, self._names, now)[0]
        self.ends = expiry(self._read(self.files.certificate), str(self.files.certificate))
        self._stamp = self._state()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self.context.set_alpn_protocols(["http/1.1"])
        self._load(self.context)
        if clients is not None:
            try:
                self.context.load_verify_locations(clients)
            except (OSError, ValueError) as error:
                raise ConfigError(f"the authorities of clients cannot be used: {error}", where=str(clients)) from error
            # Optional in the handshake, since probes and metrics have none; what is judged asks for it.
            self.context.verify_mode = ssl.CERT_OPTIONAL

    def check(self, now: datetime) -> bool:
        """Renew what is due, and take over files that were replaced; whether the certificate is another one now.

        New handshakes get it; connections that are open stay. Raises ConfigError or StateError for files that cannot
        be used: what is in use goes on, and they are looked at again when they change.
        """
        if self._given is None:
            ensure_serving(self._folder, self._names, now)
        found = self._state()
        if found == self._stamp:
            return False
        # Tried on a context of its own first: a half-written pair must not spoil the one that serves.
        self._stamp = found
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            ends = expiry(self._read(self.files.certificate), str(self.files.certificate))
        except ConfigError:
            self._stamp = ""  # looked at again: the other half may be on its way
            raise
        self._load(self.context)
        self.ends = ends
        return True

    def authorities(self) -> bytes:
        """The PEM that goes into `caBundle`. Raises ConfigError."""
        return self._read(self.files.authorities)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self.files.certificate, self.files.key)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the certificate and its key cannot be used: {error}", where=str(self.files.certificate)
            ) from error

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error

    def _state(self) -> str:
        parts = []
        for path in (self.files.certificate, self.files.key):
            try:
                found = path.stat()  # through the links that kubelet swaps
                parts.append(f"{found.st_ino} {found.st_size} {found.st_mtime_ns}")
            except OSError:
                parts.append("-")
        return "\n".join(parts)
