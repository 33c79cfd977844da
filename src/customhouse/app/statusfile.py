"""The last picture of the control plane, kept beside its state so that other processes can show it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import orjson

from customhouse.app.overview import Overview
from customhouse.app.settings import Settings
from customhouse.core.errors import StateError, UsageError

_FILE = "overview.json"


def write_status(settings: Settings, picture: Overview) -> None:
    """Replace the file at once; it is a copy for readers, nothing is decided by it."""
    _replace(settings, picture)


def write_problem(settings: Settings, problem: str) -> None:
    """Put a problem on the last picture, when no new one can be made. Raises StateError, OSError."""
    if (settings.state / _FILE).is_file():
        _replace(settings, read_status(settings) | {"problem": problem})


def _replace(settings: Settings, picture: Overview | dict[str, Any]) -> None:
    place = settings.state / _FILE
    draft = place.with_suffix(".new")
    try:
        data = orjson.dumps(picture, default=_plain)
    except TypeError:  # numbers and texts that only the writer of the standard library writes
        data = json.dumps(picture.to_json() if isinstance(picture, Overview) else picture).encode()
    draft.write_bytes(data)
    os.replace(draft, place)


def _plain(value: object) -> object:
    """What the writer does not know: mappings that are no dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def read_status(settings: Settings) -> dict[str, Any]:
    """The Overview as JSON.

    Raises UsageError when no control plane has run on this state, StateError when what it left cannot be read.
    """
    place = settings.state / _FILE
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"no control plane has run on {settings.state}", hint="run `customhouse up`, or name --state"
        ) from error
    except (OSError, ValueError) as error:
        raise StateError(
            f"it cannot be read: {error}", where=str(place), hint="delete it; `customhouse up` writes it anew"
        ) from error
    if not isinstance(found, dict):
        raise StateError("it is not an overview", where=str(place), hint="delete it; `customhouse up` writes it anew")
    return found
