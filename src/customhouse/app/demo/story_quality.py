"""How good a model is: measured by the plan that Git holds, signed, asked for by the gate, and registered with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from customhouse.app.demo.story import Story
from customhouse.app.evaluating import EvaluateRequest
from customhouse.app.evaluating import evaluate as measured
from customhouse.app.initialise import EVIDENCE_KEY
from customhouse.app.inspection import read_tree
from customhouse.app.model_pull import pull
from customhouse.app.model_register import RegisterRequest
from customhouse.app.model_register import register as registered
from customhouse.core.errors import TamperError
from customhouse.trust.scan import Wish


def deny_unmeasured(story: Story) -> str:
    """v2.0 is scanned, described and signed, but nobody has measured it."""
    return story.gate_denies("release/v2.0", "evaluation-plan")


def evaluate_first(story: Story) -> str:
    """`model evaluate --attest` on rows that it was not trained on; the evidence joins the branch."""
    ada, key = story.space.ada, story.space.settings.keys / f"{EVIDENCE_KEY}.key"
    document = evaluated(story, "v2.0", story.space.model("v2.0"), key=key)
    story.check(document["passed"] is True, f"a bound does not hold: {document['bounds']}")
    ada.commit("v2.0, measured", {document["file"]: (ada.clone / document["file"]).read_bytes()})
    ada.push("release/v2.0")
    area, loss = (document["metrics"][name] for name in ("roc_auc", "log_loss"))
    return (
        f"{document['data']['rows']} rows: AUC {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}), log-loss "
        f"{loss['value']:.3f}; all {len(document['bounds'])} bounds of {document['plan']['name']} hold; signed"
    )


def evaluated(story: Story, version: str, folder: Path, *, key: Path | None = None) -> dict[str, Any]:
    """Measure a model folder by the plan in the clone, on the rows that the version's own pipeline held out."""
    space = story.space
    data, dataset = space.held_out(version)
    request = EvaluateRequest(
        str(folder),
        str(data),
        dataset=None if dataset is None else str(dataset),
        name="fraud-detection",
        repo=str(space.ada.clone),
        key=None if key is None else str(key),
    )
    return measured(request, space.settings, Wish(), lambda _: None)


def register(story: Story) -> str:
    """v2.1 into an OCI layout with its evidence; what is malicious is not sent, and what is there is not replaced."""
    space = story.space
    place, key = space.root / "registry", str(space.settings.keys / f"{EVIDENCE_KEY}.key")

    def send(version: str, tag: str) -> dict[str, Any]:
        asked = RegisterRequest(
            str(space.model(version)),
            f"oci-layout://{place}:{tag}",
            key,
            name="fraud-detection",
            version=version,
            actor=space.ada.author,
        )
        return registered(space.settings, asked)

    bad = send("v2.1-pickle", "pickle")
    story.check(not bad["registered"] and not place.exists(), "something of the malicious one was sent")
    done = send("v2.1", "v2.1")
    story.check(done["registered"] and done["digest"] == story.digests["v2.1"], f"v2.1 was not registered: {done}")
    try:
        send("v2.0", "v2.1")
    except TamperError:
        pass
    else:
        story.check(False, "the tag was moved")
    back = pull(space.settings, done["reference"], str(space.root / "pulled"), digest=None, lock=None)
    story.check(back.tree == read_tree(space.model("v2.1")).digest, "what came back is another")
    return (
        f"{len(done['evidence'])} statements beside {done['reference'].rpartition('/')[2][:26]}…, and what was pulled "
        f"is what was sent; v2.1-pickle: {bad['verdict']}, nothing was sent; the tag v2.1 was not given to v2.0"
    )
