"""`ledger rotate-key`: the ledger goes on under a new key, and whoever knows the old one can follow.

May be killed anywhere and run again: 1. the next pair is made; 2. the entry and the checkpoint that both keys sign are
stored in one transaction; 3. the old public key is kept, the new pair put in place, the old private key is gone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from customhouse._kit.durable import sync_folder
from customhouse.app import wiring
from customhouse.app.exclusive import Exclusive
from customhouse.app.settings import Settings
from customhouse.core.errors import StateError, UsageError
from customhouse.trust.keys import load_public, open_pair
from customhouse.trust.note import NoteKey

_NEXT = f"{wiring.LEDGER_KEY}.next"


def rotate_key(settings: Settings, actor: str) -> dict[str, Any]:
    """`{"old","new","size"}`: verifier keys, and the size of the checkpoint that both signed.

    Raises StateError while a control plane runs on this state: it would go on signing with the old key.
    """
    if not (settings.keys / f"{wiring.LEDGER_KEY}.key").exists():
        raise UsageError("this machine does not have the ledger's private key", where=str(settings.keys))
    exclusive = Exclusive(settings.state)
    try:
        # 1.
        new = open_pair(settings.keys, _NEXT)
        with wiring.store(settings, create=False) as opened:
            if load_public(settings.keys / f"{wiring.LEDGER_KEY}.pub") == new.public:  # killed in the middle of 3.
                latest = opened.ledger.latest_checkpoint()
            else:
                # 2.
                latest = wiring.ledger(settings, opened, write=True).hand_on(new, actor)
            size = 0 if latest is None else latest.size
        # 3.
        _put_in_place(settings.keys)
    finally:
        exclusive.release()
    before = wiring.retired_keys(settings)[-1]
    origin = wiring.LEDGER_ORIGIN
    return {"old": NoteKey(origin, before).vkey, "new": NoteKey(origin, new.public).vkey, "size": size}


def _put_in_place(keys: Path) -> None:
    """Each step leaves a state from which the next run goes on: the public halves first, the private one last."""
    public, following = keys / f"{wiring.LEDGER_KEY}.pub", keys / f"{_NEXT}.pub"
    try:
        if load_public(public) != load_public(following):
            number = 1
            while (kept := keys / f"{wiring.LEDGER_KEY}.retired-{number}.pub").exists():
                if load_public(kept) == load_public(public):
                    break
                number += 1
            if not kept.exists():
                os.link(public, kept)
            draft = keys / f".{_NEXT}.pub.copy"
            draft.write_bytes(following.read_bytes())
            os.replace(draft, public)
        os.replace(keys / f"{_NEXT}.key", keys / f"{wiring.LEDGER_KEY}.key")
        following.unlink()
        sync_folder(keys)
    except OSError as error:
        raise StateError(
            f"the keys cannot be put in place: {error.strerror}", where=str(keys), hint="run it again"
        ) from error
