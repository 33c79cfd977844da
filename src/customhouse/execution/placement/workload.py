"""What an engine knows of a node and of a pod."""

from __future__ import annotations

from dataclasses import dataclass

WHOLE = 1000
"""Thousandths of one GPU."""
MOST_GPUS = 64
"""Of one node: four times what any machine of the price books has."""
MOST_CPU_MILLI = 10**7
MOST_MEMORY_MIB = 10**9


@dataclass(frozen=True, slots=True)
class Node:
    """One node, empty. `price` is what one of its GPUs costs an hour, in 10⁻¹² of the currency; None: nobody knows."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str = ""
    price: int | None = None
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What a pod asks for. `gpu_milli` is per GPU, below `WHOLE` only for one GPU; `models` empty: any GPU will do.

    `interruptible`: it may run on capacity that the cloud takes back (spot).
    """

    cpu_milli: int
    memory_mib: int
    gpus: int = 0
    gpu_milli: int = 0
    models: tuple[str, ...] = ()
    interruptible: bool = False

    @property
    def gpu_total(self) -> int:
        """Thousandths of GPUs, of all that it asks for."""
        return self.gpus * self.gpu_milli

    @property
    def shares(self) -> bool:
        """Whether it takes a part of one GPU."""
        return self.gpus == 1 and self.gpu_milli < WHOLE


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a list."""

    name: str
    shape: Shape
