"""What the rules see of device claims: which cards the claims of a workload ask for, by the DeviceClasses declared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from customhouse.core.claims import GROUP, DeviceNeed, Said, claims_of, device_class, device_needs
from customhouse.core.errors import DeclarationError
from customhouse.core.podsets import pod_sets
from customhouse.core.resource import Declaration, Manifest

_CLAIMS = ("ResourceClaim", "ResourceClaimTemplate")


class ClaimIndex:
    """The claims and device classes among some Declarations."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str, str], Manifest] = {}
        self._declared: dict[str, Manifest] = {}

    def add(self, item: Declaration) -> None:
        """Take in a Declaration."""
        ref = item.ref
        if not ref.api_version.startswith(f"{GROUP}/"):
            return
        if ref.kind == "DeviceClass":
            self._declared[ref.name] = item.manifest
        elif ref.kind in _CLAIMS:
            self._claims[ref.kind, ref.namespace, ref.name] = item.manifest

    @cached_property
    def _classes(self) -> Mapping[str, Said]:
        found = {}
        for name, manifest in self._declared.items():
            with suppress(DeclarationError):
                found[name] = device_class(manifest)
        return found

    def about(self, item: Declaration) -> dict[str, Any]:
        """`claimed`, only of claims, and of what names some: the devices that each asks for, also instead of others."""
        ref = item.ref
        if ref.kind in _CLAIMS and ref.api_version.startswith(f"{GROUP}/"):
            rows = _rows(ref.name, device_needs(item.manifest, self._classes))
        else:
            rows = self._of_pods(item)
        found = _together(rows)
        return {"claimed": found} if found else {}

    def _of_pods(self, item: Declaration) -> Iterator[dict[str, Any]]:
        for one in pod_sets(item.manifest, item.ref.api_version, item.ref.kind):
            for kind, name, _ in claims_of(one.pod, one.pointer):
                manifest = self._claims.get((kind, item.ref.namespace, name))
                if manifest is not None:
                    with suppress(DeclarationError):  # refused where it is judged itself
                        yield from _rows(name, device_needs(manifest, self._classes))


def _together(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for alike ones, with their sum: none is left out, since rules ask whether there is any."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(value for name, value in row.items() if name != "count")
        if key in found:
            found[key]["count"] += row["count"]
        else:
            found[key] = row
    return list(found.values())


def _rows(claim: str, needs: tuple[DeviceNeed, ...]) -> Iterator[dict[str, Any]]:
    for need in needs:
        for choice, one in enumerate((need, *need.others)):
            yield {
                "claim": claim,
                "device_class": one.device_class,
                "accelerator": one.name,
                "count": one.count,
                "preferred": choice == 0,
            }
