"""The words of a bill of materials, and the small pieces of CycloneDX that every part of one is written with."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from customhouse.trust.scan.words import words

APPROACHES = frozenset({"supervised", "unsupervised", "reinforcement-learning", "semi-supervised", "self-supervised"})
ACTIVITIES = (
    "design", "data-collection", "data-preparation", "training", "fine-tuning", "validation", "deployment", "inference",
    "other",
)  # fmt: skip
"""Of CycloneDX: what energy may have been spent on."""
_SPDX = words(
    """Apache-2.0 MIT BSD-2-Clause BSD-3-Clause ISC MPL-2.0 PSF-2.0 Python-2.0 Zlib Unlicense 0BSD CC0-1.0 CC-BY-4.0
    CC-BY-SA-4.0 GPL-2.0-only GPL-3.0-only LGPL-2.1-only LGPL-3.0-only AGPL-3.0-only MIT-0 MIT-CMU OpenSSL BSL-1.0"""
)
_SPELT = {licence.lower(): licence for licence in _SPDX}
"""Model cards write identifiers in lower case."""
_EXPRESSION = re.compile(r"[A-Za-z0-9.\-+() ]+")
_ALGORITHMS = {"sha256": "SHA-256", "sha512": "SHA-512", "sha384": "SHA-384", "sha1": "SHA-1", "md5": "MD5"}
_LENGTHS = {"MD5": 32, "SHA-1": 40, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128, "BLAKE3": 64}


@dataclass(frozen=True, slots=True)
class Material:
    """A dataset or the training code: what it is called, its digest (`sha256:…`), size in bytes when known.

    Code in Git may have a commit (hex) in place of a digest; it names every byte of it.
    """

    name: str
    digest: str
    version: str = ""
    size: int | None = None
    licence: str = ""
    description: str = ""
    commit: str = ""
    repository: str = ""
    identifier: str = ""
    content: str = ""
    provenance: str = ""
    statistics: str = ""
    sensitivity: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quality (`auc`, `log-loss` …); `slice` names the part of the data, the bounds an interval."""

    type: str
    value: Decimal | str
    slice: str = ""
    low: Decimal | str | None = None
    high: Decimal | str | None = None


@dataclass(frozen=True, slots=True)
class Considerations:
    """What a reader of the model card should weigh; each a list of sentences."""

    users: Sequence[str] = ()
    use_cases: Sequence[str] = ()
    limitations: Sequence[str] = ()
    tradeoffs: Sequence[str] = ()
    ethical: Mapping[str, str] = field(default_factory=dict)
    """Risk to mitigation."""


@dataclass(frozen=True, slots=True)
class Base:
    """A model that this one was made from. `digest` is `sha256:…` where its bytes were seen, else empty."""

    name: str
    digest: str = ""
    version: str = ""
    identifier: str = ""
    note: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy that an activity took, in kWh; CO₂ equivalent in tonnes when known."""

    activity: str
    kwh: Decimal
    provider: str = ""
    source: str = "unknown"
    co2_tonnes: Decimal | None = None


def hashed(digest: str) -> dict[str, str]:
    """CycloneDX's form of `sha256:…` or `blake3:…`."""
    name, _, content = digest.partition(":")
    return {"alg": "BLAKE3" if name == "blake3" else _ALGORITHMS.get(name, "SHA-256"), "content": content.lower()}


def is_hash(digest: str) -> bool:
    """Whether `algorithm:hex` is of a known algorithm and has its length."""
    name, _, content = digest.partition(":")
    algorithm = "BLAKE3" if name == "blake3" else _ALGORITHMS.get(name)
    return algorithm is not None and re.fullmatch(rf"[0-9a-fA-F]{{{_LENGTHS[algorithm]}}}", content) is not None


def properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Sorted by name; those without a value are left out."""
    return [{"name": key, "value": values[key]} for key in sorted(values) if values[key]]


def licences(text: str) -> list[dict[str, Any]]:
    """An SPDX identifier, an expression of several, or the words as they are."""
    known = _SPELT.get(text.lower())
    if known:
        return [{"license": {"id": known}}]
    if _EXPRESSION.fullmatch(text) and re.search(r" (?:AND|OR|WITH) ", text):
        return [{"expression": text}]
    return [{"license": {"name": text[:200]}}]


def reference(text: str) -> str:
    """An address as CycloneDX takes it (an IRI reference): what may not stand in one is escaped."""
    return quote(text, safe=":/?#[]@!$&'()*+,;=%-._~")


def hub_name(text: str) -> str:
    """The package URL of a model on the Hugging Face hub, if that is what `owner/name` looks like; else empty."""
    match = re.fullmatch(r"(?:https://huggingface\.co/)?([\w.-]+)/([\w.-]+)", text)
    return f"pkg:huggingface/{match[1]}/{match[2]}" if match else ""
