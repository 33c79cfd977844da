"""`trust:` of customhouse.yaml beyond keys: authorities, Sigstore identities, Notary's policy, registries to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from customhouse.core.errors import ConfigError
from customhouse.core.evidence import EvidenceKind

if TYPE_CHECKING:
    from customhouse.trust.keys import TrustRoot
    from customhouse.trust.roots import Roots


@dataclass(frozen=True, slots=True)
class AuthoritySpec:
    """Certificates of an own authority (a PEM file), and who of those it certifies may sign what."""

    name: str
    certificates: str
    identities: tuple[str, ...]
    kinds: tuple[EvidenceKind, ...]
    revocations: str | None = None
    timestamps: str | None = None


@dataclass(frozen=True, slots=True)
class IdentitySpec:
    """One identity of one issuer under a trusted root (a file), and what it may sign."""

    name: str
    trusted_root: str
    identity: str
    issuer: str
    kinds: tuple[EvidenceKind, ...]


@dataclass(frozen=True, slots=True)
class TrustSpec:
    """What is declared. `registries` are prefixes of references whose registries are asked for evidence."""

    authorities: tuple[AuthoritySpec, ...] = ()
    identities: tuple[IdentitySpec, ...] = ()
    notary_policy: str | None = None
    notary_store: str | None = None
    registries: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> TrustSpec:
        """Read `trust:`, which fits the schema."""
        notary = document.get("notary") or {}
        return cls(
            authorities=tuple(
                AuthoritySpec(
                    item["name"],
                    item["certificates"],
                    tuple(item["identities"]),
                    _kinds(item),
                    item.get("revocations"),
                    item.get("timestamps"),
                )
                for item in document.get("authorities") or ()
            ),
            identities=tuple(
                IdentitySpec(item["name"], item["trustedRoot"], item["identity"], item["issuer"], _kinds(item))
                for item in document.get("identities") or ()
            ),
            notary_policy=notary.get("policy"),
            notary_store=notary.get("store"),
            registries=tuple(document.get("registries") or ()),
        )

    def to_document(self) -> dict[str, Any]:
        """The same as it is written in the file."""
        notary = {"policy": self.notary_policy, "store": self.notary_store}
        return {
            "authorities": [
                {
                    "name": item.name,
                    "certificates": item.certificates,
                    "identities": list(item.identities),
                    "kinds": [kind.value for kind in item.kinds],
                    "revocations": item.revocations,
                    "timestamps": item.timestamps,
                }
                for item in self.authorities
            ],
            "identities": [
                {
                    "name": one.name,
                    "trustedRoot": one.trusted_root,
                    "identity": one.identity,
                    "issuer": one.issuer,
                    "kinds": [kind.value for kind in one.kinds],
                }
                for one in self.identities
            ],
            "notary": None if self.notary_policy is None else notary,
            "registries": list(self.registries),
        }

    def files(self) -> Iterator[str]:
        """The files that it names."""
        for item in self.authorities:
            yield from (path for path in (item.certificates, item.revocations, item.timestamps) if path)
        yield from (one.trusted_root for one in self.identities)
        if self.notary_policy:
            yield self.notary_policy

    def signers(self) -> Iterator[str]:
        """How the signers of evidence are called, beside those of keys."""
        yield from (item.name for item in self.identities)
        for authority in self.authorities:
            yield from authority.identities

    def asks(self, name: str) -> bool:
        """Whether the registry of `host/repository` is asked for evidence: whole parts of a prefix."""
        return any(name == prefix or name.startswith(f"{prefix}/") for prefix in map(_bare, self.registries))


def roots_of(
    spec: TrustSpec,
    keys: tuple[TrustRoot, ...],
    read: Callable[[str], bytes],
    folder: Callable[[str], Mapping[str, bytes]],
) -> Roots:
    """What is declared, with its files. Raises ConfigError, naming the file, for one that could never be believed."""
    from customhouse.trust.certificates import read_authorities, read_revocations
    from customhouse.trust.notary_policy import certificates, read_policies
    from customhouse.trust.roots import AuthorityRoot, IdentityRoot, NotaryRoot, Roots
    from customhouse.trust.sigstore.roots import read_root

    authorities = []
    for one in spec.authorities:
        pem = read(one.certificates)
        if not read_authorities(pem, one.certificates):
            raise ConfigError("no PEM certificate", where=one.certificates)
        revoked = read(one.revocations) if one.revocations else None
        stamps = read(one.timestamps) if one.timestamps else None
        if revoked is not None:
            read_revocations(revoked, str(one.revocations))
        if stamps is not None:
            read_authorities(stamps, str(one.timestamps))
        authorities.append(AuthorityRoot(one.name, pem, one.identities, frozenset(one.kinds), revoked, stamps))
    identities = []
    for item in spec.identities:
        root = read(item.trusted_root)
        read_root(root, item.trusted_root)
        identities.append(IdentityRoot(item.name, root, item.identity, item.issuer, frozenset(item.kinds)))
    notary = None
    if spec.notary_policy and spec.notary_store:
        place = spec.notary_store.rstrip("/") + "/"
        notary = NotaryRoot(
            read(spec.notary_policy),
            {path.removeprefix(place): data for path, data in folder(spec.notary_store).items()},
        )
        for policy in read_policies(notary.policy, spec.notary_policy):
            for kind, name in policy.stores:
                certificates(notary.store, kind, name)
    return Roots(keys, tuple(authorities), tuple(identities), notary)


def _kinds(item: Mapping[str, Any]) -> tuple[EvidenceKind, ...]:
    return tuple(EvidenceKind(kind) for kind in item["kinds"])


def _bare(prefix: str) -> str:
    return prefix.removeprefix("oci://").rstrip("/")
