"""The quick digest of a Decision's body is the digest of its canonical JSON, whatever its texts hold."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from customhouse._kit.money import Money
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, Verdict
from customhouse.core.resource import ResourceRef
from customhouse.policy.limits import body_digest

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FINDINGS = st.builds(
    Finding,
    rule=TEXTS,
    category=st.sampled_from(Category),
    severity=st.sampled_from(Severity),
    resource=st.builds(ResourceRef, TEXTS, TEXTS, TEXTS, TEXTS),
    message=TEXTS,
    fix=TEXTS,
    pointer=TEXTS,
    cost_delta=st.none() | st.builds(Money, st.integers(-(10**30), 10**30), st.just("USD")),
    waiver=st.none() | TEXTS,
)


@given(st.lists(FINDINGS, max_size=4), st.sampled_from(Verdict), TEXTS, TEXTS)
def test_the_quick_digest_of_a_body_is_its_digest(
    findings: list[Finding], verdict: Verdict, facts: str, bundle: str
) -> None:
    decision = Decision(
        resource=ResourceRef("v1", "Pod", "a", "b"),
        verdict=verdict,
        findings=tuple(findings),
        facts_digest=facts,
        bundle_digest=bundle,
        point=Point.ADMISSION,
        decided_at=datetime(2026, 11, 22, tzinfo=UTC),
        locations=(None,) * len(findings),
    )
    assert body_digest(decision) == decision.digest
