"""Which distribution an image is of, by its os-release, and what OSV calls the ecosystem of its advisories.

Names of ecosystems: https://ossf.github.io/osv-schema/#defined-ecosystems
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from customhouse.trust.packages.found import Found, visible

_LINE = re.compile(r"\s*([A-Z][A-Z0-9_]*)=(.*?)\s*")
_CODENAMES = {"buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13", "forky": "14", "duke": "15"}
_BY_MAJOR = {"rocky": "Rocky Linux", "almalinux": "AlmaLinux", "mageia": "Mageia"}
_KINDS = {
    "deb": {"debian", "ubuntu"},
    "apk": {"alpine", "wolfi", "chainguard", "minimos"},
    "rpm": {"rhel", "fedora", "rocky", "almalinux", "centos", "suse", "opensuse", "opensuse-leap", "sles", "mageia",
            "photon", "azurelinux", "mariner", "openeuler", "amzn", "ol"},
}  # fmt: skip
_KNOWN = frozenset().union(*_KINDS.values())
_RELEASE_PACKAGES = {
    "debian": ("base-files",),
    "alpine": ("alpine-release", "alpine-base"),
    "rocky": ("rocky-release",),
    "almalinux": ("almalinux-release",),
}
"""Packages whose version is that of the release."""
_FAMILIES = {"debian": "Debian", "ubuntu": "Ubuntu", "alpine": "Alpine"}
_ROLLING = {"wolfi": "Wolfi", "chainguard": "Chainguard", "minimos": "MinimOS"}


@dataclass(frozen=True, slots=True)
class Distribution:
    """`identifier` and `version` as os-release has them (`debian`, `12`); `ecosystem` is OSV's word, if it has one."""

    identifier: str = ""
    version: str = ""
    name: str = ""
    ecosystem: str = ""
    like: tuple[str, ...] = ()
    """The identifiers of what it was made from."""

    def doubts(self, packages: Iterable[Found]) -> Iterator[str]:
        """What its packages say otherwise: advisories of another release would call them mended."""
        for found in packages:
            family = _KINDS.get(found.kind)
            if family and self.identifier in _KNOWN and not family & {self.identifier, *self.like}:
                yield f"it calls itself {self.name or self.identifier}, and has packages of kind {found.kind}"
                return
            if found.name in _RELEASE_PACKAGES.get(self.identifier, ()):
                said, own = _release(self.identifier, self.version), _release(self.identifier, found.version)
                if said != own and said[:1].isdigit():
                    yield f"it calls itself {self.name or self.identifier}, and {found.name} is that of {own}"


def read_release(text: str) -> dict[str, str]:
    """The fields of os-release (freedesktop.org); lines that are none are passed over, as shells do."""
    found: dict[str, str] = {}
    for line in text.splitlines()[:1000]:
        match = _LINE.fullmatch(line[:1000])
        if match is None:
            continue
        value = match[2]
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found[match[1]] = visible(value[:200])
    return found


def distribution_of(fields: Mapping[str, str]) -> Distribution:
    """The distribution. One that OSV does not know keeps its own name, of which nothing is known, and that is said."""
    identifier, version = fields.get("ID", "").lower(), fields.get("VERSION_ID", "")
    if identifier == "debian" and not version:
        version = _CODENAMES.get(fields.get("VERSION_CODENAME", "").lower(), "")
    name = fields.get("PRETTY_NAME") or " ".join(part for part in (fields.get("NAME", ""), version) if part)
    like = tuple(fields.get("ID_LIKE", "").lower().split())
    return Distribution(identifier, version, name, _ecosystem(identifier, version, fields), like)


def _release(identifier: str, version: str) -> str:
    """The part of a version that names the release: 12 of `12.4+deb12u5`, 3.19 of `3.19.1-r0`."""
    parts = re.split(r"[.+~-]", version)
    return ".".join(parts[:2]) if identifier == "alpine" else parts[0]


def _ecosystem(identifier: str, version: str, fields: Mapping[str, str]) -> str:
    major = version.partition(".")[0]
    if identifier in _ROLLING:
        return _ROLLING[identifier]
    if not re.fullmatch(r"[0-9][0-9A-Za-z._-]*", version):
        return _FAMILIES.get(identifier, identifier)
    if identifier == "debian":
        return f"Debian:{major}"
    if identifier == "ubuntu":
        long_term = "LTS" in fields.get("VERSION", "") or "LTS" in fields.get("PRETTY_NAME", "")
        return f"Ubuntu:{version}{':LTS' if long_term else ''}"
    if identifier == "alpine":
        # An edge image calls itself by the day (3.20_alpha…): no advisories are kept for that.
        match = re.fullmatch(r"(\d+\.\d+)(?:\.\d+)?", version)
        return f"Alpine:v{match[1]}" if match else "Alpine"
    if identifier in _BY_MAJOR:
        return f"{_BY_MAJOR[identifier]}:{major}"
    if identifier == "rhel":
        return f"Red Hat:enterprise_linux:{major}"
    others = {
        "opensuse-leap": f"openSUSE:Leap {version}",
        "photon": f"Photon OS:{version}",
        "azurelinux": f"Azure Linux:{major}",
        "openeuler": f"openEuler:{version}",
    }
    return others.get(identifier) or (f"{identifier}:{version}" if identifier else "")
