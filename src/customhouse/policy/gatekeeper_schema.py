"""Parameters of a constraint against the schema of its template, as the API server treats a CustomResourceDefinition.

Values are validated (OpenAPI v3 as CRDs may use it), unknown fields are errors, and defaults are filled in. Legacy
schemas (templates of v1beta1) say nothing of fields that they do not name. Sources: "Extend the Kubernetes API with
CustomResourceDefinitions", sections on structural schemas, pruning and defaulting.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 64
_MAX_TEXT = 64 * 1024
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


def problems(value: Any, schema: Mapping[str, Any], path: str = "", *, depth: int = 0) -> Iterator[str]:
    """What is wrong with a value, each with its path."""
    if depth > MAX_DEPTH:
        yield f"{path}: more than {MAX_DEPTH} levels deep"
        return
    if value is None and schema.get("nullable"):
        return
    yield from _of_type(value, schema, path)
    yield from _of_value(value, schema, path)
    yield from _combined(value, schema, path, depth)
    if isinstance(value, dict):
        yield from _of_object(value, schema, path, depth)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, Mapping):
            for index, item in enumerate(value):
                yield from problems(item, items, f"{path}[{index}]", depth=depth + 1)


def unknown(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Fields that the schema does not know; the API server would drop them in silence."""
    if schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource"):
        return
    if isinstance(value, dict):
        properties, others = _mapping(schema, "properties"), schema.get("additionalProperties")
        for key, item in value.items():
            if key in properties:
                yield from unknown(item, _schema(properties[key]), f"{path}.{key}")
            elif isinstance(others, Mapping):
                yield from unknown(item, others, f"{path}.{key}")
            elif others is not True:
                yield f"{path}.{key}"
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from unknown(item, schema["items"], f"{path}[{index}]")


def defaulted(value: Any, schema: Mapping[str, Any]) -> Any:
    """The value with the schema's defaults; what is there stays, null included where it may be null."""
    if isinstance(value, dict):
        properties = _mapping(schema, "properties")
        result = dict(value)
        for key, raw in properties.items():
            part = _schema(raw)
            missing = key not in result or (result[key] is None and not part.get("nullable"))
            if missing and "default" in part:
                result[key] = copy.deepcopy(part["default"])
        others = schema.get("additionalProperties")
        for key, item in result.items():
            part = properties.get(key, others if isinstance(others, Mapping) else None)
            if isinstance(part, Mapping):
                result[key] = defaulted(item, part)
        return result
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [defaulted(item, schema["items"]) for item in value]
    return value


def _of_type(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            yield f"{path}: must be an integer or a text"
        return
    wanted = str(schema.get("type"))
    if wanted not in _TYPES:
        return
    whole = wanted == "integer" and isinstance(value, float) and value.is_integer()
    number_as_bool = isinstance(value, bool) and wanted != "boolean"
    if number_as_bool or not (isinstance(value, _TYPES[wanted]) or whole):
        yield f"{path}: must be of type {wanted}"


def _of_value(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if "enum" in schema and not any(_same(value, allowed) for allowed in schema["enum"] or ()):
        yield f"{path}: must be one of {', '.join(map(str, schema['enum'] or ()))}"
    if isinstance(value, str):
        yield from _bounds(len(value), schema, path, "Length", "characters")
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and not _matches(pattern, value):
            yield f"{path}: must match {pattern}"
    elif isinstance(value, list):
        yield from _bounds(len(value), schema, path, "Items", "entries")
        if schema.get("uniqueItems") and len({json.dumps(item, sort_keys=True) for item in value}) < len(value):
            yield f"{path}: entries must differ"
    elif isinstance(value, dict):
        yield from _bounds(len(value), schema, path, "Properties", "fields")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
        if low is not None and (value < low or (value == low and schema.get("exclusiveMinimum"))):
            yield f"{path}: must be {'more than' if schema.get('exclusiveMinimum') else 'at least'} {low}"
        if high is not None and (value > high or (value == high and schema.get("exclusiveMaximum"))):
            yield f"{path}: must be {'less than' if schema.get('exclusiveMaximum') else 'at most'} {high}"
        if step and value % step:
            yield f"{path}: must be a multiple of {step}"


def _bounds(size: int, schema: Mapping[str, Any], path: str, name: str, what: str) -> Iterator[str]:
    low, high = schema.get(f"min{name}"), schema.get(f"max{name}")
    if low is not None and size < low:
        yield f"{path}: must have at least {low} {what}"
    if high is not None and size > high:
        yield f"{path}: must have at most {high} {what}"


def _combined(value: Any, schema: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    def holds(part: Any) -> bool:
        return next(problems(value, _schema(part), path, depth=depth + 1), None) is None

    for part in schema.get("allOf") or ():
        yield from problems(value, _schema(part), path, depth=depth + 1)
    if schema.get("anyOf") and not any(holds(part) for part in schema["anyOf"]):
        yield f"{path}: must fit one of anyOf"
    if schema.get("oneOf") and sum(holds(part) for part in schema["oneOf"]) != 1:
        yield f"{path}: must fit exactly one of oneOf"
    if isinstance(schema.get("not"), Mapping) and holds(schema["not"]):
        yield f"{path}: must not fit what is under not"


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    properties, others = _mapping(schema, "properties"), schema.get("additionalProperties")
    for key in schema.get("required") or ():
        if key not in value:
            yield f"{path}.{key}: is required"
    for key, item in value.items():
        if key in properties:
            part = _schema(properties[key])
            if item is None and "default" in part:
                continue  # defaulting puts the default there
            yield from problems(item, part, f"{path}.{key}", depth=depth + 1)
        elif isinstance(others, Mapping):
            yield from problems(item, others, f"{path}.{key}", depth=depth + 1)


def _matches(pattern: str, value: str) -> bool:
    try:
        return len(value) <= _MAX_TEXT and re.search(pattern, value) is not None
    except re.error:
        return False


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


def _mapping(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = schema.get(key)
    return value if isinstance(value, Mapping) else {}


def _schema(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
