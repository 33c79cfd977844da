"""What is left of it all: the way of custody, the ledger, and a copy that somebody altered."""

from __future__ import annotations

from customhouse.app import wiring
from customhouse.app.compliance import Wanted, outcome, report
from customhouse.app.custody import Asked, export_to
from customhouse.app.custody_verify import verify as verify_export
from customhouse.app.demo.story import SERVICE, Story
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


def exported(story: Story) -> str:
    """The release as one file, which proves itself with the ledger's public key alone, until one byte is flipped."""
    settings = story.space.settings
    key = str(settings.keys / f"{wiring.LEDGER_KEY}.pub")
    place = story.space.root / "release.custody.json"
    done = export_to(settings, Asked(f"{SERVICE.namespace}/{SERVICE.name}"), str(place))
    found = verify_export(str(place), keys=[key])
    story.check(
        found.ok and found.vouched, "; ".join(str(link) for link in found.broken[:3]) or "nobody vouches for it"
    )
    altered = bytearray(done.data)
    altered[len(altered) // 2] ^= 1
    other = place.with_name("altered.custody.json")
    other.write_bytes(bytes(altered))
    again = verify_export(str(other), keys=[key])
    story.check(not again.ok, "the flipped byte was not found")
    counts = f"{found.count('proved')} links proved, {found.count('claimed')} claimed"
    return f"{len(done.data)} bytes, {counts}; one byte flipped: {again.broken[0].name} is broken"


def compliance(story: Story) -> str:
    """The controls of five texts, held against what is known of the release that serves."""
    found = report(story.space.settings, Wanted(f"{SERVICE.namespace}/{SERVICE.name}"))
    counted = outcome(found)
    story.check(counted["met"] > 0 and counted["missing"] > 0, f"not what is known: {counted}")
    story.check(found["ledger"]["verified"], "; ".join(found["ledger"]["problems"]))
    said = f"{counted['met']} controls met, {counted['partly']} partly, {counted['missing']} missing"
    return f"{len(found['frameworks'])} texts: {said}, {counted['not-shown']} that no system shows"


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
