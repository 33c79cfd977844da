"""What all reports of decisions share: the order of findings, their fingerprints, and text that drives no reader."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from customhouse._kit.digest import json_digest
from customhouse.cli.output import plural
from customhouse.core.decision import Decision, Finding, Severity, Verdict
from customhouse.core.resource import Location

SEVERITY_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
SENTENCES = {
    Verdict.ALLOW: "Cleared: nothing stands against this change.",
    Verdict.WARN: "Cleared with warnings.",
    Verdict.DENY: "Denied: this change does not enter production.",
}
# The runner of GitHub Actions carries out a line whose first characters, after blanks, are `::`, and an older form of
# the same anywhere in a line. Log lines are wrapped, so every word can come to stand first.
_COMMANDS = re.compile(r"(?<!\S)(?=::)|(?<=##)(?=\[)")
_WORD_JOINER = "\u2060"
"""Invisible; between the halves of something that a reader would carry out it makes it text."""


Row = tuple[Finding, Location | None]


def rows(decisions: Sequence[Decision]) -> list[Row]:
    """Findings of all decisions with their places: the worst first, then by place, so that the order is always one."""
    found = [
        (finding, decision.locations[index] if index < len(decision.locations) else None)
        for decision in decisions
        for index, finding in enumerate(decision.findings)
    ]
    return sorted(
        found,
        key=lambda row: (
            row[0].waiver is not None,
            SEVERITY_ORDER[row[0].severity],
            row[0].resource,
            row[0].rule,
            row[1] or Location(""),
            row[0].message,
        ),
    )


def fingerprinted(found: Sequence[Row]) -> Iterator[tuple[str, Finding, Location | None]]:
    """Each row with 32 hexadecimal digits that stay the same from run to run while the complaint does.

    Made of rule, resource and pointer: lines move, and messages carry amounts. Equal ones are told apart by number,
    since GitLab shows one of several with the same fingerprint only.
    """
    seen: Counter[tuple[object, ...]] = Counter()
    for finding, place in found:
        ref = finding.resource
        # The version is left out: moving to v1 is the same complaint about the same object.
        key = (finding.rule, ref.api_version.rpartition("/")[0], ref.kind, ref.namespace, ref.name, finding.pointer)
        number = seen[key]
        seen[key] += 1
        yield json_digest([*key, number])[7:39], finding, place


def joint(digests: Sequence[str]) -> str:
    """One digest for several decisions: that of the sorted list of theirs; of one, its own."""
    return digests[0] if len(digests) == 1 else json_digest(sorted(digests))


def counts(found: Sequence[Row], changes: int) -> str:
    """How many of each, as a sentence: `2 changes, 1 error, 1 waived.` is one."""
    number = {severity: sum(f.severity is severity and f.waiver is None for f, _ in found) for severity in Severity}
    waived = sum(finding.waiver is not None for finding, _ in found)
    parts = [plural(changes, "change"), *(plural(count, name.value) for name, count in number.items() if count)]
    return ", ".join([*parts, *([f"{waived} waived"] if waived else [])]) + "."


def waived(finding: Finding) -> str:
    """The sentence about its waiver; empty without one."""
    return f"Waived by {finding.waiver}." if finding.waiver else ""


def printable(text: str) -> str:
    """Without control characters: text in a manifest must drive neither a terminal nor the CI that reads the log."""
    plain = "".join(character for character in text if character.isprintable() or character == "\n")
    return _COMMANDS.sub(_WORD_JOINER, plain)


def one_line(text: str, most: int = 4000) -> str:
    """One printable line of bounded length."""
    plain = " ".join(printable(text.replace("\r", "\n")).split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
