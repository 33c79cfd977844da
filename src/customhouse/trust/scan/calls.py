"""Calls that are safe with some arguments only: each is looked at by what the library does with them.

A check gives the value that the call returns, as far as it matters, and reports what is not understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from customhouse.trust.scan.importables import plain_attribute, suspect
from customhouse.trust.scan.machine import Machine
from customhouse.trust.scan.names import Use
from customhouse.trust.scan.source import Source
from customhouse.trust.scan.values import Blob, Made, Named, Text, Unknown, Value, shown
from customhouse.trust.scan.verdict import ScanSeverity

Check = Callable[[Machine, Named, tuple[Value, ...]], Value]

_OBJECTS = (Use.STATE, Use.TABLE)
_CODECS = ("latin1", "latin-1", "iso-8859-1", "ascii", "utf-8", "utf8")
_DILL_TYPES = frozenset(
    {"NoneType", "type", "object", "EllipsisType", "NotImplementedType", "DictType", "ListType", "TupleType", "IntType"}
    | {
        "FloatType",
        "StringType",
        "UnicodeType",
        "BooleanType",
        "ComplexType",
        "BytesType",
        "NpUfuncType",
        "OrderedDict",
    }
)
"""Names of `dill._dill._reverse_typemap` that make no code, no module and no file."""


def check_call(machine: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """Judge the call of a CHECKED name. Never raises for odd arguments: they are findings."""
    check = _CHECKS.get(callee.name)
    return _refused(machine, callee) if check is None else check(machine, callee, values)


def _refused(m: Machine, callee: Named) -> Value:
    """A call whose arguments are none that a library writes."""
    why = f"calls {shown(callee)} in a way that no library does"
    if suspect(*callee.key) is ScanSeverity.MALICIOUS:
        m.look.malicious("pickle-dangerous-global", why, m.at)
    else:
        m.look.suspicious("pickle-indirect-call", why, m.at)
    return Unknown("result")


def _getattr(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """`getattr(Class, "member")` is how Python writes members of enumerations and class methods: a longer name."""
    if len(values) != 2 or not isinstance(values[1], str):
        return _refused(m, callee)
    if isinstance(values[0], Made) and values[0].callee.use in _OBJECTS and plain_attribute(values[1]):
        return Unknown("method")  # kept as a value; calling it is a call of a computed object
    if not isinstance(values[0], Named):
        return _refused(m, callee)
    return m.resolve(values[0].module, f"{values[0].name}.{values[1]}")


def _partial(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """A function with arguments, kept as a value; calling it would be a call of a computed object."""
    if not values or not isinstance(values[0], Named) or values[0].use not in (Use.VALUE, Use.CALL, *_OBJECTS):
        return _refused(m, callee)
    return Made(callee, values)


def _encode(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """How protocols 0 to 2 write bytes: text that is to be encoded, always as latin-1."""
    if len(values) != 2 or values[1] not in _CODECS:
        m.look.suspicious("pickle-odd-codec", "encodes with a codec that picklers do not use", m.at)
        return Unknown("bytes")
    return Made(callee, values)


def _load_from_bytes(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """A torch file in a byte string, which torch loads: scanned as what it is."""
    inner = _bytes(m, values[0]) if len(values) == 1 else None
    if inner is not None:
        m.look.nested(inner, f"bytes@{m.at}")
    else:
        m.look.suspicious("pickle-odd-storage", "loads a torch storage from computed bytes", m.at)
    return Made(callee, values)


def _bytes(m: Machine, value: Value) -> Source | None:
    """The bytes that a value is known to be: a byte string, or text that protocols 0 to 2 encode as latin-1."""
    if isinstance(value, Blob):
        return m.source.window(value.offset, value.size)
    if not (isinstance(value, Made) and value.callee.key == ("_codecs", "encode") and len(value.arguments) == 2):
        return None
    text = value.arguments[0]
    try:
        if isinstance(text, str):
            return Source.of(text.encode("latin-1"))
        if isinstance(text, Text) and text.size <= m.look.budget.limits.text:
            m.look.spend(text.size // 256)
            data = m.source.read(text.offset, text.size)
            plain = data.decode("raw-unicode-escape") if text.escaped else data.decode("utf-8", "surrogatepass")
            return Source.of(plain.encode("latin-1"))
    except UnicodeError:
        return None
    return None


def _rebuild_from_type(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """`_rebuild_from_type(function, type, arguments, state)` calls the function: it must be one that may be called."""
    if len(values) not in (3, 4) or not isinstance(values[0], Named) or not isinstance(values[1], Named):
        return _refused(m, callee)
    m.call(values[0], values[2])
    m.pop()
    return Made(values[1], values)


def _wrapper_subclass(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """`_rebuild_wrapper_subclass(class, dtype, size, …)` makes an empty tensor of a class."""
    if not values or not isinstance(values[0], Named) or values[0].use not in (Use.CALL, *_OBJECTS):
        return _refused(m, callee)
    return Made(values[0], values)


def _ufunc(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """`_ufunc_reconstruct(module, name)` imports: it is the name that it spells."""
    if len(values) != 2 or not isinstance(values[0], str) or not isinstance(values[1], str):
        return _refused(m, callee)
    return m.resolve(values[0], values[1])


def _dill_array(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """An array of dill's: `_create_array(function, arguments, state, attributes)` calls numpy's own function."""
    if len(values) not in (3, 4) or not isinstance(values[0], Named) or values[0].name != "_reconstruct":
        return _refused(m, callee)
    m.call(values[0], values[1])
    return m.pop()


def _dill_type(m: Machine, callee: Named, values: tuple[Value, ...]) -> Value:
    """A type of dill's: `_load_type(name)` looks a type up in its own table; types of code are in it too."""
    if len(values) != 1 or not isinstance(values[0], str) or values[0] not in _DILL_TYPES:
        return _refused(m, callee)
    return Unknown("type")


_CHECKS: Mapping[str, Check] = {
    "getattr": _getattr,
    "partial": _partial,
    "encode": _encode,
    "_load_from_bytes": _load_from_bytes,
    "_rebuild_from_type": _rebuild_from_type,
    "_rebuild_from_type_v2": _rebuild_from_type,
    "_rebuild_wrapper_subclass": _wrapper_subclass,
    "_ufunc_reconstruct": _ufunc,
    "_create_array": _dill_array,
    "_load_type": _dill_type,
}
"""By the callee's own name, which CHECKED makes unique."""
