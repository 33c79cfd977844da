"""Wiring: the only module that names adapters. It turns Settings into the ports that use cases ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from customhouse._kit.clock import Clock, SystemClock
from customhouse.app.settings import Settings
from customhouse.core.errors import ConfigError, SourceError, UsageError

if TYPE_CHECKING:
    from customhouse._kit.http import Answer
    from customhouse.app.configuration import Configuration
    from customhouse.app.evidence_index import EvidenceIndex
    from customhouse.app.policyshelf import Shelf
    from customhouse.app.sources import SourceTree
    from customhouse.app.target_spec import ClusterSpec
    from customhouse.control.adapters.git import GitRepository
    from customhouse.control.adapters.git_proof import RawObjects
    from customhouse.control.rendering import Renderer
    from customhouse.control.source import Commits
    from customhouse.core.forge import Forge
    from customhouse.core.ledger import Checkpoint
    from customhouse.core.ports import PolicyEngine, Progress
    from customhouse.execution.adapters.inference import Inference
    from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
    from customhouse.execution.adapters.local.jobs import SecretProvider
    from customhouse.execution.adapters.local.target import LocalTarget
    from customhouse.policy.foreign_engine import RightEngine
    from customhouse.policy.gatekeeper_cel import CelEngine
    from customhouse.policy.testrun import CoveringEngine
    from customhouse.store.advisories import Advisories
    from customhouse.store.database import Store
    from customhouse.store.graph_index import GraphIndex
    from customhouse.store.ledger_scattered import ScatteredReader
    from customhouse.trust.adapters.registries.oci import OciRegistry
    from customhouse.trust.adapters.tiles import TileSource
    from customhouse.trust.adapters.tiles_check import Mirrored
    from customhouse.trust.keys import PublicKey
    from customhouse.trust.ledger import Ledger, LedgerReport, Verified
    from customhouse.trust.note import NoteKey
    from customhouse.trust.sigstore.keyless import Post
    from customhouse.trust.witness import Witness

STORE_FILE = "state.db"
INDEX_FILE = "custody.db"
ADVISORIES_FILE = "advisories.sqlite"
ADMITTED = "admitted"
LEDGER_KEY = "ledger"
WITNESS_KEY = "witness"
LEDGER_ORIGIN = "customhouse.dev/ledger"


def clock() -> Clock:
    """The machine's clock."""
    return SystemClock()


def sigstore_post() -> Post:
    """The way to Sigstore's services, for keyless signing."""
    from customhouse.trust.adapters.sigstore_services import post

    return post


def _on_path(program: str, settings: Settings) -> str | None:
    """Where a program is, as the environment has it."""
    import shutil

    return shutil.which(program, path=settings.environment.get("PATH"))


def engine(settings: Settings, *, timeout_s: float = 10.0) -> PolicyEngine:
    """The policy engine that was asked for; `auto` takes an OPA of 1.0 or later on PATH. Raises UsageError.

    Either runs in a process of its own that is ended when it does not answer in time. CUSTOMHOUSE_OPA names an OPA that
    somebody else runs; it goes before one on PATH.
    """
    from customhouse.policy.adapters.guarded import GuardedEngine

    if settings.opa and settings.engine != "embedded":
        from customhouse.policy.adapters.opa_beside import OpaBeside

        return OpaBeside(settings.opa, timeout_s=timeout_s)
    found = _on_path("opa", settings)
    if settings.engine == "opa" and found is None:
        raise UsageError("the program `opa` is not on PATH", hint="install it (`make parts`), or --engine embedded")
    if settings.engine == "embedded" or found is None:
        return GuardedEngine(timeout_s=timeout_s)
    from customhouse.policy.adapters.opa import OpaEngine
    from customhouse.policy.adapters.opa_server import OpaServer

    # An older OPA reads another language (Rego v0) by default; it is taken only by name, and then says so itself.
    if settings.engine == "opa" or OpaEngine(found).speaks_v1():
        return OpaServer(found, timeout_s=timeout_s)
    return GuardedEngine(timeout_s=timeout_s)


