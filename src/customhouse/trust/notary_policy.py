"""Trust policies and trust stores of the Notary Project (specification `trust-store-trust-policy.md`, version 1.0).

The files are notation's own: `trustpolicy.json` (or `trustpolicy.oci.json`), `x509/{ca,signingAuthority,tsa}/NAME/*`.
Besides them `crl/*` may hold revocation lists (PEM or DER), since nothing is fetched here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from customhouse.core.errors import ConfigError, CustomhouseError
from customhouse.trust import strict_json

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, CertificateRevocationList

LEVELS: Mapping[str, Mapping[str, str]] = {
    "strict": {
        "authenticity": "enforce",
        "authenticTimestamp": "enforce",
        "expiry": "enforce",
        "revocation": "enforce",
    },
    "permissive": {"authenticity": "enforce", "authenticTimestamp": "log", "expiry": "log", "revocation": "log"},
    "audit": {"authenticity": "log", "authenticTimestamp": "log", "expiry": "log", "revocation": "log"},
    "skip": {"authenticity": "skip", "authenticTimestamp": "skip", "expiry": "skip", "revocation": "skip"},
}
"""What each level does with each check; integrity is always enforced."""
_ACTIONS = ("enforce", "log", "skip")
_STORES = ("ca", "signingAuthority", "tsa")


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: for which repositories, how strict, by whom. `stores` are (type, name)."""

    name: str
    scopes: tuple[str, ...]
    level: str
    checks: Mapping[str, str]
    stores: tuple[tuple[str, str], ...]
    identities: tuple[str, ...]
    timestamp: str = "always"

    def enforced(self, check: str) -> bool:
        """Whether a failed check makes the signature worth nothing."""
        return self.checks[check] == "enforce"


def read_policies(data: bytes, where: str = "trust policy") -> tuple[Policy, ...]:
    """The policies of a document. Raises ConfigError."""
    try:
        document = strict_json.parse(data, where, max_bytes=1 << 20)
    except CustomhouseError as error:
        raise ConfigError(error.message, where=where) from error
    listed = document.get("trustPolicies") if isinstance(document, dict) else None
    if not isinstance(document, dict) or document.get("version") != "1.0" or not isinstance(listed, list) or not listed:
        raise ConfigError("not a trust policy document of version 1.0", where=where, hint="`notation policy show`")
    found = tuple(_policy(item, where) for item in listed)
    scopes = [scope for policy in found for scope in policy.scopes]
    names = [policy.name for policy in found]
    if len(set(scopes)) != len(scopes) or len(set(names)) != len(names):
        raise ConfigError("two policies have the same name or the same scope", where=where)
    return found


def policy_for(policies: Sequence[Policy], repository: str) -> Policy | None:
    """The policy whose scope is this `host/repository`, else the one for `*`; None when there is neither."""
    exact = next((policy for policy in policies if repository in policy.scopes), None)
    return exact or next((policy for policy in policies if "*" in policy.scopes), None)


def certificates(store: Mapping[str, bytes], kind: str, name: str) -> tuple[Certificate, ...]:
    """The certificates of a named store. Raises ConfigError for one that is empty or cannot be read."""
    from cryptography import x509

    folder = f"x509/{kind}/{name}/"
    found: list[Certificate] = []
    for path, data in sorted(store.items()):
        if not path.startswith(folder) or "/" in path.removeprefix(folder):
            continue
        try:
            if b"-----BEGIN" in data:
                found.extend(x509.load_pem_x509_certificates(data))
            else:
                found.append(x509.load_der_x509_certificate(data))
        except ValueError as error:
            raise ConfigError("not a certificate", where=path) from error
    if not found:
        raise ConfigError(f"the trust store {kind}:{name} is empty", where=folder, hint="`notation certificate add`")
    return tuple(found)


