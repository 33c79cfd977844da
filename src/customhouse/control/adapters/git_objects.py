"""The read side of a Git repository: revisions, files, history. Nothing here changes anything."""

from __future__ import annotations

import shutil
import tempfile
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from customhouse._kit.clock import Clock, SystemClock
from customhouse.control.adapters.git_program import Git, check_word
from customhouse.control.adapters.git_signature import verify
from customhouse.core.change import Revision
from customhouse.core.errors import SourceError

MAX_FILE = 4 * 1024 * 1024
"""Bytes of one file that `files` and `read` give out; artifacts are exported instead."""
MAX_FILES = 50_000
"""Of a revision: a fleet of 10,000 applications of four files each, whose names take some 30 MiB. What is in them is
read when it is asked for, each file with a limit of its own."""
MAX_EXPORT_FILE = 512 * 1024 * 1024
_BATCH_BYTES = 32 * 1024 * 1024
_MAX_COMMITS = 10_000
_LISTINGS = 3
"""Commits whose list of files is kept: what is deployed, what is judged, and one more."""
_SMALL, _SMALL_KEPT = 64 * 1024, 64
"""Bytes of a file, and how many of them, that are kept after they were read by themselves: settings, keys, waivers."""
_REGULAR = ("100644", "100755", "100664")


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a revision's tree. `refused` says why its content is not given out; empty for a regular file."""

    path: str
    mode: str
    object_id: str
    size: int
    refused: str = ""


class TreeFiles(Mapping[str, bytes]):
    """The files of a revision by path. Content is fetched in batches, when the first file of a kind is asked for.

    Links and submodules are among the names, so that a reader cannot overlook them: asking for one raises
    SourceError.
    """

    def __init__(self, git: Git, rev: str, entries: Sequence[TreeEntry] | Mapping[str, TreeEntry]) -> None:
        self._git = git
        self._rev = rev
        self._entries = entries if isinstance(entries, Mapping) else {entry.path: entry for entry in entries}
        self._loaded: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, path: str) -> bytes:
        entry = self._entries[path]
        if path not in self._loaded:
            if entry.refused:
                raise SourceError(entry.refused, where=f"{path} at {self._rev[:12]}", hint="commit a regular file")
            self._load(entry)
        return self._loaded[path]

    def __contains__(self, path: object) -> bool:
        return path in self._entries  # Mapping's own would read the file

    def entry(self, path: str) -> TreeEntry:
        """Mode, object and size of a path (KeyError when there is none)."""
        return self._entries[path]

    def identity(self, path: str) -> str:
        """What names the content of a file wherever it lies; empty for what is not given out. KeyError for no file."""
        entry = self._entries[path]
        return "" if entry.refused else entry.object_id

    def only(self, paths: Iterable[str]) -> TreeFiles:
        """Some of the files, by themselves: what is asked for then fetches no others along."""
        return TreeFiles(self._git, self._rev, [self._entries[path] for path in paths if path in self._entries])

    @property
    def refused(self) -> tuple[TreeEntry, ...]:
        """Links, submodules, oversized files and odd names."""
        return tuple(entry for entry in self._entries.values() if entry.refused)

    def _load(self, first: TreeEntry) -> None:
        suffix = PurePosixPath(first.path).suffix
        wanted, size = [first], first.size
        for entry in self._entries.values():
            if (
                entry is not first
                and not entry.refused
                and entry.path not in self._loaded
                and PurePosixPath(entry.path).suffix == suffix
                and size + entry.size <= _BATCH_BYTES
            ):
                wanted.append(entry)
                size += entry.size
        self._loaded.update(_contents(self._git, wanted))


