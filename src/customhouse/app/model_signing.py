"""`customhouse model sign` and `model verify`: a model's folder and the signature over its files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from customhouse._kit.digest import Tree
from customhouse.app import wiring
from customhouse.app.inspection import read_model, read_tree
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import UsageError
from customhouse.trust.keys import TrustRoot, load_private, load_public
from customhouse.trust.scan import Wish
from customhouse.trust.signing import sign_model, verify_model

MAX_SIGNATURE = 32 * 1024 * 1024


def sign(path: str, key: str, name: str | None, out: str, wish: Wish | None = None) -> str:
    """Write the signature of a model; the digest of what was signed. Raises ArtifactError and ConfigError.

    The wish may remember digests of files that are as they were; `verify` reads all of them.

    An earlier signature at `out` inside the model's folder is not signed: it is replaced.
    """
    seen = read_model(Path(path), replace(wish or Wish(), scan=False))
    files = without(seen.files, Path(path), Path(out))
    data = sign_model(files, name or Path(path).name, load_private(Path(key)), wiring.clock().now())
    write_whole(Path(out), data)
    return files.digest


def verify(path: str, signature: str, key: str) -> tuple[str, ...]:
    """Every problem of a model's signature, in words; empty when it verifies.

    The signature's own file does not count when it lies in the model's folder: nobody can sign a file that holds the
    signature. Raises UsageError when there is no signature file, ArtifactError, ConfigError and EvidenceError.
    """
    place = Path(signature)
    if not place.is_file():
        raise UsageError(f"there is no signature at {signature}", hint="name a Sigstore bundle with --signature")
    if place.stat().st_size > MAX_SIGNATURE:
        raise UsageError(f"{signature} is over 32 MiB, which is no signature")
    root = TrustRoot("key", load_public(Path(key)).pem())
    files = without(read_tree(Path(path)), Path(path), place)
    return verify_model(place.read_bytes(), files, [root], where=signature).problems()


def without(files: Tree, model: Path, file: Path) -> Tree:
    """The files of a model's folder, but for one that lies in it."""
    root, place = model.resolve(), file.resolve()
    if files.single or not place.is_relative_to(root):
        return files
    own = place.relative_to(root).as_posix()
    return replace(files, files=tuple(entry for entry in files.files if entry.path != own))
