"""Claims: what dynamic resource allocation (resource.k8s.io v1, v1beta1, v1beta2) asks for, and which card that is.

A request names a DeviceClass and selectors in CEL; the selectors of the class hold too. No engine runs here: of an
expression that is a conjunction the comparisons with a product, a MIG profile and a type are read. What is not said so
is unknown, and what is unknown has no price. Attributes are those of the NVIDIA driver (k8s-dra-driver-gpu:
`productName`, `profile`, `type`), of others by the same names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from customhouse.core.devices import UNKNOWN_ACCELERATOR, accelerator_class
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import count, items, look, mapping, text
from customhouse.core.mig import mig_part
from customhouse.core.node_terms import PRODUCTS
from customhouse.core.resource import Manifest, ResourceRef

GROUP = "resource.k8s.io"
_ATTRIBUTES = r"device\.attributes(?:\.[A-Za-z_]\w*|\[(?:\"[^\"]*\"|'[^']*')\])*?"
_AT = _ATTRIBUTES + r"(?:\.|\[[\"'])"
_VALUE = r"(?:[\"']\])?(?:\.lowerAscii\(\))?\s*(==\s*|\.(?:matches|contains)\(\s*)[\"']([^\"'\\]{1,100})[\"']\s*\)?"
_PRODUCT = re.compile(rf"{_AT}(?:productName|type|model){_VALUE}")
_PROFILE = re.compile(rf"{_AT}profile{_VALUE}")
_NO_PRODUCTS = ("gpu", "mig", "vfio", "tpu")
"""What drivers call the kind of a device, beside its product."""
_LONGEST = 10_000
_UNSURE = ("||", "!", "?", "\\", "//", '"""', "'''")
"""What makes more of an expression than a conjunction, or hides a part of it: escapes, comments, texts over lines."""
_MOST_CHOICES = 8
"""The API takes at most eight alternatives of a request."""
_MANAGED = "serving.kserve.io/exp-dra-"
"""KServe makes the claim itself, from annotations: `device-class`, `device-count` and `cel-selector`."""
_WHOLE_DEVICES = ("gpu.nvidia.com", "gpu.amd.com", "gpu.intel.com", "gpu.resource.nvidia.com", "gpu.example.com")
"""Device classes of drivers that hand out whole cards of a class that only a selector names."""


@dataclass(frozen=True, slots=True)
class DeviceNeed:
    """Devices that a claim asks for: `name` is their accelerator class, `unknown` where nothing names a product."""

    device_class: str
    name: str
    count: int
    part: Fraction | None = Fraction(1)
    """Which part of a card each is; None: it cannot be told."""
    others: tuple[DeviceNeed, ...] = ()
    """What is taken when this is not to be had, in their order."""

    @property
    def cards(self) -> Fraction | None:
        """Whole cards that it takes from others; None: it cannot be told."""
        return None if self.part is None else self.count * self.part


@dataclass(frozen=True, slots=True)
class Said:
    """What selectors say of a device; empty where they say nothing."""

    product: str = ""
    profile: str = ""


def device_needs(manifest: Manifest, classes: Mapping[str, Said] | None = None) -> tuple[DeviceNeed, ...]:
    """What a ResourceClaim or a ResourceClaimTemplate asks for; `classes` is what is known of DeviceClasses.

    Of alternatives (`firstAvailable`) the first is the need, the others are `others`: the scheduler prefers the first.
    `allocationMode: All` says no number, so it is an unknown device.
    """
    spec = mapping(manifest, "spec", "")
    place = "/spec"
    if isinstance(spec.get("spec"), Mapping):
        spec, place = mapping(spec, "spec", place), "/spec/spec"
    devices = mapping(spec, "devices", place)
    place += "/devices"
    found = []
    for index, request in enumerate(items(devices, "requests", place)):
        at = f"{place}/requests/{index}"
        if not isinstance(request, Mapping):
            raise DeclarationError("a request is not a mapping", where=at)
        exact: Any = request.get("exactly")
        choices = items(request, "firstAvailable", at)
        ways = [exact] if isinstance(exact, Mapping) else [*choices[:_MOST_CHOICES]] or [request]
        needs = [_need(wanted, at, classes or {}) for wanted in ways]
        found.append(replace(needs[0], others=tuple(needs[1:])))
    return tuple(found)


def _need(wanted: Any, at: str, classes: Mapping[str, Said]) -> DeviceNeed:
    if not isinstance(wanted, Mapping):
        raise DeclarationError("a request is not a mapping", where=at)
    name = text(wanted, "deviceClassName", at)
    number = count(1 if wanted.get("count") is None else wanted["count"], "count", f"{at}/count")
    if text(wanted, "allocationMode", at) not in ("", "ExactCount"):
        return DeviceNeed(name, UNKNOWN_ACCELERATOR, number)
    if wanted.get("adminAccess") is True:  # it looks at devices that others hold, and takes none
        number = 0
    own, of_class = _said(items(wanted, "selectors", at), at), classes.get(name, Said())
    said = Said(own.product or of_class.product, own.profile or of_class.profile)
    accelerator = _accelerator(said, name, known=name in classes)
    part: Fraction | None = Fraction(1)
    if said.profile or name.startswith("mig."):
        part = mig_part(said.profile.lower(), accelerator)
    if wanted.get("capacity") is not None:  # a share of a device that several may have
        part = None
    return DeviceNeed(name, accelerator, number, part)


