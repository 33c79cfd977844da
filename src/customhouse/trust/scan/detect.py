"""Which reader reads what: by content, never by name. One table; the first match wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from customhouse.trust.scan.archives_7z import SIGNATURE as SEVENZIP
from customhouse.trust.scan.archives_7z import inspect_7z
from customhouse.trust.scan.archives_tar import inspect_tar, is_tar
from customhouse.trust.scan.archives_zip import inspect_zip
from customhouse.trust.scan.catboost import SIGNATURE as CATBOOST
from customhouse.trust.scan.catboost import inspect_catboost
from customhouse.trust.scan.columnar import ARROW, PARQUET, inspect_arrow, inspect_parquet, is_arrow_stream
from customhouse.trust.scan.compressed import SIGNATURES as COMPRESSED
from customhouse.trust.scan.compressed import inspect_compressed
from customhouse.trust.scan.coreml import inspect_coreml, inspect_mil_weights, is_coreml, is_mil_weights
from customhouse.trust.scan.gguf import inspect_gguf
from customhouse.trust.scan.hdf5 import SIGNATURE as HDF5
from customhouse.trust.scan.hdf5 import inspect_hdf5
from customhouse.trust.scan.importables import MARKER
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.media import JPEG, PNG, inspect_gif, inspect_jpeg, inspect_png, inspect_riff, is_riff
from customhouse.trust.scan.msgpack_data import inspect_msgpack, inspect_ubjson, is_msgpack, is_ubjson
from customhouse.trust.scan.npy import inspect_npy
from customhouse.trust.scan.onnx import inspect_onnx, is_onnx
from customhouse.trust.scan.onnx_tensors import inspect_onnx_tensor, is_onnx_tensor
from customhouse.trust.scan.pickles import also_pickle, inspect_pickles, looks_like_pickle
from customhouse.trust.scan.safetensors import inspect_safetensors, is_safetensors
from customhouse.trust.scan.savedmodel import inspect_saved_model, is_saved_model
from customhouse.trust.scan.sentencepiece import inspect_sentencepiece, is_sentencepiece
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.tensorflow_files import (
    inspect_checkpoint_index,
    inspect_fingerprint,
    inspect_keras_metadata,
    inspect_records,
    is_checkpoint_index,
    is_fingerprint,
    is_keras_metadata,
    is_records,
)
from customhouse.trust.scan.text import inspect_text, is_text
from customhouse.trust.scan.tflite import inspect_tflite, is_tflite
from customhouse.trust.scan.verdict import ScanSeverity

Reader = Callable[[Source, Inspection], None]

_FOREIGN = (
    (b"Rar!\x1a\x07", "rar"),
    (b"MSCF", "cab"),
    (b"\x7fELF", "elf"),
    (b"MZ", "windows-program"),
    (b"\xcf\xfa\xed\xfe", "mach-o"),
    (b"\xce\xfa\xed\xfe", "mach-o"),
    (b"\xca\xfe\xba\xbe", "java-or-mach-o"),
    (b"\x00asm", "webassembly"),
    (b"\x1bLua", "lua-bytecode"),
    (b"%PDF-", "pdf"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"),
    (b"RDX2\n", "r-data"),
    (b"RDX3\n", "r-data"),
    (b"X\n\x00\x00\x00", "r-data"),
    (b"MATLAB 5.0 MAT-file", "matlab"),
)
_OPCODES = ("pickle", "joblib", "torch-legacy", "empty", "text", "json", "unknown")
"""Formats whose bytes were read as opcodes, or tried so, before."""
_SEARCHED = 32 << 20
"""Bytes at either end that are searched: a favour to the reader, the file is not clean anyway."""
_PROGRAMS = ("elf", "windows-program", "mach-o", "java-or-mach-o", "webassembly", "lua-bytecode", "python-bytecode")


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
    Format("7z", _starts(SEVENZIP), inspect_7z),
    Format("compressed", _starts(*COMPRESSED), inspect_compressed),
    Format("png", _starts(PNG), inspect_png),
    Format("jpeg", _starts(JPEG), inspect_jpeg),
    Format("gif", _starts(b"GIF87a", b"GIF89a"), inspect_gif),
    Format("riff", lambda source, _: is_riff(source), inspect_riff),
    Format("parquet", _starts(PARQUET), inspect_parquet),
    Format("arrow", _starts(ARROW), inspect_arrow),
    Format("tflite", lambda source, _: is_tflite(source), inspect_tflite),
    Format("catboost", _starts(CATBOOST), inspect_catboost),
    Format("tar", lambda source, _: is_tar(source), inspect_tar),
    Format("safetensors", lambda source, _: is_safetensors(source), inspect_safetensors),
    Format("pickle", looks_like_pickle, inspect_pickles),
    Format("compressed", _starts(b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), inspect_compressed),
    Format("tensorflow-checkpoint", lambda source, _: is_checkpoint_index(source), inspect_checkpoint_index),
    Format("tfrecord", lambda source, _: is_records(source), inspect_records),
    Format("arrow", lambda source, _: is_arrow_stream(source), inspect_arrow),
    Format("coreml-weights", lambda source, _: is_mil_weights(source), inspect_mil_weights),
    Format("text", is_text, inspect_text),
    Format("onnx", is_onnx, inspect_onnx),
    Format("coreml", is_coreml, inspect_coreml),
    Format("sentencepiece", is_sentencepiece, inspect_sentencepiece),
    Format("keras-metadata", is_keras_metadata, inspect_keras_metadata),
    Format("saved-model", is_saved_model, inspect_saved_model),
    Format("tensorflow-fingerprint", is_fingerprint, inspect_fingerprint),
    Format("onnx-tensor", is_onnx_tensor, inspect_onnx_tensor),
    Format("ubjson", is_ubjson, inspect_ubjson),
    Format("msgpack", is_msgpack, inspect_msgpack),
)


def dispatch(source: Source, look: Inspection) -> None:
    """Detect, read, and turn whatever the reader could not understand into findings. Never raises for bad bytes."""
    if not _guarded(_first_face, source, look):
        _guarded(_search_markers, source, look)
    _guarded(_second_face, source, look)
    if look.format not in _OPCODES:
        _guarded(also_pickle, source, look)


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
    look.format = _foreign(source)
    if look.format in _PROGRAMS:
        look.suspicious("native-program", f"a program ({look.format}) beside a model")
        return
    if look.format != "unknown":
        why = f"{look.format} is not read yet; unpack or convert it (safetensors, ONNX, plain zip or tar)"
    else:
        why = "of no format that is known here; convert it to one (safetensors, ONNX, GGUF, NumPy, JSON)"
    look.unscannable("unknown-format", why)
    _search_markers(source, look)


def _foreign(source: Source) -> str:
    """A format that is known and not read."""
    head = source.peek(0, 32)
    if head[1:4] == b"\x0d\x0d\x0a" and head[4:8] in (bytes(4), b"\x01\0\0\0", b"\x03\0\0\0"):
        return "python-bytecode"
    if source.peek(0x8001, 5) == b"CD001":
        return "iso"
    return next((name for signature, name in _FOREIGN if head.startswith(signature)), "unknown")


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
    if look.format == "tflite":
        look.note("tflite-files", "label files packed behind the model, as TensorFlow Lite's metadata has it", place)
    else:
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
