"""Containers: one typed reading of what a container asks for, and how one is known by its look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse._kit.frozen import quickly_made
from customhouse._kit.quantity import parse_bytes, parse_milli
from customhouse.core.devices import devices_of
from customhouse.core.errors import DeclarationError
from customhouse.core.evidence import ArtifactRef
from customhouse.core.fields import amount, items, mapping, text

_BESIDE_AN_IMAGE = frozenset(
    {
        "name",
        "command",
        "args",
        "env",
        "envFrom",
        "resources",
        "ports",
        "volumeMounts",
        "securityContext",
        "imagePullPolicy",
        "workingDir",
        "livenessProbe",
        "readinessProbe",
    }
)


@quickly_made
@dataclass(frozen=True, slots=True)
class Container:
    """One container. CPU in millicores, memory in bytes; 0 means: not set. `pointer` is its place in the manifest."""

    name: str
    image: str
    pointer: str
    cpu_request: int
    cpu_limit: int
    memory_request: int
    memory_limit: int
    accelerators: int
    init: bool = False
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    """Names of the extended resources that `accelerators` counts."""
    device_part: Fraction | None = Fraction(1)
    """Which part of each device is asked for (shares by percent); None: it cannot be told."""
    claims: tuple[str, ...] = ()
    """Names of the pod's resource claims that it uses."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Literal values only; values by reference are not resolved here."""
    source: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """What stands at `pointer`, where it was read from that."""


def containers_of(pod: Mapping[str, Any], pointer: str) -> Iterator[Container]:
    """The init containers and containers of a PodSpec at `pointer`."""
    for key in ("initContainers", "containers"):
        for index, item in enumerate(items(pod, key, pointer)):
            place = f"{pointer}/{key}/{index}"
            if not isinstance(item, Mapping):
                raise DeclarationError("a container is not a mapping", where=place)
            yield container_of(item, place, init=key == "initContainers", name=text(item, "name", place))


def container_of(
    item: Mapping[str, Any], pointer: str, *, init: bool, name: str, resources: str = "resources"
) -> Container:
    """One container; `resources` is the key under which it says what it needs."""
    place = f"{pointer}/{resources}"
    declared = mapping(item, resources, pointer)
    limits = mapping(declared, "limits", place)
    requests = {**limits, **mapping(declared, "requests", place)}
    devices = devices_of(requests, place)
    # A sidecar (initContainer with restartPolicy Always) runs beside the others, so it counts with them.
    return Container(
        name=name,
        image=text(item, "image", pointer),
        pointer=pointer,
        cpu_request=amount(parse_milli, requests, "cpu", place),
        cpu_limit=amount(parse_milli, limits, "cpu", place),
        memory_request=amount(parse_bytes, requests, "memory", place),
        memory_limit=amount(parse_bytes, limits, "memory", place),
        accelerators=devices.count,
        devices=devices.names,
        device_part=devices.part,
        claims=tuple(_claims(declared, place)),
        init=init and item.get("restartPolicy") != "Always",
        command=tuple(str(word) for word in items(item, "command", pointer)),
        arguments=tuple(str(word) for word in items(item, "args", pointer)),
        environment={
            str(entry["name"]): str(entry.get("value", ""))
            for entry in items(item, "env", pointer)
            if isinstance(entry, Mapping) and "name" in entry and "valueFrom" not in entry
        },
        source=item,
    )


def images_of(containers: tuple[Container, ...] | list[Container]) -> Iterator[ArtifactRef]:
    """The images that containers name, each with its pin."""
    for container in containers:
        if container.image:
            _, at, tail = container.image.rpartition("@")
            digest = tail if at and is_digest(tail) else None
            yield ArtifactRef("image", container.image, digest, digest is not None, f"{container.pointer}/image")


def looks_like_container(value: Any) -> bool:
    """Whether a mapping of an unknown kind is a container: it names an image, and what only containers have."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("image"), str)
        and not _BESIDE_AN_IMAGE.isdisjoint(key for key in value if isinstance(key, str))
    )


def _claims(declared: Mapping[str, Any], place: str) -> Iterator[str]:
    for index, entry in enumerate(items(declared, "claims", place)):
        if not isinstance(entry, Mapping):
            raise DeclarationError("an entry of claims is not a mapping", where=f"{place}/claims/{index}")
        yield text(entry, "name", f"{place}/claims/{index}")
