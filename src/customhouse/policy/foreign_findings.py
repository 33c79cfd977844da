"""What policies of others say, in the one format of findings, and folded into a Decision.

They see raw objects and stand outside the promise that a Decision's body is the same at every point (DESIGN section 3):
the API server's defaults are part of what they see at admission. So that a Decision still names all that it rests on,
its bundle digest then covers them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, verdict_of
from customhouse.core.errors import PolicyError
from customhouse.core.resource import ResourceRef
from customhouse.policy import waiver as waiving
from customhouse.policy.conftest import Conftest, Message, judge_documents
from customhouse.policy.constraints import SEVERITIES
from customhouse.policy.foreign import ForeignEngine
from customhouse.policy.gatekeeper import Gatekeeper, Policies, Violation
from customhouse.policy.gatekeeper_cel import CelEngine
from customhouse.policy.gatekeeper_match import Subject
from customhouse.policy.gatekeeper_review import Review, known_fields, review_of_object, review_of_request
from customhouse.policy.waiver import Waiver

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class ForeignPolicies:
    """All policies of others that are in force. `namespaces` are conftest's; `digest` is of all their files."""

    digest: str
    gatekeeper: Policies = field(default_factory=Policies)
    conftest: Conftest | None = None
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """An object to judge: as it is declared (or lives), with its admission request where there is one."""

    ref: ResourceRef
    manifest: Mapping[str, Any]
    file: str = ""
    request: Mapping[str, Any] | None = None


def foreign_findings(
    objects: Sequence[ForeignObject],
    policies: ForeignPolicies,
    engine: ForeignEngine,
    *,
    point: Point = Point.GATE,
    inventory: Mapping[str, Any] | None,
    cel: CelEngine | None = None,
) -> list[tuple[Finding, ...]]:
    """The findings about each object, in order. `inventory` is what constraints may look up; None: it is not known.

    Raises PolicyError: could not decide.
    """
    found: list[list[Finding]] = [[] for _ in objects]
    if policies.gatekeeper.constraints:
        namespaces = (inventory or {}).get("cluster", {}).get("v1", {}).get("Namespace", {})
        reviews = [_review(item, namespaces) for item in objects]
        judged = Gatekeeper(policies.gatekeeper, engine, cel).judge(reviews, inventory, point)
        for index, violations in enumerate(judged):
            found[index] += [_of_violation(violation, objects[index].ref) for violation in violations]
    if policies.conftest is not None and policies.namespaces:
        # What is deleted is in no file any more.
        asked = [at for at, item in enumerate(objects) if (item.request or {}).get("operation") != "DELETE"]
        documents = [(objects[at].file, objects[at].manifest) for at in asked]
        told = judge_documents(policies.conftest, documents, engine, policies.namespaces)
        for index, messages in zip(asked, told, strict=True):
            found[index] += [_of_message(message, objects[index].ref) for message in messages]
    return [tuple(sorted(set(items), key=_order)) for items in found]


def folded(
    decision: Decision,
    findings: Sequence[Finding],
    policies: ForeignPolicies,
    waivers: Sequence[Waiver],
    as_of: datetime,
) -> Decision:
    """The Decision with these findings, waivers applied to them, and the verdict of all."""
    waived = waiving.apply(findings, waivers, as_of)
    together = (*decision.findings, *waived)
    return replace(
        decision,
        findings=together,
        verdict=verdict_of(together),
        bundle_digest=digest_with(decision.bundle_digest, policies),
        locations=(*decision.locations, *(None for _ in waived)),
    )


def digest_with(bundle_digest: str, policies: ForeignPolicies) -> str:
    """The digest of a bundle together with these policies."""
    return json_digest({"bundle": bundle_digest, "foreign": policies.digest})


def _review(item: ForeignObject, namespaces: Mapping[str, Any]) -> Review:
    namespace = namespaces.get(item.ref.namespace) if item.ref.namespace else None
    try:
        if item.request is not None:
            return review_of_request(known_fields(item.request), namespace=namespace)
        return _placed(review_of_object(item.manifest, namespace=namespace), item.ref)
    except PolicyError as error:
        raise PolicyError(error.message, where=str(item.ref), hint=error.hint) from error


def _placed(review: Review, ref: ResourceRef) -> Review:
    """A namespaced object that names no namespace lands in the default one, and constraints mean it there."""
    if not ref.namespace or review.document.get("namespace"):
        return review
    subject = review.subjects[0]
    metadata = {**(subject.value.get("metadata") or {}), "namespace": ref.namespace}
    value = {**subject.value, "metadata": metadata}
    return Review(
        {**review.document, "namespace": ref.namespace, "object": value},
        (Subject(value, subject.namespace, subject.source),),
    )


def _of_violation(violation: Violation, ref: ResourceRef) -> Finding:
    constraint = violation.constraint
    return Finding(
        rule=f"gatekeeper/{constraint.kind}/{constraint.name}",
        category=Category.COMPLIANCE,
        severity=SEVERITIES[violation.action],
        resource=ref,
        message=violation.message,
        fix=f"change the object so that {constraint.kind}/{constraint.name} ({constraint.where}) holds",
    )


def _of_message(message: Message, ref: ResourceRef) -> Finding:
    return Finding(
        rule=f"conftest/{message.namespace}/{message.rule}",
        category=Category.COMPLIANCE,
        severity=Severity.WARNING if message.warning else Severity.ERROR,
        resource=ref,
        message=message.text,
        fix=f"change the object so that the rule {message.rule} of package {message.namespace} says nothing",
    )


def _order(finding: Finding) -> tuple[int, str, str]:
    return _ORDER[finding.severity], finding.rule, finding.message
