"""`customhouse artifact verify`: a file, a folder or a digest against a Sigstore bundle.

Whatever cannot be verified (a bundle, a key or a trusted root that cannot be read, too) is TamperError: exit 5. Only
what was asked wrongly (no such file, no signer named) is UsageError.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.reading import absent, open_regular
from customhouse.app import wiring
from customhouse.core.errors import ArtifactError, ConfigError, TamperError, UsageError
from customhouse.trust.keys import MAX_PEM_BYTES, PublicKey
from customhouse.trust.sigstore.identity import Expected
from customhouse.trust.sigstore.roots import MAX_BYTES as MAX_ROOT
from customhouse.trust.sigstore.roots import SigstoreRoot, documents, read_root, read_roots
from customhouse.trust.sigstore.verification import HASHES, Artifact, Policy, Verified, verify_bundle
from customhouse.trust.strict_json import MAX_BYTES as MAX_BUNDLE

BESIDE = (".sigstore.json", ".sigstore")
"""Where a bundle is looked for when none is named (client specification, section 4.1.1)."""
_MAX_TRIES = 200
_NO_ROOT = (
    "give --trusted-root: the trusted_root.json of your Sigstore instance, from its TUF repository or from "
    "`cosign trusted-root create`, or --config with a customhouse.yaml whose trust.identities names it; none is "
    "trusted by default and none is fetched"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What `artifact verify` was asked."""

    artifact: str
    bundle: str | None = None
    key: str | None = None
    identity: str | None = None
    identity_pattern: str | None = None
    issuer: str | None = None
    issuer_pattern: str | None = None
    trusted_root: str | None = None
    config: Path | None = None
    need_log: bool = True
    need_certificate_log: bool = True


def verify(asked: Request) -> dict[str, Any]:
    """What was verified, as JSON values. Raises TamperError (not verified) and UsageError.

    A file of several bundles (JSON Lines, as `gh attestation download` writes it) verifies when one of them does, and
    of several trusted roots one must vouch for all of it.
    """
    check_usage(asked)
    place = _bundle_of(asked)
    bundles = documents(_read(place, MAX_BUNDLE, "--bundle"))
    try:
        roots = roots_for(asked) or (None,)
        policy = Policy(_key(asked.key), expected(asked), asked.need_log, asked.need_certificate_log)
    except ConfigError as error:
        raise TamperError(error.message, where=error.where, hint=error.hint) from error
    if len(bundles) * len(roots) > _MAX_TRIES:
        raise TamperError(f"more than {_MAX_TRIES} bundles and trusted roots to try", where=str(place))
    check, digest = _checking(asked, place, policy)
    refused: list[TamperError] = []
    for bundle in bundles:
        for root in roots:
            try:
                found = check(bundle, root)
            except TamperError as error:
                refused.append(error)
                continue
            return {"verified": True, "artifact": asked.artifact, "digest": digest, **found.to_json()}
    # The bundle that is nearest to the mark: not one of an instance that a root does not know at all.
    first = next((error for error in refused if "not in the trusted root" not in error.message), refused[0])
    more = f" (and {len(refused) - 1} more were refused)" if len(refused) > 1 else ""
    raise TamperError(first.message + more, where=first.where or str(place), hint=first.hint) from first


def _checking(
    asked: Request, place: Path, policy: Policy
) -> tuple[Callable[[bytes, SigstoreRoot | None], Verified], str]:
    """(what checks one bundle under one root, the artifact's digest); the artifact is read once."""
    path, now = Path(asked.artifact), wiring.clock().now()
    if path.is_dir():
        from customhouse.app.inspection import read_tree  # with all of the scanner: a file alone does not need it
        from customhouse.app.model_signing import without
        from customhouse.trust.signing import verify_folder

        files = without(read_tree(path), path, place)
        return lambda bundle, root: verify_folder(bundle, files, policy, root, now), files.digest
    thing = Artifact.of_digest(asked.artifact) if _by_digest(asked) else artifact_at(path)
    named, value = next(iter(thing.digests.items()))
    return lambda bundle, root: verify_bundle(bundle, thing, policy, root, now), f"{named}:{value}"


