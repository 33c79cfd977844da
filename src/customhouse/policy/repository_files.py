"""Files of a change that are no Declarations: data sets, personal data and credentials, found by their content.

`inspect` is pure and reads at most 4 MiB of a file; `as_manifest` makes one object (kind RepositoryFiles) of what was
found, which is judged like any other. Files that the configuration names (price book, waivers, bundle, keys) and
Declarations are left out by the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.policy.personal import MAX_TEXT, personal_data
from customhouse.policy.reading import credential

API_VERSION, KIND, NAME = "customhouse.dev/v1", "RepositoryFiles", "repository"
MAX_TABLE = 1024 * 1024
"""Bytes of a text table (CSV, JSON lines) that are still a fixture or a price list, and not a data set."""
MAX_ROWS = 10_000
MAX_FOUND = 500
"""Findings that are listed; a commit with more is refused all the same, and says how many there are."""
_MAGIC = (
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow table"),
    (b"FEA1", "a Feather table"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC table"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xd7\xcd\xc6\x9a", "a packet capture"),
)
_DUCKDB = (8, b"DUCK")
_BY_NAME = {
    ".npz": "NumPy arrays",
    ".tfrecord": "TFRecord data",
    ".tfrecords": "TFRecord data",
    ".parquet": "a Parquet table",
    ".feather": "a Feather table",
    ".arrow": "an Arrow table",
    ".avro": "an Avro file",
    ".orc": "an ORC table",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".sas7bdat": "a SAS table",
    ".dta": "a Stata table",
    ".sav": "an SPSS table",  # typos: ignore
    ".rdata": "R data",
    ".mdb": "an Access database",
    ".xlsx": "a spreadsheet",
    ".xls": "a spreadsheet",
    ".ods": "a spreadsheet",
}
_NAMING_PEOPLE = (
    *("codeowners", "owners", "owners_aliases", ".mailmap", "authors", "contributors", "maintainers", "credits"),
    *("license", "licence", "copying", "notice", "thanks", "changelog"),
)
"""Files whose purpose is to name people who agreed to it: lists of addresses are no leak there."""
_BYTE_ORDER = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_TABLES = (".csv", ".tsv", ".psv", ".jsonl", ".ndjson", ".libsvm", ".svmlight")
_POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One thing that is wrong with a file; `detail` says what.

    `problem` is `data`, `personal` or `secret`; `unjudged` for what may be deployed and nobody judges, `hidden` for
    what was judged as it stands, changes, and no longer is.
    """

    path: str
    problem: str
    detail: str
    digest: str
    line: int = 0


def inspect(path: str, content: bytes, *, own: bool = False) -> tuple[FoundFile, ...]:
    """All that is wrong with one file; nothing for what is neither data nor holds anything of a person.

    `own`: customhouse.yaml names it (a price book, a list of signers); a table or names of people are what it is for.
    """
    digest = bytes_digest(content)
    if content.startswith(_POINTER) and len(content) < 1024:
        return ()  # Git LFS keeps the file elsewhere
    found = []
    kind = None if own else _data(path.lower(), content)
    if kind is not None:
        found.append(FoundFile(path, "data", kind, digest))
    text = _text(content)
    if text:
        base = path.rpartition("/")[2].lower()
        people = own or base.partition(".")[0] in _NAMING_PEOPLE or base in _NAMING_PEOPLE
        persons = personal_data(text, addresses=not people)
        if persons is not None:
            found.append(FoundFile(path, "personal", persons, digest))
        secret = _secret(text)
        if secret is not None:
            found.append(FoundFile(path, "secret", secret, digest))
    return tuple(found)


def as_manifest(found: Iterable[FoundFile]) -> Mapping[str, Any] | None:
    """One object for all that was found, None for nothing. The same files give the same object."""
    rows = sorted(found, key=lambda item: (item.path, item.problem))
    if not rows:
        return None
    files = [
        {"path": item.path, "problem": item.problem, "detail": item.detail, "digest": item.digest}
        for item in rows[:MAX_FOUND]
    ]
    if len(rows) > MAX_FOUND:
        more = f"only the first of {len(rows) - MAX_FOUND} more findings that are not listed"
        files.append({**files[-1], "path": rows[MAX_FOUND].path, "problem": "data", "detail": more})
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": NAME}, "spec": {"files": files}}


def _data(name: str, content: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    start, magic = _DUCKDB
    if content[start : start + len(magic)] == magic:
        return "a DuckDB database"
    suffix = "." + name.rpartition(".")[2] if "." in name.rpartition("/")[2] else ""
    plain = name.removesuffix(".gz").removesuffix(".zst").removesuffix(".bz2").removesuffix(".xz")
    if plain != name and plain.endswith(_TABLES):
        return "a compressed table"
    if suffix in _BY_NAME and content:
        return _BY_NAME[suffix]
    if suffix in _TABLES:
        rows = content.count(b"\n")
        if len(content) > MAX_TABLE or rows > MAX_ROWS:
            return f"a table of {rows} rows ({len(content)} bytes)"
    return None


def _text(content: bytes) -> str:
    """The text of a file as far as it is looked at, also when it is written in 16-bit units; empty for binary."""
    for mark, encoding in _BYTE_ORDER:
        if content.startswith(mark):
            return content[:MAX_TEXT].decode(encoding, "replace")
    return "" if b"\x00" in content[:8192] else content[:MAX_TEXT].decode("utf-8", "replace")


def _secret(text: str) -> str | None:
    """A credential by its issuer's prefix; the reader looks at 64 KiB at a time, so they overlap."""
    step = 48 * 1024
    for start in range(0, max(len(text), 1), step):
        found = credential("", text[start : start + 64 * 1024])
        if found is not None:
            return found
    return None
