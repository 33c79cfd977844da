"""Which files of a dataset hold rows, how they are read, and which split each belongs to."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from customhouse._kit.digest import FileEntry, Tree
from customhouse.core.errors import UsageError
from customhouse.trust.dataset.pictures import SUFFIXES as PICTURES

_FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".psv": "csv", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
    ".npy": "array", ".npz": "arrays", ".txt": "text",
}  # fmt: skip
_DOCUMENTS = re.compile(r"(readme|licen[cs]e|notice|datasheet|dataset_?card|requirements)\b", re.IGNORECASE)
_SPLITS = re.compile(
    r"(?:^|[._/-])(train(?:ing)?|test(?:ing)?|eval(?:uation)?|val(?:id(?:ation)?)?|dev|holdout|live)(?=$|[._/-])",
    re.IGNORECASE,
)
_SAME = {"training": "train", "testing": "test", "val": "validation", "valid": "validation", "evaluation": "eval"}


@dataclass(frozen=True, slots=True)
class Part:
    """One file that holds rows. `name` is its path in the dataset; `label` is its folder's, for pictures and texts."""

    path: Path
    name: str
    format: str
    """csv, json, parquet, array, arrays, picture or text."""
    digest: str
    size: int
    split: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """A dataset's files: those with rows, and those that are not read as data."""

    parts: tuple[Part, ...]
    others: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in the order of their files."""
        return tuple(dict.fromkeys(part.split for part in self.parts if part.split))


def layout(root: Path, files: Tree, wanted: Sequence[str] = (), splits: Mapping[str, str] | None = None) -> Layout:
    """Sort a dataset's files. `wanted` are patterns of the schema; `splits` say which files are which split.

    Raises UsageError for a split whose pattern no file matches.
    """
    parts, others = [], []
    for entry in files.files:
        kind = _format(entry.path)
        if kind and (not wanted or any(fnmatch.fnmatchcase(entry.path, pattern) for pattern in wanted)):
            parts.append(_part(root, files, entry, kind, splits))
        else:
            others.append(entry.path)
    kinds = {part.format for part in parts}
    if kinds & {"csv", "json", "parquet"}:  # a table with pictures or notes beside it
        others += [part.name for part in parts if part.format in ("text", "picture")]
        parts = [part for part in parts if part.format not in ("text", "picture")]
    arrays = {part.name for part in parts if part.format == "array"}
    marks = {name for name in arrays if len(arrays) > 1 and re.search(r"(^|/)(.*_labels|labels|y)\.npy$", name)}
    parts = [part for part in parts if part.name not in marks]
    for name, pattern in (splits or {}).items():
        if not any(part.split == name for part in parts):
            shown = ", ".join(part.name for part in parts[:10]) or "none"
            raise UsageError(f"no file of the split {name!r} is called {pattern!r}", hint=f"files with rows: {shown}")
    return Layout(tuple(parts), tuple(sorted(others)))


def _format(path: str) -> str:
    name = path.rpartition("/")[2]
    stem = name[:-3] if name.lower().endswith(".gz") else name
    suffix = Path(stem).suffix.lower()
    if suffix in PICTURES:
        return "" if name != stem else "picture"
    if _DOCUMENTS.match(name) or (name != stem and suffix in (".parquet", ".npy", ".npz")):
        return ""
    return _FORMATS.get(suffix, "")


def _part(root: Path, files: Tree, entry: FileEntry, kind: str, splits: Mapping[str, str] | None) -> Part:
    place = root if files.single else root / entry.path
    if splits:
        split = next((name for name, pattern in splits.items() if _fits(entry.path, pattern)), "")
    else:
        split = split_in(entry.path)
    folders = entry.path.split("/")[:-1]
    own = [name for name in folders if not _SPLITS.search(name)]
    label = own[-1] if own and kind in ("picture", "text") else ""
    return Part(place, entry.path, kind, entry.digest, entry.size, split, label)


def split_in(name: str) -> str:
    """The split that a name tells, empty when it tells none."""
    found = _SPLITS.search(name)
    return _SAME.get(found[1].lower(), found[1].lower()) if found else ""


def _fits(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path, pattern) or path.startswith(pattern.rstrip("/") + "/")