def device_class(manifest: Manifest) -> Said:
    """What the selectors of a DeviceClass say of its devices. Raises DeclarationError."""
    spec = mapping(manifest, "spec", "")
    return _said(items(spec, "selectors", "/spec"), "/spec")


def managed_needs(manifest: Manifest, ref: ResourceRef) -> tuple[DeviceNeed, ...]:
    """The devices that annotations of a KServe object ask for; KServe writes the claim, nobody else sees it."""
    if not ref.api_version.startswith("serving.kserve.io/"):
        return ()
    notes = mapping(mapping(manifest, "metadata", ""), "annotations", "/metadata")
    place = "/metadata/annotations"
    name = text(notes, f"{_MANAGED}device-class", place)
    if not name:
        return ()
    expression = text(notes, f"{_MANAGED}cel-selector", place)
    # A selector a line, as its samples write them; all of them hold.
    selectors = [{"cel": {"expression": line}} for line in expression.splitlines() if line.strip()]
    given = notes.get(f"{_MANAGED}device-count")
    number = count(1 if given is None else given, "device-count", place)
    return (_need({"deviceClassName": name, "count": number, "selectors": selectors}, place, {}),)


def claims_of(pod: Mapping[str, Any], pointer: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name, the pod's own name for it) of every claim that a pod names."""
    for item in items(pod, "resourceClaims", pointer):
        values = item if isinstance(item, Mapping) else {}
        template = values.get("resourceClaimTemplateName")
        name = template or values.get("resourceClaimName")
        yield "ResourceClaimTemplate" if template else "ResourceClaim", str(name), str(values.get("name"))


def _said(selectors: Any, place: str) -> Said:
    product = profile = ""
    for index, selector in enumerate(selectors):
        expression = look(selector, "/cel/expression")
        if not isinstance(expression, str):
            raise DeclarationError("a selector without an expression", where=f"{place}/selectors/{index}")
        # `a == "X" || b`, `!(…)` and `c ? a : b` name no product for sure.
        if any(sign in expression for sign in _UNSURE) or len(expression) > _LONGEST:
            continue
        for term in _conjuncts(expression):
            match = _PRODUCT.fullmatch(term)
            if match is not None and match[2].lower() not in _NO_PRODUCTS:
                product = product or (match[2] if match[1].startswith("=") else _one_name(match[2]))
            found = _PROFILE.fullmatch(term)
            profile = profile or (found[2] if found else "")
    return Said(product, profile)


def _conjuncts(expression: str) -> Iterator[str]:
    """What holds by itself: the parts between `&&` that stand in no parentheses and in no text, without their own.

    `(a == "X") == false`, `[a == "X"].size() == 1` and `'a == "X"' == b` hold for other devices too, and are one part.
    """
    depth, begin, quote, parts = 0, 0, "", list[str]()
    for index, sign in enumerate(expression):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth < 0:  # `(a == "X" && true) == (false)`, without what seemed to be around it
                return
        elif sign == "&" and not depth and expression.startswith("&&", index):
            parts.append(expression[begin:index])
            begin = index + 2
    whole = [part.strip() for part in (*parts, expression[begin:])]
    for part in whole:
        inner = part.removeprefix("(").removesuffix(")") if part.startswith("(") and part.endswith(")") else ""
        if len(whole) == 1 and inner and len(inner) < len(part) - 1:
            yield from _conjuncts(inner)
        else:
            yield inner.strip() if inner and not set(inner) & set("()&") else part


def _one_name(pattern: str) -> str:
    """The product that a pattern or a piece of a name is for; empty where devices of several classes may have it."""
    name = pattern.removeprefix("^").removeprefix(".*").removesuffix("$").removesuffix(".*")
    if set(name) & set(".*+?[](){}|^$"):
        return ""
    wanted = name.upper().replace(" ", "-").replace("_", "-")
    held = {accelerator_class(value).partition("-")[0] for value in PRODUCTS if wanted in value.upper()}
    return name if len(held) <= 1 else ""


def _accelerator(said: Said, name: str, *, known: bool) -> str:
    """The product that a simple selector names; the class of a driver that says itself what its devices are."""
    if said.product:
        return accelerator_class(said.product)
    if known or name.startswith("mig.") or name in _WHOLE_DEVICES or not name:
        return UNKNOWN_ACCELERATOR
    found = accelerator_class(name.replace(".", "-"))
    return found if found != name.replace(".", "-") else name