def started_engine(settings: Settings) -> PolicyEngine:
    """`engine`, with its process started now: it gets ready beside the caller's own imports."""
    from customhouse.policy.adapters.guarded import GuardedEngine

    found = engine(settings)
    if isinstance(found, GuardedEngine):
        found.start()
    return found


def admission_engine(settings: Settings) -> PolicyEngine:
    """The engine of one evaluator of the webhook: the embedded one, compiled, unless OPA is asked for by name."""
    from customhouse.policy.adapters.regorus import RegorusEngine

    return engine(settings) if settings.engine == "opa" else RegorusEngine(compile_packaged=True)


def foreign_engine(settings: Settings) -> RightEngine:
    """The engines for Rego of others: the embedded one first, an OPA on PATH for what it lacks. Raises UsageError."""
    from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
    from customhouse.policy.foreign_engine import RightEngine

    found = None if settings.engine == "embedded" else _on_path("opa", settings)
    if settings.engine == "opa" and found is None and not settings.opa:
        raise UsageError("the program `opa` is not on PATH", hint="install it (`make parts`), or --engine embedded")
    exact = None
    if found is not None:
        from customhouse.policy.adapters.opa_foreign import OpaForeign

        exact = OpaForeign(found)
    # An OPA beside us is asked our own rules alone: those of others need its program, with capabilities of its own.
    return RightEngine(None if settings.engine == "opa" and exact is not None else EmbeddedForeign(), exact)


def foreign_engine_beside(engine: PolicyEngine, *, guarded: bool) -> RightEngine:
    """The engines for Rego of others, beside the engine that judges: OPA is asked where that one is OPA.

    `guarded`: in a process that is ended when it does not answer in time; else in this one, which is such a process.
    """
    program = engine.program if engine.name == "opa" and hasattr(engine, "program") else None
    return _foreign_beside(program, guarded=guarded)


@cache
def _foreign_beside(program: str | None, *, guarded: bool) -> RightEngine:
    """Kept, with what it has compiled."""
    from customhouse.policy.adapters.guarded_foreign import GuardedForeign
    from customhouse.policy.adapters.opa_foreign import OpaForeign
    from customhouse.policy.adapters.regorus_foreign import EmbeddedForeign
    from customhouse.policy.foreign_engine import RightEngine

    embedded = GuardedForeign() if guarded else EmbeddedForeign()
    return RightEngine(embedded, None if program is None else OpaForeign(program))


def cel_engine() -> CelEngine | None:
    """The engine for constraint templates in CEL alone, where `customhouse[cel]` is installed."""
    from importlib.util import find_spec

    if find_spec("cel_expr_python") is None:
        return None
    from customhouse.policy.adapters.cel import GoogleCel

    return GoogleCel()


def covering_engine() -> CoveringEngine:
    """The embedded engine as one that tells which lines of the rules it evaluated."""
    from customhouse.policy.adapters.regorus import RegorusEngine

    return RegorusEngine()


def shelf(settings: Settings) -> Shelf:
    """The bundles that were pulled, below the state directory, and the ways to pull more."""
    from customhouse.app.policyshelf import Shelf
    from customhouse.app.policysources import Registry, Sources

    def opened(reference: str) -> tuple[Registry, str, str | None, str | None]:
        from customhouse.trust.oci import Reference

        # The password goes to the one registry that it is for, and to no other that a file names.
        read = Reference.parse(reference)
        return registry(settings, read.host), read.repository, read.tag, read.digest

    return Shelf(settings.state / "bundles", Sources(settings.workspace, opened).fetch)


def registry(settings: Settings, host: str, timeout_s: float = 60.0) -> OciRegistry:
    """A registry with the login that is kept for it: of the environment for the one that it names, else docker's."""
    from customhouse.trust.adapters.registries.access import stored_credentials
    from customhouse.trust.adapters.registries.oci import Credentials, OciRegistry

    user = settings.environment.get("CUSTOMHOUSE_REGISTRY_USER")
    if user and settings.environment.get("CUSTOMHOUSE_REGISTRY") == host:
        given: Credentials | None = Credentials(user, settings.environment.get("CUSTOMHOUSE_REGISTRY_PASSWORD", ""))
    else:
        given = stored_credentials(host, settings.environment)
    return OciRegistry(host, given, timeout_s=timeout_s)


