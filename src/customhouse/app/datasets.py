"""`customhouse data register`: a dataset enters the chain of custody by its digest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from customhouse.app import journal, wiring
from customhouse.app.inspection import read_tree
from customhouse.app.settings import Settings
from customhouse.core.errors import UsageError
from customhouse.trust.custody_rows import KEPT, row_tree

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")


def register(settings: Settings, path: str, name: str, actor: str | None) -> dict[str, Any]:
    """`{"name","digest","files","size","entry","registered"}`; `registered` False: this digest was there before.

    Raises ArtifactError for files that cannot be read, UsageError for an empty folder or a name that is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a name", hint="letters, digits and . _ / - between them, 128 at the most")
    files = read_tree(Path(path))
    if not files.files:
        raise UsageError(f"{path} is an empty folder", hint="there is nothing to register")
    rows = row_tree(Path(path), files)
    entry = journal.dataset_registered(
        name,
        files.digest,
        size=files.size,
        files=len(files.files),
        at=wiring.clock().now(),
        actor=actor or _person(settings),
        rows=rows.entered() if rows.files else None,
    )
    with wiring.store(settings) as opened:
        ledger = wiring.ledger(settings, opened, write=True)
        before = ledger.size
        kept = rows.to_document() if rows.files else None
        if kept is not None:  # before its entry, as everywhere
            opened.state.put({f"{KEPT}{files.digest}": kept})
        (receipt,) = ledger.append([entry])
    return {
        "name": name,
        "digest": files.digest,
        "files": len(files.files),
        "size": files.size,
        "entry": receipt.index,
        "registered": receipt.index >= before,
    }


def _person(settings: Settings) -> str:
    """Who asks, as Git would have it from the environment; the ledger names an actor for every entry."""
    environment = settings.environment
    name = environment.get("GIT_AUTHOR_NAME") or environment.get("USER") or environment.get("LOGNAME") or "unknown"
    email = environment.get("GIT_AUTHOR_EMAIL") or environment.get("EMAIL")
    return f"{name} <{email}>" if email else name
