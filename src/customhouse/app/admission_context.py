"""What an admission decision rests on besides the request: read once a generation, then only looked at.

Governance, what was spent, what Git declares with the Facts that the gate recorded of it, and the evidence that is
filed in the repository. Nothing here is fetched while a review waits: a miss is "could not decide".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customhouse._kit.canonical import canonical_json
from customhouse.app import wiring
from customhouse.app.clearance import Spend
from customhouse.app.configuration import FILE, Configuration
from customhouse.app.declared import declarations_of
from customhouse.app.evidence_index import FOLDER as EVIDENCE
from customhouse.app.evidence_index import STAMP
from customhouse.app.gatekeeping import spend_of
from customhouse.app.governance import Governance, governance
from customhouse.app.in_force import in_force
from customhouse.app.memory import FOUNDING, Memory
from customhouse.app.settings import Settings
from customhouse.control.source import Commits
from customhouse.core.change import Revision, SignatureState
from customhouse.core.decision import Point
from customhouse.core.errors import CannotDecideError, ConfigError, CustomhouseError, TamperError
from customhouse.core.ports import DecisionLog
from customhouse.core.queues import Queues, queues
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.trust.attestation import FOLDER

if TYPE_CHECKING:
    from customhouse.store.database import Store

Key = tuple[str, str, str, str]
"""(group, kind, namespace, name): an object is itself under every version of its API."""
_RECORDED = 10_000
_MAX_EVIDENCE = 256 * 1024 * 1024
"""Bytes, of `--config`'s folder and of the index each."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A Declaration of the revision in force, with the Facts (canonical JSON) that the gate allowed it on."""

    declaration: Declaration
    facts: bytes


