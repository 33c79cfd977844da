"""Random histories of a repository and a cluster: nothing foreign is deleted, and nothing of ours is left over.

`benchmarks/reconcile_histories.py` runs ten thousand of them.
"""

from __future__ import annotations

import pytest
from reconcile_history import History, WrongError

from customhouse.control import pruning
from customhouse.control.pruning import Pruning
from customhouse.core.cluster import Delete
from customhouse.core.resource import ResourceRef


@pytest.mark.parametrize("start", range(0, 100, 25))
def test_no_orphan_and_no_wrong_deletion(start: int) -> None:
    for seed in range(start, start + 25):
        history = History(seed)
        try:
            history.run()
        except WrongError as error:
            raise AssertionError(f"seed {seed}: {error}\n" + "\n".join(history.said)) from error


def run_until_wrong(seeds: int = 400) -> bool:
    for seed in range(seeds):
        try:
            History(seed).run()
        except WrongError:
            return True
    return False


def test_the_oracle_sees_a_controller_that_believes_its_list_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at whose the live object is, histories end badly: so the tests above can fail."""
    monkeypatch.setattr(pruning, "foreign", lambda live, entry: "")
    monkeypatch.setattr(Pruning, "_forget_gone", lambda self, made: None)
    assert run_until_wrong()


def test_the_oracle_sees_a_namespace_deleted_with_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pruning, "_inside", lambda self, ref, live: "")
    assert run_until_wrong()


def test_the_oracle_sees_what_another_source_has_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    from customhouse.control.tracked import Inventories

    monkeypatch.setattr(Inventories, "others", lambda self: {})
    assert run_until_wrong()


def test_the_oracle_sees_a_deletion_of_something_declared() -> None:
    history = History(0)
    history.cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}})
    history.declared["", "ConfigMap", "default", "a"] = {}
    found = history.cluster.objects["", "ConfigMap", "default", "a"].manifest["metadata"]
    history.ours.add(found["uid"])
    change = Delete(ResourceRef("v1", "ConfigMap", "default", "a"), found["uid"], found["resourceVersion"])
    with pytest.raises(WrongError):
        history.cluster.write([change])
