"""Wiring of what was measured elsewhere: names the adapters of observability, beside `wiring`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from customhouse.observability.adapters.prometheus import Prometheus


def prometheus(address: str) -> Prometheus:
    """The Prometheus of an address of customhouse.yaml."""
    from customhouse.observability.adapters.prometheus import Prometheus

    return Prometheus(address)
