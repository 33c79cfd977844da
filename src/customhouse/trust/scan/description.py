"""What the files of a model say of it, for its bill of materials: read from the bytes that were hashed and scanned.

Weights (safetensors, GGUF, ONNX) tell of element types, parameters, inputs; `config.json` and its kin of architecture
and hyper-parameters; the front matter of README.md (a Hugging Face model card) of licence, task, datasets and base
models; result files of metrics. All of it is the author's word: bounded, never trusted, never executed.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from customhouse._kit.clock import Clock
from customhouse.trust.scan.inspection import Budget, Inspection, Limits
from customhouse.trust.scan.onnx import OnnxModel, OnnxValue, read_onnx
from customhouse.trust.scan.source import Cursor, Source, UnreadableError

MAX_TEXT = 300
MAX_ITEMS = 64
MAX_JSON = 4 << 20
_MAX_HEADER = 64 << 20
_MAX_STRING = 1 << 24
_MAX_OPERATORS = 12

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What one file says of the model. Empty where it says nothing; texts are bounded, sorted where order is none."""

    architecture: str = ""
    family: str = ""
    task: str = ""
    licence: str = ""
    about: str = ""
    parameters: int = 0
    """Numbers that were learned."""
    element_types: Pairs = ()
    """Element type to how many parameters are of it."""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    properties: Pairs = ()
    """Hyper-parameters and other facts, by name."""
    metrics: Pairs = ()

    def to_json(self) -> dict[str, Any]:
        """What is not empty."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Description:
        """The way back. Raises TypeError or ValueError for anything else."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            value = said.get(item.name)
            if isinstance(value, list | tuple):
                pairs = item.name in ("element_types", "properties", "metrics")
                values[item.name] = tuple((str(k), str(v)) for k, v in value) if pairs else tuple(map(str, value))
            elif isinstance(value, int) and item.name == "parameters":
                values[item.name] = value
            elif value is not None:
                values[item.name] = str(value)
        return cls(**values)


def describe(source: Source, form: str, title: str, clock: Clock) -> Description | None:
    """What a file says of its model; None when it says nothing, is of no kind that does, or cannot be read."""
    base = title.rpartition("/")[2].lower()
    try:
        if form == "safetensors":
            return _safetensors(source)
        if form == "gguf":
            return _gguf(source)
        if form == "onnx":
            look = Inspection("", Budget(Limits(), clock, started=clock.monotonic()), lambda _, __: None, title=title)
            return described_onnx(read_onnx(source, look))
        if base == "readme.md":
            return _card(source)
        reader = next((reader for names, reader in _JSON if base in names), None)
        if reader is None or source.size > MAX_JSON:
            return None
        value = json.loads(source.read(0, source.size))
        return reader(value) if isinstance(value, dict) else None
    except (UnreadableError, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, struct.error):
        return None  # the scan says what is wrong with a file; it only tells nothing here


def described_onnx(model: OnnxModel) -> Description:
    """Operators by frequency, since ONNX keeps no other name of an architecture."""
    ranked = sorted(model.operators.items(), key=lambda item: (-item[1], item[0]))
    properties = {
        "onnx:ir-version": str(model.ir_version),
        "onnx:producer": model.producer,
        "onnx:parameters": str(model.parameters),
        **{f"onnx:opset:{domain or 'ai.onnx'}": str(number) for domain, number in model.opsets.items()},
        **{f"onnx:operator:{kind}": str(count) for kind, count in ranked[:MAX_ITEMS]},
    }
    return Description(
        architecture=", ".join(f"{kind}×{count}" for kind, count in ranked[:_MAX_OPERATORS]),
        parameters=model.parameters,
        inputs=tuple(_value(item) for item in model.inputs if item.name not in model.initializers),
        outputs=tuple(_value(item) for item in model.outputs),
        properties=_pairs(properties),
    )


def _value(item: OnnxValue) -> str:
    return f"{item.name}: {item.element}[{','.join(item.shape)}]"


# Weights


