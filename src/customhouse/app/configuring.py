"""`customhouse config`: what is in force, where each value comes from, and what a key means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.money import Money
from customhouse.app import wiring
from customhouse.app.configuration import FILE, BudgetSpec, Configuration, schema
from customhouse.app.governance import read_configuration, read_document
from customhouse.app.provenance_rules import provenance_document
from customhouse.app.schedule_spec import ScheduleSpec
from customhouse.app.settings import Settings
from customhouse.app.storage_rules import storage_json
from customhouse.app.vulnerability_limits import limits_document
from customhouse.control.rendering import RenderEntry
from customhouse.core.errors import UsageError
from customhouse.core.resource import Location
from customhouse.policy.tiers import Relaxation, TierSpec

DEFAULT = "default"
MAX_FILE = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Shown:
    """A configuration as it is in force: `keys` are `(key, value, origin)`, origin a place in the file or `default`."""

    source: str
    document: Mapping[str, Any]
    keys: tuple[tuple[str, Any, str], ...]

    def to_json(self) -> dict[str, Any]:
        """`{"source","configuration","keys":[{"key","value","origin"}]}`."""
        rows = [{"key": key, "value": value, "origin": origin} for key, value, origin in self.keys]
        return {"source": self.source, "configuration": dict(self.document), "keys": rows}


def show(settings: Settings, repo: str, revision: str | None) -> Shown:
    """The configuration of a revision; without one that of `--config`, else of the customhouse.yaml as it lies there.

    Without any file: the built-in defaults. Raises ConfigError, SourceError and UsageError.
    """
    found = _read(settings, repo, revision)
    if found is None:
        return _shown("built-in defaults", Configuration(), {})
    data, name = found
    return _shown(name, read_configuration(data, name), read_document(data, name).marks)


def configured(settings: Settings, repo: str) -> Configuration | None:
    """As `show` finds it, of the file as it lies there; None without any. Raises ConfigError and UsageError."""
    found = _read(settings, repo, None)
    return None if found is None else read_configuration(*found)


def _read(settings: Settings, repo: str, revision: str | None) -> tuple[bytes, str] | None:
    if revision is not None:
        objects = wiring.commits(settings, repo)
        commit = objects.resolve(revision)
        data = objects.read(commit, FILE)
        return None if data is None else (data, FILE)
    place = settings.config or Path(repo) / FILE
    if not place.is_file():
        return None
    if place.stat().st_size > MAX_FILE:
        raise UsageError(f"{place} is over 4 MiB")
    return place.read_bytes(), place.name


def _shown(source: str, configuration: Configuration, marks: Mapping[str, Location]) -> Shown:
    document = as_document(configuration)
    keys = tuple((key, value, _origin(pointer, marks)) for key, pointer, value in _leaves(document, schema(), "", ""))
    return Shown(source, document, keys)


def _origin(pointer: str, marks: Mapping[str, Location]) -> str:
    return str(marks[pointer]) if pointer in marks else DEFAULT


def _leaves(
    document: Mapping[str, Any], rule: Mapping[str, Any], key: str, pointer: str
) -> Iterator[tuple[str, str, Any]]:
    """The values of a document, as deep as the schema names keys."""
    for name, value in document.items():
        child = rule.get("properties", {}).get(name, {})
        place, path = f"{pointer}/{name}", f"{key}{name}"
        if child.get("type") == "object" and child.get("properties"):
            yield from _leaves(value, child, f"{path}.", place)
        else:
            yield path, place, value


def _render_json(entry: RenderEntry) -> dict[str, Any]:
    said = {"values": list(entry.values), "release": entry.release, "namespace": entry.namespace}
    said["libraries"] = list(entry.libraries)
    return {"path": entry.path, **{name: value for name, value in said.items() if value}}


def as_document(configuration: Configuration) -> dict[str, Any]:
    """A Configuration as customhouse.yaml says it: parsing it again gives an equal Configuration."""
    document = {
        "apiVersion": "customhouse.dev/v1",
        "branch": configuration.branch,
        "paths": list(configuration.paths),
        "render": [_render_json(entry) for entry in configuration.render],
        "sources": configuration.sources.to_json() or None,
        "target": None if configuration.targets else _target(configuration),
        "targets": {name: spec.to_json() for name, spec in configuration.targets.items()} or None,
        "tiers": {
            "default": configuration.default_tier,
            "namespaces": {name: list(tiers) for name, tiers in configuration.tier_namespaces.items()},
            "definitions": {
                name: {**_tier(tier), **_scheduling(configuration, name)} for name, tier in configuration.tiers.items()
            },
        },
        "environments": {
            item.name: {
                "namespaces": list(item.namespaces),
                **({"target": named} if (named := configuration.environment_targets.get(item.name)) else {}),
                "production": item.production,
                "checks": dict(item.checks),
                "relaxations": [_relaxation(given) for given in item.relaxations],
            }
            for item in configuration.environments
        },
        "policy": _policy(configuration),
        "trust": {
            "allowedSigners": configuration.allowed_signers,
            "gpgKeys": list(configuration.gpg_keys),
            "keys": [
                {"name": key.name, "publicKey": key.public_key, "kinds": [kind.value for kind in key.kinds]}
                for key in configuration.keys
            ],
            **configuration.trust.to_document(),
        },
        "provenance": provenance_document(configuration.provenance),
        "scan": {"names": [item.to_json() for item in configuration.scan.names]},
        "evaluation": {
            "plans": [
                {"name": item.name, "file": item.file, "models": list(item.models)} for item in configuration.evaluation
            ]
        },
        "prices": {
            "provider": configuration.provider,
            "region": configuration.region,
            "book": configuration.price_book,
            "maxAgeDays": configuration.price_max_age_days,
            "interruptions": [item.to_json() for item in configuration.interruptions],
        },
        "scheduling": configuration.schedule.to_json() if configuration.schedule != ScheduleSpec() else None,
        "budgets": [_budget(budget) for budget in configuration.budgets],
        "optimiser": {
            "autonomy": configuration.autonomy,
            "minimumWindows": configuration.minimum_windows,
            "windowSeconds": configuration.window_seconds,
        },
        "forge": None if configuration.forge is None else configuration.forge.to_json(),
        "ledger": configuration.ledger.to_json() if configuration.ledger.witnesses else None,
        "admission": configuration.admission.to_json(),
        "audit": configuration.audit.to_json(),
        "models": None if configuration.models is None else configuration.models.to_json(),
        "data": {"storage": storage_json(configuration.storage)},
        "health": {"argocd": configuration.health} if configuration.health else None,
        "metrics": configuration.metrics.to_json(),
        "alerts": {"alertmanager": configuration.alertmanager} if configuration.alertmanager else None,
    }
    return {name: _without_none(value) for name, value in document.items() if value is not None}


def _policy(configuration: Configuration) -> dict[str, Any]:
    return {
        "trustedRegistries": list(configuration.trusted_registries),
        "requiredLabels": list(configuration.required_labels),
        "requireSignedCommits": configuration.require_signed_commits,
        "maxExceptionDays": configuration.max_exception_days,
        "frameworks": {
            name: _without_none({"min": low, "below": high}) for name, (low, high) in configuration.frameworks.items()
        },
        "bundle": configuration.bundle,
        "bundles": [item.to_json() for item in configuration.bundles],
        "canary": {} if configuration.canary is None else configuration.canary.to_json(),
        "gatekeeper": configuration.gatekeeper,
        "conftest": configuration.conftest,
        "waivers": configuration.waivers,
    }


def _target(configuration: Configuration) -> dict[str, Any]:
    return {
        **({"kind": "local"} if configuration.cluster is None else configuration.cluster.to_json()),
        "port": configuration.target_port,
        "volumes": dict(configuration.volumes),
        "images": dict(configuration.images),
    }


def _budget(budget: BudgetSpec) -> dict[str, Any]:
    return {
        "name": budget.name,
        "monthly": str(budget.monthly),
        "namespaces": list(budget.namespaces),
        "labels": dict(budget.labels),
    }


def _tier(tier: TierSpec) -> dict[str, Any]:
    nodes = tier.dedicated_nodes
    value = {
        "gpuClasses": None if tier.gpu_classes is None else list(tier.gpu_classes),
        "spot": tier.spot,
        "spotFallbackMinutes": tier.spot_fallback_minutes,
        "burstable": tier.burstable,
        "maxReplicas": tier.max_replicas,
        "maxAccelerators": tier.max_accelerators,
        "replicaCeiling": _amount(tier.replica_ceiling),
        "perThousandPredictionsCeiling": _amount(tier.per_thousand_predictions_ceiling),
        "perMillionTokensCeiling": _amount(tier.per_million_tokens_ceiling),
        "requiredEvidence": list(tier.required_evidence),
        "evidenceMaxAgeDays": tier.evidence_max_age_days,
        "requiredImageEvidence": list(tier.required_image_evidence),
        "requiredDatasetEvidence": list(tier.required_dataset_evidence) or None,
        "requiredEvaluation": list(tier.required_evaluation),
        "evaluationMaxAgeDays": tier.evaluation_max_age_days,
        "evaluationDataRegistered": tier.evaluation_data_registered,
        "provenanceLevel": tier.provenance_level,
        "imageProvenanceLevel": tier.image_provenance_level,
        "preScannedImages": list(tier.prescanned_images),
        "dedicatedNodes": None if nodes is None else {"key": nodes[0], "value": nodes[1]},
        "monitoring": list(tier.monitoring),
        "latencyTargetMs": tier.latency_target_ms,
        "scaleToZero": tier.scale_to_zero,
        "serverless": None if tier.serverless == "allowed" else tier.serverless,
        "coldStartSeconds": tier.cold_start_seconds,
        "ttlRequired": tier.ttl_required,
        "maxTtlDays": tier.max_ttl_days,
        "queueRequired": tier.queue_required,
        "vulnerabilities": limits_document(tier.vulnerabilities),
        "checks": dict(tier.checks),
        "relaxations": [_relaxation(item) for item in tier.relaxations],
    }
    return {key: item for key, item in value.items() if item is not None}


def _amount(amount: Money | None) -> str | None:
    return None if amount is None else str(amount)


def _relaxation(item: Relaxation) -> dict[str, Any]:
    begins = {} if item.begins is None else {"from": to_rfc3339(item.begins)}
    return {
        "rule": item.rule,
        "severity": item.severity,
        "owner": item.owner,
        "reason": item.reason,
        "ticket": item.ticket,
        **begins,
        "expires": to_rfc3339(item.expires),
    }


def _scheduling(configuration: Configuration, tier: str) -> dict[str, Any]:
    found = configuration.scheduling.get(tier)
    return {} if found is None else {"scheduling": found.to_json()}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item is not None}
    return value


def explain_key(key: str) -> dict[str, Any]:
    """What the schema says of a key: `{"key","type","default","values","description","keys"}`.

    `budgets.monthly`, `tiers.definitions.gold.spot` and the forms of the reference page (`budgets[].monthly`,
    `tiers.definitions.NAME.spot`) are understood. Raises UsageError with the nearest key.
    """
    rule: Mapping[str, Any] = schema()
    path = ""
    for part in [word for word in re.split(r"\.|\[\]", key) if word]:
        path, rule = _descend(rule, path, part, key)
    return {
        "key": path or FILE,
        "type": rule.get("type", "one of" if "enum" in rule else "constant"),
        "default": rule.get("default"),
        "values": rule.get("enum") or rule.get("items", {}).get("enum") or ([rule["const"]] if "const" in rule else []),
        "description": rule.get("description", ""),
        "keys": [
            {"key": name, "description": child.get("description", "")}
            for name, child in _inner(rule).get("properties", {}).items()
        ],
    }


def _inner(rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule that has the keys: that of a list's items, or of a named entry."""
    if isinstance(rule.get("items"), Mapping):
        return _inner(rule["items"])
    if not rule.get("properties") and isinstance(rule.get("additionalProperties"), Mapping):
        return _inner(rule["additionalProperties"])
    return rule


def _descend(rule: Mapping[str, Any], path: str, part: str, key: str) -> tuple[str, Mapping[str, Any]]:
    known = rule.get("properties") or rule.get("items", {}).get("properties") or {}
    if part in known:
        brackets = "[]" if "items" in rule else ""
        return f"{path}{brackets}{'.' if path else ''}{part}", known[part]
    if isinstance(rule.get("additionalProperties"), Mapping):
        return f"{path}.NAME", rule["additionalProperties"]
    everywhere = sorted(set(_names(schema(), "")))
    close = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.5)
    ending = next((name for name in everywhere if name.rpartition(".")[2] == part), None)
    near = ending or (close[0] if close else None)
    hint = f"did you mean {near!r}?" if near else "`customhouse config explain` lists them"
    raise UsageError(f"no key is called {key!r}", hint=hint)


def _names(rule: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, child in rule.get("properties", {}).items():
        place = f"{path}{name}"
        yield place
        yield from _names(child, f"{place}.")
        yield from _names(child.get("items", {}), f"{place}[].")
        if isinstance(child.get("additionalProperties"), Mapping):
            yield from _names(child["additionalProperties"], f"{place}.NAME.")