@dataclass(frozen=True, slots=True)
class AdmissionContext:
    """One generation. `evidence` maps repository paths to the files below `.evidence/`."""

    governing: Governance
    spend: Spend = field(default_factory=Spend)
    revision: str | None = None
    declared: tuple[Declaration, ...] = ()
    recorded: Mapping[Key, Recorded] = field(default_factory=dict)
    evidence: Mapping[str, bytes] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    """What (`host/repository@digest`) the local index knows the attached statements of, be it none."""
    allowed: Revision | None = None
    """The revision in force, where it is known that it was allowed."""
    target: str = ""
    """Which of several targets this cluster is; empty where there is one, or where that is not known."""
    alerts: tuple[str, ...] = ()
    """What whoever runs this should know of what it rests on."""
    partial: frozenset[str] = frozenset()
    """The digests of which not everything that is there was read: what is missing might speak against them."""

    _folders: dict[str, dict[str, bytes]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _queues: list[Queues] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for path, data in self.evidence.items():
            self._folders.setdefault(path.rpartition("/")[0], {})[path] = data

    @property
    def queues(self) -> Queues:
        """Kueue's queues among what is declared; read once."""
        if not self._queues:
            self._queues.append(queues((item.ref, item.manifest) for item in self.declared))
        return self._queues[0]

    def filed(self, digest: str) -> Mapping[str, bytes]:
        """The files about one digest. Raises CannotDecideError when not all of them were read."""
        if digest in self.partial:
            raise CannotDecideError(
                f"of what is filed about {digest} not all of it was read: there are more than "
                f"{_MAX_EVIDENCE >> 20} MiB of evidence, or a file of it cannot be read",
                where=f"{FOLDER}/{digest.removeprefix('sha256:')}",
                hint=f"remove the evidence of what no longer runs below {FOLDER}/ and below {EVIDENCE}/ of the state; "
                "`customhouse image evidence --index` asks for an image again",
            )
        return self._folders.get(f"{FOLDER}/{digest.removeprefix('sha256:')}", {})

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """The evidence below a folder: the part of a SourceTree that judging asks for."""
        return {path: data for path, data in self.evidence.items() if path.startswith(prefix)}

    def read(self, rev: str, path: str) -> bytes | None:
        """One file of the evidence."""
        return self.evidence.get(path)


def key_of(ref: ResourceRef) -> Key:
    """What an object is called, whatever version of its API is spoken.

    Git does not tell what has no namespace from what is in the default one; a kind is one of both, never both.
    """
    group, slash, _ = ref.api_version.rpartition("/")
    return (group if slash else "", ref.kind, ref.namespace or "default", ref.name)


def load_context(settings: Settings, repo: str | None) -> AdmissionContext:
    """Read a generation: of the revision of a repository that is in force, or of `--config`.

    Raises ConfigError, PolicyError, PriceError and SourceError that name the file: such a generation is not taken over.
    """
    if repo is None:
        governing = governance(None, None, settings.config, wiring.shelf(settings))
        folder = (settings.config.parent if settings.config else Path()) / FOLDER
        evidence, partial = _filed(folder) if settings.config else ({}, frozenset())
        context = AdmissionContext(governing, spend_of(settings, governing), evidence=evidence, partial=partial)
        return _with_index(context, settings)
    objects = wiring.commits(settings, repo)
    if wiring.has_store(settings):
        with wiring.store(settings) as opened:
            return _with_index(_of_repository(settings, objects, opened), settings)
    return _with_index(_of_repository(settings, objects, None), settings)


def _of_repository(settings: Settings, objects: Commits, opened: Store | None) -> AdmissionContext:
    """Of the revision that is in force (`app.in_force`); a newer one that was denied rules nothing."""
    found = in_force(settings, objects, opened)
    governing = governance(objects, found.revision, settings.config, wiring.shelf(settings))
    spend = spend_of(settings, governing, objects)
    alerts = (found.unsure,) if found.unsure else ()
    if found.revision is None or not found.declares:
        evidence = {} if found.revision is None else objects.files(found.revision, f"{FOLDER}/")
        return AdmissionContext(governing, spend, found.revision, evidence=evidence, alerts=alerts)
    revision = found.revision
    paths = governing.configuration.paths if found.paths is None else found.paths
    declared = _declared(governing.configuration, declarations_of(objects, revision, paths), found.target)
    allowed = None if found.unsure else _allowed(objects, governing, revision)
    recorded = {} if opened is None or allowed is None else dict(_recorded(opened.decisions, declared))
    filed = objects.files(revision, f"{FOLDER}/")
    return AdmissionContext(
        governing, spend, revision, declared, recorded, filed, allowed=allowed, target=found.target, alerts=alerts
    )


def _declared(configuration: Configuration, declared: Sequence[Declaration], target: str) -> tuple[Declaration, ...]:
    """What is declared for the cluster that is judged. Raises ConfigError for a target that there is not."""
    placing = configuration.placing
    if not target:
        return placing.anywhere(declared)
    if target not in placing.targets:
        known = ", ".join(placing.targets) or "none"
        raise ConfigError(
            f"no target is called {target!r}; customhouse.yaml has: {known}",
            where=FILE,
            hint="--target (CUSTOMHOUSE_TARGET) names one of `targets`; leave it out where there is one `target`",
        )
    return placing.there(declared, target)


def _allowed(objects: Commits, governing: Governance, revision: str) -> Revision:
    """The revision in force, as a Change names it. It was allowed: that it descends was seen then.

    A commit may take the key away that it was signed with, so the keys of its parent, which judged it, count too.
    """
    found = objects.revision(
        revision, allowed_signers=governing.allowed_signers, last_deployed=None, gpg_keys=governing.gpg_keys
    )
    if found.signature is SignatureState.VERIFIED or not found.parents:
        return found
    try:
        base = governance(objects, found.parents[0])
    except CustomhouseError:  # a parent that was refused, or that a shallow clone has not
        return found
    return objects.revision(revision, allowed_signers=base.allowed_signers, last_deployed=None, gpg_keys=base.gpg_keys)


def _with_index(context: AdmissionContext, settings: Settings) -> AdmissionContext:
    """The context with what the local index has: registries are not asked while a request waits."""
    index = wiring.evidence_index(settings, context.governing.configuration, ask=False)
    if index is None:
        return context
    found: dict[str, bytes] = {}
    asked: set[str] = set()
    partial = set(context.partial)
    size = 0
    for digest, entry in index.entries():
        if entry is None or size > _MAX_EVIDENCE:
            partial.add(digest)  # another registry's statement of it may have been read: it is half of what is known
            continue
        size += sum(map(len, entry.files.values()))
        if size > _MAX_EVIDENCE:
            partial.add(digest)
            continue
        folder = f"{FOLDER}/{digest.removeprefix('sha256:')}"
        found.update({f"{folder}/{name}": data for name, data in entry.files.items()})
        asked.add(f"{entry.name}@{digest}")
    asked = {item for item in asked if item.rpartition("@")[2] not in partial}
    return replace(context, evidence={**found, **context.evidence}, asked=frozenset(asked), partial=frozenset(partial))


def state_of(settings: Settings, repo: str | None, opened: Store | None) -> str:
    """What tells that a new generation is due: the files that are read, and how far `up` has come.

    Cheap enough for every second; the content is judged by `load_context`. `opened` is the store of `--state`, if any.
    """
    parts = [_stamp(settings.state / EVIDENCE / STAMP)]
    if settings.allowed is not None:
        parts.append(_stamp(settings.allowed))
    if settings.config is not None:
        parts.extend(_stamp(path) for path in _named(settings.config))
    if repo is not None:
        place = Path(repo)
        for name in ("HEAD", "packed-refs"):
            parts.extend(_stamp(folder / name) for folder in (place, place / ".git") if (folder / name).is_file())
        for refs in (place / "refs" / "heads", place / ".git" / "refs" / "heads"):
            parts.extend(_stamp(item) for item in sorted(refs.rglob("*")) if item.is_file())
        if opened is not None:
            deployed = Memory(opened.state).deployed
            founding = opened.state.get(FOUNDING) if deployed is None else ""
            parts.append(f"{founding}" if deployed is None else f"{deployed.revision} {deployed.governed_by}")
    return "\n".join(parts)


def _named(config: Path) -> Iterator[Path]:
    """customhouse.yaml of `--config`, and what lies beside it that it may name: rules, waivers, keys, prices."""
    from customhouse.app.governance import read_configuration

    yield config
    try:
        configuration = read_configuration(config.read_bytes(), config.name)
    except Exception:  # noqa: BLE001 - a broken file is said by the load that this stamp leads to
        return
    root = config.parent
    for name in _files(configuration):
        place = root / name
        if place.is_dir():
            yield from (item for item in sorted(place.rglob("*")) if item.is_file())
        else:
            yield place
    yield from (item for item in sorted((root / FOLDER).rglob("*")) if item.is_file())


def _files(configuration: Configuration) -> Iterator[str]:
    for name in (
        configuration.bundle,
        configuration.waivers,
        configuration.price_book,
        configuration.allowed_signers,
        configuration.gatekeeper,
        configuration.conftest,
        *configuration.gpg_keys,
        *(key.public_key for key in configuration.keys),
        *configuration.trust.files(),
        configuration.trust.notary_store,
    ):
        if name:
            yield name


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return f"{path} -"
    return f"{path} {found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _filed(folder: Path) -> tuple[dict[str, bytes], frozenset[str]]:
    """The files below a folder, and the digests of which some could not be read or would not fit."""
    found: dict[str, bytes] = {}
    partial: set[str] = set()
    size = 0
    for item in sorted(folder.rglob("*")):
        if not item.is_file() or item.is_symlink():
            continue
        inside = item.relative_to(folder)
        size += item.stat().st_size
        if size > _MAX_EVIDENCE:
            partial.add(f"sha256:{inside.parts[0]}")
        else:
            found[f"{FOLDER}/{inside.as_posix()}"] = item.read_bytes()
    return found, frozenset(partial)


def _recorded(log: DecisionLog, declared: tuple[Declaration, ...]) -> Iterator[tuple[Key, Recorded]]:
    """The newest Facts that the gate allowed each Declaration on. Whether they are of this content is asked later."""
    wanted = {key_of(declaration.ref): declaration for declaration in declared}
    for row in log.recent(_RECORDED, Point.GATE.value):
        body, envelope = row["body"], row["envelope"]
        if envelope["revision"] is None or body["verdict"] == "deny":
            continue
        key = key_of(_ref(envelope["resource"]))
        declaration = wanted.get(key)
        if declaration is None:
            continue
        try:
            found = log.find(row["digest"])
        except TamperError:
            continue  # an edited row is no proof: the object is judged whole
        facts = next((item["facts"] for item in found if item["body"] == body), None)
        if facts is not None and facts["change"]["after"] is not None:
            del wanted[key]
            yield key, Recorded(declaration, canonical_json(facts))


def _ref(value: Mapping[str, Any]) -> ResourceRef:
    return ResourceRef(value["apiVersion"], value["kind"], value["namespace"], value["name"])


__all__ = ["FILE", "AdmissionContext", "Recorded", "key_of", "load_context", "state_of"]
