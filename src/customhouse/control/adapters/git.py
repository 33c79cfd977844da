"""A Git repository through the `git` program: a bare mirror that is fetched, read, committed to and pushed from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from customhouse._kit.clock import Clock
from customhouse._kit.process import ProgramError, ProgramMissingError, run
from customhouse.control.adapters.git_objects import GitObjects
from customhouse.control.adapters.git_program import Git, check_word, failed, git_environment, missing_git, redact
from customhouse.control.adapters.git_refs import Picture, picture
from customhouse.control.adapters.git_worktree import WorkTree
from customhouse.control.source import Identity, PushRejectedError, Repository, RevertConflictError
from customhouse.core.errors import SourceError

__all__ = ["GitRepository", "WorkTree"]

_SCHEMES = ("file", "ssh", "https")
_STALE_LOCK_S = 5.0
_PUBLISHER = Identity("Customhouse", "customhouse@customhouse.dev")
_TRUSTED_S = 30.0
"""How long the files of a repository on this machine are believed to say that no branch moved."""


class GitRepository(GitObjects):
    """A remote (`location`: a path or URL) and its bare mirror. `branch` is the one that is deployed.

    One process may use a mirror at a time. `environment` are the variables of which git gets to see the harmless ones
    (PATH, HOME, SSH_AUTH_SOCK, proxies). Raises SourceError when git is missing or the mirror cannot be made.
    """

    def __init__(
        self,
        location: str,
        mirror: Path,
        branch: str = "main",
        *,
        environment: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.location = _checked_location(location)
        self.branch = check_word(branch, "branch")
        super().__init__(Git(mirror, dict(environment or {})), clock)
        self._fetched: tuple[Picture, float, str] | None = None
        if not (mirror / "HEAD").exists():
            _init(mirror, self.branch, self.git.environment)

    @property
    def nearby(self) -> bool:
        """Whether the remote is a folder of this machine, whose branches can be watched without starting git."""
        return picture(self.location) is not None

    def fetch(self) -> str:
        """Bring the mirror up to date; the head commit of the branch.

        A rewritten branch is taken over (ask `revision(...).descends`). Git is not started when the files of a
        repository nearby say that no branch moved. Raises SourceError: out of reach, no commits yet, no such branch.
        """
        # Looked at before the fetch: a push in between is seen by the next call.
        seen, now = picture(self.location), self._clock.monotonic()
        if self._fetched is not None and self._fetched[0] == seen and now - self._fetched[1] < _TRUSTED_S:
            return self._fetched[2]
        self._fetched = None
        head = self._fetch()
        if seen is not None:
            self._fetched = (seen, now, head)
        return head

    def _fetch(self) -> str:
        self._unlock()
        # fsck is left off: repositories with decades of history trip over it, and paths are checked when read.
        self.git.run(
            *("fetch", "--quiet", "--force", "--prune", "--no-tags", "--update-shallow", "--no-write-fetch-head"),
            *("--no-recurse-submodules", "--end-of-options", self.location),
            *("+refs/heads/*:refs/heads/*", "+refs/customhouse/*:refs/customhouse/*"),
        )
        head = self._head(self.branch)
        if head is not None:
            return head
        names = self.branches("")
        if not names:
            raise SourceError(
                "the repository has no commits",
                where=redact(self.location),
                hint=f"commit something and push it to {self.branch}",
            )
        raise SourceError(
            f"the repository has no branch {self.branch!r}",
            where=redact(self.location),
            hint="it has " + ", ".join(list(names)[:8]),
        )

    def branches(self, prefix: str) -> dict[str, str]:
        """The branches whose names begin with `prefix`, as of the last fetch: name → commit."""
        lines = self.git.text("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/").splitlines()
        found = {
            name.removeprefix("refs/heads/"): commit for commit, _, name in (line.partition(" ") for line in lines)
        }
        return {name: commit for name, commit in sorted(found.items()) if name.startswith(prefix)}

    def commit(
        self,
        base: str,
        branch: str,
        files: Mapping[str, bytes | None],
        message: str,
        *,
        identity: Identity,
        signing_key: Path | None = None,
        replace: bool = False,
    ) -> str:
        """Commit `files` (None deletes) on top of `base`, push it to `branch`, and give its id.

        Signed with the SSH private key `signing_key` when given. Nothing to change: gives `base`'s id and pushes
        nothing. The push holds an exact lease: `branch` must not exist or be at `base`; with `replace` it may also be
        where the last fetch saw it. Raises PushRejectedError when somebody was faster, SourceError for the rest.
        """
        parent = self.resolve(base)
        with self._index() as index:
            self.git.run("read-tree", parent, extra=index)
            self._stage(parent, files, index)
            tree = self.git.run("write-tree", extra=index).stdout.decode().strip()
        if tree == self.git.text("rev-parse", f"{parent}^{{tree}}"):
            return parent
        return self._commit_tree(
            tree, parent, branch, message, identity=identity, signing_key=signing_key, replace=replace
        )

    def revert(
        self,
        commit: str,
        branch: str,
        message: str,
        *,
        identity: Identity,
        signing_key: Path | None = None,
        onto: str = "",
    ) -> str:
        """A new commit on the head of `branch` (as of the last fetch) that undoes `commit`, pushed; its id.

        Pushed to `onto` where that is said, a branch of our own that is replaced, and `branch` stays as it is.

        A merge is undone towards its first parent. Already undone: gives the head and pushes nothing. Raises
        RevertConflictError with the files that later commits changed in the same places, PushRejectedError when
        somebody was faster.
        """
        bad = self.resolve(commit)
        head = self._head(branch)
        if head is None:
            raise SourceError(f"there is no branch {branch!r}", where=redact(self.location))
        if not self.is_ancestor(bad, head):
            raise SourceError(f"{bad[:12]} is not part of {branch!r}", hint="there is nothing to undo there")
        parents = self.git.text("rev-list", "--parents", "-n1", bad).split()[1:]
        if not parents:
            raise SourceError(f"{bad[:12]} is the first commit", hint="there is nothing before it to go back to")
        undone: dict[str, tuple[str, str]] = {}
        conflicts: list[str] = []
        ours = self._tree(head)
        theirs = self._tree(parents[0])
        changed = self._tree(bad)
        for path in sorted(theirs.keys() | changed.keys()):
            was, became, now = theirs.get(path), changed.get(path), ours.get(path)
            if was in (became, now):
                continue
            if now == became:
                undone[path] = was or _absent(head)
                continue
            merged = self._merge(now, became, was)
            if merged is None:
                conflicts.append(path)
            else:
                undone[path] = merged
        if conflicts:
            raise RevertConflictError(
                f"{bad[:12]} cannot be undone by itself: later commits changed {', '.join(conflicts[:5])}",
                files=tuple(conflicts),
                hint="undo it by hand, or revert the later commits first",
            )
        with self._index() as index:
            self.git.run("read-tree", head, extra=index)
            self._update_index(undone, index)
            tree = self.git.run("write-tree", extra=index).stdout.decode().strip()
        if tree == self.git.text("rev-parse", f"{head}^{{tree}}"):
            return head
        return self._commit_tree(
            tree, head, onto or branch, message, identity=identity, signing_key=signing_key, replace=bool(onto)
        )

    def publish(self, ref: str, files: Mapping[str, bytes], message: str, *, identity: Identity = _PUBLISHER) -> None:
        """Replace a ref outside the branches (`refs/customhouse/…`) of the remote by a commit of its own with `files`.

        Whatever was there is replaced: it belongs to the control plane. Raises SourceError.
        """
        if not ref.startswith("refs/customhouse/"):
            raise SourceError(f"{ref!r} is not below refs/customhouse/", hint="branches are written by `commit`")
        self.git.run("check-ref-format", ref)
        for path in files:
            _checked_path(path)
        with self._index() as index:
            self._update_index({path: ("100644", self._store(data)) for path, data in files.items()}, index)
            tree = self.git.run("write-tree", extra=index).stdout.decode().strip()
        done = self.git.run("commit-tree", "-F", "-", tree, stdin=message.encode(), extra=self._who(identity))
        commit = done.stdout.decode().strip()
        self.git.run("push", "--quiet", "--no-verify", "--force", "--end-of-options", self.location, f"{commit}:{ref}")
        self.git.run("update-ref", ref, commit)

    def delete_branch(self, branch: str) -> None:
        """Delete a branch there and here, if it is where the last fetch saw it. Raises PushRejectedError if not."""
        if branch == self.branch:
            raise SourceError(f"{branch!r} is the branch that is deployed; it is not deleted")
        head = self._head(branch)
        if head is not None:
            self._push("", branch, head)

    def _unlock(self) -> None:
        """Remove what a killed git left behind: git holds a lock of a ref for milliseconds."""
        now = self._clock.now().timestamp()
        for lock in (*self.git.directory.glob("*.lock"), *self.git.directory.glob("refs/**/*.lock")):
            try:
                if now - lock.stat().st_mtime > _STALE_LOCK_S:
                    lock.unlink()
            except FileNotFoundError:
                continue

    def _head(self, branch: str) -> str | None:
        check_word(branch, "branch")
        done = self.git.run(
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            f"refs/heads/{branch}^{{commit}}",
            accept=(0, 1, 128),
        )
        return done.stdout.decode().strip() if done.status == 0 else None

    @contextmanager
    def _index(self) -> Iterator[dict[str, str]]:
        with tempfile.TemporaryDirectory(prefix="customhouse-index-") as folder:
            yield {"GIT_INDEX_FILE": os.path.join(folder, "index")}

    def _stage(self, parent: str, files: Mapping[str, bytes | None], index: dict[str, str]) -> None:
        tree = self._tree(parent)
        staged: dict[str, tuple[str, str]] = {}
        for path, data in files.items():
            _checked_path(path)
            if data is None:
                if path in tree:
                    staged[path] = _absent(parent)
                continue
            mode = tree.get(path, ("100644", ""))[0]
            if mode not in ("100644", "100755"):
                raise SourceError("a link or submodule is not overwritten", where=path)
            staged[path] = (mode, self._store(data))
        self._update_index(staged, index)

    def _store(self, data: bytes) -> str:
        return self.git.run("hash-object", "-w", "--stdin", stdin=data).stdout.decode().strip()

    def _update_index(self, staged: Mapping[str, tuple[str, str]], index: dict[str, str]) -> None:
        lines = b"".join(
            f"{mode} {blob}\t{path}\0".encode("utf-8", "surrogateescape") for path, (mode, blob) in staged.items()
        )
        self.git.run("update-index", "-z", "--index-info", stdin=lines, extra=index)

    def _tree(self, commit: str) -> dict[str, tuple[str, str]]:
        done = self.git.run("ls-tree", "-r", "-z", "--full-tree", commit)
        found = {}
        for line in done.stdout.split(b"\0"):
            if line:
                meta, _, path = line.partition(b"\t")
                mode, _, blob = meta.decode("ascii").split()
                found[path.decode("utf-8", "surrogateescape")] = (mode, blob)
        return found

    def _merge(
        self, ours: tuple[str, str] | None, base: tuple[str, str] | None, theirs: tuple[str, str] | None
    ) -> tuple[str, str] | None:
        """The three-way merge of one file's content; None when it conflicts or is not three regular files."""
        sides = [side for side in (ours, base, theirs) if side is not None and side[0] in ("100644", "100755")]
        if len(sides) != 3:
            return None
        with tempfile.TemporaryDirectory(prefix="customhouse-merge-") as folder:
            names = []
            for number, (_, blob) in enumerate(sides):
                place = Path(folder) / str(number)
                place.write_bytes(self.git.run("cat-file", "blob", blob).stdout)
                names.append(str(place))
            # The status is the number of conflicts, 255 for binary files and other errors.
            done = self.git.run("merge-file", "-p", "--quiet", *names, accept=range(256))
        return (sides[0][0], self._store(done.stdout)) if done.status == 0 else None

    def _commit_tree(
        self,
        tree: str,
        parent: str,
        branch: str,
        message: str,
        *,
        identity: Identity,
        signing_key: Path | None,
        replace: bool,
    ) -> str:
        check_word(branch, "branch")
        self.git.run("check-ref-format", f"refs/heads/{branch}")
        seen = self._head(branch)
        if seen is not None and seen != parent and not replace:
            raise PushRejectedError(
                f"{branch!r} is at {seen[:12]}, not at {parent[:12]}", hint="fetch, and make the commit on its head"
            )
        settings, options = [], []
        if signing_key is not None:
            settings = ["gpg.format=ssh", f"user.signingKey={signing_key.absolute()}"]
            options = ["-S"]
        done = self.git.run(
            "commit-tree",
            *options,
            "-p",
            parent,
            "-F",
            "-",
            tree,
            stdin=message.encode(),
            settings=settings,
            extra=self._who(identity),
        )
        commit = done.stdout.decode().strip()
        self._push(commit, branch, seen or "")
        return commit

    def _who(self, identity: Identity) -> dict[str, str]:
        at = _git_date(self._clock.now())
        return {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", identity.name), ("EMAIL", identity.email), ("DATE", at))
        }

    def _push(self, commit: str, branch: str, expected: str) -> None:
        ref = f"refs/heads/{branch}"
        done = self.git.run(
            *("push", "--porcelain", "--no-verify", f"--force-with-lease={ref}:{expected}"),
            *("--end-of-options", self.location, f"{commit}:{ref}"),
            accept=(0, 1),
        )
        if done.status != 0:
            said = done.stdout.decode("utf-8", "replace")
            reason = redact(next((line for line in said.splitlines() if line.startswith("!")), done.stderr)).strip()
            if any(word in reason for word in ("stale info", "fetch first", "non-fast-forward", "cannot lock ref")):
                raise PushRejectedError(f"{branch!r} was moved by somebody else", hint="fetch, and try again")
            hint = "push to a bare repository" if "checked out" in reason else "ask who guards the branch"
            raise SourceError(f"the push to {branch!r} was refused: {reason[-400:]}", hint=hint)
        # The mirror follows its own push, so that the next commit is made on it without another fetch.
        if commit:
            self.git.run("update-ref", ref, commit)
        else:
            self.git.run("update-ref", "-d", ref)


