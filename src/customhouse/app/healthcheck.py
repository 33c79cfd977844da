"""`customhouse health`: objects from files through the execution plane's health rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from customhouse._kit.reading import absent
from customhouse.control.render import render
from customhouse.core.errors import UsageError
from customhouse.execution.health import health


def health_of(paths: Sequence[str]) -> list[dict[str, Any]]:
    """`[{"resource","status","message"}]`, one per object, in the order of the arguments."""
    rows = []
    for path in paths:
        place = Path(path)
        if not place.is_file():
            raise UsageError(absent(path))
        for declaration in render({place.name: place.read_bytes()}):
            found = health(declaration.manifest)
            rows.append({"resource": declaration.ref.to_json(), "status": found.status.value, "message": found.message})
    return rows
