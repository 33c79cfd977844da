"""From a file of weights to safetensors: scan, read, write beside, read back, compare, put in place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from customhouse.core.errors import ArtifactError, UsageError
from customhouse.trust.convert import numpy_files, safetensors_file, torch_files
from customhouse.trust.convert.tensors import Tensor, refuse
from customhouse.trust.convert.values import Call, Name
from customhouse.trust.scan import Verdict, scan_file
from customhouse.trust.scan.files import RefusedError, open_source
from customhouse.trust.scan.source import Source, UnreadableError

_LEAVES = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written. `shared` maps names that were the same tensor to the one that is kept."""

    path: str
    format: str
    source_digest: str
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    shared: Mapping[str, str]
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `model convert -o json` prints."""
        return {
            "path": self.path,
            "format": self.format,
            "source_digest": self.source_digest,
            "tensors": {name: {"dtype": kind, "shape": list(shape)} for name, (kind, shape) in self.tensors.items()},
            "shared": dict(self.shared),
            "left_out": list(self.left_out),
        }


def convert(path: Path, out: Path, *, leave_out: bool = False, replace: bool = False) -> Converted:
    """Steps: 1 scan, 2 read, 3 flatten, 4 write beside, 5 read back and compare, 6 put in place.

    `leave_out` drops what is no tensor and names it. Raises ArtifactError with the reason for what is not converted,
    UsageError when `out` exists and may not be replaced.
    """
    if out.exists() and not replace:
        raise UsageError(f"{out} is there already", hint="name another with --out, or replace it with --force")
    scan = scan_file(path)  # 1
    if scan.verdict is not Verdict.CLEAN or scan.digest is None:
        worst = next((f for f in scan.findings if f.severity.value == scan.verdict.value), None)
        raise ArtifactError(
            f"is {scan.verdict.value}: {worst.message if worst else 'not understood'}",
            where=str(path),
            hint="only a file that is clean is converted; see customhouse model scan",
        )
    try:
        with _opened(path, scan.format) as value:  # 2
            left: list[str] = []
            tensors = dict(_flat(value, "", left))  # 3
            _complete(tensors, left, leave_out=leave_out)
            kept, shared = _unshared(tensors)
            metadata = {"format": "pt" if scan.format.startswith("torch") else "np"}
            metadata |= {"source": path.name, "source_digest": scan.digest, **shared}
            with _draft(out) as draft:
                _write(draft, kept, metadata)  # 4, 5
                if _digest(path) != scan.digest:
                    raise refuse("the file was changed while it was converted", hint="convert it again")
                os.replace(draft, out)  # 6
    except RefusedError as error:
        raise ArtifactError(error.why, where=str(path)) from error
    except UnreadableError as error:
        raise ArtifactError(error.reason, where=str(path), hint=error.hint) from error
    except ArtifactError as error:
        raise ArtifactError(error.message, where=str(path), hint=error.hint) from error
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"cannot be converted ({type(error).__name__}: {error})", where=str(path)) from error
    facts = {name: (tensor.dtype, tensor.shape) for name, tensor in sorted(kept.items())}
    return Converted(str(out), scan.format, scan.digest, facts, shared, tuple(left))


@contextmanager
def _opened(path: Path, form: str) -> Iterator[Any]:
    """The value of a file: tensors in dictionaries and lists."""
    if form in ("torch-zip", "npz"):
        with zipfile.ZipFile(path) as archive:
            yield _archive(archive, form)
        return
    with open_source(path) as (source, _):
        yield _plain(source, form)


def _plain(source: Source, form: str) -> Any:
    if form == "numpy":
        return numpy_files.read_npy(source)
    if form == "torch-legacy":
        return torch_files.read_legacy(source)
    if form in ("pickle", "joblib"):
        return numpy_files.read_pickle(source)
    if "(" in form:
        raise refuse(f"is compressed ({form})", hint="unpack it first, or save it without compression")
    raise refuse(f"is of format {form}", hint="weights of torch, NumPy, joblib and pickle are converted")


def _archive(archive: zipfile.ZipFile, form: str) -> Any:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if form == "npz":
        return numpy_files.members(archive.read, names)
    roots = [name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise refuse("holds several objects in one archive")
    root = roots[0]
    order = archive.read(f"{root}byteorder") if f"{root}byteorder" in names else b"little"
    reader = torch_files.TorchReader(lambda key: archive.read(f"{root}data/{key}"), swapped=order.strip() == b"big")
    return reader.object(Source.of(archive.read(f"{root}data.pkl")))[0]


def _flat(value: Any, name: str, left: list[str], depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, levels joined by dots; what is none goes to `left`."""
    if isinstance(value, numpy_files.Array):
        value = value.tensor
    if isinstance(value, Tensor):
        yield name or "array", value
    elif isinstance(value, (dict, list, tuple)) and depth < 32:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            if not isinstance(key, (str, int)):
                raise refuse(f"has a key that is neither text nor number under {name or 'its root'!r}")
            yield from _flat(item, f"{name}.{key}" if name else str(key), left, depth + 1)
    elif isinstance(value, (*_LEAVES, bytes)):
        left.append(name or "value")
    else:
        what = value if isinstance(value, Name) else value.name if isinstance(value, Call) else type(value).__name__
        raise refuse(f"holds {what} under {name!r}, which is neither tensor nor plain value")


def _complete(tensors: Mapping[str, Tensor], left: list[str], *, leave_out: bool) -> None:
    if not tensors:
        raise refuse("holds no tensor")
    if "__metadata__" in tensors:
        raise refuse("has a tensor called __metadata__, which safetensors keeps for itself")
    if left and not leave_out:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        raise refuse(
            f"holds {len(left)} values that are no tensors: {', '.join(left[:5])}{more}",
            hint="safetensors keeps tensors only: leave them out with --leave-out, or convert a state_dict()",
        )


def _unshared(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """One name a tensor: the others go into the metadata, as safetensors' own `save_model` does."""
    kept: dict[str, Tensor] = {}
    first: dict[tuple[object, ...], str] = {}
    shared: dict[str, str] = {}
    for name in sorted(tensors):
        key = tensors[name].same_view()
        if tensors[name].size and key in first:
            shared[name] = first[key]
        else:
            first[key] = name
            kept[name] = tensors[name]
    return kept, shared


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A name beside `out`; nothing is left there, whatever happens."""
    draft = out.with_name(f".{out.name}.draft")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _write(draft: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    with draft.open("wb") as handle:
        safetensors_file.write(handle, tensors, metadata)
        handle.flush()
        os.fsync(handle.fileno())
    found = safetensors_file.digests(draft)
    for name, tensor in tensors.items():  # read from the source a second time
        if found.pop(name, None) != (tensor.dtype, tensor.shape, sha256(tensor.data()).hexdigest()):
            raise refuse(f"what was written of {name!r} is not what is in the file", hint="check the disk")
    if found or scan_file(draft).verdict is not Verdict.CLEAN:
        raise refuse("what was written does not read as it should", hint="please report this")


def _digest(path: Path) -> str:
    hasher = sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()