def _safetensors(source: Source) -> Description | None:
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(_MAX_HEADER, source.size - 8):
        return None
    header = json.loads(source.read(8, length))
    if not isinstance(header, dict):
        return None
    metadata = header.pop("__metadata__", None)
    counts: dict[str, int] = {}
    for tensor in header.values():
        counts[str(tensor["dtype"])[:16]] = counts.get(str(tensor["dtype"])[:16], 0) + math.prod(tensor["shape"])
    facts = {f"safetensors:{k}": v for k, v in metadata.items()} if isinstance(metadata, dict) else {}
    return Description(
        licence=_text(facts.get("safetensors:modelspec.license")),
        architecture=_text(facts.get("safetensors:modelspec.architecture")),
        parameters=sum(counts.values()),
        element_types=_pairs(counts),
        properties=_pairs({**facts, "safetensors:tensors": len(header)}),
    )


_GGUF_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_GGUF_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
    13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16",
}  # fmt: skip


def _gguf(source: Source) -> Description | None:
    cursor = Cursor(source, 8)
    tensors, keys = cursor.number(8), cursor.number(8)
    if tensors > 1 << 20 or keys > 1 << 16:
        return None
    said = {_gguf_text(cursor): _gguf_value(cursor, cursor.number(4)) for _ in range(keys)}
    counts: dict[str, int] = {}
    for _ in range(tensors):
        cursor.skip(cursor.number(8))
        elements = math.prod(cursor.number(8) for _ in range(min(cursor.number(4), 8)))
        kind = _GGUF_TYPES.get(number := cursor.number(4), f"type {number}")
        counts[kind] = counts.get(kind, 0) + elements
        cursor.skip(8)
    general = {key.removeprefix("general."): _text(value) for key, value in said.items() if key.startswith("general.")}
    bases = sorted(key for key in general if re.fullmatch(r"base_model\.\d+\.(?:repo_url|name)", key))
    chosen = {key.split(".")[1]: general[key] for key in bases}  # of each the address, which sorts after the name
    return Description(
        architecture=general.get("architecture", ""),
        family=general.get("architecture", ""),
        licence=general.get("license", ""),
        about=general.get("description", ""),
        parameters=sum(counts.values()),
        element_types=_pairs(counts),
        base_models=tuple(chosen.values()),
        datasets=tuple(general[k] for k in sorted(general) if re.fullmatch(r"dataset\.\d+\.(?:repo_url|name)", k)),
        properties=_pairs({f"gguf:{key}": value for key, value in said.items() if value is not None}),
    )


def _gguf_text(cursor: Cursor) -> str:
    size = cursor.number(8)
    if size > _MAX_STRING:
        raise UnreadableError("a long text")
    if size > MAX_TEXT * 4:
        start = cursor.take(MAX_TEXT * 4)
        cursor.skip(size - len(start))
        return start.decode("utf-8", "replace")
    return cursor.take(size).decode("utf-8", "replace")


def _gguf_value(cursor: Cursor, kind: int, depth: int = 0) -> Any:
    """A number or text; None for an array, which is passed over."""
    if kind == 8:
        return _gguf_text(cursor)
    if kind != 9:
        form = _GGUF_NUMBERS[kind]
        return struct.unpack(form, cursor.take(struct.calcsize(form)))[0]
    inner, count = cursor.number(4), cursor.number(8)
    if inner in _GGUF_NUMBERS:
        cursor.skip(struct.calcsize(_GGUF_NUMBERS[inner]) * count)
    elif depth > 4 or count > 1 << 24:
        raise UnreadableError("a deep array")
    else:
        for _ in range(count):
            if inner == 8:
                cursor.skip(cursor.number(8))
            else:
                _gguf_value(cursor, inner, depth + 1)
    return None


# Configuration and results

_NOT_HYPER = frozenset(
    {"id2label", "label2id", "auto_map", "architectures", "torch_dtype", "dtype", "custom_pipelines"}
)
_TASKS = {
    "CausalLM": "text-generation",
    "ConditionalGeneration": "text2text-generation",
    "MaskedLM": "fill-mask",
    "SequenceClassification": "text-classification",
    "TokenClassification": "token-classification",
    "QuestionAnswering": "question-answering",
    "ImageClassification": "image-classification",
    "ObjectDetection": "object-detection",
    "SemanticSegmentation": "image-segmentation",
    "AudioClassification": "audio-classification",
    "CTC": "automatic-speech-recognition",
    "SpeechSeq2Seq": "automatic-speech-recognition",
}
"""What transformers appends to the name of an architecture, to the task as the hub calls it."""


