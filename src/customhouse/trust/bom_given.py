"""What people know of a model and its files do not say: one JSON file, read strictly, every key known.

{"producer": "Risk Models Ltd", "licence": "Apache-2.0", "datasets": [{"name": "transactions", "digest": "sha256:…"}],
 "energy": [{"activity": "training", "kwh": "12.5"}], "security": {"controls": ["signed releases"]}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, TypeVar

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.digest import is_digest
from customhouse.core.errors import UsageError
from customhouse.trust.bom_parts import ACTIVITIES, APPROACHES, Base, Considerations, Energy, Material, Metric

_MAX_TEXT = 4000
_MAX_ITEMS = 1000
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
REFERENCES = (
    "documentation",
    "website",
    "model-card",
    "vcs",
    "distribution",
    "security-contact",
    "advisories",
    "other",
)
"""The kinds of references that may be given: CycloneDX's own names."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Given:
    """What was given. Empty where nothing was."""

    producer: str = ""
    author: str = ""
    description: str = ""
    licence: str = ""
    released: str = ""
    identifier: str = ""
    application_area: str = ""
    data_flow: str = ""
    data_usage: str = ""
    task: str = ""
    approach: str = ""
    family: str = ""
    architecture: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    hyper_parameters: Mapping[str, str] = field(default_factory=dict)
    base_models: tuple[Base, ...] = ()
    no_base: bool = False
    """Whether it is said that there is none (`"base-models": []`), which is not the same as to say nothing."""
    datasets: tuple[Material, ...] = ()
    training_code: Material | None = None
    metrics: tuple[Metric, ...] = ()
    considerations: Considerations | None = None
    energy: tuple[Energy, ...] = ()
    software: str = ""
    hardware: str = ""
    security_controls: tuple[str, ...] = ()
    security_compliance: tuple[str, ...] = ()
    security_policy: str = ""
    vulnerabilities: str = ""
    security_metrics: tuple[Metric, ...] = ()
    references: tuple[tuple[str, str], ...] = ()


_TEXTS = (
    "producer", "author", "description", "licence", "released", "identifier", "application-area", "data-flow",
    "data-usage", "task", "approach", "family", "architecture", "software", "hardware",
)  # fmt: skip
_KEYS = {
    *_TEXTS, "inputs", "outputs", "hyper-parameters", "base-models", "datasets", "training-code", "metrics",
    "considerations", "energy", "security", "references",
}  # fmt: skip


def read_given(value: Any, where: str) -> Given:
    """The card of a model. `where` is the file's name. Raises UsageError that names the key and what it takes."""
    said = _object(value, where, _KEYS)
    texts = {name.replace("-", "_"): _text(said, name, where) for name in _TEXTS}
    security = _object(
        said.get("security", {}),
        f"{where}: security",
        {"controls", "compliance", "policy", "vulnerabilities", "metrics"},
    )
    _check(texts, where)
    return Given(
        **texts,
        inputs=_texts(said, "inputs", where),
        outputs=_texts(said, "outputs", where),
        hyper_parameters=_numbers(said, "hyper-parameters", where),
        base_models=_list(said, "base-models", where, _base),
        no_base=said.get("base-models") == [],
        datasets=_list(said, "datasets", where, _material),
        training_code=_material(said["training-code"], f"{where}: training-code") if "training-code" in said else None,
        metrics=_metrics(said, "metrics", where),
        considerations=_considerations(said["considerations"], where) if "considerations" in said else None,
        energy=_list(said, "energy", where, _energy),
        security_controls=_texts(security, "controls", f"{where}: security"),
        security_compliance=_texts(security, "compliance", f"{where}: security"),
        security_policy=_text(security, "policy", f"{where}: security"),
        vulnerabilities=_text(security, "vulnerabilities", f"{where}: security"),
        security_metrics=_metrics(security, "metrics", f"{where}: security"),
        references=_list(said, "references", where, _reference),
    )


def _check(texts: dict[str, str], where: str) -> None:
    if texts["approach"] and texts["approach"] not in APPROACHES:
        _refuse(f"{where}: approach", f"one of {', '.join(sorted(APPROACHES))}")
    if texts["released"]:
        try:
            texts["released"] = to_rfc3339(from_rfc3339(texts["released"]))
        except ValueError:
            _refuse(f"{where}: released", "a time such as 2026-03-01T00:00:00Z")


def _material(value: Any, where: str) -> Material:
    keys = {
        "name", "digest", "version", "size", "licence", "description", "commit", "repository", "identifier", "content",
        "provenance", "statistics", "sensitivity",
    }  # fmt: skip
    said = _object(value, where, keys)
    texts = {key: _text(said, key, where) for key in keys - {"size"}}
    size = said.get("size")
    if size is not None and (type(size) is not int or size < 0):
        _refuse(f"{where}: size", "a number of bytes")
    if not texts["name"]:
        _refuse(f"{where}: name", "a text")
    if texts["commit"] and not _COMMIT.fullmatch(texts["commit"]):
        _refuse(f"{where}: commit", "40 or 64 hex digits, the whole of them")
    if texts["digest"] and not is_digest(texts["digest"]):
        _refuse(f"{where}: digest", "sha256: and 64 hex digits")
    if not texts["digest"] and not texts["commit"]:
        _refuse(f"{where}: digest", "sha256: and 64 hex digits (`customhouse data register` prints it)")
    return Material(size=size, **texts)


