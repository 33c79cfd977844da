"""Formats without opcodes: what reaches outside of the model is found, what is broken is never clean."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from customhouse.trust.scan import FileScan, Verdict, scan_bytes
from protobuf_writer import field, onnx_model, onnx_node


def _rules(scan: FileScan) -> set[str]:
    return {finding.rule for finding in scan.findings}


def _external(location: str) -> bytes:
    pair = field(1, b"location") + field(2, location.encode())
    return field(5, field(1, 2) + field(2, 1) + field(8, b"w") + field(13, pair) + field(14, 1))


def test_onnx_of_standard_operators_is_clean() -> None:
    scan = scan_bytes(onnx_model(onnx_node("MatMul") + onnx_node("Add") + onnx_node("Normalizer", "ai.onnx.ml")))
    assert (scan.format, scan.verdict) == ("onnx", Verdict.CLEAN)


@pytest.mark.parametrize("location", ["/etc/passwd", "../../w.bin", "..\\w.bin", "C:\\w.bin", "file:///etc/passwd", ""])
def test_onnx_data_outside_of_the_folder_is_malicious(location: str) -> None:
    scan = scan_bytes(onnx_model(onnx_node("Add") + _external(location)))
    assert scan.verdict is Verdict.MALICIOUS
    assert "onnx-external-data" in _rules(scan)


def test_onnx_external_data_in_a_constant_node_is_judged_too() -> None:
    tensor = _external("/etc/shadow")[2:] if len(_external("/etc/shadow")) < 130 else b""
    attribute = field(1, b"value") + field(5, tensor)
    assert scan_bytes(onnx_model(onnx_node("Constant", attribute=attribute))).verdict is Verdict.MALICIOUS


def test_onnx_operators_of_other_domains_are_suspicious_unless_the_model_defines_them() -> None:
    assert "onnx-custom-domain" in _rules(scan_bytes(onnx_model(onnx_node("Do", "evil.corp"))))
    assert "onnx-unknown-operator" in _rules(scan_bytes(onnx_model(onnx_node("Exec"))))
    assert scan_bytes(onnx_model(onnx_node("PyOp", "ai.onnx.contrib"))).verdict is Verdict.MALICIOUS
    function = field(25, field(1, b"Do") + field(10, b"own") + field(7, onnx_node("Relu")[2:]))
    assert scan_bytes(onnx_model(onnx_node("Do", "own"), function)).verdict is Verdict.CLEAN


def test_onnx_subgraphs_are_walked() -> None:
    branch = field(1, b"then_branch") + field(6, onnx_node("Exec"))
    assert "onnx-unknown-operator" in _rules(scan_bytes(onnx_model(onnx_node("If", attribute=branch))))


def test_onnx_cut_short_is_not_clean() -> None:
    data = onnx_model(onnx_node("MatMul") + _external("w.bin"))
    for end in range(1, len(data)):
        assert scan_bytes(data[:end]).verdict is not Verdict.CLEAN or end < 3, end


def test_onnx_with_relative_data_asks_for_the_folder() -> None:
    scan = scan_bytes(onnx_model(onnx_node("Add") + _external("w.bin")))
    assert scan.verdict is Verdict.UNSCANNABLE
    assert "folder" in scan.findings[-1].message


def _graph(*operators: str) -> bytes:
    return b"".join(field(1, field(1, b"n") + field(2, name.encode())) for name in operators)


@pytest.mark.parametrize("operator", ["ReadFile", "WriteFile", "PyFunc", "EagerPyFunc"])
def test_tensorflow_operators_that_reach_outside_are_malicious(operator: str) -> None:
    saved = field(1, 1) + field(2, field(1, field(4, b"serve")) + field(2, _graph("Const", operator)))
    assert scan_bytes(saved).verdict is Verdict.MALICIOUS
    assert scan_bytes(_graph("Const", operator)).verdict is Verdict.MALICIOUS
    inner = field(2, field(1, field(1, b"f") + field(3, _graph(operator)[2:])))
    assert scan_bytes(field(1, 1) + field(2, field(2, inner))).verdict is Verdict.MALICIOUS


def test_tensorflow_arithmetic_is_clean() -> None:
    saved = field(1, 1) + field(2, field(1, field(4, b"serve")) + field(2, _graph("Const", "MatMul", "SaveV2")))
    assert scan_bytes(saved).verdict is Verdict.CLEAN


def _safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_safetensors_that_cover_their_file_are_clean() -> None:
    header = {"a": _tensor(0, 8, [2]), "b": _tensor(8, 12, [1]), "__metadata__": {"format": "pt"}}
    assert scan_bytes(_safetensors(header, b"\x00" * 12)).verdict is Verdict.CLEAN


@pytest.mark.parametrize(
    "data",
    [
        _safetensors({"a": _tensor(0, 8, [2])}, b"\x00" * 4),
        _safetensors({"a": _tensor(0, 8, [2])}, b"\x00" * 12),
        _safetensors({"a": _tensor(0, 8, [2]), "b": _tensor(4, 12, [2])}, b"\x00" * 12),
        _safetensors({"a": _tensor(4, 12, [2])}, b"\x00" * 12),
        _safetensors({"a": _tensor(0, 8, [3])}, b"\x00" * 8),
        _safetensors({"a": _tensor(0, 8, [-2])}, b"\x00" * 8),
        _safetensors({"a": _tensor(0, 8, [2], "X1")}, b"\x00" * 8),
        _safetensors(b'{"a":1,"a":2}'),
        _safetensors(b"{broken"),
        struct.pack("<Q", 1 << 60) + b"{}",
    ],
)
def test_safetensors_that_lie_are_not_clean(data: bytes) -> None:
    assert scan_bytes(data).verdict in (Verdict.SUSPICIOUS, Verdict.UNSCANNABLE)


def _gguf(template: str, tensors: bytes = b"", count: int = 0) -> bytes:
    key = b"tokenizer.chat_template"
    body = template.encode()
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(body)) + body
    return b"GGUF" + struct.pack("<IQQ", 3, count, 1) + pair + tensors


CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m.content | trim }}{% endfor %}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
        "{{ x['__globals__'] }}",
        '{{ x["\\x5f_init_\\u005f"] }}',
        "{% include '/etc/passwd' %}",
        "{% import 'x' as y %}",
        "{{ lipsum.__globals__.os }}",
        "{{ cycler.next }}",
        "{{ '{0.a}'.format(x) }}",
        "{% set a = '__cl' ~ 'ass__' %}",
        "{{ x.os.system('true') }}",
    ],
)
def test_templates_that_walk_into_python_are_found(template: str) -> None:
    for scan in (scan_bytes(_gguf(template)), scan_bytes(json.dumps({"chat_template": template}).encode())):
        assert scan.verdict in (Verdict.MALICIOUS, Verdict.SUSPICIOUS)
        assert "template-injection" in _rules(scan)


def test_ordinary_chat_templates_are_clean() -> None:
    long = (
        CHATML + "{% if not ns.x is defined %}{{ raise_exception('no') }}{% endif %}{{ m.content.split('</t>')[-1] }}"
    )
    for template in (CHATML, long, "{# __class__ #}{{ bos_token }}", "{% for _ in range(2) %}{% break %}{% endfor %}"):
        assert scan_bytes(_gguf(template)).verdict is Verdict.CLEAN
        named = [{"name": "default", "template": template}]
        assert scan_bytes(json.dumps({"chat_template": named}).encode()).verdict is Verdict.CLEAN


def test_gguf_tensors_past_the_end_are_found() -> None:
    tensor = struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 1000, 0, 0)
    assert "gguf-layout" in _rules(scan_bytes(_gguf(CHATML, tensor, 1)))
    assert scan_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0)).verdict is Verdict.UNSCANNABLE


def _keras(layer: object, name: str = "config.json") -> bytes:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": None}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, json.dumps(config))
        archive.writestr("metadata.json", "{}")
    return buffer.getvalue()


def _layer(name: str, module: str = "keras.layers", **config: object) -> dict[str, object]:
    return {"module": module, "class_name": name, "config": config, "registered_name": None}


def test_keras_layers_are_judged() -> None:
    assert scan_bytes(_keras(_layer("Dense", units=1))).verdict is Verdict.CLEAN
    assert "keras-lambda" in _rules(scan_bytes(_keras(_layer("Lambda"))))
    assert "keras-module" in _rules(scan_bytes(_keras(_layer("function", "subprocess"))))
    assert scan_bytes(_keras(_layer("X", "my_pkg.layers"))).verdict is Verdict.SUSPICIOUS
    assert "keras-vocabulary-path" in _rules(scan_bytes(_keras(_layer("StringLookup", vocabulary="/etc/passwd"))))
    assert scan_bytes(_keras(_layer("StringLookup", vocabulary=["a"]))).verdict is Verdict.CLEAN
    assert "keras-url" in _rules(scan_bytes(_keras(_layer("Dense", weights="https://x.test/w"))))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"auto_map": {"AutoModel": "modeling.Evil"}}', "remote-code"),
        ('{"trust_remote_code": true}', "remote-code"),
        ('{"_target_": "os.system", "command": "true"}', "config-imports"),
        ('{"py/object": "subprocess.Popen"}', "config-imports"),
        ('{"auto_map": {"AutoModel": "x.Evil"}, "auto_map": {}}', "remote-code"),
        ('{"model_config": "{\\"class_name\\": \\"Lambda\\", \\"config\\": {}}"}', "keras-lambda"),
        ('{"_class_name": "P", "_diffusers_version": "0", "unet": ["my_unet", "Net"]}', "remote-code"),
        ('[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]', "config-imports"),
        ('{"auto_mapping": {"base_model_class": "x", "parent_library": "subprocess"}}', "config-imports"),
        ('{"_attn_implementation": "someone/kernel"}', "remote-code"),
        ('{"nbformat": 4, "cells": []}', "notebook"),
        ('{"lc": 1, "type": "secret", "id": ["AWS_SECRET"]}', "langchain-secret"),
        ("a: !apply:os.system [true]\n", "config-imports"),
        ("model:\n  target: os.system\n", "config-imports"),
        ("a: ${eval:'1'}\n", "config-expression"),
        ("# build\nFROM debian\nRUN true\n", "script"),
        ("import os\nos.system('true')\n", "python-danger"),
        ("from subprocess import run as r\nr(['true'])\n", "python-danger"),
        ('node {\n  name: "x"\n  op: "PyFunc"\n}\n', "tensorflow-operator"),
        ('layer { type: "Python" python_param { module: "x" } }', "caffe-python"),
        ("<html><script>alert(1)</script>", "html-script"),
        ('<!DOCTYPE a SYSTEM "https://h.test/x.dtd"><a/>', "xml-doctype"),
        ('{"nodes": [{"op": "Custom", "name": "x", "inputs": []}]}', "mxnet-custom"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "xml-entity"),
        ('<net><layers><layer type="X" version="mine"/></layers></net>', "openvino-extension"),
        ('{"weight_map": {"w": "../../x.safetensors"}}', "index-path"),
        ("a: !!python/object/apply:os.system [true]\n", "yaml-python-tag"),
        ("model:\n  _target_: os.system\n", "config-imports"),
        ("#!/bin/sh\nrm -r x\n", "script"),
        ("import os\nos.system('true')\n", "python-code"),
        ("x = 1\nexec('x')\n", "python-code"),
        ("# Nice.\n# Words.\n# Only.\nimport os\n", "python-code"),
        ('"""Nice.\nWords.\nOnly.\n"""\nimport os\n', "python-code"),
        ("a: !python/object/apply:os.system [true]\n", "yaml-tag"),
        ("%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.system [x]\n", "yaml-python-tag"),
    ],
)
def test_texts_that_make_tools_run_code_are_found(text: str, rule: str) -> None:
    scan = scan_bytes(text.encode())
    assert rule in _rules(scan), scan
    assert scan.verdict in (Verdict.MALICIOUS, Verdict.SUSPICIOUS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("README.md", "# A model\n\n```python\nimport os\nos.system('x')\n```\n\nDo not run that.\n"),
        ("LICENSE", "Apache License\nVersion 2.0\n"),
        ("merges.txt", "#version: 0.2\nt h\n"),
        ("vocab.txt", "[PAD]\n(\n)\n.\n"),
        ("config.json", '{"architectures": ["LlamaForCausalLM"], "hidden_size": 16}'),
        ("conda.yaml", "channels:\n- conda-forge\ndependencies:\n- python=3.11\n"),
        ("metrics.jsonl", '{"a": 1}\n{"a": 2}\n'),
        ("empty", ""),
    ],
)
def test_ordinary_texts_are_clean(name: str, text: str) -> None:
    assert scan_bytes(text.encode(), name).verdict is Verdict.CLEAN


def test_broken_yaml_and_deep_json_are_unscannable() -> None:
    assert scan_bytes(b"a: [1, 2\nb: {", "config.yaml").verdict is Verdict.UNSCANNABLE
    assert scan_bytes(b"[" * 100_000 + b"]" * 100_000).verdict is Verdict.UNSCANNABLE


def test_a_yaml_bomb_is_read_without_expanding_it() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    assert scan_bytes("\n".join(lines).encode(), "bomb.yaml").verdict is Verdict.CLEAN


def test_numpy_header_that_is_code_is_not_run() -> None:
    header = b"__import__('os').system('true')".ljust(117) + b"\n"
    assert scan_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header).verdict is Verdict.UNSCANNABLE
    buffer = io.BytesIO()
    np.save(buffer, np.arange(4))
    assert scan_bytes(buffer.getvalue()).verdict is Verdict.CLEAN
    assert scan_bytes(buffer.getvalue()[:-1]).verdict is Verdict.UNSCANNABLE
    assert scan_bytes(buffer.getvalue() + b"x").verdict is Verdict.UNSCANNABLE


def test_programs_are_suspicious_and_unknown_bytes_unscannable() -> None:
    assert scan_bytes(b"\x7fELF" + bytes(60)).verdict is Verdict.SUSPICIOUS
    unknown = scan_bytes(bytes(range(256)))
    assert unknown.verdict is Verdict.UNSCANNABLE
    assert "convert" in unknown.findings[0].message


def test_a_pickle_that_calls_itself_safetensors_is_found_out() -> None:
    assert "disguised" in _rules(scan_bytes(b"\x80\x04K\x01.", "weights/model.safetensors"))
    assert scan_bytes(b"\x80\x04K\x01.", "model.pkl").verdict is Verdict.CLEAN


def test_dangerous_pickle_bytes_in_an_unknown_file_are_seen() -> None:
    scan = scan_bytes(b"\x01\x02unknown\xff" + bytes(range(128, 256)) * 20 + b"cos\nsystem\n(tR." + bytes(range(32)))
    assert scan.verdict is Verdict.SUSPICIOUS
    assert "pickle-marker" in _rules(scan)


@pytest.mark.parametrize(
    "template",
    [
        "{{ '{#' }}{{ x.__class__ }}{{ '#}' }}",
        "{% raw %}{#{% endraw %}{{ x.__class__ }}{# #}",
        "{{ '}}' }}{{ x.__class__ }}",
        "{{ {'a': {}} }}{{ x.__class__ }}",
        "it's {{ x.__class__ }} it's",
        "{%- set a = x.__class__ -%}",
        "{{- '\\'' ~ x.__class__ }}",
    ],
)
def test_templates_cannot_hide_code_in_comments_strings_or_brackets(template: str) -> None:
    assert scan_bytes(json.dumps({"chat_template": template}).encode()).verdict is Verdict.MALICIOUS


def test_templates_that_do_not_end_are_unscannable_and_take_no_time() -> None:
    for template in ("{#" * 200_000, "{{" * 200_000, "{{ 'a", "{{ a ) }}", "{% raw %}" * 10_000):
        assert scan_bytes(json.dumps({"chat_template": template}).encode()).verdict in (
            Verdict.UNSCANNABLE,
            Verdict.CLEAN,
        )
    assert scan_bytes(b'{"chat_template": "{{ a ) }}"}').verdict is Verdict.UNSCANNABLE


def test_white_space_takes_no_time() -> None:
    for text in ("\n" * 500_000, "import a" + " " * 500_000 + "x", "class a" + " " * 500_000, "{" + " " * 500_000):
        assert scan_bytes(text.encode()).verdict in Verdict


def test_mlflow_models_that_import_a_loader_of_their_own_are_suspicious() -> None:
    text = "flavors:\n  python_function:\n    loader_module: {}\n"
    assert scan_bytes(text.format("mlflow.sklearn").encode(), "MLmodel").verdict is Verdict.CLEAN
    assert scan_bytes(text.format("evil.loader").encode(), "MLmodel").verdict is Verdict.SUSPICIOUS
