"""Who we are to a registry: the credentials of a user's login, and the answers to a registry's challenges.

Docker's `config.json` (and Podman's `auth.json`) with `auths`, `credHelpers` and `credsStore`; Basic, and the Docker
token flow (`/docs/spec/auth` of distribution): a token is asked for one repository and only the actions that are
needed. Nothing is sent to any host but the registry and the realm that it names, and passwords only over TLS.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from customhouse._kit.http import Answer, is_loopback, request
from customhouse._kit.process import ProgramError, run
from customhouse._kit.reading import open_regular
from customhouse.core.errors import ArtifactError, ConfigError

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_HELPER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_CONFIG = 1 << 20
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"  # noqa: S105 - the name that says: what follows is an identity token, not a password


@dataclass(frozen=True, slots=True)
class Credentials:
    """Name and password (or token) for one registry; never shown."""

    user: str
    password: str = field(repr=False)


class Access:
    """What is said to one registry, repository by repository."""

    def __init__(
        self, host: str, credentials: Credentials | None, *, authority: str | None = None, timeout_s: float = 60.0
    ) -> None:
        self._host, self._credentials = host, credentials
        self._authority, self._timeout_s = authority, timeout_s
        self._granted: dict[str, str] = {}

    def header(self, repository: str) -> Mapping[str, str]:
        """The header that opened this repository before, if any did."""
        return {"Authorization": self._granted[repository]} if repository in self._granted else {}

    def answer(self, refusal: Answer, repository: str, *, push: bool) -> None:
        """Answer a challenge: Basic, or a token of the realm that the registry names. Raises HttpError, ArtifactError.

        Without credentials a token for everybody is asked for, as public registries want it.
        """
        scheme, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        given = self._credentials
        if scheme.lower() == "basic" and given is not None:
            self._granted[repository] = _basic(given)
        if scheme.lower() != "bearer":
            return
        fields = dict(_CHALLENGE.findall(rest))
        realm = fields.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (is_loopback(parts.hostname or "") and is_loopback(_name(self._host))):
            raise ArtifactError("the registry names a realm for tokens that is no https address", where=self._host)
        scope = f"repository:{repository}:{'pull,push' if push else 'pull'}"
        query = {"scope": scope, **({"service": fields["service"]} if "service" in fields else {})}
        document = self._token(realm, query).json()
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if isinstance(token, str) and token:
            self._granted[repository] = f"Bearer {token}"

    def _token(self, realm: str, query: Mapping[str, str]) -> Answer:
        given = self._credentials
        if given is not None and given.user == _TOKEN_USER:
            body = {"grant_type": "refresh_token", "refresh_token": given.password, "client_id": "customhouse", **query}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._ask("POST", realm, headers, urlencode(body).encode())
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            answer = self._ask("GET", url, {} if given is None else {"Authorization": _basic(given)}, None)
        if answer.status != 200:
            raise ArtifactError(
                f"no token: {urlsplit(realm).hostname} answers {answer.status} (the registry answered 401)",
                where=self._host,
                hint="give credentials that may do this: `docker login`",
            )
        return answer

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        return request(
            method,
            url,
            headers=headers,
            body=body,
            timeout_s=self._timeout_s,
            max_bytes=1 << 20,
            authority=self._authority,
            redirects=lambda _, __: False,
        )


def stored_credentials(host: str, environment: Mapping[str, str]) -> Credentials | None:
    """What `docker login` or `podman login` kept for a registry; None when nothing was.

    Files, the first that knows the registry: REGISTRY_AUTH_FILE, DOCKER_CONFIG/config.json (default ~/.docker),
    XDG_RUNTIME_DIR/containers/auth.json. Raises ConfigError for one that cannot be read, and for a helper that fails.
    """
    for place in _places(environment):
        document = _read(place)
        if document is None:
            continue
        found = _of(document, host, environment, str(place))
        if found is not None:
            return found
    return None


def _places(environment: Mapping[str, str]) -> list[Path]:
    places = [Path(environment["REGISTRY_AUTH_FILE"])] if environment.get("REGISTRY_AUTH_FILE") else []
    home = environment.get("DOCKER_CONFIG") or (f"{environment['HOME']}/.docker" if environment.get("HOME") else "")
    if home:
        places.append(Path(home) / "config.json")
    if environment.get("XDG_RUNTIME_DIR"):
        places.append(Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    return places


def _read(place: Path) -> dict[str, Any] | None:
    try:
        with open_regular(place) as handle:
            data = handle.read(_MAX_CONFIG + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(place)) from error
    try:
        document = json.loads(data) if len(data) <= _MAX_CONFIG else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        # Not chained: the parser's message could show a line of the file.
        raise ConfigError("not a JSON object of logins", where=str(place), hint="`docker login` writes it")
    return document


def _of(document: Mapping[str, Any], host: str, environment: Mapping[str, str], where: str) -> Credentials | None:
    keys = _HUB_KEYS if host in _HUB_KEYS else (host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/")
    helpers, auths = document.get("credHelpers"), document.get("auths")
    helper = next((helpers[key] for key in keys if key in helpers), None) if isinstance(helpers, dict) else None
    if helper is not None:
        return _helped(str(helper), host if host not in _HUB_KEYS else _HUB_KEYS[0], environment, where)
    entry = next((auths[key] for key in keys if key in auths), None) if isinstance(auths, dict) else None
    if isinstance(entry, dict) and (found := _entry(entry, where)) is not None:
        return found
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        return _helped(store, host if host not in _HUB_KEYS else _HUB_KEYS[0], environment, where)
    return None


def _entry(entry: Mapping[str, Any], where: str) -> Credentials | None:
    token, user, password = entry.get("identitytoken"), entry.get("username"), entry.get("password")
    if isinstance(token, str) and token:
        return Credentials(_TOKEN_USER, token)
    if isinstance(user, str) and isinstance(password, str) and user:
        return Credentials(user, password)
    packed = entry.get("auth")
    if not isinstance(packed, str) or not packed:
        return None
    try:
        name, colon, secret = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise ConfigError("an `auth` that is not base64 of name:password", where=where) from None
    return Credentials(name, secret.rstrip("\0")) if colon else None


def _helped(helper: str, host: str, environment: Mapping[str, str], where: str) -> Credentials | None:
    if _HELPER.fullmatch(helper) is None:
        raise ConfigError("a credential helper with an odd name", where=where)
    program = f"docker-credential-{helper}"
    place = shutil.which(program, path=environment.get("PATH"))
    if place is None:
        raise ConfigError(f"{program} is not on PATH, and the login of {host} is kept there", where=where)
    try:
        done = run([place, "get"], stdin=host.encode(), env=environment, timeout_s=30, max_output=1 << 16)
    except ProgramError as error:
        if error.status == 1:  # what helpers answer that know nothing of a host
            return None
        raise ConfigError(f"{program} failed for {host}", where=where) from None
    try:
        document = json.loads(done.stdout)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{program} gave no name and secret for {host}", where=where) from None
    return Credentials(str(user), str(secret)) if secret else None


def _basic(given: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{given.user}:{given.password}".encode()).decode()


def _name(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""
