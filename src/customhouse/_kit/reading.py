"""Files that are read once: whatever is asked of their bytes is computed from the same buffers, on as many cores."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO, Protocol, TypeVar

CHUNK = 1 << 20
"""Bytes of a buffer: small enough to stay in a core's second-level cache between two hashes."""
LARGE = 32 << 20
"""From here on threads pay: a file is hashed in two lanes, several files side by side."""
MAX_WORKERS = 8
"""More threads only take turns at the disk and at the memory bus."""
_BUFFERS = 4
_SPARSE_FROM = 1 << 30
_SPARSE = 16
_NO_FILE = "and no regular file; save what it gives to a file, and name that"

Item = TypeVar("Item")
Result = TypeVar("Result")
Told = Callable[[int], None]
"""Called with the bytes read after every chunk, from any thread; what it raises ends the reading."""


class Hasher(Protocol):
    """A hash in the making, as hashlib's are."""

    def update(self, data: Any, /) -> object:
        """More bytes."""

    def hexdigest(self) -> str:
        """What they come to."""


class NotRegularError(ValueError):
    """A link, a device, a socket: what is no regular file; the message names it."""


class SparseError(NotRegularError):
    """A file that is mostly a hole: to be read for hours, and no model; the message names it."""


@dataclass(frozen=True, slots=True)
class Digests:
    """What one read of a file gave: `sha256:…`, `blake3:…` (each empty when it was not asked for), bytes."""

    sha256: str
    blake3: str
    size: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file is known to be what it was: device, inode, bytes, and both times in nanoseconds.

    The time of the inode's last change (ctime) is set by the kernel, not by programs.
    """

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stamp:
        """From what the system says."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a regular file; no link is followed, no pipe blocks.

    Raises NotRegularError, SparseError, and OSError when it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegularError(f"{path}: a symbolic link; name the file that it leads to") from error
        if error.errno == errno.ENXIO:  # what open(2) says of a socket
            raise NotRegularError(f"{path}: not a regular file") from error
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise NotRegularError(f"{path}: not a regular file")
        if _is_hollow(descriptor, found):
            raise SparseError(
                f"{path}: a sparse file, {found.st_blocks * 512} of its {found.st_size} bytes are stored; finish its "
                "download, or remove it"
            )
        if hasattr(os, "posix_fadvise"):  # the system then reads ahead twice as far
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield descriptor
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> BinaryIO:
    """`path.open("rb")` of what a person names: links are followed, and no pipe is waited for.

    Raises OSError, whose `strerror` says what it is that is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what open(2) says of a socket
            raise OSError(errno.EINVAL, f"a socket, {_NO_FILE}", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise OSError(errno.EINVAL, f"{kind}, {_NO_FILE}", str(path))


def absent(path: Path | str, what: str = "file") -> str:
    """Why there is no regular file at a path, as words for whoever named it."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return f"there is no {what} {path}"
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a socket or a device"
    return f"{path} is {kind}, and no regular file"


def _is_hollow(descriptor: int, found: os.stat_result) -> bool:
    """Whether less than a sixteenth of a file of more than 1 GiB is stored.

    The count of blocks alone is no proof: some network file systems give none, and others compress. Only a file system
    that knows of a hole besides (lseek(2), SEEK_HOLE) is believed.
    """
    if found.st_size <= _SPARSE_FROM or found.st_blocks * 512 >= found.st_size // _SPARSE:
        return False
    try:
        hole = os.lseek(descriptor, 0, os.SEEK_HOLE)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except (OSError, AttributeError):
        return False
    return hole < found.st_size


def devices_in_memory() -> frozenset[int]:
    """The devices of file systems that never store anything (proc_pid_mountinfo(5): field 3, and the type)."""
    found = set()
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            head, _, tail = line.partition(" - ")
            if tail.partition(" ")[0] in ("tmpfs", "ramfs", "hugetlbfs"):
                major, _, minor = head.split()[2].partition(":")
                found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)


