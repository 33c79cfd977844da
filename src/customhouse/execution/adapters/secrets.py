"""Values of secrets for what runs on this machine: the environment, a folder, Vault/OpenBao, AWS Secrets Manager.

Each is asked when a Job starts and keeps nothing. No message has a value, a token or an answer's body in it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from customhouse._kit.amazon import AmazonApi, AmazonError
from customhouse._kit.http import HttpError, request
from customhouse.core.errors import TargetError

PREFIX = "CUSTOMHOUSE_SECRET_"
MAX_VALUE = 1024 * 1024
"""Bytes. Kubernetes takes no larger Secret."""
_NAME = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,251}[A-Za-z0-9])?")
_TIMEOUT_S = 10.0

Provider = Callable[[str, str, str], str | None]
"""(namespace, secret, key) → value, None when it has none. Raises TargetError: asked, and could not be told."""


def variable(namespace: str, name: str, key: str) -> str:
    """The environment variable of a value: `CUSTOMHOUSE_SECRET_RISK_DATABASE_PASSWORD`."""
    return PREFIX + "_".join(re.sub(r"[^A-Z0-9]", "_", part.upper()) for part in (namespace, name, key))


def from_environment(environment: Mapping[str, str]) -> Provider:
    """Values of variables."""

    def provide(namespace: str, name: str, key: str) -> str | None:
        return environment.get(variable(namespace, name, key))

    return provide


def from_folder(folder: Path) -> Provider:
    """Values of files `FOLDER/NAMESPACE/SECRET/KEY`, as Kubernetes mounts them; only the owner may read them."""

    def provide(namespace: str, name: str, key: str) -> str | None:
        if not all(_NAME.fullmatch(part) for part in (namespace, name, key)):
            return None
        place = folder / namespace / name / key
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise TargetError(f"the secret cannot be read: {error.strerror}", where=str(place)) from error
        with os.fdopen(descriptor, "rb") as handle:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077:
                raise TargetError(
                    "a secret lies in a file that others may read", where=str(place), hint=f"chmod 600 {place}"
                )
            data = handle.read(MAX_VALUE + 1)
        return _text(data, str(place))

    return provide


@dataclass(frozen=True, slots=True)
class Vault:
    """A Vault or OpenBao server, and where its KV version 2 engine is mounted."""

    address: str
    token: str = field(repr=False)
    mount: str = "secret"
    namespace: str = ""
    authority: str | None = None

    def read(self, path: str) -> Mapping[str, object] | None:
        """The newest version of a secret; None when there is none. Raises TargetError."""
        url = f"{self.address.rstrip('/')}/v1/{quote(self.mount)}/data/{quote(path)}"
        headers = {"X-Vault-Token": self.token, "X-Vault-Request": "true"}
        if self.namespace:
            headers["X-Vault-Namespace"] = self.namespace
        try:
            # The token would go wherever a redirect leads.
            answer = request(
                "GET", url, headers=headers, timeout_s=_TIMEOUT_S, max_bytes=2 * MAX_VALUE,
                authority=self.authority, redirects=lambda _before, _after: False,
            )  # fmt: skip
            if answer.status == 404:
                return None
            if answer.status != 200:
                hint = "the token may be over, or have no policy that lets it read this" if answer.status == 403 else ""
                raise TargetError(f"the secret store answers {answer.status}", where=url, hint=hint)
            document = answer.json()
        except HttpError as error:
            raise TargetError(f"the secret store cannot be asked: {error}", where=url) from error
        data = document.get("data") if isinstance(document, dict) else None
        values = data.get("data") if isinstance(data, dict) else None
        if values is None and isinstance(data, dict) and data.get("metadata"):
            return None  # its newest version was deleted
        if not isinstance(values, dict):
            raise TargetError("the secret store's answer is none of its KV engine, version 2", where=url)
        return values


def from_vault(vault: Vault, references: Mapping[tuple[str, str, str], tuple[str, str]]) -> Provider:
    """Values of a Vault: where an ExternalSecret refers to, else `MOUNT/NAMESPACE/SECRET`.

    `references` maps (namespace, secret, key) to (path, property).
    """

    def provide(namespace: str, name: str, key: str) -> str | None:
        path, member = references.get((namespace, name, key), (f"{namespace}/{name}", key))
        values = vault.read(path)
        value = None if values is None else values.get(member)
        if value is None or isinstance(value, str):
            return value
        raise TargetError(f"{member} of {path} in the secret store is no text", hint="store it as a text")

    return provide


def from_secrets_manager(api: AmazonApi, references: Mapping[tuple[str, str, str], tuple[str, str]]) -> Provider:
    """Values of AWS Secrets Manager: where an ExternalSecret refers to, else the secret `NAMESPACE/NAME`.

    A secret that is a JSON object has members, as its console writes it. One that is any other text is itself the value
    where no member is asked for (`references` says `value` then).
    """

    def provide(namespace: str, name: str, key: str) -> str | None:
        path, member = references.get((namespace, name, key), (f"{namespace}/{name}", key))
        where = f"Secrets Manager {path}"
        try:
            answer = api.ask("secretsmanager.GetSecretValue", {"SecretId": path})
        except AmazonError as error:
            if error.code == "ResourceNotFoundException":
                return None
            raise TargetError(f"the secret store cannot be asked: {error}", where=where) from error
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise TargetError("the secret is no text", where=where, hint="store it as SecretString")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and member in found:
            if not isinstance(found[member], str):
                raise TargetError(f"{member} of the secret is no text", where=where, hint="store it as a text")
            return str(found[member])
        return text if member == "value" and (namespace, name, key) in references else None

    return provide


def from_manifests(sealed: Mapping[tuple[str, str], Callable[[], Mapping[str, object]]]) -> Provider:
    """Values of Secrets that the repository declares encrypted; each is opened when it is asked for."""

    def provide(namespace: str, name: str, key: str) -> str | None:
        opened = sealed.get((namespace, name))
        if opened is None:
            return None
        manifest = opened()
        plain, encoded = (manifest.get(part) for part in ("stringData", "data"))
        if isinstance(plain, Mapping) and key in plain:
            return str(plain[key])
        if not isinstance(encoded, Mapping) or key not in encoded:
            return None
        try:
            return _text(base64.b64decode(str(encoded[key]), validate=True), f"Secret {namespace}/{name}")
        except ValueError as error:
            raise TargetError(f"{key} of the Secret {namespace}/{name} is not base64") from error

    return provide


def first_of(*providers: Provider) -> Provider:
    """The first that has a value."""

    def provide(namespace: str, name: str, key: str) -> str | None:
        for one in providers:
            value = one(namespace, name, key)
            if value is not None:
                return value
        return None

    return provide


def _text(data: bytes, where: str) -> str:
    if len(data) > MAX_VALUE:
        raise TargetError(f"a secret is over {MAX_VALUE} bytes", where=where)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TargetError("a secret is not UTF-8, which an environment variable must be", where=where) from error
