"""Facts: everything that rules may know about one Change, folded into one canonical, bounded document.

`build_facts` is pure: the same Change and FactsContext give the same bytes. What is missing is never filled in with
something harmless: an artifact without Evidence stays without, a workload without a price is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.frozen import quickly_made
from customhouse._kit.money import Money
from customhouse.core.change import Change, Operation
from customhouse.core.cost import BookRef, BudgetState, WorkloadCost
from customhouse.core.errors import CannotDecideError
from customhouse.core.evidence import ArtifactRef, Evidence, EvidenceKind
from customhouse.core.facts import SCHEMA, Facts
from customhouse.core.forge import Review
from customhouse.core.resource import PREFIX, ResourceRef
from customhouse.core.workload import workload
from customhouse.policy.evaluation_facts import EvaluationFacts, planned, registered
from customhouse.policy.facts_tier import Last, micro, micro_or_none, tier_facts
from customhouse.policy.frameworks import release
from customhouse.policy.origins import ModelRules, asked_of_models, origins
from customhouse.policy.pods import artifacts as named_artifacts
from customhouse.policy.projection import check_bounds, is_plain, project
from customhouse.policy.statements import ProvenanceFacts, VulnerabilityFacts
from customhouse.policy.storage import StorageStatements, settled
from customhouse.policy.summary import summarise
from customhouse.policy.tiers import MAX_EXCEPTION_DAYS, EnvironmentJudgement, TierJudgement

_TTL = PREFIX + "ttl"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_OF_VULNERABILITIES = (EvidenceKind.VULNERABILITIES, EvidenceKind.VEX)
DEFAULT_LABELS = ("owner", "team", "project", "cost-centre")


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """What the base revision's configuration says to the rules.

    A required label without `/` gets the prefix `customhouse.dev/`. A trusted registry is a prefix of whole path
    components: `apexlogic.com` does not trust `apexlogic.com.evil.example`.
    """

    trusted_registries: tuple[str, ...] = ()
    required_labels: tuple[str, ...] = DEFAULT_LABELS
    require_signed_commits: bool = True
    require_revision: bool = False
    """Whether an object that no commit declares is refused (admission of hand-made changes)."""
    max_exception_days: int = MAX_EXCEPTION_DAYS
    """How long a relaxation or a waiver may last."""
    provenance: ProvenanceFacts | None = None
    evaluation: EvaluationFacts | None = None
    vulnerabilities: VulnerabilityFacts | None = None
    models: ModelRules | None = None
    storage: StorageStatements = field(default_factory=StorageStatements)
    frameworks: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """Framework to its lowest version and the version it has to stay below; None: no bound."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ArtifactEvidence:
    """One artifact with all the statements that were found about its digest, verified or not."""

    artifact: ArtifactRef
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetImpact:
    """A budget that covers the resource, and what the whole change set adds to it for a month (may be negative)."""

    state: BudgetState
    change: Money
    own: Money | None = None
    """What this Change alone adds to the budget, also by coming under it with another label; None: not known."""
    most: Money | None = None
    """What the whole set adds when all in it grows as far as it may; None: as `change`."""
    rise: Money | None = None
    """By how much this Change alone raises the upper end; None: not at all."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A cheaper way to run the same workload; `monthly` is its price."""

    description: str
    monthly: Money


@dataclass(frozen=True, slots=True)
class UsageEvidence:
    """What a workload was measured to need: 99th percentiles of one replica over some days. None: not measured."""

    window_days: int
    cpu_milli: int | None = None
    memory_bytes: int | None = None
    accelerator_percent: int | None = None
    """How busy its accelerators were, 0 to 100."""
    requests: int | None = None
    """Requests that it served in the window."""


