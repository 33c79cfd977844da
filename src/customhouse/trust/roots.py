"""Whom signatures are believed from: public keys, own certificate authorities, Sigstore identities, Notary's policies.

Values only, as customhouse.yaml of the base revision declares them (`trust:`); nothing is parsed before it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from customhouse.core.evidence import EvidenceKind
from customhouse.trust.keys import TrustRoot


@dataclass(frozen=True, slots=True)
class AuthorityRoot:
    """A certificate authority of one's own: who of those it certifies may sign what.

    `certificates` is PEM; an `identity` is a SAN (URI, e-mail, DNS name) or the subject (RFC 4514) of the certificate.
    """

    name: str
    certificates: bytes = field(repr=False)
    identities: tuple[str, ...]
    kinds: frozenset[EvidenceKind]
    revocations: bytes | None = field(default=None, repr=False)
    """A revocation list (PEM or DER): the issuer's must be of the time that counts, and not list the signer."""
    timestamps: bytes | None = field(default=None, repr=False)
    """PEM of timestamp authorities, who say when it was signed; else the certificate must be valid now."""


@dataclass(frozen=True, slots=True)
class IdentityRoot:
    """One identity of one issuer, under a given trusted root (Sigstore's `trusted_root.json`)."""

    name: str
    trusted_root: bytes = field(repr=False)
    identity: str
    issuer: str
    kinds: frozenset[EvidenceKind]


@dataclass(frozen=True, slots=True)
class NotaryRoot:
    """Notary Project: a trust policy document, and the files of a trust store by their path (`x509/ca/acme/ca.pem`)."""

    policy: bytes = field(repr=False)
    store: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Roots:
    """All of it. Empty: nobody is believed."""

    keys: tuple[TrustRoot, ...] = ()
    authorities: tuple[AuthorityRoot, ...] = ()
    sigstore: tuple[IdentityRoot, ...] = ()
    notary: NotaryRoot | None = None
