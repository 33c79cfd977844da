"""Boards to serve in tests: pictures with everything on them, and one that is not there yet."""

from __future__ import annotations

from dataclasses import replace

from customhouse.app.overview import (
    BudgetRow,
    Costs,
    DecisionRow,
    EventRow,
    EvidenceRow,
    FindingRow,
    Overview,
    ProposalRow,
    ReleaseRow,
)
from customhouse.core.errors import StateError

AT = "2026-03-01T10:00:00.5Z"
STABLE, CANDIDATE = "sha256:" + "a1" * 32, "sha256:" + "b2" * 32

RELEASE = ReleaseRow(
    name="fraud-detection",
    namespace="fraud",
    kind="InferenceService",
    release=STABLE,
    artifact="sha256:" + "c3" * 32,
    revision="d4" * 20,
    author="Ada Okafor",
    phase="promoted",
    health="Healthy",
    message="1 of 1 replicas are ready",
    weight=100,
    requests=12345,
    errors=7,
    p95_ms=9.537,
    per_hour="0.0066",
    per_thousand_predictions="0.000216",
    at=AT,
    version="v2.1",
    source="pvc://models/fraud-detection/v2.1",
    state="serving",
    charged="0.000593123456",
    endpoint="http://127.0.0.1:9/fraud/fraud-detection/v2/models/fraud-detection",
    evidence=(
        EvidenceRow("scan", True, "build", "scan clean, by build"),
        EvidenceRow("provenance", False, "", "provenance not verified: <no key>"),
    ),
)
DENIAL = DecisionRow(
    digest="sha256:" + "e5" * 32,
    at=AT,
    verdict="deny",
    point="gate",
    resource="Job fraud/train-elsewhere",
    revision="f6" * 20,
    findings=2,
    reason="The image docker.io/x is not in a trusted registry",
    subject="Train elsewhere",
    problems=(
        FindingRow(
            "trusted-registry",
            "error",
            "The image docker.io/x is not in a trusted registry",
            "Mirror it.",
            "jobs/x.yaml:9:5",
            None,
        ),
        FindingRow("cost-labels", "error", "The label owner is missing", "Add it.", "jobs/x.yaml:3:1", None),
    ),
)
COSTS = Costs(
    currency="USD",
    month_to_date="0.000593123456",
    month_forecast="1234.50",
    month_low="1000.00",
    month_high="1500.00",
    declared_monthly="4.85",
    book="sha256:" + "07" * 32,
    book_as_of="2026-07-20",
    unpriced=(),
    budgets=(BudgetRow("fraud", "400.00", "100.0000", "100.00", "200.00"),),
)
PICTURE = Overview(
    at=AT,
    repository="/srv/remote.git",
    branch="main",
    head="d4" * 20,
    deployed="d4" * 20,
    state="following",
    problem="",
    gateway="127.0.0.1:9",
    ledger_size=1001,
    ledger_root="ab" * 32,
    releases=(RELEASE,),
    decisions=(DENIAL,),
    costs=COSTS,
    events=(EventRow(1000, AT, "charge", "customhouse", "0.01 USD for 3 intervals", first=998, count=3),),
    proposals=(ProposalRow("p1", "customhouse/rightsize/x", "Less memory", "26.48", "at most 1 %", "x", "c"),),
)
EMPTY = replace(
    PICTURE, releases=(), decisions=(), costs=None, events=(), proposals=(), deployed="", head="", state="waiting"
)


class StillBoard:
    """A board that shows what it is told to; None: nothing was looked at yet."""

    def __init__(self, picture: Overview | None = PICTURE) -> None:
        self.picture = picture
        self.number = 1
        self.broken = False

    def show(self, picture: Overview) -> None:
        self.picture = picture
        self.number += 1

    def overview(self) -> Overview:
        if self.broken:
            raise RuntimeError("secret detail of the inside")
        if self.picture is None:
            raise StateError("nothing has been looked at yet")
        return self.picture

    def version(self) -> int:
        return self.number

    def metrics(self) -> str:
        return "# HELP customhouse_x A number.\n# TYPE customhouse_x gauge\ncustomhouse_x 1\n"