def evidence_index(
    settings: Settings, configuration: Configuration, *, ask: bool = True, keep: bool | None = None
) -> EvidenceIndex | None:
    """What is known of evidence in registries; None where a configuration names none. `ask`: they are asked.

    `keep`: what they say is filed; by default where there is a state directory, or one was named.
    """
    from customhouse.app.evidence_index import FOLDER, EvidenceIndex

    if not configuration.trust.registries:
        return None
    opened = (lambda host: registry(settings, host)) if ask else None
    kept = (settings.state_named or settings.state.is_dir()) if keep is None else keep
    return EvidenceIndex(settings.state / FOLDER, configuration.trust, clock(), opened, keep=kept)


def has_store(settings: Settings) -> bool:
    """Whether there is a store to read: the file of the state directory, or a server that the environment names."""
    return bool(settings.store) or (settings.state / STORE_FILE).exists()


def store(settings: Settings, *, create: bool = True) -> Store:
    """The state of `--state`, or of the server that CUSTOMHOUSE_STORE names.

    Raises UsageError when it is only to be read and there is none, StateError.
    """
    from customhouse.store import open_store

    if settings.store:
        return open_store(settings.store)
    place = settings.state / STORE_FILE
    if not create and not place.exists():
        raise UsageError(
            f"there is no state in {settings.state}", hint="run `customhouse up` or `customhouse demo`, or name --state"
        )
    return open_store(place)


def advisories(settings: Settings, db: str | None = None, *, create: bool = False) -> Advisories:
    """The advisories of `--state`, or of a file. Raises StateError when there are none and `create` is not said."""
    from customhouse.store.advisories import open_advisories

    return open_advisories(Path(db) if db else settings.state / ADVISORIES_FILE, create=create)


def ledger(settings: Settings, opened: Store, *, write: bool) -> Ledger:
    """The ledger of a store. Writing makes its key (mode 0600) the first time."""
    from customhouse.trust.keys import load_public, open_pair
    from customhouse.trust.ledger import Ledger

    old = retired_keys(settings)
    if not write:
        return Ledger(opened.ledger, load_public(settings.keys / f"{LEDGER_KEY}.pub"), LEDGER_ORIGIN, clock(), old)
    if not (settings.keys / f"{LEDGER_KEY}.key").exists() and (settings.keys / f"{LEDGER_KEY}.pub").exists():
        # A new key would fit neither the public half nor the ledger: a restored state waits for its own.
        raise ConfigError(
            "the ledger's private key is not here, only its public half",
            where=str(settings.keys / f"{LEDGER_KEY}.key"),
            hint="bring it from where it is kept; a lost one cannot be replaced (docs/ledger.md)",
        )
    return Ledger(opened.ledger, open_pair(settings.keys, LEDGER_KEY), LEDGER_ORIGIN, clock(), old)


def retired_keys(settings: Settings) -> tuple[PublicKey, ...]:
    """The keys that the ledger had before (`ledger rotate-key` keeps their public halves), the oldest first."""
    from customhouse.trust.keys import load_public

    found = settings.keys.glob(f"{LEDGER_KEY}.retired-*.pub")
    return tuple(load_public(place) for place in sorted(found, key=lambda place: (len(place.name), place.name)))


def witness(settings: Settings, opened: Store, name: str, logs: Sequence[str]) -> Witness:
    """A witness of other logs, given as verifier keys. Its own key (mode 0600) is made the first time."""
    from customhouse.trust.keys import open_pair
    from customhouse.trust.note import NoteKey
    from customhouse.trust.witness import Witness

    known = [NoteKey.from_vkey(log.strip()) for log in logs]
    return Witness(opened.witnessed, open_pair(settings.keys, WITNESS_KEY), name, known, clock())


def witness_post(url: str, body: bytes) -> Answer:
    """The way to a witness: ten seconds, no second try, no redirect, a short answer. Raises HttpError."""
    from customhouse._kit.http import request

    kind = {"Content-Type": "text/plain; charset=utf-8"}
    return request("POST", url, headers=kind, body=body, timeout_s=10.0, max_bytes=64 * 1024, retries=0)


