"""The datasets that an object names by annotation: what it is trained on, pinned by digest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse.core.evidence import ArtifactRef
from customhouse.core.resource import PREFIX, Manifest

DATASET = PREFIX + "dataset"
_POINTER = "/metadata/annotations/" + DATASET.replace("/", "~1")
_MOST = 32


def annotated_datasets(manifest: Manifest) -> tuple[ArtifactRef, ...]:
    """`customhouse.dev/dataset: sha256:…`, several separated by spaces; what is no digest is named and not pinned."""
    value: Any = manifest
    for key in ("metadata", "annotations", DATASET):
        # To ask an abstract class takes longer than all the rest.
        value = value.get(key) if type(value) is dict or isinstance(value, Mapping) else None
    if not isinstance(value, str):
        return ()
    found = []
    for text in value.split()[:_MOST]:
        digest = text.rpartition("@")[2]
        pinned = is_digest(digest)
        found.append(ArtifactRef("dataset", text[:512], digest if pinned else None, pinned, _POINTER))
    return tuple(found)
