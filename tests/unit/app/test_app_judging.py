"""Many changes are judged in slices, by one process or by more: every Decision has the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import FixedClock
from customhouse.app import judging
from customhouse.app.clearance import Clearance, Judgement
from customhouse.app.gatekeeping import GateRequest, question
from customhouse.app.judging import FactsKept, canonical
from customhouse.app.settings import Settings
from customhouse.core.errors import CannotDecideError, PolicyError
from customhouse.core.facts import Facts
from customhouse.core.ports import PolicyEngine
from customhouse.policy.adapters.guarded import GuardedEngine
from customhouse.policy.adapters.regorus import RegorusEngine

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web{number}
spec:
  replicas: {number}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: registry.example/web:{tag}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(1, 23):
        tag = "latest" if number % 3 == 0 else "1.0"
        (files / f"{number:02}.yaml").write_text(DEPLOYMENT.format(number=number, tag=tag))
    monkeypatch.setattr(judging, "SLICE", 4)
    return tmp_path


def _judged(folder: Path, engine: PolicyEngine, processes: int) -> Judgement:
    settings = Settings(folder / "state", engine="embedded")
    asked = question(settings, GateRequest(paths=(str(folder / "files"),)))
    return Clearance(engine, FixedClock(NOW), folder, processes=processes).judge(asked)


def _bytes(judgement: Judgement) -> list[bytes]:
    envelopes = [{**item.envelope(), "timings": sorted(item.timings)} for item in judgement.decisions]
    bodies = [item.body() for item in judgement.decisions]
    facts = [item.canonical for item in judgement.facts]
    return [canonical_json(item) for item in (*envelopes, *bodies, *facts)]


def test_slices_and_processes_change_no_byte(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = _judged(folder, RegorusEngine(), 1)
    assert len(one_by_one.decisions) == 22
    assert any("/image" in str(finding.pointer) for item in one_by_one.decisions for finding in item.findings)
    monkeypatch.setattr(judging, "MANY", 10)
    guarded = GuardedEngine()
    try:
        for engine, processes in ((RegorusEngine(), 3), (guarded, 1), (guarded, 2)):
            judgement = _judged(folder, engine, processes)
            assert _bytes(judgement) == _bytes(one_by_one)
            assert judgement.cost == one_by_one.cost
            assert [item.after for item in judgement.changes] == [item.after for item in one_by_one.changes]
    finally:
        guarded.close()


@pytest.mark.parametrize(("processes", "engine"), [(1, RegorusEngine()), (2, RegorusEngine()), (1, GuardedEngine())])
def test_a_change_that_cannot_be_judged_shuts_the_gate_for_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch, processes: int, engine: PolicyEngine
) -> None:
    monkeypatch.setattr(judging, "MANY", 10)
    wide = "x" * (1 << 20)
    (folder / "files" / "07.yaml").write_text(
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  externalName: {wide}\n"
    )
    with pytest.raises(CannotDecideError, match="65536"):
        _judged(folder, engine, processes)


class _Fails:
    """An engine beside this process that has no answer about the object of a name."""

    name, beside = "fails", True

    def __init__(self, name: str) -> None:
        self._engine, self._name = RegorusEngine(), name

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        if document["change"]["resource"]["name"] == self._name:
            raise PolicyError(f"nothing is said of {self._name}")
        return self._engine.evaluate(modules, data, document, query)


@pytest.mark.parametrize(("silent", "wide", "told"), [(1, 8, "web1"), (9, 1, "65536"), (9, 99, "web9")])
def test_of_two_troubles_beside_each_other_the_first_shuts_the_gate(
    folder: Path, monkeypatch: pytest.MonkeyPatch, silent: int, wide: int, told: str
) -> None:
    monkeypatch.setattr(judging, "MANY", 10)
    if wide < 99:
        file = folder / "files" / f"{wide:02}.yaml"
        file.write_text(file.read_text().replace("web:1.0", f"web:{'x' * (1 << 17)}"))
    with pytest.raises(CannotDecideError, match=told):
        _judged(folder, _Fails(f"web{silent}"), 1)


def test_facts_that_are_kept_packed_are_those_that_were_put_there() -> None:
    facts = [Facts({"a": "\n" * number, "b": number}) for number in range(judging.SLICE * 2 + 3)]
    kept = FactsKept(facts)
    assert len(kept) == len(facts)
    assert list(kept) == facts == kept[:]
    assert [kept[at] for at in (-1, 0, 60 % len(facts), 1)] == [facts[at] for at in (-1, 0, 60 % len(facts), 1)]
    assert kept[20:30] == facts[20:30]
    for held in (kept, facts):
        assert [item.text for item in canonical(held, slice(20, 99))] == [item.canonical.text for item in facts[20:]]
    with pytest.raises(IndexError):
        kept[len(facts)]
