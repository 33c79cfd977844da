"""Accelerators: which resources are one, which class node selection requires, which part of one is asked for.

Three ways to ask: an extended resource (`nvidia.com/gpu: 2`), a part of a device (MIG profile, share, percent), and
dynamic resource allocation (claims of `resource.k8s.io`, read in `claims`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from customhouse._kit.quantity import parse_count
from customhouse.core.errors import DeclarationError
from customhouse.core.fields import amount, items, mapping
from customhouse.core.mig import RESOURCE, mig_part
from customhouse.core.resource import PREFIX

UNKNOWN_ACCELERATOR = "unknown"

_CLASS_LABELS = (
    "nvidia.com/gpu.product",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "amd.com/gpu.product-name",
    "cloud.google.com/gke-tpu-accelerator",
    PREFIX + "accelerator",
)
# Order matters: the first marker that stands by itself in the upper-cased label value names the class (no L4: an L40).
_MARKERS = (
    ("GB200", "GB200"),
    ("B300", "B300"),
    ("B200", "B200"),
    ("H200", "H200"),
    ("H100", "H100"),
    ("A100-80GB", "A100-80GB"),
    ("A100-SXM4-80GB", "A100-80GB"),
    ("A100-PCIE-80GB", "A100-80GB"),
    ("A100-SXM4-40GB", "A100-40GB"),
    ("A100-PCIE-40GB", "A100-40GB"),
    ("A100", "A100-40GB"),
    ("A30", "A30"),
    ("A10G", "A10G"),
    ("A10", "A10"),
    ("L40S", "L40S"),
    ("L4", "L4"),
    ("T4G", "T4G"),
    ("T4", "T4"),
    ("V100", "V100"),
    ("P100", "P100"),
    ("P4", "P4"),
    ("K80", "K80"),
    ("MI300X", "MI300X"),
    # Google's names of TPU generations (cloud.google.com/kubernetes-engine/docs/concepts/tpus)
    ("TPU-V4-PODSLICE", "TPU-V4"),
    ("TPU-V5-LITE-DEVICE", "TPU-V5E"),
    ("TPU-V5-LITE-PODSLICE", "TPU-V5E"),
    ("TPU-V5P-SLICE", "TPU-V5P"),
    ("TPU-V6E-SLICE", "TPU-V6E"),
    ("TPU7X", "TPU-7X"),
)
_NO_ACCELERATORS = (
    "rdma/",
    "vpc.amazonaws.com/",
    "networking.gke.io.networks/",
    "openshift.io/",
    "devices.kubevirt.io/",
    "smarter-devices/",
    "requests.",
    "limits.",
)
"""Extended resources that come with the machine: network devices and the like."""
_LABELLED = ("nvidia.com/", "amd.com/", "gpu.intel.com/", "google.com/tpu")
"""Makers whose node labels name the class; the devices of others are their own class."""
# What shares one device by memory or cores: not devices, but what is asked of one. The unit says which part of a
# device one stands for; None: it depends on the card. Sources: HAMi, Volcano vGPU, Koordinator, Aliyun gpushare.
_MEASURES: Mapping[str, Fraction | None] = {
    "nvidia.com/gpumem": None,
    "nvidia.com/gpumem-percentage": Fraction(1, 100),
    "nvidia.com/gpucores": Fraction(1, 100),
    "nvidia.com/priority": Fraction(0),
    "volcano.sh/vgpu-memory": None,
    "volcano.sh/vgpu-memory-percentage": Fraction(1, 100),
    "volcano.sh/vgpu-cores": Fraction(1, 100),
    "volcano.sh/gpu-memory": None,
    "koordinator.sh/gpu-core": Fraction(1, 100),
    "koordinator.sh/gpu-memory-ratio": Fraction(1, 100),
    "koordinator.sh/gpu-memory": None,
    "aliyun.com/gpu-mem": None,
    "aliyun.com/gpu-core.percentage": Fraction(1, 100),
    "tencent.com/vcuda-core": Fraction(1, 100),
    "tencent.com/vcuda-memory": None,
    "run.ai/gpu-fraction": None,
    "cambricon.com/mlu.smlu.vcore": Fraction(1, 100),
    "cambricon.com/mlu.smlu.vmemory": None,
}
# Among how many pods a device is shared, by time slicing or MPS: NVIDIA GPU feature discovery, GKE "About GPU sharing".
_SHARED_LABELS = ("nvidia.com/gpu.replicas", "cloud.google.com/gke-max-shared-clients-per-gpu")
_PARTITION = "cloud.google.com/gke-gpu-partition-size"
"""GKE: every device of the node is a part of this MIG profile, and is called `nvidia.com/gpu`."""
_SHARED = ".shared"
SPOT_LABELS: Mapping[str, str] = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "cloud.google.com/gke-provisioning": "spot",
    "kubernetes.azure.com/scalesetpriority": "spot",
    PREFIX + "capacity": "spot",
}
"""Node labels of interruptible capacity, as the clouds' own controllers write them; their values in any case."""


