"""Explanations: of rule ids and error codes, from their own documentation; of Decisions, in the same words everywhere.

`verdict_text` is what the webhook answers, what `explain` says of a stored Decision and what an audit reports: one
function of the body alone, so that the bytes are the same wherever the Decision was made and however it was kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from customhouse.core.errors import CustomhouseError, UsageError
from customhouse.policy.bundle import Bundle
from customhouse.policy.lint import ALLOWED, REFUSED

MAX_TEXT = 7 * 1024
"""Characters of a verdict's text: the API server cuts longer messages, and not at their end."""
MAX_FINDINGS = 20
MAX_LINE = 600
_VERBS = {"deny": "denies", "warn": "allows, with warnings,", "allow": "allows"}


def verdict_text(resource: str, body: Mapping[str, Any], digest: str) -> str:
    """What a Decision says, for people: the findings that stand, the worst first, each with its fix; then its digest.

    `resource` is `Deployment shop/web`, `body` is `Decision.body()` or the same as it was stored. Of a denial only what
    denies is told; waived findings are left out.
    """
    verdict = str(body["verdict"])
    wanted = "error" if verdict == "deny" else "warning"
    standing = [item for item in body["findings"] if item["waiver"] is None and item["severity"] == wanted]
    lines = [f"Customhouse {_VERBS[verdict]} {plain(resource)}{':' if standing else '.'}"]
    for item in standing[:MAX_FINDINGS]:
        lines.extend(f"  {line}" for line in finding_lines(item))
    if len(standing) > MAX_FINDINGS:
        lines.append(f"  … and {len(standing) - MAX_FINDINGS} more")
    last = f"decision {digest} (customhouse explain {digest[7:19]})"
    text = "\n".join([*lines, last])
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…\n{last}"


def finding_lines(item: Mapping[str, Any]) -> tuple[str, ...]:
    """A finding (`Finding.body()`) as one line, and its fix as another."""
    said = f"{item['severity']} {plain(item['rule'])}: {plain(item['message'])}"
    return (said, f"  fix: {plain(item['fix'])}") if item["fix"] else (said,)


def plain(text: str) -> str:
    """One line of bounded length without control characters: a manifest must not drive the reader's terminal."""
    if text.isprintable():
        if "  " not in text and text[:1] != " " != text[-1:]:
            return text[:MAX_LINE]  # of all spaces this one alone is printable
        return " ".join(text.split())[:MAX_LINE]
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:MAX_LINE]


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
        hint=(
            f"did you mean {', '.join(near)}?"
            if near
            else "docs/reference/rules.md lists the rules, docs/reference/errors.md the errors"
        ),
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
