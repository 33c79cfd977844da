"""What lies in registries, as use cases: resolve a reference, sign it, attach statements, verify, fill the index.

A tag is resolved once, at the beginning; everything after that is about the digest, which is told. A reference that has
both a tag and a digest is checked: a tag that has moved is an error, not a surprise.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.reading import open_regular
from customhouse._kit.single_keys import each_once
from customhouse.app import wiring
from customhouse.app.governance import Governance, governance
from customhouse.app.model_signing import By, keyless
from customhouse.app.settings import Settings
from customhouse.core.errors import ArtifactError, EvidenceError, TamperError, UsageError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust.attestation import FOLDER, PREDICATE_TYPES
from customhouse.trust.bundle import ISSUED_AT, seal, statement
from customhouse.trust.cosign import SIGN_TYPE, for_cosign, simple_payload
from customhouse.trust.cosign_keys import load_signing_key
from customhouse.trust.filed import read_filed
from customhouse.trust.keys import ALL_KINDS, PrivateKey, TrustRoot
from customhouse.trust.notary_policy import read_policies
from customhouse.trust.oci import Reference, Registry, WritableRegistry, is_index, listed, read_json
from customhouse.trust.oci_evidence import attach_bundle, attach_signature, gather, subject_of
from customhouse.trust.roots import AuthorityRoot, IdentityRoot, NotaryRoot, Roots

MAX_PREDICATE = 16 * 1024 * 1024
FORMATS = ("both", "bundle", "tag")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A reference by digest. `index` is the digest of the image for several platforms that it was picked from."""

    reference: Reference
    digest: str
    media_type: str
    size: int
    platforms: Mapping[str, str]
    index: str | None = None

    @property
    def pinned(self) -> str:
        """What a manifest should say."""
        return f"{self.reference.name}@{self.digest}"

    def to_json(self) -> dict[str, Any]:
        """`{"reference","digest","media_type","size","platforms","index"}`."""
        return {
            "reference": self.pinned,
            "digest": self.digest,
            "media_type": self.media_type,
            "size": self.size,
            "platforms": dict(self.platforms),
            "index": self.index,
        }


@dataclass(frozen=True, slots=True)
class Signers:
    """Whom `image verify` believes: what was named, else `trust:` of customhouse.yaml."""

    key: str | None = None
    identity: str | None = None
    issuer: str | None = None
    trusted_root: str | None = None
    authority: str | None = None
    trust_policy: str | None = None
    trust_store: str | None = None
    repo: str = "."


def resolve(settings: Settings, text: str, platform: str | None = None) -> Resolved:
    """Resolve a reference once. Raises UsageError, ArtifactError; TamperError for a tag that has moved."""
    reference = Reference.of_image(text)
    registry = wiring.registry(settings, reference.host)
    digest = _digest(registry, reference)
    found = _described(registry, reference, digest)
    if platform is None:
        return found
    if not found.platforms:
        raise UsageError(f"{found.pinned} is for one platform", hint="leave --platform out")
    picked = found.platforms.get(platform)
    if picked is None:
        raise ArtifactError(
            f"{reference} has nothing for {platform}", where=found.pinned, hint=f"it has {', '.join(found.platforms)}"
        )
    own = _described(registry, reference, picked)
    return Resolved(own.reference, own.digest, own.media_type, own.size, own.platforms, found.digest)


