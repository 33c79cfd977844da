"""Hostile joblib, NumPy and torch files, for hostile_models.py: technique, name and bytes. Nothing is executed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from hostile_pickles import COMMAND, EVAL, RUN, glob, text


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive in memory."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, method)
    return out.getvalue()


# fmt: off
def arrays() -> Iterator[tuple[str, str, bytes]]:
    """joblib and numpy: raw bytes that a loader reads otherwise, object arrays."""
    wrapper = (
        b"\x80\x04"
        + glob("joblib.numpy_pickle.NumpyArrayWrapper")
        + b")\x81}("
        + text("subclass")
        + glob("numpy.ndarray")
        + text("shape")
    )
    dtype = text("dtype") + glob("numpy.dtype")
    plain = text("f8") + b"\x89\x88\x87R(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    end = text("order") + text("C") + text("allow_mmap") + b"\x89ub"
    run = RUN + b"."
    pad = run + b"\x00" * (-len(run) % 8)
    count = len(pad) // 8
    yield (
        "joblib-raw-is-pickle",
        "m.joblib",
        wrapper + b"K" + bytes([count]) + b"\x85" + dtype + plain + end + pad + b".",
    )
    yield (
        "joblib-object-array",
        "m.joblib",
        wrapper
        + b"K\x01\x85"
        + dtype
        + text("O8")
        + b"\x89\x88\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
        + end
        + b"\x80\x02"
        + run
        + b".",
    )
    lying = text("V8") + b"\x89\x88\x87R(K\x03" + text("|") + b"NNNK\x08K\x01K?tb"
    yield "joblib-object-flag", "m.joblib", wrapper + b"K" + bytes([count]) + b"\x85" + dtype + lying + end + pad + b"."
    sized = text("V4") + b"\x89\x88\x87R(K\x03" + text("|") + b"NNNJ\x40\x00\x00\x00K\x01K\x00tb"
    yield (
        "joblib-two-sizes",
        "m.joblib",
        wrapper + b"K\x01\x85" + dtype + sized + end + b"B\x40\x00\x00\x00" + b"\x00" * 59 + run.ljust(64, b"N") + b".",
    )
    field = (
        text("V8")
        + b"\x89\x88\x87R(K\x03"
        + text("|")
        + b"N"
        + text("a")
        + b"\x85}"
        + text("a")
        + glob("numpy.dtype")
        + text("O8")
        + b"\x89\x88\x87RK\x00\x86sK\x08K\x01K\x00tb"
    )
    yield (
        "joblib-object-field",
        "m.joblib",
        wrapper + b"K" + bytes([count]) + b"\x85" + dtype + field + end + pad + b".",
    )
    twice = wrapper + b"K\x00\x85" + dtype + plain + end + b"}b" + run
    yield "joblib-built-twice", "m.joblib", twice
    yield (
        "joblib-subclass",
        "m.joblib",
        wrapper.replace(glob("numpy.ndarray"), glob("subprocess.Popen")) + b"K\x00\x85" + dtype + plain + end + b".",
    )
    yield (
        "sklearn-joblib",
        "m.pkl",
        wrapper.replace(b"cjoblib", b"csklearn.externals.joblib")
        + b"K"
        + bytes([count])
        + b"\x85"
        + dtype
        + plain
        + end
        + pad
        + b".",
    )
    yield (
        "joblib-ndarraywrapper",
        "m.joblib",
        b"\x80\x02"
        + glob("joblib.numpy_pickle_compat.NDArrayWrapper")
        + b")\x81}"
        + text("filename")
        + text("/etc/passwd")
        + b"sb.",
    )
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zlib", zlib.compress)):
        yield f"compressed-{name}", f"m.joblib.{name}", pack(b"\x80\x02" + run)
        yield f"compressed-misnamed-{name}", "m.pkl", pack(b"\x80\x02" + EVAL + b".")
        yield f"compressed-twice-{name}", "m.pkl", pack(gzip.compress(b"\x80\x02" + run))
        yield f"compressed-then-tail-{name}", "m.pkl", pack(b"\x80\x02}.") + b"\x80\x02" + run
    yield "lzma-alone", "m.joblib", lzma.compress(b"\x80\x02" + run, lzma.FORMAT_ALONE)
    yield "zlib-cut", "m.joblib", zlib.compress(b"\x80\x02" + run)[:-3]
    head = b"\x93NUMPY\x01\x00"
    for label, descr in (
        ("object", "'|O'"),
        ("object-field", "[('a', '<f8'), ('b', '|O')]"),
        ("object-sub", "[('a', [('b', 'O')])]"),
        ("object-subarray", "[('a', 'O', (2,))]"),
    ):
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}".encode()
        header += b" " * (-(len(header) + 11) % 64) + b"\n"
        yield f"npy-{label}", "m.npy", head + struct.pack("<H", len(header)) + header + b"\x80\x02" + run
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (0,), }\n"
    yield "npy-trailing", "m.npy", head + struct.pack("<H", len(header)) + header + b"\x80\x02" + run
    header = (
        b"{'descr': __import__('os').system('touch /tmp/harmless-marker'), 'fortran_order': False, 'shape': (0,), }\n"
    )
    yield "npy-header-eval", "m.npy", head + struct.pack("<H", len(header)) + header


def torches() -> Iterator[tuple[str, str, bytes]]:  # noqa: PLR0915 - a list of cases
    """torch's zip, its old format, TorchScript, packages."""
    good, bad = b"\x80\x02}.", b"\x80\x02" + RUN + b"."
    base = [("archive/version", b"3\n"), ("archive/byteorder", b"little")]
    yield "zip-plain", "m.pt", zipped([("archive/data.pkl", bad), *base])
    yield "zip-deflated", "m.pt", zipped([("archive/data.pkl", bad), *base], zipfile.ZIP_DEFLATED)
    yield "zip-bzip2", "m.pt", zipped([("archive/data.pkl", bad), *base], zipfile.ZIP_BZIP2)
    yield "zip-lzma", "m.pt", zipped([("archive/data.pkl", bad), *base], zipfile.ZIP_LZMA)
    yield "zip-two-prefixes", "m.pt", zipped([("a/data.pkl", good), ("b/data.pkl", bad), *base])
    yield "zip-root", "m.pt", zipped([("data.pkl", bad)])
    yield "zip-upper", "m.pt", zipped([("archive/DATA.PKL", bad), ("archive/data.pkl", good)])
    yield "zip-other-pickle", "m.pt", zipped([("archive/data.pkl", good), ("archive/extra.bin", bad)])
    yield "zip-storage-is-pickle", "m.pt", zipped([("archive/data.pkl", good), ("archive/data/0", bad)])
    yield "zip-constants", "m.pt", zipped([("m/data.pkl", good), ("m/constants.pkl", bad)])
    yield (
        "zip-constant-tensor",
        "m.pt",
        zipped([("m/data.pkl", good), ("m/constants.pkl", good), ("m/constants/0", bad)]),
    )
    yield "zip-nested", "m.pt", zipped([("archive/data.pkl", good), ("archive/x.zip", zipped([("data.pkl", bad)]))])
    yield "zip-version-pickle", "m.pt", zipped([("archive/data.pkl", good), ("archive/version", bad)])
    yield "zip-backslash", "m.pt", zipped([("archive\\data.pkl", bad)])
    yield "zip-dot-data", "m.pt", zipped([("archive/data.pkl", good), ("archive/.data/x", bad)])
    whole = zipped([("archive/data.pkl", good), *base])
    yield "zip-appended-pickle", "m.pt", whole + bad
    yield "zip-prepended-pickle", "m.pt", bad + whole
    yield "zip-comment", "m.pt", whole[:-2] + struct.pack("<H", len(bad)) + bad
    yield (
        "zip-bad-crc",
        "m.pt",
        zipped([("archive/data.pkl", bad)]).replace(struct.pack("<I", zlib.crc32(bad)), b"\x00\x00\x00\x00"),
    )
    local = bytearray(zipped([("archive/data.pkl", bad)]))
    local[6] |= 1
    yield "zip-encrypted-flag-local", "m.pt", bytes(local)
    central = bytearray(zipped([("archive/data.pkl", bad)]))
    central[central.find(b"PK\x01\x02") + 8] |= 1
    yield "zip-encrypted-flag-central", "m.pt", bytes(central)
    renamed = zipped([("archive/data.pkl", bad)])
    yield "zip-local-name", "m.pt", renamed.replace(b"archive/data.pkl", b"archive/data.txt", 1)
    yield "zip-as-npz", "m.npz", zipped([("a.npy", bad)])
    yield "npz-pickle-member", "m.npz", zipped([("a.pkl", bad)])
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    yield "legacy", "m.pt", magic + bad + b"\x80\x02]."
    yield "legacy-in-sysinfo", "m.pt", magic[:-5] + bad + good + b"\x80\x02]."
    yield "legacy-keys", "m.pt", magic + good + bad
    yield "legacy-tail", "m.pt", magic + good + b"\x80\x02]." + bad
    yield (
        "legacy-magic-computed",
        "m.pt",
        b"\x80\x02" + RUN + b"0\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + magic[15:] + good + b"\x80\x02].",
    )
    yield "legacy-magic-other", "m.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x18." + magic[15:] + bad + b"\x80\x02]."
    yield "legacy-storage-bytes", "m.pt", magic + good + b"\x80\x02]U\x010a." + struct.pack("<q", 8) + bad
    yield "legacy-short", "m.pt", magic
    script = [("m/data.pkl", good), ("m/constants.pkl", b"\x80\x02).")]
    for number, line in enumerate(
        (
            "import os", "torch.save(x, '/tmp/x')", "ops.aten.save(x, '/tmp/x')", "torch.from_file('/etc/passwd')",
            "x = ops.aten.from_file('/etc/passwd')", "ops.prim.PythonOp(x)", "__import__('os')", "eval('1')",
            "torch.ops.load_library('x.so')", "builtins.open('/etc/passwd')", "x.__class__", "os.system('x')",
        )
    ):  # fmt: skip
        code = f"def forward(self, x: Tensor) -> Tensor:\n  {line}\n  return x\n".encode()
        yield f"torchscript-{number}", "m.pt", zipped([*script, ("m/code/__torch__.py", code)])
    yield (
        "package-pickle",
        "m.pt",
        zipped([("p/.data/extern_modules", b"os\n"), ("p/model/model.pkl", bad), ("p/.data/version", b"6\n")]),
    )
    yield (
        "package-code",
        "m.pt",
        zipped(
            [
                ("p/.data/version", b"6\n"),
                ("p/mine.py", b"import os\nos.system('touch /tmp/harmless-marker')\n"),
                ("p/model/model.pkl", b"\x80\x02cmine\nNet\n)\x81."),
            ]
        ),
    )
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in (("sys_info", good), ("pickle", bad), ("tensors", good), ("storages", good)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    yield "legacy-tar", "m.pt", out.getvalue()
    for suffix in ("safetensors", "json", "txt", "npy", "h5", "onnx", "gguf", "png"):
        yield f"disguised-{suffix}", f"m.{suffix}", bad
        yield f"disguised-p0-{suffix}", f"m.{suffix}", RUN.replace(text(COMMAND), f"V{COMMAND}\n".encode()) + b"."
