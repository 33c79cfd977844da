"""Which objects a constraint is about: `spec.match`, as Gatekeeper has it (documentation, "How to use Gatekeeper")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

GENERATED, ORIGINAL = "Generated", "Original"


class MatchError(ValueError):
    """It cannot be told whether the object is meant; Gatekeeper rejects it then."""


class Subject(NamedTuple):
    """An object that may be meant. `namespace` is the Namespace object that it is in, where that is known."""

    value: Mapping[str, Any]
    namespace: Mapping[str, Any] | None = None
    source: str = ORIGINAL

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.value.get("kind", ""))

    @property
    def group(self) -> str:
        """The group of its apiVersion."""
        return str(self.value.get("apiVersion", "")).rpartition("/")[0]

    @property
    def is_namespace(self) -> bool:
        """Whether it is a Namespace of the core group."""
        return self.kind == "Namespace" and self.group == ""

    def meta(self, key: str) -> str:
        """A text of its metadata, or empty."""
        return _meta(self.value, key)


def matches(match: Mapping[str, Any], subject: Subject) -> bool:
    """Whether a constraint with this match is about the subject. Raises MatchError."""
    return (
        _source(match, subject)
        and _kinds(match, subject)
        and _scope(match, subject)
        and _namespaces(match, subject)
        and _selects(match.get("labelSelector"), _labels(subject.value))
        and _namespace_selector(match, subject)
        and _name(match, subject)
    )


def wildcard(pattern: str, text: str) -> bool:
    """Equal, or with a `*` at an end: a prefix, a suffix, or a part."""
    if pattern.startswith("*") and pattern.endswith("*"):
        return pattern.removeprefix("*").removesuffix("*") in text
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == text


def _source(match: Mapping[str, Any], subject: Subject) -> bool:
    wanted = match.get("source") or "All"
    if wanted not in ("All", GENERATED, ORIGINAL):
        raise MatchError(f"invalid source field {wanted!r}")
    return wanted in ("All", subject.source)


def _kinds(match: Mapping[str, Any], subject: Subject) -> bool:
    listed = match.get("kinds") or ()
    return not listed or any(
        _listed(item.get("kinds"), subject.kind) and _listed(item.get("apiGroups"), subject.group) for item in listed
    )


def _listed(values: Sequence[Any] | None, value: str) -> bool:
    return not values or "*" in values or value in values


def _scope(match: Mapping[str, Any], subject: Subject) -> bool:
    inside = bool(subject.meta("namespace")) or subject.namespace is not None
    if match.get("scope") == "Cluster":
        return subject.is_namespace or not inside
    if match.get("scope") == "Namespaced":
        return inside and not subject.is_namespace
    return True


def _namespaces(match: Mapping[str, Any], subject: Subject) -> bool:
    if subject.is_namespace:
        name = subject.meta("name")
    elif subject.namespace is not None:
        name = _meta(subject.namespace, "name")
    else:
        name = subject.meta("namespace")
        if not name:
            return True
    wanted, excluded = match.get("namespaces") or (), match.get("excludedNamespaces") or ()
    if wanted and not any(wildcard(item, name) for item in wanted):
        return False
    return not any(wildcard(item, name) for item in excluded)


def _namespace_selector(match: Mapping[str, Any], subject: Subject) -> bool:
    selector = match.get("namespaceSelector")
    if selector is None:
        return True
    if subject.is_namespace:
        return _selects(selector, _labels(subject.value))
    if subject.namespace is None:
        if not subject.meta("namespace"):
            return True
        raise MatchError("namespace selector for namespace-scoped object but missing Namespace")
    return _selects(selector, _labels(subject.namespace))


def _name(match: Mapping[str, Any], subject: Subject) -> bool:
    pattern = match.get("name") or ""
    if not pattern:
        return True
    # What the API server will name has a prefix only; a pattern that ends with * can match it.
    return wildcard(pattern, subject.meta("name")) or (
        pattern.endswith("*") and wildcard(pattern, subject.meta("generateName"))
    )


def _selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """A LabelSelector of Kubernetes: all of matchLabels and matchExpressions."""
    if selector is None:
        return True
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_expression(item, labels) for item in selector.get("matchExpressions") or ())


def _expression(item: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = item.get("key", ""), item.get("operator"), item.get("values") or ()
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    raise MatchError(f"{operator!r} is not a valid label selector operator")


def _meta(value: Mapping[str, Any], key: str) -> str:
    metadata = value.get("metadata")
    found = metadata.get(key) if isinstance(metadata, Mapping) else None
    return found if isinstance(found, str) else ""


def _labels(value: Mapping[str, Any]) -> Mapping[str, str]:
    metadata = value.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}