@quickly_made
@dataclass(frozen=True, slots=True)
class FactsContext:
    """Everything beside the Change. `as_of` is the one time that rules know; `book` is None when nothing is priced."""

    as_of: datetime
    book: BookRef | None = None
    price_age_days: int | None = None
    """Whole days since the oldest price that figures may use; None: not known."""
    price_max_age_days: int | None = None
    """How old prices may be before that is a finding; None: no limit."""
    tier: TierJudgement = field(default_factory=TierJudgement)
    artifacts: tuple[ArtifactEvidence, ...] = ()
    cost_before: WorkloadCost | None = None
    cost_after: WorkloadCost | None = None
    change_set_delta: Money | None = None
    """What the whole set of changes adds to the month; None: only this change."""
    budgets: tuple[BudgetImpact, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    settings: PolicySettings = field(default_factory=PolicySettings)
    environment: EnvironmentJudgement | None = None
    """Where the object is judged to be; None: the configuration names no environments."""
    surroundings: Mapping[str, Any] | None = None
    """What else is declared, as `policy.surroundings` tells it; None: not known, which the rules that ask say."""
    usage: UsageEvidence | None = None
    review: Review | None = None
    """What the forge says of the commit; None: it was not asked (no forge is configured, or nothing is deployed)."""
    derived: bool = False
    """Whether a controller made it for an owner: cost, labels and commit are the owner's, and judged there."""
    keys_in_git: tuple[str, ...] | None = None
    """Of a live Secret: the keys whose values Git holds in the clear. None: what is judged is what Git holds."""
    currency: str = "USD"


def build_facts(change: Change, context: FactsContext) -> Facts:
    """The Facts of a Change. Money is in whole micro-units, rounded up.

    Raises DeclarationError for an object that cannot be read; CannotDecideError for a workload without a price
    estimate, mixed currencies, a Change without the side its operation needs, and a document beyond the limits.
    """
    _check_sides(change)
    used = _used(change, context)
    before = None if change.before is None else project(change.before.manifest, change.before.ref, part=True)
    after = None if change.after is None else project(change.after.manifest, change.after.ref, part=True)
    if context.keys_in_git is not None:
        before, after = (_of_live_secret(side, context.keys_in_git) for side in (before, after))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "as_of": to_rfc3339(context.as_of),
        "change": {
            "operation": change.operation.value,
            "resource": change.ref.to_json(),
            "before": before,
            "after": after,
        },
        "revision": _revision(change),
        "review": _review(context.review),
        "actor": {"kind": change.actor.kind.value, "name": change.actor.name},
        "derived": context.derived,
        "tier": tier_facts(
            context.tier, context.environment, context.as_of, context.settings.max_exception_days, context.currency
        ),
        "environment": None
        if context.environment is None
        else {"name": context.environment.name, "production": context.environment.production},
        "surroundings": settled(context.surroundings, context.settings.storage),
        "lifetime": _lifetime(after, context.as_of),
        "usage": _usage(context.usage),
        "artifacts": [_artifact(artifact, evidence, context) for artifact, evidence in used],
        **origins(used, context.settings.models),
        "cost": _cost(change, context, after),
        "change_set": {"monthly_delta_micro": _change_set_delta(context)},
        "budgets": [_budget(impact, context.currency) for impact in context.budgets],
        "prices": {
            "book_digest": None if context.book is None else context.book.digest,
            "as_of": None if context.book is None else context.book.as_of,
            "age_days": context.price_age_days,
            "max_age_days": context.price_max_age_days,
        },
        "settings": _SETTINGS.of(lambda: _settings(context.settings), context.settings),
    }
    sides = ((change.before, before), (change.after, after))
    plain = [made for side, made in sides if side is not None and is_plain(side.manifest)]
    # What is written here is texts, whole numbers and lists of them, so it is not looked through for fractions.
    plain += [document[part] for part in ("tier", "settings", "cost", "prices", "change_set", "actor")]
    return Facts.of(document, check_bounds(document, f"the facts about {change.ref}", plain))


