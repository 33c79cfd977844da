"""The keys of a ledger over time: an entry, signed by the old key and the new one, hands the ledger on.

A checkpoint that covers such an entry must be signed by the new key; the one that is made with the entry is signed by
both. So a key that was taken over can sign nothing that came after it, whoever has it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from customhouse.core.errors import ConfigError, TamperError
from customhouse.core.ledger import Entry
from customhouse.trust.keys import PrivateKey, PublicKey
from customhouse.trust.note import NoteKey

KIND = "ledger-key"


def rotation(origin: str, old: PrivateKey, new: PrivateKey, at: datetime, actor: str) -> Entry:
    """The entry by which `old` hands the ledger on to `new`."""
    before, after = NoteKey(origin, old.public).vkey, NoteKey(origin, new.public).vkey
    said = _statement(origin, before, after)
    body = {
        "text": f"the ledger's key {before.split('+')[1]} is followed by {after.split('+')[1]}",
        "old": before,
        "new": after,
        "signature": base64.b64encode(old.sign(said)).decode(),
        "accepted": base64.b64encode(new.sign(said)).decode(),
    }
    return Entry(f"{KIND}:{before}:{after}", KIND, at, actor, (), body)


def _statement(origin: str, before: str, after: str) -> bytes:
    return f"customhouse.dev/ledger-key@v1\n{origin}\n{before}\n{after}\n".encode()


def handed_on(entry: Entry, origin: str) -> tuple[PublicKey, PublicKey]:
    """(old key, new key) of such an entry. Raises TamperError unless both signed it, for this ledger."""
    body: Mapping[str, Any] = entry.body
    try:
        before, after = NoteKey.from_vkey(str(body["old"])), NoteKey.from_vkey(str(body["new"]))
        signed, accepted = (base64.b64decode(str(body[name]), validate=True) for name in ("signature", "accepted"))
    except (KeyError, ValueError, ConfigError) as error:
        raise TamperError(f"it hands the ledger on to nobody: {error}") from error
    said = _statement(origin, str(body["old"]), str(body["new"]))
    if before.name != origin or after.name != origin:
        raise TamperError("it hands on another ledger")
    if not before.key.verify(said, signed):
        raise TamperError("the old key did not sign that it is followed by another")
    if not after.key.verify(said, accepted):
        raise TamperError("the new key did not sign that it follows")
    return before.key, after.key


def followed(key: NoteKey, entries: Mapping[int, Entry]) -> tuple[PublicKey, ...]:
    """A key and those that it follows, newest first, by the entries that hand the ledger on and verify."""
    found = [key.key]
    for _, item in sorted(entries.items(), reverse=True):
        try:
            before, after = handed_on(item, key.name) if item.kind == KIND else (None, None)
        except TamperError:
            continue
        if before is not None and after == found[-1] and before not in found:
            found.append(before)
    return tuple(found)


@dataclass(slots=True)
class KeyChain:
    """The keys that entries tell of, in order; fill it with `take` while reading them."""

    origin: str
    steps: list[tuple[int, PublicKey, PublicKey]] = field(default_factory=list)

    def take(self, index: int, entry: Entry) -> None:
        """Take in an entry if it hands the ledger on. Raises TamperError when it does so wrongly."""
        if entry.kind != KIND:
            return
        before, after = handed_on(entry, self.origin)
        if self.steps and self.steps[-1][2] != before:
            raise TamperError("it hands the ledger on for a key that had been followed by another")
        self.steps.append((index, before, after))

    def newest(self, given: PublicKey) -> PublicKey:
        """The key that signs now, if `given` is one of the chain. Raises TamperError when it is none of them."""
        if not self.steps or any(given in (before, after) for _, before, after in self.steps):
            return self.steps[-1][2] if self.steps else given
        raise TamperError("the key that is given is none of those that this ledger had")

    def at(self, size: int, given: PublicKey) -> PublicKey:
        """The key that must have signed a checkpoint of `size` entries, where nothing else is known than `given`."""
        found = self.steps[0][1] if self.steps else given
        for index, _, after in self.steps:
            if index < size:
                found = after
        return found
