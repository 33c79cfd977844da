"""Names of ecosystems and packages: OSV's words, package URLs, and which of them mean the same.

A package URL is read by the package-url specification (ECMA-427): type, namespace, name, version, qualifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from customhouse.core.vulnerability import Package

MAX_PURL = 2048
_PURL_TYPES = {
    "pypi": "PyPI",
    "npm": "npm",
    "golang": "Go",
    "cargo": "crates.io",
    "maven": "Maven",
    "gem": "RubyGems",
    "nuget": "NuGet",
    "composer": "Packagist",
    "hex": "Hex",
    "pub": "Pub",
    "swift": "SwiftURL",
    "githubactions": "GitHub Actions",
    "bitnami": "Bitnami",
    "cran": "CRAN",
    "hackage": "Hackage",
    "conan": "ConanCenter",
    "opam": "opam",
    "julia": "Julia",
}
NO_PACKAGES = frozenset({"huggingface", "mlflow", "oci", "docker", "swid", "file", "github", "gitlab", "bitbucket"})
"""Types of package URLs that name models, images and repositories: no ecosystem has advisories by such names."""
DISTRIBUTIONS = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "alpine": "Alpine",
    "wolfi": "Wolfi",
    "chainguard": "Chainguard",
    "rocky": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "rhel": "Red Hat",
    "opensuse-leap": "openSUSE",
    "sles": "SUSE",
    "openeuler": "openEuler",
    "mageia": "Mageia",
    "azurelinux": "Azure Linux",
    "photon": "Photon OS",
}
"""ID of os-release → OSV's family."""
_SMALL = frozenset({"npm", "Go"})
_LOWER = frozenset({"NuGet", "Packagist", "GitHub Actions", "SwiftURL", "Hex", "Pub"}) | _SMALL
_RPM_FAMILIES = {
    "rocky": "Rocky Linux",
    "rockylinux": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "alma": "AlmaLinux",
    "opensuse": "openSUSE",
    "suse": "SUSE",
    "sles": "SUSE",
    "openeuler": "openEuler",
    "mageia": "Mageia",
    "azurelinux": "Azure Linux",
    "photon": "Photon OS",
    "redhat": "Red Hat",
    "rhel": "Red Hat",
}


