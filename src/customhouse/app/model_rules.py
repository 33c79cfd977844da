"""`models:` of customhouse.yaml: which licences models may have, where they come from, what they say of their bases.

A name that is misspelt would deny nothing, so every name is held against the SPDX list; what is not in it is written
`LicenseRef-NAME`, as SPDX has it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote

from customhouse.policy.licences import choices, named
from customhouse.policy.origins import HUBS, place_of
from customhouse.trust.provenance_patterns import matches, problem_of

Fail = Callable[[str, str], Any]
"""Raises ConfigError at the place of a JSON pointer, with a message."""
_OWN = "licenseref-"
_HOSTS = ("https://", "http://", "oci://")
_NOT_HERE = ("pvc://", "file://")


@dataclass(frozen=True, slots=True)
class Names:
    """Licences as they are compared: whole names, and beginnings (`CC-BY-NC-*`)."""

    names: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def to_facts(self) -> dict[str, list[str]]:
        """As rules see them."""
        return {"names": list(self.names), "prefixes": list(self.prefixes)}


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """`policy.origins.ModelRules`. None: no list of what is allowed."""

    allowed: Names | None = None
    denied: Names = Names()
    sources: tuple[str, ...] | None = None
    refused_sources: tuple[str, ...] = ()
    bases_required: bool = False
    bases_pinned: bool = False
    bases_licensed: bool = False

    def stated(self) -> dict[str, Any]:
        """What Facts' settings hold."""
        return {
            "licences": {
                "limited": self.allowed is not None,
                "allowed": (self.allowed or Names()).to_facts(),
                "denied": self.denied.to_facts(),
            },
            "bases": {
                "required": self.bases_required,
                "pinned": self.bases_pinned,
                "licensed": self.bases_licensed,
            },
        }

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml says it, names in small letters as they are compared."""
        licences = {"allowed": _written(self.allowed), "denied": _written(self.denied)}
        sources = {"allowed": self.sources, "denied": self.refused_sources}
        return {
            "licences": {key: value for key, value in licences.items() if value is not None},
            "sources": {key: list(value) for key, value in sources.items() if value is not None},
            "bases": {"required": self.bases_required, "pinned": self.bases_pinned, "licensed": self.bases_licensed},
        }

    def refused(self, place: str) -> str:
        """Why a model may not come from there; empty when it may."""
        if _leads_elsewhere(place):
            return "an address with . or .. in it, which leads elsewhere than it says"
        for pattern in self.refused_sources:
            if matches(pattern, place):
                return f"which models.sources denies ({pattern})"
        if self.sources is not None and not any(matches(pattern, place) for pattern in self.sources):
            return "which no pattern of models.sources.allowed covers"
        return ""


def model_policy_of(document: Mapping[str, Any], fail: Fail) -> ModelPolicy | None:
    """Read `models:`, which fits the schema; None where nothing is asked. Calls `fail` for what means nothing."""
    given = document.get("models")
    if not given:
        return None
    licences, sources, bases = (given.get(key) or {} for key in ("licences", "sources", "bases"))
    at = "/models/licences"
    allowed = None if licences.get("allowed") is None else _names(licences["allowed"], f"{at}/allowed", fail)
    denied = _names(licences.get("denied") or (), f"{at}/denied", fail)
    both = sorted({*denied.names, *denied.prefixes} & {*allowed.names, *allowed.prefixes}) if allowed else []
    if both:
        fail(f"{at}/denied", f"{both[0]} is allowed and denied")
    places = {key: _patterns(sources, key, fail) for key in ("allowed", "denied")}
    return ModelPolicy(
        allowed,
        denied,
        places["allowed"] if sources.get("allowed") is not None else None,
        places["denied"],
        bases.get("required", False),
        bases.get("pinned", False),
        bases.get("licensed", False),
    )


def _names(given: Any, place: str, fail: Fail) -> Names:
    names: list[str] = []
    prefixes: list[str] = []
    for index, text in enumerate(given):
        at = f"{place}/{index}"
        if text.endswith("*"):
            prefixes += _beginning(text, at, fail)
            continue
        found = choices(text)
        if found is None or len(found) != 1 or len(found[0]) != 1:
            fail(at, f"{text[:80]!r} is not one SPDX licence; write each by itself, such as Apache-2.0")
            continue
        name = found[0][0][0]
        names.append(name)
        if name.startswith(_OWN):
            plain = named(name.removeprefix(_OWN))
            # What hubs and cards call `llama3.1`; never what is SPDX's own name of another licence.
            names += [term[0] for choice in plain or () for term in choice if not _is_known(term[0])]
        else:
            _require_known(name, text, at, fail)
    return Names(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(prefixes)))


def _written(names: Names | None) -> list[str] | None:
    """Without what a LicenseRef stands for besides: it is no name of SPDX's, and comes with it again."""
    if names is None:
        return None
    plain = [name for name in names.names if _is_known(name.partition(" with ")[0]) or name.startswith(_OWN)]
    begins = [start for start in names.prefixes if f"{_OWN}{start}" not in names.prefixes]
    return [*plain, *(f"{start}*" for start in begins)]


