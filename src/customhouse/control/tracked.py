"""The inventory of a source in a cluster: kept in the cluster, in ConfigMaps of some hundred objects, and in the store.

What the cluster holds says which objects are ours (reference, uid) and survives the loss of the state; what the store
holds beside that says what was last seen to be as declared, so that a restart asks the API for nothing that did not
change. An object is in one chunk for good, so that one change rewrites one chunk.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.core.cluster import ApiKind, Apply, Cluster, Refusal, Scope, Written, cluster_identity
from customhouse.core.errors import StateError, TargetError
from customhouse.core.ports import StateStore
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.core.sight import Key, key_of

NAMESPACE = "customhouse-system"
"""Where inventories and leases are kept; made when the first object is applied."""
LABEL = "customhouse.dev/inventory"
OWNER = "customhouse.dev/repository"
"""The annotation that says whose an inventory is: two repositories may say the same `target.source` (a copied file)."""
FOLLOWED = "customhouse.dev/followed"
"""The label of the ConfigMap that says from which commit a source's objects were applied last, and its key for that."""
SCHEMA = "customhouse.dev/tracked/v1"
_CHUNK = 200
_PREFIX = "tracked/"
_CLUSTERS = "tracked-in/"
"""Of which cluster the rows in the store are."""
_SYSTEM = ResourceRef("v1", "Namespace", "", "kube-system")
_MAPS = ApiKind("", "v1", "ConfigMap", "configmaps", True)
_UNCLAIMED = "\n"
"""Stands for the text of a chunk that names no repository yet: no chunk's text, so it is written again, with one."""


