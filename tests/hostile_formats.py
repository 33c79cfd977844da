"""Hostile model files of every technique that advisories tell of, made here; every payload is harmless (`true`).

    for case in hostile_models(): case.technique, case.name, case.data
    python tests/hostile_formats.py FOLDER        # writes them, with a manifest.json

Techniques follow public advisories: nullifAI (7z, broken pickles), picklescan's bypasses (flags, checksums, names),
CVE-2025-1550, 8747, 9905, 9906, 12058, 49655 (Keras), CVE-2024-34359 (templates), CVE-2022-25882 (ONNX paths),
CVE-2023-47248 (Arrow), CVE-2025-54412, 54413, 54886 (skops), CVE-2025-23304 (Hydra targets), and others.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from hostile_containers import CONTAINERS, TEXT, sevenzipped, tarred, torched, zipped
from protobuf_writer import field, onnx_model, onnx_node


@dataclass(frozen=True, slots=True)
class Hostile:
    """One file. `blind`: it cannot be looked into by anyone without a key or a rare tool; unscannable is right."""

    technique: str
    name: str
    data: bytes
    blind: bool = False


class _Call:
    """Pickles as a call of a named function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call  # type: ignore[return-value]


def _payloads() -> dict[str, bytes]:
    """Pickles that would run `true`."""
    system, run = import_module("os").system, import_module("builtins").eval
    return {
        "system-p0": pickle.dumps(_Call(system, "true"), 0),
        "system-p4": pickle.dumps({"w": _Call(system, "true")}, 4),
        "eval-p2": pickle.dumps([_Call(run, "0")], 2),
        "broken-after": pickle.dumps(_Call(system, "true"), 2)[:-1] + b"\xff\xff",
        "stack-global": b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93\x8c\x04true\x85R.",
    }


def _packed() -> Iterator[Hostile]:
    for payload, data in _payloads().items():
        for container, (name, wrap) in CONTAINERS.items():
            yield Hostile(f"{container}:{payload}", name, wrap(data))
    payload = _payloads()["system-p4"]
    yield Hostile("7z-ppmd", "model.7z", sevenzipped(payload, method="ppmd"), blind=True)
    yield Hostile("rar", "model.rar", b"Rar!\x1a\x07\x01\x00" + bytes(64), blind=True)
    yield from _archives()


def _archives() -> Iterator[Hostile]:
    for name in ("../evil", "/etc/cron.d/x", "a/../../b", "C:\\x", "..\\..\\x", "~/x"):
        yield Hostile("zip-traversal", "m.zip", zipped({name: TEXT}))
        yield Hostile("tar-traversal", "m.tar", tarred({name: TEXT}))
        yield Hostile("7z-traversal", "m.7z", sevenzipped(TEXT, name))
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../../x"), (tarfile.CHRTYPE, "")):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("link")
            entry.type, entry.linkname = kind, target
            archive.addfile(entry)
        yield Hostile("tar-link", "m.tar", buffer.getvalue())
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zips:
        zips.writestr(link, "/etc/passwd")
    yield Hostile("zip-link", "m.zip", buffer.getvalue())
    whole = torched(b"N.")
    second = whole.rindex(b"PK\x01\x02")
    overlapped = bytearray(whole)
    overlapped[second + 42 : second + 46] = bytes(4)
    yield Hostile("zip-overlap", "m.pt", bytes(overlapped))
    nested = TEXT
    for _ in range(12):
        nested = zipped({"a.zip": nested}, zipfile.ZIP_STORED)
    yield Hostile("zip-nested-deep", "m.zip", nested, blind=True)


def _bombs() -> Iterator[Hostile]:
    zeros = gzip.compress(bytes(80 << 20), 9)
    yield Hostile("bomb-gzip", "m.gz", zeros)
    yield Hostile("bomb-zip-of-zips", "m.zip", zipped({f"{n}.gz": zeros for n in range(3)}))


# Keras