def sign(settings: Settings, text: str, by: By, form: str = "both") -> dict[str, Any]:
    """Sign an image so that `cosign verify` accepts it. Raises UsageError, ConfigError, ArtifactError, EvidenceError.

    Keyless, it is a bundle: the older form has no place for what newer logs prove.
    """
    private = _private(settings, by)
    found = resolve(settings, text)
    registry = wiring.registry(settings, found.reference.host)
    now = wiring.clock().now()
    written: list[str] = []
    if private is not None and form in ("both", "tag"):
        payload = simple_payload(found.reference.name, found.digest, now)
        signature = base64.b64encode(private.sign(payload)).decode()
        written.append(attach_signature(registry, found.reference.repository, found.digest, payload, signature))
    if form in ("both", "bundle"):
        said = statement(found.reference.name, found.digest.removeprefix("sha256:"), SIGN_TYPE, {}, _dated(now))
        written.append(_attach(registry, found, _sealed(said, private, by), SIGN_TYPE))
    if not written:
        raise UsageError("keyless, an image is signed by a bundle", hint="--form bundle, or leave it out")
    who = {} if private is None else {"key": private.public.key_id}
    return {**found.to_json(), "signed_at": to_rfc3339(now), **who, "attached": written}


def attach(settings: Settings, text: str, kind: EvidenceKind, predicate: str, by: By) -> dict[str, Any]:
    """Sign a statement about an image and attach it; `predicate` is a JSON file. Raises what `sign` does."""
    private = _private(settings, by)
    body = _predicate(Path(predicate))
    found = resolve(settings, text)
    registry = wiring.registry(settings, found.reference.host)
    now = wiring.clock().now()
    named = PREDICATE_TYPES[kind]
    said = statement(found.reference.name, found.digest.removeprefix("sha256:"), named, body, _dated(now))
    attached = _attach(registry, found, _sealed(said, private, by), named)
    return {**found.to_json(), "kind": kind.value, "signed_at": to_rfc3339(now), "attached": [attached]}


def attach_statement(settings: Settings, text: str, said: bytes, predicate_type: str, by: By) -> str:
    """Sign an in-toto Statement about an image that is made already, and attach it; the attached manifest's digest."""
    found = resolve(settings, text)
    registry = wiring.registry(settings, found.reference.host)
    return _attach(registry, found, _sealed(said, _private(settings, by), by), predicate_type)


def sealed(settings: Settings, said: bytes, by: By) -> bytes:
    """A Statement as a Sigstore bundle, signed by a key or keyless."""
    return _sealed(said, _private(settings, by), by)


def _dated(now: datetime) -> dict[str, Any]:
    return {ISSUED_AT: to_rfc3339(now)}


def _sealed(said: bytes, private: PrivateKey | None, by: By) -> bytes:
    """The statement as a bundle: by the key, or by an identity whose token the services take."""
    if private is not None:
        return for_cosign(seal(said, private))
    from customhouse.trust.sigstore.keyless import sign_statement

    services, token = keyless(by)
    return sign_statement(said, token, services, wiring.sigstore_post(), wiring.clock().now())[0]


def verify(
    settings: Settings, text: str, signers: Signers, required: Sequence[EvidenceKind], platform: str | None = None
) -> dict[str, Any]:
    """What is attached to an image and who is believed of it.

    `{…resolve…, "verified", "missing": […], "evidence": [{"kind","verified","signer","issued_at","problem",…}]}`; an
    image is verified when every kind of `required` has a statement that verifies. With `platform`, what is said of the
    index holds for the image in it too: the index names it by digest.
    """
    roots = believed(settings, signers)
    found = resolve(settings, text, platform)
    registry = wiring.registry(settings, found.reference.host)
    now = wiring.clock().now()
    evidence: list[tuple[str, Evidence]] = []
    ignored: list[str] = []
    for digest in (found.digest, *((found.index,) if found.index else ())):
        where = f"{found.reference.name}@{digest[:19]}…"
        gathered = gather(registry, found.reference.repository, digest, where)
        ignored += gathered.ignored
        read = read_filed(gathered.files, digest, roots, now, name=found.reference.name)
        evidence += [(digest, item) for item in read]
    good = {item.kind for _, item in evidence if item.verified}
    missing = [kind.value for kind in required if kind not in good]
    return {
        **found.to_json(),
        "verified": not missing,
        "missing": missing,
        "evidence": [_shown(digest, item) for digest, item in evidence],
        "ignored": ignored,
    }


