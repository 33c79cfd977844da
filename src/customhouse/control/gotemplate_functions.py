"""The functions that ApplicationSets may call: Go's own, a part of Sprig's, and Argo CD's.

pkg.go.dev/text/template (Functions), masterminds.github.io/sprig, argo-cd.readthedocs.io (applicationset/GoTemplate).
Left out on purpose: what reads the machine, a clock or chance, and regular expressions (RE2 is another language than
ours, and ours can be made to run for ever).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

MAX_TEXT = 1024 * 1024


class TemplateError(ValueError):
    """A template that is wrong, or says what is not known here."""


def truth(value: Any) -> bool:
    """Go's truth: empty texts, lists and mappings, zero and nil are false."""
    return bool(value)


def printed(value: Any) -> str:
    """A value as Go's `%v` prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, list):
        return "[" + " ".join(printed(item) if item is not None else "<nil>" for item in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{key}:{printed(value[key]) if value[key] is not None else '<nil>'}" for key in sorted(value))
        return "map[" + " ".join(pairs) + "]"
    return str(value)


def _float(value: float) -> str:
    """As `strconv.FormatFloat(v, 'g', -1)`, with an exponent from a million on: every JSON number is one to Go."""
    if math.isnan(value) or math.isinf(value):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}[str(value)]
    if value == 0:
        return "0"
    power = int(f"{value:.17e}".split("e")[1])
    shortest = repr(abs(value)).split("e")[0].replace(".", "").strip("0")
    sign = "-" if value < 0 else ""
    if power < -4 or power >= 6:
        tail = f".{shortest[1:]}" if len(shortest) > 1 else ""
        return f"{sign}{shortest[0]}{tail}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{shortest}"
    whole = shortest[: power + 1].ljust(power + 1, "0")
    rest = shortest[power + 1 :]
    return f"{sign}{whole}{'.' + rest if rest else ''}"


def _text(value: Any) -> str:
    """Sprig's strval: nil is `<nil>` to it, and here an empty text where a text is asked for."""
    return "" if value is None else printed(value)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError(f"{printed(value)[:40]!r} where a text is expected")
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return int(value)
    try:
        return int(str(value).strip() or "0", 0 if str(value).lower().startswith("0x") else 10)
    except ValueError:
        return 0


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TemplateError(f"{printed(value)[:40]!r} where a list is expected")
    return value


def _map(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TemplateError(f"{printed(value)[:40]!r} where a mapping is expected")
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, Mapping):
            value = value.get(_str(key))
        elif isinstance(value, list):
            place = _int(key)
            if not 0 <= place < len(value):
                raise TemplateError(f"index {place} of a list of {len(value)}")
            value = value[place]
        else:
            raise TemplateError(f"index of {printed(value)[:40]!r}")
    return value


def _slice(value: Any, *ends: Any) -> Any:
    bounds = [_int(end) for end in ends[:2]]
    _list(value)  # Sprig's stands before Go's own, and takes lists alone
    if any(not 0 <= end <= len(value) for end in bounds):
        raise TemplateError("a slice beyond the end")
    return value[bounds[0] if bounds else 0 : bounds[1] if len(bounds) > 1 else len(value)]


