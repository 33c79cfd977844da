"""Which reader reads what: by content, never by name. One table; the first match wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from customhouse.trust.scan.archives_tar import inspect_tar, is_tar
from customhouse.trust.scan.archives_zip import inspect_zip
from customhouse.trust.scan.compressed import inspect_compressed
from customhouse.trust.scan.gguf import inspect_gguf
from customhouse.trust.scan.hdf5 import SIGNATURE as HDF5
from customhouse.trust.scan.hdf5 import inspect_hdf5
from customhouse.trust.scan.importables import MARKER
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.npy import inspect_npy
from customhouse.trust.scan.onnx import inspect_onnx, is_onnx
from customhouse.trust.scan.pickles import inspect_pickles, looks_like_pickle
from customhouse.trust.scan.safetensors import inspect_safetensors, is_safetensors
from customhouse.trust.scan.savedmodel import inspect_saved_model, is_saved_model
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.text import inspect_text, is_text
from customhouse.trust.scan.verdict import ScanSeverity

Reader = Callable[[Source, Inspection], None]

_FOREIGN = (
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x7fELF", "elf"),
    (b"MZ", "windows-program"),
    (b"\xcf\xfa\xed\xfe", "mach-o"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"TFL3", "tflite"),
)
_SEARCHED = 32 << 20
"""Bytes at either end that are searched: a favour to the reader, the file is not clean anyway."""
_PROGRAMS = ("elf", "windows-program", "mach-o")


@dataclass(frozen=True, slots=True)
class Format:
    """A reader and how to know its bytes. `sure`: no other format starts so."""

    name: str
    matches: Callable[[Source, Inspection], bool]
    read: Reader


def _starts(*signatures: bytes) -> Callable[[Source, Inspection], bool]:
    return lambda source, _: source.peek(0, 16).startswith(signatures)


FORMATS: tuple[Format, ...] = (
    Format("zip", _starts(b"PK\x03\x04", b"PK\x05\x06"), inspect_zip),
    Format("numpy", _starts(b"\x93NUMPY"), inspect_npy),
    Format("hdf5", _starts(HDF5), inspect_hdf5),
    Format("gguf", _starts(b"GGUF"), inspect_gguf),
    Format("compressed", _starts(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00", b"ZF0x"), inspect_compressed),
    Format("tar", lambda source, _: is_tar(source), inspect_tar),
    Format("safetensors", lambda source, _: is_safetensors(source), inspect_safetensors),
    Format("pickle", looks_like_pickle, inspect_pickles),
    Format("compressed", _starts(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), inspect_compressed),
    Format("onnx", is_onnx, inspect_onnx),
    Format("saved-model", is_saved_model, inspect_saved_model),
    Format("text", is_text, inspect_text),
)


def dispatch(source: Source, look: Inspection) -> None:
    """Detect, read, and turn whatever the reader could not understand into findings. Never raises for bad bytes."""
    if not _guarded(_first_face, source, look):
        _guarded(_search_markers, source, look)
    _guarded(_second_face, source, look)


def _guarded(read: Reader, source: Source, look: Inspection) -> bool:
    """Run a reader; False when it gave up, which is a finding."""
    try:
        look.spend()
        read(source, look)
    except UnreadableError as error:
        look.unreadable(error)
        return False
    except (ValueError, IndexError, KeyError, OverflowError, RecursionError, MemoryError, OSError) as error:
        look.unscannable("reader-failed", f"the {look.format} reader gave up: {type(error).__name__}")
        return False
    return True


def _first_face(source: Source, look: Inspection) -> None:
    if source.size == 0:
        look.format = "empty"
        return
    for known in FORMATS:
        if known.matches(source, look):
            look.format = known.name
            known.read(source, look)
            _disguise(look)
            return
    head = source.peek(0, 16)
    look.format = next((name for signature, name in _FOREIGN if head.startswith(signature)), "unknown")
    if look.format in _PROGRAMS:
        look.suspicious("native-program", f"a program ({look.format}) beside a model")
        return
    if look.format != "unknown":
        why = f"{look.format} is not read yet; unpack or convert it (safetensors, ONNX, plain zip or tar)"
    else:
        why = "of no format that is known here; convert it to one (safetensors, ONNX, GGUF, NumPy, JSON)"
    look.unscannable("unknown-format", why)
    _search_markers(source, look)


def _second_face(source: Source, look: Inspection) -> None:
    """A zip is found from its end: any file can be one too, and torch would open it as such."""
    starts_as_zip = source.peek(0, 4) in (b"PK\x03\x04", b"PK\x05\x06")
    if starts_as_zip or look.format in ("text", "tar") or look.depth >= look.budget.limits.depth:
        return
    tail = source.peek(max(0, source.size - 65_557), 65_557)
    index = tail.rfind(b"PK\x05\x06")
    if index < 0 or len(tail) - index < 22 or _stored_inside(tail, index) or b"PK\x01\x02" not in tail[:index]:
        return
    place = max(0, source.size - len(tail)) + index
    look.suspicious("polyglot", f"reads as {look.format} and as a zip archive", place)
    inspect_zip(source, look.inner("zip"))


def _stored_inside(tail: bytes, index: int) -> bool:
    """Whether the end record is only data inside (its comment does not reach the end of the file)."""
    comment = int.from_bytes(tail[index + 20 : index + 22], "little")
    return index + 22 + comment != len(tail)


_CLAIMS = {
    ".safetensors": ("safetensors",),
    ".onnx": ("onnx",),
    ".gguf": ("gguf",),
    ".npy": ("numpy",),
    ".npz": ("npz", "zip"),
    ".json": ("json",),
    ".h5": ("hdf5",),
    ".txt": ("text", "python", "yaml", "json"),
    ".md": ("text", "python", "yaml"),
}


def _disguise(look: Inspection) -> None:
    """A pickle that calls itself something harmless is found out by name: the one use that is made of names."""
    base = look.title.rpartition("/")[2].lower()
    for suffix, formats in _CLAIMS.items():
        if base.endswith(suffix) and look.format not in formats and look.format in ("pickle", "torch-legacy", "joblib"):
            look.suspicious("disguised", f"called *{suffix} and holds {look.format}")


def _search_markers(source: Source, look: Inspection) -> None:
    """What cannot be read is searched for bytes of a pickle that names something dangerous."""
    if any(finding.severity is ScanSeverity.MALICIOUS for finding in look.budget.findings):
        return
    ends = [source.window(0, min(source.size, _SEARCHED))]
    if source.size > _SEARCHED:
        ends.append(source.window(max(_SEARCHED, source.size - _SEARCHED), min(_SEARCHED, source.size - _SEARCHED)))
    for end in ends:
        for _, data in end.chunks(overlap=128):
            look.spend(16)
            if MARKER.search(data):
                look.suspicious("pickle-marker", "holds bytes of a pickle that names something dangerous")
                return
