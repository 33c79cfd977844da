"""A small file of the state that is believed only while it verifies under a key of the state (HMAC-SHA256)."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

KEY = "cache.key"


class SealedFile:
    """One text below a state directory. Whoever may read the state's keys may forge it; nobody else."""

    def __init__(self, place: Path, keys: Path, max_bytes: int) -> None:
        self._place, self._key_place, self._max = place, keys / KEY, max_bytes

    def load(self) -> str | None:
        """The text; None when there is none, it is too long, or it does not verify."""
        try:
            if self._place.stat().st_size > self._max:
                return None
            said: Any = json.loads(self._place.read_text(encoding="utf-8"))
            text = str(said["records"])
            return text if hmac.compare_digest(_mac(self._key(make=False), text), str(said["mac"])) else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def save(self, text: str) -> None:
        """Write it whole. Raises OSError."""
        key = self._key(make=True)
        self._place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._place.with_suffix(f".{os.getpid()}.new")
        draft.write_text(json.dumps({"mac": _mac(key, text), "records": text}), encoding="utf-8")
        draft.replace(self._place)

    def _key(self, *, make: bool) -> bytes:
        if make and not self._key_place.exists():
            self._key_place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with suppress(FileExistsError), os.fdopen(os.open(self._key_place, flags, 0o600), "wb") as handle:
                handle.write(secrets.token_bytes(32))
        key = self._key_place.read_bytes()
        if len(key) != 32:
            raise ValueError("not a key")
        return key


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
