"""`customhouse doctor` about registries: reached, over TLS, who may read and write there without a login, and the log.

    1. It answers. 2. A stranger asks for the tags. 3. A stranger begins an upload, which is given up at once.

What a registry does not tell is reported as unknown: nothing here calls a place closed that was not seen to be closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from customhouse.app import wiring
from customhouse.app.configuring import configured
from customhouse.app.settings import Settings
from customhouse.core.errors import ConfigError, CustomhouseError

TIMEOUT_S = 10.0
"""Of each request: `doctor` is waited for by a person."""
_ANY = "customhouse-doctor/probe"
"""The repository that is asked about where a whole registry is named; nothing is ever stored in it."""
_MAY = {True: "may", False: "may not", None: "it could not be told whether they may"}
_LOG = "whether writes are logged is unknown (the OCI API does not tell: ask whoever runs it)"


def registry_rows(settings: Settings, repo: str) -> Iterator[dict[str, Any]]:
    """One row for each registry that `trust.registries` names, as `checkup` gives them."""
    try:
        configuration = configured(settings, repo)
    except CustomhouseError as error:
        yield {"name": "configuration", "state": "missing", "detail": str(error)}
        return
    for name in () if configuration is None else configuration.trust.registries:
        yield _row(settings, name.removeprefix("oci://"))


def _row(settings: Settings, name: str) -> dict[str, Any]:
    host, _, path = name.partition("/")
    seen: dict[str, Any] = {"reachable": False, "tls": None, "publicRead": None, "publicWrite": None, "auditLog": None}
    row: dict[str, Any] = {"name": f"registry {name}", "state": "missing", "registry": seen}
    try:
        registry = wiring.registry(settings, host, TIMEOUT_S)
        # 1.
        if not registry.answers():
            return {**row, "detail": f"what answers there is no registry; who may write there is unknown; {_LOG}"}
    except ConfigError as error:
        return {**row, "detail": f"its login cannot be read: {error}"}
    except CustomhouseError as error:
        return {**row, "detail": f"cannot be reached: {error}; who may write there is unknown; {_LOG}"}
    repository = path.strip("/") or _ANY
    # 2. and 3.
    read, write = registry.strangers_pull(repository), registry.strangers_push(repository)
    seen.update(reachable=True, tls=registry.encrypted, publicRead=read, publicWrite=write)
    row["state"] = "missing" if write else "absent" if write is None else "ok"
    said = [
        "reached over TLS, its certificate verified" if registry.encrypted else "reached on this machine, without TLS",
        f"whoever has no login: read: {_MAY[read]}",
        f"write: {_MAY[write]}",
        _LOG,
    ]
    if write:
        said.insert(0, "WHOEVER REACHES IT MAY WRITE THERE: close it to strangers")
    return {**row, "detail": "; ".join(said)}
