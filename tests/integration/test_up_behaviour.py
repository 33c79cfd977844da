"""`customhouse up` on a repository, as its users meet it: one process, one scene after another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_repository import git
from up_world import RULES, SLOW, UpWorld, notes

NOTES = "models/notes.yaml"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpWorld]:
    world = UpWorld(tmp_path_factory.mktemp("up"))
    first = world.push({world.SERVICE: world.declare("v1"), NOTES: notes("a")}, "first")
    world.start()
    world.deployed(first)
    yield world
    world.close()


@pytest.fixture
def world(running: UpWorld) -> UpWorld:
    """Every scene begins with nothing open and v1 or v2 serving."""
    running.until(lambda: running.overview()["state"] == "following" and not running.overview()["problem"])
    return running


def phases(world: UpWorld, commit: str) -> list[str]:
    return [str(e.body["phase"]) for e in world.entries("rollout") if e.body["revision"] == commit]


def test_a_pushed_commit_is_judged_and_applied_without_being_asked(world: UpWorld) -> None:
    commit = world.push({NOTES: notes("b")})
    world.until(lambda: world.overview()["deployed"] == commit)


def test_a_denied_commit_keeps_the_last_good_state_and_says_why(world: UpWorld) -> None:
    good = world.head
    text = world.declare("v1").replace("runAsNonRoot: true", "runAsNonRoot: false").replace("10001", "0")
    bad = world.push({world.SERVICE: text})
    assert "root" in world.problem(bad[:12], "denied")
    assert world.overview()["deployed"] == good
    assert world.infer() == 200
    world.deployed(world.push({world.SERVICE: world.declare("v1")}))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("models/broken.yaml", "kind: [", ("models/broken.yaml",)),
        ("models/twice.yaml", "kind: A\nkind: B\n", ("models/twice.yaml", "kind")),
        ("customhouse.yaml", RULES.replace("provider", "providr") + "budgetz: []\n", ("customhouse.yaml", "budgetz")),
        ("customhouse.yaml", RULES + "trust:\n  allowedSigners: nowhere\n", ("nowhere",)),
    ],
    ids=["broken YAML", "duplicate key", "unknown key", "a file that is not there"],
)
def test_a_commit_that_cannot_be_decided_is_refused_and_the_next_one_goes_on(
    world: UpWorld, file: str, text: str, words: tuple[str, ...]
) -> None:
    good = world.head
    bad = world.push({file: text})
    world.problem("could not decide", bad[:12], *words)
    assert world.overview()["deployed"] == good
    fixed = world.push({file: RULES if file == "customhouse.yaml" else None})
    world.deployed(fixed)
    assert world.overview()["problem"] == ""


def test_a_missing_artifact_is_asked_about_again_until_it_is_there(world: UpWorld) -> None:
    artifact = world.root / "artifacts" / "v2"
    declaration = world.declare("v2")
    artifact.rename(world.root / "elsewhere")
    commit = world.push({world.SERVICE: declaration}, "v2 before its upload has ended")
    world.problem("could not decide", commit[:12], "v2")
    (world.root / "elsewhere").rename(artifact)
    world.deployed(commit)
    assert world.overview()["problem"] == ""
    assert [e.key for e in world.entries("refused") if commit in e.key] == [f"refused:{commit}:CH013"]


def test_two_quick_commits_are_both_judged(world: UpWorld) -> None:
    one = world.commit({NOTES: notes("c")})
    (world.clone / NOTES).write_text(notes("d"))
    git(world.clone, "commit", "-q", "-am", "two")
    two = git(world.clone, "rev-parse", "HEAD")
    git(world.clone, "push", "-q", "origin", "HEAD:main")
    world.deployed(two)
    judged = [entry.key.split(":")[1] for entry in world.entries("decision")]
    assert judged.index(one) < judged.index(two)


def test_a_commit_during_a_canary_leaves_it_alone_and_a_person_may_take_it_back(world: UpWorld) -> None:
    stable = world.declare("v2")
    world.deployed(world.push({world.SERVICE: stable}))
    commit = world.serve("v3", analysis=SLOW)
    world.until(lambda: world.overview()["state"] == "canary")
    walk = world.until(lambda: world.documents("rollout/"))
    # Something else, then a label of the service itself: the canary is the same one.
    other = world.push({NOTES: notes("e")})
    world.until(lambda: world.overview()["deployed"] == other)
    touched = world.push({world.SERVICE: world.declare("v3", analysis=SLOW, shift="night")})
    world.until(lambda: world.overview()["deployed"] == touched)
    after = world.documents("rollout/")
    assert [v["commit"] for v in after.values()] == [v["commit"] for v in walk.values()] == [commit]
    back = world.push({world.SERVICE: stable}, "A person has seen enough")
    world.deployed(back)
    assert phases(world, commit)[0] == "canary-20"
    assert "promoted" not in [phase for c in (commit, touched) for phase in phases(world, c)]
    assert "replaced" in [phase for c in (commit, touched) for phase in phases(world, c)]
    rows = {row["release"]: row["weight"] for row in world.overview()["releases"] if row["weight"]}
    assert list(rows.values()) == [100]


def test_a_worse_release_whose_revert_conflicts_is_held_and_a_person_is_asked(world: UpWorld) -> None:
    good = world.declare("v2")
    world.deployed(world.push({world.SERVICE: good}))
    bad = world.declare("broken")
    world.commit({world.SERVICE: bad}, "broken")
    commented = bad.replace("storageUri: pvc://models/broken", "storageUri: pvc://models/broken # new")
    (world.clone / world.SERVICE).write_text(commented)
    git(world.clone, "commit", "-q", "-am", "a comment on the same line")
    git(world.clone, "push", "-q", "origin", "HEAD:main")
    world.problem("is held", "no revert commit could be written", world.SERVICE)
    assert world.infer() == 200
    world.deployed(world.push({world.SERVICE: good}, "By hand"))
    assert world.overview()["problem"] == ""


def test_what_leaves_git_leaves_the_target_but_never_most_of_it_at_once(world: UpWorld) -> None:
    world.deployed(world.push({"models/more.yaml": notes("x", "more"), "models/less.yaml": notes("x", "less")}))
    gone = world.push({"models/more.yaml": None})
    world.deployed(gone)
    world.until(lambda: any(gone in entry.key and "more" in entry.key for entry in world.entries("removal")))
    kept = {"models/less.yaml": notes("x", "less"), NOTES: notes("e"), world.SERVICE: world.declare("v2")}
    world.push(dict.fromkeys(kept))
    world.problem("would be deleted")
    assert world.infer() == 200
    world.deployed(world.push(dict(kept)))


def test_a_rewritten_branch_is_refused_with_the_reason(world: UpWorld) -> None:
    good = world.head
    git(world.clone, "fetch", "-q", "origin", "main")
    git(world.clone, "checkout", "-q", "-B", "main", "origin/main~2")
    (world.clone / NOTES).write_text(notes("rewritten"))
    git(world.clone, "commit", "-q", "-am", "Another history")
    git(world.clone, "push", "-q", "--force", "origin", "HEAD:main")
    world.problem("denied", "descend")
    assert world.overview()["deployed"] == good
    git(world.clone, "push", "-q", "--force", "origin", f"{good}:main")
    world.until(lambda: world.overview()["head"] == good and not world.overview()["problem"])
    world.deployed(world.push({NOTES: notes("f")}))


def test_the_rules_take_effect_after_the_merge(world: UpWorld) -> None:
    (world.root / "other").mkdir()
    (world.root / "artifacts" / "v4").rename(world.root / "other" / "v4")
    text = world.declare("v2", name="second").replace("pvc://models/v2", "pvc://extra/v4")
    world.deployed(
        world.push({"customhouse.yaml": RULES.replace("models: artifacts", "models: artifacts\n    extra: other")})
    )
    from customhouse._kit.digest import tree

    pinned = text.replace(world.digest("v2"), tree(world.root / "other" / "v4").digest)
    world.deployed(world.push({"models/second.yaml": pinned}))
    poor = RULES.replace("models: artifacts", "models: artifacts\n    extra: other").replace('"900"', '"0.01"')
    world.deployed(world.push({"customhouse.yaml": poor}))
    grown = pinned.replace("minReplicas: 1", "minReplicas: 2").replace("maxReplicas: 1", "maxReplicas: 2")
    world.push({"models/second.yaml": grown})
    assert "budget" in world.problem("denied").lower()
    world.push({"models/second.yaml": pinned})
    world.deployed(world.push({"customhouse.yaml": RULES, "models/second.yaml": None}))


def test_a_remote_that_goes_away_is_told_and_followed_again_when_it_is_back(world: UpWorld) -> None:
    away = world.root / "away.git"
    world.remote.rename(away)
    world.problem("git fetch")
    assert world.infer() == 200
    away.rename(world.remote)
    world.until(lambda: not world.overview()["problem"])
    world.deployed(world.push({NOTES: notes("g")}))


def test_a_second_control_plane_on_the_same_state_is_an_error_and_harms_nothing(world: UpWorld) -> None:
    size = len(world.entries())
    done = world.cli("up", "--repo", str(world.remote), "--port", "0")
    assert done.returncode == 3
    assert "another control plane runs on this state" in done.stderr
    assert "--state" in done.stderr
    assert world.infer() == 200
    assert all(entry.kind in ("charge", "usage") for entry in world.entries()[size:])


def test_a_full_disk_stops_the_deciding_and_not_the_serving(world: UpWorld) -> None:
    import resource

    assert world.process is not None
    good, pid = world.head, world.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        commit = world.push({NOTES: notes("h")})
        problem = world.until(lambda: world.page()["problem"])
        assert "nothing can be recorded" in problem
        assert world.page()["deployed"] == good
        assert world.infer() == 200
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    world.deployed(commit)
    world.until(lambda: not world.overview()["problem"])


def test_sigterm_ends_it_and_all_that_it_runs_within_ten_seconds(world: UpWorld) -> None:
    assert world.process is not None
    begun = time.monotonic()
    assert world.end() == 0
    assert time.monotonic() - begun < 10
    assert world.serving() == []
    verified = world.cli("ledger", "verify")
    assert verified.returncode == 0, verified.stderr


def test_kept_servers_go_on_and_the_next_life_takes_them_over(running: UpWorld) -> None:
    running.start("--keep-serving")
    running.until(lambda: running.said().count("following") == 2 and running.infer() == 200)
    workers = running.serving()
    assert running.end() == 0
    assert running.serving() == workers
    assert running.infer() == 200
    running.start()
    running.until(lambda: running.said().count("following") == 3)
    assert running.infer() == 200
    assert running.serving() == workers
    assert running.end() == 0
    assert running.serving() == []


def test_a_port_in_use_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        world = UpWorld(tmp_path, RULES.replace("kind: local", f"kind: local\n  port: {port}"))
        gateway = world.cli("up", "--repo", str(world.remote), "--port", "0")
        dashboard = world.cli("up", "--repo", str(world.remote), "--port", str(port))
    for done in (gateway, dashboard):
        assert done.returncode == 3
        assert str(port) in done.stderr
        assert "fix:" in done.stderr
    assert world.serving() == []
