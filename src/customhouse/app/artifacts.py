"""Artifacts: where a reference points on this machine, and whether what is there has the digest that was declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from customhouse._kit.digest import Tree, TreeError, same_digest, tree
from customhouse.core.errors import ArtifactError
from customhouse.core.evidence import ArtifactRef
from customhouse.core.resource import Declaration

SCHEME = "pvc://"


@dataclass(frozen=True, slots=True)
class Volumes:
    """PersistentVolumeClaim names and the folders that they are here. A claim that is not named is not here."""

    folders: Mapping[str, Path]

    @classmethod
    def of(cls, declared: Mapping[str, str], workspace: Path) -> Volumes:
        """Relative folders are taken from the workspace."""
        return cls({claim: (workspace / folder).absolute() for claim, folder in declared.items()})

    def locate(self, reference: str) -> Path | None:
        """The path of `pvc://claim/path`, None when the claim is not here or the scheme is another.

        Raises ArtifactError for a path that leaves the volume.
        """
        if not reference.startswith(SCHEME):
            return None
        claim, _, rest = reference.removeprefix(SCHEME).partition("/")
        root = self.folders.get(claim)
        if root is None:
            return None
        parts = PurePosixPath(rest).parts
        if not parts or ".." in parts or PurePosixPath(rest).is_absolute():
            raise ArtifactError(f"{reference} does not name a path inside the volume", hint="write pvc://claim/folder")
        place = root.joinpath(*parts)
        if not place.resolve().is_relative_to(root.resolve()):
            raise ArtifactError(f"{reference} leaves its volume through a link")
        return place


def read_artifact(
    artifact: ArtifactRef, declaration: Declaration, volumes: Volumes, hashing: Callable[[Path], Tree] = tree
) -> Tree | None:
    """The files of a model that is on this machine, checked against its pin; None when it is not here to be read.

    A claim that is not mounted here is not an error: the gate then relies on evidence bound to the pinned digest, and
    the target verifies the bytes when it loads them. Raises ArtifactError, at the place of the reference, when the
    files are missing, unreadable, or have another digest.
    """
    where = str(declaration.locate(artifact.pointer))
    place = volumes.locate(artifact.reference)
    if place is None:
        return None
    try:
        files = hashing(place)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{artifact.reference} is missing: there is nothing at {place.name}",
            where=where,
            hint="write the model to the volume first, then commit its declaration",
        ) from error
    except (TreeError, OSError) as error:
        raise ArtifactError(f"{artifact.reference} cannot be read: {error}", where=where) from error
    if not files.files:
        raise ArtifactError(f"{artifact.reference} is an empty folder", where=where)
    if artifact.digest is not None and not same_digest(files.digest, artifact.digest):
        raise ArtifactError(
            f"{artifact.reference} has the digest {files.digest}, {artifact.digest} is declared",
            where=where,
            hint="the files were changed after they were declared; build, inspect and declare the model again",
        )
    return files
