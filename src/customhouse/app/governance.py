"""Governance: what a base revision says about how its successors are judged. Read once per revision, then a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse._kit.digest import bytes_digest
from customhouse.app.configuration import CURRENCY, FILE, Configuration, parse
from customhouse.app.evaluation_plans import EvaluationJudge
from customhouse.app.foreign_source import ForeignSource
from customhouse.app.healthrules import customizations_in
from customhouse.app.policyrules import Rules, own_folders
from customhouse.app.provenance_rules import ProvenanceJudge, ReviewedHistory
from customhouse.app.sources import SourceTree
from customhouse.app.trusting import TrustSpec, roots_of
from customhouse.app.vulnerability_rules import VulnerabilityJudge
from customhouse.control import yaml_nodes
from customhouse.control.owners import PLACES as OWNERS
from customhouse.control.yaml_values import Read, Reader
from customhouse.core.errors import ConfigError, CustomhouseError
from customhouse.core.resource import Declaration, Location, ResourceRef
from customhouse.observability.budgets import Budget
from customhouse.observability.estimate import PriceSettings
from customhouse.observability.interrupted import ExpectedInterruption
from customhouse.observability.prices import PriceBook
from customhouse.policy.bundle import Bundle, builtin_bundle
from customhouse.policy.canary import Canary
from customhouse.policy.facts import PolicySettings
from customhouse.policy.tiers import MAX_EXCEPTION_DAYS
from customhouse.policy.waiver import Waiver, parse_waivers

if TYPE_CHECKING:
    from datetime import datetime

    from customhouse._kit.digest import Tree
    from customhouse.app.policyshelf import Shelf
    from customhouse.core.evidence import Evidence
    from customhouse.execution.health.customizations import Customizations
    from customhouse.trust.keys import TrustRoot
    from customhouse.trust.roots import Roots

GOVERNANCE = "Governance"
"""The kind of the object that stands for customhouse.yaml and what it names."""


@dataclass(frozen=True, slots=True)
class Governance:
    """Everything of a revision that decides about Changes, besides the Changes themselves."""

    configuration: Configuration
    bundle: Bundle
    book: PriceBook
    roots: tuple[TrustRoot, ...] = ()
    others: Roots | None = None
    """Certificate authorities, identities and Notary's policy beside the keys."""
    allowed_signers: bytes | None = None
    gpg_keys: tuple[bytes, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    budgets: tuple[Budget, ...] = field(default=())
    files: Mapping[str, str] = field(default_factory=dict)
    """Path → digest of customhouse.yaml and of every file that it names."""
    canary: Canary | None = None
    """A bundle on trial."""
    shelf: Shelf | None = field(default=None, compare=False, repr=False)
    """Where pulled bundles came from: a successor's come from there too."""
    foreign: ForeignSource | None = None
    """Files of Gatekeeper's and conftest's policies."""
    history: ReviewedHistory | None = field(default=None, compare=False, repr=False)
    """The commits that were reviewed; None for files, which have no history."""
    evaluation: EvaluationJudge = field(default_factory=EvaluationJudge)
    """By which plans models are evaluated."""
    health: Customizations | None = None
    """Argo CD's Lua health customisations."""
    alerts: tuple[str, ...] = ()
    """Why a last good bundle is used and not what its source has now."""

    @property
    def believed(self) -> Roots:
        """Everybody whose evidence counts."""
        from customhouse.trust.roots import Roots

        return self.others or Roots(keys=self.roots)

    def statements(
        self, files: Mapping[str, bytes], digest: str, at: datetime, tree: Tree | None = None, name: str = ""
    ) -> tuple[Evidence, ...]:
        """The evidence about `digest` among `files`, as this revision believes it (`trust.filed.read_filed`).

        The one way to it for the gate, the webhook and the audit: whoever signed a scan that rests on a branch's own
        names, only those of the revision that judges count. Raises EvidenceError.
        """
        from customhouse.trust.filed import read_filed  # with `cryptography`: most runs have no evidence to look at

        rules = self.configuration.scan
        return tuple(rules.believed(item, at) for item in read_filed(files, digest, self.believed, at, tree, name))

    @property
    def floating(self) -> bool:
        """Whether a bundle is meant that is not pinned: its source is asked again from time to time."""
        trial = self.configuration.canary
        named = (*self.configuration.bundles, *((trial.pulled,) if trial and trial.pulled else ()))
        return any(item.digest is None for item in named)

    @property
    def prices(self) -> PriceSettings:
        """Where workloads run, for the estimate."""
        expected = tuple(
            ExpectedInterruption(item.machines, item.percent_per_month, item.lost_minutes)
            for item in self.configuration.interruptions
        )
        return PriceSettings(self.configuration.provider, self.configuration.region, CURRENCY, interruptions=expected)

    @property
    def proposed_shelf(self) -> Shelf | None:
        """Where bundles come from that a successor names: from no place that this governance does not name."""
        if self.shelf is None:
            return None
        trial = self.configuration.canary
        known = (*self.configuration.bundles, *((trial.pulled,) if trial and trial.pulled else ()))
        return self.shelf.for_successor(known)

    @property
    def policy(self) -> PolicySettings:
        """What the rules are told."""
        return PolicySettings(
            trusted_registries=self.configuration.trusted_registries,
            required_labels=self.configuration.required_labels,
            require_signed_commits=self.configuration.require_signed_commits,
            max_exception_days=self.configuration.max_exception_days,
            frameworks=self.configuration.frameworks,
            provenance=ProvenanceJudge(self.configuration.provenance, self.history),
            evaluation=self.evaluation,
            vulnerabilities=VulnerabilityJudge(),
            models=self.configuration.models,
            storage=self.configuration.storage,
        )


def read_configuration(data: bytes, file: str = FILE) -> Configuration:
    """Read one customhouse.yaml. Raises ConfigError with file, line, column and the fix."""
    read = read_document(data, file)
    return parse(read.value, read.marks, file)


def read_document(data: bytes, file: str) -> Read:
    """One YAML document with the places of its parts. Raises ConfigError."""
    try:
        roots = yaml_nodes.compose(yaml_nodes.decode(data, file), file)
        read = Reader(file).read(roots[0]) if len(roots) == 1 else None
    except CustomhouseError as error:
        raise ConfigError(error.message, where=error.where, hint=error.hint) from error
    if read is None:
        raise ConfigError(f"it holds {len(roots)} documents; one is expected", where=file)
    return read


def read_waivers(data: bytes, file: str, max_days: int = MAX_EXCEPTION_DAYS) -> tuple[Waiver, ...]:
    """The waivers of a file. Raises ConfigError with file, line and column."""
    read = read_document(data, file)
    value: Any = read.value
    if not isinstance(value, list):
        raise ConfigError("it is not a list of waivers", where=file, hint="write `- id: …` for each")
    return parse_waivers(value, file, marks=read.marks, max_days=max_days)


def governance(
    tree: SourceTree | None, revision: str | None, fallback: Path | None = None, shelf: Shelf | None = None
) -> Governance:
    """The governance of a base revision; bundles from elsewhere (`policy.bundles`) are taken from `shelf`.

    Without a revision, or without customhouse.yaml in it: `fallback` (the file of `--config`; its other files are
    read beside it), else the built-in defaults, which trust nobody. Raises ConfigError, PolicyError and PriceError
    that name the file.
    """
    if tree is not None and revision is not None:
        data = tree.read(revision, FILE)
        if data is not None:
            return _assemble(read_configuration(data), _Files(tree, revision), shelf)
    if fallback is not None:
        return _assemble(read_configuration(fallback.read_bytes(), fallback.name), _Beside(fallback.parent), shelf)
    return Governance(Configuration(), builtin_bundle(), PriceBook.load())


class _Files:
    def __init__(self, tree: SourceTree, revision: str) -> None:
        self._tree, self._revision = tree, revision

    @property
    def history(self) -> ReviewedHistory | None:
        return ReviewedHistory.of(self._tree, self._revision)

    def read(self, path: str) -> bytes:
        data = self._tree.read(self._revision, path)
        if data is None:
            raise ConfigError(f"it names {path}, which does not exist at {self._revision[:12]}", where=FILE)
        return data

    def find(self, path: str) -> bytes | None:
        return self._tree.read(self._revision, path)

    def folder(self, path: str) -> Mapping[str, bytes]:
        return dict(self._tree.files(self._revision, path.rstrip("/") + "/"))


class _Beside:
    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def read(self, path: str) -> bytes:
        place = (self._root / path).resolve()
        if not place.is_relative_to(self._root) or not place.is_file():
            raise ConfigError(f"it names {path}, which is not a file beside it", where=FILE)
        return place.read_bytes()

    def folder(self, path: str) -> Mapping[str, bytes]:
        root = (self._root / path).resolve()
        if not root.is_relative_to(self._root):
            raise ConfigError(f"it names {path}, which is not beside it", where=FILE)
        return {
            item.relative_to(self._root).as_posix(): item.read_bytes()
            for item in sorted(root.rglob("*"))
            if item.is_file() and not item.is_symlink()
        }


def declared_governance(tree: SourceTree, revision: str) -> Mapping[str, str]:
    """Path → digest of what a revision says about judging its successors; empty without a customhouse.yaml.

    Raises ConfigError when it cannot be read, or names what is not there: such a revision must not be merged.
    """
    data = tree.read(revision, FILE)
    return {} if data is None else _digests(read_configuration(data), _Files(tree, revision))


def set_aside(tree: SourceTree, revision: str) -> tuple[str, ...]:
    """What a revision's customhouse.yaml names as its own: waivers, plans, and the bundle's folder with a `/`.

    These are YAML too, and no Declarations: nothing in them is judged as one, and nothing in them runs. Raises
    ConfigError.
    """
    data = tree.read(revision, FILE)
    if data is None:
        return ()
    configuration = read_configuration(data)
    own = (*own_folders(configuration), *((configuration.conftest,) if configuration.conftest else ()))
    folders = [f"{folder.strip('/')}/" for folder in own]
    plans = (entry.file for entry in configuration.evaluation)
    return tuple(name for name in (configuration.waivers, *plans, *folders) if name)


def as_declaration(files: Mapping[str, str]) -> Declaration | None:
    """Governance as an object that the gate judges like any other; None when there is none.

    Without it a commit that only changes who is trusted would change no Declaration, and nobody would judge it.
    """
    if not files:
        return None
    ref = ResourceRef("customhouse.dev/v1", GOVERNANCE, "", FILE)
    manifest = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {"name": ref.name},
        "spec": {"files": dict(files)},
    }
    return Declaration(ref, manifest, Location(FILE))