@dataclass(frozen=True, slots=True)
class Devices:
    """The accelerators of one container: `count` devices by name, of each of which `part` is asked for.

    `part` is None when it cannot be told (time-slicing says nothing of how many share; memory says nothing without
    the card): such a container has no price, and is not taken for a whole card nor for nothing.
    """

    counts: tuple[tuple[str, int], ...] = ()
    part: Fraction | None = Fraction(1)

    @property
    def count(self) -> int:
        """Devices, whole or in parts."""
        return sum(number for _, number in self.counts)

    @property
    def names(self) -> tuple[str, ...]:
        """The resource names, sorted."""
        return tuple(name for name, _ in self.counts)


_OF_MACHINES = frozenset({"cpu", "memory", "ephemeral-storage"})
_NONE = Devices()


def devices_of(requests: Mapping[str, Any], pointer: str) -> Devices:
    """The accelerators that a container's requests (limits filled in) name."""
    if requests.keys() <= _OF_MACHINES:
        return _NONE
    counts: list[tuple[str, int]] = []
    parts: list[Fraction | None] = []
    measured = False
    for name in sorted(requests, key=str):
        if not isinstance(name, str) or not is_accelerator(name):
            continue
        number = amount(parse_count, requests, name, pointer)
        if name in _MEASURES:
            unit = _MEASURES[name]
            if number and (unit is None or unit):
                measured = True
                parts.append(None if unit is None else number * unit)
            continue
        if number:
            counts.append((name, number))
        if name.endswith(_SHARED):
            parts.append(None)
    if measured and not counts:
        # A part of some device, and nobody says of how many: at least one.
        name = next(name for name in sorted(requests) if name in _MEASURES and requests[name])
        counts.append((name, 1))
    if not parts:
        return Devices(tuple(counts))
    known = [part for part in parts if part is not None]
    part = max(known) if known else None
    return Devices(tuple(counts), None if part is None else min(part, Fraction(1)))


def is_accelerator(resource: str) -> bool:
    """Every extended resource counts as an accelerator unless it is known to cost nothing by itself.

    A list of what is one would make the next maker's accelerator free.
    """
    return "/" in resource and not resource.startswith(_NO_ACCELERATORS)


def device_part(resource: str, pod: Mapping[str, Any], card: str) -> Fraction | None:
    """Which part of a card one device of this name is on the nodes that a pod requires; None: it cannot be told.

    A MIG profile by its name; else by the labels. Of a shared device (`….shared`, time slicing and MPS) the labels have
    to say among how many it is shared.
    """
    own = resource.removesuffix(_SHARED)
    part = mig_part(own, card) if is_mig(own) else _labelled_part(pod)
    among = _shared_among(pod)
    if part is None or (among is None and (own != resource or _is_shared(pod))):
        return None
    return part if among is None else part / among