def revocation_lists(store: Mapping[str, bytes]) -> tuple[CertificateRevocationList, ...]:
    """The revocation lists beside the store. Raises ConfigError."""
    from cryptography import x509

    found = []
    for path, data in sorted(store.items()):
        if path.startswith("crl/"):
            try:
                pem = b"-----BEGIN" in data
                found.append(x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data))
            except ValueError as error:
                raise ConfigError("not a revocation list", where=path) from error
    return tuple(found)


def subject_parts(text: str, where: str = "trust policy") -> tuple[tuple[str, str], ...]:
    """The attributes of an identity `x509.subject: C=US, ST=WA, O=acme`. ConfigError, also without C, ST, O."""
    _, _, rest = text.partition(":")
    found: list[tuple[str, str]] = []
    for part in _split(rest):
        key, equals, value = part.partition("=")
        key, value = key.strip().upper(), value.strip()
        if not equals or not value or key in (known for known, _ in found):
            raise ConfigError(f"{text[:200]!r} is no distinguished name", where=where)
        found.append(("ST" if key == "S" else key, value.replace("\\,", ",").replace("\\+", "+")))
    if {"C", "ST", "O"} - {key for key, _ in found}:
        raise ConfigError(f"{text[:200]!r} must have at least C, ST and O", where=where)
    return tuple(found)


def _split(text: str) -> list[str]:
    """At commas that no backslash stands before."""
    parts = [""]
    escaped = False
    for letter in text:
        if letter == "," and not escaped:
            parts.append("")
        else:
            parts[-1] += letter
        escaped = letter == "\\" and not escaped
    return parts


def _policy(value: Any, where: str) -> Policy:
    fields = value if isinstance(value, dict) else {}
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigError("a trust policy without a name", where=where)
    place = f"{where}, policy {name[:100]}"
    verification = fields.get("signatureVerification")
    given = verification if isinstance(verification, dict) else {}
    level = given.get("level")
    if not isinstance(level, str) or level not in LEVELS:
        raise ConfigError(f"no level is called {level!r}", where=place, hint=f"one of: {', '.join(LEVELS)}")
    override = given.get("override") or {}
    if not isinstance(override, dict) or (override and level == "skip"):
        raise ConfigError("`override` is no mapping, or overrides skip", where=place)
    for check, action in override.items():
        if check not in LEVELS["strict"] or action not in _ACTIONS:
            raise ConfigError(f"`override` of {check!r} with {action!r}", where=place)
    timestamp = given.get("verifyTimestamp", "always")
    if timestamp not in ("always", "afterCertExpiry"):
        raise ConfigError(f"verifyTimestamp is {timestamp!r}", where=place, hint="always or afterCertExpiry")
    stores = tuple(_store(item, place) for item in _texts(fields, "trustStores", place))
    identities = _texts(fields, "trustedIdentities", place)
    if level != "skip" and (not stores or not identities):
        raise ConfigError("it names no trust store or no trusted identity", where=place)
    for identity in identities:
        if identity != "*":
            if not identity.startswith("x509.subject:"):
                raise ConfigError(
                    f"{identity[:100]!r} is no identity", where=place, hint="x509.subject: C=…, ST=…, O=…"
                )
            subject_parts(identity, place)
    checks = {**LEVELS[level], **override}
    return Policy(name, _scopes(fields, place), level, checks, stores, identities, timestamp)


def _scopes(fields: Mapping[str, Any], where: str) -> tuple[str, ...]:
    found = _texts(fields, "registryScopes", where)
    if not found or ("*" in found and len(found) > 1):
        raise ConfigError("registryScopes is empty, or holds more than `*`", where=where)
    return found


def _store(text: str, where: str) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    if kind not in _STORES or not colon or not name or "/" in name or name in (".", ".."):
        raise ConfigError(
            f"{text[:100]!r} is no trust store", where=where, hint="ca:NAME, signingAuthority:NAME, tsa:NAME"
        )
    return kind, name


def _texts(fields: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = fields.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ConfigError(f"{key} is no list of texts", where=where)
    return tuple(value)