def believed(settings: Settings, signers: Signers) -> Roots:
    """The roots that were named on the command line, else those of customhouse.yaml. Raises UsageError, ConfigError."""
    named = (signers.key, signers.identity, signers.trust_policy)
    if not any(named):
        found = declared(settings, signers.repo).believed
        if found == Roots():
            raise UsageError(
                "nobody is named whose signature counts",
                hint="--key FILE, --identity I with --issuer and --trusted-root (or --authority), --trust-policy FILE "
                "with --trust-store; or `trust:` in customhouse.yaml",
            )
        return found
    keys = (TrustRoot("--key", _bytes(signers.key)),) if signers.key else ()
    authorities: tuple[AuthorityRoot, ...] = ()
    identities: tuple[IdentityRoot, ...] = ()
    if signers.identity and signers.authority:
        pem = _bytes(signers.authority)
        authorities = (AuthorityRoot(signers.identity, pem, (signers.identity,), ALL_KINDS),)
    elif signers.identity:
        if not signers.issuer or not signers.trusted_root:
            raise UsageError(
                "an identity needs who vouches for it",
                hint="--issuer with --trusted-root (nothing is fetched), or --authority FILE",
            )
        root = _bytes(signers.trusted_root)
        identities = (IdentityRoot(signers.identity, root, signers.identity, signers.issuer, ALL_KINDS),)
    notary = None
    if signers.trust_policy:
        if not signers.trust_store:
            raise UsageError("a trust policy needs a trust store", hint="--trust-store FOLDER (it holds x509/ca/…)")
        notary = NotaryRoot(_bytes(signers.trust_policy), _folder(Path(signers.trust_store)))
        read_policies(notary.policy, signers.trust_policy)
    return Roots(keys, authorities, identities, notary)


def declared(settings: Settings, repo: str) -> Governance:
    """The governance of a repository's HEAD, or of --config. Raises ConfigError, SourceError."""
    if settings.config is not None or not (Path(repo) / ".git").exists():
        return governance(None, None, settings.config, wiring.shelf(settings))
    objects = wiring.commits(settings, repo)
    return governance(objects, objects.resolve("HEAD"), settings.config, wiring.shelf(settings))


def fill_index(settings: Settings, repo: str, named: Sequence[str]) -> dict[str, Any]:
    """Ask the registries of `trust.registries` for what is attached to all pinned images, and file it for the webhook.

    `named` are references besides those that the repository declares. `{"filed":[{"reference","digest","files",
    "ignored"}], "passed_over":[…]}`: what lies in a registry that is not to be asked is told.
    """
    governing = declared(settings, repo)
    index = wiring.evidence_index(settings, governing.configuration, keep=True)
    if index is None:
        raise UsageError("no registry is to be asked", hint="name it under trust.registries in customhouse.yaml")
    wanted = {str(found): found for found in _declared_references(settings, repo, governing, named)}
    rows, passed = [], []
    for text, found in sorted(wanted.items()):
        if not governing.configuration.trust.asks(found.name):
            passed.append(text)
            continue
        digest = found.digest or _digest(wiring.registry(settings, found.host), found)
        entry = index.refresh(found, digest)
        ignored = list(entry.ignored)
        rows.append({"reference": found.name, "digest": digest, "files": sorted(entry.files), "ignored": ignored})
    return {"filed": rows, "passed_over": passed}


def save(settings: Settings, text: str, repo: str) -> dict[str, Any]:
    """Write what is attached to an image into `.evidence/` of a work tree, to be committed."""
    found = resolve(settings, text)
    registry = wiring.registry(settings, found.reference.host)
    gathered = gather(registry, found.reference.repository, found.digest, found.pinned)
    folder = Path(repo) / FOLDER / found.digest.removeprefix("sha256:")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in gathered.files.items():
        (folder / name).write_bytes(data)
    files = [str(folder / name) for name in gathered.files]
    return {**found.to_json(), "files": files, "ignored": list(gathered.ignored)}


