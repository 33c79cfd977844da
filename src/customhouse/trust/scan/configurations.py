"""JSON and YAML of models: what a loader would import, run, fetch or read because a text says so is a finding.

Known: Hugging Face (remote code, templates, indexes, lists of modules, PEFT, kernels), Hydra, jsonpickle, LangChain,
MLflow, SpeechBrain, skops, Keras, notebooks. Keys are looked for wherever they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import orjson

from customhouse.trust.scan.importables import judge
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.jinja import inspect_template
from customhouse.trust.scan.keras import inspect_keras, is_keras
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.skops_schema import inspect_skops
from customhouse.trust.scan.source import UnreadableError
from customhouse.trust.scan.verdict import ScanSeverity

_MAX_DEPTH = 300
_MAX_VALUES = 4_000_000
"""Values are objects of about a hundred bytes each while they are looked at."""
_NAMED = ("_target_", "py/object", "py/type", "py/function", "py/reduce", "target_class", "class_path")
_REMOTE = ("auto_map", "custom_pipelines")
_WATCHED = (*_NAMED, *_REMOTE, "chat_template", "loader_module", "trust_remote_code", "target", "template")
_KEYS = frozenset(
    {*_WATCHED, "parent_library", "attn_implementation", "_attn_implementation", "weight_map"}
    | {"model_config", "training_config", "keras_model_config"}
)
_MARKS = (
    *sorted(f'"{key}"' for key in _KEYS - {"chat_template", "template"}),
    *('template"', '"class_name"', '"__class__"', '"nbformat"', '"_diffusers_version"', '"Custom"', '"lc"', '"idx"'),
)
"""What a document must hold, letter by letter, to have anything that is looked for."""
_JUDGED = 100
"""Steps that a name to import, or a template, costs: each takes as long as a hundred opcodes, and no model has many."""
_HIDDEN_MARK = re.compile(r"\\u00[2-7]")
"""A letter that could be written as itself."""
_LONG = 1 << 20
_KERAS_TEXTS = ("model_config", "training_config", "keras_model_config")
_SAFE_ROOTS = ("nemo.", "torch.", "pytorch_lightning.", "lightning.", "omegaconf", "speechbrain.", "torchvision.")
_LIBRARIES = frozenset(
    {"diffusers", "transformers", "onnxruntime", "optimum", "flax", "k_diffusion", "peft", "stable_diffusion"}
)
_TAGGED_CALLS = ("!new:", "!name:", "!apply:", "!module:", "!include:")
"""HyperPyYAML: the tag is the Python name that is imported and called."""
_EXPRESSION = re.compile(r"\$\{\s{0,8}(?:eval|exec|python|py|call|import)\w{0,16}\s{0,8}:")


def inspect_json_text(text: str, look: Inspection, title: str) -> bool:
    """Judge a JSON document, or one a line; False when it is neither."""
    if text.count(",") + text.count("[") + text.count("{") > _MAX_VALUES:
        raise UnreadableError(f"JSON of over {_MAX_VALUES} values", rule="limit-text", hint="split it")
    if len(text) > _LONG and not any(mark in text for mark in _MARKS) and _HIDDEN_MARK.search(text) is None:
        return _plain_json(text, look)
    hidden: list[object] = []

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            hidden.extend(_shadowed(items))
        return found

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise UnreadableError("JSON nested too deep", rule="limit-depth") from error
    except ValueError:
        return _json_lines(text, look)
    look.format = "json"
    if hidden:
        look.note("json-duplicate-key", "a key twice; readers differ in which they take, so both were judged")
    for one in (*hidden, value):
        inspect_json(one, look, title)
    return True


def _plain_json(text: str, look: Inspection) -> bool:
    """A long document without any key that is looked for: data, if it is JSON at all."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            json.loads(text)
        except RecursionError as error:
            raise UnreadableError("JSON nested too deep", rule="limit-depth") from error
        except ValueError:
            return _json_lines(text, look, plain=True)
    look.format = "json"
    return True


def _shadowed(items: list[tuple[str, object]]) -> list[object]:
    """The values that a later one of the same key replaces, each under its key."""
    last = {key: index for index, (key, _) in enumerate(items)}
    return [{key: value} for index, (key, value) in enumerate(items) if last[key] != index]


def _json_lines(text: str, look: Inspection, *, plain: bool = False) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    if plain:
        try:
            orjson.loads("[" + ",".join(lines) + "]")
        except orjson.JSONDecodeError:
            return False
        look.format = "json-lines"
        return True
    try:
        values = [_one_line(line) for line in lines]
    except (ValueError, RecursionError):
        return False
    look.format = "json-lines"
    for value in values:
        inspect_json(value, look, "")
    return True


