"""MIG profiles and shared devices: which part of a card one is, by every name that it has."""

from __future__ import annotations

from fractions import Fraction

import pytest

from customhouse.core.devices import device_part
from customhouse.core.mig import CARDS, mig_part, profile_of

# As `nvidia-smi mig -lgip` lists them (NVIDIA Multi-Instance GPU User Guide).
LISTED = {
    "A30": "1g.6gb 1g.6gb+me 2g.12gb 2g.12gb+me 4g.24gb",
    "A100-40GB": "1g.5gb 1g.5gb+me 1g.10gb 2g.10gb 3g.20gb 4g.20gb 7g.40gb",
    "A100-80GB": "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb",
    "H100": "1g.10gb 1g.10gb+me 1g.20gb 2g.20gb 3g.40gb 4g.40gb 7g.80gb 1g.12gb 1g.24gb 2g.24gb 3g.47gb 4g.47gb "
    "7g.94gb 3g.48gb 7g.96gb",
    "H200": "1g.18gb 1g.18gb+me 1g.35gb 2g.35gb 3g.71gb 4g.71gb 7g.141gb",
    "B200": "1g.23gb 1g.23gb+me 1g.45gb 2g.45gb 3g.90gb 4g.90gb 7g.180gb",
    "GB200": "1g.23gb 1g.47gb 2g.47gb 3g.93gb 4g.93gb 7g.186gb",
    "RTX-PRO-6000": "1g.24gb 1g.24gb+me 1g.24gb+gfx 1g.24gb-me 1g.24gb+me.all 2g.48gb 2g.48gb+gfx 4g.96gb 4g.96gb+gfx",
}


@pytest.mark.parametrize(("card", "name"), [(card, name) for card, names in LISTED.items() for name in names.split()])
def test_every_listed_profile_is_known_and_fits_on_its_card(card: str, name: str) -> None:
    profile = profile_of(name, card)
    assert profile is not None
    assert mig_part(f"nvidia.com/mig-{name.replace('+', '.')}", card) == CARDS[card].part(profile)
    assert all(start + profile.memory <= CARDS[card].memory for start in profile.starts)
    # So many of it as may begin somewhere fit on one card, and are worth no more than it.
    assert len(profile.starts) * Fraction(profile.compute, CARDS[card].compute) <= 1
    assert len(profile.starts) * Fraction(profile.memory, CARDS[card].memory) <= 1


@pytest.mark.parametrize(
    ("card", "name", "part"),
    [
        ("A100-40GB", "1g.5gb", Fraction(1, 7)),
        ("A100-40GB", "1g.10gb", Fraction(1, 4)),
        ("H100", "2g.20gb", Fraction(2, 7)),
        ("H200", "3g.71gb", Fraction(1, 2)),
        ("B200", "4g.90gb", Fraction(4, 7)),
        ("H100", "7g.80gb", Fraction(1)),
        ("A30", "2g.12gb", Fraction(1, 2)),
    ],
)
def test_a_part_is_the_larger_of_compute_and_memory(card: str, name: str, part: Fraction) -> None:
    assert mig_part(name, card) == part


@pytest.mark.parametrize(
    ("card", "name"),
    [
        ("H100", "9g.999gb"),
        ("H100", "1g.40gb"),
        ("H100", "3g.20gb"),
        ("A100-40GB", "7g.80gb"),
        ("L4", "1g.10gb"),
        ("unknown", "1g.10gb"),
        ("H100", "1g.10gb.x"),
        ("H100", "1g.10gb "),
        ("H100", "٣g.40gb"),
        ("H100", "1c.2g.20gb"),
    ],
)
def test_what_the_card_has_not_got_is_no_part_of_it(card: str, name: str) -> None:
    assert mig_part(f"nvidia.com/mig-{name}", card) is None


GKE = {"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}


@pytest.mark.parametrize(
    ("device", "card", "labels", "part"),
    [
        ("nvidia.com/gpu", "A100-40GB", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"}, Fraction(1, 7)),
        ("nvidia.com/gpu", "A100-40GB", {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-9g.5gb"}, None),
        ("nvidia.com/gpu", "A100-40GB", {**GKE, "cloud.google.com/gke-gpu-partition-size": "3g.20gb"}, Fraction(1, 2)),
        ("nvidia.com/gpu", "A100-40GB", {**GKE, "cloud.google.com/gke-gpu-partition-size": "3g.99gb"}, None),
        (
            "nvidia.com/gpu",
            "A100-40GB",
            {
                **GKE,
                "cloud.google.com/gke-gpu-partition-size": "1g.5gb",
                "cloud.google.com/gke-max-shared-clients-per-gpu": "4",
            },
            Fraction(1, 28),
        ),
        ("nvidia.com/gpu", "T4", {"nvidia.com/gpu.product": "Tesla-T4-SHARED"}, None),
        (
            "nvidia.com/gpu",
            "T4",
            {"nvidia.com/gpu.product": "Tesla-T4-SHARED", "nvidia.com/gpu.replicas": "4"},
            Fraction(1, 4),
        ),
        ("nvidia.com/gpu", "T4", {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.replicas": "1"}, Fraction(1)),
        ("nvidia.com/gpu.shared", "T4", {"nvidia.com/gpu.product": "Tesla-T4"}, None),
        ("nvidia.com/gpu.shared", "T4", {"nvidia.com/gpu.replicas": "10"}, Fraction(1, 10)),
        ("nvidia.com/gpu.shared", "T4", {"nvidia.com/gpu.replicas": "many"}, None),
        ("nvidia.com/gpu.shared", "T4", {"nvidia.com/gpu.replicas": "0"}, None),
        ("nvidia.com/mig-1g.5gb.shared", "A100-40GB", {"nvidia.com/gpu.replicas": "2"}, Fraction(1, 14)),
        ("nvidia.com/mig-1g.5gb.shared", "A100-40GB", {}, None),
    ],
)
def test_labels_of_nvidia_and_google_say_which_part_a_device_is(
    device: str, card: str, labels: dict[str, str], part: Fraction | None
) -> None:
    assert device_part(device, {"nodeSelector": labels}, card) == part