def _declared_references(
    settings: Settings, repo: str, governing: Governance, named: Sequence[str]
) -> Iterable[Reference]:
    from customhouse.app.declared import declarations_of
    from customhouse.app.evidence_index import reference_of
    from customhouse.policy.pods import artifacts as named_artifacts

    yield from (Reference.of_image(text) for text in named)
    if named or not (Path(repo) / ".git").exists():
        return
    objects = wiring.commits(settings, repo)
    configuration = governing.configuration
    for item in declarations_of(objects, objects.resolve("HEAD"), configuration.paths, configuration.render):
        for artifact in named_artifacts(item.manifest, item.ref):
            found = reference_of(artifact)
            if found is not None and artifact.digest is not None:
                yield found.at(artifact.digest)


def _private(settings: Settings, by: By) -> PrivateKey | None:
    """A key in PEM, or one that cosign made, with the password that cosign asks for; None: keyless."""
    if by.certificate is not None:
        raise UsageError("an image is signed with a key or keyless", hint="leave --certificate away")
    if by.key is None:
        return None
    return load_signing_key(Path(by.key), settings.environment.get("COSIGN_PASSWORD", "").encode())


def _digest(registry: Registry, reference: Reference) -> str:
    if reference.tag is None:
        if reference.digest is None:
            return registry.resolve(reference.repository, "latest")
        return reference.digest
    now = registry.resolve(reference.repository, reference.tag)
    if reference.digest is not None and now != reference.digest:
        raise TamperError(
            f"the tag {reference.tag} has moved: it names {now}, and {reference.digest} is pinned",
            where=reference.name,
            hint="find out who moved it; what is pinned is what was inspected",
        )
    return now


def _described(registry: Registry, reference: Reference, digest: str) -> Resolved:
    where = f"{reference.name}@{digest}"
    body = registry.manifest(reference.repository, digest)
    document = read_json(body, where)
    platforms: dict[str, str] = {}
    if is_index(document):
        for item in listed(document, "manifests", where):
            if item.platform and not item.platform.startswith("unknown/"):
                platforms.setdefault(item.platform, item.digest)
    media_type = str(document.get("mediaType", ""))
    return Resolved(reference.at(digest), digest, media_type, len(body), platforms)


def _attach(registry: WritableRegistry, found: Resolved, bundle: bytes, predicate_type: str) -> str:
    subject = subject_of(registry, found.reference.repository, found.digest, found.pinned)
    now = wiring.clock().now()
    return attach_bundle(registry, found.reference.repository, subject, bundle, predicate_type, now)


def _shown(digest: str, item: Evidence) -> dict[str, Any]:
    return {
        "kind": item.kind.value,
        "about": digest,
        "predicate_type": item.predicate_type,
        "verified": item.verified,
        "signer": item.signer,
        "issued_at": None if item.issued_at is None else to_rfc3339(item.issued_at),
        "problem": item.problem,
        "reference": item.predicate.get("reference") if item.kind is EvidenceKind.SIGNATURE else None,
    }


def _predicate(place: Path) -> dict[str, Any]:
    data = _bytes(str(place))
    try:
        value = json.loads(data, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"not JSON: {error}", where=str(place)) from error
    if not isinstance(value, dict):
        raise EvidenceError("not a JSON object", where=str(place))
    return value


def _bytes(path: str | None) -> bytes:
    place = Path(path or "")
    try:
        with open_regular(place) as handle:
            data = handle.read(MAX_PREDICATE + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(place)) from error
    if len(data) > MAX_PREDICATE:
        raise UsageError(f"larger than {MAX_PREDICATE >> 20} MiB", where=str(place))
    return data


def _folder(root: Path) -> dict[str, bytes]:
    if not root.is_dir():
        raise UsageError("there is no such folder", where=str(root))
    items = [item for item in sorted(root.rglob("*")) if item.is_file()]
    return {item.relative_to(root).as_posix(): _bytes(str(item)) for item in items[:1000]}