def _one_line(line: str) -> object:
    """A line's value. Raises ValueError and RecursionError."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line)  # NaN, half a surrogate pair: Python's own reader takes more


def inspect_json(value: object, look: Inspection, where: str, depth: int = 0, *, judged: bool = False) -> None:
    """Walk a JSON value; `judged`: it is a part of a Keras object that was walked as such."""
    if depth > _MAX_DEPTH:
        raise UnreadableError("JSON nested too deep", rule="limit-depth")
    if not judged and is_keras(value):
        judged = True
        if depth == 0:
            look.format = "keras-config"
        inspect_keras(value, look)
    if isinstance(value, list):
        look.spend(1 + len(value) // 4)
        if depth == 0:
            _module_list(value, look)
        for item in value:
            if isinstance(item, (list, dict)):
                inspect_json(item, look, where, depth + 1, judged=judged)
    elif isinstance(value, Mapping):
        look.spend(1 + len(value) // 4)
        inspect_skops(value, look)
        _object(value, look)
        for key, item in value.items():
            if key in _KEYS or key.endswith("_template"):
                _entry(key, item, look)
            if isinstance(item, (list, dict)):
                inspect_json(item, look, where, depth + 1, judged=judged)


def _object(value: Mapping[str, object], look: Inspection) -> None:
    """What is told from several keys together."""
    if "nbformat" in value and isinstance(value.get("cells"), list):
        look.format = "notebook"
        look.suspicious("notebook", "a notebook: code that runs when it is opened and run")
    if "_diffusers_version" in value and isinstance(value.get("_class_name"), (str, list)):
        _pipeline(value, look)
    if value.get("op") == "Custom" and "inputs" in value:
        look.suspicious("mxnet-custom", "an operator of MXNet that is Python of whoever loads it")
    if value.get("lc") == 1 and isinstance(value.get("type"), str):
        if value["type"] == "secret":
            look.malicious("langchain-secret", "reads a secret from the environment when it is loaded")
        else:
            look.suspicious("config-imports", "a LangChain object, which is made when the file is loaded")


def _pipeline(value: Mapping[str, object], look: Inspection) -> None:
    """Read model_index.json: each part is [library, class]; an unknown library is a file of the model."""
    if isinstance(value["_class_name"], list):
        look.suspicious("remote-code", "_class_name: loads Python code from the model's repository")
    for key, item in value.items():
        if not isinstance(item, list) or len(item) != 2 or key.startswith("_") or not isinstance(item[0], str):
            continue
        if item[0].partition(".")[0] not in _LIBRARIES:
            look.suspicious("remote-code", f"{key[:40]}: takes {str(item[1])[:60]} from the module {item[0][:60]!r}")


def _module_list(value: list[object], look: Inspection) -> None:
    """sentence-transformers' modules.json: dotted names that are imported, each with its folder."""
    for item in value:
        if isinstance(item, Mapping) and {"idx", "name", "path", "type"} <= set(item):
            kind, path = str(item["type"]), str(item["path"])
            if not kind.startswith("sentence_transformers."):
                inspect_target(kind, look, "type")
            if escapes(path):
                look.malicious("index-path", f"loads a module from {path[:120]!r}, outside of the model's folder")


def _entry(key: str, item: object, look: Inspection) -> None:
    if _says_remote(key, item):
        look.suspicious("remote-code", f"{key}: loads Python code from a repository ({str(item)[:60]})")
    elif key in _NAMED:
        inspect_target(item, look, key)
    elif key == "target" and isinstance(item, str) and "." in item:
        inspect_target(item, look, key, softly=True)
    elif key == "loader_module" and not str(item).startswith("mlflow."):
        look.suspicious("config-imports", f"MLflow imports {str(item)[:80]!r} when it loads the model")
    elif key == "parent_library" and isinstance(item, str) and item.partition(".")[0] != "transformers":
        inspect_target(f"{item}.library", look, key)
    elif key in ("chat_template", "template") or key.endswith("_template"):
        _template(item, look, key)
    elif key == "weight_map" and isinstance(item, Mapping):
        for path in {str(path) for path in item.values()}:
            if escapes(path):
                look.malicious("index-path", f"takes weights from {path[:120]!r}, outside of the model's folder")
    elif key in _KERAS_TEXTS and isinstance(item, str) and '"class_name"' in item:
        try:
            inspect_keras(json.loads(item), look)
        except (ValueError, RecursionError):
            look.unscannable("keras-config", f"{key} is not JSON")


def _says_remote(key: str, item: object) -> bool:
    """Code of the model's repository, or a kernel of another one."""
    if key in _REMOTE:
        return bool(item)
    if key == "trust_remote_code":
        return item in (True, "true", "True")
    return key in ("attn_implementation", "_attn_implementation") and isinstance(item, str) and "/" in item


