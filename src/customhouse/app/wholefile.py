"""Files that people name for results: written whole, or as they were."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(place: Path, data: bytes) -> None:
    """All of a file or nothing: on a full disk an earlier version stays, and no half one is left."""
    if place.exists() and not place.is_file():  # a device or a pipe, as /dev/stdout
        place.write_bytes(data)
        return
    draft = place.with_name(f".{place.name}.draft")
    try:
        draft.write_bytes(data)
        os.replace(draft, place)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
