"""A recommendation becomes a branch that a person can judge."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from customhouse._kit.money import Money, MoneyError
from customhouse._kit.quantity import parse_bytes
from customhouse.core.cost import WorkloadCost
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import ResourceRef
from customhouse.core.workload import workload
from customhouse.optimisation.proposal import (
    body_markdown,
    branch_name,
    commit_message,
    edited,
    proposal,
    proposal_id,
)
from customhouse.optimisation.rightsize import UsageSeries, recommend
from customhouse.optimisation.trackrecord import TrackRecord, opened, realised_saving, summarise

MIB = 1 << 20
MANIFEST = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "fraud-detection", "namespace": "fraud"},
    "spec": {
        "predictor": {
            "model": {
                "modelFormat": {"name": "onnx"},
                "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}},
            }
        }
    },
}


def price(manifest, unpriced=()):
    """Two dollars per GiB and month; one to three replicas."""
    memory = parse_bytes(manifest["spec"]["predictor"]["model"]["resources"]["requests"]["memory"])
    monthly = Money.parse("2").scale(memory, 1 << 30)
    return WorkloadCost(ResourceRef.of(manifest), monthly, monthly, monthly.scale(3), unpriced=tuple(unpriced))


@pytest.fixture
def asked():
    usage = UsageSeries(300, tuple(90 * MIB + i % 7 for i in range(400)), tuple(200 + i * 37 % 101 for i in range(400)))
    return proposal(recommend(workload(MANIFEST), usage, MANIFEST), MANIFEST, price)


def test_the_saving_is_exact_and_its_interval_spans_the_replica_range(asked):
    assert asked.saving == Money.parse("4") - Money.parse("2").scale(112 * MIB, 1 << 30)
    assert (asked.saving_low, asked.saving_high) == (asked.saving, asked.saving.scale(3))


def test_the_title_says_what_changes_also_when_it_is_the_request_alone(asked):
    assert asked.title == "Right-size InferenceService fraud-detection: memory 2048Mi to 112Mi, cpu 1000m to 720m"
    resources = {"requests": {"cpu": "900m", "memory": "112Mi"}, "limits": {"cpu": "720m", "memory": "112Mi"}}
    manifest = edited(MANIFEST, ())
    manifest["spec"] = {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "resources": resources}}}
    usage = UsageSeries(300, tuple(90 * MIB + i % 7 for i in range(400)), tuple(200 + i * 37 % 101 for i in range(400)))
    found = proposal(recommend(workload(manifest), usage, manifest), manifest, price)
    assert re.fullmatch(r"Right-size InferenceService fraud-detection: cpu request 900m to \d+m", found.title)


def test_the_same_question_has_the_same_id_and_another_edit_another(asked):
    assert proposal_id(asked.subject, asked.edits) == asked.id
    assert proposal_id(asked.subject, asked.edits[1:]) != asked.id
    assert re.fullmatch(r"[0-9a-f]{12}", asked.id)


def test_the_branch_is_a_safe_git_reference(asked):
    assert branch_name(asked) == f"customhouse/rightsize/inferenceservice-fraud-detection-{asked.id}"


def test_the_commit_message_says_why_in_a_short_subject(asked):
    lines = commit_message(asked).splitlines()
    assert len(lines[0]) <= 72
    assert lines[1] == ""
    assert lines[-1] == f"Customhouse-Proposal: {asked.id}"
    assert any("Expected saving: 3.78 USD a month" in line for line in lines)


def test_the_body_shows_fields_saving_risk_and_the_way_back(asked):
    body = body_markdown(asked)
    for part in (
        "| `/spec/predictor/model/resources/limits/memory` | `2048Mi` | `112Mi` |",
        "**Expected saving**: 3.78 USD a month (3.78 to 11.34 USD",
        asked.risk,
        "## The way back",
        "Revert this commit",
    ):
        assert part in body


def test_what_has_no_price_is_said_and_not_counted():
    usage = UsageSeries(300, tuple([90 * MIB] * 400), tuple([200] * 400))
    found = proposal(recommend(workload(MANIFEST), usage, MANIFEST), MANIFEST, lambda m: price(m, ["H100"]))
    assert "Without a price, so not in the figure: H100" in body_markdown(found)


def test_a_hostile_name_cannot_write_markdown(asked):
    from dataclasses import replace

    hostile = replace(asked, subject=ResourceRef("v1", "Pod", "n", "x`|<img src=y>\n# owned"), title="a|b`c\n# owned")
    body = body_markdown(hostile)
    assert "<img" not in body
    assert not any(line.startswith("# owned") for line in body.splitlines())
    assert re.fullmatch(r"[a-z0-9/-]+", branch_name(hostile))


def test_an_edit_leaves_the_given_manifest_alone_and_must_lead_somewhere():
    after = edited(MANIFEST, (FieldEdit("/spec/predictor/model/resources/limits/memory", "1Gi"),))
    assert after["spec"]["predictor"]["model"]["resources"]["limits"]["memory"] == "1Gi"
    assert MANIFEST["spec"]["predictor"]["model"]["resources"]["limits"]["memory"] == "2Gi"
    with pytest.raises(KeyError):
        edited(MANIFEST, (FieldEdit("/spec/nowhere", "1"),))


def test_a_promise_is_held_against_what_was_realised(asked):
    record = opened(asked, datetime(2026, 11, 1, tzinfo=UTC))
    assert TrackRecord.from_json(record.to_json()) == record
    assert (record.kept, summarise([record]).kept_share) == (None, None)
    from dataclasses import replace

    kept = replace(record, realised=asked.saving_low)
    broken = replace(record, realised=asked.saving_low - Money(1))
    reverted = replace(record, realised=asked.saving_high, reverted=True)
    found = summarise([record, kept, broken, reverted])
    assert (found.proposals, found.measured, found.kept, found.kept_share) == (4, 3, 1, pytest.approx(1 / 3))
    assert found.predicted == asked.saving.scale(3)


def test_a_realised_saving_compares_months_of_both_sides():
    assert realised_saving(Money.parse("10"), 100, Money.parse("1"), 10) == Money.zero()
    assert realised_saving(Money.parse("10"), 100, Money.parse("0.5"), 10) == Money.parse("36.5")
    assert realised_saving(Money.parse("10"), 0, Money.parse("1"), 10) is None
    with pytest.raises(MoneyError):
        realised_saving(Money.parse("10"), 5, Money.parse("1", "EUR"), 10)
