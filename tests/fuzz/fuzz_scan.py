"""Fuzz the model scanner: mutants of real and hostile files, of every format, wrapped in each other.

    python tests/fuzz/fuzz_scan.py --seconds 600 --seed 1 DIRECTORY…       # files to mutate; figures are printed
    python tests/fuzz/fuzz_scan.py --atheris CORPUS -max_total_time=600    # guided by coverage, where atheris is

Each case must end within a second of processor time and 200 MB above the start, raise nothing, leave no reader by an
exception that it does not declare, and be judged the same twice. A mutant that the real `pickle` would still follow to
something dangerous (it is asked with a harmless `find_class`) must not be clean. A failing case is written beside the
working folder as `fuzz-<digest>` and the exit status is 1.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import pickletools
import random
import resource
import signal
import sys
import tarfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from customhouse.trust.scan import FileScan, Limits, Verdict, scan_bytes

LIMITS = Limits(expanded=64 << 20)
MAX_CPU_S = 1.0
MAX_GROWTH = 200 << 20
MAX_SEED = 64 << 10
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)
_TOKENS = (
    b"cos\nsystem\n", b"\x8c\x02os\x8c\x06system\x93", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x1f\x8b\x08",
    b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"GGUF", b"\x89HDF\r\n\x1a\n", b"OHDR", b"TREE",
    b"__class__", b"{{", b"}}", b"{%", b"%}", b'"class_name": "Lambda"', b"auto_map", b"_target_", b"!!python/",
    b"\x80\x04", b"\x93NUMPY", b"TFL3", b"ustar", b"{", b"[", b"\xff\xff\xff\xff", b"Lambda", b"PyFunc",
)  # fmt: skip
_DANGEROUS = ("os", "posix", "nt", "subprocess", "pty", "socket", "runpy", "webbrowser", "shutil", "importlib")
_DANGEROUS_BUILTINS = ("eval", "exec", "__import__", "compile", "getattr", "open", "breakpoint")


@dataclass(slots=True)
class Figures:
    """What a run came to."""

    cases: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    followed: int = 0
    """Mutants that `pickle` follows to something dangerous."""
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


class _FoundError(Exception):
    """Raised instead of naming something dangerous."""


class _Inert:
    """Stands for every class and function that a pickle names."""

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return object.__new__(cls)

    def __call__(self, *_: object, **__: object) -> _Inert:
        return self

    def __setstate__(self, _: object) -> None:
        return None


class _Follower(pickle.Unpickler):
    """The real unpickler, which stops where a payload would start."""

    def find_class(self, module: str, name: str) -> object:
        """Nothing is imported."""
        root = {"__builtin__": "builtins"}.get(module, module).partition(".")[0]
        if root in _DANGEROUS or (root == "builtins" and name.partition(".")[0] in _DANGEROUS_BUILTINS):
            raise _FoundError
        return _Inert

    def persistent_load(self, _: object) -> object:
        """Torch's storages."""
        return _Inert()


def follows(data: bytes) -> bool:
    """Whether the real `pickle` would come to name something dangerous.

    It believes what sizes it is told, so it is not asked about files that would have it take gigabytes.
    """
    if _greedy(data):
        return False
    try:
        _Follower(io.BytesIO(data)).load()
    except _FoundError:
        return True
    except Exception:  # noqa: BLE001 - whatever else broken bytes make it raise, no payload was reached
        return False
    return False