def alert_post(url: str, body: bytes) -> Answer:
    """The way to an Alertmanager: ten seconds, no second try, no redirect. Raises HttpError."""
    from customhouse._kit.http import request

    kind = {"Content-Type": "application/json"}
    return request("POST", url, headers=kind, body=body, timeout_s=10.0, max_bytes=64 * 1024, retries=0)


def repository(settings: Settings, location: str, branch: str = "main") -> GitRepository:
    """A mirror of a remote below the state directory. Raises SourceError."""
    from customhouse._kit.digest import bytes_digest
    from customhouse.control.adapters.git import GitRepository

    name = bytes_digest(location.encode())[7:23]
    return GitRepository(location, settings.state / "git" / f"{name}.git", branch, environment=settings.environment)


def graph_index(settings: Settings) -> GraphIndex:
    """The custody index beside the state; in memory where nothing may be written there. Raises StateError."""
    from customhouse.store.graph_index import GraphIndex

    place = settings.state / INDEX_FILE
    return GraphIndex(place if os.access(settings.state, os.W_OK) else None)


def scattered(opened: Store) -> ScatteredReader:
    """Entries from all over a ledger, with the hashes that prove them."""
    from customhouse.store.ledger_scattered import ScatteredReader

    return ScatteredReader(opened.database, opened.ledger)


def mirrors(settings: Settings, repo: str | None = None) -> tuple[RawObjects, ...]:
    """What is known of Git without asking a remote: the mirrors of the state, and a local repository that is named."""
    from customhouse.control.adapters.git_objects import GitObjects
    from customhouse.control.adapters.git_program import Git
    from customhouse.control.adapters.git_proof import RawObjects

    folders = sorted((settings.state / "git").glob("*.git"))
    found = [RawObjects(GitObjects(Git(folder, settings.environment))) for folder in folders]
    if repo is not None:
        opened = commits(settings, repo)
        if isinstance(opened, GitObjects):
            found.append(RawObjects(opened))
    return tuple(found)


class _Uncommitted:
    """A work tree as a SourceTree: whatever revision is asked for, it is the files as they lie there."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        from customhouse.control.adapters.git_worktree import WorkTree

        self._tree = WorkTree(path, environment)

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        return self._tree.files(prefix)

    def read(self, rev: str, path: str) -> bytes | None:
        return self._tree.read(path)


def work_tree(settings: Settings, path: Path) -> SourceTree:
    """The uncommitted files of a work tree. Raises SourceError."""
    return _Uncommitted(path, settings.environment)


def commits(settings: Settings, location: str) -> Commits:
    """The commits of a local clone where it lies, or of a remote through a mirror. Raises SourceError."""
    from customhouse.control.adapters.git_worktree import WorkTree

    if "://" not in location and Path(location).is_dir():
        try:
            return WorkTree(Path(location), settings.environment).objects
        except SourceError:
            if not (Path(location) / "HEAD").exists():
                raise
    remote = repository(settings, location)
    remote.fetch()
    return remote


def target(settings: Settings, configuration: Configuration, secrets: SecretProvider | None = None) -> LocalTarget:
    """The local target below the state directory; image folders are those that `image_folder` names."""
    from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

    volumes, images = target_folders(settings, configuration)
    # What serves has its model's signature verified once more, by a process that reads the admission's record alone.
    checker = (sys.executable, "-I", "-m", "customhouse.app.model_check", str((settings.state / ADMITTED).absolute()))
    given = LocalSettings(
        settings.state, volumes, images, port=configuration.target_port, secrets=secrets, checker=checker
    )
    return LocalTarget(given, clock())


def scratch_target(state: Path, volumes: Mapping[str, Path], images: Mapping[str, Path]) -> LocalTarget:
    """A local target of its own, for one Job: no secrets, nothing that serves."""
    from customhouse.execution.adapters.local.target import LocalSettings, LocalTarget

    return LocalTarget(LocalSettings(state, volumes, images), clock())


def inference(path: Path, digest: str, *, seconds: float, memory: int) -> Inference:
    """A model that is evaluated, loaded by a process of its own if its files have that digest. To be closed."""
    from customhouse.execution.adapters.inference import Inference

    return Inference(path, digest, clock(), seconds=seconds, memory=memory)


def cluster(settings: Settings, kubeconfig: Path | None = None, context: str | None = None) -> KubernetesCluster:
    """The Kubernetes API that a kubeconfig names (see `find_access` for where it is looked for). Raises ConfigError."""
    from customhouse.execution.adapters.kubernetes.client import KubernetesCluster
    from customhouse.execution.adapters.kubernetes.kubeconfig import find_access

    access = find_access(settings.environment, file=kubeconfig, context=context)
    return KubernetesCluster(access, settings.environment, clock())


def target_cluster(settings: Settings, spec: ClusterSpec) -> KubernetesCluster:
    """The Kubernetes API that is a target. Raises ConfigError."""
    file = settings.workspace / spec.kubeconfig if spec.kubeconfig else None
    return cluster(settings, file, spec.context or None)


def target_folders(settings: Settings, configuration: Configuration) -> tuple[Mapping[str, Path], Mapping[str, Path]]:
    """The folders of the claims and of the images that a configuration names."""
    from customhouse.app.artifacts import Volumes

    volumes = Volumes.of(configuration.volumes, settings.workspace).folders
    return volumes, {name: image_folder(settings, name) for name in configuration.images}


def image_folder(settings: Settings, image: str) -> Path:
    """Where the files of an image of the repository lie for the local target; replaced with every revision."""
    from customhouse._kit.digest import bytes_digest

    return settings.state / "images" / bytes_digest(image.encode())[7:23]


@cache
def renderer() -> Renderer:
    """What renders Kustomize, Helm and Jsonnet roots; one for the process, since it keeps what it has rendered."""
    from customhouse.control.adapters.renderers import ProgramRenderer

    return ProgramRenderer()


def ledger_key(settings: Settings) -> NoteKey:
    """The verifier key of this machine's ledger."""
    from customhouse.trust.keys import load_public
    from customhouse.trust.note import NoteKey

    return NoteKey(LEDGER_ORIGIN, load_public(settings.keys / f"{LEDGER_KEY}.pub"))