def _beginning(text: str, at: str, fail: Fail) -> list[str]:
    start = text[:-1].lower()
    if "*" in start or len(start) < 2:
        fail(at, f"{text[:80]!r}: write * at the end of a name alone, such as CC-BY-NC-*")
    if start.startswith(_OWN):
        plain = start.removeprefix(_OWN)
        shadowed = next((known for known in _known() if plain and known.startswith(plain)), None)
        return [start] if shadowed or not plain else [start, plain]
    if not any(known.startswith(start) for known in _known()):
        fail(at, f"no SPDX licence begins with {text[:-1][:80]!r}{_near(start)}")
    return [start]


def _require_known(name: str, text: str, at: str, fail: Fail) -> None:
    licence, _, exception = name.partition(" with ")
    if not _is_known(licence):
        fail(at, f"{text[:80]!r} is no SPDX licence{_near(licence)}; what SPDX does not list is LicenseRef-NAME")
    if exception and exception not in _exceptions():
        fail(at, f"{exception[:80]!r} is no exception that SPDX lists")


def _near(name: str) -> str:
    close = difflib.get_close_matches(name.rstrip("+"), _known(), n=1)
    return f"; did you mean {_known()[close[0]]}?" if close else ""


def _is_known(name: str) -> bool:
    plain = name.removesuffix("+")
    return plain in _known() or f"{plain.removesuffix('-only')}" in _known()


@cache
def _known() -> Mapping[str, str]:
    """Identifiers of SPDX in small letters, with how they are written (packaging 24.2 and later ship the list)."""
    from packaging.licenses import _spdx  # only a file with such a list needs it

    return {name: str(row["id"]) for name, row in _spdx.LICENSES.items()}


@cache
def _exceptions() -> frozenset[str]:
    from packaging.licenses import _spdx

    return frozenset(_spdx.EXCEPTIONS)


def _patterns(sources: Mapping[str, Any], key: str, fail: Fail) -> tuple[str, ...]:
    """Patterns as places are named: the hub's names in small letters, no revision."""
    found = []
    for index, given in enumerate(sources.get(key) or ()):
        at = f"/models/sources/{key}/{index}"
        page = next((f"https://{host}/" for host in HUBS if given.lower().startswith(f"https://{host}/")), "")
        text = f"hf://{given[len(page) :]}" if page else given
        scheme, mark, rest = text.partition("://")
        if not mark and text.startswith("models:/"):
            scheme, rest = "models", text.removeprefix("models:/")
        elif not mark or not rest:
            fail(at, f"{text[:80]!r} names no place: write it like hf://ORG/*, oci://HOST/** or https://HOST/**")
        if f"{scheme.lower()}://" in _NOT_HERE:
            fail(at, f"{text[:80]!r} says where files lie here, and nothing of where they come from")
        address = key == "allowed" and text.lower().startswith(_HOSTS)
        if problem := problem_of(text, address=address):
            fail(at, f"{text[:80]!r}: {problem}")
        if "@" in text:
            fail(at, f"{text[:80]!r}: a place has no revision here; every commit of a model that may come is fine")
        place = place_of(text)
        found.append(text if place is None else place.name)
    return tuple(found)


def _leads_elsewhere(place: str) -> bool:
    # A server may decode once more than the reference was.
    seen = (place, unquote(place))
    return any(part in (".", "..") for text in seen for part in text.replace("\\", "/").split("/"))
