"""Keras configurations (JSON of .keras archives, .h5 attributes): layers with code, modules, paths and URLs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from customhouse.trust.scan.importables import dangerous_module
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.source import UnreadableError

_MODULES = re.compile(
    r"(?:keras|keras\.src|tf_keras|tf_keras\.src|tensorflow\.keras|tensorflow\.python\.keras|keras_core|keras\.api)"
    r"(?:\.(?:layers|models|initializers|regularizers|constraints|optimizers|losses|metrics|activations|engine|backend|"
    r"mixed_precision|dtype_policies|random|ops)(?:\.\w+)*)?"
)
_VOCABULARIES = frozenset(
    {"StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup", "Hashing", "StaticHashTable"}
)
_URL = re.compile(r"^(?:https?|ftp|gs|s3|file|hdfs)://", re.IGNORECASE)
_MAX_DEPTH = 200


def is_keras(value: object) -> bool:
    """Whether a JSON value is a serialised Keras object: a class name and a configuration."""
    return isinstance(value, Mapping) and isinstance(value.get("class_name"), str) and "config" in value


def inspect_keras(value: object, look: Inspection, depth: int = 0) -> None:
    """Walk a configuration; every serialised object in it is judged."""
    if depth > _MAX_DEPTH:
        raise UnreadableError("a configuration nested too deep", rule="limit-depth")
    look.spend()
    if isinstance(value, Mapping):
        if isinstance(value.get("class_name"), str):
            _object(value, look)
        for inner in value.values():
            inspect_keras(inner, look, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            inspect_keras(inner, look, depth + 1)
    elif isinstance(value, str) and _URL.match(value):
        look.suspicious("keras-url", f"fetches {value[:120]!r}")


def _object(value: Mapping[str, object], look: Inspection) -> None:
    name, module, config = value["class_name"], value.get("module"), value.get("config")
    if name in ("Lambda", "__lambda__"):
        look.malicious(
            "keras-lambda", "a Lambda layer carries Python code that runs when the model is loaded or called"
        )
    if isinstance(module, str) and not _MODULES.fullmatch(module):
        if dangerous_module(module):
            look.malicious(
                "keras-module", f"takes {config if isinstance(config, str) else name!s} from {module[:80]}"[:200]
            )
        else:
            look.suspicious("keras-module", f"takes {name!s} from {module[:80]}, which is not Keras"[:200])
    registered = value.get("registered_name")
    if isinstance(registered, str) and ">" in registered and not registered.startswith(("keras", "Keras", "builtins>")):
        look.suspicious("keras-custom-object", f"needs the custom object {registered[:80]!r}")
    if name in _VOCABULARIES and isinstance(config, Mapping):
        _vocabulary(config, look)


def _vocabulary(config: Mapping[str, object], look: Inspection) -> None:
    for key in ("vocabulary", "idf_weights", "filename"):
        path = config.get(key)
        if isinstance(path, str) and (escapes(path) or _URL.match(path)):
            look.malicious("keras-vocabulary-path", f"reads {path[:120]!r} when the model is loaded")
        elif isinstance(path, str):
            look.suspicious("keras-vocabulary-path", f"reads the file {path[:120]!r} when the model is loaded")
