"""Declarations: Kubernetes objects as written in Git, with the place of everything in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse._kit.frozen import quickly_made

Manifest = Mapping[str, Any]
"""One Kubernetes object: JSON values only, keys are text. Treated as immutable by everybody."""

PREFIX = "customhouse.dev/"
"""Our labels and annotations (DESIGN section 4)."""


@quickly_made
@dataclass(frozen=True, slots=True, order=True)
class ResourceRef:
    """What names one object in a target. `namespace` is empty for cluster-scoped kinds.

    `scene` is empty but where one repository declares the same object for several clusters or as several alternatives
    (two overlays, `clusters/staging` and `clusters/production`): then it says which. No target knows of scenes.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    scene: str = ""

    def __str__(self) -> str:
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}" + (f" [{self.scene}]" if self.scene else "")

    def to_json(self) -> dict[str, str]:
        """`{"apiVersion","kind","namespace","name"}`, as every output of the command line writes it.

        Without the scene: an object is judged alike wherever it is seen, and a cluster does not know of scenes.
        """
        return {"apiVersion": self.api_version, "kind": self.kind, "namespace": self.namespace, "name": self.name}

    def stored(self) -> dict[str, str]:
        """As `to_json`, with the scene where there is one: for our own documents, of several clusters."""
        return {**self.to_json(), "scene": self.scene} if self.scene else self.to_json()

    @classmethod
    def of(cls, manifest: Manifest, default_namespace: str = "default") -> ResourceRef:
        """The reference of a manifest that has apiVersion, kind and metadata.name, all of them text.

        Raises KeyError for one that is missing, TypeError for one that is something else.
        """
        metadata = manifest["metadata"]
        if not isinstance(metadata, Mapping):
            raise TypeError("metadata is not a mapping")
        namespace = metadata.get("namespace")
        parts = (
            manifest["apiVersion"],
            manifest["kind"],
            default_namespace if namespace is None or namespace == "" else namespace,
            metadata["name"],
        )
        for name, part in zip(("apiVersion", "kind", "metadata.namespace", "metadata.name"), parts, strict=True):
            if not isinstance(part, str):
                raise TypeError(f"{name} is {part!r}; write a text")
        return cls(*parts)


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file of the repository: POSIX path, line and column counted from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Rendering:
    """How an object came out of a root that is rendered: which one, and by which program (its version and digest)."""

    root: str
    program: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class HookRun:
    """One run of a hook. `run` differs whenever anything that it goes with does: then it is run again.

    `on_failure`: only when another hook of its group has failed.
    """

    run: str
    delete_when: tuple[str, ...] = ()
    """`HookSucceeded`, `HookFailed`: when it is deleted. What is left of an earlier run always goes before the next."""
    on_failure: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """A group that comes before: all of it is applied; with `ready` all of it is ready, else `checks` are."""

    group: str
    ready: bool = False
    checks: tuple[ResourceRef, ...] = ()
    timeout_s: int = 0
    """After how long it is told as a problem that this takes; 0: never."""


@dataclass(frozen=True, slots=True)
class Leeway:
    """Fields that may be otherwise than declared: JSON pointers, jq paths, and whatever these managers have written.

    `respect`: they are left as they are also when the object is applied for another reason.
    """

    pointers: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()
    respect: bool = False


@dataclass(frozen=True, slots=True)
class Care:
    """How an object is kept, as what has it applied says. `hold`: why it is neither applied nor deleted, if so."""

    wave: int = 0
    keep: bool = False
    """Whether it stays when it is no longer declared."""
    heal: bool = True
    """Whether it is put right when somebody alters it; otherwise that is only told."""
    hold: str = ""
    after: tuple[ResourceRef, ...] = ()
    """Objects that make a Secret which it refers to: it is not created before they are ready."""
    release: bool = False
    """Of what is held: whether it is another one's for good, and no longer in our inventory."""
    group: str = ""
    """What it is applied with: waves count within it."""
    needs: tuple[Need, ...] = ()
    """Groups that come before it."""
    hook: HookRun | None = None
    leeway: Leeway | None = None


@quickly_made
@dataclass(frozen=True, slots=True)
class Declaration:
    """One object as written in Git. `marks` maps a JSON pointer (RFC 6901) into the manifest to its place."""

    ref: ResourceRef
    manifest: Manifest
    location: Location
    marks: Mapping[str, Location] = field(default_factory=dict, compare=False, repr=False)
    rendering: Rendering | None = field(default=None, compare=False)
    """None for an object that is written as it is; otherwise places are those that could be told."""
    owner: ResourceRef | None = field(default=None, compare=False)
    """The Argo CD or Flux object that has it applied; None for one that the repository itself declares."""
    scene: str = field(default="", compare=False)
    """Where it belongs, should another of its name be declared elsewhere (`ref.scene` is set only then)."""
    care: Care | None = field(default=None, compare=False)
    """How it is kept; None: as its own annotations say."""

    @property
    def digest(self) -> str:
        """The digest of the manifest's canonical JSON."""
        return json_digest(self.manifest)

    def locate(self, pointer: str) -> Location:
        """The place of a JSON pointer, or of its nearest ancestor that has one."""
        while pointer:  # marks may be found when they are asked for: their number says nothing
            if pointer in self.marks:
                return self.marks[pointer]
            pointer = pointer.rpartition("/")[0]
        return self.location

    def label(self, name: str) -> str | None:
        """A label's value, or None."""
        return self._marking("labels", name)

    def annotation(self, name: str) -> str | None:
        """An annotation's value, or None."""
        return self._marking("annotations", name)

    def _marking(self, field_name: str, name: str) -> str | None:
        # What is not a mapping marks nothing: a label that a rule asks for is then missing, and the gate stays shut.
        metadata = self.manifest.get("metadata")
        markings = metadata.get(field_name) if isinstance(metadata, Mapping) else None
        value = markings.get(name) if isinstance(markings, Mapping) else None
        return None if value is None else str(value)
