"""`customhouse artifact verify`: a file, a folder or a digest against a Sigstore bundle.

Whatever cannot be verified (a bundle, a key or a trusted root that cannot be read, too) is TamperError: exit 5. Only
what was asked wrongly (no such file, no signer named) is UsageError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from customhouse.app import wiring
from customhouse.core.errors import ArtifactError, ConfigError, TamperError, UsageError
from customhouse.trust.keys import MAX_PEM_BYTES, PublicKey
from customhouse.trust.sigstore.identity import Expected
from customhouse.trust.sigstore.roots import MAX_BYTES as MAX_ROOT
from customhouse.trust.sigstore.roots import SigstoreRoot, read_root
from customhouse.trust.sigstore.verification import HASHES, Artifact, Policy, Verified, verify_bundle
from customhouse.trust.strict_json import MAX_BYTES as MAX_BUNDLE

BESIDE = (".sigstore.json", ".sigstore")
"""Where a bundle is looked for when none is named (client specification, section 4.1.1)."""
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
    """What was verified, as JSON values. Raises TamperError (not verified) and UsageError."""
    check_usage(asked)
    place = _bundle_of(asked)
    data = _read(place, MAX_BUNDLE, "--bundle")
    try:
        root = root_for(asked)
        policy = Policy(_key(asked.key), expected(asked), asked.need_log, asked.need_certificate_log)
    except ConfigError as error:
        raise TamperError(error.message, where=error.where, hint=error.hint) from error
    path = Path(asked.artifact)
    now = wiring.clock().now()
    try:
        if path.is_dir():
            found = _verify_folder(path, place, data, policy, root, now)
        else:
            thing = Artifact.of_digest(asked.artifact) if _by_digest(asked) else artifact_at(path)
            found = verify_bundle(data, thing, policy, root, now)
    except TamperError as error:
        raise TamperError(error.message, where=error.where or str(place), hint=error.hint) from error
    return {"verified": True, "artifact": asked.artifact, **found.to_json()}


def _by_digest(asked: Request) -> bool:
    return asked.artifact.partition(":")[0] in HASHES and not Path(asked.artifact).exists()


def _verify_folder(
    path: Path, place: Path, data: bytes, policy: Policy, root: SigstoreRoot | None, now: datetime
) -> Verified:
    from customhouse.app.inspection import read_tree  # with all of the scanner: a file alone does not need it
    from customhouse.app.model_signing import without
    from customhouse.trust.signing import verify_folder

    return verify_folder(data, without(read_tree(path), path, place), policy, root, now)


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


def trusted_root(path: str) -> SigstoreRoot:
    """A trusted root from its file. Raises UsageError when there is none, ConfigError when it is wrong."""
    return read_root(_read(Path(path), MAX_ROOT, "--trusted-root"), path)


def root_for(asked: Request) -> SigstoreRoot | None:
    """The trusted root that was named, or the one that customhouse.yaml has for this identity; None for a key alone.

    Raises UsageError when there is none, ConfigError when it is wrong.
    """
    if asked.trusted_root is not None:
        return trusted_root(asked.trusted_root)
    if asked.key is not None or asked.config is None:
        return None
    from customhouse.app.governance import governance

    believed = governance(None, None, asked.config).believed.sigstore
    named = [one for one in believed if (one.identity, one.issuer) == (asked.identity, asked.issuer)]
    if not named:
        raise UsageError("no trusted root vouches for the identity", where=str(asked.config), hint=_NO_ROOT)
    return read_root(named[0].trusted_root, named[0].name)


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
        raise UsageError(f"there is no file {place}", hint=f"{option} names a file")
    with place.open("rb") as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise TamperError(f"larger than {most} bytes", where=str(place))
    return data
