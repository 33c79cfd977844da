"""The last picture of the control plane, kept beside its state so that other processes can show it."""

from __future__ import annotations

import json
import os
from typing import Any

from customhouse.app.overview import Overview
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError

_FILE = "overview.json"


def write_status(settings: Settings, picture: Overview) -> None:
    """Replace the file at once; it is a copy for readers, nothing is decided by it."""
    place = settings.state / _FILE
    draft = place.with_suffix(".new")
    draft.write_text(json.dumps(picture.to_json()), encoding="utf-8")
    os.replace(draft, place)


def read_status(settings: Settings) -> dict[str, Any]:
    """The Overview as JSON. Raises UsageError when no control plane has run on this state."""
    place = settings.state / _FILE
    if not place.exists():
        raise UsageError(f"no control plane has run on {settings.state}", hint="run `customhouse up`, or name --state")
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found