class GitObjects:
    """Reads one repository by its git directory. Every `rev` may be any name that git knows."""

    def __init__(self, git: Git, clock: Clock | None = None) -> None:
        self.git = git
        self._clock = clock or SystemClock()
        self._known: set[str] = set()
        self._listings: OrderedDict[str, _Listing | None] = OrderedDict()
        self._small: OrderedDict[str, bytes] = OrderedDict()

    def resolve(self, rev: str) -> str:
        """The commit id of a revision. Raises SourceError when there is none."""
        check_word(rev, "revision")
        if rev in self._known:  # a whole id, which names the same commit for ever
            return rev
        done = self.git.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}", accept=(0, 1, 128)
        )
        if done.status != 0 and rev == "HEAD":
            raise SourceError(
                "the repository has no commits",
                where=str(self.git.directory),
                hint="commit something first; `customhouse init` makes a repository with a founding commit",
            )
        if done.status != 0:
            raise SourceError(f"there is no revision {rev!r}", where="git", hint="fetch it, or look at `git log`")
        found = done.stdout.decode().strip()
        if found == rev and len(self._known) < _MAX_COMMITS:
            self._known.add(found)
        return found

    def files(self, rev: str, prefix: str = "") -> TreeFiles:
        """The files of a revision below a folder (all by default), by path from the root.

        Raises SourceError for more than MAX_FILES entries; asking it for a link, a submodule or a file over MAX_FILE
        raises SourceError too.
        """
        commit = self.resolve(rev)
        listing = self._listing(commit)
        if listing is None:  # more than may be read as a whole: perhaps this folder holds less
            return TreeFiles(self.git, commit, list(self._entries(commit, prefix, MAX_FILE)))
        inside = prefix.strip("/")
        return TreeFiles(self.git, commit, listing.below(check_word(inside, "path")) if inside else listing.entries)

    def read(self, rev: str, path: str) -> bytes | None:
        """One file, None when there is none. Raises SourceError for a link, a folder or a file over MAX_FILE."""
        commit = self.resolve(rev)
        listing = self._listing(commit)
        if listing is None:
            found = next((item for item in self._entries(commit, path, MAX_FILE) if item.path == path), None)
        else:
            found = listing.entries.get(path)
        if found is None:
            return None
        if found.refused or found.size > _SMALL:
            return TreeFiles(self.git, commit, [found])[path]
        data = self._small.get(found.object_id)
        if data is None:
            data = self._small[found.object_id] = TreeFiles(self.git, commit, [found])[path]
            while len(self._small) > _SMALL_KEPT:
                self._small.popitem(last=False)
        return data

    def revision(
        self,
        rev: str,
        *,
        allowed_signers: bytes | None,
        last_deployed: str | None,
        gpg_keys: Sequence[bytes] = (),
    ) -> Revision:
        """A commit with what its signature is worth.

        `allowed_signers` (ssh-keygen's format) and `gpg_keys` are those of the *base* revision: a commit that brings
        its own key must not vouch for itself. `reviewers` stays empty: a trailer in the message is the author's
        word, and only a forge knows better. `descends` is False when `last_deployed` is no longer behind it.
        """
        commit = self.resolve(rev)
        raw = self.git.run("cat-file", "commit", commit).stdout
        header = _Header.parse(raw, commit)
        # A key that has expired could still sign a commit dated before; a commit is never taken to be older than its
        # parents, so backdating beyond the branch's head gains nothing. (A parent from the future counts as of now,
        # or one such commit would make every key that ever expires worthless.)
        now = self._clock.now()
        parents = [min(now, self._committed_at(parent)) for parent in header.parents]
        verify_at = max([header.committed_at, *parents])
        state, signer = verify(raw, allowed_signers, gpg_keys, at=verify_at, environment=self.git.environment)
        return Revision(
            id=commit,
            parents=header.parents,
            author=header.author,
            committed_at=header.committed_at,
            subject=header.subject,
            signature=state,
            signer=signer,
            descends=last_deployed is None or self.is_ancestor(last_deployed, commit),
        )

    def commits(self, base: str | None, head: str) -> tuple[str, ...]:
        """The commits after `base` up to `head` along first parents, oldest first; all of them without a base.

        Raises SourceError for more than 10,000.
        """
        wanted = self.resolve(head) if base is None else f"{self.resolve(base)}..{self.resolve(head)}"
        found = self.git.text(
            "rev-list", "--first-parent", "--reverse", f"--max-count={_MAX_COMMITS + 1}", wanted, "--"
        ).split()
        if len(found) > _MAX_COMMITS:
            raise SourceError(f"more than {_MAX_COMMITS} commits to look at", hint="give a newer base revision")
        return tuple(found)

    def first_commit(self, head: str) -> str:
        """The first of all commits behind `head`, along first parents."""
        found = self.git.text("rev-list", "--first-parent", "--max-parents=0", self.resolve(head), "--").split()
        return str(found[-1])

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether `descendant` has `ancestor` behind it (or is it). An unknown `ancestor` is behind nothing."""
        check_word(ancestor, "revision")
        done = self.git.run("merge-base", "--is-ancestor", ancestor, self.resolve(descendant), accept=(0, 1, 128))
        return done.status == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """The commit where two histories parted, None when they have nothing in common."""
        done = self.git.run("merge-base", self.resolve(one), self.resolve(other), accept=(0, 1))
        return done.stdout.decode().split()[0] if done.status == 0 else None

    def changed(self, base: str | None, head: str) -> tuple[str, ...]:
        """The paths that differ between two revisions, a rename as both; without a base every path of `head`."""
        commit = self.resolve(head)
        if base is None:
            return tuple(sorted(entry.path for entry in self._entries(commit, "", MAX_FILE)))
        done = self.git.run("diff-tree", "-r", "-z", "--no-renames", "--name-only", self.resolve(base), commit)
        return tuple(sorted(name.decode("utf-8", "replace") for name in done.stdout.split(b"\0") if name))

    def message(self, rev: str) -> str:
        """The whole message of a commit."""
        raw = self.git.run("cat-file", "commit", self.resolve(rev)).stdout
        return raw.partition(b"\n\n")[2].decode("utf-8", "replace")

    def export(self, rev: str, subtree: str, destination: Path) -> int:
        """Write the files below `subtree` (or that one file) into the new folder `destination`; how many.

        All or nothing: written beside it and renamed. Raises SourceError when there is nothing at `subtree`, for
        links, submodules, files over 512 MiB, and when `destination` exists.
        """
        commit = self.resolve(rev)
        subtree = subtree.strip("/")
        entries = list(self._entries(commit, subtree, MAX_EXPORT_FILE))
        if not entries:
            raise SourceError(f"there is nothing at {subtree!r}", where=commit[:12], hint="name a folder in Git")
        if destination.exists():
            raise SourceError("the folder to export to exists already", where=str(destination), hint="remove it first")
        destination.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
        try:
            for entry in entries:
                if entry.refused:
                    raise SourceError(
                        entry.refused, where=f"{entry.path} at {commit[:12]}", hint="commit a regular file"
                    )
                inner = entry.path[len(subtree) :].lstrip("/") if entry.path != subtree else PurePosixPath(subtree).name
                place = part / inner
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as handle:
                    handle.write(self.git.run("cat-file", "blob", entry.object_id).stdout)
            part.chmod(0o755)
            part.rename(destination)
        except OSError as error:
            raise SourceError(f"cannot write: {error}", where=str(destination), hint="free some space") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return len(entries)

    def _committed_at(self, commit: str) -> datetime:
        done = self.git.run("cat-file", "commit", commit, accept=(0, 128))
        # A shallow clone lacks the parent's object; then only the commit's own date is known.
        if done.status != 0:
            return datetime.fromtimestamp(0, UTC)
        return _Header.parse(done.stdout, commit).committed_at

    def _listing(self, commit: str) -> _Listing | None:
        """All files of a commit, looked up once; None for more than may be read."""
        if commit in self._listings:
            self._listings.move_to_end(commit)
            return self._listings[commit]
        done = self.git.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        lines = [line for line in done.stdout.split(b"\0") if line]
        before = next((item for item in reversed(self._listings.values()) if item is not None), None)
        made = None if len(lines) > MAX_FILES else _Listing.of(lines, before)
        self._listings[commit] = made
        while len(self._listings) > _LISTINGS:
            self._listings.popitem(last=False)
        return made

    def _entries(self, commit: str, prefix: str, max_size: int) -> Iterator[TreeEntry]:
        inside = prefix.strip("/")
        paths = ["--", check_word(inside, "path")] if inside else []
        done = self.git.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit, *paths)
        lines = [line for line in done.stdout.split(b"\0") if line]
        if len(lines) > MAX_FILES:
            raise SourceError(
                f"the revision holds {len(lines)} files; at most {MAX_FILES} are read",
                where=commit[:12],
                hint="give the folder that holds the declarations",
            )
        for line in lines:
            yield _listed(line, max_size)


class _Listing:
    """The files of one commit, by path, in the order in which Git has them."""

    def __init__(self, entries: dict[str, TreeEntry], lines: dict[bytes, TreeEntry]) -> None:
        self.entries, self.lines = entries, lines
        self._sorted: list[str] | None = None

    @classmethod
    def of(cls, lines: Sequence[bytes], before: _Listing | None) -> _Listing:
        """`before`: another commit's, from which the same lines are taken over."""
        known = {} if before is None else before.lines
        read = {line: known.get(line) or _listed(line, MAX_FILE) for line in lines}
        return cls({entry.path: entry for entry in read.values()}, read)

    def below(self, folder: str) -> list[TreeEntry]:
        """Those in a folder and below it, or that one file."""
        if self._sorted is None:
            self._sorted = sorted(self.entries)
        start = bisect_left(self._sorted, folder + "/")
        end = bisect_left(self._sorted, folder + "0", start)  # the character after the slash
        own = [folder] if folder in self.entries else []
        return [self.entries[path] for path in (*own, *self._sorted[start:end])]


