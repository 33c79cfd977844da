"""Wiring of what opens encrypted manifests and of where values of secrets come from: names adapters, like `wiring`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse._kit.process import without_core_files
from customhouse.app.settings import Settings
from customhouse.control.sealed import Opener, is_sealed, mac_of
from customhouse.core.errors import CannotDecideError, ConfigError
from customhouse.core.resource import Declaration

if TYPE_CHECKING:
    from customhouse._kit.amazon import AmazonApi
    from customhouse._kit.clock import Clock
    from customhouse.control.adapters.age import Identity
    from customhouse.control.adapters.sops_keys import KeyOpener
    from customhouse.execution.adapters.secrets import Provider

MAX_KEYS = 1024 * 1024
_GOOGLE_SAID = ("GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS")


def opener(settings: Settings, read: Callable[[str], bytes | None], declared: Iterable[Declaration]) -> Opener | None:
    """What opens the sealed objects among some Declarations; None where there are none. `read` gives their files.

    Keys are those of SOPS itself: SOPS_AGE_KEY and the file that SOPS_AGE_KEY_FILE names, the key ring of GnuPG, AWS
    KMS by the keys that Amazon's own tools read, the Vault at VAULT_ADDR, Google's and Microsoft's services as the
    service account that GOOGLE_APPLICATION_CREDENTIALS and AZURE_CLIENT_ID name. Raises ConfigError for keys that
    cannot be read.
    """
    sealed = {mac_of(item.manifest): item.location.file for item in declared if is_sealed(item.manifest)}
    if not sealed:
        return None
    without_core_files()
    from customhouse.control.adapters.sops import SealedFile, SopsOpener

    def reader(path: str) -> Callable[[], bytes]:
        def data() -> bytes:
            found = read(path)
            if found is None:
                raise CannotDecideError("the encrypted file is gone from the revision", where=path)
            return found

        return data

    files = {mac: SealedFile(path, reader(path)) for mac, path in sealed.items()}
    return SopsOpener(files, age_identities(settings.environment), _other_keys(settings))


def _other_keys(settings: Settings) -> Mapping[str, KeyOpener]:
    from customhouse.control.adapters.sops_keys import by_gpg, by_kms, by_vault

    said = settings.environment
    found: dict[str, KeyOpener] = {"pgp": by_gpg(said), "kms": by_kms(partial(_amazon, settings, "kms"))}
    if said.get("VAULT_ADDR") and said.get("VAULT_TOKEN"):
        space, authority = said.get("VAULT_NAMESPACE", ""), said.get("VAULT_CACERT") or None
        found["hc_vault"] = by_vault(said["VAULT_ADDR"], said["VAULT_TOKEN"], space, authority)
    return {**found, **_clouds(settings)}


def _clouds(settings: Settings) -> Mapping[str, KeyOpener]:
    """Google's and Microsoft's key services, each where the environment says who asks."""
    from customhouse.app import wiring
    from customhouse.control.adapters.sops_clouds import GOOGLE, azure_token, by_azure, by_google, kept

    said, clock = settings.environment, wiring.clock()
    found: dict[str, KeyOpener] = {}
    if any(said.get(name) for name in _GOOGLE_SAID):
        address = said.get("SOPS_GCP_KMS_ENDPOINT") or GOOGLE
        address = address if "://" in address else f"https://{address}"
        token = kept(lambda _: _google_token(said, clock), clock)
        found["gcp_kms"] = by_google(lambda: token(""), address)
    if said.get("AZURE_CLIENT_ID"):
        found["azure_kv"] = by_azure(kept(lambda scope: azure_token(said, scope, _credential), clock))
    return found


def _google_token(said: Mapping[str, str], clock: Clock) -> str:
    """GOOGLE_OAUTH_ACCESS_TOKEN as it is, else by the service account that the other two name."""
    from customhouse.control.adapters.sops_clouds import google_token
    from customhouse.control.adapters.sops_keys import KeyNotOpenedError

    if said.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
        return said["GOOGLE_OAUTH_ACCESS_TOKEN"]
    given = said.get("GOOGLE_CREDENTIALS") or said.get("GOOGLE_APPLICATION_CREDENTIALS") or ""
    try:
        account = json.loads(given if given.lstrip().startswith("{") else _credential(given))
    except (ValueError, RecursionError):
        account = None
    if not isinstance(account, dict) or account.get("type") != "service_account":
        raise KeyNotOpenedError("Google Cloud KMS: GOOGLE_APPLICATION_CREDENTIALS names no key of a service account")
    return google_token(account, clock.now)


def _credential(file: str) -> str:
    from customhouse.control.adapters.sops_keys import KeyNotOpenedError

    try:
        with Path(file).open("rb") as handle:
            return handle.read(MAX_KEYS).decode()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyNotOpenedError(f"the credential in {file[:200]} cannot be read: {said}") from None


def _amazon(settings: Settings, service: str, region: str) -> AmazonApi:
    """One service of Amazon's. AWS_ENDPOINT_URL_KMS (or _SECRETS_MANAGER) and AWS_ENDPOINT_URL are its tools' own."""
    from customhouse._kit.amazon import AmazonApi
    from customhouse.app import wiring
    from customhouse.trust.adapters.registries.aws_access import aws_access

    own = {"kms": "AWS_ENDPOINT_URL_KMS", "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER"}[service]
    said = settings.environment
    endpoint = said.get(own) or said.get("AWS_ENDPOINT_URL") or None
    return AmazonApi(service, region, aws_access(said).keys, wiring.clock(), endpoint)


def age_identities(environment: Mapping[str, str]) -> tuple[Identity, ...]:
    """The age keys that the environment names. Raises ConfigError, which never shows one."""
    from customhouse.control.adapters.age import AgeError, identities

    texts = [("SOPS_AGE_KEY", environment.get("SOPS_AGE_KEY", ""))]
    file = environment.get("SOPS_AGE_KEY_FILE", "")
    if file:
        try:
            with Path(file).open("rb") as handle:
                texts.append((file, handle.read(MAX_KEYS).decode()))
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"the keys for SOPS cannot be read: {said}", where=file) from error
    found: list[Identity] = []
    for where, text in texts:
        try:
            found += identities(text)
        except AgeError as error:
            raise ConfigError(str(error), where=where, hint="write what `age-keygen` made") from error
    return tuple(found)


def secret_provider(
    settings: Settings, declared: Callable[[], Iterable[Declaration]], opened: Callable[[], Opener | None]
) -> Provider:
    """Where values of secrets come from on this machine, in this order.

    Variables `CUSTOMHOUSE_SECRET_NAMESPACE_NAME_KEY`; files below the folder CUSTOMHOUSE_SECRETS; Secrets that the
    repository declares encrypted; Vault or OpenBao, where VAULT_ADDR and VAULT_TOKEN are set (VAULT_NAMESPACE,
    VAULT_CACERT, and CUSTOMHOUSE_VAULT_MOUNT for another mount than `secret`); AWS Secrets Manager in the region that
    CUSTOMHOUSE_SECRETS_MANAGER names, by the keys that Amazon's own tools read.
    """
    from customhouse.execution.adapters import secrets

    without_core_files()
    said = settings.environment

    def from_repository(namespace: str, name: str, key: str) -> str | None:
        for item in declared():
            if (item.ref.kind, item.ref.namespace, item.ref.name) == ("Secret", namespace, name):
                found = opened() if is_sealed(item.manifest) else None
                if found is not None:
                    reading = {(namespace, name): partial(found.opened, item.manifest)}
                    return secrets.from_manifests(reading)(namespace, name, key)
        return None

    def from_store(namespace: str, name: str, key: str) -> str | None:
        address, token = said.get("VAULT_ADDR", ""), said.get("VAULT_TOKEN", "")
        if not address or not token:
            return None
        vault = secrets.Vault(
            address,
            token,
            said.get("CUSTOMHOUSE_VAULT_MOUNT") or "secret",
            said.get("VAULT_NAMESPACE", ""),
            said.get("VAULT_CACERT") or None,
        )
        return secrets.from_vault(vault, references(declared()))(namespace, name, key)

    def from_amazon(namespace: str, name: str, key: str) -> str | None:
        region = said.get("CUSTOMHOUSE_SECRETS_MANAGER", "")
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", region):
            if region:
                raise ConfigError(
                    f"CUSTOMHOUSE_SECRETS_MANAGER is {region[:60]!r}", hint="it names a region, such as eu-west-1"
                )
            return None
        api = _amazon(settings, "secretsmanager", region)
        return secrets.from_secrets_manager(api, references(declared()))(namespace, name, key)

    sources = [secrets.from_environment(said)]
    if said.get("CUSTOMHOUSE_SECRETS"):
        sources.append(secrets.from_folder(Path(said["CUSTOMHOUSE_SECRETS"])))
    return secrets.first_of(*sources, from_repository, from_store, from_amazon)


def references(declared: Iterable[Declaration]) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(namespace, secret, key) → (path, property), as ExternalSecrets say it; without a property it is `value`."""
    found: dict[tuple[str, str, str], tuple[str, str]] = {}
    for item in declared:
        if item.ref.kind != "ExternalSecret" or not item.ref.api_version.startswith("external-secrets.io/"):
            continue
        spec: Any = item.manifest.get("spec")
        target = spec.get("target") if isinstance(spec, Mapping) else None
        name = str((target.get("name") if isinstance(target, Mapping) else None) or item.ref.name)
        for one in (spec.get("data") if isinstance(spec, Mapping) else None) or ():
            remote = one.get("remoteRef") if isinstance(one, Mapping) else None
            if isinstance(remote, Mapping) and remote.get("key"):
                place = (str(remote["key"]), str(remote.get("property") or "value"))
                found[item.ref.namespace, name, str(one.get("secretKey"))] = place
    return found
