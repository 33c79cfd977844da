"""Explanations of rule ids and error codes, from the rules' own metadata and the errors' own docstrings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from customhouse.core.errors import CustomhouseError, UsageError
from customhouse.policy.bundle import Bundle
from customhouse.policy.lint import ALLOWED, REFUSED


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `customhouse explain ID` prints. `source` is file:line of a rule; empty for an error code."""

    id: str
    title: str
    text: str
    category: str
    severity: str
    fix: str
    source: str = ""

    def to_json(self) -> dict[str, str]:
        """The same as JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "text": self.text,
            "category": self.category,
            "severity": self.severity,
            "fix": self.fix,
            "source": self.source,
        }

    def __str__(self) -> str:
        lines = [f"{self.id}: {self.title}", "", self.text]
        if self.category:
            lines += ["", f"Category {self.category}, severity {self.severity}."]
        if self.fix:
            lines += ["", f"What to do: {self.fix}"]
        if self.source:
            lines += ["", f"Defined in {self.source}"]
        return "\n".join(lines)


def explain(identifier: str, bundle: Bundle) -> Explanation:
    """The explanation of a rule id, an error code (`CH010`) or `lint`. Raises UsageError, naming the nearest ids."""
    wanted = identifier.strip()
    if (rule := bundle.rule(wanted)) is not None:
        return Explanation(
            id=rule.id,
            title=rule.title,
            text=rule.description,
            category=rule.category.value,
            severity=rule.severity.value,
            fix=rule.fix,
            source=f"{rule.file}:{rule.line}",
        )
    if wanted == "lint":
        return _lint()
    for error in _errors(CustomhouseError):
        if error.code == wanted.upper():
            title, _, rest = (error.__doc__ or "").partition("\n")
            text = f"{' '.join(rest.split())} Exit status {error.exit_status}.".strip()
            return Explanation(error.code, title.strip().rstrip("."), text, "", "", "")
    known = identifiers(bundle)
    near = get_close_matches(wanted, known, n=3, cutoff=0.4)
    raise UsageError(
        f"there is no rule or error {wanted!r}",
        hint=f"did you mean {', '.join(near)}?" if near else "customhouse policy lint lists the rules",
    )


def identifiers(bundle: Bundle) -> list[str]:
    """Everything that can be explained, sorted."""
    return sorted({doc.id for doc in bundle.rules} | {error.code for error in _errors(CustomhouseError)} | {"lint"})


def _lint() -> Explanation:
    refused = "; ".join(f"{name}: {reason}" for name, reason in sorted(REFUSED.items()))
    return Explanation(
        id="lint",
        title="What a bundle's rules may call",
        text=f"Allowed built-ins: {', '.join(sorted(ALLOWED))}. Refused, with the reason: {refused}.",
        category="",
        severity="",
        fix="Write a function of your own for what is not in the list.",
    )


def _errors(root: type[CustomhouseError]) -> Iterator[type[CustomhouseError]]:
    yield root
    for child in root.__subclasses__():
        yield from _errors(child)