def _digests(configuration: Configuration, files: _Files | _Beside) -> Mapping[str, str]:
    named = [*(key.public_key for key in configuration.keys), *configuration.trust.files()]
    named += [*configuration.gpg_keys, *(entry.file for entry in configuration.evaluation)]
    named += [path for path in (configuration.allowed_signers, configuration.waivers) if path]
    named += [configuration.price_book] if configuration.price_book else []
    found = {FILE: bytes_digest(files.read(FILE)), **{path: bytes_digest(files.read(path)) for path in named}}
    foreign = (folder for folder in (configuration.gatekeeper, configuration.conftest) if folder)
    store = (configuration.trust.notary_store,) if configuration.trust.notary_store else ()
    for folder in (*own_folders(configuration), *foreign, *store):
        found |= {path: bytes_digest(data) for path, data in files.folder(folder).items()}
    if configuration.forge is not None and isinstance(files, _Files):
        # Who must agree to a change is a rule too: taking oneself in needs the consent of those who are there.
        owners = ((path, files.find(path)) for path in OWNERS)
        found |= {path: bytes_digest(data) for path, data in owners if data is not None}
    if configuration.health:
        found |= {path: bytes_digest(data) for path, data in _health_files(configuration.health, files).items()}
    return dict(sorted(found.items()))


