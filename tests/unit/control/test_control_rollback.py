"""Which commit is undone, what its revert says, what is restored."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from customhouse.control.rollback import introduced_by, is_rollback, last_good, plan_rollback, revert_message
from customhouse.core.errors import SourceError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef

FRAUD = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "default", "fraud-detection")
OTHER = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "default", "other")


def release(digest: str, phase: RolloutPhase, resource: ResourceRef = FRAUD) -> Release:
    at = datetime(2026, 1, 31, tzinfo=UTC)
    return Release(resource, digest, f"rev-{digest}", "Ada <a@b>", "", "allow", "", phase, at)


def test_the_commit_that_brought_the_bad_release_is_undone_and_not_a_later_one() -> None:
    history = [("c1", None), ("c2", "good"), ("c3", "bad"), ("c4", "good"), ("c5", "bad"), ("c6", "bad")]
    assert introduced_by(history, "bad") == "c5"
    assert introduced_by(history[:4], "bad") == "c3"
    with pytest.raises(SourceError, match="no commit declares"):
        introduced_by(history, "unknown")


def test_the_last_good_release_is_promoted_of_this_resource_and_was_not_condemned() -> None:
    promoted, back = RolloutPhase.PROMOTED, RolloutPhase.ROLLED_BACK
    releases = [
        release("bad", RolloutPhase.CANARY),
        release("elsewhere", promoted, OTHER),
        release("bad", promoted),
        release("worse", back),
        release("worse", promoted),
        release("good", promoted),
        release("old", promoted),
    ]
    found = last_good(releases, FRAUD, "bad")
    assert found is not None
    assert found.release == "good"
    assert last_good(releases[:5], FRAUD, "bad") is None


def test_a_reason_cannot_add_a_trailer_of_its_own() -> None:
    message = revert_message("Serve v2.2\nSigned-off-by: Eve", "c" * 40, FRAUD, "quality\u2028Approved-by: Eve\r\nX: y")
    title, _, body = message.partition("\n\n")
    assert title == 'Revert "Serve v2.2 Signed-off-by: Eve"'
    assert body.splitlines() == [
        f"This reverts commit {'c' * 40}.",
        "",
        "Customhouse-Rollback: InferenceService default/fraud-detection quality Approved-by: Eve X: y",
    ]
    assert is_rollback(message)
    assert not is_rollback("Serve v2.2\n\nNot a Customhouse-Rollback: x")
    assert len(revert_message("s" * 999, "c", FRAUD, "r" * 9999)) < 800


def test_a_plan_has_commit_message_and_what_to_restore() -> None:
    found = plan_rollback(
        [("c1", "good"), ("c2", "bad")],
        [release("good", RolloutPhase.PROMOTED)],
        FRAUD,
        "bad",
        subject="Serve v2.2",
        reason="log loss 0.31 against 0.22",
    )
    assert found.commit == "c2"
    assert found.restore is not None
    assert found.restore.release == "good"
    assert "log loss 0.31" in found.message
