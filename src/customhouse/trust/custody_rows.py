"""Rows of a dataset under one digest: a Merkle tree over fixed chunks of rows, so that a range is provably part of it.

    tree = row_tree(Path("data/transactions"))       # {"chunk","rows","root","files"} goes into the dataset's entry
    said = prove_rows(tree, "train.csv", 100, 200)   # goes into a custody export
    check_rows(tree.to_json(), said)                 # raises TamperError

A dataset's own digest is that of whole files, of which no part can be proved alone. This one is made of the same bytes
at the same time and stands beside it in the same ledger entry.

1. A row is a line with its line end, as it lies in the file. In `.csv` and `.tsv` a line end between double quotes ends
   no row, and the first row is the header.
2. A leaf is `CHUNK` rows in a row, joined; the last one may be shorter. A header is leaf 0, alone. Leaf hashes and the
   tree above them are those of RFC 6962 (`trust.merkle`).
3. The root of the dataset is the digest of the canonical JSON `{"chunk","files":[{"path","header","rows","root"}]}`,
   files in order of their path. Files of other kinds have no rows and are not in it.

Rows are counted from 1, and a header is not counted.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from customhouse._kit.digest import FileEntry, Tree, json_digest, tree
from customhouse._kit.reading import opened
from customhouse.core.errors import ArtifactError, TamperError, UsageError
from customhouse.trust import merkle

CHUNK = 1024
"""Rows a leaf: a proof names at most this many rows too many, and ten million rows have 10,000 leaves (320 kB)."""
MAX_ROW = 16 << 20
MAX_LEAVES = 1 << 20
MAX_PROVED = 4096
"""Leaves of one range: four million rows."""
MAX_KEPT = 20_000
"""Leaves of a dataset that are kept in the state (900 kB): 20 million rows."""
KEPT = "rows/"
"""Where they are kept: `rows/<dataset digest>`."""
_TABLES = (".csv", ".tsv")
_LINES = (".jsonl", ".ndjson", ".txt")
_RANGE = re.compile(r"([1-9][0-9]{0,14})(?:-([1-9][0-9]{0,14}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RowFile:
    """One file of rows. `leaves` are the leaf hashes, the header's first when there is one."""

    path: str
    header: bool
    rows: int
    leaves: tuple[bytes, ...] = field(repr=False)

    @property
    def root(self) -> bytes:
        """The root over its leaves."""
        return merkle.root(self.leaves)

    def to_json(self) -> dict[str, Any]:
        """`{"path","header","rows","root"}`."""
        return {"path": self.path, "header": self.header, "rows": self.rows, "root": f"sha256:{self.root.hex()}"}


