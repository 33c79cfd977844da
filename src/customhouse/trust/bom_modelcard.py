"""CycloneDX's modelCard: what the files say of the model and what people gave, in one place each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse.trust.bom_given import Given
from customhouse.trust.bom_parts import Base, Considerations, Energy, Metric, properties
from customhouse.trust.scan.description import Description


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a model, whoever said it: people before files, files in the order of their names."""

    task: str = ""
    approach: str = ""
    family: str = ""
    architecture: str = ""
    licence: str = ""
    about: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parameters: int = 0
    base_models: tuple[Base, ...] = ()
    named_datasets: tuple[str, ...] = ()
    """Datasets that a file names and nobody gave a digest of."""
    metrics: tuple[Metric, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def gather(given: Given, described: Mapping[str, Description]) -> Words:
    """All that is known, once."""
    files = [described[name] for name in sorted(described)]

    def first(chosen: str, texts: Iterable[str]) -> str:
        return chosen or next((text for text in texts if text), "")

    named = {base.name for base in given.base_models}
    bases = dict.fromkeys(name for file in files for name in file.base_models if name not in named)
    counts: dict[str, int] = {}
    for file in files:
        for kind, count in file.element_types:
            counts[kind] = counts.get(kind, 0) + int(count)
    parameters = sum(file.parameters for file in files)
    facts = {key: value for file in reversed(files) for key, value in file.properties}
    facts.update({f"customhouse:elements:{kind}": str(count) for kind, count in counts.items()})
    if parameters:
        facts["customhouse:parameters"] = str(parameters)
    facts.update({f"hyper-parameter:{key}": value for key, value in given.hyper_parameters.items()})
    known = {metric.type for metric in (*given.metrics, *given.security_metrics)}
    return Words(
        task=first(given.task, (file.task for file in files)),
        approach=given.approach,
        family=first(given.family, (file.family for file in files)),
        architecture=first(given.architecture, (file.architecture for file in files)),
        licence=first(given.licence, (file.licence for file in files)),
        about=first(given.description, (file.about for file in files)),
        inputs=given.inputs or tuple(dict.fromkeys(text for file in files for text in file.inputs)),
        outputs=given.outputs or tuple(dict.fromkeys(text for file in files for text in file.outputs)),
        parameters=parameters,
        base_models=(*given.base_models, *(Base(name) for name in bases)),
        named_datasets=tuple(dict.fromkeys(name for file in files for name in file.datasets)),
        metrics=tuple(Metric(k, v) for file in files for k, v in file.metrics if k not in known),
        facts=facts,
    )


def model_card(
    words: Words, given: Given, data: Sequence[Mapping[str, Any]], metrics: Sequence[Metric]
) -> dict[str, Any]:
    """The card. `data` are the dataset components, `metrics` what was measured besides what the words hold."""
    parameters: dict[str, Any] = {}
    if words.approach:
        parameters["approach"] = {"type": words.approach}
    texts = {"task": words.task, "architectureFamily": words.family, "modelArchitecture": words.architecture}
    parameters.update({key: text for key, text in texts.items() if text})
    datasets: list[dict[str, Any]] = [{"ref": item["bom-ref"]} for item in data]
    listed = {item["name"] for item in data}
    datasets += [
        {"type": "dataset", "name": name, "description": "named by a file of the model; no digest was given"}
        for name in words.named_datasets
        if name not in listed
    ]
    if datasets:
        parameters["datasets"] = datasets
    if words.inputs:
        parameters["inputs"] = [{"format": text} for text in words.inputs]
    if words.outputs:
        parameters["outputs"] = [{"format": text} for text in words.outputs]
    card: dict[str, Any] = {"modelParameters": parameters} if parameters else {}
    measured = [_metric(item) for item in _once((*metrics, *given.metrics, *words.metrics))]
    measured += [{**_metric(item), "slice": item.slice or "security"} for item in given.security_metrics]
    if measured:
        card["quantitativeAnalysis"] = {"performanceMetrics": measured}
    weighed = _considerations(given.considerations or Considerations(), given.energy)
    if weighed:
        card["considerations"] = weighed
    if words.facts:
        card["properties"] = properties(words.facts)
    return card


def _once(metrics: Iterable[Metric]) -> list[Metric]:
    found: dict[tuple[str, str], Metric] = {}
    for item in metrics:
        found.setdefault((item.type, item.slice), item)
    return list(found.values())


def _metric(item: Metric) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": item.type, "value": str(item.value)}
    if item.slice:
        shown["slice"] = item.slice
    bounds = {"lowerBound": item.low, "upperBound": item.high}
    interval = {key: str(bound) for key, bound in bounds.items() if bound is not None}
    if interval:
        shown["confidenceInterval"] = interval
    return shown


def _considerations(item: Considerations, energy: Sequence[Energy]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "users": list(item.users),
        "useCases": list(item.use_cases),
        "technicalLimitations": list(item.limitations),
        "performanceTradeoffs": list(item.tradeoffs),
        "ethicalConsiderations": [
            {"name": risk, "mitigationStrategy": cure} for risk, cure in sorted(item.ethical.items())
        ],
    }
    if energy:
        shown["environmentalConsiderations"] = {"energyConsumptions": [_energy(spent) for spent in energy]}
    return {key: value for key, value in shown.items() if value}


def _energy(spent: Energy) -> dict[str, Any]:
    # JSON numbers of CycloneDX; shown as given, never calculated with.
    cost = {"value": float(spent.kwh), "unit": "kWh"}
    shown: dict[str, Any] = {
        "activity": spent.activity,
        "energyProviders": [
            {
                "organization": {"name": spent.provider or "unknown"},
                "energySource": spent.source,
                "energyProvided": dict(cost),
            }
        ],
        "activityEnergyCost": cost,
    }
    if spent.co2_tonnes is not None:
        shown["co2CostEquivalent"] = {"value": float(spent.co2_tonnes), "unit": "tCO2eq"}
    return shown
