"""Keras configurations (JSON of .keras archives, .h5 attributes): layers with code, modules, paths and URLs.

Loading makes objects by name, so a name is an import: what is none of Keras' own layers, losses and the like is a
finding, and so are functions of Keras that read, fetch or switch safety off (CVE-2025-1550, 8747, 9906, 12058, 49655).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from customhouse.trust.scan.importables import dangerous_module
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.savedmodel import judge_operator
from customhouse.trust.scan.source import UnreadableError

_KERAS = (
    r"(?:keras|keras\.src|tf_keras|tf_keras\.src|tensorflow\.keras|tensorflow\.python\.keras|keras_core|keras\.api)"
)
_MODULES = re.compile(
    _KERAS
    + r"(?:\.(?:layers|models|initializers|regularizers|constraints|optimizers|losses|metrics|activations|engine|"
    r"backend|mixed_precision|dtype_policies|random|ops|quantizers)(?:\.\w+)*)?"
)
_FUNCTIONS = re.compile(
    _KERAS + r"\.(?:activations|losses|metrics|initializers|regularizers|constraints|ops|random|backend|optimizers)"
    r"(?:\.\w+)*"
)
_USUAL = frozenset({"keras", "keras.layers", "keras.initializers", "keras.optimizers", "keras.regularizers"})
_GADGETS = re.compile(_KERAS + r"\.(?:utils|config|saving|datasets|export|models|legacy|callbacks)(?:\.\w+)*")
"""Where Keras keeps functions that fetch files, read paths, load models and switch its own safety off."""
_VOCABULARIES = frozenset(
    {"StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup", "Hashing", "StaticHashTable"}
)
_LAMBDAS = frozenset({"Lambda", "__lambda__"})
_WRAPPERS = frozenset({"JaxLayer", "FlaxLayer", "TFSMLayer"})
_OPERATION = re.compile(
    r"(?:tf\.|tensorflow\.)?(?:compat\.v[12]\.)?(?:io\.|raw_ops\.|data\.|saved_model\.|autograph\.|summary\.|train\."
    r"|debugging\.|profiler\.|py_func|numpy_function|load_library|load_op_library|print|function|keras\.)"
)
"""What a TFOpLambda may not call: TensorFlow's functions on files, graphs and Python."""
_NODE_OPERATOR = re.compile(r"\bop\"?\s{0,4}:\s{0,4}\"([^\"]{1,200})\"")
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
    name, module, config = str(value["class_name"]), value.get("module"), value.get("config")
    if name in _LAMBDAS:
        look.malicious(
            "keras-lambda", "a Lambda layer carries Python code that runs when the model is loaded or called"
        )
    elif name == "TorchModuleWrapper":
        look.malicious("keras-torch", "a layer that unpickles a torch module, even in safe mode (CVE-2025-49655)")
    elif name in _WRAPPERS:
        _wrapper(name, config, look)
    elif name in ("TFOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod") and isinstance(config, Mapping):
        _operation(config, look)
    if isinstance(module, str):
        _module(name, module, config, look)
    registered = value.get("registered_name")
    if isinstance(registered, str) and ">" in registered and not registered.startswith(("keras", "Keras", "builtins>")):
        look.suspicious("keras-custom-object", f"needs the custom object {registered[:80]!r}")
    if name in _VOCABULARIES and isinstance(config, Mapping):
        _vocabulary(config, look)


def _module(name: str, module: str, config: object, look: Inspection) -> None:
    function = isinstance(config, str)
    what = str(config if function else name)[:80]
    if not function and module in _USUAL:
        return
    if _GADGETS.fullmatch(module) and (
        function or not module.partition("keras.")[2].startswith(("models", "src.models"))
    ):
        look.malicious("keras-module", f"takes {what} from {module[:80]}, which can read, fetch or switch off checks")
    elif dangerous_module(module):
        look.malicious("keras-module", f"takes {what} from {module[:80]}")
    elif not _MODULES.fullmatch(module) and not (module == "builtins" and name in ("function", "float", "int", "str")):
        look.suspicious("keras-module", f"takes {what} from {module[:80]}, which is not Keras")
    elif function and module != "builtins" and module.count(".") and not _FUNCTIONS.fullmatch(module):
        look.suspicious("keras-module", f"takes the function {what} from {module[:80]}")


def _wrapper(name: str, config: object, look: Inspection) -> None:
    path = config.get("filepath") if isinstance(config, Mapping) else None
    if isinstance(path, str) and (escapes(path) or _URL.match(path)):
        look.malicious("keras-wrapper", f"{name}: loads {path[:120]!r}, outside of the model")
    else:
        look.suspicious("keras-wrapper", f"{name}: runs what another framework saved")


def _operation(config: Mapping[str, object], look: Inspection) -> None:
    function = config.get("function") or config.get("fn_name") or config.get("method_name")
    if isinstance(function, str) and (_OPERATION.match(function) or "__" in function):
        look.malicious("keras-operation", f"calls {function[:80]}, which reaches outside of the model")
    node = config.get("node_def")
    for operator in _NODE_OPERATOR.findall(str(node)) if node is not None else ():
        judge_operator(operator, look)


def _vocabulary(config: Mapping[str, object], look: Inspection) -> None:
    for key in ("vocabulary", "idf_weights", "filename"):
        path = config.get(key)
        if isinstance(path, str) and (escapes(path) or _URL.match(path)):
            look.malicious("keras-vocabulary-path", f"reads {path[:120]!r} when the model is loaded")
        elif isinstance(path, str):
            look.suspicious("keras-vocabulary-path", f"reads the file {path[:120]!r} when the model is loaded")
