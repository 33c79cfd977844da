"""Raw git objects on the way from a commit to files: what a stranger needs to prove the files by hashes alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from customhouse.control.adapters.git_objects import GitObjects
from customhouse.core.errors import SourceError

MAX_BLOB = 256 * 1024
"""Bytes of one file that is taken along: declarations and keys, not data."""
MAX_TREE = 4 * 1024 * 1024
_MAX_COMMITS = 20_000
_TREE = b"40000"
_FILES = (b"100644", b"100755", b"100664")


class RawObjects:
    """The objects of one repository by id, read in as few conversations with git as it takes."""

    def __init__(self, source: GitObjects) -> None:
        self._source = source
        self._known: dict[str, tuple[bytes, bytes] | None] = {}

    def commits(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the ids that are commits here. Raises SourceError for more than 20,000."""
        wanted = list(names)
        if len(wanted) > _MAX_COMMITS:
            raise SourceError(f"more than {_MAX_COMMITS} commits", hint="trace less: --depth, --up or --down")
        self._fetch(wanted, MAX_TREE)
        return tuple(name for name in wanted if (found := self._known.get(name)) and found[0] == b"commit")

    def proof(self, commit: str, paths: Collection[str]) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """(raw objects by id, the paths that they lead to). Links, folders and files over MAX_BLOB are left out."""
        self._fetch([commit], MAX_TREE)
        content = self._content(commit, b"commit")
        if content is None:
            return {}, ()
        needed, reached = {commit}, []
        open_paths = {path: (_tree_of(content), path.split("/"), [commit]) for path in paths}
        while open_paths:
            self._fetch([at for at, parts, _ in open_paths.values() if parts], MAX_TREE)
            following: dict[str, tuple[str, list[str], list[str]]] = {}
            leaves: dict[str, tuple[str, list[str]]] = {}
            for path, (at, parts, way) in open_paths.items():
                tree = self._content(at, b"tree")
                mode, child = (b"", "") if tree is None else _entry(tree, parts[0], len(at) // 2)
                if len(parts) == 1 and mode in _FILES:
                    leaves[path] = (child, [*way, at])
                elif len(parts) > 1 and mode == _TREE:
                    following[path] = (child, parts[1:], [*way, at])
            self._fetch([child for child, _ in leaves.values()], MAX_BLOB)
            for path, (child, way) in leaves.items():
                if self._content(child, b"blob") is not None:
                    needed |= {child, *way}
                    reached.append(path)
            open_paths = following
        return {name: self._raw(name) for name in needed}, tuple(sorted(reached))

    def file(self, commit: str, path: str) -> bytes | None:
        """One small file of a commit; None when there is none."""
        raw, reached = self.proof(commit, [path])
        if not reached:
            return None
        at, parts = _tree_of(self._content(commit, b"commit") or b""), path.split("/")
        for part in parts:
            at = _entry(self._content(at, b"tree") or b"", part, len(at) // 2)[1]
        return self._content(at, b"blob") if raw else None

    def paths(self, commit: str, folder: str) -> tuple[str, ...]:
        """The paths of a commit below a folder."""
        return tuple(self._source.files(commit, folder))

    def changed(self, commit: str) -> tuple[str, ...]:
        """The paths that a commit changed against its first parent; all of them for the first one."""
        content = self._content(commit, b"commit") or b""
        parents = [
            line.split()[1].decode() for line in content.split(b"\n\n")[0].split(b"\n") if line[:7] == b"parent "
        ]
        known = parents and self.commits(parents[:1])
        return self._source.changed(parents[0] if known else None, commit)

    def touching(self, path: str) -> Sequence[str]:
        """The commits of any branch that touched a path, the newest first; none for what is no path."""
        if not path or path.startswith(("-", "/")) or any(ord(letter) < 32 for letter in path):
            return ()
        listed = self._source.git.run("rev-list", "--all", f"--max-count={_MAX_COMMITS}", "--", path, accept=(0, 128))
        return listed.stdout.decode("ascii", "replace").split() if listed.status == 0 else ()

    def below(self, commits: Collection[str], folder: str) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of every file that any of the commits has below a folder, each content once."""
        if not commits:
            return
        listed = self._source.git.run(
            *("rev-list", "--objects", "--no-walk", "--stdin"),
            stdin="\n".join([*commits, "--", folder]).encode() + b"\n",
        )
        named = dict[str, str]()
        for line in listed.stdout.decode("utf-8", "replace").splitlines():
            name, _, path = line.partition(" ")
            if path.startswith(folder.rstrip("/") + "/"):
                named[name] = path
        self._fetch(named, 16 << 20)
        for name, path in named.items():
            content = self._content(name, b"blob")
            if content is not None:
                yield path, content

    def _content(self, name: str, kind: bytes) -> bytes | None:
        found = self._known.get(name)
        return found[1] if found is not None and found[0] == kind else None

    def _raw(self, name: str) -> bytes:
        kind, content = self._known[name] or (b"", b"")
        return kind + b" " + str(len(content)).encode() + b"\0" + content

    def _fetch(self, names: Iterable[str], most: int) -> None:
        wanted = [name for name in dict.fromkeys(names) if name not in self._known]
        if not wanted:
            return
        asked = "".join(f"{name}\n" for name in wanted).encode()
        checked = self._source.git.run("cat-file", "--batch-check", stdin=asked).stdout.splitlines()
        self._known.update(dict.fromkeys(wanted))
        here = [line.split()[0].decode() for line in checked if _is_here(line, most)]
        data = self._source.git.run("cat-file", "--batch", stdin="".join(f"{n}\n" for n in here).encode()).stdout
        at = 0
        for name in here:
            end = data.index(b"\n", at)
            _, kind, size = data[at:end].split()
            self._known[name] = (kind, data[end + 1 : end + 1 + int(size)])
            at = end + 1 + int(size) + 1


def _is_here(line: bytes, most: int) -> bool:
    words = line.split()
    return len(words) == 3 and words[2].isdigit() and int(words[2]) <= most


def _tree_of(commit: bytes) -> str:
    return commit.partition(b"\n")[0].partition(b" ")[2].decode("ascii", "replace")


def _entry(tree: bytes, name: str, width: int) -> tuple[bytes, str]:
    """(mode, id) of a name in a tree; empty when there is none."""
    wanted, at = name.encode(), 0
    while at < len(tree):
        space, end = tree.index(b" ", at), tree.index(b"\0", at)
        if tree[space + 1 : end] == wanted:
            return tree[at:space], tree[end + 1 : end + 1 + width].hex()
        at = end + 1 + width
    return b"", ""
