"""Declared: which files of a revision are Declarations, and their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from customhouse.app.governance import set_aside
from customhouse.app.sources import SourceTree
from customhouse.control.render import render
from customhouse.core.resource import Declaration

_SUFFIXES = (".yaml", ".yml", ".json")
_UNRENDERED = ("kustomization.yaml", "kustomization.yml", "Kustomization", "Chart.yaml")


def declarations_of(tree: SourceTree, revision: str, paths: Sequence[str]) -> tuple[Declaration, ...]:
    """The Declarations of a revision, in the folders that the base configuration names (none named: everywhere)."""
    return render(dict(_declared_files(tree.files(revision), paths, set_aside(tree, revision))))


def _declared_files(
    files: Mapping[str, bytes], paths: Sequence[str], others: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    folders = [path.strip("/") + "/" for path in paths]
    for name in files:
        if folders and not any(name.startswith(folder) for folder in folders):
            continue
        if any(name == other or (other.endswith("/") and name.startswith(other)) for other in others):
            continue
        if name.endswith(_SUFFIXES) or name.rpartition("/")[2] in _UNRENDERED:
            yield name, files[name]


def labels_of(declaration: Declaration) -> Mapping[str, str]:
    """The labels of a Declaration as text."""
    return {str(key): str(value) for key, value in (declaration.manifest["metadata"].get("labels") or {}).items()}
