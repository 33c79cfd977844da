"""The demo's steps in their order. Every name is a clause of what the product promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from customhouse.app.demo import story_artifacts as artifacts
from customhouse.app.demo import story_denials as denials
from customhouse.app.demo import story_image as image
from customhouse.app.demo import story_operations as operations
from customhouse.app.demo import story_points as points
from customhouse.app.demo import story_proof as proof
from customhouse.app.demo import story_quality as quality
from customhouse.app.demo import story_release as release
from customhouse.app.demo.story import Story

SCRIPT: Sequence[tuple[str, Callable[[Story], str]]] = (
    ("dataset registered by digest", release.dataset),
    ("training Job trains v2.0 and exports ONNX", release.train_first),
    ("evidence: scan, BOM, provenance, signature", release.evidence_first),
    ("commit of models/fraud-detection/v2.0", release.commit_first),
    ("without an evaluation by the plan in Git, v2.0 is denied", quality.deny_unmeasured),
    ("model evaluate: v2.0 is measured on held-out data, judged by the plan, signed", quality.evaluate_first),
    ("gate allows v2.0", release.gate_allows_first),
    ("v2.0 is served and answers predictions", release.serve_first),
    ("v2.1 is proposed and allowed", release.propose_second),
    ("v2.1 is canaried with live traffic and promoted", release.promote_second),
    ("eight H100 in a standard tier are denied for cost", denials.deny_cost),
    ("a malicious pickle is denied", denials.deny_pickle),
    ("an unsigned model is denied", denials.deny_unsigned),
    ("a model that another image trained is denied by its provenance", artifacts.deny_provenance),
    ("an image from an untrusted registry is denied, past the gate too", denials.deny_registry),
    ("v2.2, worse, is signed, clean and allowed", operations.propose_third),
    ("v2.2's canary fails on quality: rolled back at once", operations.roll_back_third),
    ("the revert commit is in Git", operations.reverted),
    ("a killed process is healed", operations.heal_killed),
    ("an altered process is healed", operations.heal_altered),
    ("usage is seen, the right size is proposed as a branch", operations.propose_size),
    ("the gate allows the right size", operations.gate_size),
    ("the right size is merged and applied", operations.apply_size),
    ("no request failed in any roll or rollback", operations.no_failures),
    (
        "weights from outside: a malicious pickle is refused, an array becomes safetensors",
        artifacts.weights_from_outside,
    ),
    ("the bill of materials says how complete it is", artifacts.bill),
    ("a new advisory: who runs what it is about, and what mends it", artifacts.advisory),
    ("image scan: what is in the trainer's image, layer by layer, and what is known against it", image.scanned),
    ("model register: v2.1 with its evidence into an OCI layout; a malicious one is not sent", quality.register),
    ("a signed dataset verifies; with one flipped bit it does not", artifacts.dataset_signed),
    ("every decision can be repeated; a stricter rule is tried on them", points.replayed),
    ("trace leads from the dataset to the charge", proof.way),
    ("one file proves the release to a stranger; with one flipped byte it does not", proof.exported),
    ("a compliance report says which controls are met, and what is missing", proof.compliance),
    ("the ledger verifies", proof.verify),
    ("a copy with one flipped byte does not", proof.flipped),
)