@dataclass(frozen=True, slots=True)
class Purl:
    """A package URL, decoded. `qualifiers` have lower-case keys."""

    type: str
    namespace: str
    name: str
    version: str
    qualifiers: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """Namespace and name, as one text with `/`."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def read_purl(text: str) -> Purl:
    """A package URL. Raises ValueError, saying what is wrong with it."""
    if len(text) > MAX_PURL:
        raise ValueError(f"a package URL of {len(text)} characters")
    scheme, colon, rest = text.partition(":")
    if scheme.lower() != "pkg" or not colon:
        raise ValueError(f"{text[:80]!r} is no package URL (pkg:TYPE/NAME@VERSION)")
    rest = rest.lstrip("/").partition("#")[0]
    rest, _, query = rest.partition("?")
    kind, slash, rest = rest.partition("/")
    path, at, version = rest.rpartition("@")
    if not at or "/" in version:  # `pkg:npm/@scope/name` has an @ that begins no version
        path, version = rest, ""
    parts = [unquote(part) for part in path.split("/") if part]
    if not slash or not parts or not re.fullmatch(r"[A-Za-z][A-Za-z0-9.+-]*", kind):
        raise ValueError(f"{text[:80]!r} is no package URL (pkg:TYPE/NAME@VERSION)")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    qualifiers = {key.lower(): unquote(value) for key, _, value in pairs if value}
    return Purl(kind.lower(), "/".join(parts[:-1]), parts[-1], unquote(version), qualifiers)


def package_of(
    purl: str,
    *,
    file: str = "",
    line: int = 0,
    within: str = "",
    path: tuple[str, ...] = (),
    imports: frozenset[str] | None = None,
) -> Package | None:
    """The package that a package URL names; None for what is none (a model, an image, a repository).

    An ecosystem that is not known is the URL's type, as it stands. Raises ValueError for what is no package URL.
    """
    read = read_purl(purl)
    if read.type in NO_PACKAGES:
        return None
    ecosystem, name = _ecosystem(read), _name(read)
    source, source_version = _source(read)
    version = read.version
    epoch = read.qualifiers.get("epoch", "")
    if read.type == "rpm" and epoch.isdigit() and ":" not in version:
        version = f"{epoch}:{version}"
    return Package(
        name=name,
        version=version,
        ecosystem=ecosystem,
        purl=purl,
        file=file,
        line=line,
        within=within,
        source=source,
        source_version=source_version,
        path=path,
        imports=imports,
    )


def _ecosystem(read: Purl) -> str:
    if read.type in _PURL_TYPES:
        return _PURL_TYPES[read.type]
    if read.type in ("deb", "apk", "rpm"):
        return _distribution(read)
    return read.type


def _distribution(read: Purl) -> str:
    """`Debian:12`, `Ubuntu:22.04`, `Alpine:v3.19`; without a release where none is said."""
    said = read.qualifiers.get("distro", "")
    numbers = re.search(r"[0-9]+(?:\.[0-9]+)*", said)
    release = numbers[0] if numbers else ""
    vendor = read.namespace.partition("/")[0].lower()
    if read.type == "deb":
        family = {"ubuntu": "Ubuntu", "": "Debian", "debian": "Debian"}.get(vendor, vendor)
        return of_release(family, release)
    if read.type == "apk":
        family = {"alpine": "Alpine", "": "Alpine", "wolfi": "Wolfi", "chainguard": "Chainguard"}.get(vendor, vendor)
        return of_release(family, release)
    return of_release(_RPM_FAMILIES.get(vendor, vendor or "rpm"), release)


def of_release(family: str, release: str) -> str:
    """OSV's word for a release of a distribution: `Debian:12` of 12.4, `Alpine:v3.19` of 3.19.1, `Ubuntu:22.04`.

    `release` is VERSION_ID of os-release; without one the family alone, of which nothing can be decided.
    """
    if not release or family in ("Wolfi", "Chainguard"):
        return family
    major, _, rest = release.removeprefix("v").partition(".")
    if family == "Debian":
        return f"Debian:{major}"
    if family == "Alpine":
        return f"Alpine:v{major}.{rest.partition('.')[0]}" if rest else f"Alpine:v{major}"
    if family in ("Rocky Linux", "AlmaLinux"):
        return f"{family}:{major}"
    return f"{family}:{release}"


def _name(read: Purl) -> str:
    if read.type == "maven":
        return f"{read.namespace}:{read.name}"
    if read.type in ("deb", "apk", "rpm"):
        return read.name
    if read.type == "golang" and read.full_name == "std":  # as CycloneDX's tool for Go has it
        return "stdlib"
    return read.full_name


def _source(read: Purl) -> tuple[str, str]:
    """Syft's qualifier `upstream`: the source package of a distribution's, with its version where it is another."""
    if read.type not in ("deb", "apk", "rpm"):
        return "", ""
    name, _, version = read.qualifiers.get("upstream", "").partition("@")
    return (name, version) if read.type != "rpm" else ("", "")


def family_of(ecosystem: str) -> str:
    """The ecosystem without its release."""
    return ecosystem.partition(":")[0]


def canonical(ecosystem: str) -> str:
    """One spelling of an ecosystem and its release: Ubuntu's `:LTS` and Maven's default repository are left out."""
    family, _, release = ecosystem.partition(":")
    if family == "Ubuntu":
        return f"{family}:{release.removesuffix(':LTS')}" if release else family
    if family == "Maven":
        return family
    return ecosystem


def name_key(family: str, name: str) -> str:
    """The one spelling of a name among those that the ecosystem takes for equal."""
    if family == "PyPI":  # PEP 503
        return re.sub(r"[-_.]+", "-", name).lower()
    if family == "crates.io":
        return name.lower().replace("_", "-")
    return name.lower() if family in _LOWER else name


def same_name(family: str, package: str, advisory: str) -> bool:
    """Whether two names of one key are the same. Package URLs of npm and Go are written in small letters by some tools.

    So a package in small letters may be any of that key; one with capitals is itself alone (npm has `JSONStream` and
    `jsonstream`, by other people).
    """
    return family not in _SMALL or package == advisory or package == package.lower()


def has_release(family: str) -> bool:
    """Whether advisories of this family go by release: then a package without one cannot be decided."""
    return family in ("Debian", "Ubuntu", "Alpine", "Rocky Linux", "AlmaLinux", "Red Hat", "SUSE", "openSUSE")


def concerns(package: str, advisory: str) -> bool:
    """Whether an advisory of one ecosystem is about packages of the other: the release is the same, or none is said."""
    left, right = canonical(package), canonical(advisory)
    return left == right or right == family_of(left)