def _greedy(data: bytes) -> bool:
    """Whether a memo index or a buffer's size would make the unpickler reserve more than is there."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "BYTEARRAY8" or (opcode.name in ("LONG_BINPUT", "PUT") and argument > 1 << 20):
                return True
    except Exception:  # noqa: BLE001 - the unpickler stops at the same place
        return False
    return False


def mutate(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """One to six changes: bits, bytes, numbers, tokens, cuts, copies, a part of another seed."""
    out = bytearray(data or b"\x00")
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(9)
        if kind == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
            out[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
        elif kind == 3:
            out[at:at] = rng.choice(_TOKENS)
        elif kind == 4:
            del out[at : at + rng.randrange(1, 64)]
        elif kind == 5:
            del out[at:]
        elif kind == 6:
            out[at:at] = out[at : at + rng.randrange(1, 256)]
        elif kind == 7:
            other = rng.choice(others)
            start = rng.randrange(len(other) or 1)
            out[at : at + rng.choice((0, 16, 1 << 20))] = other[start : start + rng.randrange(1, 4096)]
        else:
            out += rng.randbytes(rng.randrange(1, 32))
    return bytes(out)


def _zip(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _tar(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("data.pkl")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


WRAPS: tuple[Callable[[bytes], bytes], ...] = (_zip, _tar, gzip.compress, bz2.compress, lzma.compress, zlib.compress)


class Fuzzer:
    """Runs cases and keeps the figures."""

    def __init__(
        self,
        seeds: Sequence[tuple[bytes, str]],
        seed: int,
        failures: Path | None = None,
        max_cpu_s: float = MAX_CPU_S,
    ) -> None:
        self.figures = Figures()
        self._seeds = list(seeds)
        self._bytes = [data for data, _ in seeds]
        self._rng = random.Random(seed)
        self._failures = failures
        self._max_cpu_s = max_cpu_s

    def run(self, seconds: float, cases: int | None = None) -> Figures:
        """As many cases as fit, or so many."""
        started = time.process_time()
        while time.process_time() - started < seconds and self.figures.cases != cases:
            data, name = self._rng.choice(self._seeds)
            mutant = mutate(data, self._bytes, self._rng)
            plain = mutant
            wrapped = self._rng.random() < 0.15
            if wrapped:
                mutant = self._rng.choice(WRAPS)(mutant)
            self.case(mutant, name if self._rng.random() < 0.5 else "", plain)
        self.figures.seconds = time.process_time() - started
        return self.figures

    def case(self, data: bytes, name: str, plain: bytes) -> None:
        """Scan one mutant and hold it to the promises; `plain` is what is inside its wrapping."""
        started, before = time.process_time(), _most_memory()
        try:
            signal.setitimer(signal.ITIMER_PROF, 20.0)
            scan = scan_bytes(data, name, limits=LIMITS)
        except BaseException as error:
            self._fail(data, name, f"raised {type(error).__name__}: {error}")
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        spent = time.process_time() - started
        figures = self.figures
        figures.cases += 1
        figures.slowest_s = max(figures.slowest_s, spent)
        figures.verdicts[scan.verdict.value] += 1
        self._judge(data, name, scan, spent, _most_memory() - before)
        if any(word in plain for word in (b"os", b"eval", b"subprocess", b"posix")) and follows(plain):
            figures.followed += 1
            if scan.verdict is Verdict.CLEAN:
                self._fail(data, name, "clean, and pickle follows it to something dangerous")

    def _judge(self, data: bytes, name: str, scan: FileScan, spent: float, grown: int) -> None:
        if spent > self._max_cpu_s:
            self._fail(data, name, f"took {spent:.2f} s")
        if grown > MAX_GROWTH:
            self._fail(data, name, f"grew by {grown >> 20} MB")
        for finding in scan.findings:
            if finding.rule == "reader-failed":
                self._fail(data, name, f"{scan.format}: {finding.message}")
        if scan.verdict is not Verdict.CLEAN and not scan.findings:
            self._fail(data, name, "a verdict without a reason")

    def _fail(self, data: bytes, name: str, why: str) -> None:
        digest = hashlib.sha256(data).hexdigest()[:12]
        self.figures.failures.append(f"fuzz-{digest} ({name}): {why}")
        if self._failures is not None:
            (self._failures / f"fuzz-{digest}").write_bytes(data)


def _most_memory() -> int:
    """Bytes of memory that the process has had at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read_seeds(folders: Iterable[Path]) -> list[tuple[bytes, str]]:
    """Every file of at most 64 KB below the folders."""
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    small = (path for path in files if not path.is_symlink() and 0 < path.stat().st_size <= MAX_SEED)
    return [(path.read_bytes(), path.name) for path in small]


def _guided(arguments: list[str]) -> None:
    """Coverage-guided: atheris is a tool of one's own environment, not of this project's."""
    import atheris  # type: ignore[import-not-found]

    atheris.instrument_all()
    fuzzer = Fuzzer([(b"\x00", "")], 0, Path())

    def one(data: bytes) -> None:
        fuzzer.case(data, "", data)
        if fuzzer.figures.failures:
            raise RuntimeError(fuzzer.figures.failures.pop())

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def _timed_out(*_: object) -> None:
    raise TimeoutError("20 s of processor time")


def main() -> int:
    """Print the figures; 1 when a promise was broken."""
    signal.signal(signal.SIGPROF, _timed_out)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # the real unpickler believes what sizes it is told
    if sys.argv[1:2] == ["--atheris"]:
        _guided(sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    figures = Fuzzer(read_seeds(options.folders), options.seed, Path()).run(options.seconds)
    print(
        json.dumps(
            {
                "cases": figures.cases,
                "cpu_seconds": round(figures.seconds),
                "slowest_s": round(figures.slowest_s, 3),
                "followed_by_pickle": figures.followed,
                "verdicts": dict(figures.verdicts),
                "failures": figures.failures,
            },
            indent=1,
        )
    )
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
