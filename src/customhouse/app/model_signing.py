"""`customhouse model sign`: the signature over a model's files; `app.model_verify` reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from customhouse._kit.digest import Tree
from customhouse._kit.reading import absent, open_regular
from customhouse.app import wiring
from customhouse.app.inspection import read_model
from customhouse.app.wholefile import write_whole
from customhouse.core.errors import TamperError, UsageError
from customhouse.trust.keys import PublicKey, load_private
from customhouse.trust.scan import Wish
from customhouse.trust.signing import is_ignored, model_statement, sign_model

if TYPE_CHECKING:
    from customhouse.trust.sigstore.keyless import Services

MAX_SIGNATURE = 32 * 1024 * 1024
MAX_PEM = 1024 * 1024


@dataclass(frozen=True, slots=True)
class By:
    """Who signs: a private key, and for a certificate authority of one's own the certificates that lead to it.

    Or, keyless: an identity token and the trust configuration with the services that take it. All are paths of files.
    """

    key: str | None = None
    certificate: str | None = None
    chain: tuple[str, ...] = ()
    token: str | None = None
    services: str | None = None

    def __post_init__(self) -> None:
        if (self.key is None) == (self.token is None):
            raise UsageError("who signs was not said", hint="give either --key, or --identity-token")
        if (self.token is None) != (self.services is None):
            raise UsageError(
                "an identity token needs --trust-config, and that needs a token",
                hint="a client trust configuration names the services and the trusted root; none is built in",
            )
        if self.token is not None and (self.certificate is not None or self.chain):
            raise UsageError("a certificate of your own goes with a key", hint="leave --certificate and --chain away")


def sign(path: str, by: By, name: str | None, out: str, wish: Wish | None = None, ignore: Sequence[str] = ()) -> str:
    """Write the signature of a model; the digest of what was signed. Raises ArtifactError, ConfigError and UsageError.

    The wish may remember digests of files that are as they were; `verify` reads all of them. `ignore` names files and
    folders of the model that are left out, which the signature says.

    An earlier signature at `out` inside the model's folder is not signed: it is replaced.
    """
    seen = read_model(Path(path), replace(wish or Wish(), scan=False, blake3=False))
    files = without(seen.files, Path(path), Path(out))
    ignored = relative(ignore, Path(path))
    if not files.single:
        kept = tuple(entry for entry in files.files if not is_ignored(entry.path, ignored))
        files = replace(files, files=kept)
    if not files.files:
        raise UsageError(f"there is no file to sign in {path}")
    now = wiring.clock().now()
    title = name or Path(path).resolve().name
    if by.key is None:
        from customhouse.trust.sigstore.keyless import sign_statement

        services, token = keyless(by)
        said = model_statement(files, title, now, ignored=ignored)
        data, _ = sign_statement(said, token, services, wiring.sigstore_post(), now)
    else:
        private = load_private(Path(by.key))
        certificates = _certificates(by, private.public, now)
        data = sign_model(files, title, private, now, ignored=ignored, certificates=certificates)
    write_whole(Path(out), data)
    return files.digest


def keyless(by: By) -> tuple[Services, str]:
    """The services of the trust configuration, and the token. Raises UsageError and ConfigError."""
    from customhouse.trust.sigstore.keyless import read_services

    assert by.token is not None  # noqa: S101 - By has seen to both
    assert by.services is not None  # noqa: S101
    data = named_file(Path(by.services), MAX_PEM, "a trust configuration")
    services = read_services(data, wiring.clock().now(), by.services)
    text = named_file(Path(by.token), MAX_PEM, "an identity token")
    return services, text.decode("ascii", "replace").strip()


def relative(paths: Sequence[str], model: Path) -> tuple[str, ...]:
    """Paths as names in the model's folder; given from where one stands, or from the folder. Raises UsageError."""
    found = []
    for text in paths:
        inside = inside_of(Path(text), model) if Path(text).exists() else None
        found.append(inside or text.rstrip("/"))
    if any(name in ("", ".") for name in found):
        raise UsageError("the whole model cannot be ignored")
    return tuple(found)


def inside_of(file: Path, model: Path) -> str | None:
    """The name of a file in the model's folder, None where it lies elsewhere."""
    root, place = model.resolve(), file.resolve()
    return place.relative_to(root).as_posix() if model.is_dir() and place.is_relative_to(root) else None


def _certificates(by: By, public: PublicKey, now: datetime) -> tuple[bytes, ...]:
    """The certificates that go into the bundle, the signer's first. Raises UsageError for what nobody would accept."""
    if by.certificate is None:
        if by.chain:
            raise UsageError("a chain without a certificate", hint="name the signer's own with --certificate")
        return ()
    from customhouse.trust.certificates import signing_chain

    given = [(path, named_file(Path(path), MAX_PEM, "a certificate")) for path in (by.certificate, *by.chain)]
    try:
        return signing_chain(given[0][1], [pem for _, pem in given[1:]], public, now)
    except TamperError as error:
        raise UsageError(error.message, where=by.certificate, hint="sign with a certificate of this key") from error


def named_file(place: Path, most: int, what: str) -> bytes:
    """The bytes of a file that was named. Raises UsageError when it is not there, or larger than `what` can be."""
    if not place.is_file():
        raise UsageError(absent(place), hint=f"{what} is looked for there")
    with open_regular(place) as handle:
        data = handle.read(most + 1)
    if len(data) > most:
        raise UsageError(f"{place} is over {most >> 10} KiB, which {what} never is")
    return data


def without(files: Tree, model: Path, file: Path) -> Tree:
    """The files of a model's folder, but for one that lies in it."""
    root, place = model.resolve(), file.resolve()
    if files.single or not place.is_relative_to(root):
        return files
    own = place.relative_to(root).as_posix()
    return replace(files, files=tuple(entry for entry in files.files if entry.path != own))
