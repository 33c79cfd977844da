"""What model files say of themselves: read from weights, configurations, model cards; never more than they hold."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit.clock import SystemClock
from customhouse.trust.scan.description import MAX_ITEMS, MAX_TEXT, Description, describe
from customhouse.trust.scan.source import Source


def said(data: bytes | str | object, form: str, title: str) -> Description:
    raw = data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    found = describe(Source.of(raw), form, title, SystemClock())
    assert found is not None
    return found


def safetensors(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(64)


def gguf(pairs: dict[str, Any], tensors: list[tuple[str, tuple[int, ...], int]]) -> bytes:
    """Version 3; values are texts, integers (u32), numbers (f32), or lists of texts."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    for key, value in pairs.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, float):
            out += struct.pack("<If", 6, value)
        elif isinstance(value, list):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        else:
            out += struct.pack("<II", 4, value)
    for name, shape, kind in tensors:
        out += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, 0)
    return out


def test_safetensors_tell_of_types_and_parameters() -> None:
    header = {
        "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [12, 28]},
        "__metadata__": {"format": "pt", "modelspec.license": "MIT"},
    }
    found = said(safetensors(header), "safetensors", "m.safetensors")
    assert (found.parameters, dict(found.element_types)) == (10, {"BF16": "6", "F32": "4"})
    assert (found.licence, dict(found.properties)["safetensors:tensors"]) == ("MIT", "2")


def test_gguf_tells_of_architecture_licence_base_and_quantisation() -> None:
    pairs = {
        "general.architecture": "llama",
        "general.license": "apache-2.0",
        "general.base_model.0.name": "Llama 3",
        "general.base_model.0.repo_url": "https://huggingface.co/meta/llama-3",
        "general.dataset.0.name": "OpenWeb",
        "llama.block_count": 32,
        "llama.rope.freq_base": 0.5,
        "tokenizer.ggml.tokens": ["a", "b" * 2000],
        "general.description": "x" * 5000,
    }
    found = said(gguf(pairs, [("w", (256, 2), 12), ("b", (5,), 0)]), "gguf", "m.gguf")
    assert (found.family, found.licence, found.parameters) == ("llama", "apache-2.0", 517)
    assert dict(found.element_types) == {"Q4_K": "512", "F32": "5"}
    assert found.base_models == ("https://huggingface.co/meta/llama-3",)
    assert found.datasets == ("OpenWeb",)
    facts = dict(found.properties)
    assert (facts["gguf:llama.block_count"], facts["gguf:llama.rope.freq_base"]) == ("32", "0.5")
    assert len(found.about) == MAX_TEXT


def test_configurations_tell_of_architecture_task_labels_and_hyper_parameters() -> None:
    config = {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "_name_or_path": "google-bert/bert-base-uncased",
        "hidden_size": 768,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
        "torch_dtype": "float16",
        "quantization_config": {"quant_method": "gptq", "bits": 4},
        "nothing": None,
    }
    found = said(config, "json", "config.json")
    assert (found.architecture, found.family) == ("BertForSequenceClassification", "bert")
    assert (found.task, found.outputs) == ("text-classification", ("labels: NEGATIVE, POSITIVE",))
    assert found.base_models == ("google-bert/bert-base-uncased",)
    facts = dict(found.properties)
    assert (facts["config:hidden_size"], facts["config:quantization-bits"], facts["config:dtype"]) == (
        "768", "4", "float16",
    )  # fmt: skip
    assert "config:nothing" not in facts


@pytest.mark.parametrize("place", ["/srv/checkpoints/3", "./out", "C:\\models", "a/b/c", ""])
def test_a_path_of_somebodys_machine_is_no_base_model(place: str) -> None:
    assert said({"_name_or_path": place, "model_type": "x"}, "json", "config.json").base_models == ()


def test_adapters_results_and_training_state() -> None:
    adapter = said({"base_model_name_or_path": "acme/base", "peft_type": "LORA", "r": 8}, "json", "adapter_config.json")
    assert (adapter.family, adapter.base_models, dict(adapter.properties)["adapter:r"]) == ("LORA", ("acme/base",), "8")
    assert dict(said({"eval_loss": 0.5, "ok": True}, "json", "eval_results.json").metrics) == {"eval_loss": "0.5"}
    assert dict(said({"epoch": 3.0}, "json", "trainer_state.json").properties) == {"training:epoch": "3.0"}


def test_a_model_cards_front_matter_is_read_as_far_as_it_is_simple() -> None:
    text = """---
language: [en, 'de']
license: apache-2.0 # as agreed
pipeline_tag: text-generation
base_model:
- acme/base
- "acme/other"
datasets:
  - imdb
model-index:
- name: x
  results: {a: b}
odd: !!python/object/apply:os.system ["true"]
---
# Title
license: not-this
"""
    found = said(text, "text", "README.md")
    assert (found.licence, found.task, found.datasets) == ("apache-2.0", "text-generation", ("imdb",))
    assert found.base_models == ("acme/base", "acme/other")
    assert dict(found.properties)["card:language"] == "en, de"
    assert describe(Source.of(b"# no front matter"), "text", "README.md", SystemClock()) is None


def test_what_is_said_is_bounded_and_printable() -> None:
    config = {f"key{n}": "x" * 1000 + "\x1b[31m" for n in range(1000)}
    config["model_type"] = "a\x1b[2Jb\n"
    found = said(config, "json", "config.json")
    assert len(found.properties) == MAX_ITEMS
    assert all(len(value) <= MAX_TEXT for _, value in found.properties)
    assert found.family == "a [2Jb"


@pytest.mark.parametrize("form", ["safetensors", "gguf", "onnx", "json", "text"])
@given(data=st.binary(max_size=300))
def test_no_bytes_make_it_fail(form: str, data: bytes) -> None:
    for start in (b"", b"GGUF\3\0\0\0", b"\x10" + bytes(7), b"---\n"):
        describe(Source.of(start + data), form, "config.json" if form == "json" else "README.md", SystemClock())


@pytest.mark.parametrize(
    "header",
    [[], {"a": []}, {"a": {"dtype": 1, "shape": "x"}}, {"a": {"shape": [1]}}, {"a": {"dtype": "F", "shape": {}}}],
)
def test_a_header_of_another_shape_tells_nothing(header: object) -> None:
    describe(Source.of(safetensors(header)), "safetensors", "m", SystemClock())


@given(st.builds(Description, architecture=st.text(), parameters=st.integers(0), inputs=st.lists(st.text()).map(tuple),
                 metrics=st.lists(st.tuples(st.text(), st.text())).map(tuple)))  # fmt: skip
def test_a_description_comes_back_from_json_as_it_was(found: Description) -> None:
    assert Description.from_json(json.loads(json.dumps(found.to_json()))) == found
