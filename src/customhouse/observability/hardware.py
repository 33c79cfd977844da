"""Which accelerator an instance type carries: a dated table by instance family, as the clouds document it.

The machine catalogues say how many accelerators a type has, not which. Sources, read as of `AS_OF`: AWS "Amazon EC2
instance types: accelerated computing", Azure "GPU-accelerated virtual machine sizes" (one page a series), Google "GPU
machine types". A family that is not listed has no class, so what runs on it is unpriced and never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

AS_OF = "2026-07-20"
"""The day on which the families below were last held against the price files (every priced GPU family is covered)."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What one device of an instance type is. `share` is its part of a whole accelerator (1/6: a sixth of an A10)."""

    name: str
    share: Fraction = Fraction(1)


_FAMILIES: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    # (pattern of the instance type, class, share of a whole accelerator per device)
    "aws": (
        (r"p6-b300\..*", "B300", "1"),
        (r"p6-b200\..*", "B200", "1"),
        (r"p5en\..*|p5e\..*", "H200", "1"),
        (r"p5\..*", "H100", "1"),
        (r"p4de\..*", "A100-80GB", "1"),
        (r"p4d\..*", "A100-40GB", "1"),
        (r"p3\..*|p3dn\..*", "V100", "1"),
        (r"p2\..*", "K80", "1"),
        (r"g7e\..*", "RTX-PRO-6000", "1"),
        (r"g6e\..*", "L40S", "1"),
        (r"(g6|gr6)\..*", "L4", "1"),
        (r"g5\..*", "A10G", "1"),
        (r"g5g\..*", "T4G", "1"),
        (r"g4dn\..*", "T4", "1"),
        (r"g4ad\..*", "RADEON-V520", "1"),
        (r"g3s?\..*", "M60", "1"),
        (r"dl1\..*", "GAUDI", "1"),
    ),
    "azure": (
        (r"Standard_ND\d+isrf?_NDR_GB200_v6", "GB200", "1"),
        (r"Standard_ND\d+is\w*_H200_v5", "H200", "1"),
        (r"Standard_(ND\d+is\w*|NC\d+adi?s|NCC\d+ads)_H100_v5", "H100", "1"),
        (r"Standard_ND\d+is\w*_MI300X_v5", "MI300X", "1"),
        (r"Standard_(ND96amsr?|NC\d+ads)_A100_v4", "A100-80GB", "1"),
        (r"Standard_ND96asr_(A100_)?v4", "A100-40GB", "1"),
        (r"Standard_NC\d+as_T4_v3", "T4", "1"),
        (r"Standard_NC\d+l?ds_xl_RTXPRO6000BSE_v6", "RTX-PRO-6000", "1"),
        # NCads A10 v4 is left out: nothing published says which part of an A10 its smallest size is.
        # The small NVads A10 v5 sizes are a sixth, a third and a half of one A10, though the catalogue counts a device.
        (r"Standard_NV6ads_A10_v5", "A10", "1/6"),
        (r"Standard_NV12ads_A10_v5", "A10", "1/3"),
        (r"Standard_NV18ads_A10_v5", "A10", "1/2"),
        (r"Standard_NV(36ads|36adms|72ads)_A10_v5", "A10", "1"),
        (r"Standard_(NC\d+r?s_v3|ND40rs_v2)", "V100", "1"),
        (r"Standard_NV\d+s_v[23]", "M60", "1"),
        (r"Standard_NV4as_v4", "RADEON-MI25", "1/8"),
        (r"Standard_NV8as_v4", "RADEON-MI25", "1/4"),
        (r"Standard_NV16as_v4", "RADEON-MI25", "1/2"),
        (r"Standard_NV32as_v4", "RADEON-MI25", "1"),
        (r"Standard_NP\d+s", "ALVEO-U250", "1"),
    ),
    "gcp": (
        (r"a2-(highgpu|megagpu)-\d+g", "A100-40GB", "1"),
        (r"a2-ultragpu-\d+g", "A100-80GB", "1"),
        (r"g2-standard-\d+", "L4", "1"),
    ),
}

GCE_ATTACHED: Mapping[str, str] = {
    "nvidia-tesla-t4": "T4",
    "nvidia-tesla-p4": "P4",
    "nvidia-tesla-v100": "V100",
    "nvidia-tesla-p100": "P100",
    "nvidia-tesla-k80": "K80",
    "nvidia-tesla-a100": "A100-40GB",
    "nvidia-a100-80gb": "A100-80GB",
    "nvidia-l4": "L4",
}
"""Google's names of accelerators that have a price of their own (A100 and L4 have 0 there: in the machine's price)."""

