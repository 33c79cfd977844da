"""Orders of versions, by the rules of each ecosystem: a version as a key that sorts.

`order_of("Debian:12")` gives a function from text to a key, None for an ecosystem whose order is not known here. The
function raises ValueError for what is no version: nobody may take that for "not affected".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from customhouse.trust.vulnerabilities.distribution_orders import apk, dpkg, rpm
from customhouse.trust.vulnerabilities.maven_order import maven
from customhouse.trust.vulnerabilities.package_orders import composer, nuget, rubygems

MAX_LENGTH = 256
"""Longer than any version that is published; what is longer is not looked at."""

Order = Callable[[str], Any]
"""From a version to a key; keys of one order compare with one another only."""

_SEMVER = re.compile(
    r"[v=\s]*([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]*)?"
)
_GO = re.compile(r"(?:go)?([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(?:(rc|beta)([0-9]+))?(?:[ +-].*)?")


@lru_cache(maxsize=65536)
def semver(text: str) -> tuple[Any, ...]:
    """Semantic Versioning 2.0.0, section 11; parts that are left out are 0, a leading `v` does not count.

    Build metadata has no weight, so Go's `+incompatible` has none. Go's pseudo-versions are pre-releases and sort by
    their time.
    """
    match = _SEMVER.fullmatch(_bounded(text))
    if match is None:
        raise ValueError(f"{text[:80]!r} is no semantic version")
    numbers = tuple(int(part or 0) for part in match.group(1, 2, 3))
    if match[4] is None:
        return (*numbers, (1,))
    words = tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in match[4].split("."))
    return (*numbers, (0, words))


@lru_cache(maxsize=8192)
def go(text: str) -> tuple[Any, ...]:
    """As `semver`; what the toolchain calls itself (`go1.21rc2`, `go1.20`) is read too, rc and beta as pre-releases.

    `+dirty` says that what was built is not what the version names; it cannot be told from the version itself.
    """
    bare = _bounded(text)
    toolchain = _GO.fullmatch(bare) if bare.startswith("go") or _SEMVER.fullmatch(bare) is None else None
    if toolchain is None:
        return semver(bare)
    major, minor, patch, word, number = toolchain.groups()
    return semver(f"{major}.{minor}.{patch or 0}" + (f"-{word}.{number}" if word else ""))


@lru_cache(maxsize=65536)
def pep440(text: str) -> Any:
    """PEP 440, by `packaging`."""
    from packaging.version import Version

    return Version(_bounded(text))


def _bounded(text: str) -> str:
    if not text or len(text) > MAX_LENGTH:
        raise ValueError("no version" if not text else f"a version of {len(text)} characters")
    return text


def _careful(order: Order) -> Order:
    @lru_cache(maxsize=65536)
    def bounded(text: str) -> Any:
        return order(_bounded(text))

    return bounded


_DPKG, _APK, _RPM, _MAVEN = _careful(dpkg), _careful(apk), _careful(rpm), _careful(maven)
_ORDERS: dict[str, Order] = {
    "PyPI": pep440,
    "npm": semver,
    "Go": go,
    "crates.io": semver,
    "Hex": semver,
    "Pub": semver,
    "SwiftURL": semver,
    "GitHub Actions": semver,
    "Julia": semver,
    "VSCode": semver,
    "Bitnami": semver,
    "Maven": _MAVEN,
    "NuGet": _careful(nuget),
    "RubyGems": _careful(rubygems),
    "Packagist": _careful(composer),
    "Debian": _DPKG,
    "Ubuntu": _DPKG,
    "Echo": _DPKG,
    "Alpine": _APK,
    "Alpaquita": _APK,
    "BellSoft Hardened Containers": _APK,
    "Chainguard": _APK,
    "Wolfi": _APK,
    "MinimOS": _APK,
    "Red Hat": _RPM,
    "Rocky Linux": _RPM,
    "AlmaLinux": _RPM,
    "SUSE": _RPM,
    "openSUSE": _RPM,
    "openEuler": _RPM,
    "Mageia": _RPM,
    "Azure Linux": _RPM,
    "Photon OS": _RPM,
}


def order_of(ecosystem: str) -> Order | None:
    """The order of an ecosystem, whatever its release is; None where it is not known."""
    return _ORDERS.get(ecosystem.partition(":")[0])
