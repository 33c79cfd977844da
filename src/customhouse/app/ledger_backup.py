"""`ledger backup` and `ledger restore`: the whole store in one signed file, which proves itself before it is used.

    CUSTOMHOUSE-BACKUP 1 <bytes of the header>
    <header: a signed note by the ledger's key; its text is `customhouse.dev/backup@v1` and a line of canonical JSON>
    <an SQLite database: every table as it was at one moment>

Keys are not in it (`keys/` in the state directory): whoever finds a backup must not be able to sign.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import to_rfc3339
from customhouse._kit.reading import open_regular
from customhouse.app import wiring
from customhouse.app.exclusive import Exclusive
from customhouse.app.ledger_verifying import REMEMBERED, read_checkpoint_file
from customhouse.app.settings import Settings
from customhouse.core.errors import StateError, TamperError, UsageError
from customhouse.core.ledger import Checkpoint
from customhouse.trust.ledger import Ledger
from customhouse.trust.note import NoteKey, open_note, sign_note

if TYPE_CHECKING:
    from customhouse.store import Store

_MAGIC = "CUSTOMHOUSE-BACKUP 1"
_KIND = "customhouse.dev/backup@v1"
_MOST_HEADER = 1 << 20
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup says of itself, once it is verified."""

    file: str
    made_at: str
    size: int
    root: bytes
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """`{"file","made_at","size","root","bytes"}`."""
        return {
            "file": self.file,
            "made_at": self.made_at,
            "size": self.size,
            "root": self.root.hex(),
            "bytes": self.bytes,
        }


def make_backup(settings: Settings, file: Path) -> Backup:
    """Write a backup while others may be appending, then read it again as a restore would. Raises StateError."""
    from customhouse.store.backup import copy_out

    if file.exists():
        raise UsageError("this file is there already", where=str(file), hint="a backup is never written over")
    copy, draft = _beside(file, "copy"), _beside(file, "draft")
    try:
        with wiring.store(settings, create=False) as opened:
            wiring.ledger(settings, opened, write=True).checkpoint()  # so that what is copied is covered by one
            copy_out(opened, copy)
        with _opened(copy) as copied:
            head = copied.ledger.latest_checkpoint()
        if head is None:
            raise StateError("the ledger has no checkpoint yet", where=str(settings.state))
        _pack(settings, copy, head, draft)
        found = _unpack(draft, copy, wiring.ledger_key(settings))
        os.replace(draft, file)
    except OSError as error:
        raise StateError(f"the backup cannot be written: {error.strerror}", where=str(file)) from error
    finally:
        for left in (copy, draft):
            left.unlink(missing_ok=True)
    return Backup(str(file), found.made_at, found.size, found.root, found.bytes)


def restore_backup(settings: Settings, file: Path, key: str, *, older: bool) -> tuple[Backup, str]:
    """Put a backup in the place of the store: verified whole, then at once; (backup, where the old store is kept).

    Refused are a backup of another ledger or past, and (unless `older`) one that lacks entries of a checkpoint that is
    known here. Raises TamperError, UsageError, StateError; nothing is changed then.
    """
    from customhouse.store.backup import copy_in, put_in_place

    log = NoteKey.from_vkey(key.strip()) if key else _known_key(settings)
    exclusive = Exclusive(settings.state)
    copy = _beside(settings.state / wiring.STORE_FILE, "restored")
    try:
        found = _unpack(file, copy, log)
        known = _known(settings, log)
        if known is not None:
            _not_another_past(copy, log, known, older=older, file=file)
        if settings.store:
            with wiring.store(settings) as opened:
                copy_in(copy, opened)
            kept = None
        else:
            kept = put_in_place(copy, settings.state / wiring.STORE_FILE)
        if known is not None and known.size > found.size:
            (settings.state / REMEMBERED).unlink(missing_ok=True)
        _keep_key(settings, log)
    except OSError as error:
        raise StateError(f"cannot be restored: {error.strerror}", where=str(error.filename or file)) from error
    finally:
        for left in (copy, copy.with_name(copy.name + "-wal"), copy.with_name(copy.name + "-shm")):
            left.unlink(missing_ok=True)
        exclusive.release()
    return found, "" if kept is None else str(kept)


def _known_key(settings: Settings) -> NoteKey:
    try:
        return wiring.ledger_key(settings)
    except Exception as error:
        raise UsageError(
            "this machine does not know the ledger's key", where=str(settings.keys), hint="give it with --key VKEY"
        ) from error


def _keep_key(settings: Settings, log: NoteKey) -> None:
    """A machine that had none knows the public key from now on; the private one is to be brought by hand."""
    place = settings.keys / f"{wiring.LEDGER_KEY}.pub"
    if not place.exists():
        settings.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.write_bytes(log.key.pem())


