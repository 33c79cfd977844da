"""`customhouse doctor`: programs, packages, space, the state directory, and the registries that are configured."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from typing import Any

from customhouse import __version__
from customhouse.app import wiring
from customhouse.app.extender_checkup import extender_rows
from customhouse.app.registry_checkup import registry_rows
from customhouse.app.settings import Settings
from customhouse.core.errors import CustomhouseError

_PROGRAMS = (
    ("git", True, "reads and writes repositories"),
    ("ssh-keygen", False, "signs and verifies commits by SSH keys; without it signed commits cannot be decided"),
    ("gpg", False, "verifies commits signed by GPG"),
    ("opa", False, "the exact policy engine (--engine opa); the embedded one is used without it"),
)
_MIN_FREE = 256 * 1024 * 1024


def checkup(settings: Settings, repo: str = ".") -> list[dict[str, Any]]:
    """One row per check: `{"name","state","detail"}`, state is ok, absent (may be lacked) or missing (is needed).

    A row about a registry has `registry` besides: `{"reachable","tls","publicRead","publicWrite","auditLog"}`; null is
    unknown. The registries are those of `--config`, else of the customhouse.yaml in `repo`.
    """
    rows: list[dict[str, Any]] = []
    rows.append({"name": "customhouse", "state": "ok", "detail": f"{__version__}, Python {sys.version.split()[0]}"})
    path = settings.environment.get("PATH")
    for program, needed, why in _PROGRAMS:
        found = shutil.which(program, path=path)
        state = "ok" if found else "missing" if needed else "absent"
        rows.append({"name": program, "state": state, "detail": found or why})
    for package in ("gordon-to-regorus", "onnxruntime", "cryptography", "sqlalchemy"):
        try:
            rows.append({"name": package, "state": "ok", "detail": importlib.metadata.version(package)})
        except importlib.metadata.PackageNotFoundError:
            rows.append({"name": package, "state": "missing", "detail": "reinstall customhouse"})
    parent = settings.state if settings.state.exists() else settings.state.parent
    if parent.exists():
        free = shutil.disk_usage(parent).free
        state = "ok" if free >= _MIN_FREE else "missing"
        rows.append(
            {"name": "disk space", "state": state, "detail": f"{free // 2**20} MiB free at the state directory"}
        )
    rows.append(_state(settings))
    if rows[-1]["state"] == "ok":
        rows.append(_witnesses(settings))
    rows += registry_rows(settings, repo)
    rows += extender_rows(settings, repo)
    return rows


def _witnesses(settings: Settings) -> dict[str, str]:
    from customhouse.app.ledger_witness_role import watch_now

    try:
        found = watch_now(settings)
    except CustomhouseError as error:
        return {"name": "witnesses", "state": "missing", "detail": str(error)}
    if found.problem:
        return {"name": "witnesses", "state": "missing", "detail": found.problem}
    state = "ok" if found.witnesses else "absent"
    return {"name": "witnesses", "state": state, "detail": "; ".join(found.lines())}


def _state(settings: Settings) -> dict[str, str]:
    if not wiring.has_store(settings):
        return {"name": "state", "state": "absent", "detail": f"nothing in {settings.state} yet"}
    try:
        with wiring.store(settings, create=False) as opened:
            return {"name": "state", "state": "ok", "detail": f"{opened.ledger.size()} ledger entries"}
    except CustomhouseError as error:
        return {"name": "state", "state": "missing", "detail": str(error)}
