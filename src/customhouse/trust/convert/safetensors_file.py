"""The writer of safetensors: eight bytes of length, a JSON header, the tensors one after another (format README)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO

from customhouse.trust.convert.tensors import WIDTH, Tensor, refuse

MAX_HEADER = 100_000_000
"""The reference reader's own limit."""


def write(out: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Write all tensors, wide types first so that all are aligned; the sha256 of each one's bytes by name."""
    order = sorted(tensors, key=lambda name: (-WIDTH[tensors[name].dtype], name))
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    position = 0
    for name in order:
        end = position + tensors[name].size
        header[name] = {
            "dtype": tensors[name].dtype,
            "shape": list(tensors[name].shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise refuse("has more tensors than a safetensors header can hold")
    out.write(len(text).to_bytes(8, "little") + text)
    digests: dict[str, str] = {}
    for name in order:
        data = tensors[name].data()
        digests[name] = sha256(data).hexdigest()
        out.write(data)
    return digests


def digests(path: Path) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Of each tensor of a file: its type, its shape and the sha256 of its bytes, read back from the disk."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
        found: dict[str, tuple[str, tuple[int, ...], str]] = {}
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                handle.seek(8 + length + start)
                digest = sha256(handle.read(end - start)).hexdigest()
                found[name] = (entry["dtype"], tuple(entry["shape"]), digest)
    return found
