"""What opens the data key of a SOPS file besides age: GnuPG, AWS KMS, and the transit engine of Vault or OpenBao.

Each takes one entry of `sops.pgp`, `sops.kms` or `sops.hc_vault` and gives the key's 32 bytes, or None for an entry
that is not for it. What a file names is never trusted with a credential: a Vault's token goes to VAULT_ADDR alone, and
KMS is asked in the region that the key's name has, at Amazon's address. No key and no token is in any message.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from customhouse._kit.amazon import AmazonApi, AmazonError
from customhouse._kit.http import HttpError, request
from customhouse._kit.process import ProgramError, ProgramMissingError, run

KeyOpener = Callable[[Mapping[str, Any]], bytes | None]
"""An entry → the data key; None: not for us. Raises KeyNotOpenedError."""
MAX_WRAPPED = 64 * 1024
_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]{1,40}):[0-9]{12}:(key|alias)/[-A-Za-z0-9/_]{1,256}")
_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{8,64}")
_SEGMENT = re.compile(r"[-A-Za-z0-9_.]{1,200}")
_KEPT = ("HOME", "PATH", "GNUPGHOME", "LANG")


class KeyNotOpenedError(Exception):
    """An entry was for us and could not be opened; the text says why and shows no value."""


def by_gpg(environment: Mapping[str, str]) -> KeyOpener:
    """Keys of a GnuPG key ring (GNUPGHOME), by the program `gpg`, which asks nobody for a passphrase."""
    program = environment.get("SOPS_GPG_EXEC") or "gpg"

    def opened(entry: Mapping[str, Any]) -> bytes | None:
        wrapped, fingerprint = str(entry.get("enc") or ""), str(entry.get("fp") or "")
        if not wrapped or len(wrapped) > MAX_WRAPPED or not _FINGERPRINT.fullmatch(fingerprint):
            raise KeyNotOpenedError("an entry for PGP cannot be read")
        command = [program, "--batch", "--no-tty", "--quiet", "--pinentry-mode", "error", "--decrypt"]
        kept = {name: environment[name] for name in _KEPT if name in environment}
        try:
            return run(command, env=kept, stdin=wrapped.encode(), timeout_s=30.0, max_output=4096).stdout
        except ProgramMissingError as error:
            raise KeyNotOpenedError("the program gpg is missing") from error
        except ProgramError as error:
            if "No secret key" in error.stderr or "decryption failed" in error.stderr:
                why = "the key ring has no secret key for it, or one with a passphrase"
            else:
                why = f"gpg ended with status {error.status}"
            raise KeyNotOpenedError(f"PGP {fingerprint[-16:]}: {why}") from None

    return opened


def by_kms(api: Callable[[str], AmazonApi]) -> KeyOpener:
    """Keys of AWS KMS; `api` gives the service of a region. A role that the file names is not taken on."""

    def opened(entry: Mapping[str, Any]) -> bytes | None:
        arn = str(entry.get("arn") or "")
        found = _ARN.fullmatch(arn)
        context = entry.get("context") or {}
        if found is None or not isinstance(context, Mapping) or len(str(entry.get("enc"))) > MAX_WRAPPED:
            raise KeyNotOpenedError("an entry for AWS KMS cannot be read")
        if entry.get("role"):
            raise KeyNotOpenedError(f"AWS KMS: it wants the role {str(entry['role'])[:200]}, and none is taken on")
        body: dict[str, Any] = {"CiphertextBlob": str(entry.get("enc")), "KeyId": arn}
        if context:
            body["EncryptionContext"] = {str(key): str(value) for key, value in context.items()}
        try:
            answer = api(found[1]).ask("TrentService.Decrypt", body)
            return base64.b64decode(str(answer.get("Plaintext")), validate=True)
        except AmazonError as error:
            raise KeyNotOpenedError(f"AWS KMS {arn}: {error}") from error
        except binascii.Error as error:
            raise KeyNotOpenedError(f"AWS KMS {arn}: its answer is no key") from error

    return opened


def by_vault(address: str, token: str, namespace: str = "", authority: str | None = None) -> KeyOpener:
    """Keys of the transit engine of the Vault at `address`; one that the file has of another Vault is not for us."""

    def opened(entry: Mapping[str, Any]) -> bytes | None:
        if str(entry.get("vault_address") or "").rstrip("/") != address.rstrip("/"):
            return None
        engine, name = str(entry.get("engine_path") or ""), str(entry.get("key_name") or "")
        parts = [*engine.strip("/").split("/"), name]
        if not all(_SEGMENT.fullmatch(part) and set(part) != {"."} for part in parts):
            raise KeyNotOpenedError("an entry for Vault cannot be read")
        url = f"{address.rstrip('/')}/v1/{'/'.join(map(quote, parts[:-1]))}/decrypt/{quote(name)}"
        headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        body = json.dumps({"ciphertext": str(entry.get("enc"))[:MAX_WRAPPED]}).encode()
        try:
            answer = request(
                "POST", url, headers=headers, body=body, timeout_s=10.0, max_bytes=MAX_WRAPPED, authority=authority,
                redirects=lambda *_: False,
            )  # fmt: skip
            document = answer.json() if answer.status == 200 else {}
        except HttpError as error:
            raise KeyNotOpenedError(f"Vault: {error}") from error
        data = document.get("data") if isinstance(document, dict) else None
        try:
            return base64.b64decode(str(data["plaintext"]), validate=True)  # type: ignore[index]
        except (KeyError, TypeError, binascii.Error):
            raise KeyNotOpenedError(f"Vault answers {answer.status} for the key {name}") from None

    return opened