def _by_digest(asked: Request) -> bool:
    return asked.artifact.partition(":")[0] in HASHES and not Path(asked.artifact).exists()


def artifact_at(path: Path) -> Artifact:
    """A file's digests. Raises UsageError for what is no regular file (a pipe has no end), ArtifactError otherwise."""
    if not path.is_file():
        what = "neither a file nor a folder" if path.exists() else "not there"
        raise UsageError(f"{path} is {what}", hint="name a file, a folder, or a digest (sha256:…)")
    try:
        return Artifact.of_file(path)
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=str(path)) from error


def expected(asked: Request) -> Expected | None:
    """Whose signature counts, None for a key's. Raises UsageError for a pattern that is none."""
    if asked.key is not None:
        return None
    for pattern in (asked.identity_pattern, asked.issuer_pattern):
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise UsageError(f"not a pattern: {error}", where=str(pattern)[:80]) from error
    return Expected(
        identity=asked.identity or asked.identity_pattern or "",
        issuer=asked.issuer or asked.issuer_pattern or "",
        identity_pattern=asked.identity is None,
        issuer_pattern=asked.issuer is None,
    )


def roots_for(asked: Request) -> tuple[SigstoreRoot, ...]:
    """The trusted roots of the file that was named, or what customhouse.yaml has for this identity; none for a key.

    Raises UsageError when there is none, ConfigError when one is wrong.
    """
    if asked.trusted_root is not None:
        return read_roots(_read(Path(asked.trusted_root), MAX_ROOT, "--trusted-root"), asked.trusted_root)
    if asked.key is not None or asked.config is None:
        return ()
    from customhouse.app.governance import governance

    believed = governance(None, None, asked.config).believed.sigstore
    named = [one for one in believed if (one.identity, one.issuer) == (asked.identity, asked.issuer)]
    if not named:
        raise UsageError("no trusted root vouches for the identity", where=str(asked.config), hint=_NO_ROOT)
    return tuple(read_root(one.trusted_root, one.name) for one in named)


def check_usage(asked: Request) -> None:
    """Raises UsageError unless a key, or an identity, an issuer and a trusted root were named."""
    identities = [value for value in (asked.identity, asked.identity_pattern) if value]
    issuers = [value for value in (asked.issuer, asked.issuer_pattern) if value]
    if asked.key is not None:
        if identities or issuers:
            raise UsageError("a key and an identity", hint="give either --key, or --identity with --issuer")
        return
    if len(identities) != 1 or len(issuers) != 1:
        raise UsageError(
            "whose signature counts was not said",
            hint="give --key FILE, or one of --identity and --identity-regexp with one of --issuer and --issuer-regexp",
        )
    if asked.trusted_root is None and asked.config is None:
        raise UsageError("no trusted root vouches for the identity", hint=_NO_ROOT)


def _bundle_of(asked: Request) -> Path:
    if asked.bundle is not None:
        return Path(asked.bundle)
    beside = [Path(asked.artifact.rstrip("/") + suffix) for suffix in BESIDE]
    found = next((place for place in beside if place.is_file()), None)
    if found is None:
        raise UsageError(f"there is no bundle at {beside[0]}", hint="name it with --bundle")
    return found


def _key(path: str | None) -> PublicKey | None:
    if path is None:
        return None
    return PublicKey.from_pem(_read(Path(path), MAX_PEM_BYTES, "--key"), path)


def _read(place: Path, most: int, option: str) -> bytes:
    if not place.is_file():
        raise UsageError(absent(place), hint=f"{option} names a file")
    with open_regular(place) as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise TamperError(f"larger than {most} bytes", where=str(place))
    return data
