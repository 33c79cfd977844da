"""Where a model comes from, as rules see it: its licences, its base models, and the places that it was taken from.

All of it is read from verified bills of materials and from the reference that the Declaration names. It becomes part
of Facts (`origins`) where reviewed configuration asks for something of it, or a model lies on a hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from customhouse.core.evidence import ArtifactRef, Evidence, EvidenceKind
from customhouse.policy.licences import said_licences

NO_BASE = "customhouse:base-models"
"""The property by which a bill says that a model was made from no other (its value is `none`)."""
_MAX_ITEMS = 64
"""Base models and places of one model that are told. What is beyond is counted."""
_MAX_DEPTH = 8
_MAX_TEXT = 512
_MAX_REFERENCE = 4096
"""Of what is longer no part is taken for the whole: it is a place that no pattern covers."""
_MAX_SOURCES = 16
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
HUBS = ("huggingface.co", "www.huggingface.co", "hf.co")
"""Hosts of the hub's web addresses."""
_IN_HUB = re.compile(r"/(?P<name>[\w.-]+/[\w.-]+)(?:/(?:resolve|blob|tree|raw)/(?P<revision>[^/]+).*)?/?", re.ASCII)
_HASHES = ("SHA-256", "SHA-384", "SHA-512", "SHA3-256", "SHA3-512", "BLAKE3")
_INSIDE = ("pvc", "file")
"""Schemes that say where files lie here, and nothing of where they come from."""


class ModelRules(Protocol):
    """What reviewed configuration asks of where models come from. Pure: the same place gives the same answer."""

    def stated(self) -> dict[str, Any]:
        """`licences` and `bases`, as Facts tell them."""

    def refused(self, place: str) -> str:
        """Why a model may not come from a place (`Place.name`); empty when it may."""


@dataclass(frozen=True, slots=True)
class Place:
    """A reference taken apart. `name` is it without its revision; `pinned` None where revisions are no matter.

    `written` is the name with its capitals, where it is compared without them.
    """

    name: str
    pinned: bool | None = None
    written: str = ""


def place_of(reference: str) -> Place | None:
    """Where a reference leads; None for a place here, such as a volume.

    The hub's `hf://ORG/NAME@REVISION`, KServe's `hf://ORG/NAME:REVISION`, its web addresses and
    `pkg:huggingface/ORG/NAME@REVISION` are one place: only a commit of 40 digits pins it.
    """
    text = reference.strip()
    if len(text) > _MAX_REFERENCE:
        return Place(f"a reference of more than {_MAX_REFERENCE} characters")
    if text.lower().startswith("pkg:"):
        kind, _, rest = text[4:].lstrip("/").partition("/")
        rest = unquote(rest.partition("?")[0].partition("#")[0])
        return _hub(*rest.partition("@")[::2]) if kind.lower() == "huggingface" else None
    scheme, colon, rest = text.partition(":")
    mark = rest.startswith("//")
    if not colon or "/" in scheme or scheme.lower() in _INSIDE:
        return None
    scheme, rest = scheme.lower(), rest.removeprefix("//")
    if scheme == "hf" and mark:
        name, _, revision = rest.partition("@") if "@" in rest else rest.partition(":")
        return _hub(name, revision)
    if scheme in ("http", "https") and mark:
        return _web(scheme, text)
    # KServe says how an image is read: `oci+native://`, `oci+fetch://`.
    if scheme.partition("+")[0] == "oci" and mark:
        host, _, path = rest.partition("@")[0].partition("/")
        return Place(f"oci://{host.lower()}/{path.partition(':')[0]}")
    rest = rest.partition("?")[0]
    return Place(f"{scheme}:{'//' * mark}{rest.partition('@')[0] if scheme == 'models' else rest}")


def _hub(name: str, revision: str) -> Place:
    # Names of the hub differ by more than their capitals.
    written = f"hf://{name.strip('/')}"
    return Place(written.lower(), bool(_COMMIT.fullmatch(revision)), written)


def _web(scheme: str, text: str) -> Place:
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").lower()
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return Place(text)
    found = _IN_HUB.fullmatch(parts.path) if host in HUBS else None
    if found:
        return _hub(found["name"], found["revision"] or "")
    return Place(f"{scheme}://{host}{port}{unquote(parts.path)}")


