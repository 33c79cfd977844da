"""What the recorded Decisions are good for: they are repeated, and a stricter rule is tried on them."""

from __future__ import annotations

from customhouse.app.demo.story import Story
from customhouse.app.policyreplay import ReplayRequest, replay

_STRICTER = """package customhouse.rules.house

import data.customhouse.lib

# METADATA
# title: A model server has two replicas
# description: One replica is away while its node is.
# custom:
#   id: house-two-replicas
#   category: reliability
#   severity: error
#   fix: Set minReplicas to 2.
findings contains lib.error("reliability", "house-two-replicas", "", message, "Set minReplicas to 2.") if {
	input.change.resource.kind == "InferenceService"
	lib.workload.replicas_min < 2
	message := "It may have one replica."
}
"""
"""A rule that nobody has yet; the demo's models would break it."""


def replayed(story: Story) -> str:
    """Every recorded Decision comes out the same again; under one more rule it is said who would be hit."""
    again = replay(story.space.settings, ReplayRequest(str(story.space.remote)), _silent).to_json()
    story.check(again["judged"] == again["same"] > 0, f"decisions came out otherwise: {again}")
    folder = story.space.root / "next"
    folder.mkdir()
    (folder / "house.rego").write_text(_STRICTER, encoding="utf-8")
    tried = replay(story.space.settings, ReplayRequest(str(story.space.remote), str(folder)), _silent).to_json()
    story.check(tried["newly_denied"] > 0 and not tried["undecided"], f"the stricter rule hits nobody: {tried}")
    return (
        f"{again['same']} decisions repeated byte for byte; under one more rule {tried['newly_denied']} of them "
        f"would be denied: {', '.join(tried['by_rule'])}"
    )


def _silent(what: str, done: int, total: int) -> None:
    """Nobody watches the progress of a step."""
