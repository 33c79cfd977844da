"""What is left of it all: the way of custody, the ledger, and a copy that somebody altered."""

from __future__ import annotations

from customhouse.app import wiring
from customhouse.app.demo.story import Story
from customhouse.app.inspection import read_tree
from customhouse.trust.custody import graph
from customhouse.trust.custody_trace import trace
from customhouse.trust.keys import load_public


def way(story: Story) -> str:
    """From the dataset to the money, with a proof for every entry."""
    ledger = story.plane.ledger
    data = read_tree(story.space.dataset).digest

    def found() -> str | None:
        entries = dict(ledger.entries())
        walked = trace(graph(entries.items()), data, lambda index: (ledger.prove(index), entries[index]))
        kinds = {str(node.kind) for node in walked.nodes}
        wanted = {"dataset", "training-run", "model", "evidence", "commit", "decision", "deployment", "charge"}
        if not wanted <= kinds:
            return None
        counts = f"{len(walked.nodes)} nodes, {len(walked.links)} links, {len(walked.proofs)} proofs"
        return f"{counts}: {', '.join(sorted(kinds))}"

    return story.until(found, "the way from the dataset to a charge is not complete")


def verify(story: Story) -> str:
    """Everything is recomputed from the stored bytes."""
    report = story.plane.ledger.verify()
    story.check(report.ok, "; ".join(str(problem) for problem in report.problems[:3]))
    return f"{report.size} entries, root {report.root.hex()[:16]}…"


def flipped(story: Story) -> str:
    """A published copy verifies; with one byte of one entry flipped it does not."""
    settings = story.space.settings
    public = load_public(settings.keys / f"{wiring.LEDGER_KEY}.pub")
    copy = story.space.root / "ledger-copy"
    wiring.publish_tiles(story.plane.store, copy, public)
    story.check(wiring.verify_tiles(copy, public).ok, "the untouched copy does not verify")
    file = max(
        (item for item in (copy / "tile" / "entries").rglob("*") if item.is_file()), key=lambda i: i.stat().st_size
    )
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    report = wiring.verify_tiles(copy, public)
    story.check(not report.ok, "the flipped byte was not found")
    return f"found: {report.problems[0]}"