def publish_tiles(
    opened: Store,
    folder: Path,
    key: PublicKey,
    *others: PublicKey,
    cosigned: Callable[[Checkpoint], str] = lambda made: made.note,
) -> Checkpoint:
    """Write the ledger as static tiles (C2SP tlog-tiles); only what is new."""
    from customhouse.trust.adapters.tiles import publish

    return publish(opened.ledger, folder, LEDGER_ORIGIN, key, *others, cosigned=cosigned)


def tile_source(opened: Store, key: PublicKey, cosigned: Callable[[Checkpoint], str]) -> TileSource:
    """The files of the ledger out of its store, for the server."""
    from customhouse.trust.adapters.tiles import TileSource

    return TileSource(opened.ledger, LEDGER_ORIGIN, (key,), cosigned)


def verify_tiles(folder: Path, key: PublicKey) -> LedgerReport:
    """Verify a folder of tiles with nothing but the public key."""
    from customhouse.trust.adapters.tiles import verify

    return verify(folder, LEDGER_ORIGIN, key, clock())


def mirror(place: str, log: NoteKey, since: Verified | None, progress: Progress | None) -> Mirrored:
    """Verify the files of a ledger at an address or in a folder."""
    from customhouse.trust.adapters.tiles_check import check_mirror

    return check_mirror(place, log, since, clock(), progress)


def forge(settings: Settings, configuration: Configuration) -> Forge | None:
    """The forge that a configuration names, with the token of the environment; None without one."""
    from customhouse.app.forge_settings import TOKEN
    from customhouse.control.adapters.forges.gitea import Gitea
    from customhouse.control.adapters.forges.github import GitHub
    from customhouse.control.adapters.forges.gitlab import GitLab

    spec = configuration.forge
    if spec is None:
        return None
    known: Mapping[str, type[GitHub] | type[GitLab] | type[Gitea]] = {
        "github": GitHub,
        "gitlab": GitLab,
        "gitea": Gitea,
    }
    token = settings.environment.get(TOKEN, "")
    return known[spec.kind](spec.repository, token, url=spec.url, authority=settings.environment.get("SSL_CERT_FILE"))
