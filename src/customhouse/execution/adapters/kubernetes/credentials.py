"""Who asks: the headers and the client certificate of an Access, kept fresh."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from customhouse._kit.clock import Clock, from_rfc3339
from customhouse._kit.process import ProgramError, ProgramMissingError, run
from customhouse.core.errors import ConfigError, TargetError
from customhouse.execution.adapters.kubernetes.kubeconfig import MAX_BYTES, Access, ExecPlugin

TOKEN_FILE_AGE_S = 60.0
"""client-go reads a projected token again every minute; kubelet rotates it well before it expires."""
IDENTITY_FILE_AGE_S = 60.0
EXEC_TIMEOUT_S = 30.0
EXEC_OUTPUT = 1024 * 1024
_MARGIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Issued:
    """What a plugin gave: a token, or a certificate with its key, until `expires` (None: until it is refused)."""

    token: str | None
    certificate: bytes | None
    key: bytes | None
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Identity:
    """What a connection is made with: the client certificate with its key, and whom to trust, all PEM."""

    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    authority: bytes | None = field(default=None, repr=False)


class Credentials:
    """Gives the headers of a request, and what its connection is made with, fresh: files are read again and again.

    `refused` is called after a 401: the next headers are made anew. `issue` counts what was made: a 401 to an older
    issue is no reason to throw the newer one away.
    """

    def __init__(self, access: Access, environment: Mapping[str, str], clock: Clock) -> None:
        self._access = access
        self._environment = environment
        self._clock = clock
        self._issued: _Issued | None = None
        self._token = ""
        self._read_at = float("-inf")
        self._identity = Identity(access.certificate, access.key, access.authority)
        self._identity_at = clock.monotonic()
        self._lock = asyncio.Lock()
        self.issue = 0

    @property
    def renewable(self) -> bool:
        """Whether other credentials may come after a 401."""
        access = self._access
        return access.exec_plugin is not None or access.token_file is not None or access.certificate_file is not None

    def refused(self, issue: int) -> None:
        """The API did not take what was sent, of that issue."""
        if issue == self.issue:
            self._issued = None
            self._read_at = self._identity_at = float("-inf")
            self.issue += 1

    def distrusted(self) -> None:
        """The server's certificate does not verify: its authority may have been replaced since it was read."""
        self._identity_at = float("-inf")

    async def headers(self) -> dict[str, str]:
        """`Authorization` alone: impersonation never changes, and has several values a header. Raises TargetError."""
        access = self._access
        # client-go: a token file wins over a token, and both over the plugin.
        if access.token_file is not None:
            return {"Authorization": f"Bearer {self._file_token(access.token_file)}"}
        if access.token is not None:
            return {"Authorization": f"Bearer {access.token}"}
        if access.basic is not None:
            pair = base64.b64encode(":".join(access.basic).encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        issued = await self._from_plugin()
        return {"Authorization": f"Bearer {issued.token}"} if issued is not None and issued.token else {}

    @property
    def settled(self) -> bool:
        """Whether `headers` and `identity` would answer without waiting, and as they did last."""
        access, now = self._access, self._clock.monotonic()
        if access.exec_plugin is not None:
            return False
        if access.token_file is not None and now - self._read_at >= TOKEN_FILE_AGE_S:
            return False
        files = access.certificate_file or access.key_file or access.authority_file
        return files is None or now - self._identity_at < IDENTITY_FILE_AGE_S

    async def identity(self) -> Identity:
        """The client certificate and its key (of the kubeconfig, its files, or the plugin), and the authorities."""
        read = self._read_identity()
        access = self._access
        if read.certificate is not None and read.key is not None:
            return read
        if access.token is not None or access.token_file is not None or access.basic is not None:
            return read
        issued = await self._from_plugin()
        if issued is None or issued.certificate is None or issued.key is None:
            return read
        return Identity(issued.certificate, issued.key, read.authority)

    def _read_identity(self) -> Identity:
        access, known = self._access, self._identity
        files = (access.certificate_file, access.key_file, access.authority_file)
        if not any(files) or self._clock.monotonic() - self._identity_at < IDENTITY_FILE_AGE_S:
            return known
        self._identity_at = self._clock.monotonic()
        try:
            read = [None if path is None else _file(path) for path in files]
        except OSError:
            return known  # being replaced; what was read last may well serve until the next look
        certificate, key, authority = read
        fresh = Identity(certificate or known.certificate, key or known.key, authority or known.authority)
        if fresh != known and fits(access, fresh):
            # A certificate beside the key of the one before it is half of a rotation: the next look sees the rest.
            self._identity = fresh
        return self._identity

    def _file_token(self, path: Path) -> str:
        if self._clock.monotonic() - self._read_at >= TOKEN_FILE_AGE_S:
            try:
                token = path.read_text(encoding="ascii").strip()
            except (OSError, ValueError) as error:
                raise TargetError("the token file cannot be read", where=str(path)) from error
            if not token or not token.isprintable() or " " in token:
                raise TargetError("the token file holds no token", where=str(path))
            self._token, self._read_at = token, self._clock.monotonic()
        return self._token

    async def _from_plugin(self) -> _Issued | None:
        plugin = self._access.exec_plugin
        if plugin is None:
            return None
        async with self._lock:
            issued = self._issued
            if issued is None or (issued.expires is not None and issued.expires - _MARGIN <= self._clock.now()):
                issued = await asyncio.to_thread(self._run, plugin)
                self._issued = issued
            return issued

    def _run(self, plugin: ExecPlugin) -> _Issued:
        where = f"exec plugin {Path(plugin.command).name}"
        spec: dict[str, Any] = {"interactive": False}
        if plugin.provide_cluster:
            spec["cluster"] = _cluster(self._access)
        info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
        environment = {
            **self._environment,
            **plugin.environment,
            "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode(),
        }
        try:
            done = run(
                [plugin.command, *plugin.arguments],
                env=environment,
                timeout_s=EXEC_TIMEOUT_S,
                max_output=EXEC_OUTPUT,
            )
        except ProgramMissingError as error:
            raise TargetError("it is not installed", where=where, hint=plugin.install_hint) from error
        except ProgramError as error:
            # What it wrote to stdout may be a credential; what it says on stderr is meant for people.
            said = " ".join(error.stderr.split())[-300:]
            raise TargetError(f"it failed{': ' + said if said else ''}", where=where) from error
        return _issued(done.stdout, plugin, where)


def _issued(output: bytes, plugin: ExecPlugin, where: str) -> _Issued:
    try:
        value = orjson.loads(output)
        fits = value["kind"] == "ExecCredential" and value["apiVersion"] == plugin.api_version
        status = value["status"]
        token, certificate, key = (status.get(name) for name in ("token", "clientCertificateData", "clientKeyData"))
        fits = fits and all(item is None or isinstance(item, str) for item in (token, certificate, key))
        stamp = status.get("expirationTimestamp")
        expires = None if stamp is None else from_rfc3339(stamp)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TargetError(f"it printed no ExecCredential of {plugin.api_version}", where=where) from error
    if not fits:
        raise TargetError(f"it printed no ExecCredential of {plugin.api_version}", where=where)
    if (certificate is None) != (key is None) or (token is None and certificate is None):
        raise TargetError("it gave neither a token nor a certificate with its key", where=where)
    return _Issued(
        token,
        None if certificate is None else certificate.encode(),
        None if key is None else key.encode(),
        expires,
    )


def _cluster(access: Access) -> dict[str, Any]:
    told: dict[str, Any] = {"server": access.server, "insecure-skip-tls-verify": access.insecure}
    if access.authority is not None:
        told["certificate-authority-data"] = base64.b64encode(access.authority).decode()
    if access.server_name is not None:
        told["tls-server-name"] = access.server_name
    if access.cluster_extension is not None:
        told["config"] = access.cluster_extension
    return told


def tls_context(access: Access, identity: Identity) -> ssl.SSLContext:
    """TLS 1.2 or later, verified unless the kubeconfig itself says otherwise. Raises ConfigError."""
    try:
        authority = None if identity.authority is None else identity.authority.decode("ascii")
        context = ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError("the certificate authority is not PEM", where=access.source) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity.certificate is not None and identity.key is not None:
        _load(context, (identity.certificate, identity.key), access.source)
    return context


def fits(access: Access, identity: Identity) -> bool:
    """Whether a connection can be made with it: its parts are PEM, and the key is the certificate's."""
    try:
        tls_context(access, identity)
    except ConfigError:
        return False
    return True


def _file(path: Path) -> bytes:
    with path.open("rb") as handle:
        data = handle.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(f"{path} has more than {MAX_BYTES} bytes")
    return data


def _load(context: ssl.SSLContext, certificate: tuple[bytes, bytes], where: str) -> None:
    # OpenSSL reads a certificate chain from a file only; nobody else can read this one, and it is gone at once.
    handle, name = tempfile.mkstemp(prefix="customhouse-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate[0].rstrip() + b"\n" + certificate[1])
        context.load_cert_chain(name, password="")
    except (ssl.SSLError, OSError) as error:
        raise ConfigError("the client certificate and its key do not fit, or are not PEM", where=where) from error
    finally:
        os.unlink(name)