def _config(said: Mapping[str, Any]) -> Description:
    named = [_text(item) for item in _list(said.get("architectures"))]
    architecture = ", ".join(named)
    task = next((task for suffix, task in _TASKS.items() if any(name.endswith(f"For{suffix}") for name in named)), "")
    facts: dict[str, Any] = {"config:dtype": said.get("dtype") or said.get("torch_dtype")}
    facts.update({f"config:{k}": v for k, v in said.items() if k not in _NOT_HYPER and not isinstance(v, dict | list)})
    quantised = said.get("quantization_config")
    if isinstance(quantised, dict):
        facts["config:quantization"] = quantised.get("quant_method") or quantised.get("quantization_bit") or "yes"
        facts["config:quantization-bits"] = quantised.get("bits") or quantised.get("w_bit")
    labels = said.get("id2label")
    outputs = tuple(_text(label) for label in list(labels.values())[:MAX_ITEMS]) if isinstance(labels, dict) else ()
    named_base = _text(said.get("_name_or_path"))
    return Description(
        architecture=architecture or _text(said.get("_class_name")),
        family=_text(said.get("model_type")),
        task=task,
        outputs=(f"labels: {', '.join(outputs)}"[:MAX_TEXT],) if outputs else (),
        # A path of the machine that it was made on is no base model.
        base_models=(named_base,) if re.fullmatch(r"\w[\w.-]*(?:/[\w.-]+)?", named_base) else (),
        properties=_pairs({key: value for key, value in facts.items() if value not in (None, "")}),
    )


def _adapter(said: Mapping[str, Any]) -> Description:
    facts = {f"adapter:{k}": v for k, v in said.items() if not isinstance(v, dict | list) and v not in (None, "")}
    base = _text(said.get("base_model_name_or_path"))
    return Description(
        family=_text(said.get("peft_type")), base_models=(base,) if base else (), properties=_pairs(facts)
    )


def _results(said: Mapping[str, Any]) -> Description:
    numbers = {k: v for k, v in said.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return Description(metrics=_pairs({key: repr(value) for key, value in numbers.items()}))


def _trainer(said: Mapping[str, Any]) -> Description:
    facts = {f"training:{k}": v for k, v in said.items() if isinstance(v, int | float | str)}
    return Description(properties=_pairs(facts))


_JSON: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Description]], ...] = (
    (("config.json", "model_index.json"), _config),
    (("adapter_config.json",), _adapter),
    (("all_results.json", "eval_results.json", "test_results.json", "metrics.json"), _results),
    (("trainer_state.json",), _trainer),
)


# The front matter of a README, as the hub writes it: top-level scalars and lists of scalars, which is all that is read.


def _card(source: Source) -> Description | None:
    lines = source.peek(0, 1 << 16).decode("utf-8", "replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return None
    said: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:]:
        if line.strip() == "---":
            break
        scalar = re.fullmatch(r"([A-Za-z_][\w-]*):\s*(.*)", line)
        item = re.fullmatch(r"\s*-\s+(.*)", line)
        if scalar:
            key = scalar[1]
            said[key] = list(_scalars(scalar[2]))
        elif item and key:
            said[key] += _scalars(item[1])
    licences = [_text(value) for value in said.get("license", [])[:1]]
    return Description(
        licence=(said.get("license_name") or licences or [""])[0],
        task=_text((said.get("pipeline_tag") or [""])[0]),
        base_models=tuple(said.get("base_model", [])[:MAX_ITEMS]),
        datasets=tuple(said.get("datasets", [])[:MAX_ITEMS]),
        properties=_pairs(
            {f"card:{k}": ", ".join(said[k]) for k in ("language", "library_name", "tags") if said.get(k)}
        ),
    )


def _scalars(text: str) -> Iterator[str]:
    text = text.split(" #", maxsplit=1)[0].strip()
    if text.startswith("[") and text.endswith("]"):
        for part in text[1:-1].split(","):
            yield from _scalars(part)
    elif text and text[0] not in "|>{&*!" and ": " not in text:
        yield text.strip("'\"")[:MAX_TEXT]


def _pairs(values: Mapping[Any, Any]) -> Pairs:
    """At most MAX_ITEMS, sorted by name; numbers and truth as JSON writes them."""
    shown = {_text(key): value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return tuple((key, _text(shown[key])) for key in sorted(shown)[:MAX_ITEMS])


def _text(value: Any) -> str:
    """Printable and bounded; empty for what is no text."""
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value[:MAX_TEXT]).strip()


def _list(value: Any) -> list[Any]:
    return value[:MAX_ITEMS] if isinstance(value, list) else []
