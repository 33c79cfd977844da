"""What the extender says of itself in a file beside its certificate, for `up`, `status` and `doctor`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from customhouse.core.errors import StateError

FOLDER, FILE = "extender", "status.json"
_MOST = 1 << 20


def write_extender_status(state: Path, document: Mapping[str, Any]) -> None:
    """Replace it at once. Raises OSError."""
    place = state / FOLDER / FILE
    draft = place.with_suffix(".new")
    draft.write_text(json.dumps(document), encoding="utf-8")
    os.replace(draft, place)


def read_extender_status(state: Path) -> dict[str, Any] | None:
    """What was said last; None where no extender has run on this state. Raises StateError for what is no such thing."""
    place = state / FOLDER / FILE
    try:
        with place.open("rb") as handle:
            found = json.loads(handle.read(_MOST))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StateError(
            f"it cannot be read: {error}", where=str(place), hint="delete it; it is written anew"
        ) from error
    if not isinstance(found, dict):
        raise StateError("it says nothing of an extender", where=str(place), hint="delete it; it is written anew")
    return found
