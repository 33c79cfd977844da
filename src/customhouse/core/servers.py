"""Model servers that are known by their image: what they load from their arguments, and which framework they are.

Deployments of Triton, vLLM and the like name their model in an argument; nothing else in the object says that they
load one. Sources, as of 2026-11: the servers' own documentation of their command lines and images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from customhouse.core.containers import Container
from customhouse.core.evidence import ArtifactRef
from customhouse.core.resource import Manifest


@dataclass(frozen=True, slots=True)
class Server:
    """A server by the name of its image (the last part of the repository, or its last two)."""

    framework: str
    options: tuple[str, ...] = ()
    """Options whose value is a model or a repository of models."""
    variables: tuple[str, ...] = ()
    positional: str = ""
    """The word after which the model stands without an option: `vllm serve MODEL`."""


_VLLM = Server("vllm", ("--model",), ("VLLM_MODEL", "MODEL_ID"), "serve")
_TRITON = Server("triton", ("--model-repository", "--model-store"))
_TGI = Server("text-generation-inference", ("--model-id",), ("MODEL_ID",))
_TEI = Server("text-embeddings-inference", ("--model-id",), ("MODEL_ID",))
_TORCHSERVE = Server("torchserve", ("--models", "--model-store"))

SERVERS: Mapping[str, Server] = {
    "vllm-openai": _VLLM,
    "vllm-openai-rocm": _VLLM,
    "vllm-tpu": _VLLM,
    "vllm-neuron": _VLLM,
    "vllm": _VLLM,
    "llm-d": _VLLM,
    "llm-d-cuda": _VLLM,
    "tritonserver": _TRITON,
    "text-generation-inference": _TGI,
    "text-embeddings-inference": _TEI,
    "sglang": Server("sglang", ("--model-path", "--model"), ()),
    "lmdeploy": Server("lmdeploy", (), (), "api_server"),
    "llama.cpp": Server("llama.cpp", ("--model", "-m", "--hf-repo", "-hf", "--model-url", "-mu")),
    "torchserve": _TORCHSERVE,
    "serving": Server("tensorflow", ("--model_base_path", "--model_config_file"), ("MODEL_BASE_PATH",)),
    "tensorflow-serving": Server("tensorflow", ("--model_base_path", "--model_config_file")),
    "openvino-model-server": Server("openvino", ("--model_path", "--config_path")),
    "model_server": Server("openvino", ("--model_path", "--config_path")),
    "mlserver": Server("mlserver", (), ("MLSERVER_MODEL_URI",)),
    "huggingfaceserver": Server("huggingface", ("--model_id", "--model_dir"), ()),
    "sklearnserver": Server("sklearn", ("--model_dir",)),
    "xgbserver": Server("xgboost", ("--model_dir",)),
    "lgbserver": Server("lightgbm", ("--model_dir",)),
    "pmmlserver": Server("pmml", ("--model_dir",)),
    "paddleserver": Server("paddle", ("--model_dir",)),
}
# Images of which a framework's tag is the version, and that load no model by an argument.
_FRAMEWORKS: Mapping[str, str] = {
    "pytorch": "pytorch",
    "tensorflow": "tensorflow",
    "ray": "ray",
    "ray-ml": "ray",
    "ray-llm": "ray",
    "jax": "jax",
    "spark": "spark",
    "mxnet": "mxnet",
    "nemo": "nemo",
    "onnxruntime": "onnxruntime",
}
_PARENTS = {"serving": "tensorflow", "model_server": "openvino"}
"""Names that say too little alone: the folder that the image has to be in."""
_MOUNTED = ("/mnt/models", "/mnt/models/")
"""Where KServe puts what `storageUri` names: that is the model, and it is read there."""
_TAG = re.compile(r"(?:^|[-_])v?(\d{1,6}(?:\.\d{1,6}){0,3})(?![\w.]*\d{4}-\d\d)", re.ASCII)


def server_of(image: str) -> Server | None:
    """The known server that an image is; None when it is none of the table."""
    found = _named(image)
    return None if found is None else SERVERS.get(found)


def framework_of(image: str) -> tuple[str, str] | None:
    """(framework, version) of a well-known image by its tag; the version is empty when the tag names none."""
    repository = image.partition("@")[0]
    name = _named(image)
    if name is None:
        return None
    framework = SERVERS[name].framework if name in SERVERS else _FRAMEWORKS[name]
    last = repository.rpartition("/")[2]
    match = _TAG.search(last.partition(":")[2])
    return framework, match[1] if match else ""


def served_models(
    manifest: Manifest, container: Container, pinned: Callable[..., ArtifactRef]
) -> Iterator[ArtifactRef]:
    """The models that a container of a known server loads, each at the argument or variable that names it."""
    server = server_of(container.image)
    if server is None:
        return
    found: list[tuple[str, str]] = []
    for key, words in (("command", container.command), ("args", container.arguments)):
        found.extend(_by_words(server, words, f"{container.pointer}/{key}"))
    for variable in server.variables:
        value = container.environment.get(variable, "")
        if value:
            found.append((value, f"{container.pointer}/env"))
    for value, pointer in found:
        if value not in _MOUNTED and not value.startswith("{{"):
            yield pinned(manifest, value, pointer, annotated=len(found) == 1)


def _by_words(server: Server, words: tuple[str, ...], place: str) -> Iterator[tuple[str, str]]:
    # `sh -c "vllm serve X"` is one word that holds the others.
    for index, word in enumerate(words):
        inner = word.split()[:200] if " " in word else [word]
        if len(inner) > 1:
            yield from ((value, f"{place}/{index}") for value, _ in _by_words(server, tuple(inner), place))
            continue
        option, equals, value = word.partition("=")
        following = words[index + 1] if index + 1 < len(words) else ""
        if option in server.options:
            if equals and value:
                yield value, f"{place}/{index}"
            elif not equals and following and not following.startswith("-"):
                yield following, f"{place}/{index + 1}"
        elif word == server.positional and following and not following.startswith("-"):
            yield following, f"{place}/{index + 1}"


def _named(image: str) -> str | None:
    repository = image.partition("@")[0]
    folder, _, last = repository.rpartition("/")
    name = last.partition(":")[0].lower()
    if name in _PARENTS and not folder.lower().endswith(_PARENTS[name]):
        return None
    return name if name in SERVERS or name in _FRAMEWORKS else None
