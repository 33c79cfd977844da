"""The check of a serving process, in a process of its own: `python -I -m customhouse.app.model_check FOLDER DIGEST`.

On stdin the files that were read, `{"single","files":[{"path","digest","size"}]}`. Exit 0: these are the files of a
model that was admitted, and (where its tier asks for a signature) a signature of a trusted signer is over them. Exit 5:
they are not, with the reason on stdout. It reads the record of the admission and nothing else.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

from customhouse._kit.clock import from_rfc3339
from customhouse._kit.digest import FileEntry, Tree, is_digest, same_digest
from customhouse.core.errors import CustomhouseError
from customhouse.core.evidence import EvidenceKind

_MAX_RECORD = 256 * 1024 * 1024


def place_of(folder: Path, digest: str) -> Path:
    """Where the record of a digest lies (`app.admitted` writes it)."""
    return folder / f"{digest.removeprefix('sha256:')}.json"


def problem_of(folder: Path, digest: str, files: Tree) -> str:
    """Why these files may not be loaded; empty when they may. Raises ValueError, KeyError and such for a bad record."""
    # 1. The files are those of the digest.
    if not is_digest(digest) or not same_digest(files.digest, digest):
        return f"the files have the digest {files.digest}, and {digest[:80]} is to be served"
    # 2. The digest was admitted.
    place = place_of(folder, digest)
    if not place.is_file() or place.stat().st_size > _MAX_RECORD:
        return f"nothing says that {digest} was admitted: no commit that was allowed declares it"
    record = json.loads(place.read_bytes())
    if not same_digest(str(record["digest"]), digest):
        return "the record of the admission is that of another model"
    if record["signature_required"] is False:
        return ""
    # 3. A trusted signer's signature is over these files.
    from customhouse.trust.filed import read_filed

    stored = {name: base64.b64decode(text) for name, text in record["files"].items()}
    found = read_filed(stored, digest, _roots(record["roots"]), from_rfc3339(record["at"]), files)
    signatures = [item for item in found if item.kind is EvidenceKind.SIGNATURE]
    if any(item.verified and same_digest(item.subject, digest) for item in signatures):
        return ""
    reasons = "; ".join(dict.fromkeys(item.problem for item in signatures if item.problem))
    return f"no signature of a trusted signer is over the model's files ({reasons or 'there is none'})"


def _roots(document: dict[str, Any]) -> Any:
    from customhouse.trust.keys import TrustRoot
    from customhouse.trust.roots import AuthorityRoot, IdentityRoot, Roots

    def kinds(item: dict[str, Any]) -> frozenset[EvidenceKind]:
        return frozenset(EvidenceKind(kind) for kind in item["kinds"])

    return Roots(
        tuple(TrustRoot(item["name"], item["pem"].encode(), kinds(item)) for item in document["keys"]),
        tuple(
            AuthorityRoot(
                item["name"],
                item["pem"].encode(),
                tuple(item["identities"]),
                kinds(item),
                _bytes(item["revocations"]),
                _bytes(item["timestamps"]),
            )
            for item in document["authorities"]
        ),
        tuple(
            IdentityRoot(item["name"], base64.b64decode(item["root"]), item["identity"], item["issuer"], kinds(item))
            for item in document["identities"]
        ),
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def main(arguments: list[str]) -> int:
    """Check what stdin says; 0 or 5."""
    folder, digest = arguments
    try:
        said = json.loads(sys.stdin.buffer.read())
        entries = tuple(FileEntry(str(f["path"]), str(f["digest"]), int(f["size"])) for f in said["files"])
        problem = problem_of(Path(folder), digest, Tree(entries, single=bool(said["single"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CustomhouseError) as error:
        problem = f"the record of the admission cannot be read: {error}"
    if problem:
        sys.stdout.write(problem + "\n")
        return 5
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
