"""Leeway: fields that an object may have otherwise than declared (Argo CD's `ignoreDifferences`, Flux's `ignore`).

The declaration is sent with the values that such fields have in the cluster, so that the API's own dry run finds no
difference, and nobody takes away what another one has written. Of jq, what people write there is read: keys, indexes,
`[]`, and `select` of one comparison; another path is refused (`refused_path`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from customhouse.core.cluster import managers_of
from customhouse.core.resource import Leeway, Manifest

_TOKEN = re.compile(
    r"""\s*(?:
      \.\s*(?P<key>[A-Za-z_][A-Za-z0-9_]*)\??
    | \.?\s*\[\s*(?P<quoted>"(?:[^"\\]|\\.)*")\s*\]\??
    | \.\s*(?P<text>"(?:[^"\\]|\\.)*")\??
    | \.?\s*\[\s*(?P<index>-?\d{1,6})\s*\]\??
    | \.?\s*(?P<each>\[\s*\])\??
    | \|?\s*select\s*\(\s*(?P<of>\.[^()|=!]*?)\s*(?P<how>==|!=)
        \s*(?P<value>"(?:[^"\\]|\\.)*"|-?\d{1,18}|true|false|null)\s*\)
    | \|\s*(?=\.)
    )""",
    re.VERBOSE,
)
_LONGEST, _STEPS = 500, 40
_EACH = "[]"
_NAMES = ("name", "key", "containerPort", "port", "mountPath", "type")
"""What items of lists are told apart by; else by their place."""
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class _Select:
    of: tuple[Any, ...]
    value: Any
    equal: bool


@lru_cache(maxsize=4096)
def _steps_of(path: str) -> tuple[Any, ...] | None:
    """A jq path as steps: a key, an index, EACH, or a `_Select`; None for one that is not read here."""
    found: list[Any] = []
    at = 0
    if len(path) > _LONGEST:
        return None
    while path[at:].strip():
        match = _TOKEN.match(path, at)
        if match is None or match.end() == at or len(found) > _STEPS:
            return None
        at = match.end()
        if match["key"] is not None:
            found.append(match["key"])
        elif (quoted := match["quoted"] or match["text"]) is not None:
            found.append(json.loads(quoted))
        elif match["index"] is not None:
            found.append(int(match["index"]))
        elif match["each"] is not None:
            found.append(_EACH_STEP)
        elif match["of"] is not None:
            inner = _steps_of(match["of"])
            if inner is None or any(isinstance(step, _Select) or step is _EACH_STEP for step in inner):
                return None
            found.append(_Select(inner, json.loads(match["value"]), match["how"] == "=="))
    return tuple(found) or None


_EACH_STEP = (_EACH,)


def refused_path(leeway: Leeway) -> str:
    """A path that is not followed here; empty when all of them are."""
    bad = next((path for path in leeway.paths if _steps_of(path) is None), "")
    return bad or next((one for one in leeway.pointers if not one.startswith("/") or len(one) > _LONGEST), "")


def left_as_is(declared: Manifest, live: Manifest | None, leeway: Leeway) -> Manifest:
    """The declaration with the live values of the fields that may differ; as it is where there is nothing live."""
    if live is None:
        return declared
    result: Any = declared
    for steps in _every(live, leeway):
        result = _put(result, live, steps)
    return result if isinstance(result, Mapping) else declared


def ignores(leeway: Leeway, live: Manifest, pointer: str) -> bool:
    """Whether a field is one of those, or lies in one."""
    path = _split(pointer)
    return any(_covers(steps, path, live) for steps in _every(live, leeway))


def _every(live: Manifest, leeway: Leeway) -> Iterator[tuple[Any, ...]]:
    for pointer in leeway.pointers:
        yield _split(pointer)
    for path in leeway.paths:
        steps = _steps_of(path)
        if steps is not None:
            yield steps
    if leeway.managers:
        for item in managers_of(live):
            if item.name in leeway.managers:
                yield from _owned(item.fields, live, ())


def _split(pointer: str) -> tuple[str, ...]:
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def _owned(fields: Mapping[str, Any], live: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The paths of the leaves that a manager owns (the `fieldsV1` of managedFields)."""
    for name, inner in fields.items():
        if name.startswith("f:") and isinstance(live, Mapping) and name[2:] in live:
            here, value = (*path, name[2:]), live[name[2:]]
        elif name.startswith("k:") and isinstance(live, list):
            wanted = json.loads(name[2:])
            item = next((one for one in live if isinstance(one, Mapping) and _has(one, wanted)), None)
            if item is None:
                continue
            selects = tuple(_Select((key,), value, equal=True) for key, value in wanted.items())
            here, value = (*path, _EACH_STEP, *selects), item
        else:
            continue
        if isinstance(inner, Mapping) and any(key != "." for key in inner):
            yield from _owned(inner, value, here)
        else:
            yield here


