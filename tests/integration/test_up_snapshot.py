"""What the month cost reaches a gate without state: published by `up`, signed, believed under trust roots."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from control_repository import git
from up_world import RULES, UpWorld, world

from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money
from customhouse.app.snapshot import FILE, REF, predicate, spend_from_snapshot
from customhouse.core.cost import Charge
from customhouse.core.errors import CannotDecideError
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import ResourceRef
from customhouse.observability.budgets import Budget, spent
from customhouse.trust.attestation import attest
from customhouse.trust.keys import TrustRoot, generate, generate_pair

__all__ = ["world"]

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
SERVICE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "shop", "score")
KEY = generate()
ROOTS = (TrustRoot("control-plane", KEY.public.pem(), frozenset({EvidenceKind.FORECAST})),)


def charges(*amounts: str) -> list[Charge]:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    hour = timedelta(hours=1)
    return [
        Charge(
            SERVICE, f"r{n}", "", start + n * hour, start + (n + 1) * hour, "cpu", Money.parse(a, "USD"), {"team": "x"}
        )
        for n, a in enumerate(amounts)
    ]


def signed(said: dict, at: datetime = NOW) -> bytes:
    return attest("spend-snapshot", json_digest(said), EvidenceKind.FORECAST, said, KEY, issued_at=at)


def test_a_budget_stands_at_a_gate_where_it_stands_at_the_control_plane() -> None:
    made = charges("0.000000000001", "12.5", "7.25")
    spend = spend_from_snapshot(signed(predicate(made, NOW)), ROOTS, NOW + timedelta(hours=3))
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for budget in (
        Budget("all", Money.parse("100", "USD")),
        Budget("shop", Money.parse("100", "USD"), ("shop",), {"team": "x"}),
        Budget("other", Money.parse("100", "USD"), ("other",)),
    ):
        assert spent(budget, spend.charges, start, NOW + timedelta(hours=3)) == spent(budget, made, start, NOW)
    assert spend.known
    assert spend.snapshot is not None


@pytest.mark.parametrize(
    ("at", "roots", "words"),
    [
        (NOW - timedelta(hours=1), ROOTS, "has passed"),
        (datetime(2026, 4, 1, 1, tzinfo=UTC), ROOTS, "month"),
        (NOW, (TrustRoot("else", generate().public.pem()),), "believed"),
        (NOW, (TrustRoot("scanner", KEY.public.pem(), frozenset({EvidenceKind.SCAN})),), "believed"),
        (NOW, (), "believed"),
    ],
    ids=["from the future", "of last month", "another key", "a key for other things", "no key"],
)
def test_a_snapshot_that_is_not_to_be_believed_leaves_the_gate_shut(at, roots, words) -> None:
    with pytest.raises(CannotDecideError, match=words):
        spend_from_snapshot(signed(predicate(charges("1"), NOW)), roots, at)


def test_an_altered_snapshot_does_not_verify() -> None:
    data = json.loads(signed(predicate(charges("1"), NOW)))
    other = json.loads(signed(predicate(charges("2"), NOW)))
    data["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]
    with pytest.raises(CannotDecideError, match="believed"):
        spend_from_snapshot(json.dumps(data).encode(), ROOTS, NOW)


def gate(world: UpWorld, clone: Path) -> subprocess.CompletedProcess[str]:
    program = world.command()[0]
    return subprocess.run(
        [program, "gate", "--repo", str(clone), "-o", "json", "--state", str(world.root / "nothing")],
        capture_output=True, text=True, cwd=world.root, env={"PATH": "/usr/bin:/bin"}, check=False, timeout=60,
    )  # fmt: skip


def test_a_gate_without_state_reads_what_up_published(tmp_path: Path) -> None:
    keys = tmp_path / ".customhouse" / "keys"
    pair = generate_pair(keys, "ledger")
    trust = "trust:\n  keys:\n    - name: control-plane\n      publicKey: trust/ledger.pub\n      kinds: [forecast]\n"
    world = UpWorld(tmp_path, RULES + trust, {"trust/ledger.pub": pair.public.pem().decode()})
    try:
        world.deployed_after_start(world.serve("v1"))
        world.until(lambda: git(world.remote, "for-each-ref", REF))
        clone = tmp_path / "ci" / "clone"
        clone.parent.mkdir()
        git(tmp_path, "clone", "-q", str(world.remote), str(clone))
        blind = gate(world, clone)
        assert blind.returncode == 3
        assert "spent this month is not known" in blind.stderr
        git(clone, "fetch", "-q", "origin", f"{REF}:{REF}")
        assert FILE in git(clone, "ls-tree", "--name-only", REF)
        seen = gate(world, clone)
        assert seen.returncode == 0, seen.stderr
        (budget,) = json.loads(seen.stdout)["cost"]["budgets"]
        assert budget["name"] == "shop"
    finally:
        world.close()