_MEMORY_GIB: Mapping[str, int] = {
    "GB200": 186,
    "B300": 288,
    "B200": 180,
    "H200": 141,
    "H100": 80,
    "MI300X": 192,
    "A100-80GB": 80,
    "A100-40GB": 40,
    "RTX-PRO-6000": 96,
    "L40S": 48,
    "L4": 24,
    "A10G": 24,
    "A10": 24,
    "T4": 16,
    "T4G": 16,
    "V100": 16,
    "P100": 16,
    "P4": 8,
    "K80": 12,
    "M60": 8,
}

_LABELLED = (
    ("RTX-PRO-6000", "RTX-PRO-6000"),
    ("RTX-PRO-SERVER-6000", "RTX-PRO-6000"),
    ("TESLA-M60", "M60"),
    ("RADEON-PRO-V520", "RADEON-V520"),
    ("GAUDI", "GAUDI"),
)
_OTHER_MAKERS = (("amd", ("MI", "RADEON")), ("intel", ("GAUDI",)), ("xilinx", ("ALVEO",)))

_GCE_GB_PER_VCPU: Mapping[str, str] = {
    "n1-standard": "3.75",
    "n1-highmem": "6.5",
    "n1-highcpu": "0.9",
    "n2-standard": "4",
    "n2-highmem": "8",
    "n2-highcpu": "1",
    "n2d-standard": "4",
    "n2d-highmem": "8",
    "n2d-highcpu": "1",
    "e2-standard": "4",
    "e2-highmem": "8",
    "e2-highcpu": "1",
    "c2-standard": "4",
    "c2d-standard": "4",
    "c2d-highmem": "8",
    "c2d-highcpu": "2",
    "t2d-standard": "4",
}
_GCE_ACCELERATED: Mapping[str, tuple[int, int, int]] = {
    # machine type: vCPU, memory in GiB (what Google calls GB), accelerators
    "a2-highgpu-1g": (12, 85, 1),
    "a2-highgpu-2g": (24, 170, 2),
    "a2-highgpu-4g": (48, 340, 4),
    "a2-highgpu-8g": (96, 680, 8),
    "a2-megagpu-16g": (96, 1360, 16),
    "a2-ultragpu-1g": (12, 170, 1),
    "a2-ultragpu-2g": (24, 340, 2),
    "a2-ultragpu-4g": (48, 680, 4),
    "a2-ultragpu-8g": (96, 1360, 8),
    "g2-standard-4": (4, 16, 1),
    "g2-standard-8": (8, 32, 1),
    "g2-standard-12": (12, 48, 1),
    "g2-standard-16": (16, 64, 1),
    "g2-standard-24": (24, 96, 2),
    "g2-standard-32": (32, 128, 1),
    "g2-standard-48": (48, 192, 4),
    "g2-standard-96": (96, 384, 8),
}


def accelerator(provider: str, instance_type: str) -> Accelerator | None:
    """What one accelerator device of an instance type is; None when the family is not in the table."""
    for pattern, name, share in _FAMILIES.get(provider, ()):
        if re.fullmatch(pattern, instance_type):
            return Accelerator(name, Fraction(share))
    return None


def price_class(name: str) -> str:
    """The class under which the book has an accelerator that node labels call otherwise; the name itself if none.

    `core.workload` reads the labels and leaves a name that it does not know as it is written. Values: NVIDIA GPU
    feature discovery (`NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition`), Karpenter (`rtx-pro-server-6000`).
    """
    upper = name.upper()
    return next((known for marker, known in _LABELLED if marker in upper), name)


def same_platform(name: str, other: str) -> bool:
    """Whether what runs on one class can be expected to start on the other: same maker, same CPU architecture."""
    return _platform(name) == _platform(other)


def _platform(given: str) -> str:
    name = price_class(given)
    if name in ("T4G", "GB200"):
        return "nvidia/arm64"
    return next((maker for maker, prefixes in _OTHER_MAKERS if name.startswith(prefixes)), "nvidia/amd64")


def accelerator_memory_gib(name: str) -> int | None:
    """Memory of one accelerator in GiB (the smaller, where the class comes in two sizes); None when not known."""
    return _MEMORY_GIB.get(name)


def gce_shape(machine_type: str) -> tuple[int, int, int] | None:
    """(vCPU, MiB, accelerators) of a predefined Google machine type; None for a family that is not in the table.

    The price file has no shapes. Google's GB is 2^30 bytes ("Machine families": memory is shown in GB, 1 GB = 2^30).
    """
    if machine_type in _GCE_ACCELERATED:
        vcpu, gib, count = _GCE_ACCELERATED[machine_type]
        return vcpu, gib * 1024, count
    family, _, size = machine_type.rpartition("-")
    if family not in _GCE_GB_PER_VCPU or not size.isdigit():
        return None
    memory = Fraction(_GCE_GB_PER_VCPU[family]) * int(size) * 1024
    return int(size), int(memory), 0
