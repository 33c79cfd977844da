"""What an admission decision rests on besides the request: read once a generation, then only looked at.

Governance, what was spent, what Git declares with the Facts that the gate recorded of it, and the evidence that is
filed in the repository. Nothing here is fetched while a review waits: a miss is "could not decide".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from customhouse.app.memory import Memory
from customhouse.app.settings import Settings
from customhouse.core.decision import Point
from customhouse.core.errors import CannotDecideError, TamperError
from customhouse.core.ports import DecisionLog
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
    partial: frozenset[str] = frozenset()
    """The digests of which not everything that is there was read: what is missing might speak against them."""

    _folders: dict[str, dict[str, bytes]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for path, data in self.evidence.items():
            self._folders.setdefault(path.rpartition("/")[0], {})[path] = data

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
    """Read a generation: of the state that `up` keeps when there is one, of a repository's HEAD, or of `--config`.

    Raises ConfigError, PolicyError, PriceError and SourceError that name the file: such a generation is not taken over.
    """
    if repo is None:
        governing = governance(None, None, settings.config, wiring.shelf(settings))
        folder = (settings.config.parent if settings.config else Path()) / FOLDER
        evidence, partial = _filed(folder) if settings.config else ({}, frozenset())
        context = AdmissionContext(governing, spend_of(settings, governing), evidence=evidence, partial=partial)
        return _with_index(context, settings)
    objects = wiring.commits(settings, repo)
    if not wiring.has_store(settings):
        revision = objects.resolve("HEAD")
        governing = governance(objects, revision, settings.config, wiring.shelf(settings))
        declared = governing.configuration.placing.anywhere(
            declarations_of(objects, revision, governing.configuration.paths)
        )
        spend = spend_of(settings, governing, objects)
        filed = objects.files(revision, f"{FOLDER}/")
        return _with_index(AdmissionContext(governing, spend, revision, declared, {}, filed), settings)
    with wiring.store(settings) as opened:
        deployed = Memory(opened.state).deployed
        revision = objects.resolve("HEAD") if deployed is None else deployed.revision
        governing = governance(objects, revision, settings.config, wiring.shelf(settings))
        paths = governing.configuration.paths if deployed is None else deployed.paths
        declared = governing.configuration.placing.anywhere(declarations_of(objects, revision, paths))
        recorded = dict(_recorded(opened.decisions, declared)) if deployed is not None else {}
    spend = spend_of(settings, governing, objects)
    filed = objects.files(revision, f"{FOLDER}/")
    return _with_index(AdmissionContext(governing, spend, revision, declared, recorded, filed), settings)


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
            parts.append("" if deployed is None else f"{deployed.revision} {deployed.governed_by}")
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
