"""Files that lie elsewhere: what a store says of them before they are fetched; the bytes are held against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from customhouse.core.errors import ArtifactError

Take = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of an artifact: `path` below its root, `size` in bytes.

    `digest` is `sha256:…` where the store says it, else None; `pin` is what the store needs to give these bytes again
    and no others (a version, an ETag, a commit), empty where it has no such thing.
    """

    path: str
    size: int
    digest: str | None = None
    pin: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For a lock: `{"path","size","digest","pin"}`."""
        return {"path": self.path, "size": self.size, "digest": self.digest, "pin": dict(self.pin)}

    @classmethod
    def from_json(cls, document: Any, where: str) -> RemoteFile:
        """The inverse. Raises ArtifactError naming `where`."""
        try:
            path, size, digest, pin = (document[key] for key in ("path", "size", "digest", "pin"))
            fits = isinstance(path, str) and isinstance(size, int) and isinstance(digest, str | None)
            fits = fits and all(isinstance(part, str) for item in pin.items() for part in item)
        except (KeyError, TypeError, AttributeError):
            fits = False
        if not fits:
            raise ArtifactError("not a list of files with path, size, digest and pin", where=where)
        return cls(path, size, digest, dict(pin))


@dataclass(frozen=True, slots=True)
class Located:
    """Where an artifact is, resolved once.

    `reference` says it so that it leads to the same bytes again (a version, not an alias); `claims` is what the store
    says beside (licence, base model, approval): told, never trusted.
    """

    reference: str
    files: tuple[RemoteFile, ...]
    claims: Mapping[str, Any] = field(default_factory=dict)


class ModelStore(Protocol):
    """A place that models are fetched from. Everything raises ArtifactError when it cannot be had."""

    def locate(self, reference: str) -> Located:
        """What a reference means now."""

    def fetch(self, located: Located, file: RemoteFile, take: Take) -> None:
        """The bytes of one file, piece by piece, or an error at the end: then nothing may be kept."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """Who may write to a store, and whether that is logged. None: it does not say, or may not be asked."""

    public_write: bool | None = None
    versioned: bool | None = None
    logged: bool | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """`{"publicWrite","versioned","auditLog","notes"}`; null is unknown."""
        return {
            "publicWrite": self.public_write,
            "versioned": self.versioned,
            "auditLog": self.logged,
            "notes": list(self.notes),
        }
