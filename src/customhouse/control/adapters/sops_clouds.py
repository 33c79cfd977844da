"""What opens the data key of a SOPS file at Google's and Microsoft's key services, by their documented REST calls.

Sources: cloud.google.com/kms/docs/reference/rest (cryptoKeys.decrypt), RFC 7523 for a service account's token;
learn.microsoft.com/rest/api/keyvault/keys/decrypt, and the client credentials of its identity platform.

What a file names is never trusted with a credential: Google is asked at one address, and a vault only below the domains
that Microsoft has for them. No key, no token and no answer is in any message.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from customhouse._kit.clock import Clock
from customhouse._kit.http import HttpError, request
from customhouse.control.adapters.sops_keys import MAX_WRAPPED, KeyNotOpenedError, KeyOpener

GOOGLE = "https://cloudkms.googleapis.com"
GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
MICROSOFT = "https://login.microsoftonline.com"
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_GOOGLE_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_VAULT = re.compile(
    r"https://[A-Za-z0-9-]{1,63}\.(vault\.azure\.net|managedhsm\.azure\.net|vault\.azure\.cn|vault\.usgovcloudapi\.net)/?"
)
_NAME = re.compile(r"[A-Za-z0-9-]{1,127}")
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,100}")
_LIFETIME_S = 600
_KEPT_S = 300.0


def by_google(token: Callable[[], str], address: str = GOOGLE) -> KeyOpener:
    """Keys of Google's Cloud KMS; `token` gives an access token, or raises KeyNotOpenedError."""

    def opened(entry: Mapping[str, Any]) -> bytes | None:
        name, wrapped = str(entry.get("resource_id") or ""), str(entry.get("enc") or "")
        if len(name) > 500 or not _GOOGLE_KEY.fullmatch(name) or not wrapped or len(wrapped) > MAX_WRAPPED:
            raise KeyNotOpenedError("an entry for Google Cloud KMS cannot be read")
        url = f"{address.rstrip('/')}/v1/{'/'.join(quote(part, safe='') for part in name.split('/'))}:decrypt"
        who = f"Google Cloud KMS {name}"
        document = _asked(who, url, json.dumps({"ciphertext": wrapped}), {"Authorization": f"Bearer {token()}"})
        try:
            return base64.b64decode(str(document.get("plaintext")), validate=True)
        except binascii.Error:
            raise KeyNotOpenedError(f"{who}: its answer is no key") from None

    return opened


def by_azure(token: Callable[[str], str], address: Callable[[str], str] = str) -> KeyOpener:
    """Keys of Azure Key Vault; `token` gives one for a scope. `address` says where a vault is really asked."""

    def opened(entry: Mapping[str, Any]) -> bytes | None:
        vault = str(entry.get("vault_url") or entry.get("vaultUrl") or "")
        name, version = str(entry.get("name") or entry.get("key") or ""), str(entry.get("version") or "")
        wrapped = str(entry.get("enc") or "")
        found = _VAULT.fullmatch(vault)
        readable = _NAME.fullmatch(name) and _NAME.fullmatch(version) and 0 < len(wrapped) <= MAX_WRAPPED
        if found is None or not readable:
            raise KeyNotOpenedError("an entry for Azure Key Vault cannot be read, or names another place than a vault")
        who = f"Azure Key Vault {vault.rstrip('/')}/keys/{name}"
        url = f"{address(vault).rstrip('/')}/keys/{name}/{version}/decrypt?api-version=7.4"
        body = json.dumps({"alg": "RSA-OAEP-256", "value": wrapped})
        scope = f"https://{found[1]}/.default"
        document = _asked(who, url, body, {"Authorization": f"Bearer {token(scope)}"})
        try:
            value = str(document.get("value"))
            return base64.b64decode(value + "=" * (-len(value) % 4), b"-_", validate=True)
        except binascii.Error:
            raise KeyNotOpenedError(f"{who}: its answer is no key") from None

    return opened