def _absent(like: str) -> tuple[str, str]:
    """What `update-index` takes for: remove it. The null id is as long as the repository's other ids."""
    return "0", "0" * len(like)


def _git_date(at: datetime) -> str:
    return f"@{int(at.timestamp())} +0000"


def _checked_path(path: str) -> None:
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or not path.isprintable():
        raise SourceError(f"{path[:120]!r} is not a path inside the repository")


def _checked_location(location: str) -> str:
    """A URL of an allowed kind, or the absolute path of a repository that exists. Raises SourceError."""
    check_word(location, "repository")
    if "://" in location:
        if urlsplit(location).scheme not in _SCHEMES:
            raise SourceError(
                f"cannot fetch over {urlsplit(location).scheme!r}",
                where=redact(location),
                hint="file, ssh and https are allowed",
            )
        return location
    if "::" in location:
        raise SourceError("remote helpers are not allowed", where=redact(location), hint="give a path or a URL")
    path = Path(location)
    if path.exists():
        return str(path.resolve())
    head, colon, _ = location.partition(":")
    if colon and "/" not in head:
        return location  # scp-like: user@host:path
    raise SourceError("there is no repository here", where=location, hint="check the path, or run `customhouse init`")


def _init(mirror: Path, branch: str, environment: Mapping[str, str]) -> None:
    try:
        mirror.parent.mkdir(parents=True, exist_ok=True)
        # Made beside it and renamed, so that a kill leaves no half of a mirror. An empty template: no sample hooks.
        with tempfile.TemporaryDirectory(prefix=f".{mirror.name}-", dir=mirror.parent) as folder:
            place = Path(folder) / "mirror"
            command: Sequence[str] = ["git", "init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}"]
            run([*command, "--", str(place.absolute())], env=git_environment(environment))
            place.rename(mirror)
    except ProgramMissingError as error:
        raise missing_git() from error
    except ProgramError as error:
        raise failed("init", error) from error
    except OSError as error:
        raise SourceError(f"cannot make the mirror: {error}", where=str(mirror), hint="free some space") from error


def _conforms(repository: GitRepository) -> Repository:
    """Checked by mypy: the adapter has every method of the ports, with their types."""
    return repository
