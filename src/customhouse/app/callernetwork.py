"""`customhouse network`: NetworkPolicies from the callers that workloads declare, and who was seen calling them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from customhouse.app.declared import declarations_of
from customhouse.app.named_files import NamedFiles
from customhouse.core.callers import CALLERS, Network, network_of
from customhouse.core.errors import UsageError
from customhouse.core.flows import MAX_LINE, Seen, compared, parse_flows
from customhouse.execution.networkpolicies import network_policies, silent


def generate(paths: Sequence[str], stdin: BinaryIO | None = None) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The policies, and the workloads that nobody will reach. Raises UsageError where nothing declares callers."""
    network = _network(paths, stdin)
    made = network_policies(network)
    if not made:
        raise _nobody(network)
    return made, silent(network)


def check(paths: Sequence[str], log: BinaryIO, name: str) -> list[Seen]:
    """What a log of flows says of each workload that declares callers. Raises UsageError, also where none does."""
    network = _network(paths, None)
    for problem in network.problems.values():
        raise problem
    if not any(item.callers is not None for item in network.workloads.values()):
        raise _nobody(network)
    return compared(network, parse_flows(_lines(log), name))


def _lines(log: BinaryIO) -> Iterator[bytes]:
    while line := log.readline(MAX_LINE + 1):
        yield line


def _network(paths: Sequence[str], stdin: BinaryIO | None) -> Network:
    declared = declarations_of(NamedFiles(paths, stdin), "files", ())
    for item in declared:
        if item.ref.scene:
            raise UsageError(
                f"{item.ref} is declared for several clusters",
                where=str(item.location),
                hint="name the folder of one of them: each has callers of its own",
            )
    return network_of(declared)


def _nobody(network: Network) -> UsageError:
    return UsageError(
        f"no workload of {len(network.workloads)} has the annotation {CALLERS}",
        hint=f'{CALLERS}: "web, shop/api" on the Deployment or InferenceService that they call; none: nobody may',
    )