def _base(value: Any, where: str) -> Base:
    keys = ("name", "digest", "version", "identifier", "note", "licence")
    said = _object(value, where, {*keys})
    texts = {key: _text(said, key, where) for key in keys}
    if not texts["name"]:
        _refuse(f"{where}: name", "a text")
    if texts["digest"] and not is_digest(texts["digest"]):
        _refuse(f"{where}: digest", "sha256: and 64 hex digits")
    return Base(**texts)


def _energy(value: Any, where: str) -> Energy:
    said = _object(value, where, {"activity", "kwh", "provider", "source", "co2-tonnes"})
    activity = _text(said, "activity", where)
    if activity not in ACTIVITIES:
        _refuse(f"{where}: activity", f"one of {', '.join(ACTIVITIES)}")
    sources = ("coal", "oil", "natural-gas", "nuclear", "wind", "solar", "geothermal", "hydropower", "biofuel", "other")
    source = _text(said, "source", where) or "unknown"
    if source not in (*sources, "unknown"):
        _refuse(f"{where}: source", f"one of {', '.join(sources)}, unknown")
    co2 = _decimal(said["co2-tonnes"], f"{where}: co2-tonnes") if "co2-tonnes" in said else None
    return Energy(activity, _decimal(said.get("kwh"), f"{where}: kwh"), _text(said, "provider", where), source, co2)


def _considerations(value: Any, where: str) -> Considerations:
    place = f"{where}: considerations"
    said = _object(value, place, {"users", "use-cases", "limitations", "tradeoffs", "ethical"})
    ethical = _object(said.get("ethical", {}), f"{place}: ethical", None)
    return Considerations(
        _texts(said, "users", place),
        _texts(said, "use-cases", place),
        _texts(said, "limitations", place),
        _texts(said, "tradeoffs", place),
        {key: _text(ethical, key, f"{place}: ethical") for key in ethical},
    )


def _reference(value: Any, where: str) -> tuple[str, str]:
    said = _object(value, where, {"type", "url"})
    kind, url = _text(said, "type", where), _text(said, "url", where)
    if kind not in REFERENCES:
        _refuse(f"{where}: type", f"one of {', '.join(REFERENCES)}")
    if not re.match(r"https?://|[a-z][a-z0-9+.-]*:", url):
        _refuse(f"{where}: url", "an address, such as https://…")
    return kind, url


def _metrics(said: Mapping[str, Any], key: str, where: str) -> tuple[Metric, ...]:
    found = _numbers(said, key, where)
    return tuple(Metric(name, found[name]) for name in sorted(found))


def _numbers(said: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    listed = _object(said.get(key, {}), f"{where}: {key}", None)
    for name, value in listed.items():
        if not isinstance(value, str | int | float | bool) or len(str(value)) > _MAX_TEXT:
            _refuse(f"{where}: {key}: {name}", "a number or a text")
    return {name: value if isinstance(value, str) else str(value) for name, value in listed.items()}


def _decimal(value: Any, where: str) -> Decimal:
    try:
        number = Decimal(str(value)) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or number < 0 or number > 10**15:
        _refuse(where, "a number that is not below 0")
    return number


def _list(said: Mapping[str, Any], key: str, where: str, reader: Callable[[Any, str], Item]) -> tuple[Item, ...]:
    listed = said.get(key, [])
    if not isinstance(listed, list) or len(listed) > _MAX_ITEMS:
        _refuse(f"{where}: {key}", f"a list of at most {_MAX_ITEMS}")
    return tuple(reader(item, f"{where}: {key}[{index}]") for index, item in enumerate(listed))


def _texts(said: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    listed = said.get(key, [])
    if not isinstance(listed, list) or not all(isinstance(item, str) and len(item) <= _MAX_TEXT for item in listed):
        _refuse(f"{where}: {key}", "a list of texts")
    return tuple(listed[:_MAX_ITEMS])


def _text(said: Mapping[str, Any], key: str, where: str) -> str:
    value = said.get(key, "")
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        _refuse(f"{where}: {key}", f"a text of at most {_MAX_TEXT} characters")
    return value


def _object(value: Any, where: str, keys: set[str] | None) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > _MAX_ITEMS:
        _refuse(where, "an object")
    odd = next((key for key in value if keys is not None and key not in keys), None)
    if odd is not None and keys is not None:
        from difflib import get_close_matches

        close = get_close_matches(odd, keys, n=1)
        raise UsageError(
            f"{odd!r} is not known here",
            where=where,
            hint=f"did you mean {close[0]!r}?" if close else ", ".join(sorted(keys)),
        )
    return value


def _refuse(where: str, wanted: str) -> NoReturn:
    raise UsageError("is not what it must be", where=where, hint=f"give {wanted}")