def read_digests(
    descriptor: int, *, sha256: bool = True, blake3: Hasher | None = None, told: Told | None = None, lanes: bool = True
) -> Digests:
    """Hash an open file from its start to its end; `blake3` is a new hasher of that kind, if it is wanted.

    With both hashes, a large file is hashed in two threads at once.

    Not mapped into memory: a file that is cut short while it is read would end the process (SIGBUS).
    """
    first = hashlib.sha256() if sha256 else None
    if lanes and first is not None and blake3 is not None and os.fstat(descriptor).st_size >= LARGE:
        size = _two_lanes(descriptor, first.update, blake3.update, told)
    else:
        updates: list[Callable[[memoryview], object]] = []
        updates += [first.update] if first is not None else []
        updates += [blake3.update] if blake3 is not None else []
        size = _one_lane(descriptor, updates, told)
    return Digests(
        "" if first is None else "sha256:" + first.hexdigest(),
        "" if blake3 is None else "blake3:" + blake3.hexdigest(),
        size,
    )


def digests_of(data: bytes, *, sha256: bool = True, blake3: Hasher | None = None) -> Digests:
    """The digests of bytes in memory."""
    if blake3 is not None:
        blake3.update(data)
    return Digests(
        "sha256:" + hashlib.sha256(data).hexdigest() if sha256 else "",
        "" if blake3 is None else "blake3:" + blake3.hexdigest(),
        len(data),
    )


def cores() -> int:
    """How many cores this process may use, but no more than pay."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MAX_WORKERS, usable))


def side_by_side(items: Sequence[tuple[Item, int]], work: Callable[[Item], Result]) -> list[Result]:
    """`work` of each item, in their order; with each goes its size in bytes, and the largest are begun first.

    Threads are started where the sizes are worth it. The first error, in the order of the items, is raised; then, and
    when the program is interrupted, nothing more is begun, and what is being read ends at its next block.
    """
    if len(items) < 2 or sum(size for _, size in items) < LARGE or cores() < 2:
        return [work(item) for item, _ in items]
    from concurrent.futures import ThreadPoolExecutor

    order = sorted(range(len(items)), key=lambda index: -items[index][1])
    pool = ThreadPoolExecutor(cores(), "reading")
    try:
        begun = {index: pool.submit(work, items[index][0]) for index in order}
        return [begun[index].result() for index in range(len(items))]
    except BaseException:
        _stop.set()  # nobody waits for the rest of a large file
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _stop.clear()


_stop = threading.Event()


def _go_on() -> None:
    if _stop.is_set():
        raise InterruptedError("what was read together was given up")


def _one_lane(descriptor: int, updates: Sequence[Callable[[memoryview], object]], told: Told | None) -> int:
    buffer = memoryview(bytearray(CHUNK))
    size = 0
    while count := os.preadv(descriptor, [buffer], size):
        _go_on()
        for update in updates:
            update(buffer[:count])
        size += count
        if told is not None:
            told(count)
    return size


def _two_lanes(
    descriptor: int, first: Callable[[memoryview], object], second: Callable[[memoryview], object], told: Told | None
) -> int:
    """Each buffer goes to both hashes; this thread reads and does the first, a second one does the other."""
    free: SimpleQueue[memoryview] = SimpleQueue()
    full: SimpleQueue[tuple[memoryview, int]] = SimpleQueue()
    for _ in range(_BUFFERS):
        free.put(memoryview(bytearray(CHUNK)))

    def lane() -> None:
        while (got := full.get())[1]:
            second(got[0][: got[1]])
            free.put(got[0])

    thread = threading.Thread(target=lane, name="second hash", daemon=True)
    thread.start()
    size = 0
    try:
        while count := os.preadv(descriptor, [buffer := free.get()], size):
            _go_on()
            full.put((buffer, count))
            first(buffer[:count])  # the buffer is taken anew only when this is done, and when the lane gave it back
            size += count
            if told is not None:
                told(count)
    finally:
        full.put((memoryview(b""), 0))
        thread.join()
    return size