def origins(
    given: Sequence[tuple[ArtifactRef, Sequence[Evidence]]], rules: ModelRules | None
) -> dict[str, list[dict[str, Any]]]:
    """`{"origins": [...]}`, an item a model of which there is something to judge; empty without one.

    The evidence is what was found about the artifact's digest; what does not verify says nothing here.
    """
    told = []
    for artifact, evidence in given:
        if artifact.role != "model":
            continue
        item = _origin(artifact, [one.predicate for one in evidence if _counts(one, artifact)], rules)
        if rules is not None or any(place["pinned"] is False and not place["of"] for place in item["places"]):
            told.append(item)
    return {"origins": told} if told else {}


def asked_of_models(rules: ModelRules | None) -> dict[str, Any]:
    """What Facts' `settings` hold of it: nothing where nothing is asked, so that they are what they were."""
    return {} if rules is None else {"models": rules.stated()}


def _counts(item: Evidence, artifact: ArtifactRef) -> bool:
    """A bill of other bytes says nothing of these, however well it is signed."""
    if item.kind is not EvidenceKind.BOM or not item.verified or artifact.digest is None:
        return False
    return item.subject.removeprefix("sha256:") == artifact.digest.removeprefix("sha256:")


def _origin(artifact: ArtifactRef, bills: Sequence[Mapping[str, Any]], rules: ModelRules | None) -> dict[str, Any]:
    models = [_mapping(_mapping(bill.get("metadata")).get("component")) for bill in bills]
    ancestors = [base for model in models for base in _ancestors(model, 0)]
    named = {_name(base): base for base in reversed(ancestors)}
    places = [_told(artifact.reference, "", rules)]
    places += [_told(text, "", rules) for model in models for text in _sources(model)]
    places += [_told(str(base.get("purl")), _name(base), rules) for base in ancestors if base.get("purl")]
    known = {(row["name"], row["of"], row["pinned"]): row for row in places if row is not None}
    licences = [said_licences(model) for model in models]
    return {
        "reference": artifact.reference,
        "pointer": artifact.pointer,
        "bills": len(bills),
        # Every bill that says something has to be fit; a bill that says nothing leaves it to the others.
        "licences": [row for said in licences if said for row in said][:_MAX_ITEMS],
        "bases": [
            {"name": name, "pinned": _pinned(base), "licences": said_licences(base) or []}
            for name, base in sorted(named.items())[:_MAX_ITEMS]
        ],
        "bases_left_out": max(0, len(named) - _MAX_ITEMS),
        "made_from_none": any(map(_from_none, models)),
        "places": [known[key] for key in sorted(known, key=str)][:_MAX_ITEMS],
    }


def _ancestors(component: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """Bases, and theirs: what a model was made from goes along through every fine-tuning."""
    if depth >= _MAX_DEPTH:
        return
    for item in _items(_mapping(component.get("pedigree")).get("ancestors"))[:1000]:
        if isinstance(item, Mapping):
            yield item
            yield from _ancestors(item, depth + 1)


def _name(base: Mapping[str, Any]) -> str:
    return str(base.get("name") or base.get("purl") or "a model without a name")[:_MAX_TEXT]


def _pinned(base: Mapping[str, Any]) -> bool:
    """By a digest of its bytes, or by a commit."""
    hashes = [item for item in _items(base.get("hashes")) if isinstance(item, Mapping)]
    if any(item.get("alg") in _HASHES and item.get("content") for item in hashes):
        return True
    place = place_of(str(base.get("purl"))) if base.get("purl") else None
    return place is not None and place.pinned is True


def _from_none(model: Mapping[str, Any]) -> bool:
    rows = [row for row in _items(model.get("properties")) if isinstance(row, Mapping)]
    return any(row.get("name") == NO_BASE and row.get("value") == "none" for row in rows)


def _sources(model: Mapping[str, Any]) -> Iterator[str]:
    """Where a bill says that its model was distributed from, and the package URL that it goes by."""
    rows = [row for row in _items(model.get("externalReferences")) if isinstance(row, Mapping)]
    found = [row.get("url") for row in rows if row.get("type") in ("distribution", "distribution-intake")]
    for text in [model.get("purl"), *found[:_MAX_SOURCES]]:
        if isinstance(text, str) and text:
            yield text if text.startswith("pkg:") else unquote(text)


def _told(reference: str, of: str, rules: ModelRules | None) -> dict[str, Any] | None:
    place = place_of(reference)
    if place is None:
        return None
    refused = "" if rules is None else rules.refused(place.name)
    return {
        "name": place.name[:_MAX_TEXT],
        "written": (place.written or place.name)[:_MAX_TEXT],
        "of": of,
        "pinned": place.pinned,
        "refused": refused[:_MAX_TEXT],
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()
