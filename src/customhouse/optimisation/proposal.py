"""A Recommendation as a Proposal, and a Proposal as a branch name, a commit message and the text of a pull request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.core.cost import WorkloadCost
from customhouse.core.proposal import FieldEdit, Proposal
from customhouse.core.resource import Manifest, ResourceRef
from customhouse.optimisation.rightsize import Recommendation

Pricing = Callable[[Manifest], WorkloadCost]
"""The monthly cost of a manifest: at its declared size, and at the bounds of its replica range."""


def proposal(recommendation: Recommendation, manifest: Manifest, price: Pricing) -> Proposal:
    """What the optimiser asks for. The saving is a month's, at the declared replicas; its interval spans the range.

    Negative when the right size is larger. Raises what `price` raises.
    """
    subject = ResourceRef.of(manifest)
    before, after = price(manifest), price(edited(manifest, recommendation.edits))
    ends = sorted((before.low - after.low, before.high - after.high, before.monthly - after.monthly))
    shrink = (before.monthly - after.monthly).pico >= 0
    title = f"Right-size {subject.kind} {subject.name}: {_summary(recommendation)}"
    evidence = {
        **recommendation.evidence(),
        "monthly_before": str(before.monthly),
        "monthly_after": str(after.monthly),
        "currency": before.monthly.currency,
        "unpriced": sorted({*before.unpriced, *after.unpriced}),
        "direction": "smaller" if shrink else "larger",
    }
    return Proposal(
        id=proposal_id(subject, recommendation.edits),
        subject=subject,
        title=title,
        edits=recommendation.edits,
        saving=before.monthly - after.monthly,
        saving_low=ends[0],
        saving_high=ends[-1],
        risk=recommendation.risk,
        evidence=evidence,
    )


def proposal_id(subject: ResourceRef, edits: tuple[FieldEdit, ...]) -> str:
    """Twelve hex digits that depend on the subject and the edits only, so asking twice opens one branch."""
    document = {"subject": subject.to_json(), "edits": [[edit.pointer, edit.value] for edit in edits]}
    return json_digest(document).removeprefix("sha256:")[:12]


def edited(manifest: Manifest, edits: tuple[FieldEdit, ...]) -> Manifest:
    """A copy with the edits made (values as text). Raises KeyError when a pointer leads nowhere."""
    result: Any = manifest
    for edit in edits:
        result = _with(result, [_unescaped(part) for part in edit.pointer.split("/")[1:]], edit.value)
    return dict(result)


def branch_name(asked: Proposal) -> str:
    """`customhouse/rightsize/<kind>-<name>-<id>`, safe as a Git reference."""
    return f"customhouse/rightsize/{_slug(asked.subject.kind)}-{_slug(asked.subject.name)}-{asked.id}"


def commit_message(asked: Proposal) -> str:
    """Subject line of at most 72 characters, the reason, and trailers that tools read."""
    subject = asked.title if len(asked.title) <= 72 else asked.title[:71].rstrip() + "…"
    lines = [
        subject,
        "",
        *(f"{edit.pointer}: {edit.value}" for edit in asked.edits),
        "",
        f"Expected saving: {_money(asked)} a month. Risk: {asked.risk}.",
        "",
        f"Customhouse-Proposal: {asked.id}",
    ]
    return "\n".join(lines) + "\n"


def body_markdown(asked: Proposal) -> str:
    """The pull request: what changes, why, what it saves, what could go wrong, and the way back."""
    rows = "\n".join(
        f"| `{_cell(edit.pointer)}` | {_old(asked, edit)} | `{_cell(edit.value)}` |" for edit in asked.edits
    )
    measured = "\n".join(
        f"| {name} | {_amount(name, data['largest_seen'])} | {_amount(name, data['order_statistic'])} "
        f"| {data['margin']} | {data['windows']} ({data['effective_windows']} independent) |"
        for name, data in asked.evidence.items()
        if name in ("memory", "cpu") and isinstance(data, Mapping)
    )
    unpriced = asked.evidence.get("unpriced") or []
    caveat = f"\nWithout a price, so not in the figure: {_cell(', '.join(unpriced))}.\n" if unpriced else ""
    return f"""\
# {_cell(asked.title)}

| field of {_cell(str(asked.subject))} | now | proposed |
|---|---|---|
{rows}

**Expected saving**: {_money(asked)} a month ({asked.saving_low.rounded()} to {asked.saving_high.rounded()} \
{asked.saving.currency} over the declared replica range).
{caveat}
**Risk**: {_cell(asked.risk)}.

## Evidence

| measure | largest seen | order statistic | margin | windows |
|---|---|---|---|---|
{measured}

## The way back

Revert this commit: the former values come back through the same gate. If a limit is exceeded after the merge, the \
container is restarted by the target, the release shows it, and the next proposal starts from the larger figures.

Proposal `{asked.id}`: written by Customhouse's optimiser, judged by the same gate as everybody's change.
"""


def _summary(recommendation: Recommendation) -> str:
    """The limits that change; of a measure whose limit stays, the request."""
    parts = []
    for measure in ("memory", "cpu"):
        for name, words in ((f"limits.{measure}", measure), (f"requests.{measure}", f"{measure} request")):
            old, new = recommendation.current.get(name), recommendation.recommended.get(name)
            if old is not None and new is not None and old != new:
                parts.append(f"{words} {_amount(measure, old)} to {_amount(measure, new)}")
                break
    return ", ".join(parts)


def _amount(measure: str, value: int) -> str:
    if measure == "cpu":
        return f"{value}m"
    return f"{-(-value // (1 << 20))}Mi"


def _old(asked: Proposal, edit: FieldEdit) -> str:
    name = ".".join(edit.pointer.split("/")[-2:])
    current = asked.evidence.get("current")
    value = current.get(name) if isinstance(current, Mapping) else None
    return "" if value is None else f"`{_amount(name.rpartition('.')[2], value)}`"


def _money(asked: Proposal) -> str:
    return f"{asked.saving.rounded()} {asked.saving.currency}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "x"


def _cell(text: str) -> str:
    """Text from a manifest inside Markdown: no cell, code or HTML can be ended or begun by it."""
    flat = " ".join(text.split())
    return flat.replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _with(value: Any, path: list[str], new: str) -> Any:
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, (list, tuple)):
        items = list(value)
        items[int(head)] = _with(items[int(head)], rest, new)
        return items
    if not isinstance(value, Mapping) or head not in value:
        raise KeyError(head)
    return {**value, head: _with(value[head], rest, new)}
