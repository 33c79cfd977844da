"""What happens in production: a worse release, a killed and an altered process, a size that is too large."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from customhouse.app.demo.story import SERVICE, Story
from customhouse.app.demo.story_release import attest, commit_release, train
from customhouse.app.memory import PROPOSAL
from customhouse.core.release import Release, RolloutPhase


def propose_third(story: Story) -> str:
    """v2.2: every check before production is content."""
    train(story, "v2.2")
    attest(story, "v2.2")
    commit_release(story, "v2.2", "v2.1")
    return story.gate_allows("release/v2.2")


def roll_back_third(story: Story) -> str:
    """Live, labelled traffic shows what it is."""
    story.merge("release/v2.2")
    digest = story.digests["v2.2"]

    def found() -> Release | None:
        history = story.plane.store.releases.history(SERVICE.name)
        return next((i for i in history if i.artifact == digest and i.phase is RolloutPhase.ROLLED_BACK), None)

    release = story.until(found, "v2.2 was not rolled back")
    story.check("log-loss" in release.reason or "quality" in release.reason, release.reason)
    return f"{release.reason}; {story.counts()}"


def reverted(story: Story) -> str:
    """Git says again what runs."""
    ada = story.space.ada

    def found() -> str | None:
        ada.git("fetch", "-q", "origin")
        subject = ada.git("log", "-1", "--format=%H %an %s", "origin/main").strip()
        return subject if " Customhouse Revert " in subject else None

    subject = story.until(found, "no revert commit came")
    head = subject.partition(" ")[0]
    story.until(lambda: story.live.overview().deployed == head or None, "the revert was not deployed")
    story.until(lambda: (not story.live.overview().problem) or None, "the problem did not go away")
    ada.pull("main")
    return subject[:12] + subject[40:]


def heal_killed(story: Story) -> str:
    """SIGKILL to the model server."""
    replica = serving_replica(story)
    os.kill(replica["pid"], signal.SIGKILL)

    def found() -> dict[str, Any] | None:
        now = serving_replica(story)
        return now if now["ready"] and now["pid"] not in (None, replica["pid"]) else None

    healed = story.until(found, "the killed process did not come back")
    return f"process {replica['pid']} → {healed['pid']}; {story.counts()}"


def heal_altered(story: Story) -> str:
    """Somebody gives the model server another memory limit behind Git's back."""
    identity = serving_replica(story)["id"]
    file = story.space.settings.state / "local" / "run" / f"{identity}.json"
    config = json.loads(file.read_bytes())
    limit = config["memory_limit"]
    file.write_text(json.dumps({**config, "memory_limit": limit * 2}), encoding="utf-8")

    def found() -> str | None:
        drift = [e for _, e in story.plane.ledger.entries() if e.kind == "drift" and "memory" in str(e.body["text"])]
        return str(drift[-1].body["text"]) if drift else None

    text = story.until(found, "the alteration was not seen")

    def healed() -> bool | None:
        place = story.space.settings.state / "local" / "run" / f"{serving_replica(story)['id']}.json"
        return (place.exists() and json.loads(place.read_bytes())["memory_limit"] == limit) or None

    story.until(healed, "the alteration was not put right")
    return text


def serving_replica(story: Story) -> dict[str, Any]:
    """The first replica that runs."""
    live = story.plane.target.read([SERVICE])[SERVICE]
    replicas: list[dict[str, Any]] = live.status["local"]["replicas"]
    story.check(bool(replicas), "no replica runs")
    return replicas[0]


def propose_size(story: Story) -> str:
    """The optimiser has seen enough windows."""
    documents = story.until(lambda: story.plane.memory.all(PROPOSAL) or None, "no proposal came")
    document = next(iter(documents.values()))
    story.digests["proposal"] = document["branch"]
    story.check(any("memory" in item["pointer"] for item in document["edits"]), f"not about memory: {document}")
    edits = ", ".join(f"{item['pointer'].rpartition('resources/')[2]} → {item['value']}" for item in document["edits"])
    return f"{document['branch']}: {edits}; saves {document['saving']} USD a month; {document['risk']}"


def gate_size(story: Story) -> str:
    """The optimiser's branch meets the same gate."""
    return story.gate_allows(story.digests["proposal"])


def apply_size(story: Story) -> str:
    """A person merges it; it is canaried like any change of what runs."""
    head = story.merge(story.digests["proposal"])

    def applied() -> Release | None:
        history = story.plane.store.releases.history(SERVICE.name)
        return next((i for i in history if i.revision == head and i.phase is RolloutPhase.PROMOTED), None)

    release = story.until(applied, "the right size was not applied")
    return f"release {release.release[7:19]}; {story.counts()}"


def no_failures(story: Story) -> str:
    """The load generator counted."""
    tally = story.traffic.snapshot() if story.traffic else None
    story.check(tally is not None and tally.sent > 0, "no traffic ran")
    assert tally is not None  # noqa: S101 - narrowed by the check
    story.check(tally.failed == 0, f"{tally.failed} of {tally.sent} requests failed: {tally.failures[:3]}")
    return f"{tally.sent} requests, 0 failed, {len(tally.releases)} releases answered"
