"""Pod sets: every set of alike pods that an object declares, found by the table of kinds or by its look.

1. The places that the kind's row names, in its order.
2. In kinds whose API server keeps more than the row names: whatever else looks like a pod or a container. A kind of
   one's own, or a field that is newer than the table, is no way around the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from customhouse._kit.digest import is_digest
from customhouse._kit.frozen import quickly_made
from customhouse._kit.quantity import parse_bytes, parse_milli
from customhouse.core.containers import Container, container_of, containers_of, images_of, looks_like_container
from customhouse.core.datasets import annotated_datasets
from customhouse.core.devices import UNKNOWN_ACCELERATOR, classes, device_part, is_mig, is_spot
from customhouse.core.errors import DeclarationError
from customhouse.core.evidence import ArtifactRef
from customhouse.core.fields import amount, count, escaped, items, look, mapping, matches, text
from customhouse.core.kinds import Count, Form, Kind, Named, PodPlace, Term, kind_of
from customhouse.core.remembering import remembered
from customhouse.core.resource import PREFIX, Manifest
from customhouse.core.servers import served_models

MODEL_DIGEST = PREFIX + "model-digest"
"""Annotation that pins what a storageUri must hold when the URI itself cannot (`pvc://`, `s3://`)."""

MAX_SETS = 500
"""Sets of pods in one object; more is no declaration but an attack on the rules."""
_UNBOUNDED = 2**31 - 1
_COUNTS = ("replicas", "parallelism", "count", "numNodes")


@quickly_made
@dataclass(frozen=True, slots=True)
class PodSet:
    """Alike pods of an object: their spec at `pointer`, and how many there are at least and at most."""

    name: str
    pointer: str
    pod: Mapping[str, Any]
    containers: tuple[Container, ...]
    replicas_min: int
    replicas_max: int
    bounded: bool = True
    """False: nothing says how many there may be at most; `replicas_max` is then what is declared at least."""
    artifacts: tuple[ArtifactRef, ...] = ()
    found: bool = False
    """Found by its look, not by the table."""
    whole: tuple[int, int] = (0, 0)
    """What the pod as a whole reserves (`spec.resources`): millicores and bytes; 0 where only its containers say."""
    _told: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was worked out already: prices, rules and placement ask for it again and again."""

    @property
    def cpu(self) -> int:
        """Millicores one pod reserves: as a whole, the sum of its containers, or its largest init container."""
        own = _effective(self.containers, [container.cpu_request for container in self.containers])
        return max(own, self.whole[0])

    @property
    def memory(self) -> int:
        """Bytes one pod reserves."""
        own = _effective(self.containers, [container.memory_request for container in self.containers])
        return max(own, self.whole[1])

    @property
    def accelerators(self) -> int:
        """Accelerator devices of one pod, whole or in parts."""
        if "accelerators" not in self._told:
            each = [container.accelerators for container in self.containers]
            self._told["accelerators"] = _effective(self.containers, each)
        found: int = self._told["accelerators"]
        return found

    @property
    def accelerator_classes(self) -> tuple[str, ...]:
        """The classes of its devices, sorted; `unknown` where nothing names one."""
        if "classes" not in self._told:
            devices = tuple([device for container in self.containers for device in container.devices])
            self._told["classes"] = classes(self.pod, devices)
        found: tuple[str, ...] = self._told["classes"]
        return found

    @property
    def accelerator(self) -> str | None:
        """Its class: the first where there are several, a named one before `unknown`; None without accelerators."""
        found = self.accelerator_classes
        return next((name for name in found if name != UNKNOWN_ACCELERATOR), found[0] if found else None)

    @property
    def accelerator_share(self) -> Fraction | None:
        """Whole accelerators that one pod takes from others: parts of devices count as parts; None: cannot be told."""
        name = self.accelerator or UNKNOWN_ACCELERATOR
        parts: list[Fraction] = []
        for container in self.containers:
            part = container.device_part
            named = [device for device in container.devices if is_mig(device) or device.endswith(".shared")]
            if named:
                if len(container.devices) > 1:
                    return None
                part = device_part(named[0], self.pod, name)
            elif container.accelerators and part == 1:
                part = device_part(container.devices[0], self.pod, name)
            if part is None and container.accelerators:
                return None
            parts.append(container.accelerators * (Fraction(1) if part is None else part))
        running = sum((part for part, c in zip(parts, self.containers, strict=True) if not c.init), Fraction(0))
        return max([running, *(part for part, c in zip(parts, self.containers, strict=True) if c.init)])

    @property
    def spot(self) -> bool:
        """Whether its node selection requires interruptible capacity."""
        if "spot" not in self._told:
            self._told["spot"] = is_spot(self.pod)
        found: bool = self._told["spot"]
        return found


