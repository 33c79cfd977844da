"""Which file is read by whom: by its path in the image, or by its first bytes. One table."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from customhouse.trust.packages import java, languages, programs, rpm, systems
from customhouse.trust.packages.distribution import read_release
from customhouse.trust.packages.found import Reading, UnreadListError
from customhouse.trust.packages.systems import FILE_LISTS
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.words import words

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer  # typos: ignore

_MIB = 1 << 20


class Reader(StrEnum):
    """Kinds of files that are read, with the most bytes of each."""

    RELEASE = "os-release"
    DPKG = "dpkg"
    DPKG_PART = "dpkg-part"
    DPKG_FILES = "dpkg-files"
    APK = "apk"
    RPM = "rpm"
    RPM_LOG = "rpm-log"
    RPM_MANIFEST = "rpm-manifest"
    PYTHON = "python"
    PYTHON_VENDORED = "python-vendored"
    CONDA = "conda"
    NPM = "npm"
    NPM_LOCK = "npm-lock"
    GEM = "gem"
    COMPOSER = "composer"
    DOTNET = "dotnet"
    JAVA = "java"
    PYTHON_ARCHIVE = "python-archive"
    PROGRAM = "program"
    MODEL = "model"

    @property
    def most(self) -> int:
        """Bytes; a longer file is not read, and that is said."""
        return _MOST.get(self, 8 * _MIB)


_MOST = {
    Reader.DPKG: 64 * _MIB,
    Reader.APK: 64 * _MIB,
    Reader.DPKG_FILES: 32 * _MIB,
    Reader.RPM: 2048 * _MIB,
    Reader.RPM_LOG: 1024 * _MIB,
    Reader.NPM_LOCK: 32 * _MIB,
    Reader.COMPOSER: 64 * _MIB,
    Reader.DOTNET: 64 * _MIB,
    Reader.JAVA: 2048 * _MIB,
    Reader.PYTHON_ARCHIVE: 2048 * _MIB,
    Reader.PROGRAM: 8192 * _MIB,
    Reader.MODEL: 512 * 1024 * _MIB,
}
SYSTEM_LISTS = (Reader.DPKG, Reader.DPKG_PART, Reader.APK, Reader.RPM, Reader.RPM_MANIFEST)
ANCHORED = {
    "etc/os-release": Reader.RELEASE,
    "usr/lib/os-release": Reader.RELEASE,
    "var/lib/dpkg/status": Reader.DPKG,
    "lib/apk/db/installed": Reader.APK,
    "usr/lib/apk/db/installed": Reader.APK,
    **{
        f"{folder}/{name}": Reader.RPM_LOG if name.endswith("-wal") else Reader.RPM
        for folder in ("var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm")
        for name in ("rpmdb.sqlite", "rpmdb.sqlite-wal", "Packages", "Packages.db")
    },
    "var/lib/rpmmanifest/container-manifest-2": Reader.RPM_MANIFEST,
}
"""Files that are looked for at one place alone; also where a link leads there."""
_NPM = re.compile(r"(?:^|/)node_modules/(?:@[^/]+/)?[^/]+/package\.json$")
_BY_NAME: dict[str, Callable[[str], Reader | None]] = {
    "METADATA": lambda path: Reader.PYTHON if _within(path, ".dist-info/METADATA") else None,
    "PKG-INFO": lambda path: (
        Reader.PYTHON if _within(path, ".egg-info/PKG-INFO") or path.endswith("EGG-INFO/PKG-INFO") else None
    ),
    "vendor.txt": lambda path: Reader.PYTHON_VENDORED if path.endswith("pip/_vendor/vendor.txt") else None,
    "package.json": lambda path: Reader.NPM if _NPM.search(path) else None,
    "package-lock.json": lambda path: None if "node_modules/" in path else Reader.NPM_LOCK,
    "installed.json": lambda path: Reader.COMPOSER if path.endswith("vendor/composer/installed.json") else None,
}
_MODELS = words(
    """pkl pickle joblib dill cloudpickle pt pt2 ckpt h5 hdf5 keras onnx safetensors gguf ggml tflite npy npz skops
    mlmodel nemo mar"""
)
_BY_SUFFIX = {
    "egg-info": Reader.PYTHON,
    "egg": Reader.PYTHON_ARCHIVE,
    "pex": Reader.PYTHON_ARCHIVE,
    "pyz": Reader.PYTHON_ARCHIVE,
    **{suffix[1:]: Reader.JAVA for suffix in java.SUFFIXES},
}
_SUFFIXES = _MODELS | _BY_SUFFIX.keys() | {"json", "gemspec", "bin", "pth"}
_WEIGHTS = re.compile(
    r"(?:pytorch_model|adapter_model|diffusion_pytorch_model|consolidated|optimizer|model)[\w.-]*\.(?:bin|pth)"
)
_PICKLES = re.compile(rb"\x80[\x04\x05]\x95|\x80[\x02\x03][}\](clcqX]")
_OLD_PICKLES = re.compile(rb"\(?c[A-Za-z_][\w.]*\n[A-Za-z_][\w.]*\n[(qp)]")
"""Of protocols 0 and 1, that begin with a name."""
_HEADS = (b"GGUF", b"\x89HDF\r\n\x1a\n")


def _within(path: str, tail: str) -> bool:
    return path.endswith(tail) and not path.endswith("/" + tail)


def reader_of(path: str) -> Reader | None:
    """Who reads the file at this path (without a leading slash); None when only its first bytes can tell."""
    known = ANCHORED.get(path)
    if known is not None:
        return known
    folder, _, base = path.rpartition("/")
    named = _BY_NAME.get(base)
    if named is not None:
        return named(path)
    stem, dot, suffix = base.rpartition(".")
    if folder.startswith("var/lib/dpkg/"):
        return _of_dpkg(folder, suffix if dot else "")
    suffix = suffix.lower()
    if not dot or suffix not in _SUFFIXES:
        return None
    if suffix == "json":
        if base.endswith(".deps.json"):
            return Reader.DOTNET
        return Reader.CONDA if folder.endswith("conda-meta") else None
    if suffix == "gemspec":
        return Reader.GEM if folder.endswith("/specifications") else None
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    return Reader.MODEL if stem and (suffix in _MODELS or _WEIGHTS.fullmatch(base)) else None


def _of_dpkg(folder: str, suffix: str) -> Reader | None:
    if folder == "var/lib/dpkg/status.d":
        return Reader.DPKG_FILES if suffix == "md5sums" else Reader.DPKG_PART
    return Reader.DPKG_FILES if folder == FILE_LISTS and suffix == "list" else None


def reader_of_head(head: bytes) -> Reader | None:
    """Who reads a file that begins so, whatever it is called."""
    if head.startswith(programs.ELF):
        return Reader.PROGRAM
    if head.startswith(_HEADS) or _PICKLES.match(head) or _OLD_PICKLES.match(head):
        return Reader.MODEL
    if head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[30:]:  # as torch.save packs
        return Reader.MODEL
    return None


def is_worth_owning(path: str) -> bool:
    """Whether it matters that a package of the distribution brought this file."""
    return "bin/" in path or "/libexec/" in path or ".so" in path or reader_of(path) is not None


def read(reader: Reader, path: str, source: Source) -> Reading:
    """What one file says. Never raises for bad bytes: what cannot be read is in `unread`."""
    reading = Reading()
    try:
        _read(reader, path, source, reading)
    except UnreadListError as error:
        reading.unread.append(str(error))
    except UnreadableError as error:
        reading.unread.append(error.reason)
    except (ValueError, IndexError, KeyError, OverflowError, RecursionError, MemoryError) as error:
        reading.unread.append(f"the reader of {reader.value} gave up ({type(error).__name__})")
    return reading


def _read(reader: Reader, path: str, source: Source, reading: Reading) -> None:
    if reader is Reader.PROGRAM:
        programs.read_program(source, reading)
    elif reader is Reader.RPM:
        rpm.read_rpm(source, reading, is_worth_owning)
    elif reader is Reader.RPM_LOG:
        if source.size:
            raise UnreadListError("changes of RPM's database that are only in its log; run a checkpoint before packing")
    elif reader is Reader.JAVA:
        java.read_java(io.BufferedReader(_File(source)), path, reading)
    elif reader is Reader.PYTHON_ARCHIVE:
        java.read_python_archive(io.BufferedReader(_File(source)), reading)
    elif reader is Reader.GEM:
        languages.read_gem(path, reading)
    else:
        _SMALL[reader](source.read(0, source.size), reading)


_SMALL: dict[Reader, Callable[[bytes, Reading], None]] = {
    Reader.RELEASE: lambda data, reading: reading.release.update(
        read_release(data.decode("utf-8", "backslashreplace"))
    ),
    Reader.DPKG: systems.read_dpkg,
    Reader.DPKG_PART: lambda data, reading: systems.read_dpkg(data, reading, whole=False),
    Reader.DPKG_FILES: lambda data, reading: systems.read_file_list(data, reading, is_worth_owning),
    Reader.APK: lambda data, reading: systems.read_apk(data, reading, is_worth_owning),
    Reader.RPM_MANIFEST: rpm.read_manifest,
    Reader.PYTHON: languages.read_python,
    Reader.PYTHON_VENDORED: languages.read_vendored,
    Reader.CONDA: languages.read_conda,
    Reader.NPM: languages.read_npm,
    Reader.NPM_LOCK: languages.read_npm_lock,
    Reader.COMPOSER: languages.read_composer,
    Reader.DOTNET: languages.read_dotnet,
}


class _File(io.RawIOBase):
    """A source as a file."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, room: Buffer, /) -> int:
        view = memoryview(room)
        data = self._source.peek(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
