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
class Cut:
    """How the GPUs of a node are cut (MIG).

    `card`: the accelerator class; `fixed`: the profiles of each GPU, sorted; empty: a part is cut when a pod comes.
    """

    card: str
    fixed: tuple[str, ...] = ()


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
    mig: Cut | None = None
    """Its GPUs are handed out in parts of a profile; None: whole, and by thousandths."""


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
    mig: str = ""
    """The profile (`2g.20gb`) of the part of a GPU that it asks for; `gpu_milli` says how much of a GPU that is."""

    @property
    def gpu_total(self) -> int:
        """Thousandths of GPUs, of all that it asks for."""
        return self.gpus * self.gpu_milli

    @property
    def shares(self) -> bool:
        """Whether it takes a part of one GPU, by thousandths or by a profile (which may be all of it)."""
        return self.gpus == 1 and (self.gpu_milli < WHOLE or bool(self.mig))


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a list."""

    name: str
    shape: Shape
