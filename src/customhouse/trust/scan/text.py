"""Text: JSON, YAML, Python and prose. What a model's tools would run or fetch because a text says so is a finding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from customhouse.trust.scan.importables import dangerous_module, judge
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.jinja import inspect_template
from customhouse.trust.scan.keras import inspect_keras, is_keras
from customhouse.trust.scan.member_names import escapes
from customhouse.trust.scan.source import Source, UnreadableError
from customhouse.trust.scan.verdict import ScanSeverity
from customhouse.trust.scan.xml_text import inspect_xml

_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_PYTHON = re.compile(
    r"^(?:import[ \t]+[\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+)*[ \t]*(?:[#;].*)?|"
    r"from[ \t]+[\w.]+[ \t]+import[ \t]+[\w(*].*|(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(.*|class[ \t]+\w+[ \t]*[(:].*)$",
    re.MULTILINE,
)
_PYTHON_CALL = re.compile(r"\b(?:exec|eval|__import__|compile|os\.(?:system|popen)|subprocess\.\w+)[ \t]*\(")
_PYTHON_PROSE = re.compile(r"(\"\"\"|\'\'\')[\s\S]*?\1|^[ \t]*#.*$", re.MULTILINE)
_PROGRAMS = (".sh", ".bash", ".zsh", ".bat", ".cmd", ".ps1", ".vbs")
_YAML_TAG = re.compile(r"!!python/|tag:yaml\.org,2002:python/|^%TAG\b", re.MULTILINE)
_YAML_KEY = re.compile(r"^[\w.\-/ ]{1,80}:(?:\s|$)|^- ", re.MULTILINE)
_MAX_JSON_DEPTH = 300
_MAX_JSON_VALUES = 4_000_000
"""Values are objects of about a hundred bytes each while they are looked at."""
_NAMED = ("_target_", "py/object", "py/type", "py/function", "py/reduce", "target_class", "class_path")
_REMOTE = ("auto_map", "custom_pipelines")
_WATCHED = (*_NAMED, *_REMOTE, "chat_template", "loader_module", "trust_remote_code")


def is_text(source: Source, look: Inspection) -> bool:
    """Whether all of it is UTF-8 (or UTF-16 with a mark) without control characters."""
    tail = b""
    for _, chunk in source.chunks():
        look.spend(1 + len(chunk) // 65_536)
        if _CONTROL.search(chunk):
            return False
        data = tail + chunk
        try:
            data.decode("utf-8")
            tail = b""
        except UnicodeDecodeError as error:
            if error.start < len(data) - 4 or error.reason != "unexpected end of data":
                return False
            tail = data[error.start :]
    return not tail


def inspect_text(source: Source, look: Inspection) -> None:
    """Tell JSON, Python, YAML and prose apart, and judge each."""
    look.format = "text"
    if source.size > look.budget.limits.text:
        raise UnreadableError(f"a text of {source.size} bytes", rule="limit-text", hint="raise limits.text")
    text = source.read(0, source.size).decode("utf-8-sig")
    head = text.lstrip()[:1]
    title = look.title.lower()
    if head in ("{", "[") and _json(text, look, title):
        return
    if head == "<" and inspect_xml(text, look, look.title):
        return
    if text.startswith("#!") or title.endswith(_PROGRAMS):
        look.format = "script"
        look.suspicious("script", "a program beside a model: it starts with #! or is called like one")
        return
    if title.endswith((".py", ".pyi", ".pyw")) or (not title.endswith((".md", ".rst", ".txt")) and _is_python(text)):
        look.format = "python"
        look.suspicious("python-code", "Python code beside a model; loaders may import it")
        return
    if title.endswith((".jinja", ".jinja2", ".j2")) or (("{%" in text or "{{" in text) and not title.endswith(".md")):
        look.format = "template"
        inspect_template(text, look, title or "template")
    if title.endswith((".yaml", ".yml")) or _YAML_TAG.search(text) or (_YAML_KEY.search(text) and len(text) < 1 << 20):
        _yaml(text, look, title)


def _is_python(text: str) -> bool:
    """Whether what is left without comments and docstrings imports, defines or executes, and is not prose."""
    code = _PYTHON_PROSE.sub("", text)
    return (_PYTHON.search(code) or _PYTHON_CALL.search(code)) is not None and _prose_share(code) < 0.3


def _prose_share(text: str) -> float:
    """The share of lines that end like sentences do."""
    lines = [line for line in text.splitlines() if line.strip()][:2000]
    return sum(line.rstrip().endswith((".", "!", "?")) for line in lines) / max(1, len(lines))


def _json(text: str, look: Inspection, title: str) -> bool:
    """Judge a JSON document; False when it is none."""
    if text.count(",") + text.count("[") + text.count("{") > _MAX_JSON_VALUES:
        raise UnreadableError(f"JSON of over {_MAX_JSON_VALUES} values", rule="limit-text", hint="split it")
    duplicates: list[str] = []

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(items)
        if len(found) != len(items):
            duplicates.append(next((key for key, _ in items if sum(key == other for other, _ in items[:64]) > 1), ""))
        return found

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise UnreadableError("JSON nested too deep", rule="limit-depth") from error
    except ValueError:
        return _json_lines(text, look)
    look.format = "json"
    if duplicates:
        look.suspicious(
            "json-duplicate-key", f"the key {duplicates[0][:60]!r} twice; readers differ in which they take"
        )
    inspect_json(value, look, title)
    return True


def _json_lines(text: str, look: Inspection) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        values = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return False
    look.format = "json-lines"
    for value in values:
        inspect_json(value, look, "")
    return True


def inspect_json(value: object, look: Inspection, where: str, depth: int = 0) -> None:
    """Walk a JSON value: remote code, templates, names to import, Keras objects, paths that leave the folder."""
    if depth > _MAX_JSON_DEPTH:
        raise UnreadableError("JSON nested too deep", rule="limit-depth")
    if depth == 0 and is_keras(value):
        look.format = "keras-config"
        inspect_keras(value, look)
        return
    if isinstance(value, list):
        look.spend(1 + len(value) // 4)
        for item in value:
            if isinstance(item, (list, dict)):
                inspect_json(item, look, where, depth + 1)
    elif isinstance(value, Mapping):
        look.spend(1 + len(value) // 4)
        _skops(value, look)
        for key, item in value.items():
            _entry(str(key), item, look)
            if isinstance(item, (list, dict)):
                inspect_json(item, look, where, depth + 1)


def _entry(key: str, item: object, look: Inspection) -> None:
    if key in _REMOTE and item:
        look.suspicious("remote-code", f"{key}: loads Python code from the model's repository")
    elif key == "trust_remote_code" and item in (True, "true", "True"):
        look.suspicious("remote-code", "trust_remote_code is on")
    elif key in _NAMED:
        inspect_target(item, look, key)
    elif key == "loader_module" and not str(item).startswith("mlflow."):
        look.suspicious("config-imports", f"MLflow imports {str(item)[:80]!r} when it loads the model")
    elif key == "chat_template" or key.endswith("_template"):
        for template in item if isinstance(item, list) else [item]:
            body = template.get("template") if isinstance(template, Mapping) else template
            if isinstance(body, str):
                inspect_template(body, look, key)
    elif key == "weight_map" and isinstance(item, Mapping):
        for path in {str(path) for path in item.values()}:
            if escapes(path):
                look.malicious("index-path", f"takes weights from {path[:120]!r}, outside of the model's folder")


def inspect_target(item: object, look: Inspection, key: str) -> None:
    """A dotted name that a loader imports and calls (Hydra, jsonpickle)."""
    module, _, name = str(item).rpartition(".")
    severity = judge(module or "builtins", name)
    shown = str(item)[:80]
    if severity is ScanSeverity.MALICIOUS:
        look.malicious("config-imports", f"{key}: has {shown!r} imported and called")
    elif severity is ScanSeverity.SUSPICIOUS and not module.startswith(
        ("nemo.", "torch.", "pytorch_lightning.", "omegaconf")
    ):
        look.suspicious("config-imports", f"{key}: has {shown!r} imported, which is not known safe")


def _skops(value: Mapping[str, object], look: Inspection) -> None:
    """Skops names a type by `__module__` and `__class__`."""
    module, name = value.get("__module__"), value.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        return
    severity = judge(module, name)
    if severity is ScanSeverity.MALICIOUS or (dangerous_module(module) and severity is not None):
        look.malicious("skops-type", f"names {module[:60]}.{name[:60]}, which can run code")
    elif severity is not None:
        look.suspicious("skops-type", f"names {module[:60]}.{name[:60]}, which is not known safe")


def _yaml(text: str, look: Inspection, title: str) -> None:
    """Read YAML as events only: nothing is constructed, aliases are not expanded."""
    import yaml

    key: str | None = None
    count = 0
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            count += 1
            look.spend()
            tag = str(getattr(event, "tag", "") or "")
            if tag.startswith("tag:yaml.org,2002:python"):
                look.malicious("yaml-python-tag", f"constructs Python objects ({tag[22:80]})")
            elif tag and (not tag.startswith(("tag:yaml.org,2002:", "!")) or "python" in tag):
                look.suspicious("yaml-tag", f"a tag of its own ({tag[:80]})")
            if isinstance(event, yaml.ScalarEvent):
                if key is not None:
                    _entry(key, event.value, look)
                key = event.value if key is None and event.value in _WATCHED else None
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                if key is not None:
                    _entry(key, True, look)
                key = None
    except (yaml.YAMLError, RecursionError) as error:
        if title.endswith((".yaml", ".yml")):
            raise UnreadableError("broken YAML", rule="yaml-broken", hint="mend it") from error
        return
    if title.endswith((".yaml", ".yml")):
        look.format = "yaml"
