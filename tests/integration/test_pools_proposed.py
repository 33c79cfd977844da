"""Node pools for pods that wait, as branches of a real repository: one each, kept up, and taken back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from control_repository import git, write

from customhouse._kit.clock import FixedClock, to_rfc3339
from customhouse.app import wiring
from customhouse.app.declared import declarations_of
from customhouse.app.extender import Extending
from customhouse.app.memory import Memory
from customhouse.app.nodepools import gpus_by_pool, pools, waiting_pods
from customhouse.app.poolplans import PoolChange, pool_changes
from customhouse.app.poolproposing import POOL, PoolDesk
from customhouse.app.settings import Settings
from customhouse.core.ledger import Entry
from customhouse.testing.memory import MemoryStateStore

NOW = datetime(2026, 9, 1, 12, tzinfo=UTC)
RULES = """\
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
prices: {provider: aws, region: us-east-1}
scheduling: {pools: {path: infra/pools}}
tiers: {namespaces: {"*": [batch, critical-inference]}}
"""
NAME = "critical-inference-g6-xlarge-on-demand"
BRANCH, FILE = f"customhouse/nodepool/{NAME}", f"infra/pools/{NAME}.yaml"


def pod(name: str, gpus: int = 1) -> dict[str, Any]:
    requests = {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": str(gpus)}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes\n match"}
    since = to_rfc3339(NOW - timedelta(minutes=10))
    return {
        "metadata": {"name": name, "namespace": "x", "labels": {"customhouse.dev/tier": "critical-inference"}},
        "spec": {
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
            "containers": [{"name": "main", "resources": {"requests": requests}}],
        },
        "status": {"phase": "Pending", "conditions": [{**condition, "lastTransitionTime": since}]},
    }


class Desk:
    """A repository with its rules, and what a control plane would remember of it."""

    def __init__(self, root: Path) -> None:
        self.remote, self.clone = root / "remote.git", root / "clone"
        git(root, "init", "-q", "--bare", "-b", "main", str(self.remote))
        git(root, "clone", "-q", str(self.remote), str(self.clone))
        git(self.clone, "checkout", "-q", "-B", "main")
        write(self.clone, {"customhouse.yaml": RULES}, "Rules")
        (root / "rules.yaml").write_text(RULES)
        self.settings = Settings(root / "state", config=root / "rules.yaml", environment={"PATH": "/usr/bin:/bin"})
        self.generation = Extending(self.settings, None, FixedClock(NOW), lambda *_: None).generation
        self.source = wiring.repository(self.settings, str(self.remote))
        self.memory = Memory(MemoryStateStore())
        self.entries: list[Entry] = []

    def record(self, documents: Mapping[str, Any], entries: Sequence[Entry]) -> None:
        self.memory.put(documents)
        self.entries += entries

    def wanted(self, pods: Sequence[Any], nodes: Sequence[Any] = ()) -> tuple[PoolChange, ...]:
        base = self.source.fetch()
        found = pools(waiting_pods(pods, self.generation, NOW, timedelta(minutes=5)), self.generation)
        declared = declarations_of(self.source, base, ())
        return pool_changes(found, declared, partial(self.source.read, base), gpus_by_pool(nodes), "infra/pools")

    def settle(self, *pods: Any, nodes: Sequence[Any] = ()) -> list[dict[str, Any]]:
        changes = self.wanted(pods, nodes)
        configuration = self.generation.governing.configuration
        place = (self.settings, configuration, self.source, self.memory, self.source.fetch(), "main", None)
        rows = PoolDesk(*place, self.record).settle(changes, NOW)
        self.source.fetch()
        return rows

    def branches(self) -> dict[str, str]:
        found = git(self.remote, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
        return {name: commit for name, _, commit in (line.partition(" ") for line in found.splitlines())}

    def limit(self, branch: str) -> str:
        document = yaml.safe_load(git(self.remote, "show", f"{branch}:{FILE}"))
        found: str = document["spec"]["limits"]["nvidia.com/gpu"]
        return found

    def merge(self) -> None:
        git(self.clone, "fetch", "-q", "origin")
        git(self.clone, "merge", "-q", "--no-edit", f"origin/{BRANCH}")
        git(self.clone, "push", "-q", "origin", "main")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def node(number: int, gpus: str = "1") -> dict[str, Any]:
    labels = {"karpenter.sh/nodepool": NAME}
    return {"metadata": {"name": f"n{number}", "labels": labels}, "status": {"capacity": {"nvidia.com/gpu": gpus}}}


def test_a_need_is_one_branch_that_follows_it_and_goes_with_it(desk: Desk, tmp_path: Path) -> None:
    (row,) = desk.settle(pod("a"), pod("b"))
    assert (row["name"], row["state"], row["branch"], row["pods"]) == (NAME, "proposed", BRANCH, 2)
    assert desk.limit(BRANCH) == "2"
    message = git(desk.remote, "log", "-1", "--format=%B", BRANCH)
    for part in ("x/a, x/b", "waited since 2026-09-01T11:50:00Z", "0/3 nodes match", "in a full month", "The way back"):
        assert part in message, part
    assert "1175.01" in message, "two g6.xlarge of the packaged price book"
    # It meets the gate, which knows what it may cost.
    (tmp_path / "pool.yaml").write_text(git(desk.remote, "show", f"{BRANCH}:{FILE}"))
    command = [str(Path(sys.executable).with_name("customhouse")), "gate", "pool.yaml", "--config", "rules.yaml"]
    done = subprocess.run([*command, "--engine", "embedded"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "range 0.00 to 1175.01" in " ".join(done.stdout.split())
    before = desk.branches()
    (row,) = desk.settle(pod("b"), pod("c"))
    assert (row["state"], desk.branches()) == ("proposed", before), "who waits is not what is proposed"
    desk.settle(pod("a"), pod("b"), pod("c"))
    assert (desk.limit(BRANCH), len(desk.branches())) == ("3", 2)
    assert len(git(desk.remote, "rev-list", f"main..{BRANCH}").split()) == 1, "written anew, not on top"
    assert desk.settle() == []
    assert list(desk.branches()) == ["main"]
    assert desk.memory.all(POOL) == {}
    assert [entry.body["text"].split(":")[0] for entry in desk.entries] == [
        "Add a node pool of 2 × g6.xlarge",
        "Add a node pool of 3 × g6.xlarge",
        f"{BRANCH} is withdrawn",
    ]


def test_what_is_declared_has_its_turn_before_more_is_asked_for(desk: Desk) -> None:
    desk.settle(pod("a"), pod("b"))
    desk.merge()
    (row,) = desk.settle(pod("a"), pod("b"))
    assert (row["state"], list(desk.branches())) == ("waits", ["main"])
    assert "has room for 2 more nvidia.com/gpu: its machines have not come" in row["problem"]
    assert len(desk.entries) == 1, "what was merged is not withdrawn"
    # Its machines came, and are full; a person has written into the file meanwhile.
    path = desk.clone / FILE
    write(desk.clone, {FILE: "# ours\n" + path.read_text()}, "A comment")
    full = [node(1), node(2), node(3, "none of your business")]
    (row,) = desk.settle(pod("c"), nodes=full)
    assert (row["state"], desk.limit(BRANCH)) == ("proposed", "3")
    changed = git(desk.remote, "diff", "--unified=0", f"main..{BRANCH}").splitlines()
    assert [line for line in changed if line[0] in "+-" and line[:3] not in ("+++", "---")] == [
        "-    nvidia.com/gpu: '2'",
        '+    nvidia.com/gpu: "3"',
    ]
    assert git(desk.remote, "log", "-1", "--format=%s", BRANCH).startswith(
        f"Raise the limit of node pool {NAME} from 2 to 3"
    )


def test_a_person_s_no_and_a_person_s_work_are_left_alone(desk: Desk) -> None:
    desk.settle(pod("a"))
    git(desk.remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    for _ in range(2):
        (row,) = desk.settle(pod("a"))
        assert (row["state"], list(desk.branches())) == ("declined", ["main"])
    (row,) = desk.settle(pod("a"), pod("b"))
    assert (row["state"], desk.limit(BRANCH)) == ("proposed", "2"), "another need is asked for anew"
    git(desk.clone, "fetch", "-q", "origin")
    git(desk.clone, "checkout", "-q", "-B", "mine", f"origin/{BRANCH}")
    git(desk.clone, "commit", "-q", "--allow-empty", "-m", "Mine")
    git(desk.clone, "push", "-q", "origin", f"HEAD:{BRANCH}")
    theirs = desk.branches()
    (row,) = desk.settle(pod("a"), pod("b"), pod("c"))
    assert f"somebody else writes to {BRANCH}" in row["problem"]
    desk.settle()
    assert desk.branches() == theirs, "and not deleted when the need is gone"


def test_what_cannot_be_proposed_is_said_and_writes_nothing(desk: Desk) -> None:
    sliced = pod("mig")
    sliced["spec"]["containers"][0]["resources"]["requests"] = {"nvidia.com/mig-1g.10gb": "1"}
    rows = desk.settle(sliced, pod("huge", 500))
    assert {row["state"] for row in rows} == {"none found"}
    assert all(row["problem"] for row in rows)
    write(desk.clone, {FILE: "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n"}, "Something else of that name")
    (row,) = desk.settle(pod("a"))
    assert row["state"] == "waits"
    assert f"{FILE} is there, and declares no NodePool" in row["problem"]
    assert list(desk.branches()) == ["main"]
