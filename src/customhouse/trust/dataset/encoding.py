"""Text of files: which encoding it is in, told and not guessed silently, and its lines, with limits.

1. A byte order mark decides. 2. Else NULs at every other byte say UTF-16. 3. Else it is UTF-8, until a byte is not.
4. A file whose first stretch is no UTF-8 and holds no multi-byte character of it is read as Windows-1252
(what "Latin-1" files are in practice), and that is told. 5. A byte that does not fit is named by its line.
"""

from __future__ import annotations

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from customhouse._kit.reading import NotRegularError, opened
from customhouse.core.errors import ArtifactError
from customhouse.trust.dataset.finding import Places

BLOCK = 1 << 20
MAX_LINE = 8 << 20
"""Characters of one line: a table's row is shorter, and a file without line ends must not fill the memory."""
MAX_UNPACKED = 64 << 30
MAX_RATIO = 1000
"""Of a compressed file: bytes out for each byte in. Text reaches about 100; gzip itself ends at 1,032."""
_SAMPLE = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MULTIBYTE = re.compile(rb"[\xc3-\xf4][\x80-\xbf]{1,3}")
_HIGH = re.compile(rb"[\x80-\xff]")


@dataclass(slots=True)
class TextFile:
    """How a file is written, as it turns out while it is read."""

    name: str
    encoding: str = "utf-8"
    reason: str = "it reads as that"
    compressed: bool = False
    line_end: str = ""
    undecodable: Places = field(default_factory=Places)
    lines: int = 0


@contextmanager
def binary(path: Path, name: str) -> Iterator[tuple[IO[bytes], bool]]:
    """The bytes of a file, unpacked when it is gzip, and whether it was. Raises ArtifactError."""
    try:
        with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            yield (io.BufferedReader(_Unpacked(raw, name), BLOCK), True) if packed else (raw, False)
    except FileNotFoundError as error:
        raise ArtifactError("there is nothing there", where=name) from error
    except NotRegularError as error:
        raise ArtifactError(str(error), where=name, hint="copy the file there") from error
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror or error}", where=name) from error


class _Unpacked(io.RawIOBase):
    """A gzip file of one or more members, read with limits on how much comes out."""

    def __init__(self, raw: IO[bytes], name: str) -> None:
        self._raw, self._name = raw, name
        self._in = self._out = 0
        self._unpack = zlib.decompressobj(wbits=31)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # what BufferedReader gives
        while True:
            try:
                data = self._piece(len(buffer))
            except zlib.error as error:
                raise ArtifactError(
                    "the gzip stream is broken", where=self._name, hint="pack it again, or finish its download"
                ) from error
            if data is None:
                continue
            self._out += len(data)
            if self._out > MAX_UNPACKED or (self._out > 1 << 24 and self._out > MAX_RATIO * self._in):
                raise ArtifactError(
                    f"unpacks to more than {MAX_RATIO} times its size, or 64 GiB",
                    where=self._name,
                    hint="a decompression bomb is no dataset; give it unpacked if it really is this large",
                )
            buffer[: len(data)] = data
            return len(data)

    def _piece(self, room: int) -> bytes | None:
        """Some bytes; none at the end; None when there is nothing yet."""
        if self._unpack.eof:
            rest = self._unpack.unused_data or self._raw.read(BLOCK)
            if not rest.strip(b"\0"):
                return b""
            self._in += len(rest)
            self._unpack = zlib.decompressobj(wbits=31)
            return self._unpack.decompress(rest, room) or None
        rest = self._unpack.unconsumed_tail or self._raw.read(BLOCK)
        if not rest:
            raise ArtifactError("the gzip stream ends early", where=self._name, hint="finish its download")
        self._in += 0 if self._unpack.unconsumed_tail else len(rest)
        return self._unpack.decompress(rest, room) or None


def detect(sample: bytes, told: TextFile) -> int:
    """Set the encoding by a file's first bytes; how many of them are a mark and no text."""
    for mark, encoding in _BOMS:
        if sample.startswith(mark):
            told.encoding, told.reason = encoding, "its byte order mark says so"
            return len(mark)
    head = sample[:4096]
    odd, even = head[1::2].count(0), head[::2].count(0)
    half = max(1, len(head) // 2)
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > half * 0.4 and others < half * 0.1:
            told.encoding, told.reason = encoding, "every other byte is zero"
            return 0
    cut = sample[: sample.rfind(b"\n") + 1] or sample
    try:
        cut.decode("utf-8")
    except UnicodeDecodeError as error:
        whole = len(_HIGH.findall(cut))
        fitting = sum(len(item) for item in _MULTIBYTE.findall(cut))
        if error.end < len(sample) and fitting * 2 < whole:
            told.encoding, told.reason = "cp1252", "it is no UTF-8, and its bytes fit Windows-1252 (Latin-1)"
    return 0


def lines_of(path: Path, name: str, told: TextFile, encoding: str = "") -> Iterator[str]:
    """The lines of a text file with their ends, `told` filled on the way. Raises ArtifactError beyond the limits.

    `encoding` is what the schema declares: it is used as it is, whatever the file looks like.
    """
    with binary(path, name) as (stream, told.compressed):
        sample = _read(stream, _SAMPLE)
        skip = detect(sample, told)
        if encoding and codecs.lookup(encoding) != codecs.lookup(told.encoding) and not skip:
            told.encoding, told.reason = encoding, "the schema says so"
        decoder = _Decoder(told, name)
        rest = ""
        data = sample[skip:]
        while data or rest:
            text = rest + decoder.decode(data, final=not data)
            last = not data
            if not told.line_end:
                told.line_end = "\r" if "\r" in text and "\n" not in text else "\n"
            parts = text.split(told.line_end)
            rest = "" if last else parts.pop()
            if last and parts and not parts[-1]:
                parts.pop()
            if len(rest) > MAX_LINE:
                raise ArtifactError(
                    f"a line of more than {MAX_LINE} characters",
                    where=f"{name}:{told.lines + len(parts) + 1}",
                    hint="this is no table of rows; was it written without line ends?",
                )
            for part in parts:
                told.lines += 1
                yield part + "\n"
            if last:
                return
            data = stream.read(BLOCK)


def _read(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size > 0 and (data := stream.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


class _Decoder:
    """Blocks of bytes to text; what does not fit is counted with its line and becomes U+FFFD."""

    def __init__(self, told: TextFile, name: str) -> None:
        self._told, self._name = told, name
        try:
            make = codecs.getincrementaldecoder(told.encoding)
        except LookupError as error:
            raise ArtifactError(
                f"no encoding is called {told.encoding!r}", where=name, hint="utf-8, cp1252 …"
            ) from error
        self._strict, self._lenient = make("strict"), make("replace")
        self._newlines = 0

    def decode(self, data: bytes, *, final: bool) -> str:
        before = self._strict.getstate()
        try:
            text = self._strict.decode(data, final)
        except UnicodeDecodeError:
            self._lenient.setstate(before)
            text = self._lenient.decode(data, final)
            self._note(text)
            self._strict.setstate(self._lenient.getstate())
        self._newlines += text.count("\n")
        return text

    def _note(self, text: str) -> None:
        for number, line in enumerate(text.split("\n")):
            if "\ufffd" in line:
                self._told.undecodable.add(f"{self._name}:{self._newlines + number + 1}")