def _listed(line: bytes, max_size: int) -> TreeEntry:
    """One line of `git ls-tree -l`."""
    meta, _, name = line.partition(b"\t")
    mode, _, object_id, size = meta.decode("ascii").split()
    return _entry(name, mode, object_id, 0 if size == "-" else int(size), max_size)


@dataclass(frozen=True, slots=True)
class _Header:
    parents: tuple[str, ...]
    author: str
    committed_at: datetime
    subject: str

    @classmethod
    def parse(cls, raw: bytes, commit: str) -> _Header:
        head, _, message = raw.partition(b"\n\n")
        parents, author, seconds = [], "", None
        for line in head.decode("utf-8", "replace").split("\n"):
            name, _, value = line.partition(" ")
            if name == "parent":
                parents.append(value)
            elif name == "author" and not author:
                author = value.rpartition(">")[0] + ">"
            elif name == "committer" and seconds is None:
                seconds = value.rpartition(">")[2].split()[0]
        try:
            at = datetime.fromtimestamp(int(seconds or ""), UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise SourceError("the commit has no readable date", where=commit[:12]) from error
        first = message.decode("utf-8", "replace").lstrip("\n").partition("\n")[0]
        return cls(tuple(parents), author, at, first[:200])


def _entry(name: bytes, mode: str, object_id: str, size: int, max_size: int) -> TreeEntry:
    path = name.decode("utf-8", "replace")
    refused = ""
    if mode == "120000":
        refused = "a symbolic link is not followed"
    elif mode == "160000":
        refused = "a submodule is not read"
    elif mode not in _REGULAR:
        refused = f"an entry of mode {mode} is not read"
    elif size > max_size:
        refused = f"the file has {size} bytes; at most {max_size} are read"
    elif not _is_safe(name):
        refused = "the name of this path is not safe"
    return TreeEntry(path, mode, object_id, size, refused)


def _is_safe(name: bytes) -> bool:
    """No way out of the folder, no `.git`, no name that is not UTF-8 or holds a control character."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    parts = text.split("/")
    return (
        not any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
        and "\\" not in text
        and all(ord(character) >= 32 and ord(character) != 127 for character in text)
    )


def _contents(git: Git, entries: Sequence[TreeEntry]) -> dict[str, bytes]:
    done = git.run("cat-file", "--batch", stdin="".join(f"{entry.object_id}\n" for entry in entries).encode())
    data, position, found = done.stdout, 0, {}
    for entry in entries:
        end = data.index(b"\n", position)
        words = data[position:end].split()
        if len(words) != 3 or words[1] != b"blob":
            raise SourceError("the repository lacks an object", where=entry.path, hint="fetch it again")
        size = int(words[2])
        found[entry.path] = data[end + 1 : end + 1 + size]
        position = end + 1 + size + 1
    return found
