"""What a program wrote, as objects: read under limits like everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.render import expand, is_listed
from customhouse.control.rendering import CHART, TREE, Job
from customhouse.control.yaml_nodes import Limits
from customhouse.control.yaml_quick import quick_documents
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError

_ORIGIN = "config.kubernetes.io/origin"
OUTPUT_LIMITS = Limits(file_bytes=64 * 1024 * 1024, depth=64, nodes=2_000_000, characters=512 * 1024 * 1024)
"""Of what a program wrote: a root is as large as all files that it is made of."""


def objects_in(data: bytes, job: Job) -> Iterator[dict[str, Any]]:
    """The objects that a program wrote, read under limits like everything else."""
    label = f"{job.file} (rendered)"
    documents = quick_documents(yaml_nodes.decode(data, label, OUTPUT_LIMITS), OUTPUT_LIMITS)
    if documents is not None and not any(is_listed(item.value) for item in documents):
        yield from (item.value for item in documents)
        return
    reader = Reader(label, OUTPUT_LIMITS)
    for root in yaml_nodes.compose(yaml_nodes.decode(data, label, OUTPUT_LIMITS), label, OUTPUT_LIMITS):
        for item in expand(root, reader, label):
            if not isinstance(item.value, dict):
                raise DeclarationError("what is rendered is not a mapping", where=f"{job.file}:1:1")
            yield item.value


def declared_in(document: Any, file: str, depth: int) -> Iterator[dict[str, Any]]:
    """The objects in a Jsonnet document: one, a list of them, a List, or a mapping of names to any of these."""
    if isinstance(document, dict) and isinstance(document.get("kind"), str):
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            for item in document["items"]:
                yield from declared_in(item, file, depth + 1)
        elif is_listed(document) and not document["kind"].endswith("List"):
            raise DeclarationError(
                "kubectl and others take an object with a list `items` for a List, and apply what is in it",
                where=f"{file}:1:1",
                hint="write `apiVersion: v1` and `kind: List`, or take it out",
            )
        else:
            yield document
    elif isinstance(document, (dict, list)) and depth < 8:
        for item in document.values() if isinstance(document, dict) else document:
            yield from declared_in(item, file, depth + 1)
    elif document is not None:
        raise DeclarationError(
            "the Jsonnet document is neither an object nor a list or mapping of objects", where=f"{file}:1:1"
        )


def take_origin(value: dict[str, Any]) -> Mapping[str, Any]:
    """Take Kustomize's note of the origin out of an object."""
    metadata = value.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.pop(_ORIGIN, None) if isinstance(annotations, dict) else None
    if isinstance(metadata, dict) and annotations == {} and text is not None:
        del metadata["annotations"]
    if not isinstance(text, str):
        return {}
    try:
        read = [Reader(_ORIGIN).read(root).value for root in yaml_nodes.compose(text, _ORIGIN)]
    except DeclarationError:
        return {}
    return read[0] if read and isinstance(read[0], dict) else {}


def files_of_chart(job: Job) -> Iterator[str]:
    """The files of a chart that Helm renders, and those of other folders; an object beside them is nothing to it."""
    prefix = f"{job.root}/" if job.root else ""
    for name in job.files:
        first = name.removeprefix(prefix).partition("/")[0]
        if first in ("templates", "crds", "charts", CHART) or not name.startswith(prefix):
            yield name


def in_tree(path: Any) -> str | None:
    """`../tree/base/web.yaml`, as Kustomize counts from our outer folder, as a path of the tree."""
    prefix = f"../{TREE}/"
    return path[len(prefix) :] if isinstance(path, str) and path.startswith(prefix) else None
