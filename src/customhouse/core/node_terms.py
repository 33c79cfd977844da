"""What a tier says of nodes, as terms of node affinity (`requiredDuringSchedulingIgnoredDuringExecution`).

A term is a sequence of expressions that all hold; terms are alternatives. The scheduler keeps them by itself, so they
hold also while nobody tells it about tiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from customhouse.core.devices import SPOT_LABELS, accelerator_class
from customhouse.core.resource import PREFIX

Expression = Mapping[str, Any]
Term = tuple[Expression, ...]

# Values of node labels as their writers write them: GPU Feature Discovery (nvidia.com/gpu.product, the card's name
# with `-` for spaces), GKE (cloud.google.com/gke-accelerator), Karpenter on AWS (instance-gpu-name), AMD's node
# labeller. The class of each is read by `accelerator_class`. A node with another value is for no pod that leaves its
# class open.
_VALUES: Mapping[str, tuple[str, ...]] = {
    "nvidia.com/gpu.product": (
        "NVIDIA-GB200",
        "NVIDIA-B300-SXM6-AC",
        "NVIDIA-B200",
        "NVIDIA-H200",
        "NVIDIA-H200-NVL",
        "NVIDIA-H100-80GB-HBM3",
        "NVIDIA-H100-PCIe",
        "NVIDIA-H100-NVL",
        "NVIDIA-A100-SXM4-80GB",
        "NVIDIA-A100-80GB-PCIe",
        "NVIDIA-A100-SXM4-40GB",
        "NVIDIA-A100-PCIE-40GB",
        "A100-SXM4-40GB",
        "NVIDIA-A30",
        "NVIDIA-A10G",
        "NVIDIA-A10",
        "NVIDIA-L40S",
        "NVIDIA-L4",
        "NVIDIA-T4G",
        "Tesla-T4",
        "Tesla-V100-SXM2-16GB",
        "Tesla-V100-SXM2-32GB",
        "Tesla-V100-SXM3-32GB",
        "Tesla-V100-PCIE-16GB",
        "Tesla-V100-PCIE-32GB",
        "Tesla-P100-PCIE-16GB",
        "Tesla-P100-SXM2-16GB",
        "Tesla-P4",
        "Tesla-K80",
    ),
    "cloud.google.com/gke-accelerator": (
        "nvidia-gb200",
        "nvidia-b200",
        "nvidia-h200-141gb",
        "nvidia-h100-80gb",
        "nvidia-h100-mega-80gb",
        "nvidia-a100-80gb",
        "nvidia-tesla-a100",
        "nvidia-l4",
        "nvidia-tesla-t4",
        "nvidia-tesla-v100",
        "nvidia-tesla-p100",
        "nvidia-tesla-p4",
        "nvidia-tesla-k80",
    ),
    "karpenter.k8s.aws/instance-gpu-name": (
        *("gb200", "b300", "b200", "h200", "h100", "a100", "a10g", "l40s", "l4", "t4g", "t4", "v100", "k80"),
    ),
    "amd.com/gpu.product-name": ("AMD_Instinct_MI300X_OAM", "AMD_Instinct_MI300X"),
}
PRODUCTS = tuple(value for values in _VALUES.values() for value in values)
"""Names of products, as these labels have them."""
_SHARED = "-SHARED"
"""What GPU Feature Discovery writes behind the product of a card in time slices."""


def node_terms(spot: str, gpu_classes: Sequence[str] | None, reserved: Sequence[tuple[str, str]]) -> tuple[Term, ...]:
    """The alternatives of which a node has to be one; none when any node will do.

    `spot` is `required`, `allowed` or `forbidden`. `gpu_classes`: those of which the devices have to be, None where
    that is said otherwise. `reserved`: labels with values of nodes that are others'.
    """
    barred = [_expression(key, "NotIn", (value,)) for key, value in reserved]
    if spot == "forbidden":
        barred += [_expression(key, "NotIn", _ways(value)) for key, value in sorted(SPOT_LABELS.items())]
    choices: list[list[Term]] = []
    if spot == "required":
        choices.append([(_expression(key, "In", _ways(value)),) for key, value in sorted(SPOT_LABELS.items())])
    if gpu_classes is not None:
        choices.append(_of_classes(frozenset(gpu_classes)))
    terms = [tuple(barred) + tuple(item for part in parts for item in part) for parts in product(*choices)]
    return tuple(term for term in terms if term)


def _of_classes(names: frozenset[str]) -> list[Term]:
    """Alternatives by label. The first label that a node has is the one that counts, so those before it are absent."""
    found: list[Term] = []
    before: list[Expression] = []
    for key, values in (*_VALUES.items(), (PREFIX + "accelerator", tuple(sorted(names)))):
        good = [value for value in values if accelerator_class(value) in names]
        if key.startswith("nvidia.com/"):
            good += [value + _SHARED for value in good]
        if good:
            found.append((*before, _expression(key, "In", good)))
        before.append({"key": key, "operator": "DoesNotExist"})
    # Nothing that is known is of such a class: then no node will do, which is said and not left out.
    return found or [(_expression(PREFIX + "accelerator", "In", ("none",)),)]


def _ways(value: str) -> tuple[str, ...]:
    """The ways in which clouds and people write a value that is read without regard to case."""
    return tuple(dict.fromkeys((value, value.lower(), value.upper(), value.capitalize())))


def _expression(key: str, operator: str, values: Sequence[str]) -> Expression:
    return {"key": key, "operator": operator, "values": list(values)}
