"""Constraints of Gatekeeper: an instance of a template, with its parameters, its match and what a violation does.

A constraint is held against the schema that Gatekeeper's CustomResourceDefinition would have: match, parameters and
enforcement, no unknown field, defaults filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.errors import PolicyError
from customhouse.core.verdicts import Point, Severity
from customhouse.policy.gatekeeper_schema import defaulted, problems, unknown
from customhouse.policy.gatekeeper_template import Document, Template

GROUP = "constraints.gatekeeper.sh"
_VERSIONS = ("v1beta1", "v1alpha1", "v1")
POINTS: Mapping[Point, str] = {
    Point.GATE: "gator.gatekeeper.sh",
    Point.ADMISSION: "validation.gatekeeper.sh",
    Point.AUDIT: "audit.gatekeeper.sh",
}
"""Gatekeeper's names of the points at which an action may be taken."""
SEVERITIES: Mapping[str, Severity] = {"deny": Severity.ERROR, "warn": Severity.WARNING, "dryrun": Severity.NOTE}
_STRICTEST = ("deny", "warn", "dryrun")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_TEXTS = {"type": "array", "items": {"type": "string", "nullable": True}}
_SELECTOR = {
    "type": "object",
    "nullable": True,
    "properties": {
        "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        "matchExpressions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "key": {"type": "string"},
                    "operator": {"type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    "values": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["key", "operator"],
            },
        },
    },
}
_WILDCARDS = {"type": "array", "items": {"type": "string", "pattern": r"^\*?[-:a-z0-9]*\*?$"}}
_MATCH = {
    "type": "object",
    "properties": {
        "source": {"type": "string", "enum": ["All", "Generated", "Original"]},
        "kinds": {
            "type": "array",
            "items": {"type": "object", "properties": {"apiGroups": _TEXTS, "kinds": _TEXTS, "apiVersions": _TEXTS}},
        },
        "scope": {"type": "string", "enum": ["*", "Cluster", "Namespaced"]},
        "namespaces": _WILDCARDS,
        "excludedNamespaces": _WILDCARDS,
        "labelSelector": _SELECTOR,
        "namespaceSelector": _SELECTOR,
        "name": {"type": "string", "pattern": r"^\*?[-:a-z0-9]*\*?$"},
    },
}
_SCOPED = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "action": {"type": "string"},
            "enforcementPoints": {
                "type": "array",
                "items": {"type": "object", "properties": {"name": {"type": "string"}}},
            },
        },
    },
}


class SchemaError(PolicyError):
    """A constraint that its template's schema refuses; a suite may expect it (`invalid: true`)."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What is asked of objects. `actions` maps one of Gatekeeper's enforcement points, or `*`, to actions."""

    kind: str
    name: str
    parameters: Mapping[str, Any]
    match: Mapping[str, Any]
    actions: Mapping[str, tuple[str, ...]]
    where: str
    document: Mapping[str, Any] = field(default_factory=dict)
    """The whole constraint, defaults filled in."""

    def action(self, point: Point) -> str | None:
        """The strictest action at a point; None: it does not hold there."""
        taken = {*self.actions.get("*", ()), *self.actions.get(POINTS[point], ())}
        # An action that Gatekeeper does not know denies nothing there; it is told.
        return next((action for action in _STRICTEST if action in taken), "dryrun" if taken else None)


def parse_constraint(document: Document, template: Template) -> Constraint:
    """The constraint of a template. Raises PolicyError, and SchemaError where a value does not fit the schema."""
    where = document.where
    if not _NAME.fullmatch(document.name) or len(document.name) > 63:
        raise PolicyError(f"the constraint's name {document.name!r} is no DNS label", where=where)
    if document.kind != template.kind:
        raise PolicyError(f"a constraint of kind {document.kind}, where {template.kind} is wanted", where=where)
    if document.group != GROUP or document.version not in _VERSIONS:
        said = document.value.get("apiVersion")
        raise PolicyError(f"apiVersion {said!r} is not one of constraints", where=where, hint=f"{GROUP}/v1beta1")
    schema = _schema(template)
    spec = document.value.get("spec", {})
    if found := list(problems(spec, schema, "spec")):
        raise SchemaError(
            f"{document.kind}/{document.name} does not fit its schema: {'; '.join(found[:5])}", where=where
        )
    if extra := list(unknown(spec, schema, "spec")):
        raise PolicyError(f"{document.kind}/{document.name} has unknown fields: {', '.join(extra[:5])}", where=where)
    spec = defaulted(spec, schema)
    return Constraint(
        kind=document.kind,
        name=document.name,
        parameters=spec.get("parameters") or {},
        match=spec.get("match") or {},
        actions=_actions(spec, document),
        where=where,
        document={**document.value, "spec": spec},
    )


def _schema(template: Template) -> Mapping[str, Any]:
    parts: dict[str, Any] = {
        "match": _MATCH,
        "enforcementAction": {"type": "string", "default": "deny"},
        "scopedEnforcementActions": _SCOPED,
    }
    if template.schema is not None:
        legacy = {"x-kubernetes-preserve-unknown-fields": True} if template.legacy else {}
        parts["parameters"] = {**template.schema, **legacy}
    elif template.legacy:
        parts["parameters"] = {"x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "properties": parts}


def _actions(spec: Mapping[str, Any], document: Document) -> Mapping[str, tuple[str, ...]]:
    action = spec["enforcementAction"]
    if action != "scoped":
        return {"*": (action,)}
    listed = spec.get("scopedEnforcementActions")
    if not listed:
        raise PolicyError(
            f"{document.kind}/{document.name} is scoped, and has no scopedEnforcementActions", where=document.where
        )
    found: dict[str, tuple[str, ...]] = {}
    for item in listed:
        for point in item.get("enforcementPoints") or ():
            name = str(point.get("name", ""))
            found[name] = (*found.get(name, ()), str(item.get("action", "")))
    return found