def kept(token: Callable[[str], str], clock: Clock) -> Callable[[str], str]:
    """The same token for some minutes: they are good for an hour, and one is needed for every file."""
    have: dict[str, tuple[float, str]] = {}

    def given(scope: str) -> str:
        now = clock.monotonic()
        known = have.get(scope)
        if known is None or now - known[0] > _KEPT_S:
            have[scope] = known = (now, token(scope))
        return known[1]

    return given


def google_token(account: Mapping[str, Any], now: Callable[[], datetime], address: str = GOOGLE_TOKENS) -> str:
    """An access token of a service account (the JSON file that Google gives out). Raises KeyNotOpenedError.

    The token is always asked for at Google's address, whatever `token_uri` the file has: so is the JWT's audience.
    """
    who = "Google Cloud KMS: the service account"
    try:
        key = serialization.load_pem_private_key(str(account["private_key"]).encode(), None)
        mail = str(account["client_email"])
    except (KeyError, ValueError, TypeError):
        raise KeyNotOpenedError(f"{who} has no private_key and client_email that can be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise KeyNotOpenedError(f"{who} has a key of another kind than RSA")
    at = int(now().timestamp())
    head: dict[str, Any] = {"alg": "RS256", "typ": "JWT"}
    if account.get("private_key_id"):
        head["kid"] = str(account["private_key_id"])
    claims = {"iss": mail, "scope": _GOOGLE_SCOPE, "aud": GOOGLE_TOKENS, "iat": at, "exp": at + _LIFETIME_S}
    signed = ".".join(_b64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    assertion = f"{signed}.{_b64url(key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}"
    return _token(
        who, address, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    )  # fmt: skip


def azure_token(said: Mapping[str, str], scope: str, federated: Callable[[str], str]) -> str:
    """An access token by AZURE_TENANT_ID, AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or AZURE_FEDERATED_TOKEN_FILE.

    `federated` reads that file, which a cluster renews. Raises KeyNotOpenedError.
    """
    who = "Azure Key Vault: AZURE_CLIENT_ID"
    tenant, client = said.get("AZURE_TENANT_ID", ""), said.get("AZURE_CLIENT_ID", "")
    if not _TENANT.fullmatch(tenant) or not client:
        raise KeyNotOpenedError("Azure Key Vault: AZURE_TENANT_ID and AZURE_CLIENT_ID say no one who may ask")
    form = {"grant_type": "client_credentials", "client_id": client, "scope": scope}
    if said.get("AZURE_CLIENT_SECRET"):
        form["client_secret"] = said["AZURE_CLIENT_SECRET"]
    elif said.get("AZURE_FEDERATED_TOKEN_FILE"):
        form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        form["client_assertion"] = federated(said["AZURE_FEDERATED_TOKEN_FILE"]).strip()
    else:
        raise KeyNotOpenedError(f"{who} has neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE")
    authority = (said.get("AZURE_AUTHORITY_HOST") or MICROSOFT).rstrip("/")
    return _token(who, f"{authority}/{tenant}/oauth2/v2.0/token", form)


def _token(who: str, url: str, form: Mapping[str, str]) -> str:
    document = _asked(who, url, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
    found = document.get("access_token")
    if not isinstance(found, str) or not found.isascii() or not found.isprintable() or not found:
        raise KeyNotOpenedError(f"{who} got no access token")
    return found


def _asked(who: str, url: str, body: str, headers: Mapping[str, str]) -> dict[str, Any]:
    sent = {"Content-Type": "application/json", **headers}
    try:
        answer = request(
            "POST", url, headers=sent, body=body.encode(), timeout_s=15.0, max_bytes=MAX_WRAPPED,
            redirects=lambda *_: False,
        )  # fmt: skip
        document = answer.json() if answer.status == 200 else None
    except HttpError as error:
        raise KeyNotOpenedError(f"{who}: {error}") from error
    if not isinstance(document, dict):
        raise KeyNotOpenedError(f"{who}: the answer is {answer.status}")
    return document


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