def _has(item: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(item.get(key) == value for key, value in wanted.items())


def _put(declared: Any, live: Any, steps: Sequence[Any]) -> Any:
    """`declared` with what `live` has at a path; what is not declared stays undeclared."""
    if declared is _NOTHING or not steps:
        return declared if declared is _NOTHING else live
    step, rest = steps[0], steps[1:]
    if isinstance(step, _Select):
        return _put(declared, live, rest) if _chosen(step, declared) else declared
    if step is _EACH_STEP and isinstance(declared, Mapping):
        return _kept({key: _put(value, _at(live, key), rest) for key, value in declared.items()})
    if isinstance(declared, Mapping):
        key = str(step)
        return _kept({**declared, key: _put(declared[key], _at(live, key), rest)}) if key in declared else declared
    if isinstance(declared, list):
        index = _index(step, len(declared))
        chosen = range(len(declared)) if step is _EACH_STEP else (() if index is None else (index,))
        items = list(declared)
        for place in chosen:
            items[place] = _put(items[place], _counterpart(items[place], place, live), rest)
        return [item for item in items if item is not _NOTHING]
    return declared


def _kept(items: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in items.items() if value is not _NOTHING}


def _index(step: Any, length: int) -> int | None:
    text = str(step)
    if not re.fullmatch(r"-?[0-9]{1,6}", text):
        return None
    index = int(text) + (length if text.startswith("-") else 0)
    return index if 0 <= index < length else None


def _at(live: Any, key: str) -> Any:
    return live[key] if isinstance(live, Mapping) and key in live else _NOTHING


def _counterpart(item: Any, place: int, live: Any) -> Any:
    if not isinstance(live, list):
        return _NOTHING
    if isinstance(item, Mapping):
        name = next((key for key in _NAMES if key in item), None)
        if name is not None:
            same = (one for one in live if isinstance(one, Mapping) and one.get(name) == item[name])
            return next(same, _NOTHING)
    return live[place] if place < len(live) else _NOTHING


def _chosen(step: _Select, item: Any) -> bool:
    value = item
    for key in step.of:
        value = value.get(str(key)) if isinstance(value, Mapping) else None
    return (value == step.value) is step.equal


def _covers(steps: Sequence[Any], path: Sequence[str], live: Any) -> bool:
    """Whether a path of keys and places in `live` is at or below what steps say."""
    if not steps:
        return True
    step, rest = steps[0], steps[1:]
    if isinstance(step, _Select):
        return _chosen(step, live) and _covers(rest, path, live)
    if not path:
        return False
    part, below = path[0], path[1:]
    if isinstance(live, list):
        index = _index(part, len(live))
        fits = index is not None and (step is _EACH_STEP or _index(step, len(live)) == index)
        return fits and index is not None and _covers(rest, below, live[index])
    fits = step is _EACH_STEP or str(step) == part
    return fits and _covers(rest, below, live.get(part) if isinstance(live, Mapping) else None)
