"""YAML as a bundle may hold it: plain data, small, no aliases, no duplicate keys, no objects."""

from __future__ import annotations

from typing import Any

MAX_BYTES = 512 * 1024
MAX_DEPTH = 32


class StrictYamlError(ValueError):
    """Not plain YAML data; the message says what and on which line."""


def parse_yaml(text: str) -> Any:
    """The value of one document. Raises StrictYamlError."""
    if len(text) > MAX_BYTES:
        raise StrictYamlError(f"more than {MAX_BYTES} characters")
    import yaml

    # The C loader is seven times as quick; both build plain data only.
    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = loader_class(text)
    try:
        _check_events(yaml, loader_class, text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(yaml, node)
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StrictYamlError(" ".join(str(error).split())) from error
    finally:
        loader.dispose()


def _check_events(yaml: Any, loader_class: Any, text: str) -> None:
    """Aliases are how a small text becomes a huge value; depth is how a parser runs out of stack."""
    depth = 0
    for event in yaml.parse(text, Loader=loader_class):
        if isinstance(event, yaml.AliasEvent):
            raise StrictYamlError(f"line {event.start_mark.line + 1}: aliases are refused")
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                raise StrictYamlError(f"line {event.start_mark.line + 1}: more than {MAX_DEPTH} levels deep")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1


def _check_keys(yaml: Any, node: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:str" or key.value in seen:
                raise StrictYamlError(
                    f"line {key.start_mark.line + 1}: the key {key.value!r} is no text, or is there twice"
                )
            seen.add(key.value)
            _check_keys(yaml, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(yaml, item)
