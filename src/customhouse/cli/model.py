"""`customhouse model`: one module a verb, `cli/model_<verb>.py`, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

import click

from customhouse.cli.verbs import Verbs

VERBS: Mapping[str, tuple[str, str]] = {
    "scan": ("model_scan:scan", "Say whether files may be loaded."),
    "sign": ("model_sign:sign", "Sign a model's files by OpenSSF Model Signing v1."),
    "verify": ("model_verify:verify", "Check a model's files against their signature."),
    "bom": ("model_bom:bom", "Write the bill of materials of a model."),
    "convert": ("model_convert:convert", "Write weights as safetensors, without executing what they are in."),
    "pull": ("model_pull:pull", "Fetch a model from a registry, an address or a folder, and verify it."),
    "register": ("model_register:register", "Send a model that scanned clean to a registry, with its evidence."),
    "provenance": ("model_provenance:provenance", "Say what provenance says, and whether it is what is expected."),
    "lineage": ("model_lineage:lineage", "Say what MLflow, OpenLineage and DVC claim of where a model comes from."),
    "reproduce": ("model_reproduce:reproduce", "Train a model again from its provenance, and compare."),
    "evaluate": ("model_evaluate:evaluate", "Measure a model on held-out data, and judge declared bounds."),
    "attest": ("model_attest:attest", "Inspect a model and write the evidence that the gate asks for."),
}


@click.group(cls=Verbs, verbs=VERBS)
def model() -> None:
    """Scan, evaluate, sign, register and verify models.

    `evaluate` loads one that scanned clean, in a process of its own.
    """