def _keras_parts(layer: dict[str, object]) -> dict[str, bytes]:
    config = {"class_name": "Sequential", "module": "keras", "registered_name": None}
    config["config"] = {"name": "s", "layers": [layer] if layer else []}  # type: ignore[assignment]
    return {"config.json": json.dumps(config).encode(), "metadata.json": b'{"keras_version": "3.9.0"}'}


def _layer(name: str, module: str = "keras.layers", **config: object) -> dict[str, object]:
    return {"class_name": name, "module": module, "config": config, "registered_name": None}


def _keras() -> Iterator[Hostile]:
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None, "closure": None}}
    function = {"class_name": "function", "registered_name": "function"}
    layers: list[tuple[str, dict[str, object]]] = [
        ("lambda", _layer("Lambda", function=code)),
        ("lambda-as-activation", _layer("Dense", units=1, activation=code)),
        ("lambda-nested", _layer("Sequential", "keras", layers=[_layer("TimeDistributed", layer=_layer("Lambda"))])),
        ("torch-module", _layer("TorchModuleWrapper", module="UEsDBA==")),
        ("saved-model-layer", _layer("TFSMLayer", filepath="/tmp/other")),
        ("saved-model-relative", _layer("TFSMLayer", filepath="other")),
        ("jax", _layer("JaxLayer", call_fn=code)),
        ("custom-object", {**_layer("Mine", ""), "module": None, "registered_name": "mine>Mine"}),
        ("custom-module", _layer("Mine", "my_package.layers")),
        ("url", _layer("Dense", weights="https://example.test/w")),
    ]
    layers += [
        (f"module-{module}", {**function, "module": module, "config": name})
        for module, name in (
            ("os", "system"), ("subprocess", "run"), ("builtins.x", "eval"), ("pickle", "loads"), ("shutil", "rmtree"),
            ("importlib", "import_module"), ("keras.utils", "get_file"), ("keras.src.utils.file_utils", "get_file"),
            ("keras.config", "enable_unsafe_deserialization"), ("keras.saving", "load_model"),
            ("keras.src.saving.saving_api", "load_model"), ("keras.models", "load_model"), ("ctypes", "CDLL"),
            ("tensorflow.keras.utils", "get_file"), ("numpy.testing._private.utils", "runstring"),
        )
    ]  # fmt: skip
    layers += [
        (f"vocabulary-{kind}", _layer(kind, vocabulary=path))
        for kind in ("StringLookup", "IntegerLookup", "TextVectorization")
        for path in ("/etc/passwd", "../../secret.txt", "https://example.test/v", "file:///etc/passwd")
    ]
    layers += [
        (f"operation-{function}", _layer("TFOpLambda", function=function))
        for function in ("io.read_file", "io.write_file", "raw_ops.WriteFile", "load_op_library", "py_function")
    ]
    for technique, layer in layers:
        yield Hostile(f"keras:{technique}", "model.keras", zipped(_keras_parts(layer)))
        yield Hostile(f"keras-json:{technique}", "model.json", _keras_parts(layer)["config.json"])
        yield Hostile(f"keras-metadata:{technique}", "keras_metadata.pb", _keras_metadata(layer))
    compiled = json.loads(_keras_parts({})["config.json"])
    compiled["compile_config"] = {"optimizer": "adam", "loss": {**function, "module": "os", "config": "system"}}
    yield Hostile(
        "keras:compile", "m.keras", zipped({"config.json": json.dumps(compiled).encode(), "metadata.json": b"{}"})
    )


def _keras_metadata(layer: dict[str, object]) -> bytes:
    node = field(2, 1) + field(3, b"root") + field(4, b"_tf_keras_layer") + field(5, json.dumps(layer).encode())
    return field(1, node + field(6, field(1, 2)))


# Protocol buffers: ONNX, TensorFlow, Core ML


def _external(location: str) -> bytes:
    pair = field(1, b"location") + field(2, location.encode())
    return field(1, 2) + field(2, 1) + field(8, b"w") + field(13, pair) + field(14, 1)


