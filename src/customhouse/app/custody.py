"""Custody: what a trace and an export are made of, gathered from the state, from Git and from the ledger.

Nothing is believed for where it lies: the entries are proved, what hangs on them has the digest that they name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring
from customhouse.app.custody_index import IndexNames, Told, opened_index, positions, throw_away
from customhouse.app.custody_names import Meant, meant
from customhouse.app.settings import Settings
from customhouse.core.errors import ConfigError, CustomhouseError, SourceError, StateError, TamperError, UsageError
from customhouse.core.ledger import Checkpoint, Entry, Receipt
from customhouse.trust.custody import LinkKind, NodeKind, graph
from customhouse.trust.custody_export import Attachments, write_export
from customhouse.trust.custody_proofs import prove_entries
from customhouse.trust.custody_trace import GraphNames, Trace, Walk, trace_from
from customhouse.trust.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from customhouse.core.cost import Charge
    from customhouse.store import Store
    from customhouse.trust.keys import PublicKey
    from customhouse.trust.roots import Roots

__all__ = ["Asked", "Exported", "GitProofs", "Walk", "export", "export_to", "governing", "traced"]

_MAX_PATHS = 64
"""Declarations of one commit that are taken along."""
_DECLARED = (".yaml", ".yml", ".json", ".jsonnet", ".tpl", ".toml")
_EVIDENCE = ".evidence"


class GitProofs(Protocol):
    """One repository, asked for what proves its files (`control.adapters.git_proof`)."""

    def commits(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the ids that are commits here."""

    def proof(self, commit: str, paths: Collection[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """(raw objects by id, the paths that they lead to)."""

    def file(self, commit: str, path: str) -> bytes | None:
        """One small file."""

    def paths(self, commit: str, folder: str) -> tuple[str, ...]:
        """The paths below a folder."""

    def changed(self, commit: str) -> tuple[str, ...]:
        """The paths that a commit changed."""

    def touching(self, path: str) -> Sequence[str]:
        """The commits that touched a path."""

    def below(self, commits: Collection[str], folder: str) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of every file that any of the commits has below a folder."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A custody export, and what could not be taken along."""

    data: bytes
    traced: Trace
    left_out: tuple[str, ...]
    vkey: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is traced. `repo` is a repository to look into beside the mirrors; `data` is where the named rows lie."""

    reference: str
    walk: Walk = field(default_factory=Walk)
    repo: str | None = None
    data: str | None = None
    full: bool = False
    """Whether every entry of the ledger is read, and nothing is taken from the index."""


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches."""


def traced(settings: Settings, asked: Asked, told: Told = _silent) -> Trace:
    """What a reference names, all that led to it and all that came of it, each entry proved.

    Rows of a dataset are proved where `data` is named; else they are taken to be meant. Raises UsageError, TamperError.
    """
    with wiring.store(settings, create=False) as opened:
        checkpoint = wiring.ledger(settings, opened, write=False).checkpoint()
        found, rows = _walked(settings, opened, checkpoint, asked, told)
        if rows is not None:
            _require_rows(found, rows)
            if asked.data is not None:
                _rows(found.found[0].partition(":")[2], rows, asked.data)
        return found


def _walked(
    settings: Settings, opened: Store, checkpoint: Checkpoint, asked: Asked, told: Told
) -> tuple[Trace, tuple[int, int] | None]:
    """The trace, with the proof of every entry, and the rows that were named."""
    reader = wiring.scattered(opened)

    def sources() -> Sequence[GitProofs]:
        return wiring.mirrors(settings, asked.repo)

    def proved(indexes: Sequence[int]) -> dict[int, tuple[Receipt, Entry]]:
        return prove_entries(indexes, checkpoint, reader.entries, reader.hashes)

    def entry(index: int) -> Entry | None:
        return proved([index])[index][1] if index < checkpoint.size else None

    if asked.full:
        # Nothing is taken from the index: every entry is read, which takes as long as the ledger is.
        everything = dict(wiring.ledger(settings, opened, write=False).entries(0, checkpoint.size))
        known = graph(everything.items())
        found = meant(asked.reference, GraphNames(known), entry, sources)
        taken = proved(trace_from(known, asked.reference, found.nodes, None, asked.walk).entries)
    else:
        try:
            found, needed = _indexed(settings, opened, checkpoint, asked, told, entry, sources)
        except StateError as error:
            if error.where != str(settings.state / wiring.INDEX_FILE):
                raise
            throw_away(settings)  # a damaged one is made again
            found, needed = _indexed(settings, opened, checkpoint, asked, told, entry, sources)
        taken = proved(needed)
    known = graph((number, item) for number, (_, item) in taken.items())
    if not set(found.nodes) <= known.nodes.keys():
        raise StateError(
            "the custody index names what the ledger does not say",
            where=str(settings.state / wiring.INDEX_FILE),
            hint="delete it: it is made again; `trace --full` does without it",
        )
    return trace_from(known, asked.reference, found.nodes, taken.__getitem__, asked.walk), found.rows


def _indexed(
    settings: Settings,
    opened: Store,
    checkpoint: Checkpoint,
    asked: Asked,
    told: Told,
    entry: Callable[[int], Entry | None],
    sources: Callable[[], Sequence[GitProofs]],
) -> tuple[Meant, list[int]]:
    """What is meant and the entries that a walk from there needs, by the index."""
    with opened_index(settings, opened, checkpoint, told) as index:
        found = meant(asked.reference, IndexNames(index), entry, sources)
        return found, positions(index, found.nodes, asked.walk)


def export_to(settings: Settings, asked: Asked, file: str, since: str | None = None) -> Exported:
    """`export` into a file, whole or not at all. Raises UsageError when it cannot be written."""
    from customhouse.app.wholefile import write_whole

    done = export(settings, asked, since)
    try:
        write_whole(Path(file), done.data)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=file) from error
    return done


def export(settings: Settings, asked: Asked, since: str | None = None) -> Exported:
    """One file with everything about a reference that a stranger needs. Raises UsageError, StateError, TamperError."""
    from customhouse.trust.keys import load_private
    from customhouse.trust.note import NoteKey

    place = settings.keys / f"{wiring.LEDGER_KEY}.key"
    with wiring.store(settings, create=False) as opened:
        if not place.exists():
            raise UsageError(
                "the ledger's private key is not here, and an export is sealed by it",
                where=str(place),
                hint="export where the ledger is written; the file is then verified anywhere",
            )
        key = load_private(place)
        ledger = wiring.ledger(settings, opened, write=True)
        checkpoint = ledger.checkpoint()
        found, named = _walked(settings, opened, checkpoint, asked, _silent)
        rows = () if named is None else (_rows(found.found[0].partition(":")[2], named, asked.data),)
        gathering = _Gathering(settings, opened, found, wiring.mirrors(settings, asked.repo))
        checkpoint, found = _witnessed(opened, checkpoint, key.public, found)
        grown = _consistency(ledger, key.public, wiring.retired_keys(settings), since, checkpoint.size)
        handed_on = _handed_on(settings, opened, checkpoint, key.public)
        attachments = replace(gathering.everything(), rows=rows, consistency=grown, handed_on=handed_on)
        data = write_export(found, attachments, ledger.origin, key)
        vkey = NoteKey(ledger.origin, key.public)
        return Exported(data, found, gathering.left_out(attachments), vkey.vkey, vkey.key.key_id)


def _witnessed(opened: Store, checkpoint: Checkpoint, key: PublicKey, found: Trace) -> tuple[Checkpoint, Trace]:
    """The trace under a checkpoint with cosignatures, if one covers it: a witness may not have seen the latest yet."""
    from customhouse.app.ledger_witnesses import best_checkpoint, cosigned_note
    from customhouse.trust.note import open_checkpoint

    best = best_checkpoint(opened, max(found.entries, default=-1)) or checkpoint
    under = replace(best, note=cosigned_note(opened, best))
    if under == checkpoint:
        return checkpoint, found
    try:
        open_checkpoint(under.note, wiring.LEDGER_ORIGIN, key)
    except TamperError:  # of an older key: the latest one is under the key that seals
        return checkpoint, found
    reader = wiring.scattered(opened)
    proofs = prove_entries(found.entries, under, reader.entries, reader.hashes)
    return under, replace(found, proofs=tuple(proofs.values()))


def _handed_on(
    settings: Settings, opened: Store, checkpoint: Checkpoint, key: PublicKey
) -> tuple[tuple[Receipt, Entry], ...]:
    """The entries by which the ledger came to its key: who knows an older one can follow."""
    from itertools import pairwise

    from customhouse.trust.ledger_keys import KIND
    from customhouse.trust.note import NoteKey

    keys = [NoteKey(wiring.LEDGER_ORIGIN, item).vkey for item in (*wiring.retired_keys(settings), key)]
    reader = wiring.scattered(opened)
    indexes = reader.positions([f"{KIND}:{old}:{new}" for old, new in pairwise(keys)])
    below = [index for index in indexes if index < checkpoint.size]
    return tuple(prove_entries(below, checkpoint, reader.entries, reader.hashes).values())


def _rows(dataset: str, rows: tuple[int, int], data: str | None) -> dict[str, Any]:
    """The proof that rows are part of a dataset, from the data themselves. Raises UsageError, TamperError."""
    from customhouse.app.inspection import read_tree
    from customhouse.trust.dataset.layout import layout
    from customhouse.trust.dataset.source import row_proof

    if data is None:
        raise UsageError("rows are proved from the data themselves", hint="name where they lie with --data PATH")
    files = read_tree(Path(data))
    if files.digest != dataset:
        raise TamperError(f"these are not the data of {dataset}", where=data, hint=f"their digest is {files.digest}")
    _, proof = row_proof(layout(Path(data), files), *rows)
    return {"dataset": dataset, "proof": proof.to_json()}


def _require_rows(found: Trace, rows: tuple[int, int]) -> None:
    """Raises UsageError for rows that the dataset does not have, as its entry says."""
    for _, item in found.proofs:
        tree = item.body.get("row_tree") if found.found[0] in item.subjects else None
        count = tree.get("rows") if isinstance(tree, Mapping) else None
        if isinstance(count, int) and rows[1] > count:
            raise UsageError(
                f"rows {rows[0]} to {rows[1] - 1}: the dataset has {count}",
                hint=f"the first row is 0, the last {count - 1}",
            )


def _consistency(
    ledger: Ledger, key: PublicKey, old: Sequence[PublicKey], since: str | None, size: int
) -> Mapping[str, Any] | None:
    """The proof from a checkpoint that the stranger kept (a file), signed by the ledger's key or one before it."""
    if since is None:
        return None
    import base64

    from customhouse.app.ledger_verifying import read_checkpoint_file
    from customhouse.trust.note import NoteKey

    kept = read_checkpoint_file(Path(since), NoteKey(ledger.origin, key), *old)
    if not 0 < kept.size <= size:
        raise UsageError(f"the checkpoint has {kept.size} entries, and this ledger {size}", where=since)
    proof = [base64.b64encode(step).decode() for step in ledger.consistency(kept.size, size)]
    return {"size": kept.size, "proof": proof}


class _Gathering:
    """Collects what hangs on the entries of one trace."""

    def __init__(
        self,
        settings: Settings,
        opened: Store,
        traced: Trace,
        sources: Collection[GitProofs],
    ) -> None:
        self._settings, self._store, self._traced = settings, opened, traced
        self._entries = {receipt.index: item for receipt, item in traced.proofs}
        self._where: dict[str, GitProofs] = {}
        for source in sources:
            wanted = sorted(self._names(NodeKind.COMMIT) - self._where.keys())
            self._where.update(dict.fromkeys(source.commits(wanted), source))

    def _names(self, kind: str) -> set[str]:
        return {node.name for node in self._traced.nodes if node.kind == kind}

    def everything(self) -> Attachments:
        """All that was found."""
        commits, objects = self._commits()
        return Attachments(
            evidence=self._evidence(),
            decisions=self._decisions(),
            commits=commits,
            objects=objects,
            charges=self._charges(),
        )

    def left_out(self, found: Attachments) -> tuple[str, ...]:
        """What an entry names and nobody here has: the export says so too."""
        missing = [
            *(f"commit {name[:12]}" for name in sorted(self._names(NodeKind.COMMIT) - found.commits.keys())),
            *(f"evidence {name[:19]}…" for name in sorted(self._names(NodeKind.EVIDENCE) - found.evidence.keys())),
            *(f"decision {name[:19]}…" for name in sorted(self._names(NodeKind.DECISION) - found.decisions.keys())),
        ]
        charged = {index for index, item in self._entries.items() if item.kind == "charge"}
        missing += [f"rows of the charge in entry {index}" for index in sorted(charged - found.charges.keys())]
        return tuple(missing)

    # 6
    def _decisions(self) -> dict[str, tuple[str, str]]:
        found = {}
        for digest in self._names(NodeKind.DECISION):
            rows = self._store.decisions.find(digest)
            if rows:
                body, facts = (canonical_json(rows[0][name]).decode() for name in ("body", "facts"))
                found[digest] = (body, facts)
        return found

    # 7
    def _commits(self) -> tuple[dict[str, tuple[tuple[str, ...], tuple[str, ...]]], dict[str, bytes]]:
        commits: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        objects: dict[str, bytes] = {}
        for name, source in sorted(self._where.items()):
            rules = self._rules(source, name)
            changed = [path for path in source.changed(name) if _is_declared(path)][:_MAX_PATHS]
            raw, reached = source.proof(name, {*rules, *changed})
            objects.update(raw)
            commits[name] = (
                tuple(path for path in reached if path in rules),
                tuple(path for path in reached if path not in rules),
            )
        return commits, objects

    def _rules(self, source: GitProofs, commit: str) -> set[str]:
        """customhouse.yaml and the files that it names to say who is trusted; nothing where it cannot be read."""
        from customhouse.app.configuration import FILE
        from customhouse.app.governance import read_configuration

        data = source.file(commit, FILE)
        if data is None:
            return set()
        try:
            configuration = read_configuration(data)
        except CustomhouseError:
            return {FILE}
        named = {FILE, *(key.public_key for key in configuration.keys), *configuration.trust.files()}
        if configuration.allowed_signers:
            named.add(configuration.allowed_signers)
        store = configuration.trust.notary_store
        return named | (set(source.paths(commit, store)) if store else set())

    # 8
    def _evidence(self) -> dict[str, tuple[str, bytes]]:
        from customhouse.app.evidence_index import FOLDER, EvidenceIndex
        from customhouse.app.trusting import TrustSpec

        wanted = self._names(NodeKind.EVIDENCE)
        found: dict[str, tuple[str, bytes]] = {}
        by_source: dict[GitProofs, list[str]] = defaultdict(list)
        for commit, source in self._where.items():
            by_source[source].append(commit)
        for source, commits in by_source.items():
            for path, data in source.below(sorted(commits), _EVIDENCE):
                digest = bytes_digest(data)
                if digest in wanted and (digest not in found or path < found[digest][0]):
                    found[digest] = (path, data)
        index = EvidenceIndex(self._settings.state / FOLDER, TrustSpec(), wiring.clock())
        subjects = {link.source for link in self._traced.links if link.kind == LinkKind.ATTESTED_BY}
        for subject in sorted(subjects) if wanted - found.keys() else ():
            for name, data in index.files_of(subject.partition(":")[2]).items():
                digest = bytes_digest(data)
                if digest in wanted and digest not in found:
                    found[digest] = (name, data)
        return found

    # 10
    def _charges(self) -> dict[int, str]:
        from customhouse.app import journal

        wanted = {item.key: index for index, item in self._entries.items() if item.kind == "charge"}
        begun = [at for key in wanted if (at := _begun(key)) is not None]
        if not begun:
            return {}
        since = min(begun)
        groups: dict[str, list[Charge]] = defaultdict(list)
        for row in self._store.measurements.charges(to_rfc3339(since)):
            key = f"charge:{to_rfc3339(row.start)}/{to_rfc3339(row.end)}"
            groups[f"{key}:{row.resource}" if row.resource.kind == "Job" else key].append(row)
        found = {}
        for key, index in wanted.items():
            text = canonical_json(journal.rows_document(groups.get(key, ()))).decode()
            if bytes_digest(text.encode()) == self._entries[index].body.get("rows"):
                found[index] = text
        return found


def _begun(key: str) -> datetime | None:
    """When the interval of a charge begins; None for a key of another form."""
    try:
        return from_rfc3339(key.removeprefix("charge:").partition("/")[0])
    except ValueError:
        return None


def _is_declared(path: str) -> bool:
    return path.endswith(_DECLARED) and not path.startswith(f"{_EVIDENCE}/")


def governing(read: Callable[[str], bytes], folder: Callable[[str], Mapping[str, bytes]]) -> tuple[Roots, bytes | None]:
    """Whom the customhouse.yaml among some files trusts: what `custody_check_parts` asks for. Raises ConfigError."""
    from customhouse.app.configuration import FILE
    from customhouse.app.governance import read_configuration
    from customhouse.app.trusting import roots_of
    from customhouse.trust.keys import TrustRoot

    configuration = read_configuration(read(FILE))
    keys = tuple(TrustRoot(key.name, read(key.public_key), frozenset(key.kinds)) for key in configuration.keys)
    signers = read(configuration.allowed_signers) if configuration.allowed_signers else None
    try:
        return roots_of(configuration.trust, keys, read, folder), signers
    except SourceError as error:
        raise ConfigError(error.message, where=error.where) from error
