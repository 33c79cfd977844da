"""`customhouse model bom`: the bill of materials of a model, from one read of its files and what people know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from customhouse.app import wiring
from customhouse.app.inspection import read_model
from customhouse.trust.bom import model_bom
from customhouse.trust.scan import Wish


def bill(path: str, name: str | None, version: str, wish: Wish) -> dict[str, Any]:
    """The bill of materials of a model by what its files say."""
    place = Path(path)
    seen = read_model(place, replace(wish, describe=True))
    return model_bom(
        name=name or place.resolve().name,
        version=version,
        tree=seen.files,
        issued_at=wiring.clock().now(),
        described=seen.descriptions,
    )
