"""MIG: into which parts a card is cut, what each takes of it, and where it may begin.

Source: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles" and the placements of `nvidia-smi mig -lgipp`. A
profile `Ng.Mgb` has N compute slices and the memory of 1, 2, 4 or 8 of a card's memory slices; its gigabytes say which.
The suffixes (`+me`, `+me.all`, `+gfx`, `-me`) add engines and change neither; in names of Kubernetes resources the
plus is a dot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

RESOURCE = "nvidia.com/mig-"
_PROFILE = re.compile(r"([1-9])g\.(\d{1,3})gb(?:[.+](?:me(?:\.all)?|gfx|all)|-me)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of part: so many compute and memory slices, and the memory slices at which it may begin."""

    compute: int
    memory: int
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """How a card can be cut. `gigabytes`: the sizes in which its class is sold, as profiles round them."""

    compute: int
    memory: int
    gigabytes: tuple[int, ...]
    profiles: tuple[Profile, ...]

    def part(self, profile: Profile) -> Fraction:
        """What a profile takes from others: the larger of its compute and its memory.

        1g of seven is a seventh of the compute and an eighth of the memory; 3g is half of the memory.
        """
        return max(Fraction(profile.compute, self.compute), Fraction(profile.memory, self.memory))


_SEVEN = (
    Profile(1, 1, (0, 1, 2, 3, 4, 5, 6)),
    Profile(1, 2, (0, 2, 4, 6)),
    Profile(2, 2, (0, 2, 4)),
    Profile(3, 4, (0, 4)),
    Profile(4, 4, (0,)),
    Profile(7, 8, (0,)),
)
_FOUR = (Profile(1, 1, (0, 1, 2, 3)), Profile(2, 2, (0, 2)), Profile(4, 4, (0,)))
CARDS: Mapping[str, Card] = {
    "A30": Card(4, 4, (24,), _FOUR),
    "A100-40GB": Card(7, 8, (40,), _SEVEN),
    "A100-80GB": Card(7, 8, (80,), _SEVEN),
    "H100": Card(7, 8, (80, 94, 96), _SEVEN),
    "H200": Card(7, 8, (141,), _SEVEN),
    "B200": Card(7, 8, (180,), _SEVEN),
    "B300": Card(7, 8, (269, 279, 288), _SEVEN),
    "GB200": Card(7, 8, (186,), _SEVEN),
    "RTX-PRO-6000": Card(4, 4, (96,), _FOUR),
}
"""By accelerator class (`core.devices`)."""


def profile_of(name: str, card: str) -> Profile | None:
    """The profile of this name (`3g.40gb`, `nvidia.com/mig-1g.5gb.me`) on a card of this class; None: it has none."""
    match = _PROFILE.fullmatch(name.removeprefix(RESOURCE))
    known = CARDS.get(card)
    if match is None or known is None:
        return None
    compute, gigabytes = int(match[1]), int(match[2])
    for profile in known.profiles:
        sizes = (Fraction(whole * profile.memory, known.memory) for whole in known.gigabytes)
        if profile.compute == compute and any(abs(size - gigabytes) < 1 for size in sizes):
            return profile
    return None


def mig_part(name: str, card: str) -> Fraction | None:
    """Which part of a card a profile takes from others; None for what is no profile of that card."""
    profile = profile_of(name, card)
    return None if profile is None else CARDS[card].part(profile)