@dataclass(frozen=True, slots=True)
class RowTree:
    """The files of rows of a dataset, in order of path; empty when it has none."""

    files: tuple[RowFile, ...]
    chunk: int = CHUNK

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(item.rows for item in self.files)

    @property
    def root(self) -> str:
        """The digest that the ledger entry holds."""
        return listing_root(self.chunk, [item.to_json() for item in self.files])

    def to_json(self) -> dict[str, Any]:
        """`{"chunk","rows","root","files":[{"path","header","rows","root"}]}`: what a proof is held against."""
        files = [item.to_json() for item in self.files]
        return {"chunk": self.chunk, "rows": self.rows, "root": self.root, "files": files}

    def entered(self) -> dict[str, Any]:
        """`{"chunk","rows","root"}`: what the dataset's ledger entry holds as `rows`, whatever the number of files."""
        return {"chunk": self.chunk, "rows": self.rows, "root": self.root}

    def to_document(self) -> dict[str, Any] | None:
        """For the state store, so that rows are proved without the data; None: there are too many leaves to keep."""
        if sum(len(item.leaves) for item in self.files) > MAX_KEPT:
            return None
        files = [{**item.to_json(), "leaves": base64.b64encode(b"".join(item.leaves)).decode()} for item in self.files]
        return {"chunk": self.chunk, "files": files}

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> RowTree:
        """The inverse of `to_document`; whether it is what was entered is for `root` to say. Raises TamperError."""
        try:
            return cls(
                tuple(
                    RowFile(str(item["path"]), bool(item["header"]), int(item["rows"]), _split(item["leaves"]))
                    for item in value["files"]
                ),
                int(value["chunk"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TamperError("the kept rows of a dataset are damaged", hint="register it again") from error


def listing_root(chunk: int, files: list[dict[str, Any]]) -> str:
    """Step 3 of the module's description."""
    return json_digest({"chunk": chunk, "files": files})


def row_tree(path: Path, files: Tree | None = None) -> RowTree:
    """The tree of a dataset's folder or file, in one pass of bounded memory; `files` is its tree where that is known.

    Raises ArtifactError: a row above MAX_ROW bytes, more than MAX_LEAVES leaves, a file that is not the one in `files`.
    """
    known = files or tree(path)
    found = [(path if known.single else path / item.path, item) for item in known.files]
    return RowTree(tuple(_file(place, item) for place, item in found if _kind(item.path)))


def _kind(name: str) -> str:
    suffix = Path(name).suffix.lower()
    return "table" if suffix in _TABLES else "lines" if suffix in _LINES else ""


def _file(place: Path, known: FileEntry) -> RowFile:
    name = known.path
    header = _kind(name) == "table"
    whole = hashlib.sha256()
    leaves: list[bytes] = []
    rows = inside = 0
    state = hashlib.sha256(b"\x00")  # the leaf hash of RFC 6962 begins so
    try:
        with opened(place) as descriptor, open(descriptor, "rb", closefd=False) as handle:
            for number, parts in enumerate(_rows(handle, name, quoted=header)):
                for part in parts:
                    state.update(part)
                    whole.update(part)
                inside += 1
                rows += 1
                if inside == CHUNK or (header and number == 0):
                    leaves.append(state.digest())
                    state, inside = hashlib.sha256(b"\x00"), 0
                    if len(leaves) > MAX_LEAVES:
                        raise ArtifactError(f"more than {MAX_LEAVES} chunks of rows", where=name)
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=name) from error
    if inside:
        leaves.append(state.digest())
    if f"sha256:{whole.hexdigest()}" != known.digest:
        raise ArtifactError("changed while it was read", where=name, hint="register it when nothing writes to it")
    return RowFile(name, header and rows > 0, rows - (1 if header and rows else 0), tuple(leaves))


def _rows(handle: IO[bytes], name: str, *, quoted: bool) -> Iterator[list[bytes]]:
    parts: list[bytes] = []
    size = quotes = 0
    while line := handle.readline(MAX_ROW + 1):
        parts.append(line)
        size += len(line)
        if size > MAX_ROW:
            raise ArtifactError(f"a row of more than {MAX_ROW} bytes", where=name, hint="is a double quote left open?")
        if quoted:
            quotes += line.count(b'"')
            if quotes & 1:
                continue
        yield parts
        parts, size, quotes = [], 0, 0
    if parts:  # a quote that nobody closes: what is left is the last row
        yield parts


def read_range(text: str) -> tuple[int, int]:
    """`100-200` or `7`: the first and the last row, counted from 1. Raises UsageError."""
    found = _RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < first <= last:
        raise UsageError(f"{text[:80]!r} is no range of rows", hint="rows=100-200, counted from 1, header not counted")
    return first, last


def prove_rows(rows: RowTree, path: str, first: int, last: int) -> dict[str, Any]:
    """`{"file","rows":[first,last],"leaves":[{"index","hash","proof":[…]}]}`, hashes in base64.

    `path` may be empty where there is one file of rows. Raises UsageError for rows that are not there.
    """
    names = [item.path for item in rows.files]
    chosen = [item for item in rows.files if not path or item.path == path]
    if len(chosen) != 1:
        what = f"no file of rows is called {path[:80]!r}" if path else f"{len(names)} files have rows"
        raise UsageError(what, hint=f"name one: DATASET/FILE#rows=1-10, of {', '.join(names[:5]) or 'none'}")
    (file,) = chosen
    if not 0 < first <= last <= file.rows:
        raise UsageError(f"{file.path} has rows 1 to {file.rows}, not {first} to {last}")
    indexes = leaf_indexes(first, last, rows.chunk, header=file.header)
    if len(indexes) > MAX_PROVED:
        raise UsageError(f"{last - first + 1} rows are too many for one proof", hint="ask for a shorter range")
    grown = merkle.MerkleTree(file.leaves)
    leaves = [
        {
            "index": index,
            "hash": base64.b64encode(file.leaves[index]).decode(),
            "proof": [base64.b64encode(step).decode() for step in grown.inclusion_proof(index)],
        }
        for index in indexes
    ]
    return {"file": file.path, "rows": [first, last], "leaves": leaves}


def leaf_indexes(first: int, last: int, chunk: int, *, header: bool) -> range:
    """The leaves that hold rows `first` to `last`."""
    shift = 1 if header else 0
    return range((first - 1) // chunk + shift, (last - 1) // chunk + shift + 1)


def check_rows(listing: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Hold a `prove_rows` document against the listing of a dataset's entry. Raises TamperError."""
    try:
        files, chunk = [dict(item) for item in listing["files"]], int(listing["chunk"])
        first, last = (int(item) for item in said["rows"])
        (file,) = [item for item in files if item["path"] == said["file"]]
        rows, header, top = int(file["rows"]), bool(file["header"]), str(file["root"])
        given = [(int(i["index"]), _hash(i["hash"]), [_hash(step) for step in i["proof"]]) for i in said["leaves"]]
    except (KeyError, TypeError, ValueError) as error:
        raise TamperError("not a proof of rows") from error
    if listing_root(chunk, files) != listing.get("root") or sum(int(item["rows"]) for item in files) != listing["rows"]:
        raise TamperError("the files listed are not those under the dataset's root of rows")
    if chunk <= 0 or not 0 < first <= last <= rows:
        raise TamperError(f"{said['file']} has rows 1 to {rows}, not {first} to {last}")
    wanted = leaf_indexes(first, last, chunk, header=header)
    if [index for index, _, _ in given] != list(wanted):
        raise TamperError("other chunks of rows than the range has")
    size = -(-rows // chunk) + (1 if header else 0)
    for index, leaf, proof in given:
        merkle.verify_inclusion(index, size, leaf, proof, bytes.fromhex(top.removeprefix("sha256:")))


def _split(text: Any) -> tuple[bytes, ...]:
    joined = base64.b64decode(text, validate=True)
    return tuple(joined[at : at + 32] for at in range(0, len(joined), 32))


def _hash(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)
