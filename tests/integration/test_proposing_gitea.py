"""Promotions and reverts as pull requests of a real Gitea, and who approved a release in `history`."""

from __future__ import annotations

import json
import os
import time
import urllib.error
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from control_repository import git, write
from up_world import RULES as UP_RULES
from up_world import UpWorld

from conftest import parts_folder
from customhouse._kit.money import Money
from customhouse.app.controlplane import ControlPlane
from customhouse.app.governance import read_configuration
from customhouse.app.memory import Memory
from customhouse.app.nodepools import Pool, Waiting
from customhouse.app.poolplans import PoolChange, pool_changes
from customhouse.app.poolproposing import PoolDesk
from customhouse.app.promoting import promote
from customhouse.app.records import history
from customhouse.app.rollingback import rollback
from customhouse.app.settings import Settings
from customhouse.app.wiring import repository
from customhouse.core.cost import Rate
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef
from customhouse.execution.extender import TierPlacing
from customhouse.observability.prices import Machine
from customhouse.store import open_store
from customhouse.testing.memory import MemoryStateStore
from forge_gitea import GiteaServer

pytestmark = pytest.mark.part("gitea")
RULES = """\
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
environments:
  dev: {namespaces: [dev]}
  production: {namespaces: [prod], production: true}
"""


@pytest.fixture(scope="module")
def gitea(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GiteaServer]:
    server = GiteaServer(find_part("gitea"), parts_folder() / "gitea", tmp_path_factory.mktemp("gitea"))
    yield server
    server.stop()


def service(namespace: str, model: str) -> str:
    return f"""\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: fraud, namespace: {namespace}}}
spec: {{predictor: {{model: {{modelFormat: {{name: onnx}}, storageUri: "pvc://models/fraud/{model}"}}}}}}
"""


class Shop:
    """A repository that is mirrored to the forge now and then."""

    def __init__(self, gitea: GiteaServer, root: Path) -> None:
        self.gitea, self.where = gitea, f"ada/{root.name}"
        self.bare = gitea.repository(root.name)
        token = gitea.tokens["ada"]
        self.forge = gitea.url.replace("http://", f"http://ada:{token}@").replace("/api/v1", f"/{self.where}.git")
        self.remote, self.clone = root / "remote.git", root / "clone"
        git(root, "clone", "-q", "--bare", self.forge, str(self.remote))
        git(root, "clone", "-q", str(self.remote), str(self.clone))
        self.settings = Settings(
            root / "state", engine="embedded", environment={**os.environ, "CUSTOMHOUSE_FORGE_TOKEN": token}
        )

    def write(self, name: str, text: str) -> str:
        """Commit a file on top of the branch; the commit."""
        git(self.clone, "pull", "-q", "origin", "main")
        return write(self.clone, {name: text}, f"Write {name}")

    def mirror(self) -> None:
        """Bring the forge up to date."""
        git(self.remote, "push", "-q", "--force", self.forge, "refs/heads/*:refs/heads/*")

    def rules(self, more: str = "") -> str:
        """The rules, and where the forge is."""
        return f"{RULES}forge: {{kind: gitea, repository: {self.where}, url: '{self.gitea.url}'{more}}}\n"

    def pulls(self) -> list[tuple[str, str, str]]:
        found = self.gitea.call("GET", f"/repos/{self.where}/pulls?state=open")
        return [(item["head"]["ref"], item["base"]["ref"], item["title"]) for item in found]


@pytest.fixture
def shop(gitea: GiteaServer, tmp_path: Path) -> Shop:
    return Shop(gitea, tmp_path)


