"""Bundles as the command line names them: a folder of rules or an archive, linted, built and signed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.digest import bytes_digest, is_digest
from customhouse._kit.reading import absent, open_regular
from customhouse.app import wiring
from customhouse.app.configuration import FILE
from customhouse.app.governance import Governance, governance
from customhouse.app.governance import read_waivers as waivers_of
from customhouse.app.policyshelf import Pulled
from customhouse.app.policyspecs import BundleSource
from customhouse.app.settings import Settings
from customhouse.core.errors import PolicyError, SourceError, UsageError
from customhouse.core.evidence import EvidenceKind
from customhouse.policy.bundle import Bundle, builtin_bundle, load_bundle
from customhouse.policy.bundle_archive import MAX_ARCHIVE, Archive, pack, unpack
from customhouse.policy.lint_report import LintFinding, lint_files
from customhouse.policy.waiver import Waiver
from customhouse.trust.attestation import SUFFIX, attest
from customhouse.trust.keys import TrustRoot, load_private

MAX_FILE = 1024 * 1024
MAX_FILES = 2000
_SUFFIXES = (".rego", ".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Built:
    """An archive that was written. `digest` is that of its bytes: what customhouse.yaml pins."""

    archive: Path
    digest: str
    bundle_digest: str
    version: str
    modules: int
    signature: Path | None

    def to_json(self) -> dict[str, Any]:
        """The JSON of `policy build`."""
        return {
            "archive": str(self.archive),
            "digest": self.digest,
            "bundle_digest": self.bundle_digest,
            "version": self.version,
            "modules": self.modules,
            "signature": None if self.signature is None else str(self.signature),
        }


def read_folder(root: Path, *, below: bool = False) -> Mapping[str, bytes]:
    """The rules and data of a folder by path, with `below` relative to it; links are left out. Raises PolicyError."""
    return dict(_files(root, below))


def candidate(path: str) -> Bundle:
    """The bundle that judges with a folder's or an archive's rules beside the built-in ones.

    Raises UsageError when there is nothing at `path`, PolicyError for what cannot judge.
    """
    place = Path(path)
    if place.is_file():
        return read_archive(place).bundle(builtin_bundle())
    if not place.is_dir():
        raise UsageError(f"there is nothing at {path}", hint="name a folder of rules, or an archive of `policy build`")
    return load_bundle(read_folder(place), base=builtin_bundle())


def read_archive(place: Path) -> Archive:
    """An archive from disk. Raises PolicyError."""
    with open_regular(place) as handle:
        return unpack(handle.read(MAX_ARCHIVE + 1), str(place))


def build(folder: str | None, out: str, *, version: str, key: str | None, with_builtin: bool) -> Built:
    """Write the archive of a folder's rules, and with `key` its signature beside it.

    Raises PolicyError for rules that could not judge, ConfigError for a key that cannot be used, UsageError.
    """
    files: Mapping[str, bytes] = {}
    if folder is not None:
        root = Path(folder)
        if not root.is_dir():
            raise UsageError(f"there is no folder {folder}")
        files = read_folder(root, below=True)
    signer = None if key is None else load_private(Path(key))
    data = pack(files, version, with_builtin=with_builtin)
    # Read back before anybody else does: what is written is what will be judged with.
    archive = unpack(data, out)
    bundle = archive.bundle(builtin_bundle())
    place = Path(out)
    place.write_bytes(data)
    signature = None
    if signer is not None:
        predicate = {"bundle_digest": bundle.digest, "version": archive.version}
        signature = place.with_name(place.name + SUFFIX)
        signature.write_bytes(
            attest(
                place.name,
                archive.digest,
                EvidenceKind.POLICY_BUNDLE,
                predicate,
                signer,
                issued_at=wiring.clock().now(),
            )
        )
    modules = sum(name.endswith(".rego") for name in archive.files)
    return Built(place, bytes_digest(data), bundle.digest, archive.version, modules, signature)


def pull(settings: Settings, source: str, digest: str | None, key: str | None) -> Pulled:
    """Fetch an archive, verify it and put it on the shelf, where the gate takes it from.

    Raises TamperError when its digest or its signature is another, UsageError without either, PolicyError.
    """
    if digest is None and key is None:
        raise UsageError("--digest or --key is needed", hint="what nothing is known of is not pulled")
    if digest is not None and not is_digest(digest):
        raise UsageError(f"{digest[:80]!r} is no digest", hint="`customhouse policy build` prints it")
    roots = () if key is None else (TrustRoot("key", _key(Path(key)), frozenset({EvidenceKind.POLICY_BUNDLE})),)
    wanted = BundleSource(source, digest, None if key is None else "key")
    pulled = wiring.shelf(settings).pull(wanted, roots)
    pulled.archive.bundle(builtin_bundle())  # what cannot judge is told now, and not at the gate
    return pulled


def _key(place: Path) -> bytes:
    try:
        return _bounded(place)
    except OSError as error:
        raise UsageError(f"the key cannot be read: {error.strerror}", where=str(place)) from error


def lint(settings: Settings, paths: tuple[str, ...]) -> tuple[LintFinding, ...]:
    """Every finding about the rules in folders, single files and archives, as they would join the built-in ones."""
    files: dict[str, bytes] = {}
    for path in paths:
        place = Path(path)
        if place.is_dir():
            files |= read_folder(place)
        elif not place.is_file():
            raise UsageError(f"there is nothing at {path}")
        elif place.suffix == ".rego":
            files[place.as_posix()] = _bounded(place)
        else:
            files |= {f"{path}!{name}": content for name, content in read_archive(place).files.items()}
    if not any(name.endswith(".rego") for name in files):
        raise UsageError("there is no Rego module there", hint="name folders or files with *.rego")
    return lint_files(files, wiring.engine(settings), builtin_bundle())


def in_force(settings: Settings, repo: str) -> Governance:
    """The governance of a repository's HEAD; without one, of `--config`, else the built-in defaults."""
    try:
        objects = wiring.commits(settings, repo)
        head = objects.resolve("HEAD")
    except SourceError:
        return governance(None, None, settings.config, wiring.shelf(settings))
    return governance(objects, head, settings.config, wiring.shelf(settings))


def read_waivers(path: str, max_days: int) -> tuple[Waiver, ...]:
    """A file of waivers that may last `max_days`. Raises ConfigError with file, line and column; UsageError."""
    place = Path(path)
    if not place.is_file():
        raise UsageError(absent(path))
    return waivers_of(_bounded(place), path, max_days)


def _files(root: Path, below: bool) -> Iterator[tuple[str, bytes]]:
    count = 0
    for item in sorted(root.rglob("*")):
        if item.is_symlink() or not item.is_file() or item.suffix not in _SUFFIXES or item.name == FILE:
            continue
        count += 1
        if count > MAX_FILES:
            raise PolicyError(f"more than {MAX_FILES} files", where=str(root))
        name = item.relative_to(root) if below else item
        yield name.as_posix(), _bounded(item)


def _bounded(place: Path) -> bytes:
    with open_regular(place) as handle:
        data = handle.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise PolicyError(f"more than {MAX_FILE} bytes", where=str(place))
    return data
