"""The document of an evaluation: what is signed, what goes into a bill of materials, what a reader sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from customhouse._kit.digest import is_digest, same_digest
from customhouse.core.errors import ArtifactError
from customhouse.trust.bom_given import Given
from customhouse.trust.bom_parts import Considerations, Metric

SCHEMA = "https://customhouse.dev/schemas/evaluation/v1"
_SLICED = ("slice.", "fairness.")


def predicate_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is signed: the document with decimal text for numbers, since a float has more than one spelling.

    `metrics` becomes name → value, `intervals` name → [low, high].
    """
    listed: Mapping[str, Any] = document["metrics"]
    said = texts({key: item for key, item in document.items() if key != "metrics"})
    return {
        **said,
        "metrics": {name: repr(item["value"]) for name, item in listed.items()},
        "intervals": {name: texts([item["low"], item["high"]]) for name, item in listed.items()},
    }


def texts(value: Any) -> Any:
    """The value with its floats as decimal text."""
    if isinstance(value, bool) or value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {str(key): texts(item) for key, item in value.items()}
    return [texts(item) for item in value]


def require_model(document: Mapping[str, Any], digest: str) -> None:
    """Raises ArtifactError for an evaluation of another model, and for one of ours that somebody cut up."""
    if document.get("schema") != SCHEMA:
        return  # what another program measured is its own matter
    listed = document.get("metrics")
    items = list(listed.values()) if isinstance(listed, Mapping) else [None]
    if not all(isinstance(item, Mapping) and item.keys() >= {"value", "low", "high"} for item in items):
        raise ArtifactError("the evaluation's metrics are not as they were written", hint="evaluate once more")
    said = document.get("model_digest")
    if isinstance(said, str) and is_digest(said) and not same_digest(said, digest):
        raise ArtifactError(
            f"the evaluation is of the model {said}, and this one is {digest}",
            hint="evaluate these files: customhouse model evaluate",
        )


def bill_metrics(document: Mapping[str, Any]) -> Sequence[Metric]:
    """The measured values for CycloneDX's quantitativeAnalysis: what a value is of stands in its slice."""
    found = []
    for name, item in sorted(document["metrics"].items()):
        kind, part = _parts(name)
        ends = (None if item[end] is None else repr(item[end]) for end in ("low", "high"))
        low, high = ends
        found.append(Metric(kind, repr(item["value"]), slice=part, low=low, high=high))
    return found


def _parts(name: str) -> tuple[str, str]:
    """`slice.channel=0.roc_auc` → roc_auc of channel=0; `privacy.membership_auc` → membership_auc of privacy."""
    for prefix in _SLICED:
        if name.startswith(prefix):
            rest, _, kind = name.removeprefix(prefix).rpartition(".")
            return kind, rest if prefix == "slice." else f"between groups of {rest}"
    place, _, kind = name.partition(".")
    return (kind, place) if kind else (name, "")


def weighed(given: Given, document: Mapping[str, Any]) -> Given:
    """What people gave, with the limits that the evaluation found."""
    known = given.considerations or Considerations()
    found = document.get("limitations")
    limits = (*known.limitations, *(map(str, found) if isinstance(found, Sequence) else ()))
    return replace(given, considerations=replace(known, limitations=limits))
