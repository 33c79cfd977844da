"""The Python libraries of this environment: versions, licences and what needs what, from their own metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from customhouse.core.errors import ArtifactError

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "BSD License": "BSD",
    "The Unlicense (Unlicense)": "Unlicense",
}


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of a library that is downloaded: its address and its digest (`sha256:…`, `sha512:…`)."""

    url: str
    digest: str


@dataclass(frozen=True, slots=True)
class Library:
    """A library. `licence` is an SPDX id or expression when its metadata has one, else its own words, else empty."""

    name: str
    version: str
    purl: str
    licence: str = ""
    requires: tuple[str, ...] = ()
    """Names (or package URLs) of the libraries it needs that are there too, sorted."""
    files: tuple[Archive, ...] = ()
    note: str = ""
    """Where it comes from when that is no public index: another index, a folder, a repository."""
    hints: tuple[tuple[str, str], ...] = ()
    """What to look at (`trust.dependency_hints`): kind and message."""


def installed_libraries(names: Iterable[str]) -> tuple[Library, ...]:
    """The named libraries and, transitively, what they need, sorted by name; extras are left out.

    A requirement under a marker counts when it is installed. Raises ArtifactError when a named one is not installed.
    """
    from importlib import metadata

    pending = [(plain_name(name), True) for name in names]
    found: dict[str, Library] = {}
    while pending:
        name, asked = pending.pop()
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            if asked:
                raise ArtifactError(
                    f"the library {name!r} is not installed", hint="install it or leave it out"
                ) from error
            continue
        needs = sorted({_needed(text) for text in distribution.requires or () if "extra ==" not in text} - {name, ""})
        version = distribution.version
        found[name] = Library(
            name, version, f"pkg:pypi/{name}@{version}", _licence(distribution.metadata), tuple(needs)
        )
        pending.extend((need, False) for need in needs)
    return tuple(
        Library(
            item.name, item.version, item.purl, item.licence, tuple(name for name in item.requires if name in found)
        )
        for item in sorted(found.values(), key=lambda item: item.name)
    )


def environment_libraries(folder: Path) -> tuple[Library, ...]:
    """Everything that is installed in a Python environment (its folder, or a `site-packages`), by its own metadata.

    Raises ArtifactError when no packages are there.
    """
    from importlib import metadata

    places = [folder] if folder.name == "site-packages" else sorted(folder.glob("lib*/python3*/site-packages"))
    found: dict[str, Library] = {}
    for item in metadata.distributions(path=[str(place) for place in places]) if places else ():
        name = plain_name(item.metadata["Name"] or "")
        if not name or name in found:
            continue
        needs = sorted({_needed(text) for text in item.requires or () if "extra ==" not in text} - {name, ""})
        found[name] = Library(
            name, item.version, f"pkg:pypi/{name}@{item.version}", _licence(item.metadata), tuple(needs)
        )
    if not found:
        raise ArtifactError(
            "no Python packages are installed here", where=str(folder), hint="name a virtual environment's folder"
        )
    return tuple(
        replace(item, requires=tuple(need for need in item.requires if need in found))
        for item in sorted(found.values(), key=lambda item: item.name)
    )


def plain_name(name: str) -> str:
    """PEP 503: runs of `-_.` are one dash, lower case."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(requirement: str) -> str:
    match = _REQUIREMENT.match(requirement)
    return plain_name(match[1]) if match else ""


def _licence(fields: object) -> str:
    get_all = getattr(fields, "get_all", None)
    if get_all is None:
        return ""
    return licence_of(
        str(next(iter(get_all("License-Expression") or ()), "")),
        [str(line) for line in get_all("Classifier") or ()],
        str(next(iter(get_all("License") or ()), "")),
    )


def licence_of(expression: str, classifiers: Iterable[str], text: str) -> str:
    """The licence by a package's metadata: its expression, else its classifiers, else its own words if they are few."""
    if expression:
        return expression
    named = [line.rpartition(" :: ")[2] for line in classifiers if "License ::" in line]
    known = sorted({_CLASSIFIERS.get(name, name) for name in named if name != "OSI Approved"})
    if known:
        return " OR ".join(known)
    text = text.strip()
    return text if len(text) <= 60 and "\n" not in text else ""
