"""An index of the custody graph beside the state: which ledger entries speak of which nodes and links, by any name.

It is made from the ledger, may be deleted at any time, and is believed in nothing: whoever asks it reads the entries
that it names, proves them, and makes the graph of these. One SQLite file, which several processes may grow.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from customhouse.core.errors import StateError

FORMAT = "1"
_BUSY_S = 30.0
_NEAR = 3000
"""Names that are compared with one that nobody knows."""
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE nodes (id INTEGER PRIMARY KEY, node TEXT NOT NULL UNIQUE, digest TEXT NOT NULL);
CREATE TABLE names (name TEXT NOT NULL, node INTEGER NOT NULL, PRIMARY KEY (name, node)) WITHOUT ROWID;
CREATE TABLE links (
  id INTEGER PRIMARY KEY, source INTEGER NOT NULL, target INTEGER NOT NULL, kind TEXT NOT NULL,
  UNIQUE (source, target, kind)
);
CREATE INDEX links_back ON links (target);
CREATE TABLE spoken (node INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (node, position)) WITHOUT ROWID;
CREATE TABLE linked (link INTEGER NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (link, position)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Spoken:
    """What one entry says: nodes as (id, digest, other names), links as (source id, target id, kind)."""

    position: int
    nodes: Sequence[tuple[str, str, Sequence[str]]]
    links: Sequence[tuple[str, str, str]]


class GraphIndex:
    """The index in one file. Not for several threads at once."""

    def __init__(self, place: Path | None) -> None:
        """`place` None: in memory, for as long as it is open. Raises StateError when the file cannot be opened."""
        self.place = place
        with self._said():
            self._connection = self._open()

    @contextmanager
    def _said(self) -> Iterator[None]:
        """A driver's error in our words."""
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(
                f"the custody index cannot be read: {error}", where=str(self.place), hint="delete it: it is made again"
            ) from error

    def _open(self) -> sqlite3.Connection:
        if self.place is not None and not self.place.exists():
            with suppress(FileExistsError):
                os.close(os.open(self.place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        name = ":memory:" if self.place is None else str(self.place)
        connection = sqlite3.connect(name, timeout=_BUSY_S, isolation_level=None)
        try:
            # What is lost in a power cut is made again from the ledger.
            for pragma in ("journal_mode=WAL", "synchronous=OFF", "trusted_schema=OFF", "temp_store=MEMORY"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @property
    def state(self) -> tuple[int, str]:
        """How many entries are in it, and the leaf hash (hex) of the last one; (-1, "") for another format."""
        with self._said():
            found = dict(self._connection.execute("SELECT key, value FROM meta"))
        if found.get("format") != FORMAT:
            return -1, ""
        return int(found.get("size", "0")), found.get("leaf", "")

    @contextmanager
    def growing(self) -> Iterator[None]:
        """A transaction that others wait for; everything in it or nothing."""
        with self._said():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def clear(self) -> None:
        """Forget everything (inside `growing`)."""
        for table in ("names", "nodes", "links", "spoken", "linked", "meta"):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of its own
        self._connection.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))

    def add(self, entries: Iterable[Spoken]) -> None:
        """Take in entries (inside `growing`)."""
        run = self._connection.executemany
        known: dict[str, int] = {}
        names: list[tuple[str, int]] = []
        spoken: list[tuple[int, int]] = []
        links: dict[tuple[int, int, str], list[int]] = {}
        for entry in entries:
            for node, digest, others in entry.nodes:
                number = self._number(known, node, digest)
                spoken.append((number, entry.position))
                names += [(name, number) for name in others]
            for source, target, kind in entry.links:
                ends = (self._number(known, source, ""), self._number(known, target, ""), kind)
                links.setdefault(ends, []).append(entry.position)
        run("INSERT OR IGNORE INTO names VALUES (?, ?)", names)
        run("INSERT OR IGNORE INTO spoken VALUES (?, ?)", spoken)
        run("INSERT OR IGNORE INTO links (source, target, kind) VALUES (?, ?, ?)", links)
        run(
            "INSERT OR IGNORE INTO linked SELECT id, ? FROM links WHERE source = ? AND target = ? AND kind = ?",
            ((position, *ends) for ends, positions in links.items() for position in positions),
        )

    def _number(self, known: dict[str, int], node: str, digest: str) -> int:
        if node in known and not digest:
            return known[node]
        name = node.partition(":")[2]
        shown = digest or (name if name.startswith("sha256:") else "")
        row = self._connection.execute(
            "INSERT INTO nodes (node, digest) VALUES (?, ?) ON CONFLICT (node) DO UPDATE"
            " SET digest = CASE digest WHEN '' THEN excluded.digest ELSE digest END RETURNING id",
            (node, shown),
        ).fetchone()
        if node not in known:
            self._connection.executemany(
                "INSERT OR IGNORE INTO names VALUES (?, ?)", {(name, row[0]), *({(shown, row[0])} if shown else ())}
            )
        known[node] = int(row[0])
        return known[node]

    def grown(self, size: int, leaf: str) -> None:
        """Note how far it goes (inside `growing`)."""
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", [("size", str(size)), ("leaf", leaf)])

    # names
    def exact(self, text: str) -> list[tuple[str, str]]:
        """(node, digest) of everything with this id, name, digest or other name."""
        with self._said():
            rows = self._connection.execute(
                "SELECT node, digest FROM nodes WHERE node = ?1 OR id IN (SELECT node FROM names WHERE name = ?1)",
                (text,),
            )
            return [(str(row[0]), str(row[1])) for row in rows]

    def begun(self, prefix: str) -> list[tuple[str, str]]:
        """(node, digest) of what has a digest or a plain name that begins so."""
        with self._said():
            found: list[tuple[str, str]] = []
            for start in (f"sha256:{prefix}", prefix):
                rows = self._connection.execute(
                    "SELECT DISTINCT nodes.node, digest FROM names JOIN nodes ON nodes.id = names.node"
                    " WHERE name >= ? AND name < ? LIMIT 1000",
                    (start, start + "\U0010ffff"),
                )
                found += [(str(node), str(digest)) for node, digest in rows]
            return [
                (node, digest)
                for node, digest in dict.fromkeys(found)
                if (digest or node.partition(":")[2]).removeprefix("sha256:").startswith(prefix)
            ]

    def near(self, text: str) -> list[str]:
        """Names that begin as a text does: by three letters, by two, by one."""
        with self._said():
            found: dict[str, None] = {}
            for letters in (3, 2, 1):
                start = text[:letters]
                rows = self._connection.execute(
                    "SELECT DISTINCT name FROM names WHERE name >= ? AND name < ? LIMIT ?",
                    (start, start + "\U0010ffff", _NEAR - len(found)),
                )
                found |= dict.fromkeys(str(row[0]) for row in rows)
                if len(found) >= _NEAR:
                    break
            return list(found)

    # the way
    def entries(self, nodes: Sequence[str], ways: Sequence[str], depth: int | None) -> list[int]:
        """The positions of all entries that speak of what is reached from some nodes, and of the links on the way.

        `ways` are `up` and `down`.
        """
        with self._said():
            start = self._ids(nodes)
            reached, passed = set(start), set[int]()
            for way in ways:
                here, there = ("target", "source") if way == "up" else ("source", "target")
                query = f"SELECT id, {there} FROM links WHERE {here} IN (SELECT value FROM json_each(?))"  # noqa: S608 - own names
                seen, edge, far = set(start), set(start), 0
                while edge and (depth is None or far < depth):
                    rows = self._connection.execute(query, (json.dumps(sorted(edge)),)).fetchall()
                    passed.update(row[0] for row in rows)
                    edge = {row[1] for row in rows} - seen
                    seen |= edge
                    far += 1
                reached |= seen
            return self._spoken(reached, passed)

    def _ids(self, nodes: Sequence[str]) -> set[int]:
        rows = self._connection.execute(
            "SELECT id FROM nodes WHERE node IN (SELECT value FROM json_each(?))", (json.dumps(list(nodes)),)
        )
        return {int(row[0]) for row in rows}

    def _spoken(self, nodes: set[int], links: set[int]) -> list[int]:
        found: set[int] = set()
        for table, column, keys in (("spoken", "node", nodes), ("linked", "link", links)):
            rows = self._connection.execute(
                f"SELECT DISTINCT position FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608
                (json.dumps(sorted(keys)),),
            )
            found.update(int(row[0]) for row in rows)
        return sorted(found)
