"""`customhouse network generate`: NetworkPolicies from the callers that workloads in files declare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

from customhouse.app.declared import declarations_of
from customhouse.app.named_files import NamedFiles
from customhouse.core.callers import CALLERS, network_of
from customhouse.core.errors import UsageError
from customhouse.execution.networkpolicies import network_policies, silent


def generate(paths: Sequence[str], stdin: BinaryIO | None = None) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The policies, and the workloads that nobody will reach. Raises UsageError where nothing declares callers."""
    declared = declarations_of(NamedFiles(paths, stdin), "files", ())
    for item in declared:
        if item.ref.scene:
            raise UsageError(
                f"{item.ref} is declared for several clusters",
                where=str(item.location),
                hint="name the folder of one of them: each has callers of its own",
            )
    network = network_of(declared)
    made = network_policies(network)
    if not made:
        raise UsageError(
            f"no workload of {len(network.workloads)} has the annotation {CALLERS}",
            hint=f'{CALLERS}: "web, shop/api" on the Deployment or InferenceService that they call; none: nobody may',
        )
    return made, silent(network)
