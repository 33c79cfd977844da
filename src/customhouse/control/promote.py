"""Promotion: what makes a release in one environment is put into the declaration of the next, field by field.

What is carried: images of containers, models (storageUri, runtimeVersion) and the annotations that name a model's
digest, its data and its training; of what fetches a chart or an artifact, its version. What an environment has of its
own (replicas, resources, tiers, addresses) stays. Evidence needs no carrying: it is found by the digest, which is the
same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import PREFIX, Declaration
from customhouse.core.workload import MODEL_DIGEST, workload

_CARRIED = (MODEL_DIGEST, PREFIX + "dataset", PREFIX + "training-run")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*(?::[A-Za-z0-9_./@-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_MISSING = object()


def promotion(source: Declaration, target: Declaration) -> tuple[FieldEdit, ...]:
    """The edits of `target` after which it runs what `source` runs; none when it does already.

    Raises DeclarationError when the two are not the same kind of thing: other containers, no model where one is.
    """
    if (source.ref.kind, source.ref.api_version) != (target.ref.kind, target.ref.api_version):
        raise DeclarationError(f"{source.ref} and {target.ref} are not of one kind", where=str(target.location))
    edits = []
    fetches = versions_of(source)
    if fetches and _names(source) != _names(target):
        raise DeclarationError(
            f"{source.ref} and {target.ref} fetch different things: {_names(source)} and {_names(target)}",
            where=str(target.location),
        )
    for pointer in fetches or _pointers(source):
        value, present = at(source.manifest, pointer), at(target.manifest, pointer)
        if value is _MISSING or value == present:
            continue
        if not isinstance(value, str) or not (present is _MISSING or isinstance(present, str)):
            raise DeclarationError(f"{pointer} is no text in both", where=str(source.location))
        edits.append(FieldEdit(pointer, scalar(value)))
    for name in _CARRIED:
        if name not in _annotations(source) and name in _annotations(target):
            raise DeclarationError(
                f"{target.ref} says {name}, and {source.ref} does not",
                where=str(target.location),
                hint="say it in both, or take it away: it is of another release",
            )
    return tuple(edits)


def versions_of(declared: Declaration) -> tuple[str, ...]:
    """Where an object says which version of a chart or an artifact it fetches; empty for what fetches none."""
    spec = declared.manifest.get("spec")
    match (declared.ref.api_version.rpartition("/")[0], declared.ref.kind):
        case ("helm.toolkit.fluxcd.io", "HelmRelease"):
            return ("/spec/chart/spec/version",)
        case ("source.toolkit.fluxcd.io", "OCIRepository"):
            return ("/spec/ref/digest", "/spec/ref/semver", "/spec/ref/tag")
        case ("argoproj.io", "Application"):
            several = spec.get("sources") if isinstance(spec, Mapping) else None
            listed = range(len(several)) if isinstance(several, (list, tuple)) else ()
            return tuple(f"/spec/sources/{number}/targetRevision" for number in listed) or (
                "/spec/source/targetRevision",
            )
    return ()


def _names(declared: Declaration) -> list[str]:
    """What it fetches, without the version."""
    spec = declared.manifest.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    chart = at(spec, "/chart/spec/chart"), at(spec, "/chart/spec/sourceRef/name"), spec.get("url")
    several = spec.get("sources")
    sources = several if isinstance(several, (list, tuple)) else [spec.get("source")]
    every = [
        *chart, *(one.get(key) for one in sources if isinstance(one, Mapping) for key in ("repoURL", "chart"))
    ]  # fmt: skip
    return [one for one in every if isinstance(one, str)]


def _pointers(source: Declaration) -> Iterator[str]:
    work = workload(source.manifest, source.ref)
    if work is None:
        raise DeclarationError(f"{source.ref} runs nothing", where=str(source.location))
    seen = set()
    for container in work.containers:
        seen.add(f"{container.pointer}/image")
        seen.add(f"{container.pointer}/runtimeVersion")
    seen.update(item.pointer for item in work.artifacts if item.role == "model")
    yield from sorted(seen)
    for name in _CARRIED:
        if name in _annotations(source):
            yield f"/metadata/annotations/{name.replace('~', '~0').replace('/', '~1')}"


def _annotations(declaration: Declaration) -> Mapping[str, Any]:
    found = declaration.manifest["metadata"].get("annotations")
    return found if isinstance(found, Mapping) else {}


def at(manifest: Any, pointer: str) -> Any:
    """What stands at a JSON pointer; a mark of its own, which is no text, where there is nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(manifest, Mapping) and key in manifest:
            manifest = manifest[key]
        elif isinstance(manifest, (list, tuple)) and key.isdigit() and int(key) < len(manifest):
            manifest = manifest[int(key)]
        else:
            return _MISSING
    return manifest


def scalar(value: str) -> str:
    """A text as YAML writes it."""
    return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else json.dumps(value)