def pod_sets(manifest: Manifest, api_version: str, kind: str) -> tuple[PodSet, ...]:
    """Every set of pods of an object, in the order of the table, then of the object.

    Raises DeclarationError, with the JSON pointer in `where`, for what Kubernetes would refuse.
    """
    return remembered(_pod_sets, manifest, api_version, kind)


def _pod_sets(manifest: Manifest, api_version: str, kind: str) -> tuple[PodSet, ...]:
    row = kind_of(api_version, kind)
    found: list[PodSet] = []
    for place in () if row is None else row.pods:
        for owner_pointer, owner in _owners(manifest, place):
            one = _pod_set(manifest, place, owner_pointer, owner)
            if one is not None:
                found.append(one)
            if len(found) > MAX_SETS:
                raise DeclarationError(f"more than {MAX_SETS} sets of pods in one object", where=owner_pointer)
    if row is None or not row.closed:
        found.extend(_embedded(manifest, {item.pointer for item in found}))
    if row is not None and row.names and found:
        found[0] = replace(found[0], artifacts=(*named(manifest, row), *found[0].artifacts))
    if found and (data := annotated_datasets(manifest)):
        found[0] = replace(found[0], artifacts=(*found[0].artifacts, *data))
    return tuple(found)


def named(manifest: Manifest, row: Kind) -> tuple[ArtifactRef, ...]:
    """The models and data sets that a kind names outside of its containers.

    A digest annotation pins one model; where an object names several, only a digest in the address pins each.
    """
    found: list[tuple[Named, str, str]] = []
    for item in row.names:
        for pointer, value in matches(manifest, item.pattern):
            if not isinstance(value, str):
                raise DeclarationError(f"{value!r} is no address; write a text", where=pointer)
            if value:
                found.append((item, pointer, value))
    sole = sum(item.role == "model" for item, _, _ in found) == 1
    return tuple(
        pinned(manifest, value, pointer, role=item.role, annotated=sole and item.role == "model")
        for item, pointer, value in found
    )


def pinned(manifest: Manifest, uri: str, pointer: str, *, role: str = "model", annotated: bool = True) -> ArtifactRef:
    """An artifact with its pin: a digest at the end of its address, else the annotation of its object."""
    _, sign, tail = uri.rpartition("@")
    annotations = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    pin = tail if sign and is_digest(tail) else str(annotations.get(MODEL_DIGEST, "")) if annotated else ""
    digest = pin if is_digest(pin) else None
    return ArtifactRef(role, uri, digest, digest is not None, pointer)


def _owners(manifest: Manifest, place: PodPlace) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = False
    if place.listed and any(isinstance(value, (list, tuple)) for _, value in matches(manifest, place.listed)):
        return
    if place.owner == "/spec":  # where nearly every kind has its pods
        spec = manifest.get("spec")
        places: Iterable[tuple[str, Any]] = () if spec is None else (("/spec", spec),)
    else:
        places = matches(manifest, place.owner)
    for pointer, owner in places:
        if not isinstance(owner, Mapping):
            raise DeclarationError("not a mapping", where=pointer)
        found = True
        yield pointer, owner
    if place.required and not found:
        yield place.owner, {}