class ForeignInventoryError(TargetError):
    """The inventory under this source's name is that of another repository: nothing in the cluster is ours to touch."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """One object of ours. `uid` is empty until an apply has answered.

    `digest` is that of the manifest last applied, `state` the fingerprint of the live object that was then as declared;
    `done` a Job's: it ran to its end, so its absence is no reason to run it again. Those three are not in the cluster.
    """

    ref: ResourceRef
    uid: str = ""
    keep: bool = False
    digest: str = ""
    state: str = ""
    done: bool = False


class Inventories:
    """All inventories of one cluster, as one source sees them: its own, and which objects the others have.

    `repository` is whose the inventory is (OWNER). One that names another is not read, let alone written; one that
    names none, as older ones do, is taken over when something is written.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: StateStore,
        target: str,
        source: str,
        namespace: str = NAMESPACE,
        *,
        repository: str = "",
    ) -> None:
        self.target, self.source, self.namespace = target, source, namespace
        self.repository = repository
        self.revision = ""
        """The commit that is applied from here; empty where nothing is (a plan)."""
        self.place = ""
        """Where that commit comes from (a fork ahead of its origin has all of its history); empty for a folder."""
        self.unlike: Callable[[str], str] = lambda _: ""
        """Why a commit is no part of the history that is followed here; empty for one that is (or is `revision`)."""
        self._followed = self._place = ""
        self._cluster = cluster
        self._store = store
        self._chunks: dict[int, set[Key]] = defaultdict(set)
        self._chunk_of: dict[Key, int] = {}
        self._entries: dict[Key, Tracked] = {}
        self.version = 0
        """Grows whenever an entry becomes another one."""
        self._written: dict[int, str] = {}
        """What the cluster holds of each chunk, as text."""
        self._changed: set[int] = set()
        self._unsaved: dict[str, Any] = {}

    @property
    def entries(self) -> Mapping[Key, Tracked]:
        """Every object of ours."""
        return self._entries

    def load(self) -> None:
        """Read the store and the cluster; an object that either knows is ours (its uid is asked for before it goes).

        What the store holds of another cluster (its context was changed) says nothing of this one, and is forgotten.
        Raises StateError for an inventory that cannot be understood, ForeignInventoryError for another repository's:
        then nothing may be deleted, nor applied.
        """
        own = list(self._own())
        self.look()
        for key in self._rows():
            document = self._store.get(key)
            self._take(int(key.rpartition("/")[2]), _stored(document, key))
        for chunk, text, entries in own:
            self._written[chunk] = text
            self._take(chunk, entries)
        self._changed |= {chunk for chunk, text in self._written.items() if text != self._text(chunk)}

    def _rows(self) -> Sequence[str]:
        """The keys of what the store holds of this cluster, which the uid of its namespace kube-system tells apart.

        What it holds of another one goes when something is written.
        """
        keys = self._store.keys(self._key(""))
        try:
            uid = cluster_identity(self._cluster.get([_SYSTEM])[0] or {})
        except TargetError:  # an account that may not read it; an API that is away is met again at once
            return keys
        place = f"{_CLUSTERS}{self.target}/{self.source}"
        known = self._store.get(place)
        if not uid or uid == known:
            return keys
        self._unsaved = {place: uid} if known is None else {**dict.fromkeys(keys), place: uid}
        return keys if known is None else ()

    def _take(self, chunk: int, entries: Iterable[Tracked]) -> None:
        for entry in entries:
            key = key_of(entry.ref)
            known = self._entries.get(key)
            self.version += 1
            if known is None:
                self._entries[key] = entry
                self._chunk_of[key] = chunk
                self._chunks[chunk].add(key)
                self._changed.add(chunk)
            elif entry.uid and entry.uid != known.uid:
                # The cluster's word: the store was restored from an older copy, or another controller went on.
                self._entries[key] = Tracked(entry.ref, entry.uid, entry.keep)
                self._changed.add(self._chunk_of[key])

    def _own(self) -> Iterable[tuple[int, str, tuple[Tracked, ...]]]:
        """(chunk, text, entries) of each part of ours. Raises ForeignInventoryError."""
        ours = [item for item in self._listed() if _note(item, LABEL) == self.source]
        foreign = [item for item in ours if _note(item, OWNER) not in ("", self.repository)]
        if foreign:
            raise self._foreign(foreign)
        for manifest in ours:
            chunk, text, entries = _read(manifest, self.source, self.namespace)
            yield chunk, text if _note(manifest, OWNER) == self.repository else _UNCLAIMED, entries

    def _foreign(self, found: Sequence[Manifest]) -> ForeignInventoryError:
        names = " ".join(sorted(str(item["metadata"]["name"]) for item in found))
        ours = self.repository or "unknown"
        return ForeignInventoryError(
            f"the inventory {self.source!r} is that of another repository, {_note(found[0], OWNER)[:120]!r} (this one "
            f"is {ours!r}): nothing is applied or deleted",
            where=f"ConfigMap {self.namespace}/{found[0]['metadata']['name']}",
            hint="give this repository a target.source of its own; or hand the inventory over, when that one is given "
            f"up: kubectl -n {self.namespace} annotate --overwrite configmap {names} {OWNER}={ours} && "
            f"kubectl -n {self.namespace} delete --ignore-not-found configmap followed-{self.source}",
        )

    def others(self) -> dict[Key, tuple[str, str]]:
        """The objects of other sources: (source, uid) of each, as the cluster has it now. Raises TargetError."""
        self.look()
        found: dict[Key, tuple[str, str]] = {}
        for manifest in self._listed():
            source = _note(manifest, LABEL)
            if source == self.source:
                continue
            try:
                _, _, entries = _read(manifest, source, self.namespace)
            except StateError as error:  # nothing is wrong with what is ours: this goes on as soon as that is put right
                raise TargetError(f"another inventory: {error.message}", where=error.where, hint=error.hint) from error
            found.update({key_of(entry.ref): (source, entry.uid) for entry in entries})
        return found

    def look(self) -> None:
        """See that what was applied last under this source's name was applied from the history that is followed here.

        A fork has the same first commit, and whoever rewrote a branch has it too: what the one applied, the other does
        not declare, and would delete. Raises ForeignInventoryError.
        """
        if not self.revision:
            return
        self._followed = self._place = ""
        for manifest in self._listed(FOLLOWED):
            if _note(manifest, LABEL) != self.source:
                continue
            found = str((manifest.get("data") or {}).get("revision", ""))
            why = "" if found == self.revision else self.unlike(found)
            place = str((manifest.get("data") or {}).get("repository", ""))
            if not why and place and self.place and place != self.place:
                why = f"which came from {place!r}, not from {self.place!r} (a fork that is ahead, or it moved)"
            if why:
                raise self._elsewhere(found, why, str(manifest["metadata"]["name"]))
            if manifest["metadata"]["name"] == f"followed-{self.source}":
                self._followed, self._place = found, place

    def _elsewhere(self, found: str, why: str, name: str) -> ForeignInventoryError:
        return ForeignInventoryError(
            f"the objects of the source {self.source!r} were applied last from the commit {found[:12]!r}, "
            f"{why}: nothing is applied or deleted",
            where=f"ConfigMap {self.namespace}/{name}",
            hint="give a copy of a repository a target.source of its own; if this one is to take over (history was "
            "rewritten on purpose, the other `up` has ended), what it does not declare will be deleted, within the "
            f"budget: kubectl -n {self.namespace} delete configmap {name}",
        )

    def follow(self) -> None:
        """Write down from which commit is applied, before anything is. Raises TargetError, ForeignInventoryError."""
        if self._followed == self.revision:
            return
        self.look()
        if self._followed != self.revision:
            self._write([self._followed_map()], f"ConfigMap followed-{self.source}")
            self._followed = self.revision

    def _followed_map(self) -> Manifest:
        place = self.place or self._place  # a run from a folder does not forget whose it is
        metadata = {
            "name": f"followed-{self.source}",
            "namespace": self.namespace,
            "labels": {FOLLOWED: "v1"},
            "annotations": {LABEL: self.source, **({OWNER: self.repository} if self.repository else {})},
        }
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"revision": self.revision, **({"repository": place} if place else {})},
        }

    def _listed(self, label: str = LABEL) -> Sequence[Manifest]:
        for listed in self._cluster.list([_MAPS], Scope(self.namespace, label)):
            if listed.problem:
                raise TargetError(f"the inventories cannot be read: {listed.problem}", where=self.namespace)
            return listed.objects
        raise TargetError("the inventories cannot be read: nothing was answered", where=self.namespace)

    def put(self, entry: Tracked) -> None:
        """Add or replace one; `save` makes it last."""
        key = key_of(entry.ref)
        if self._entries.get(key) == entry:
            return
        self._entries[key] = entry
        self.version += 1
        if key not in self._chunk_of:
            last = max(self._chunks, default=0)
            chunk = last if len(self._chunks[last]) < _CHUNK else last + 1
            self._chunk_of[key] = chunk
            self._chunks[chunk].add(key)
        self._changed.add(self._chunk_of[key])

    def drop(self, key: Key) -> None:
        """Forget one."""
        if self._entries.pop(key, None) is not None:
            self.version += 1
            chunk = self._chunk_of.pop(key)
            self._chunks[chunk].discard(key)
            self._changed.add(chunk)

    def save(self) -> None:
        """Write what changed: to the store, then to the cluster.

        Raises StateError and TargetError: then nothing is lost, and nothing that depends on it may be done.
        """
        if not self._changed and not self._unsaved:
            return
        if not self._written:  # there was none: another repository may have been first since then
            list(self._own())
        chunks = sorted(self._changed)
        self._store.put({**self._unsaved, **{self._key(str(chunk)): self._document(chunk) for chunk in chunks}})
        self._unsaved = {}
        texts = {chunk: self._text(chunk) for chunk in chunks}
        different = [chunk for chunk in chunks if self._written.get(chunk, "") != texts[chunk]]
        if different:
            self._publish({chunk: texts[chunk] for chunk in different})
        self._changed.clear()

    def restore(self) -> None:
        """Write again what somebody took out of the cluster or altered there."""
        held = {chunk: text for chunk, text, _ in self._own()}
        self.look()
        for chunk in self._chunks:
            if self._written.get(chunk, "") != held.get(chunk, ""):
                self._changed.add(chunk)
        self._written = held

    def _publish(self, texts: Mapping[int, str]) -> None:
        self._write([self._map(chunk, text) for chunk, text in texts.items()], self.namespace)
        self._written.update(texts)

    def _write(self, manifests: Sequence[Manifest], where: str) -> None:
        changes = [Apply(manifest, force=True) for manifest in manifests]
        answers = self._cluster.write(changes)
        if any(answer.refusal is Refusal.NO_NAMESPACE for answer in answers):
            made = self._cluster.write([Apply(_namespace(self.namespace))])
            _must(made, self.namespace)
            answers = self._cluster.write(changes)
        _must(answers, where)

    def _map(self, chunk: int, text: str) -> Manifest:
        metadata = {
            "name": _name(self.source, chunk),
            "namespace": self.namespace,
            "labels": {LABEL: "v1"},
            "annotations": {LABEL: self.source, **({OWNER: self.repository} if self.repository else {})},
        }
        data = {"schema": SCHEMA, "chunk": str(chunk), "objects": text}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def _text(self, chunk: int) -> str:
        rows = []
        for key in sorted(self._chunks[chunk]):
            entry = self._entries[key]
            ref = entry.ref
            rows.append([ref.api_version, ref.kind, ref.namespace, ref.name, entry.uid, int(entry.keep)])
        return "\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)

    def _document(self, chunk: int) -> Any:
        entries = (self._entries[key] for key in sorted(self._chunks[chunk]))
        rows = []
        for entry in entries:
            ref = entry.ref
            # The state of a Secret is a digest of its values: a guess could be held against it, so it is not kept.
            state = "" if (ref.api_version, ref.kind) == ("v1", "Secret") else entry.state
            row = [ref.api_version, ref.kind, ref.namespace, ref.name, entry.uid, int(entry.keep)]
            rows.append([*row, entry.digest, state, int(entry.done)])
        return {"schema": SCHEMA, "objects": rows} if rows else None

    def _key(self, chunk: str) -> str:
        return f"{_PREFIX}{self.target}/{self.source}/{chunk}"


