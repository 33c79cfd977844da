"""Where the local target keeps things: one folder of state, and a short folder for sockets."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from customhouse.core.errors import StateError, TargetError

_SOCKET_LIMIT = 85
"""sun_path holds 107 bytes; a name of 12 below the folder and its temporary suffix need the rest."""
MAX_LOG = 4 << 20


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of one local target."""

    root: Path
    sockets: Path

    @classmethod
    def under(cls, state: Path) -> Places:
        """Make them, readable by this user only. Raises StateError."""
        root = (state / "local").absolute()
        try:
            for folder in (root, root / "run", root / "logs", root / "jobs"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sockets = root / "s"
            if len(os.fsencode(sockets)) > _SOCKET_LIMIT:
                name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
                sockets = Path(tempfile.gettempdir()) / f"customhouse-{os.geteuid()}-{name}"
            sockets.mkdir(mode=0o700, exist_ok=True)
            found = sockets.lstat()
        except OSError as error:
            raise StateError(
                f"cannot be made: {error.strerror or error}", where=str(root), hint="free space or correct the rights"
            ) from error
        # A folder in a shared place could be another user's trap.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise StateError("is not a folder of this user alone", where=str(sockets), hint="remove it")
        return cls(root, sockets)

    @property
    def notice(self) -> Path:
        """Where it is said that this machine will be taken away (`notice`)."""
        return self.root / "notice.json"

    def config(self, identity: str) -> Path:
        """The configuration file of one process; its command line names it."""
        return self.root / "run" / f"{identity}.json"

    def fault(self, identity: str) -> Path:
        """Where a worker says why it did not start."""
        return self.root / "run" / f"{identity}.fault"

    def socket(self, identity: str) -> Path:
        """A process's unix socket."""
        return self.sockets / hashlib.sha256(identity.encode()).hexdigest()[:12]

    def log(self, namespace: str, name: str, release: str) -> Path:
        """The log of one release."""
        folder = self.root / "logs" / namespace / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"cannot be made: {error.strerror}", where=str(folder)) from error
        return folder / f"{release.removeprefix('sha256:')[:16]}.log"

    def rotate(self) -> None:
        """Keep every log under MAX_LOG with one older part: copied and cut, since its writers hold it open."""
        for log in self.root.glob("logs/**/*.log"):
            try:
                if log.stat().st_size > MAX_LOG:
                    log.with_suffix(".log.1").write_bytes(log.read_bytes()[-MAX_LOG:])
                    os.truncate(log, 0)
            except OSError as error:
                raise TargetError(f"cannot be rotated: {error.strerror}", where=str(log)) from error

    def clear_sockets(self) -> None:
        """Remove the sockets' folder; call only when nothing runs any more."""
        shutil.rmtree(self.sockets, ignore_errors=True)

    def forget(self, identity: str) -> None:
        """Remove the small files of a process that has ended."""
        for path in (self.config(identity), self.fault(identity), self.socket(identity)):
            path.unlink(missing_ok=True)


def confined(root: Path, relative: str, what: str) -> Path:
    """`relative` below `root`, links resolved. Raises TargetError when that leads outside."""
    real = root.resolve()
    path = (real / relative).resolve()
    if not path.is_relative_to(real):
        raise TargetError(f"{what} leads out of {root}", where=relative, hint="a link points elsewhere; copy the files")
    return path
