"""CatBoost models: a mark, a size, one FlatBuffer of trees, then tables of statistics; no code in any of them."""

from __future__ import annotations

from customhouse.trust.scan.flatbuffers import root
from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Source, UnreadableError

SIGNATURE = b"CBM1"
_VERSION = "FlabuffersModel_v1"
"""Spelled so by CatBoost itself."""
_PARTS = frozenset({"static_provider_v1", "text_processing_collection_v1", "embedding_processing_collection_v1"})


def inspect_catboost(source: Source, look: Inspection) -> None:
    """The core must fit; what follows it must be announced by it."""
    look.format = "catboost"
    size = int.from_bytes(source.read(4, 4), "little")
    core = root(source.window(8, size), look)
    if core.text(0) != _VERSION:
        raise UnreadableError("a CatBoost model of an unknown version", offset=8, rule="catboost-version")
    for pair in core.tables(2):
        look.spend(1 + len(pair.text(1)) // 64)
    parts = core.texts(3)
    if unknown := sorted(set(parts) - _PARTS):
        look.unscannable("catboost-part", f"holds a part {unknown[0][:60]!r} that is not known")
    if not parts and source.size > 8 + size:
        look.unscannable("catboost-trailing-bytes", f"{source.size - 8 - size} bytes belong to no part", 8 + size)