def _printf(form: Any, *values: Any) -> str:
    rest = list(values)

    def one(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if not rest:
            raise TemplateError(f"printf: nothing for {match[0]}")
        value, verb = rest.pop(0), match[2]
        if verb == "d":
            return f"{_int(value):{match[1] or ''}d}"
        if verb == "q":
            return json.dumps(_text(value), ensure_ascii=False)
        if verb == "t":
            return printed(bool(value))
        if verb in "fx":
            return f"{value:{match[1]}{verb}}"
        width = match[1]
        shown = printed(value)
        return shown.ljust(int(width[1:])) if width.startswith("-") else shown.rjust(int(width or 0))

    text = re.sub(r"%([-0-9.]{0,6})([a-z%])", one, _str(form))
    if rest:
        raise TemplateError("printf: there are more values than verbs")
    return text


def _compare(one: Any, other: Any) -> int:
    both = (isinstance(one, (int, float)) and isinstance(other, (int, float))) or type(one) is type(other)
    if not both or isinstance(one, (list, Mapping)):
        raise TemplateError("values of two kinds are compared")
    return int(one > other) - int(one < other)


def _equal(one: Any, *others: Any) -> bool:
    if not others:
        raise TemplateError("eq without a second value")
    if any(isinstance(value, (list, Mapping)) for value in (one, *others)):
        raise TemplateError("eq of lists or mappings")
    for other in others:
        if one is not None and other is not None and type(one) is not type(other):
            raise TemplateError("eq of values of two kinds")
    return one in others


def _trunc(length: Any, text: Any) -> str:
    count, value = _int(length), _text(text)
    return value[count:] if count < 0 and len(value) > -count else value[:count] if count >= 0 else value


def _substr(start: Any, end: Any, text: Any) -> str:
    begin, stop, value = _int(start), _int(end), _text(text)
    if begin < 0:
        return value[:stop]
    return value[begin:] if stop < 0 or stop > len(value) else value[begin:stop]


def _dig(*values: Any) -> Any:
    *keys, default, place = values
    for key in keys:
        if not isinstance(place, Mapping) or key not in place:
            return default
        place = place[key]
    return place


def _normalize(value: Any) -> str:
    """Argo CD's: a DNS name."""
    text = re.sub(r"[^-a-z0-9.]+", "-", _str(value).lower())[:253]
    return text.strip("-.")


def _slugify(*values: Any) -> str:
    """Argo CD's: like `normalize`, at most 50 characters (or the first argument), cut between words."""
    *settings, given = values
    most, smart = (_int(settings[0]) if settings else 50), (bool(settings[1]) if len(settings) > 1 else True)
    if not _str(given).isascii():
        raise TemplateError("slugify of what is not ASCII is not known here")
    text = re.sub(r"[^a-z0-9]+", "-", given.lower().replace("&", "and").replace("@", "at")).strip("-")
    if len(text) <= most:
        return text
    if not smart:
        return text[:most].strip("-")
    cut = text[: most + 1]
    return (cut.rpartition("-")[0] if "-" in cut else text[:most]).strip("-")


def _repeat(count: Any, text: Any) -> str:
    if _int(count) * len(_text(text)) > MAX_TEXT:
        raise TemplateError("repeat: too much")
    return _text(text) * _int(count)


def _replace(old: Any, new: Any, text: Any) -> str:
    if len(_text(text)) * (len(_text(new)) + 1) > 64 * MAX_TEXT:
        raise TemplateError("replace: too much")
    return _text(text).replace(_text(old), _text(new))


def _title(text: Any) -> str:
    return re.sub(r"(?<![\w])(\w)", lambda match: match[1].upper(), _text(text))


def _to_yaml(value: Any) -> str:
    """JSON is YAML; whoever reads it again gets the same."""
    return json.dumps(value, sort_keys=True)


def _kind(value: Any) -> str:
    for kind, name in ((bool, "bool"), (str, "string"), (int, "int"), (float, "float64"), (list, "slice")):
        if isinstance(value, kind):
            return name
    return "map" if isinstance(value, Mapping) else "invalid"


def _set(values: Any, key: Any, value: Any) -> Any:
    return {**_map(values), _str(key): value}


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    # Go's own.
    "and": lambda *values: values, "or": lambda *values: values,
    "not": lambda value: not truth(value), "len": len, "index": _index, "slice": _slice,
    "print": lambda *values: "".join(map(printed, values)), "printf": _printf,
    "println": lambda *values: " ".join(map(printed, values)) + "\n",
    "eq": _equal, "ne": lambda one, other: not _equal(one, other),
    "lt": lambda one, other: _compare(one, other) < 0, "le": lambda one, other: _compare(one, other) <= 0,
    "gt": lambda one, other: _compare(one, other) > 0, "ge": lambda one, other: _compare(one, other) >= 0,
    # Sprig: texts.
    "lower": lambda text: _text(text).lower(), "upper": lambda text: _text(text).upper(), "title": _title,
    "untitle": lambda text: _text(text)[:1].lower() + _text(text)[1:],
    "trim": lambda text: _text(text).strip(),
    "trimAll": lambda cut, text: _text(text).strip(_text(cut)),
    "trimPrefix": lambda cut, text: _text(text).removeprefix(_text(cut)),
    "trimSuffix": lambda cut, text: _text(text).removesuffix(_text(cut)),
    "replace": _replace, "repeat": _repeat, "trunc": _trunc, "substr": _substr,
    "contains": lambda part, text: _text(part) in _text(text),
    "hasPrefix": lambda part, text: _text(text).startswith(_text(part)),
    "hasSuffix": lambda part, text: _text(text).endswith(_text(part)),
    "nospace": lambda text: re.sub(r"\s", "", _text(text)),
    "cat": lambda *values: " ".join(_text(value) for value in values if value is not None),
    "quote": lambda *values: " ".join(json.dumps(_text(v), ensure_ascii=False) for v in values if v is not None),
    "squote": lambda *values: " ".join(f"'{_text(value)}'" for value in values if value is not None),
    "indent": lambda count, text: "\n".join(" " * min(_int(count), 99) + line for line in _text(text).split("\n")),
    "nindent": lambda count, text: "\n" + FUNCTIONS["indent"](count, text),
    "toString": _text, "b64enc": lambda text: base64.b64encode(_text(text).encode()).decode(),
    "b64dec": lambda text: base64.b64decode(_text(text), validate=True).decode(),
    "sha256sum": lambda text: hashlib.sha256(_text(text).encode()).hexdigest(),
    "splitList": lambda mark, text: _text(text).split(_text(mark)),
    "split": lambda mark, text: {f"_{at}": part for at, part in enumerate(_text(text).split(_text(mark)))},
    "join": lambda mark, values: _text(mark).join(_text(value) for value in values if value is not None)
    if isinstance(values, list) else _text(values),
    # Sprig: paths.
    "base": lambda text: posixpath.basename(_str(text).rstrip("/")) or ("/" if text else "."),
    "dir": lambda text: posixpath.normpath(posixpath.dirname(_str(text)) or "."),
    "ext": lambda text: posixpath.splitext(_str(text))[1], "clean": lambda text: posixpath.normpath(_str(text) or "."),
    # Sprig: defaults and flow.
    "default": lambda value, given=None: given if truth(given) else value,
    "coalesce": lambda *values: next((value for value in values if truth(value)), None),
    "empty": lambda value=None: not truth(value),
    "ternary": lambda yes, no, test: yes if test else no,
    "all": lambda *values: all(map(truth, values)), "any": lambda *values: any(map(truth, values)),
    # Sprig: numbers.
    "int": _int, "int64": _int, "float64": float, "atoi": _int,
    "add": lambda *values: sum(map(_int, values)), "add1": lambda value: _int(value) + 1,
    "sub": lambda one, other: _int(one) - _int(other),
    "mul": lambda *values: math.prod(map(_int, values)),
    "div": lambda one, other: int(_int(one) / _int(other)), "mod": lambda one, other: math.fmod(_int(one), _int(other)),
    "max": lambda *values: max(map(_int, values)), "min": lambda *values: min(map(_int, values)),
    # Sprig: lists and mappings.
    "list": lambda *values: list(values), "first": lambda values: _list(values)[0] if values else None,
    "last": lambda values: _list(values)[-1] if values else None, "rest": lambda values: _list(values)[1:],
    "initial": lambda values: _list(values)[:-1], "reverse": lambda values: _list(values)[::-1],
    "append": lambda values, value: [*_list(values), value], "prepend": lambda values, value: [value, *_list(values)],
    "concat": lambda *values: [item for value in values for item in _list(value)],
    "has": lambda value, values: value in _list(values), "compact": lambda values: [v for v in _list(values) if v],
    "uniq": lambda values: [value for at, value in enumerate(_list(values)) if value not in values[:at]],
    "without": lambda values, *gone: [value for value in _list(values) if value not in gone],
    "sortAlpha": lambda values: sorted(map(_text, _list(values))),
    "dict": lambda *values: {_text(key): value for key, value in zip(values[::2], values[1::2], strict=True)},
    "get": lambda values, key: _map(values).get(_str(key), ""), "hasKey": lambda values, key: _str(key) in _map(values),
    "set": _set, "keys": lambda *values: sorted({key for value in values for key in _map(value)}),
    "values": lambda values: [_map(values)[key] for key in sorted(values)], "dig": _dig,
    "merge": lambda *values: {key: value for one in reversed(values) for key, value in _map(one).items()},
    "pick": lambda values, *keys: {key: _map(values)[key] for key in keys if key in values},
    "omit": lambda values, *keys: {key: value for key, value in _map(values).items() if key not in keys},
    "kindIs": lambda kind, value: _kind(value) == kind, "kindOf": _kind,
    "toJson": lambda value: json.dumps(value, separators=(",", ":"), sort_keys=True),
    "fromJson": lambda text: json.loads(_str(text)), "toYaml": _to_yaml,
    # Argo CD's own.
    "normalize": _normalize, "slugify": _slugify,
}  # fmt: skip