def _known(settings: Settings, log: NoteKey) -> Checkpoint | None:
    """The largest checkpoint that this machine knows of: of the store that is there, and the one verified last."""
    found = []
    place = settings.state / REMEMBERED
    if place.exists():
        found.append(read_checkpoint_file(place, log, *wiring.retired_keys(settings)))
    if wiring.has_store(settings):
        try:
            with wiring.store(settings) as opened:
                latest = opened.ledger.latest_checkpoint()
                if latest is not None:
                    found.append(latest)
        except StateError:
            pass  # a store that is damaged or of another schema is what a restore is for
    return max(found, key=lambda item: item.size, default=None)


def _not_another_past(copy: Path, log: NoteKey, known: Checkpoint, *, older: bool, file: Path) -> None:
    with _opened(copy) as copied:
        ledger = Ledger(copied.ledger, log.key, log.name, wiring.clock())
        size = ledger.size
        if size >= known.size:
            if known.size and ledger.root(known.size) != known.root:
                raise TamperError(
                    f"the backup has another tree of {known.size} entries than what is known here: one was forked",
                    where=str(file),
                    hint="find out which is genuine before anything is replaced; nothing was changed",
                )
            return
    if not older:
        raise UsageError(
            f"the backup has {size} entries, and a checkpoint of {known.size} is known here",
            where=str(file),
            hint="--older restores it all the same: what came since is lost, and witnesses will tell of it",
        )


def _pack(settings: Settings, copy: Path, head: Checkpoint, draft: Path) -> None:
    from customhouse.trust.keys import open_pair

    digest, size = _digest(copy)
    document = {
        "checkpoint": head.note,
        "database": {"bytes": size, "sha256": digest},
        "made_at": to_rfc3339(wiring.clock().now()),
        "origin": wiring.LEDGER_ORIGIN,
        "size": head.size,
    }
    signer = open_pair(settings.keys, wiring.LEDGER_KEY)
    text = f"{_KIND}\n{canonical_json(document).decode()}\n"
    header = sign_note(text, wiring.LEDGER_ORIGIN, signer).encode()
    with draft.open("xb") as out, copy.open("rb") as data:
        os.fchmod(out.fileno(), 0o600)
        out.write(f"{_MAGIC} {len(header)}\n".encode() + header)
        while piece := data.read(_PIECE):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())


def _digest(place: Path) -> tuple[str, int]:
    made, size = hashlib.sha256(), 0
    with place.open("rb") as handle:
        while piece := handle.read(_PIECE):
            made.update(piece)
            size += len(piece)
    return made.hexdigest(), size


def _unpack(file: Path, copy: Path, log: NoteKey) -> Backup:
    """The database of a backup in `copy`, after 1. the header's signature, 2. the digest, 3. the whole ledger."""
    try:
        with open_regular(file) as handle:
            # 1.
            document = _header(handle, file, log)
            wanted = document["database"]
            copy.unlink(missing_ok=True)
            # 2.
            made, size = hashlib.sha256(), 0
            with copy.open("xb") as out:
                os.fchmod(out.fileno(), 0o600)
                while (piece := handle.read(_PIECE)) and size <= wanted["bytes"]:
                    made.update(piece)
                    size += len(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(file)) from error
    if size != wanted["bytes"] or made.hexdigest() != wanted["sha256"]:
        raise TamperError("the database is not the one that was signed: cut off, or changed", where=str(file))
    # 3.
    with _opened(copy) as copied:
        ledger = Ledger(copied.ledger, log.key, log.name, wiring.clock())
        report = ledger.verify()
        head = copied.ledger.latest_checkpoint()
    if report.problems:
        raise TamperError(f"its ledger does not verify: {report.problems[0]}", where=str(file))
    if head is None or head.note != document["checkpoint"]:
        raise TamperError("its checkpoint is not the one that was signed", where=str(file))
    return Backup(str(file), str(document["made_at"]), report.size, report.root, size)


def _header(handle: IO[bytes], file: Path, log: NoteKey) -> dict[str, Any]:
    first = handle.readline(64)
    magic, _, length = first.decode("ascii", "replace").strip().rpartition(" ")
    if magic != _MAGIC or not length.isdigit() or int(length) > _MOST_HEADER:
        raise UsageError("this is no backup of Customhouse", where=str(file))
    try:
        text = open_note(handle.read(int(length)).decode(), log)
    except (TamperError, UnicodeDecodeError) as error:
        raise TamperError(f"its header: {error}", where=str(file), hint="--key names another ledger's key") from error
    kind, _, body = text.partition("\n")
    document = json.loads(body) if kind == _KIND else None
    if not isinstance(document, dict) or document.get("origin") != log.name:
        raise TamperError("its header is not that of a backup of this ledger", where=str(file))
    return document


def _opened(place: Path) -> Store:
    from customhouse.store import open_store

    return open_store(place)


def _beside(file: Path, what: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(f".{file.name}.{what}.{secrets.token_hex(4)}")
