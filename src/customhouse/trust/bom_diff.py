"""What differs between two bills of materials (CycloneDX): model, weights, data, code, libraries, image, licences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse.core.errors import ArtifactError

KINDS = ("model", "weights", "dataset", "code", "base model", "library", "image", "licence")
"""In the order in which they are told."""
_CARD = ("task", "architectureFamily", "modelArchitecture")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was added, removed or changed; `before` and `after` in words, empty where it is not there."""

    kind: str
    name: str
    change: str
    before: str = ""
    after: str = ""

    def to_json(self) -> dict[str, str]:
        """One row."""
        return {"kind": self.kind, "name": self.name, "change": self.change, "before": self.before, "after": self.after}


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str] = ("before", "after")
) -> tuple[Difference, ...]:
    """All differences, by kind and name; none for equal documents, and none for their times and serial numbers.

    `names` are the files that they come from. Raises ArtifactError for what is no CycloneDX document.
    """
    left, right = _contents(before, names[0]), _contents(after, names[1])
    found: list[Difference] = []
    for kind in KINDS:
        found.extend(_sets(kind, left[kind], right[kind]))
    return tuple(found)


Contents = dict[str, dict[str, list[str]]]
"""By kind: by name: what it is in words; several for a library that is there in several versions."""


def _contents(document: Mapping[str, Any], which: str) -> Contents:
    if not isinstance(document, Mapping) or document.get("bomFormat") != "CycloneDX":
        raise ArtifactError("no CycloneDX bill of materials", where=which, hint="`customhouse model bom` writes one")
    found: Contents = {kind: {} for kind in KINDS}
    try:
        subject = document.get("metadata", {}).get("component", {})
        for name, text in _model(subject):
            found["model"].setdefault(name, []).append(text)
        for base in subject.get("pedigree", {}).get("ancestors", []):
            _add(found, "base model", str(base.get("name")), _identity(base))
        licences: set[str] = set(_licences(subject))
        for part in document.get("components", []):
            kind = _kind(part)
            _add(found, kind, _name(part, kind), _identity(part))
            licences |= set(_licences(part))
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ArtifactError(f"a malformed bill of materials: {error}", where=which) from error
    found["licence"] = {licence: [licence] for licence in licences}
    return found


def _add(found: Contents, kind: str, name: str, text: str) -> None:
    found[kind].setdefault(name, []).append(text)


def _model(subject: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The model itself, trait by trait."""
    yield "name", str(subject.get("name", ""))
    yield "version", str(subject.get("version", ""))
    yield "files", _hashes(subject)
    yield "licence", ", ".join(_licences(subject))
    yield "supplier", str(subject.get("supplier", {}).get("name", ""))
    card = subject.get("modelCard", {})
    parameters = card.get("modelParameters", {})
    for key in _CARD:
        yield key, str(parameters.get(key, ""))
    for side in ("inputs", "outputs"):
        yield side, "; ".join(str(item.get("format")) for item in parameters.get(side, []))
    for item in card.get("quantitativeAnalysis", {}).get("performanceMetrics", []):
        place = f" ({item['slice']})" if item.get("slice") else ""
        yield f"metric {item.get('type')}{place}", str(item.get("value", ""))
    for item in card.get("properties", []):
        yield str(item.get("name")), str(item.get("value", ""))


def _kind(part: Mapping[str, Any]) -> str:
    ref, kind = str(part.get("bom-ref", "")), part.get("type")
    if ref.startswith("image"):
        return "image"
    if kind == "file":
        return "weights"
    if kind == "data":
        return "dataset"
    return "code" if ref.startswith("code:") else "library"


def _name(part: Mapping[str, Any], kind: str) -> str:
    purl = str(part.get("purl", ""))
    if kind in ("library", "image") and purl.startswith("pkg:"):
        return purl.partition("?")[0].rpartition("@")[0] or purl
    return str(part.get("name", ""))


def _identity(part: Mapping[str, Any]) -> str:
    """Version, digests and licence: what makes it this one."""
    texts = [str(part.get("version", "")), _hashes(part), ", ".join(_licences(part))]
    commits = [str(item.get("uid")) for item in part.get("pedigree", {}).get("commits", [])]
    return " ".join(text for text in (*texts, *commits) if text) or str(part.get("name", ""))


def _hashes(part: Mapping[str, Any]) -> str:
    """The strongest digest that is stated, so that a bill with one more algorithm is not another model."""
    listed = {str(item.get("alg")): str(item.get("content")) for item in part.get("hashes", [])}
    for algorithm in ("SHA-256", "SHA-512", "SHA-384", "BLAKE3", *sorted(listed)):
        if algorithm in listed:
            return f"{algorithm}:{listed[algorithm]}"
    archives = sorted(
        str(item.get("content"))
        for reference in part.get("externalReferences", [])
        if reference.get("type") == "distribution"
        for item in reference.get("hashes", [])
    )
    if not archives:
        return ""
    return (
        archives[0] if len(archives) == 1 else f"{len(archives)} archives ({bytes_digest(' '.join(archives).encode())})"
    )


def _licences(part: Mapping[str, Any]) -> list[str]:
    found = []
    for entry in part.get("licenses", []):
        licence = entry.get("license", {})
        found.append(str(entry.get("expression") or licence.get("id") or licence.get("name") or ""))
    return [text for text in found if text]


def _sets(kind: str, left: Mapping[str, list[str]], right: Mapping[str, list[str]]) -> Iterator[Difference]:
    for name in sorted(left.keys() | right.keys()):
        gone, new = _without(left.get(name, []), right.get(name, [])), _without(right.get(name, []), left.get(name, []))
        pairs = min(len(gone), len(new))
        for before, after in zip(gone, new, strict=False):
            yield Difference(kind, name, *_shown(before, after))
        yield from (Difference(kind, name, "removed", before=text) for text in gone[pairs:] if text)
        yield from (Difference(kind, name, "added", after=text) for text in new[pairs:] if text)


def _shown(before: str, after: str) -> tuple[str, str, str]:
    """A trait that was empty was not there."""
    return ("changed" if before and after else "removed" if before else "added", before, after)


def _without(texts: Iterable[str], others: list[str]) -> list[str]:
    """A multiset difference, sorted."""
    left = list(others)
    rest: list[str] = []
    for text in sorted(texts):
        if text in left:
            left.remove(text)
        else:
            rest.append(text)
    return rest
