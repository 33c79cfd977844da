"""Evidence by its file: what lies below `.evidence/<digest>/`, in Git or in the local index, read by its form.

| file | what it is | read by |
|---|---|---|
| `*.sigstore.json` by a key, about a model or made here | statement v1 | `trust.attestation` |
| `*.sigstore.json` of others (certificates, Statement v0.1, cosign's) | attestation | `trust.cosign` |
| `*.cosign.json` | simple signing | `trust.cosign` |
| `*.notary.jws`, `*.notary.cose` | Notary Project signature | `trust.notary` |
| `*.index.json` | what is attached to the images of an index | `trust.platforms` |

What came from a registry (`oci-…`) was put there by whoever may push: what cannot be read of it is no evidence, and no
reason to stay shut. What is committed was reviewed: there it is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from customhouse._kit.digest import Tree
from customhouse.core.errors import EvidenceError
from customhouse.core.evidence import Evidence, EvidenceKind
from customhouse.trust import attestation, cosign, platforms, strict_json
from customhouse.trust.bundle import PAYLOAD_TYPE, SIGNATURE_TYPE, TREE_DIGEST, Bundle, authenticate, pae, read_bundle
from customhouse.trust.oci_evidence import NOTARY_SUFFIXES, PREFIX
from customhouse.trust.roots import Roots
from customhouse.trust.signers import Signed, signer_of
from customhouse.trust.signing import LEGACY_TYPE

_MODEL_SIGNATURES = (SIGNATURE_TYPE, LEGACY_TYPE)


def read_filed(
    files: Mapping[str, bytes], digest: str, roots: Roots, at: datetime, tree: Tree | None = None, name: str = ""
) -> tuple[Evidence, ...]:
    """All evidence about `digest` among `files` (path → bytes), in order of path.

    `at` is the time at which certificates must be valid; `tree` the files of a model, where they are here; `name` what
    a trust policy of Notary's is looked up by (`host/repository`). Raises EvidenceError for a committed file that
    cannot be read.
    """
    asked = _Asked(digest, roots, at, tree, name)
    found: list[Evidence] = []
    for path in sorted(files):
        try:
            found.extend(_read(files[path], path, asked))
        except EvidenceError:
            if not path.rpartition("/")[2].startswith(PREFIX):
                raise
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What evidence is looked for, and whom is believed at what time."""

    digest: str
    roots: Roots
    at: datetime
    tree: Tree | None
    name: str


def _read(data: bytes, path: str, asked: _Asked) -> tuple[Evidence, ...]:
    digest, roots, at = asked.digest, asked.roots, asked.at
    if path.endswith(cosign.SIMPLE_SUFFIX):
        return (cosign.read_simple(data, digest, roots, at, path),)
    if path.endswith(tuple(NOTARY_SUFFIXES.values())):
        from customhouse.trust.notary import read_notary

        return (read_notary(data, digest, roots, at, path, asked.name),)
    if path.endswith(platforms.SUFFIX):

        def about(files: Mapping[str, bytes], image: str) -> tuple[Evidence, ...]:
            plain = {name: item for name, item in files.items() if not name.endswith(platforms.SUFFIX)}
            return read_filed(plain, image, roots, at, name=asked.name)

        return platforms.read_platforms(data, digest, about, path)
    if not path.endswith(attestation.SUFFIX):
        return ()
    if not path.rpartition("/")[2].startswith(PREFIX):
        bundle = read_bundle(data, path)
        said = cosign.read_statement(bundle.payload, path)
        if said.predicate_type in _MODEL_SIGNATURES:
            return tuple(_model_signature(data, bundle, said, path, asked))
        foreign = said.predicate_type == cosign.SIGN_TYPE or said.predicate_type in cosign.OTHERS
        if bundle.method == "key" and said.version == 1 and not foreign:
            return attestation.collect({path: data}, digest, roots.keys, asked.tree)
    return cosign.read_vulnerabilities(data, digest, roots, at, path)


def _model_signature(data: bytes, bundle: Bundle, said: cosign.Said, path: str, asked: _Asked) -> Iterator[Evidence]:
    """OpenSSF Model Signing: by a key as always; by a certificate, once it is bound to the files or to their digest."""
    digest, roots, tree = asked.digest, asked.roots, asked.tree
    for evidence in attestation.collect({path: data}, digest, roots.keys, tree):
        if bundle.method == "key":
            yield evidence
            continue
        document = strict_json.parse(data, path)
        signed = Signed(pae(PAYLOAD_TYPE, bundle.payload), bundle.signature, bundle.certificates, document)
        signer = signer_of(signed, EvidenceKind.SIGNATURE, roots, asked.at)
        by_key = authenticate(bundle, EvidenceKind.SIGNATURE, roots.keys)[1]
        annotated = {str(notes.get(TREE_DIGEST)) for notes in said.subjects.values()}
        problem = signer.problem
        if tree is not None and evidence.problem != by_key:
            problem = problem or evidence.problem  # the files are others than those that were signed
        elif tree is None and annotated != {digest}:
            problem = problem or "it does not say which model it is about, and the files are not here to be compared"
        yield replace(
            evidence,
            subject=digest,
            signer=signer.name,
            verified=not problem,
            problem=problem,
            issued_at=evidence.issued_at or signer.at,
        )