def _pod_set(manifest: Manifest, place: PodPlace, owner_pointer: str, owner: Mapping[str, Any]) -> PodSet | None:
    pointer = owner_pointer + place.pod
    pod: Any = owner
    walked = owner_pointer
    for part in place.pod.split("/")[1:]:
        pod, walked = mapping(pod, part, walked), f"{walked}/{part}"
    if not pod and not place.required:
        return None
    name = place.name
    if place.owner.endswith("/*") and name != "step":
        name = _called(owner, owner_pointer, name)
    containers: list[Container] = []
    artifacts: list[ArtifactRef] = []
    if place.form is Form.CONTAINER:
        if "image" not in pod and place.resources not in pod:
            return None
        containers.append(container_of(pod, pointer, init=False, name=name, resources=place.resources))
        pod = {**pod, **_selected(manifest, place.selection)}
    elif place.form is Form.ENGINE:
        pod, engine = _engine(pod, pointer)
        containers.append(engine)
    elif place.form is Form.STEP:
        pod, containers = _step(manifest, pod, pointer, place.defaults)
        name = text(pod, "name", pointer) or name
        if not containers:
            return None
    else:
        containers.extend(containers_of(pod, pointer))
        if place.form is Form.COMPONENT:
            _add_models(manifest, pod, pointer, containers, artifacts)
    for container in containers:
        artifacts.extend(served_models(manifest, container, pinned))
    artifacts.extend(images_of(containers))
    low, high, bounded = _replicas(manifest, owner, owner_pointer, place.count)
    whole = _whole(pod, pointer, containers) if place.form in (Form.POD, Form.COMPONENT) else (0, 0)
    return PodSet(name, pointer, pod, tuple(containers), low, high, bounded, tuple(artifacts), whole=whole)


def _whole(pod: Mapping[str, Any], pointer: str, containers: list[Container]) -> tuple[int, int]:
    """Pod-level resources, with the API server's default: a limit is a request only where no container has one."""
    if pod.get("resources") is None:
        return (0, 0)
    place = f"{pointer}/resources"
    declared = mapping(pod, "resources", pointer)
    requests, limits = mapping(declared, "requests", place), mapping(declared, "limits", place)

    def read(parse: Callable[[Any], int], name: str, contained: bool) -> int:
        given = amount(parse, requests, name, place)
        limit = amount(parse, limits, name, place)
        return given or (0 if contained else limit)

    return (
        read(parse_milli, "cpu", any(container.cpu_request for container in containers)),
        read(parse_bytes, "memory", any(container.memory_request for container in containers)),
    )


def _selected(manifest: Manifest, pattern: str) -> dict[str, Any]:
    """The node selection that overrides give a pod: of several the first, which the others may not contradict."""
    selectors = [
        mapping(override, "nodeSelector", pointer)
        for pointer, override in (matches(manifest, pattern) if pattern else ())
        if isinstance(override, Mapping) and override.get("nodeSelector")
    ]
    same = bool(selectors) and all(selector == selectors[0] for selector in selectors)
    return {"nodeSelector": selectors[0]} if same else {}


def _engine(config: Mapping[str, Any], pointer: str) -> tuple[Mapping[str, Any], Container]:
    """The engine of a VLLMRuntime: `gpu` is `nvidia.com/gpu`, the image is written in parts."""
    place = f"{pointer}/resources"
    asked = mapping(config, "resources", pointer)
    names = {"cpu": "cpu", "memory": "memory", "gpu": "nvidia.com/gpu"}
    requests = {names[key]: value for key, value in asked.items() if key in names}
    image = mapping(config, "image", pointer)
    registry, name = text(image, "registry", f"{pointer}/image"), text(image, "name", f"{pointer}/image")
    container = {"image": f"{registry}/{name}" if registry else name, "resources": {"requests": requests}}
    read = replace(container_of(container, pointer, init=False, name="vllm"), source=None)
    terms = items(config, "nodeSelectorTerms", pointer)
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    if not asked:
        raise DeclarationError("no resources", where=place, hint="write cpu, memory and gpu")
    return {**config, "affinity": {"nodeAffinity": required}, "tolerations": items(config, "toleration", pointer)}, read


def _called(owner: Mapping[str, Any], pointer: str, name: str) -> str:
    last = pointer.rpartition("/")[2]
    given = owner.get("groupName") or owner.get("name")
    own = given if isinstance(given, str) else "" if last.isdecimal() else last
    return f"{name} {own}"[:80] if own else name


