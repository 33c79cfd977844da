"""What readers give: packages as they are named where they lie, and what could not be read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from urllib.parse import quote

_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Controls, marks of direction, and halves of characters."""
MAX_PACKAGES = 100_000
"""Of one file; a list with more is none."""
_MAX_LACKING = 50
MAX_TEXT = 512
"""Characters of a name or a version; longer ones are no names."""

LANGUAGES: Mapping[str, str] = {
    "pypi": "PyPI",
    "npm": "npm",
    "golang": "Go",
    "cargo": "crates.io",
    "maven": "Maven",
    "gem": "RubyGems",
    "composer": "Packagist",
    "nuget": "NuGet",
    "conda": "conda",  # no word of OSV's; what conda installs of Python has metadata of its own
}
"""Kinds of packages (types of package URLs) to OSV's ecosystems. Those of distributions need the distribution."""
SYSTEMS = ("deb", "apk", "rpm")


class UnreadListError(Exception):
    """A list of packages cannot be understood; the text says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """One package. `kind` is the type of its package URL; `source` what its distribution built it from."""

    kind: str
    name: str
    version: str
    source: str = ""
    source_version: str = ""
    architecture: str = ""
    licence: str = ""
    note: str = ""
    """What else is to be known: vendored by another, replaced, only declared."""
    requires: tuple[str, ...] = ()

    def purl(self, distribution: str = "", release: str = "") -> str:
        """The package URL; for packages of a distribution its name (`debian`) and release (`12`) stand in it."""
        kind, name, marks = self.kind, self.name, {}
        if kind in SYSTEMS:
            kind, name = self.kind, f"{distribution or 'unknown'}/{name}"
            marks = {"arch": self.architecture, "distro": f"{distribution}-{release}" if release else ""}
            if self.source and (self.source, self.source_version) != (self.name, self.version):
                other = self.source_version if self.source_version != self.version else ""
                marks["upstream"] = f"{self.source}@{other}" if other else self.source
        elif kind == "maven":
            name = name.replace(":", "/")
        elif kind == "golang" and self.version[:1].isdigit() and self.name != "stdlib":
            return f"pkg:golang/{quote(name, safe='/._-~')}@v{_part(self.version)}"
        shown = "/".join(_part(part) for part in name.split("/"))
        query = "&".join(f"{key}={quote(text, safe='._-~')}" for key, text in sorted(marks.items()) if text)
        version = f"@{_part(self.version)}" if self.version else ""
        return f"pkg:{kind}/{shown}{version}{'?' + query if query else ''}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes it the same package."""
        return (self.kind, self.name, self.version, self.architecture)

    def to_json(self) -> dict[str, Any]:
        """The fields that say something."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Found:
        """The inverse of `to_json`. Raises TypeError, ValueError, KeyError."""
        texts = {name: str(said.get(name, "")) for name in _TEXTS}
        return cls(**texts, requires=tuple(str(item) for item in said.get("requires", ())))


_TEXTS = tuple(item.name for item in fields(Found) if item.name != "requires")


@dataclass(slots=True)
class Reading:
    """What one file gave."""

    packages: list[Found] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Why the packages of this file are not, or not all, known."""
    owned: list[str] = field(default_factory=list)
    """Paths of files that a distribution's package brought, without the leading slash; only those worth knowing."""
    release: dict[str, str] = field(default_factory=dict)
    """The fields of os-release."""
    remarks: list[str] = field(default_factory=list)
    """Worth saying; changes nothing."""

    def lack(self, why: str) -> None:
        """Say that a package is not known, and go on with the others."""
        if len(self.unread) < _MAX_LACKING:
            self.unread.append(why)

    def add(self, found: Found) -> None:
        """Add a package; a name or version that is none is said instead. Raises UnreadListError for too many."""
        if not found.name or len(found.name) > MAX_TEXT or len(found.version) > MAX_TEXT:
            self.lack(f"a package without a name, or with one of over {MAX_TEXT} characters")
        elif visible(found.name + found.version) != found.name + found.version:
            self.lack(f"a package whose name or version has characters that none has: {found.name[:80]!a}")
        elif len(self.packages) >= MAX_PACKAGES:
            raise UnreadListError(f"more than {MAX_PACKAGES} packages")
        else:
            self.packages.append(found)


def visible(text: str) -> str:
    """A stranger's text so that it drives no terminal and is text everywhere: controls and the like are escaped."""
    return text if text.isascii() and text.isprintable() else _ODD.sub(lambda match: ascii(match[0])[1:-1], text)


def _part(text: str) -> str:
    return quote(text, safe="._-~:")