def _labelled_part(pod: Mapping[str, Any]) -> Fraction | None:
    """A MIG profile for all devices of a node: NVIDIA's discovery writes it into the product, GKE has a label."""
    value = next(node_values(pod, _CLASS_LABELS), "")
    head, mark, profile = value.upper().removesuffix("-SHARED").partition("-MIG-")
    if not mark:
        profile = next(node_values(pod, (_PARTITION,)), "")
    return mig_part(profile.lower(), accelerator_class(head)) if mark or profile else Fraction(1)


def _is_shared(pod: Mapping[str, Any]) -> bool:
    return next(node_values(pod, _CLASS_LABELS), "").upper().endswith("-SHARED")


def _shared_among(pod: Mapping[str, Any]) -> int | None:
    found = next(node_values(pod, _SHARED_LABELS), "")
    return int(found) if re.fullmatch(r"[1-9][0-9]{0,2}", found, re.ASCII) else None


def is_mig(resource: str) -> bool:
    """Whether a resource is a part of a card, also one whose profile is not understood."""
    return resource.startswith(RESOURCE)


def accelerator_class(name: str) -> str:
    """The class that a product name or label value means; the name itself when no marker stands in it."""
    upper = name.upper()
    return next((known for marker, known in _MARKERS if _stands_alone(marker, upper)), name)


def classes(pod: Mapping[str, Any], devices: tuple[str, ...]) -> tuple[str, ...]:
    """The classes of the devices of a pod, sorted; `unknown` for a device whose class nothing names."""
    if not devices and pod.get("nodeSelector") is None and pod.get("affinity") is None:
        return ()
    found = set()
    labelled = next(node_values(pod, _CLASS_LABELS), None)
    for device in devices:
        if not device.startswith(_LABELLED) and device not in _MEASURES:
            found.add(device)
        elif labelled is not None:
            found.add(accelerator_class(labelled))
        elif device == "google.com/tpu":
            found.add(device)
        else:
            found.add(UNKNOWN_ACCELERATOR)
    return tuple(sorted(found))


def is_spot(pod: Mapping[str, Any]) -> bool:
    """Whether node selection requires interruptible capacity; of alternatives, whether each of them does."""
    if pod.get("nodeSelector") is None and pod.get("affinity") is None:
        return False
    if any(
        value.lower() == wanted.lower() for key, wanted in SPOT_LABELS.items() for value in node_values(pod, (key,))
    ):
        return True
    # A term that says nothing matches no node.
    terms = [term for term in _required_terms(pod) if not isinstance(term, Mapping) or any(term.values())]
    return len(terms) > 0 and all(_is_spot_term(term) for term in terms)


def _is_spot_term(term: Any) -> bool:
    for expression in items(term, "matchExpressions", "") if isinstance(term, Mapping) else ():
        if isinstance(expression, Mapping) and expression.get("operator") == "In":
            wanted = SPOT_LABELS.get(str(expression.get("key")), "").lower()
            values = items(expression, "values", "")
            if wanted and values and all(str(value).lower() == wanted for value in values):
                return True
    return False


def _required_terms(pod: Mapping[str, Any]) -> Any:
    affinity = mapping(mapping(pod, "affinity", ""), "nodeAffinity", "")
    return items(mapping(affinity, "requiredDuringSchedulingIgnoredDuringExecution", ""), "nodeSelectorTerms", "")


def node_values(pod: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    """Values that node selection *requires* for some label: nodeSelector, or required affinity with one value."""
    selector = mapping(pod, "nodeSelector", "")
    for key in keys:
        if key in selector:
            yield str(selector[key])
    terms = _required_terms(pod)
    if len(terms) != 1 or not isinstance(terms[0], Mapping):  # terms are alternatives: with several, none is required
        return
    for expression in items(terms[0], "matchExpressions", ""):
        if not isinstance(expression, Mapping):
            raise DeclarationError("a matchExpression is not a mapping")
        values = items(expression, "values", "")
        if expression.get("key") in keys and expression.get("operator") == "In" and len(values) == 1:
            yield str(values[0])


def _stands_alone(marker: str, text: str) -> bool:
    return re.search(rf"(?<![A-Z0-9]){re.escape(marker)}(?![A-Z0-9])", text) is not None
