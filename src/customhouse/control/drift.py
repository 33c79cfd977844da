"""Drift, field by field: what an object has that its declaration does not give it, who wrote it, and when.

The declared side is what the API would make of the declaration (a dry run), so that defaults are never a difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse.control.diff import HIDDEN
from customhouse.control.yaml_values import escape
from customhouse.core.cluster import Manager
from customhouse.core.plan import FieldDiff
from customhouse.core.resource import Manifest
from customhouse.core.sight import stripped

MANAGER = "customhouse"
"""The one field manager that Customhouse applies with."""
MOST = 50
"""Differences told of one object."""
ABSENT = object()
"""What stands for a field that is not there."""
_NAMES = ("name", "containerPort", "port", "mountPath", "devicePath", "topologyKey", "ip", "key", "type")
"""What items of lists are usually told apart by; where all of both lists have one, they are compared by it."""
_SCALE = "scale"


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """One field that is otherwise than declared. `manager` is empty where nobody can be named."""

    diff: FieldDiff
    manager: str = ""
    at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """`{"pointer","declared","live","manager","at"}`, as the API and `-o json` show it."""
        return {
            "pointer": self.diff.pointer,
            "declared": self.diff.declared,
            "live": self.diff.live,
            "manager": self.manager,
            "at": "" if self.at is None else to_rfc3339(self.at),
        }

    def __str__(self) -> str:
        by = f", by {self.manager}" if self.manager else ""
        return f"{self.diff.pointer}: {_shown(self.diff.live)} instead of {_shown(self.diff.declared)}{by}"


def object_diff(declared: Manifest, live: Manifest) -> tuple[FieldDiff, ...]:
    """What differs between two whole objects, but for status and the server's metadata. Values of a Secret are hidden.

    At most 50 differences; a list whose items have names is compared by them.
    """
    found: list[FieldDiff] = []
    secret = declared.get("kind") == "Secret" and declared.get("apiVersion") == "v1"
    for item in _walk(stripped(declared), stripped(live), ""):
        hidden = secret and item.pointer.startswith(("/data", "/stringData"))
        # What applying keeps for `kubectl diff` holds the whole manifest, values and all.
        hidden = hidden or (secret and item.pointer.startswith("/metadata/annotations"))
        found.append(_hide(item) if hidden else item)
        if len(found) == MOST:
            break
    return tuple(found)


def hidden(found: Sequence[FieldDiff]) -> tuple[FieldDiff, ...]:
    """The same fields without their values."""
    return tuple(map(_hide, found))


def who_wrote(fields: Sequence[FieldDiff], live: Manifest, managers: Sequence[Manager]) -> tuple[FieldDrift, ...]:
    """The differences with who wrote what is live: the owner of the field who is not us, the latest if several.

    A field that was taken away has no owner: then it was the latest writer that is not us, if there is just one.
    """
    others = [item for item in managers if not is_ours(item) and item.subresource != "status"]
    by_time = sorted(others, key=lambda item: "" if item.at is None else item.at.isoformat())
    found = []
    for diff in fields:
        path = diff.pointer.split("/")[1:]
        owners = [item for item in by_time if owns(item.fields, path, live)]
        if not owners and len(others) == 1 and diff.live is None:
            owners = others
        last = owners[-1] if owners else None
        found.append(FieldDrift(diff, "" if last is None else last.name, None if last is None else last.at))
    return tuple(found)


def applied_by_us(managers: Sequence[Manager]) -> bool:
    """Whether Customhouse has a part in an object; what it has none in is not deleted, whatever a list says."""
    return any(is_ours(item) for item in managers)


def is_ours(item: Manager) -> bool:
    """Whether the fields are those that were applied from here."""
    return item.name == MANAGER and item.operation == "Apply"


def _hide(item: FieldDiff) -> FieldDiff:
    return FieldDiff(item.pointer, None if item.declared is None else HIDDEN, None if item.live is None else HIDDEN)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"


def _walk(declared: Any, live: Any, pointer: str) -> Iterator[FieldDiff]:
    if isinstance(declared, Mapping) and isinstance(live, Mapping):
        for name in [*declared, *(name for name in live if name not in declared)]:
            yield from _walk(declared.get(name, ABSENT), live.get(name, ABSENT), f"{pointer}/{escape(str(name))}")
    elif isinstance(declared, list) and isinstance(live, list):
        yield from _walk_list(declared, live, pointer)
    elif declared is ABSENT or live is ABSENT or type(declared) is not type(live) or declared != live:
        yield FieldDiff(pointer, None if declared is ABSENT else declared, None if live is ABSENT else live)


def _walk_list(declared: list[Any], live: list[Any], pointer: str) -> Iterator[FieldDiff]:
    name = told_apart(declared, live)
    if name is None:
        if len(declared) != len(live):
            yield FieldDiff(pointer, declared, live)
            return
        for index, (one, other) in enumerate(zip(declared, live, strict=True)):
            yield from _walk(one, other, f"{pointer}/{index}")
        return
    places = {item[name]: index for index, item in enumerate(live)}
    wanted = {item[name] for item in declared}
    for index, item in enumerate(declared):
        place = places.get(item[name])
        other = ABSENT if place is None else live[place]
        yield from _walk(item, other, f"{pointer}/{index if place is None else place}")
    for index, item in enumerate(live):
        if item[name] not in wanted:
            yield FieldDiff(f"{pointer}/{index}", None, item)
    if list(wanted) and [item[name] for item in declared] != [item[name] for item in live if item[name] in wanted]:
        yield FieldDiff(pointer, [item[name] for item in declared], [item[name] for item in live])


def told_apart(*lists: list[Any]) -> str | None:
    """The field by which the items of all these lists are told apart; None where there is none."""
    for name in _NAMES:
        for items in lists:
            if not all(isinstance(item, Mapping) and isinstance(item.get(name), (str, int)) for item in items):
                break
            if len({item[name] for item in items}) != len(items):
                break
        else:
            return name if any(lists) else None
    return None


def without(value: Any, path: Sequence[str]) -> Any:
    """The value without what a pointer names; as it is where nothing is there. An item of a list is not taken out."""
    name = path[0].replace("~1", "/").replace("~0", "~")
    if isinstance(value, Mapping) and name in value:
        if len(path) == 1:
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: without(value[name], path[1:])}
    if isinstance(value, list) and name.isdigit() and int(name) < len(value) and len(path) > 1:
        index = int(name)
        return [*value[:index], without(value[index], path[1:]), *value[index + 1 :]]
    return value


def owns(fields: Mapping[str, Any], path: Sequence[str], live: Any) -> bool:
    """Whether fieldsV1 has the field of a pointer, something below it, or (an atomic value) something above it."""
    node: Any = fields
    value: Any = live
    for part in path:
        if not isinstance(node, Mapping):
            return False
        if not node:  # a leaf: the whole value is owned
            return True
        if isinstance(value, list):
            index = int(part) if part.isdigit() else -1
            item = value[index] if 0 <= index < len(value) else None
            node, value = _item_of(node, item), item
        else:
            name = part.replace("~1", "/").replace("~0", "~")
            node = node.get(f"f:{name}")
            value = value.get(name) if isinstance(value, Mapping) else None
        if node is None:
            return False
    return True


def _item_of(node: Mapping[str, Any], item: Any) -> Any:
    for name, below in node.items():
        if name.startswith("k:") and isinstance(item, Mapping):
            keys = _json(name[2:])
            if isinstance(keys, Mapping) and all(item.get(key) == value for key, value in keys.items()):
                return below
        elif name.startswith("v:") and _json(name[2:]) == item:
            return below
    return None


def leaves(fields: Mapping[str, Any], value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """The pointer and value of every field of fieldsV1 that has none below it; ABSENT for what is not there."""
    inner = {name: below for name, below in fields.items() if name != "."}
    if not inner:
        yield pointer, value
        return
    for name, below in inner.items():
        below = below if isinstance(below, Mapping) else {}  # noqa: PLW2901
        if name.startswith("f:"):
            child = value.get(name[2:], ABSENT) if isinstance(value, Mapping) else ABSENT
            yield from leaves(below, child, f"{pointer}/{escape(name[2:])}")
        elif isinstance(value, list):
            index = next((i for i, item in enumerate(value) if _item_of({name: {}}, item) is not None), None)
            if index is not None:
                yield from leaves(below, value[index], f"{pointer}/{index}")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
