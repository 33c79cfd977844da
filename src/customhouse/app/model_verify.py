"""`customhouse model verify`: a model against a signature, by key, certificate or identity. All bytes are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.digest import Tree, TreeError
from customhouse.app import wiring
from customhouse.app.artifact_verify import Request as Whose
from customhouse.app.artifact_verify import check_usage, expected, roots_for
from customhouse.app.inspection import read_tree
from customhouse.app.model_signing import MAX_PEM, MAX_SIGNATURE, inside_of, named_file, relative, without
from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.keys import TrustRoot, load_public
from customhouse.trust.model_files import Serialization, measure
from customhouse.trust.signing import Keyless, ModelCheck, serialization_of, verify_model
from customhouse.trust.sigstore.verification import Policy

_MAX_CRL = 64 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What `model verify` was asked. Exactly one of `key`, `authorities` and `whose` says whom to trust."""

    path: str
    signature: str
    key: str | None = None
    authorities: tuple[str, ...] = ()
    revocations: tuple[str, ...] = ()
    whose: Whose | None = None
    ignore: tuple[str, ...] = ()
    allow_symlinks: bool = False


def verify(asked: Request) -> ModelCheck:
    """What verification said.

    The signature's own file does not count when it lies in the model's folder: nobody can sign a file that holds the
    signature. Raises UsageError when something named is not there, ArtifactError, ConfigError and EvidenceError.
    """
    ways = [asked.key is not None, bool(asked.authorities), asked.whose is not None]
    if sum(ways) != 1:
        raise UsageError(
            "whose signature counts must be said in one way",
            hint="give --key, or --authority, or --identity with --issuer and --trusted-root",
        )
    place, model = Path(asked.signature), Path(asked.path)
    data = named_file(place, MAX_SIGNATURE, "the signature")
    at = wiring.clock().now()
    how = serialization_of(data, asked.signature)
    tree, measured = _files(model, place, how, asked.allow_symlinks)
    trusted = [] if asked.key is None else [TrustRoot("key", load_public(Path(asked.key)).pem())]
    authorities, revocations = _authorities(asked.authorities), _revocations(asked.revocations)
    checks = [
        verify_model(
            data,
            tree,
            trusted,
            authorities=authorities,
            revocations=revocations,
            keyless=keyless,
            at=at,
            ignore=relative(asked.ignore, model),
            measured=measured,
            where=asked.signature,
        )
        for keyless in ((None,) if asked.whose is None else _keyless(asked.whose))
    ]
    return next((check for check in checks if check.verified), checks[0])


def as_json(check: ModelCheck) -> dict[str, Any]:
    """A check as JSON values."""
    return {
        "verified": check.verified,
        "method": check.method,
        "signer": check.signer,
        "files": len(check.resources),
        "problems": list(check.problems()),
        "ignored": list(check.ignored),
        "keyless": None if check.keyless is None else check.keyless.to_json(),
    }


def _files(model: Path, signature: Path, how: Serialization, links: bool) -> tuple[Tree, dict[str, str] | None]:
    """The model's files as a Tree, or measured as the signature says where a Tree has not what is needed."""
    if links and not how.allow_symlinks:
        raise UsageError("the signer allowed no symbolic links", hint="leave --allow-symlinks away")
    if how.plain or (how.hash_type == "sha256" and not how.shard_size and not links):
        return without(read_tree(model), model, signature), None
    if not model.exists():
        raise ArtifactError("there is nothing there", where=str(model))
    own = inside_of(signature, model)
    try:
        found = measure(model, how, follow_links=links)
    except (TreeError, OSError) as error:
        raise ArtifactError(f"cannot be read: {error}", where=str(model)) from error
    shards = how.shard_size > 0
    return Tree(()), {n: digest for n, digest in found.items() if (n.rsplit(":", 2)[0] if shards else n) != own}


def _keyless(whose: Whose) -> tuple[Keyless, ...]:
    """One for each trusted root that may vouch for the identity."""
    check_usage(whose)
    policy = Policy(None, expected(whose), whose.need_log, whose.need_certificate_log)
    return tuple(Keyless(policy, root, wiring.clock().now()) for root in roots_for(whose))


def _authorities(paths: Sequence[str]) -> tuple[Any, ...]:
    if not paths:
        return ()
    from customhouse.trust.certificates import read_authorities

    return tuple(
        item for path in paths for item in read_authorities(named_file(Path(path), MAX_PEM, "--authority"), path)
    )


def _revocations(paths: Sequence[str]) -> tuple[Any, ...]:
    if not paths:
        return ()
    from customhouse.trust.certificates import read_revocations

    return tuple(read_revocations(named_file(Path(path), _MAX_CRL, "--crl"), path) for path in paths)
