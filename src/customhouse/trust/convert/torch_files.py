"""torch's two formats of weights: the zip archive (torch/serialization.py _save) and the older row of pickles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.trust.convert.tensors import WIDTH, Place, Tensor, refuse
from customhouse.trust.convert.values import Call, Name, Reader
from customhouse.trust.scan.source import Cursor, Source

STORAGES: Mapping[str, str] = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "UntypedStorage": "U8",
}  # fmt: skip
DTYPES: Mapping[str, str] = {
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "uint16": "U16", "uint32": "U32",
    "uint64": "U64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64",
}  # fmt: skip
"""What `_rebuild_tensor_v3` names for types without a storage class of their own."""
_SIMPLE = (("collections", "OrderedDict"), ("builtins", "dict"))


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage as the pickle speaks of it."""

    key: str
    kind: str
    elements: int


class TorchReader:
    """Makes tensors of a pickle's calls; `read` gives the bytes of a storage by its key."""

    def __init__(self, read: Callable[[str], bytes], *, swapped: bool, old: bool = False) -> None:
        self._old = old
        self._read = read
        self._swapped = swapped
        self.storages: dict[str, Storage] = {}

    def object(self, source: Source, start: int = 0) -> tuple[Any, int]:
        """The pickle's value and its end."""
        reader = Reader(source, start, self.rebuild, self.persistent)
        return reader.read(), reader.cursor.position

    def persistent(self, key: Any) -> Storage:
        """`("storage", class, key, device, elements)`, with a view at the end in the old format."""
        if not isinstance(key, tuple) or len(key) not in (5, 6) or key[0] != "storage" or not isinstance(key[1], Name):
            raise refuse("holds a module, not weights", hint="save its state_dict() and convert that")
        if len(key) == 6 and key[5] is not None:
            raise refuse(
                "holds views of storages in torch's oldest way", hint="load and save it with torch 0.4 or later"
            )
        if key[1].name not in STORAGES or not isinstance(key[4], int) or not isinstance(key[2], str):
            raise refuse(f"holds a storage of type {key[1]}, which safetensors has not")
        storage = Storage(key[2], STORAGES[key[1].name], key[4])
        return self.storages.setdefault(key[2], storage)

    def rebuild(self, call: Call) -> Any:
        """The value of one call. Raises ArtifactError for what is no weight."""
        name, arguments = call.name, call.arguments
        if (name.module, name.name) in _SIMPLE and not arguments:
            return {}
        if name.module == "torch._utils":
            if name.name == "_rebuild_tensor_v2" and len(arguments) in (6, 7):
                _no_flags(arguments[6:])
                return self._tensor(arguments[0], arguments[1:4])
            if name.name == "_rebuild_tensor_v3" and len(arguments) in (7, 8) and isinstance(arguments[6], Name):
                _no_flags(arguments[7:])
                if self._old:  # torch writes these but cannot read them back
                    raise refuse(f"holds a tensor of type {arguments[6]} in torch's old format")
                return self._tensor(arguments[0], arguments[1:4], arguments[6])
            if name.name == "_rebuild_tensor" and len(arguments) == 4:
                return self._tensor(arguments[0], arguments[1:4])
            if name.name in ("_rebuild_parameter", "_rebuild_parameter_with_state") and arguments:
                return arguments[0]
        if (name.module, name.name) == ("torch", "Size"):
            return tuple(arguments[0]) if arguments else ()
        if (name.module, name.name) in (("torch", "device"), ("torch.serialization", "_get_layout")):
            return call
        raise refuse(f"holds {name}, which is no plain tensor", hint="save a state_dict() of plain tensors")

    def _tensor(self, storage: Any, view: tuple[Any, ...], dtype: Name | None = None) -> Tensor:
        if not isinstance(storage, Storage):
            raise refuse("a tensor without a storage")
        offset, shape, stride = view
        if not (isinstance(offset, int) and _sides(shape) and _sides(stride)):
            raise refuse("a tensor with an odd shape")
        kind, elements = storage.kind, storage.elements
        if dtype is not None:
            if dtype.name not in DTYPES:
                raise refuse(f"holds a tensor of type {dtype}, which safetensors has not")
            kind = DTYPES[dtype.name]
            elements //= WIDTH[kind]
        place = Place(storage.key, kind, elements, lambda: self._read(storage.key), self._swapped)
        tensor = Tensor(place, tuple(shape), offset, tuple(stride))
        tensor.check()
        return tensor


def _no_flags(metadata: tuple[Any, ...]) -> None:
    """Torch keeps a conjugate or negated view as its storage and a flag; its numbers would be other ones."""
    if any(metadata):
        raise refuse("holds a conjugate or negated view", hint="save it after resolve_conj() and resolve_neg()")


def _sides(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(type(side) is int and side >= 0 for side in value)


def read_legacy(source: Source) -> Any:
    """The object of a file in torch's old format: magic, protocol, system, object, keys, then the storages."""
    places: dict[str, tuple[int, int]] = {}
    reader = TorchReader(lambda key: source.read(*places[key]), swapped=False, old=True)
    position = 0
    values: list[Any] = []
    for _ in range(5):
        value, position = reader.object(source, position)
        values.append(value)
    system = values[2]
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise refuse("written on a big-endian machine in torch's old format", hint="load and save it with a new torch")
    if not isinstance(values[4], list) or set(values[4]) != set(reader.storages):
        raise refuse("lists other storages than its tensors use")
    cursor = Cursor(source, position)
    for key in values[4]:
        storage = reader.storages[key]
        elements = cursor.number(8, signed=True)
        if elements != storage.elements:
            raise refuse(f"storage {key!r} has another size than its tensors say")
        places[key] = (cursor.position, elements * WIDTH[storage.kind])
        cursor.skip(elements * WIDTH[storage.kind])
    return values[3]
