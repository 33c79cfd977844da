"""What was done about interruptions, kept on the disk until the ledger has it.

The watch acts between two steps of the loop, which alone writes the ledger; a kill in between must lose nothing. So a
line is on the disk before anything is asked of the cluster, and a second one with the answer after it. What was asked
and whose answer nobody wrote is entered as that.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse._kit.durable import sync_folder

_FILE = "interruptions.jsonl"
_MOST_BYTES = 16 << 20
"""Far more than is ever waiting; a file of another origin is not read into memory."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened: `key` names it, so that it is entered once; `text` is for people."""

    key: str
    at: datetime
    text: str
    body: Mapping[str, Any] = field(default_factory=dict)
    asked: bool = False
    """Written before the act; the answer follows under the same key."""


class InterruptionLog:
    """Any thread may write; `waiting` and `forget` belong to who enters it in the ledger."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / _FILE
        self._lock = threading.Lock()
        self._done: dict[str, Record] = {}
        self._open: dict[str, Record] = {}
        self._seen: set[str] = set()
        for item in self._read():
            # The answers to what an earlier process asked are not coming any more.
            self._done[item.key] = item
            self._seen.add(item.key)

    def write(self, records: Sequence[Record]) -> None:
        """Keep them. Raises OSError: then nothing of it is to be done."""
        with self._lock:
            fresh = [item for item in records if item.asked or item.key not in self._seen or item.key in self._open]
            if not fresh:
                return
            created = not self._place.exists()
            with self._place.open("ab") as file:
                file.write(b"".join(_line(item) for item in fresh))
                file.flush()
                os.fsync(file.fileno())
            if created:
                sync_folder(self._place.parent)
            for item in fresh:
                if item.asked:
                    self._open[item.key] = item
                else:
                    self._open.pop(item.key, None)
                    self._done[item.key] = item
                    self._seen.add(item.key)

    def unasked(self, key: str) -> None:
        """What was asked was refused, and is asked again later: nothing was done. Raises OSError."""
        with self._lock:
            item = self._open.pop(key, None)
            if item is None:
                return
            if not self._done and not self._open:  # a budget may refuse each second, for days
                with suppress(FileNotFoundError):
                    self._place.unlink()
                return
            with self._place.open("ab") as file:
                file.write(_line(item, retracted=True))

    def waiting(self) -> Sequence[Record]:
        """What has an answer, and is not in the ledger yet as far as is known here."""
        with self._lock:
            return tuple(self._done.values())

    def forget(self, records: Sequence[Record]) -> None:
        """The ledger has these. Raises OSError."""
        with self._lock:
            for item in records:
                if self._done.get(item.key) == item:
                    del self._done[item.key]
            if not self._done and not self._open:
                with suppress(FileNotFoundError):
                    self._place.unlink()

    def _read(self) -> list[Record]:
        try:
            with self._place.open("rb") as file:
                lines = file.read(_MOST_BYTES).split(b"\n")
        except FileNotFoundError:
            return []
        found: dict[str, Record] = {}
        for line in lines:
            try:
                value = json.loads(line)
                item = _parsed(value)
            except (ValueError, KeyError, TypeError):
                continue  # a power cut left it unfinished: then nothing was asked either
            if value.get("retracted"):
                found.pop(item.key, None)
            else:
                found[item.key] = item
        return list(found.values())


def _line(item: Record, *, retracted: bool = False) -> bytes:
    value = {"key": item.key, "at": to_rfc3339(item.at), "text": item.text, "body": item.body, "asked": item.asked}
    return json.dumps({**value, "retracted": True} if retracted else value).encode() + b"\n"


def _parsed(value: Mapping[str, Any]) -> Record:
    text = f"{value['text']} (asked; the answer was lost)" if value["asked"] else value["text"]
    return Record(str(value["key"]), from_rfc3339(value["at"]), str(text), dict(value["body"]))