def test_a_promotion_and_a_revert_become_one_pull_request_each(shop: Shop) -> None:
    shop.write("customhouse.yaml", shop.rules())
    shop.write("prod.yaml", service("prod", "a"))
    bad = shop.write("prod.yaml", service("prod", "x"))
    shop.write("dev.yaml", service("dev", "b"))
    early = promote(shop.settings, str(shop.remote), "main", "fraud", "production", unproved=True)
    assert (bool(early.commit), early.pull_request) == (True, None), "the forge does not know the branch yet"
    assert "no pull request was opened: gitea" in early.unopened
    shop.mirror()
    first = promote(shop.settings, str(shop.remote), "main", "fraud", "production", unproved=True)
    assert first.pull_request is not None, first.unopened
    assert (first.pull_request.opened, first.unopened) == (True, "")
    shop.write("dev.yaml", service("dev", "c"))
    again = promote(shop.settings, str(shop.remote), "main", "fraud", "production", unproved=True)
    assert again.pull_request is not None
    assert (again.pull_request.number, again.pull_request.opened) == (first.pull_request.number, False)
    promoting = ("customhouse/promote/fraud-to-production", "main", "Promote fraud from dev to production")
    assert shop.pulls() == [promoting]

    with open_store(shop.settings.state / "state.db") as store:
        ref = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "prod", "fraud")
        at = datetime(2026, 11, 22, tzinfo=UTC)
        store.releases.record(Release(ref, "sha256:x", bad, "Ada", "", "allow", "", RolloutPhase.PROMOTED, at))
    shop.write("customhouse.yaml", shop.rules(", rollback: pull-request"))
    shop.mirror()
    assert rollback(shop.settings, str(shop.remote), "main", "fraud", "slow").pull_request is None
    shop.mirror()
    done = rollback(shop.settings, str(shop.remote), "main", "fraud", "slow")
    assert done.pull_request is not None, done.unopened
    assert (done.branch, done.pull_request.opened) == ("customhouse/rollback/prod-fraud", True)
    assert shop.pulls()[0] == ("customhouse/rollback/prod-fraud", "main", 'Revert "Write prod.yaml"')
    assert git(shop.remote, "log", "-1", "--format=%s", "main") == "Write customhouse.yaml", "the branch is as it was"

    # A forge that is away, or a token that is none, loses no commit, and is said.
    shop.settings.environment["CUSTOMHOUSE_FORGE_TOKEN"] = "revoked"
    shop.write("dev.yaml", service("dev", "d"))
    told = promote(shop.settings, str(shop.remote), "main", "fraud", "production", unproved=True)
    assert (bool(told.commit), told.pull_request) == (True, None)
    assert "no pull request was opened" in told.unopened
    assert "revoked" not in told.unopened


def test_the_history_says_who_approved_and_in_which_pull_request(shop: Shop) -> None:
    shop.gitea.write(shop.where, "customhouse.yaml", shop.rules(), "main")
    running = ControlPlane(shop.settings, str(shop.bare))
    try:
        running.start()
        running.step()
        where, gitea = shop.where, shop.gitea
        labels = ", ".join(f"customhouse.dev/{name}: x" for name in ("owner", "team", "project", "cost-centre"))
        config = (
            "apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n"
            f"metadata: {{name: flags, namespace: dev, labels: {{{labels}}}}}\n"
        )
        gitea.write(where, "flags.yaml", config, "main", new="work")
        body = {"title": "work", "head": "work", "base": "main"}
        pull = int(gitea.call("POST", f"/repos/{where}/pulls", body)["number"])
        gitea.call("POST", f"/repos/{where}/pulls/{pull}/reviews", {"event": "APPROVED", "body": "seen"}, "bob")
        _merge(gitea, where, pull)
        for _ in range(600):
            running.step()
            if running.memory.deployed is not None and running.memory.deployed.revision == running.head != "":
                break
            time.sleep(0.1)
        digest = running.store.decisions.recent(1)[0]["digest"]
        at = datetime(2026, 11, 22, tzinfo=UTC)
        ref = ResourceRef("v1", "ConfigMap", "dev", "flags")
        running.store.releases.record(
            Release(ref, "sha256:y", running.head, "Ada", "", "allow", digest, RolloutPhase.PROMOTED, at)
        )
    finally:
        running.close()
    (row,) = history(shop.settings, "flags", 10)
    assert (row["reviewers"], row["pull_request"], row["evidence"]) == (["bob"], pull, []), json.dumps(row)


def _merge(gitea: GiteaServer, repository: str, pull: int) -> None:
    for _ in range(1200):
        try:
            gitea.call("POST", f"/repos/{repository}/pulls/{pull}/merge", {"Do": "merge"})
        except urllib.error.HTTPError as error:
            if error.code != 405:  # it still looks whether the branch can be merged
                raise
            time.sleep(0.05)
        else:
            return


class Followed(UpWorld):
    """A repository that `up` follows, and that is mirrored to the forge now and then."""

    def __init__(self, gitea: GiteaServer, root: Path) -> None:
        found = Shop(gitea, root)
        self.forge, self.pulls = found.forge, found.pulls
        (root / "world").mkdir()
        how = "rollback: pull-request, requiredReviews: 0"
        more = f"forge: {{kind: gitea, repository: {found.where}, url: '{gitea.url}', {how}}}\n"
        super().__init__(root / "world", UP_RULES + more)
        self.mirror()

    def mirror(self) -> None:
        """Bring the forge up to date."""
        git(self.remote, "push", "-q", "--force", self.forge, "refs/heads/*:refs/heads/*")


