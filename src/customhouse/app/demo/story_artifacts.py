"""What a team does with files at hand: weights from outside, a bill, a signed dataset, provenance that is held to."""

from __future__ import annotations

import json
import shutil
import struct

from customhouse._kit.digest import bytes_digest
from customhouse.app import models
from customhouse.app.advisory_import import import_advisories
from customhouse.app.artifact_sign import sign
from customhouse.app.artifact_verify import Request, verify
from customhouse.app.converting import convert
from customhouse.app.demo.story import Story
from customhouse.app.demo.story_denials import copy_model
from customhouse.app.demo.story_release import attest, commit_release
from customhouse.app.demo.workspace import TRAINER
from customhouse.app.initialise import EVIDENCE_KEY
from customhouse.app.model_signing import By
from customhouse.app.modelbom import measured
from customhouse.core.errors import ArtifactError, TamperError
from customhouse.trust.scan import Wish

EVIL = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x1bopen('harmless-marker','w')\x85R."
"""Weights as a stranger may send them: whoever loads them runs a command. Nobody does."""
_NUMBERS = struct.pack("<8f", *(0.125 * step for step in range(8)))


def weights_from_outside(story: Story) -> str:
    """A pickle that runs code is refused, with the reason; an array becomes safetensors without being loaded."""
    folder = story.space.root / "from-outside"
    folder.mkdir()
    (folder / "weights.pkl").write_bytes(EVIL)
    (folder / "weights.npy").write_bytes(_array(_NUMBERS))
    found = {item.path: item for item in models.scan([str(folder)], Wish()).files}
    bad = next(item for path, item in found.items() if path.endswith(".pkl"))
    story.check(bad.verdict.value == "malicious" and bool(bad.findings), f"the pickle is called {bad.verdict.value}")
    try:
        convert(str(folder / "weights.pkl"), "safetensors", None, leave_out=False, replace=False)
    except ArtifactError:
        pass
    else:
        story.check(False, "a malicious pickle was converted")
    done = convert(str(folder / "weights.npy"), "safetensors", None, leave_out=False, replace=False)
    written = (folder / "weights.safetensors").read_bytes()
    story.check(written.endswith(_NUMBERS), "the numbers are not what they were")
    story.check(done.source_digest == bytes_digest(_array(_NUMBERS)), "the source's digest is not in it")
    again = models.scan([str(folder / "weights.safetensors")], Wish())
    story.check(again.verdict.value == "clean", f"what was converted is {again.verdict.value}")
    why = bad.findings[0]
    return f"weights.pkl: malicious ({why.rule}: {why.message}); weights.npy: now safetensors, clean"


def _array(data: bytes) -> bytes:
    """A file of NumPy with these float32 numbers."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(data) // 4},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def deny_provenance(story: Story) -> str:
    """Signed, clean, but made by another image than the one that review expects."""
    copy_model(story, "v2.1-notebook", {"NOTES.md": b"Trained at home.\n"})
    elsewhere = TRAINER.replace("trainer", "notebook")
    job = story.space.job("v2.1").replace(TRAINER.encode(), elsewhere.encode())
    attest(story, "v2.1", story.space.model("v2.1-notebook"), made_by=job)
    commit_release(story, "v2.1-notebook", "v2.1")
    return story.gate_denies("release/v2.1-notebook", "provenance-expected", "no material is code")


def bill(story: Story) -> str:
    """How complete the bill of v2.1 is."""
    name = f".evidence/{story.digests['v2.1'].removeprefix('sha256:')}/bom.sigstore.json"
    story.space.ada.pull("main")
    said = measured(str(story.space.ada.clone / name))
    lacking = [row["name"] for row in said["elements"] if row["state"] == "missing"]
    story.check(said["met"] > 0, "nothing is in it")
    return f"{said['met']} of {said['of']} minimum elements, {said['partly']} in part; lacks {', '.join(lacking[:3])} …"


def advisory(story: Story) -> str:
    """Somebody publishes a vulnerability of a library in the model's bill: the control plane says who runs it."""
    record = {
        "id": "DEMO-2026-0001",
        "modified": "2026-01-01T00:00:00Z",
        "summary": "Made up for this demo",
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "numpy"},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "999.0"}]}],
            }
        ],
    }
    place = story.space.root / "advisory.json"
    place.write_text(json.dumps(record), encoding="utf-8")
    import_advisories(story.space.settings, [str(place)])
    size = story.plane.ledger.size

    def found() -> str | None:
        entries = story.plane.ledger.entries(max(0, size - 20))
        return next((item.body["text"] for _, item in entries if item.kind == "vulnerability-found"), None)

    return story.until(found, "nobody says who runs what the advisory is about")


def dataset_signed(story: Story) -> str:
    """The signature over a copy of the dataset; then one bit of one file is another."""
    space = story.space
    copy = space.root / "dataset-copy"
    shutil.copytree(space.dataset, copy)
    key = space.settings.keys / EVIDENCE_KEY
    sign(str(copy), By(key=str(key.with_suffix(".key"))), None)
    asked = Request(str(copy), key=str(key.with_suffix(".pub")))
    verify(asked)
    file = max((item for item in copy.iterdir() if item.is_file()), key=lambda item: item.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    try:
        verify(asked)
    except TamperError as error:
        story.check(file.name in str(error), f"the file is not named: {error}")
        return f"verified; then: {error.message}"
    story.check(False, "the flipped bit was not found")
    return ""
