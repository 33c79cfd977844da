"""A model in memory: its files read once, checked against the pinned digest, and loaded from those very bytes."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.digest import FileEntry, Tree, TreeError, bytes_digest, same_digest
from customhouse.core.errors import ArtifactError
from customhouse.execution.adapters.local.protobuf import ProtobufError, external_locations

MAX_MODEL = 8 << 30
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: Open Inference Protocol datatype, shape with -1 for dimensions that vary."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As model metadata shows it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class OnnxModel:
    """A loaded ONNX session. `infer` may be called by several threads."""

    def __init__(self, session: Any, digest: str) -> None:
        self._session = session
        self.digest = digest
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())

    def infer(self, feeds: Mapping[str, Any], outputs: Sequence[str], cancelled: threading.Event) -> list[Any]:
        """The arrays of the named outputs. `cancelled` set before the start raises TimeoutError."""
        if cancelled.is_set():
            raise TimeoutError("the request had run out of time before its turn")
        result: list[Any] = self._session.run(list(outputs), dict(feeds))
        return result


Check = Callable[[Tree], None]
"""Is told the files whose bytes were read; raises ArtifactError for what may not be loaded."""


def read_verified(path: Path, digest: str, check: Check | None = None) -> dict[str, bytes]:
    """The files of a model by name, read once, whose digest is `digest`; a single file has its own name.

    The bytes returned are the bytes that were hashed, and that `check` was told of: a file exchanged after the check
    changes nothing. Raises ArtifactError when there is no such path, with both digests when they differ, and what
    `check` raises.
    """
    try:
        single = path.is_symlink() or not path.is_dir()
        names = [path.name] if single else sorted(_names(path, ""), key=lambda name: name.encode())
        contents = {name: _read(path if single else path / name) for name in names}
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"the model cannot be read: {error}", where=str(path), hint="is storageUri right, and is the volume there?"
        ) from error
    entries = tuple(FileEntry(name, bytes_digest(data), len(data)) for name, data in contents.items())
    files = Tree(entries, single=single)
    actual = files.digest
    if not same_digest(actual, digest):
        raise ArtifactError(
            f"the model has digest {actual}, but {digest} is pinned",
            where=str(path),
            hint="restore the files, or declare and sign the new digest",
        )
    if check is not None:
        check(files)
    return contents


def _names(root: Path, prefix: str) -> Iterator[str]:
    """Every regular file below a folder; the rules of `_kit.digest.tree`: links and devices are refused."""
    with os.scandir(root / prefix) as listing:
        items = list(listing)
    for item in items:
        name = f"{prefix}/{item.name}" if prefix else item.name
        if item.is_dir(follow_symlinks=False):
            yield from _names(root, name)
        elif item.is_file(follow_symlinks=False):
            yield name
        else:
            raise TreeError(f"{root}/{name}: not a regular file")


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as handle:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_MODEL:
            raise TreeError(f"{path}: not a regular file of at most {MAX_MODEL >> 30} GiB")
        return handle.read()


def load(path: Path, digest: str, threads: int, check: Check | None = None) -> OnnxModel:
    """Read, verify and load. Raises ArtifactError for a wrong digest and for a model that cannot be served."""
    contents = read_verified(path, digest, check)
    name = _entry(contents, path)
    data = contents[name]
    try:
        locations = external_locations(data)
    except ProtobufError as error:
        raise ArtifactError(f"{name} is not an ONNX file: {error}", where=str(path)) from error
    missing = sorted(location for location in locations if location not in contents)
    if missing:
        raise ArtifactError(
            f"{name} keeps weights in {missing[0]!r}, which is not a file of the model's folder",
            where=str(path),
            hint="external data must lie in the folder that was signed",
        )
    return OnnxModel(_session(data, {key: contents[key] for key in locations}, threads, str(path)), digest)


def _entry(contents: Mapping[str, bytes], path: Path) -> str:
    if len(contents) == 1:
        return next(iter(contents))
    if "model.onnx" in contents:
        return "model.onnx"
    found = [name for name in contents if name.endswith(".onnx") and "/" not in name]
    if len(found) != 1:
        raise ArtifactError(
            f"{len(found)} .onnx files in the model's folder", where=str(path), hint="name the one to serve model.onnx"
        )
    return found[0]


def _session(data: bytes, external: Mapping[str, bytes], threads: int, where: str) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    # The arena keeps the largest batch ever seen; without it memory follows the requests.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if external:
        names = list(external)
        options.add_external_initializers_from_files_in_memory(
            names, [external[name] for name in names], [len(external[name]) for name in names]
        )
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ArtifactError(f"onnxruntime cannot load the model: {error}", where=where) from error


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DATATYPES:
        raise ArtifactError(
            f"{node.name} is a {node.type}; only tensors are served",
            hint="export it with tensors as outputs (skl2onnx: options={'zipmap': False})",
        )
    return TensorSpec(
        node.name, _DATATYPES[node.type], tuple(size if isinstance(size, int) else -1 for size in node.shape)
    )
