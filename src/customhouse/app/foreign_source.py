"""Where policies of others lie in a revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForeignSource:
    """The files of a base revision that hold such policies, by path, and conftest's namespaces (empty: all)."""

    gatekeeper: Mapping[str, bytes] | None = None
    conftest: Mapping[str, bytes] | None = None
    namespaces: tuple[str, ...] = ()