OPERATORS = [
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "TextLineDataset",
    "TFRecordDataset",
    "LMDBDataset",
    "FixedLengthRecordDataset",
    "SqlDataset",
    "CSVDataset",
    "SaveDataset",
    "LoadDataset",
    "SnapshotDataset",
    "WholeFileReaderV2",
    "RpcClient",
    "GeneratorDataset",
    "InitializeTableFromTextFileV2",
    "DecodeProtoV2",
    "MatchingFilesDataset",
    "DumpTensor",
    "RpcServerRegister",
    "DistributedSave",
    "RegisterDatasetV2",
    "RecordInput",
    "DebugIdentityV2",
    "CreateSummaryFileWriter",
]


def _protobuf() -> Iterator[Hostile]:
    for path in (
        "/etc/passwd",
        "../../w",
        "a/../../w",
        "C:\\w",
        "\\\\host\\w",
        "file:///w",
        "https://h.test/w",
        "~/w",
        "",
    ):
        tensor = _external(path)
        inside = onnx_node("If", attribute=field(1, b"then") + field(6, field(5, tensor)))
        constant = onnx_node("Constant", attribute=field(1, b"value") + field(5, tensor))
        yield Hostile("onnx-external", "m.onnx", onnx_model(onnx_node("Add") + field(5, tensor)))
        yield Hostile("onnx-external-subgraph", "m.onnx", onnx_model(inside))
        yield Hostile("onnx-external-constant", "m.onnx", onnx_model(constant))
        yield Hostile(
            "onnx-external-training", "m.onnx", onnx_model(onnx_node("Add"), field(20, field(1, field(5, tensor))))
        )
        yield Hostile("onnx-external-sparse", "m.onnx", onnx_model(onnx_node("Add") + field(15, field(1, tensor))))
    for operator, domain in (
        ("PyOp", "ai.onnx.contrib"),
        ("X", "mine.domain"),
        ("Evil", ""),
        ("EPContext", "com.microsoft"),
    ):
        yield Hostile("onnx-operator", "m.onnx", onnx_model(onnx_node(operator, domain)))
        function = field(25, field(1, b"f") + field(10, b"local") + field(7, onnx_node(operator, domain)[2:]))
        yield Hostile("onnx-function", "m.onnx", onnx_model(onnx_node("f", "local"), function))
    huge = field(1, 1 << 40) + field(2, 1) + field(8, b"w") + field(9, b"abcd")
    yield Hostile("onnx-huge", "m.onnx", onnx_model(onnx_node("Add") + field(5, huge)))
    for operator in OPERATORS:
        node = field(1, field(1, b"n") + field(2, operator.encode()))
        library = field(2, field(1, field(1, field(1, b"f")) + field(3, field(1, b"n") + field(2, operator.encode()))))
        yield Hostile("tensorflow-graph", "graph.pb", node)
        yield Hostile("tensorflow-saved-model", "saved_model.pb", field(1, 1) + field(2, field(2, node)))
        yield Hostile("tensorflow-function", "saved_model.pb", field(1, 1) + field(2, field(2, library)))
        yield Hostile("tensorflow-text", "g.pbtxt", f'node {{\n  name: "n"\n  op: "{operator}"\n}}\n'.encode())
        yield Hostile("tflite-flex", "m.tflite", tflite_model(f"Flex{operator}"))
    yield Hostile("tflite-custom", "m.tflite", tflite_model("MyOperator"))
    custom = field(555, field(10, b"MyClass"))
    linked = field(556, field(1, field(1, field(1, b"../other"))))
    network = field(500, field(1, field(1, b"l") + field(500, field(10, b"MyLayer"))))
    for technique, model in (("custom", custom), ("linked", linked), ("layer", network)):
        whole = field(1, 4) + field(2, field(1, b"")) + model
        yield Hostile(f"coreml-{technique}", "m.mlmodel", whole)
        pipeline = field(1, 4) + field(2, b"\x0a\x00") + field(202, field(1, whole))
        yield Hostile(f"coreml-pipeline-{technique}", "m.mlmodel", pipeline)