def _template(item: object, look: Inspection, key: str) -> None:
    """One template, a list of them with names, or several by name."""
    found: list[object] = list(item) if isinstance(item, list) else [item]
    if isinstance(item, Mapping):
        found = list(item.values())
    for template in found:
        body = template.get("template") if isinstance(template, Mapping) else template
        if isinstance(body, str):
            look.spend(_JUDGED)
            inspect_template(body, look, key)


def inspect_target(item: object, look: Inspection, key: str, *, softly: bool = False) -> None:
    """A dotted name that a loader imports and calls; `softly`: the key is too common to blame the unknown."""
    look.spend(_JUDGED)
    module, _, name = str(item).rpartition(".")
    severity = judge(module or "builtins", name)
    shown = str(item)[:80]
    if severity is ScanSeverity.MALICIOUS:
        look.malicious("config-imports", f"{key}: has {shown!r} imported and called")
    elif severity is ScanSeverity.SUSPICIOUS and not softly and not f"{module}.".startswith(_SAFE_ROOTS):
        look.suspicious("config-imports", f"{key}: has {shown!r} imported, which is not known safe")


class _YamlWalk:
    """Which scalar is a key and which its value, as events come; an alias stands for what its anchor is on."""

    def __init__(self, look: Inspection) -> None:
        self._look = look
        self._open: list[tuple[bool, str, str | None]] = []
        """For each open collection: whether it is a mapping, the watched key that a sequence is the value of, and the
        key that stands open around it (a collection may be a key itself)."""
        self._key: str | None = None
        """The key whose value comes next, in the innermost mapping; None: a key comes next."""
        self._anchors: dict[str, str | None] = {}

    def scalar(self, anchor: str | None, text: str) -> None:
        """A scalar in its place."""
        if anchor is not None:
            self._anchors[anchor] = text
        self._place(text)

    def alias(self, anchor: str | None) -> None:
        """What was met already, once more; a collection was judged where it stood."""
        self._place(self._anchors.get(anchor or ""))

    def begin(self, anchor: str | None, *, mapping: bool) -> None:
        """A mapping or sequence begins."""
        if anchor is not None:
            self._anchors[anchor] = None
        key = self._place(None)
        self._open.append((mapping, "" if mapping else key, self._key))
        self._key = None

    def end(self) -> None:
        """It ends, and what stood around it goes on."""
        if self._open:
            self._key = self._open.pop()[2]

    def _place(self, text: str | None) -> str:
        """Judge what stands here (None: a collection); the watched key that it is the value of, if any."""
        mapping, outer, _ = self._open[-1] if self._open else (False, "", None)
        if not mapping:
            if outer and text is not None:
                _entry(outer, text, self._look)
            return outer
        if self._key is None:
            self._key = text or "-"
            return ""
        key, self._key = self._key, None
        if key not in _WATCHED and not key.endswith("_template"):
            return ""
        _entry(key, True if text is None else text, self._look)
        return key


def inspect_yaml(text: str, look: Inspection, title: str) -> None:
    """Read YAML as events only: nothing is constructed, aliases are not expanded."""
    import yaml

    named = title.endswith((".yaml", ".yml", "mlmodel"))
    if "${" in text and _EXPRESSION.search(text):
        look.suspicious("config-expression", "an expression that is evaluated when the configuration is read")
    walk = _YamlWalk(look)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            look.spend()
            _tag(str(getattr(event, "tag", "") or ""), look)
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                walk.begin(event.anchor, mapping=isinstance(event, yaml.MappingStartEvent))
            elif isinstance(event, yaml.CollectionEndEvent):
                walk.end()
            elif isinstance(event, yaml.ScalarEvent):
                walk.scalar(event.anchor, event.value)
            elif isinstance(event, yaml.AliasEvent):
                walk.alias(event.anchor)
    except (yaml.YAMLError, RecursionError) as error:
        if named:
            raise UnreadableError("broken YAML", rule="yaml-broken", hint="mend it") from error
        return
    if named:
        look.format = "yaml"


def _tag(tag: str, look: Inspection) -> None:
    if not tag:
        return
    if tag.startswith("tag:yaml.org,2002:python"):
        look.malicious("yaml-python-tag", f"constructs Python objects ({tag[22:80]})")
    elif tag.startswith(_TAGGED_CALLS):
        kind, _, name = tag.partition(":")
        if kind == "!include":
            if escapes(name):
                look.malicious("yaml-include", f"includes {name[:80]!r}, outside of the model's folder")
        else:
            inspect_target(name, look, kind)
    elif not tag.startswith(("tag:yaml.org,2002:", "!")) or "python" in tag:
        look.suspicious("yaml-tag", f"a tag of its own ({tag[:80]})")