def _name(source: str, chunk: int) -> str:
    return f"inventory-{source}-{chunk}"


def _note(manifest: Manifest, name: str) -> str:
    return str((manifest["metadata"].get("annotations") or {}).get(name, ""))


def _stored(document: Any, where: str) -> tuple[Tracked, ...]:
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise StateError("the inventory cannot be read", where=where, hint="upgrade customhouse, or restore the state")
    try:
        return tuple(_entry(row, where) for row in document["objects"])
    except (KeyError, TypeError) as error:
        raise StateError(f"the inventory cannot be read: {error!r}", where=where, hint="restore the state") from error


def _read(manifest: Manifest, source: str, namespace: str) -> tuple[int, str, tuple[Tracked, ...]]:
    name = manifest["metadata"]["name"]
    where = f"ConfigMap {namespace}/{name}"
    hint = "somebody edited it; restore it from a backup: without the inventory nothing may be deleted"
    data = manifest.get("data")
    try:
        if not isinstance(data, Mapping) or data["schema"] != SCHEMA:
            raise StateError("the inventory has another schema", where=where, hint="upgrade customhouse")
        text = data.get("objects") or ""
        rows = [json.loads(line) for line in text.split("\n") if line]
        chunk = int(data["chunk"])
        # One that was copied, or given to another source, would have that one delete what it never applied.
        if name != _name(source, chunk):
            raise StateError(f"it says that it is part {chunk} of the inventory of {source!r}", where=where, hint=hint)
        return chunk, text, tuple(_entry(row, where) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"the inventory cannot be read: {error!r}", where=where, hint=hint) from error


def _entry(row: Any, where: str) -> Tracked:
    if not isinstance(row, list) or len(row) not in (6, 9) or not all(isinstance(text, str) for text in row[:5]):
        raise StateError("the inventory has a row that is none", where=where, hint="restore it from a backup")
    api_version, kind, namespace, name, uid, keep, *more = row
    digest, state, done = more or ("", "", 0)
    return Tracked(
        ResourceRef(api_version, kind, namespace, name), uid, bool(keep), str(digest), str(state), bool(done)
    )


def _namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


_RIGHTS = "give the account the roles of docs/install.md"
_NOT_YET = "it is tried again; what is not in the inventory could never be deleted"


def _must(answers: Sequence[Written], where: str) -> None:
    for answer in answers:
        if not answer.ok:
            raise TargetError(
                f"the inventory cannot be written, so nothing is applied: {answer.problem}",
                where=where,
                hint="give the account the roles of docs/install.md"
                if answer.refusal is Refusal.FORBIDDEN
                else _NOT_YET,
            )