def tflite_model(operator: str) -> bytes:
    """The smallest TFLite model with one custom operator: FlatBuffers written by hand, back to front not needed."""
    name = operator.encode()
    text = struct.pack("<I", len(name)) + name + b"\x00" * (4 - len(name) % 4)
    root_vtable = struct.pack("<HHHHHHH", 14, 12, 4, 8, 0, 0, 0) + b"\x00\x00"
    # 0 root offset, 4 identifier, 8 vtable (16), 24 root: soffset, version, offset of codes
    root = struct.pack("<iII", 16, 3, 4)
    codes = struct.pack("<II", 1, 16)  # 36: one code; its table is 16 behind 40
    code_vtable = struct.pack("<HHHHHH", 12, 12, 8, 4, 0, 0)  # 44: builtin code at 8, custom at 4
    code = struct.pack("<iIbxxx", 12, 8, 32)  # 56
    return struct.pack("<I", 24) + b"TFL3" + root_vtable + root + codes + code_vtable + code + text


# Texts and templates


INJECTIONS = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x.__init__.__globals__['os'].popen('true') }}",
    "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
    "{{ x|attr('__class__') }}",
    "{{ x|attr('__cla' ~ 'ss__') }}",
    "{{ x['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends '../../x' %}",
    "{%- set a = lipsum.__globals__ -%}",
    "{{ self._TemplateReference__context }}",
    "{{ namespace.__init__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{# {{ #}{{ ()|attr('__class__') }}",
    "{{ messages.__getattribute__('x') }}",
    "{{ raise_exception.__globals__ }}",
)
TEXTS = (
    ("hf-auto-map", "config.json", '{"auto_map": {"AutoConfig": "configuration.Evil"}}'),
    ("hf-auto-map-other-repository", "config.json", '{"auto_map": {"AutoModel": "evil/repo--modeling.Evil"}}'),
    ("hf-trust", "config.json", '{"trust_remote_code": true}'),
    ("hf-custom-pipelines", "config.json", '{"custom_pipelines": {"x": {"impl": "evil.Pipe"}}}'),
    ("hf-duplicate", "config.json", '{"auto_map": {"a": "b.C"}, "auto_map": null}'),
    ("hf-kernel", "config.json", '{"_attn_implementation": "evil/kernel"}'),
    ("hf-index", "model.safetensors.index.json", '{"weight_map": {"w": "../../x"}}'),
    ("diffusers-module", "model_index.json", '{"_class_name": "P", "_diffusers_version": "0", "vae": ["evil", "N"]}'),
    ("diffusers-class", "model_index.json", '{"_class_name": ["pipeline", "P"], "_diffusers_version": "0"}'),
    ("st-module", "modules.json", '[{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]'),
    ("st-path", "modules.json", '[{"idx": 0, "name": "0", "path": "../x", "type": "sentence_transformers.X"}]'),
    ("peft", "adapter_config.json", '{"auto_mapping": {"base_model_class": "C", "parent_library": "evil"}}'),
    ("hydra", "config.yaml", "model:\n  _target_: os.system\n  command: 'true'\n"),
    ("hydra-json", "config.json", '{"_target_": "builtins.eval", "_args_": ["0"]}'),
    ("hydra-partial", "config.json", '{"a": [{"_partial_": true, "_target_": "subprocess.run"}]}'),
    ("ldm-target", "config.yaml", "model:\n  target: subprocess.run\n  params: {}\n"),
    ("lightning", "config.yaml", "class_path: os.system\n"),
    ("omegaconf", "config.yaml", "a: ${eval:'0'}\n"),
    ("jsonpickle", "model.json", '{"py/object": "subprocess.Popen"}'),
    ("jsonpickle-reduce", "model.json", '{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]}'),
    ("langchain", "prompt.json", '{"lc": 1, "type": "constructor", "id": ["langchain", "x"], "kwargs": {}}'),
    ("langchain-secret", "prompt.json", '{"lc": 1, "type": "secret", "id": ["HOME"]}'),
    ("langchain-jinja", "prompt.json", '{"template_format": "jinja2", "template": "{{ x.__class__ }}"}'),
    ("mlflow-loader", "MLmodel", "flavors:\n  python_function:\n    loader_module: evil\n"),
    ("yaml-apply", "config.yaml", "!!python/object/apply:os.system ['true']\n"),
    ("yaml-new", "config.yaml", "a: !!python/object/new:os.system ['true']\n"),
    ("yaml-name", "config.yaml", "a: !!python/name:os.system\n"),
    ("yaml-tag-directive", "config.yaml", "%TAG ! tag:yaml.org,2002:python/\n---\n!object/apply:os.system ['true']\n"),
    ("yaml-verbatim", "x.txt", "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n"),
    ("speechbrain", "hyperparams.yaml", "a: !apply:os.system ['true']\n"),
    ("speechbrain-new", "hyperparams.yaml", "a: !new:subprocess.Popen\n    args: 'true'\n"),
    ("speechbrain-include", "hyperparams.yaml", "a: !include:../../x.yaml\n"),
    ("python", "modeling.py", "import os\nos.system('true')\n"),
    ("python-plain", "modeling.py", "class A:\n    pass\n"),
    ("python-exec", "setup.py", "import base64\nexec(base64.b64decode('MA=='))\n"),
    ("python-nameless", "weights", "from os import system as s\ns('true')\n"),
    ("python-path-file", "x.pth", "import os; os.system('true')\n"),
    ("shell", "run.sh", "true\n"),
    ("shell-nameless", "weights", "#!/bin/sh\ntrue\n"),
    ("docker", "Dockerfile", "FROM debian\nRUN true\n"),
    ("docker-nameless", "build", "FROM debian\nRUN true\n"),
    ("notebook", "train.ipynb", '{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": ["0"]}]}'),
    ("html", "card.html", "<html><script>0</script></html>"),
    ("svg", "logo.svg", '<svg xmlns="http://www.w3.org/2000/svg"><script>0</script></svg>'),
    ("svg-event", "logo.svg", '<svg xmlns="http://www.w3.org/2000/svg" onload="0"/>'),
    ("xml-entity", "model.pmml", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
    ("xml-laughs", "model.pmml", '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;">]><a>&c;</a>'),
    ("openvino", "model.xml", '<net><layers><layer id="0" type="X" version="evil"/></layers></net>'),
    ("caffe", "model.prototxt", 'layer { type: "Python" python_param { module: "evil" layer: "E" } }'),
    ("skops-eval", "schema.json", '{"__class__": "eval", "__module__": "builtins", "__loader__": "FunctionNode"}'),
    (
        "skops-operator",
        "schema.json",
        '{"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode"}',
    ),
    (
        "skops-method",
        "schema.json",
        '{"__class__": "A", "__module__": "sklearn.x", "__loader__": "MethodNode", "content": {"func": "a.__init__"}}',
    ),
    ("skops-loader", "schema.json", '{"__class__": "list", "__module__": "builtins", "__loader__": "EvilNode"}'),
)  # fmt: skip


def _texts() -> Iterator[Hostile]:
    for technique, name, text in TEXTS:
        yield Hostile(technique, name, text.encode())
    for index, template in enumerate(INJECTIONS):
        text = template.encode()
        yield Hostile(f"template-gguf-{index}", "m.gguf", _gguf("tokenizer.chat_template", text))
        yield Hostile(f"template-named-{index}", "m.gguf", _gguf("tokenizer.chat_template.tool_use", text))
        yield Hostile(
            f"template-json-{index}", "tokenizer_config.json", json.dumps({"chat_template": template}).encode()
        )
        several = {"chat_template": [{"name": "default", "template": "{{ x }}"}, {"name": "rag", "template": template}]}
        yield Hostile(f"template-list-{index}", "tokenizer_config.json", json.dumps(several).encode())
        yield Hostile(f"template-file-{index}", "chat_template.jinja", text)
        yield Hostile(f"template-yaml-{index}", "c.yaml", json.dumps({"chat_template": template}).encode()[1:-1])
    yield Hostile("gguf-version-1", "m.gguf", _gguf("tokenizer.chat_template", INJECTIONS[0].encode(), version=1))
    hydra = json.dumps({"_target_": "os.system"}).encode()
    yield Hostile("gguf-json", "m.gguf", _gguf("tokenizer.huggingface.json", hydra))


def _gguf(key: str, value: bytes, version: int = 3) -> bytes:
    size = "<I" if version == 1 else "<Q"
    head = b"GGUF" + struct.pack("<I", version) + struct.pack(size, 0) + struct.pack(size, 1)
    return (
        head + struct.pack(size, len(key)) + key.encode() + struct.pack("<I", 8) + struct.pack(size, len(value)) + value
    )


# Tensors that lie


def _tensors() -> Iterator[Hostile]:
    def safetensors(header: str | bytes, body: bytes = b"", length: int | None = None) -> bytes:
        raw = header.encode() if isinstance(header, str) else header
        return struct.pack("<Q", len(raw) if length is None else length) + raw + body

    tensor = '{"w":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}%s}'
    for technique, data in {
        "header-length": safetensors("{}", length=1 << 60),
        "outside": safetensors(tensor % (0, 400, ""), bytes(4)),
        "backwards": safetensors(tensor % (4, 0, ""), bytes(4)),
        "wrong-size": safetensors(tensor % (0, 8, ""), bytes(8)),
        "hole": safetensors(tensor % (8, 12, ""), bytes(12)),
        "trailing": safetensors(tensor % (0, 4, ""), bytes(4) + _payloads()["system-p4"]),
        "overlap": safetensors(tensor % (0, 4, ',"v":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}'), bytes(6)),
        "metadata-target": safetensors('{"__metadata__":{"config":"{\\"_target_\\":\\"os.system\\"}"}}'),
        "metadata-template": safetensors(json.dumps({"__metadata__": {"chat_template": INJECTIONS[0]}})),
        "metadata-kind": safetensors('{"__metadata__":{"a":1}}'),
        "huge-shape": safetensors(
            '{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', bytes(4)
        ),
    }.items():
        yield Hostile(f"safetensors-{technique}", "m.safetensors", data)
    place = struct.pack("<Q", 1) + b"w" + struct.pack("<I", 1)
    for technique, data in {
        "counts": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
        "text-length": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62),
        "array-length": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 1 << 62),
        "array-nested": b"GGUF"
        + struct.pack("<IQQQ", 3, 0, 1, 1)
        + b"k"
        + struct.pack("<I", 9)
        + struct.pack("<IQ", 9, 1) * 99,
        "outside": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + place + struct.pack("<QIQ", 1 << 30, 0, 0) + bytes(64),
        "overflow": b"GGUF"
        + struct.pack("<IQQ", 3, 1, 0)
        + place
        + struct.pack("<QIQ", 1 << 62, 0, 1 << 63)
        + bytes(64),
        "dimensions": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + place[:-4] + struct.pack("<I", 1 << 30),
        "kind": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + place + struct.pack("<QIQ", 1, 999, 0),
    }.items():
        yield Hostile(f"gguf-{technique}", "m.gguf", data, blind=technique not in ("outside", "overflow"))
    yield Hostile("arrow-pickled-type", "t.parquet", _parquet(b"arrow.py_extension_type"))
    for technique, head in (
        ("elf", b"\x7fELF\x02"),
        ("pe", b"MZ\x90\x00"),
        ("mach-o", b"\xcf\xfa\xed\xfe"),
        ("wasm", b"\x00asm"),
    ):
        yield Hostile(f"program-{technique}", "model.bin", head + bytes(200))


def _parquet(metadata: bytes) -> bytes:
    footer = b"\x15\x04" + metadata + b"\x00"
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def hostile_models(*, bombs: bool = True) -> Iterator[Hostile]:
    """All of them, in a fixed order; bombs take a second to pack."""
    yield from _packed()
    if bombs:
        yield from _bombs()
    yield from _keras()
    yield from _protobuf()
    yield from _texts()
    yield from _tensors()


def main() -> None:
    """Write the files and a manifest."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, case in enumerate(hostile_models()):
        name = f"{index:04d}-{case.name}"
        (folder / name).write_bytes(case.data)
        rows.append({"file": name, "technique": case.technique, "label": "malicious", "size": len(case.data)})
    (folder / "manifest.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