def _of_live_secret(side: dict[str, Any] | None, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """Every Secret of a cluster is in the clear; `plain_keys` are those that Git shows to whoever reads it."""
    if side is None or (side["api_version"], side["kind"]) != ("v1", "Secret"):
        return side
    return {**side, "spec": {**side["spec"], "plain_keys": sorted(keys)}}


def _check_sides(change: Change) -> None:
    wanted = {
        Operation.CREATE: (False, True),
        Operation.UPDATE: (True, True),
        Operation.DELETE: (True, False),
    }[change.operation]
    if (change.before is not None, change.after is not None) != wanted:
        raise CannotDecideError(
            f"a change that should {change.operation} {change.ref} lacks a side or has one too many"
        )
    for side in (change.before, change.after):
        if side is not None and _identity(side.ref) != _identity(change.ref):
            raise CannotDecideError(f"a change of {change.ref} carries a declaration of {side.ref}")
        if side is not None and side.ref != change.ref and workload(side.manifest, side.ref) is not None:
            # What serves, is held or was run is remembered by its whole name: it must not start a second time.
            raise CannotDecideError(
                f"{change.ref} runs something, and its apiVersion changes from {side.ref.api_version} to "
                f"{change.ref.api_version}",
                hint="keep the apiVersion, or delete the object in one commit and declare it in the next",
            )


def _identity(ref: ResourceRef) -> tuple[str, str, str, str]:
    """An object is itself under every version of its API."""
    group, slash, _ = ref.api_version.rpartition("/")
    return (group if slash else "", ref.kind, ref.namespace, ref.name)


def _revision(change: Change) -> dict[str, Any] | None:
    revision = change.revision
    if revision is None:
        return None
    return {
        "id": revision.id,
        "author": revision.author,
        "signer": revision.signer,
        "signature": revision.signature.value,
        "descends": revision.descends,
        "reviewers": list(revision.reviewers),
    }


def _review(review: Review | None) -> dict[str, Any] | None:
    if review is None:
        return None
    return {
        "required": review.required,
        "pull_request": review.given.pull_request,
        "merged": review.given.merged,
        "author": review.given.author,
        "approvals": list(review.given.approvals),
        "objections": list(review.given.objections),
        "missing_owners": list(review.missing_owners[:100]),
        "exempt": review.exempt,
    }


_SETTINGS: Last[dict[str, Any]] = Last()


def _settings(settings: PolicySettings) -> dict[str, Any]:
    return {
        "trusted_registries": list(settings.trusted_registries),
        "required_labels": list(settings.required_labels),
        "require_signed_commits": settings.require_signed_commits,
        "require_revision": settings.require_revision,
        **asked_of_models(settings.models),
        "frameworks": {name: _range(low, high) for name, (low, high) in sorted(settings.frameworks.items())},
    }


def _range(low: str | None, high: str | None) -> dict[str, Any]:
    words = [f"{word} {text}" for word, text in (("at least", low), ("below", high)) if text is not None]
    return {"min": _bound(low), "below": _bound(high), "text": " and ".join(words) or "of any version"}


def _bound(text: str | None) -> list[int] | None:
    """A version as the rules compare it: without its last zeros, so that 2.4 is not lower than 2.4.0."""
    found = None if text is None else release(text)
    while found and found[-1] == 0:
        found = found[:-1]
    return found


def _lifetime(after: Mapping[str, Any] | None, as_of: datetime) -> dict[str, Any] | None:
    """When the object says that it ends: an RFC 3339 moment, or a day, which it lives to the end of (UTC)."""
    said = None if after is None else after["annotations"].get(_TTL) or after["labels"].get(_TTL)
    if said is None:
        return None
    text = f"{said}T23:59:59Z" if _DAY.fullmatch(said) else said
    try:
        left = int((from_rfc3339(text) - as_of).total_seconds())
    except ValueError:
        return {"ttl": said[:200], "seconds_left": None}
    return {"ttl": said[:200], "seconds_left": left}


def _usage(usage: UsageEvidence | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "window_days": usage.window_days,
        "cpu_milli": usage.cpu_milli,
        "memory_bytes": usage.memory_bytes,
        "accelerator_percent": usage.accelerator_percent,
        "requests": usage.requests,
    }


def _used(change: Change, context: FactsContext) -> list[tuple[ArtifactRef, Sequence[Evidence]]]:
    """What the object names, each with its Evidence; then what the app adds (datasets, code)."""
    given = list(context.artifacts)
    result: list[tuple[ArtifactRef, Sequence[Evidence]]] = []
    named = () if change.after is None else named_artifacts(change.after.manifest, change.ref)
    for artifact in named:
        match = next((item for item in given if _same(item.artifact, artifact)), None)
        if match is None:
            result.append((artifact, ()))
            continue
        given.remove(match)
        # The pin is what is written; the digest may have been resolved by the app.
        resolved = artifact if artifact.digest else replace(artifact, digest=match.artifact.digest)
        result.append((resolved, match.evidence))
    return [*result, *((item.artifact, item.evidence) for item in given)]


def _same(given: ArtifactRef, named: ArtifactRef) -> bool:
    return (given.role, given.reference, given.pointer) == (named.role, named.reference, named.pointer)


def _artifact(artifact: ArtifactRef, evidence: Sequence[Evidence], context: FactsContext) -> dict[str, Any]:
    ordered = sorted(evidence, key=lambda item: (item.kind.value, item.digest))
    expected = context.settings.provenance
    wanted = None if expected is None else expected.wanted(artifact)
    limits = context.tier.spec.vulnerabilities
    reporter = context.settings.vulnerabilities
    about = [_about(item, artifact) for item in ordered if item.kind in _OF_VULNERABILITIES]
    known = reporter.known(artifact, about, context.as_of, limits.vex_max_age_days) if reporter and about else None
    return {
        "role": artifact.role,
        "reference": artifact.reference,
        "digest": artifact.digest,
        "pinned": artifact.pinned,
        "pointer": artifact.pointer,
        **({} if wanted is None else {"provenance": wanted}),
        **({} if known is None else {"vulnerabilities": known}),
        **planned(artifact, context.settings.evaluation),
        "evidence": [_evidence(item, artifact, context.as_of, context.settings) for item in ordered],
    }


def _evidence(item: Evidence, artifact: ArtifactRef, as_of: datetime, settings: PolicySettings) -> dict[str, Any]:
    item = _about(item, artifact)
    summary = summarise(item.kind, item.predicate)
    if item.kind is EvidenceKind.PROVENANCE and settings.provenance is not None:
        summary |= settings.provenance.said(artifact, item)
    if item.kind is EvidenceKind.EVALUATION:
        summary |= registered(summary, settings.evaluation)
    return {
        "kind": item.kind.value,
        "predicate_type": item.predicate_type,
        "verified": item.verified,
        "signer": item.signer,
        "issued_at": None if item.issued_at is None else to_rfc3339(item.issued_at),
        "age_seconds": None if item.issued_at is None else int((as_of - item.issued_at).total_seconds()),
        "digest": item.digest,
        "problem": item.problem[:1000],
        "summary": summary,
    }


def _about(item: Evidence, artifact: ArtifactRef) -> Evidence:
    """A statement about other bytes proves nothing about these, however well it is signed."""
    if artifact.digest is not None and _hex(item.subject) == _hex(artifact.digest):
        return item
    problem = f"it speaks of {item.subject}, not of {artifact.digest or 'an artifact without a digest'}"
    return replace(item, verified=False, problem=problem)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:").lower()


def _cost(change: Change, context: FactsContext, after: Mapping[str, Any] | None) -> dict[str, Any]:
    zero = Money.zero(context.currency)
    cost = context.cost_after
    runs = None if after is None else after["workload"]
    # A template runs nothing by itself: what is made of it has the price.
    if runs is not None and runs["known"] and not runs["template"] and cost is None:
        raise CannotDecideError(
            f"{change.ref} runs something but has no price estimate", hint="name a price book in customhouse.yaml"
        )
    if after is None:
        cost = None
    before = context.cost_before
    replicas = 1 if after is None or after["workload"] is None else max(after["workload"]["replicas_max"], 1)
    high = micro(zero if cost is None else cost.high, context.currency)
    return {
        "currency": context.currency,
        "monthly_before_micro": micro(zero if before is None else before.monthly, context.currency),
        "monthly_after_micro": micro(zero if cost is None else cost.monthly, context.currency),
        "monthly_low_micro": micro(zero if cost is None else cost.low, context.currency),
        "monthly_high_micro": high,
        "monthly_replica_micro": (
            -(-high // replicas) if cost is None or cost.replica is None else micro(cost.replica, context.currency)
        ),
        "per_million_tokens_micro": micro_or_none(None if cost is None else cost.per_million_tokens, context.currency),
        "per_thousand_predictions_micro": micro_or_none(
            None if cost is None else cost.per_thousand_predictions, context.currency
        ),
        "unpriced": [] if cost is None else list(cost.unpriced),
        "uncounted": [] if cost is None else list(cost.uncounted),
        "alternatives": [
            {"description": item.description, "monthly_micro": micro(item.monthly, context.currency)}
            for item in sorted(context.alternatives, key=lambda item: (item.monthly.pico, item.description))[:10]
        ],
    }


def _change_set_delta(context: FactsContext) -> int:
    if context.change_set_delta is not None:
        return micro(context.change_set_delta, context.currency)
    zero = Money.zero(context.currency)
    after = zero if context.cost_after is None else context.cost_after.monthly
    before = zero if context.cost_before is None else context.cost_before.monthly
    return micro(after, context.currency) - micro(before, context.currency)


def _budget(impact: BudgetImpact, currency: str) -> dict[str, Any]:
    state = impact.state
    return {
        "name": state.name,
        "limit_micro": micro(state.limit, currency),
        "month_to_date_micro": micro(state.month_to_date, currency),
        "forecast_micro": micro(state.forecast, currency),
        "left_micro": micro(state.left, currency),
        "change_micro": micro(impact.change, currency),
        "own_change_micro": micro(impact.change if impact.own is None else impact.own, currency),
        "most_change_micro": micro(impact.change if impact.most is None else impact.most, currency),
        "own_rise_micro": 0 if impact.rise is None else micro(impact.rise, currency),
        "snapshot": state.snapshot,
        "spend_age_hours": state.spend_age_hours,
    }