def _add_models(
    manifest: Manifest,
    component: Mapping[str, Any],
    pointer: str,
    containers: list[Container],
    artifacts: list[ArtifactRef],
) -> None:
    """The model of a component of an InferenceService, and the container of the first API version."""
    # The first API version only: the API server drops the field from a later one.
    first = str(manifest.get("apiVersion", "")).endswith("/v1alpha2")
    custom = mapping(component, "custom", pointer) if first else {}
    if custom.get("container") is not None:
        place = f"{pointer}/custom/container"
        containers.append(container_of(mapping(custom, "container", f"{pointer}/custom"), place, init=False, name=""))
    own = not pointer.startswith("/spec/canary/")  # the annotation pins the model of what everybody is served
    for key in (key for key in component if key == "model" or _has_address(component[key])):
        place = f"{pointer}/{key}"
        model = mapping(component, key, pointer)
        containers.insert(0, container_of(model, place, init=False, name="kserve-container"))
        uri = text(model, "storageUri", place)
        if uri:
            artifacts.append(pinned(manifest, uri, f"{place}/storageUri", annotated=own))
    for index, entry in enumerate(items(component, "storageUris", pointer)):
        place = f"{pointer}/storageUris/{index}"
        if not isinstance(entry, Mapping):
            raise DeclarationError("an entry of storageUris is not a mapping", where=place)
        uri = text(entry, "uri", place)
        if uri:  # several addresses: the annotation cannot pin each
            artifacts.append(pinned(manifest, uri, f"{place}/uri", annotated=False))


def _has_address(value: Any) -> bool:
    return isinstance(value, Mapping) and "storageUri" in value


def _step(
    manifest: Manifest, template: Mapping[str, Any], pointer: str, defaults: str
) -> tuple[Mapping[str, Any], list[Container]]:
    """A template of an Argo Workflow as a pod; the settings of the workflow hold where it has none."""
    containers = []
    for key in ("initContainers", "sidecars"):
        for index, item in enumerate(items(template, key, pointer)):
            place = f"{pointer}/{key}/{index}"
            if not isinstance(item, Mapping):
                raise DeclarationError("a container is not a mapping", where=place)
            containers.append(container_of(item, place, init=key == "initContainers", name=text(item, "name", place)))
    for key in ("container", "script"):
        if template.get(key) is not None:
            place = f"{pointer}/{key}"
            containers.append(container_of(mapping(template, key, pointer), place, init=False, name="main"))
    group = mapping(template, "containerSet", pointer)
    containers.extend(containers_of({"containers": group.get("containers")}, f"{pointer}/containerSet"))
    shared = look(manifest, defaults)
    kept = ("nodeSelector", "affinity", "tolerations", "securityContext", "serviceAccountName", "hostNetwork",
            "automountServiceAccountToken", "priorityClassName", "volumes", "imagePullSecrets")  # fmt: skip
    inherited = {key: shared[key] for key in kept if isinstance(shared, Mapping) and shared.get(key) is not None}
    return {**inherited, **template}, containers


def _replicas(manifest: Manifest, owner: Mapping[str, Any], pointer: str, how: Count) -> tuple[int, int, bool]:
    """(at least, at most, whether that is a bound)."""

    def read(places: tuple[str, ...]) -> int | None:
        for place in places:
            root = place.startswith("^")
            value = look(manifest if root else owner, place.removeprefix("^"))
            if value is not None:
                name = place.rpartition("/")[2].replace("~1", "/")
                return count(value, name, place[1:] if root else pointer + place)
        return None

    if how.scaled_if and look(manifest, how.scaled_if.removeprefix("^")) is not True:
        fixed = read(how.fixed)
        low = high = how.default if fixed is None else fixed
        bounded = True
    else:
        least, most = read(how.low), read(how.high)
        low = how.default if least is None else least
        bounded = not how.unbounded or most not in (None, 0, _UNBOUNDED)
        high = max(low, 1) if how.unbounded else low
        if most is not None and bounded:
            high = max(low, most)
    if how.most and (limit := read((how.most,))):
        low, high = min(low, limit), min(high, limit)
    for terms in how.times:
        factor = _factor(owner, pointer, terms)
        low, high = low * factor, high * factor
    return low, high, bounded


