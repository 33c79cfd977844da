"""Frameworks and their versions, as far as an object says them: by annotation, model format or image tag.

A rule compares `release`, the version as a list of numbers ([2, 4, 1]): Rego orders arrays element by element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from customhouse.core.podsets import PodSet
from customhouse.core.resource import PREFIX, Manifest
from customhouse.core.servers import framework_of
from customhouse.policy.reading import mapping, text

FRAMEWORK = PREFIX + "framework"
"""Annotation: `pytorch 2.4.1`, `pytorch:2.4.1` or `pytorch`; several with commas between."""
_VERSION = re.compile(r"v?(\d{1,6}(?:\.\d{1,6}){0,3})", re.ASCII)
_SHORT = 100


def frameworks(manifest: Manifest, sets: Sequence[PodSet]) -> list[dict[str, Any]]:
    """`[{"name","version","release","source","pointer"}]`, each once, sorted; `release` is null without a version."""
    found = [*_annotated(manifest), *_formats(sets), *_images(sets)]
    rows = {(name.lower()[:_SHORT], version[:_SHORT], source): pointer for name, version, source, pointer in found}
    return [
        {"name": name, "version": version or None, "release": release(version), "source": source, "pointer": pointer}
        for (name, version, source), pointer in sorted(rows.items())
    ]


def release(version: str) -> list[int] | None:
    """The numbers that a version begins with: `v2.4.1+cu121` is [2, 4, 1]; None when it begins with none."""
    match = _VERSION.match(version)
    return None if match is None else [int(part) for part in match[1].split(".")]


def _annotated(manifest: Manifest) -> Iterator[tuple[str, str, str, str]]:
    annotations = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    if annotations.get(FRAMEWORK) is None:
        return
    value = text(annotations, FRAMEWORK, "/metadata/annotations", "")
    for item in value.split(",")[:20]:
        name, _, version = item.strip().replace("==", " ").replace(":", " ").partition(" ")
        if name:
            yield name, version.strip(), "annotation", "/metadata/annotations/" + FRAMEWORK.replace("/", "~1")


def _formats(sets: Sequence[PodSet]) -> Iterator[tuple[str, str, str, str]]:
    for one in sets:
        model = one.pod.get("model")
        if not isinstance(model, Mapping):
            continue
        place = f"{one.pointer}/model"
        spec = mapping(model, "modelFormat", place)
        name = text(spec, "name", f"{place}/modelFormat", "")
        if name:
            version = text(spec, "version", f"{place}/modelFormat", "")
            yield name, version, "model format", f"{place}/modelFormat"
        runtime = text(model, "runtimeVersion", place, "")
        if runtime:
            yield text(model, "runtime", place, "") or name or "runtime", runtime, "runtime", f"{place}/runtimeVersion"


def _images(sets: Sequence[PodSet]) -> Iterator[tuple[str, str, str, str]]:
    for one in sets:
        for container in one.containers:
            found = framework_of(container.image) if container.image else None
            if found is not None:
                yield *found, "image", f"{container.pointer}/image"
