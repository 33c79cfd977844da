"""The page shows what the scheduler's extender says of itself, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace

from server_boards import AT, PICTURE

from customhouse.server.page import Page

EXTENDER = {
    "at": AT,
    "problem": "",
    "rules": "",
    "prices": "prices of aws us-east-1 are of 2026-01-01, 300 days old (limit 180)",
    "calls": {"filter": {"200": 1234, "503": 2}, "preempt": {"403": 1}, "other": {"200": 9}},
    "nodes": 1000,
    "reservations": 3,
    "pending": 1,
    "doubted": ["node-7 says 8 nvidia.com/gpu; a g5.12xlarge has 4"],
    "tiers": [{"tier": "batch", "asked": 500, "emptied": 1, "refused": 9000}],
    "refused": [{"tier": "batch", "reason": "tier batch runs on spot capacity alone", "nodes": 9000}],
    "without": [{"pod": "a/<b>", "tier": "batch", "at": AT, "reasons": [{"reason": "no <room>", "nodes": 7}]}],
}


def test_the_page_says_what_the_extender_did_and_what_is_wrong_with_it() -> None:
    text = Page().render("index.html", replace(PICTURE, scheduling={"extender": EXTENDER}))
    for part in (
        "Calls: filter",
        '<data value="1234">1,234</data>',
        "2 answered 503",
        "1 answered 403",
        "tier batch runs on spot capacity alone",
        "300 days old",
        "a g5.12xlarge has 4",
        "a/&lt;b&gt;",
        "no &lt;room&gt;",
    ):
        assert part in text, part
    assert "Calls: other" not in text
    assert "scheduling-part" not in Page().render("index.html", PICTURE)


def test_the_page_says_which_machines_are_wanted_and_where_to_take_them() -> None:
    row = {"name": "gold-l4", "tier": "gold", "pods": 3, "since": AT, "machines": "3 × g6.xlarge", "monthly": "1762.51"}
    proposed = {
        **row,
        "state": "proposed",
        "branch": "customhouse/nodepool/gold-l4",
        "url": "https://f/1",
        "problem": "",
    }
    waits = {**row, "name": "other", "monthly": None, "state": "waits", "problem": "its machines have not come"}
    text = Page().render("index.html", replace(PICTURE, scheduling={"pools": [proposed, waits]}))
    for part in (
        "3 × g6.xlarge",
        "1,762.51",
        "customhouse/nodepool/gold-l4",
        "https://f/1",
        "its machines have not come",
    ):
        assert part in text, part
    assert "scheduling-part" not in text


def test_the_page_says_which_nodes_go_and_what_becomes_of_their_pods() -> None:
    row = {"node": "n<1>", "state": "draining", "sign": "aws-node-termination-handler/spot-itn", "deadline": AT}
    pods = [{"pod": "a/b", "state": "stays: Git does not declare it"}]
    text = Page().render("index.html", replace(PICTURE, cluster={"interruptions": [{**row, "pods": pods}]}))
    for part in ("Nodes that go", "n&lt;1&gt;", "spot-itn", "a/b: stays: Git does not declare it"):
        assert part in text, part
    assert "Nodes that go" not in Page().render("index.html", PICTURE)