def _factor(owner: Mapping[str, Any], pointer: str, terms: tuple[Term, ...]) -> int:
    for term in terms:
        value = look(owner, term.pointer)
        if value is None:
            continue
        number = count(value, term.pointer.rpartition("/")[2], pointer + term.pointer)
        over = look(owner, term.over) if term.over else None
        if over is not None:
            number //= max(1, count(over, term.over.rpartition("/")[2], pointer + term.over))
        off = term.less if not term.less_if or look(owner, term.less_if) is not None else 0
        return max(0, number - off)
    return 1


def _embedded(manifest: Manifest, known: set[str]) -> Iterator[PodSet]:
    """Step 2: pods by their look, below everything but metadata and status.

    A PodSpec is a mapping with a list of containers, whatever the list is called; a single container (an image beside
    a command, resources …) counts as a pod of its own. A count beside it or above it, up to its object, multiplies.
    """
    stack: list[tuple[Any, str, tuple[int, int]]] = [
        (manifest[key], f"/{escaped(key)}", (1, 1))
        for key in sorted(manifest, key=str, reverse=True)
        if key not in ("apiVersion", "kind", "metadata", "status")
    ]
    kept = 0
    while stack:
        value, pointer, scale = stack.pop()
        if pointer in known:
            continue
        if isinstance(value, (list, tuple)):
            stack.extend((item, f"{pointer}/{index}", scale) for index, item in reversed(list(enumerate(value))))
        elif isinstance(value, Mapping):
            scale = _counted(value, scale)
            lists = {key: value[key] for key in value if isinstance(key, str) and _is_container_list(key, value[key])}
            single = looks_like_container(value)
            if lists or single:
                containers = [*_listed(lists, pointer)]
                if single:
                    containers.append(container_of(value, pointer, init=False, name=str(value.get("name") or "")))
                kept += 1
                if kept > MAX_SETS:
                    raise DeclarationError(f"more than {MAX_SETS} sets of pods in one object", where=pointer)
                artifacts = tuple(images_of(containers))
                yield PodSet("embedded", pointer, value, tuple(containers), *scale, True, artifacts, found=True)
            rest = (key for key in sorted(value, key=str, reverse=True) if key not in lists)
            stack.extend((value[key], f"{pointer}/{escaped(key)}", scale) for key in rest)


def _is_container_list(key: str, value: Any) -> bool:
    """Under its usual name a list of mappings is enough: a patch of a pod may name no image."""
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, Mapping) for item in value)
        and (key.lower().endswith("containers") or any(looks_like_container(item) for item in value))
    )


def _listed(lists: Mapping[str, Any], pointer: str) -> Iterator[Container]:
    for key in sorted(lists):
        for index, item in enumerate(lists[key]):
            place = f"{pointer}/{escaped(key)}/{index}"
            init = key.lower().startswith("init")
            yield container_of(item, place, init=init, name=text(item, "name", place))


def _counted(value: Mapping[str, Any], scale: tuple[int, int]) -> tuple[int, int]:
    """The scale below a mapping that says how many of what it holds there are."""

    def number(*names: str) -> int | None:
        for name in names:
            given = value.get(name)
            if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < _UNBOUNDED:
                return given
        return None

    plain = number(*_COUNTS)
    least = number("minReplicas", "minReplicaCount")
    most = number("maxReplicas", "maxReplicaCount")
    low = least if least is not None else plain if plain is not None else 1
    high = max(low, most if most is not None else plain if plain is not None else 1)
    return min(scale[0] * low, _UNBOUNDED), min(scale[1] * high, _UNBOUNDED)


def _effective(containers: tuple[Container, ...], amounts: list[int]) -> int:
    if len(amounts) == 1:
        return max(amounts[0], 0)
    running = sum(number for number, c in zip(amounts, containers, strict=True) if not c.init)
    return max([running, *(number for number, c in zip(amounts, containers, strict=True) if c.init)])