def _health_files(path: str, files: _Files | _Beside) -> Mapping[str, bytes]:
    """The file at a path, or those of a folder that are scripts. Raises ConfigError where there is neither."""
    folder = {name: data for name, data in files.folder(path).items() if name.endswith("/health.lua")}
    return folder or {path: files.read(path)}


def _foreign(configuration: Configuration, files: _Files | _Beside) -> ForeignSource | None:
    """The files of policies of others. Raises ConfigError for a folder that is empty."""
    if configuration.gatekeeper is None and configuration.conftest is None:
        return None
    found = []
    for folder in (configuration.gatekeeper, configuration.conftest):
        held = None if folder is None else files.folder(folder)
        if held is not None and not held:
            raise ConfigError(f"it names the folder {folder}, which has no file", where=FILE)
        found.append(held)
    return ForeignSource(gatekeeper=found[0], conftest=found[1])


def _roots(configuration: Configuration, files: _Files | _Beside) -> tuple[TrustRoot, ...]:
    from customhouse.trust.keys import TrustRoot  # with the whole of `cryptography`: only where a key is named

    return tuple(TrustRoot(key.name, files.read(key.public_key), frozenset(key.kinds)) for key in configuration.keys)


def _others(configuration: Configuration, keys: tuple[TrustRoot, ...], files: _Files | _Beside) -> Roots | None:
    if configuration.trust in (TrustSpec(), TrustSpec(registries=configuration.trust.registries)):
        return None
    return roots_of(configuration.trust, keys, files.read, files.folder)


def _assemble(configuration: Configuration, files: _Files | _Beside, shelf: Shelf | None) -> Governance:
    roots = _roots(configuration, files) if configuration.keys else ()
    waivers: tuple[Waiver, ...] = ()
    if configuration.waivers:
        given = files.read(configuration.waivers)
        waivers = read_waivers(given, configuration.waivers, configuration.max_exception_days)
    rules = Rules(shelf, roots, files.folder)
    book = PriceBook.load()
    if configuration.price_book:
        book = PriceBook.read(files.read(configuration.price_book), configuration.price_book, over=book)
    return Governance(
        configuration=configuration,
        bundle=rules.in_force(configuration),
        book=book,
        roots=roots,
        others=_others(configuration, roots, files),
        allowed_signers=files.read(configuration.allowed_signers) if configuration.allowed_signers else None,
        gpg_keys=tuple(files.read(path) for path in configuration.gpg_keys),
        waivers=waivers,
        budgets=tuple(
            Budget(budget.name, budget.monthly, budget.namespaces, budget.labels) for budget in configuration.budgets
        ),
        files=_digests(configuration, files) if isinstance(files, _Files) else {},
        canary=rules.on_trial(configuration, waivers),
        shelf=shelf,
        foreign=_foreign(configuration, files),
        health=customizations_in(configuration.health, _health_files(configuration.health, files))
        if configuration.health
        else None,
        alerts=tuple(rules.alerts),
        history=files.history if isinstance(files, _Files) else None,
        evaluation=EvaluationJudge.of(
            configuration.evaluation,
            files.read,
            lambda data, file: read_document(data, file).value,
            configuration.provenance.datasets,
        ),
    )