def test_a_canary_that_goes_back_opens_a_pull_request_and_serves_the_old_one_until_it_is_merged(
    gitea: GiteaServer, tmp_path: Path
) -> None:
    world = Followed(gitea, tmp_path)
    try:
        world.start(CUSTOMHOUSE_FORGE_TOKEN=gitea.tokens["ada"])
        world.deployed(world.serve("v1"))
        bad = world.serve("broken")
        world.problem("score", "is held", "no pull request was opened", seconds=120)
        world.mirror()  # it is asked again by itself
        (pull,) = world.until(world.pulls, 120)
        assert pull == ("customhouse/rollback/shop-score", "main", 'Revert "Serve broken"')
        assert world.head == bad, "nobody's branch is written to"
        world.until(lambda: "no pull request" not in world.overview().get("problem", ""), 120)
        assert world.infer() == 200
        where = f"ada/{tmp_path.name}"
        (number,) = [int(item["number"]) for item in gitea.call("GET", f"/repos/{where}/pulls?state=open")]
        _merge(gitea, where, number)
        git(world.remote, "fetch", "-q", world.forge, "+main:main")
        world.until(lambda: world.head != bad and world.overview().get("deployed") == world.head, 120)
        world.until(lambda: not world.documents("held/"), 120)
        assert world.infer() == 200
        assert world.end() == 0
    finally:
        world.close()


def test_a_node_pool_is_one_pull_request_that_follows_the_need_and_is_closed_with_it(shop: Shop) -> None:
    shop.write("customhouse.yaml", shop.rules() + "scheduling: {pools: {path: pools}}\n")
    shop.mirror()
    source = repository(shop.settings, str(shop.remote))
    base = source.fetch()
    configuration = read_configuration(source.read(base, "customhouse.yaml") or b"")
    memory, entries = Memory(MemoryStateStore()), list[Any]()

    def record(documents: Any, told: Any) -> None:
        memory.put(documents)
        entries.extend(told)

    desk = PoolDesk(shop.settings, configuration, source, memory, base, "main", None, record)
    settle, now = desk.settle, datetime(2026, 11, 23, tzinfo=UTC)
    (row,) = settle([_pool(2)], now)
    assert "no pull request was opened" in row["problem"], "the forge does not know the branch yet"
    shop.mirror()
    source.fetch()
    (row,) = settle([_pool(2)], now)
    assert (row["state"], row["problem"], bool(row["url"])) == ("proposed", "", True)
    (first,) = shop.pulls()
    assert first[:2] == ("customhouse/nodepool/gold-g6-xlarge-on-demand", "main")
    assert first[2].startswith("Add a node pool of 2 × g6.xlarge: 1 pod waits")
    settle([_pool(2)], now)
    assert len(shop.pulls()) == 1
    settle([_pool(5)], now)
    shop.mirror()
    (again,) = shop.pulls()
    assert again[2].startswith("Add a node pool of 5 × g6.xlarge"), "the same pull request, with what is asked for now"
    source.fetch()
    settle([], now)
    assert shop.pulls() == []
    assert list(source.branches("customhouse/")) == []
    closed = shop.gitea.call("GET", f"/repos/{shop.where}/pulls?state=closed")
    assert len(closed) == 1
    said = shop.gitea.call("GET", f"/repos/{shop.where}/issues/{closed[0]['number']}/comments")
    assert "No pod waits for these machines any more" in said[0]["body"]
    assert len(entries) == 3


def _pool(count: int) -> PoolChange:
    """Pods of a tier that wait for so many machines."""
    at = datetime(2026, 11, 22, tzinfo=UTC)
    waiting = Waiting(TierPlacing("gold"), {"nvidia.com/gpu": 1}, (), ("x/a",), at, "0/3 nodes")
    rate = Rate("instance", Money(805_000_000_000, "USD"), "aws", "us-east-1", "g6.xlarge", "2026-07-20", "a book")
    machine = Machine(rate, "on-demand", 4, 16384, 1, "L4", "1", "x86_64")
    manifest = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "gold-g6-xlarge-on-demand"}}
    pool = Pool(waiting, machine, "on-demand", count, manifest={**manifest, "spec": {}})
    (made,) = pool_changes([pool], (), lambda _: None, {}, "pools")
    return made
