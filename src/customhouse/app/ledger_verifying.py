"""`ledger verify`: the stored bytes, the rows beside them, and what witnesses know; whole, or from where it last ended.

What was verified last is remembered as the signed checkpoint itself (`verified-checkpoint` in the state directory): a
ledger that was cut back or forked since then cannot pass, and a changed file is no signed note any more.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from customhouse._kit.reading import open_regular
from customhouse.app import wiring
from customhouse.app.crosscheck import crosscheck
from customhouse.app.ledger_witnesses import cosigned_note, remembered, watch
from customhouse.app.settings import Settings
from customhouse.core.errors import StateError, TamperError, UsageError
from customhouse.core.ledger import Checkpoint
from customhouse.core.ports import Progress
from customhouse.trust.cosignature import CosignerKey, cosignatures
from customhouse.trust.keys import PublicKey
from customhouse.trust.ledger import MAX_PROBLEMS, LedgerProblem, LedgerReport, Verified
from customhouse.trust.note import MAX_NOTE_BYTES, NoteKey, note_parts, open_checkpoint, read_checkpoint

if TYPE_CHECKING:
    from customhouse.store import Store

REMEMBERED = "verified-checkpoint"


class LedgerFiles(Protocol):
    """The files of C2SP tlog-tiles."""

    def note(self) -> str:
        """The checkpoint."""

    def get(self, path: str) -> bytes | None:
        """A tile or bundle; None for what the checkpoint does not cover."""


def verify_ledger(
    settings: Settings,
    progress: Progress | None = None,
    *,
    incremental: bool = False,
    since: Path | None = None,
) -> LedgerReport:
    """Recompute the ledger from its stored bytes, then compare the rows beside it and what witnesses have seen.

    What was verified here last must still be there, whatever is asked. `incremental`: from the checkpoint that was
    verified last; `since`: from one that is given. Raises UsageError for a file that cannot be read, TamperError for
    one that is not this ledger's.
    """
    with wiring.store(settings, create=False) as opened:
        ledger = wiring.ledger(settings, opened, write=False)
        key, old = wiring.ledger_key(settings), wiring.retired_keys(settings)
        place = settings.state / REMEMBERED
        begun, unread = None, ""
        if since is not None:
            begun = read_checkpoint_file(since, key, *old)
        elif place.exists():
            try:
                begun = read_checkpoint_file(place, key, *old)
            except (TamperError, UsageError) as error:
                if incremental:
                    raise
                unread = f"what was verified last could not be compared: {error}"
        whole = since is None and not incremental
        report = ledger.verify(progress, None if begun is None else Verified(begun.size, begun.root, whole))
        found = [*report.problems, *_witnessed(opened), *crosscheck(opened)]
        notes = [*report.notes, *([unread] if unread else [])]
        if incremental and begun is None:
            notes.append("nothing was verified before: everything was read")
        notes += watch(opened, remembered(opened), wiring.clock().now()).lines()
        if not report.problems:
            _remember(place, opened.ledger.checkpoints(), report)
        return replace(report, problems=tuple(found[:MAX_PROBLEMS]), notes=tuple(notes))


def _witnessed(opened: Store) -> Sequence[LedgerProblem]:
    """What a witness has seen of another past. A quorum that is late is told by `doctor` and `witness status`."""
    seen = watch(opened, remembered(opened), wiring.clock().now())
    return [LedgerProblem(item.problem, where=f"witness {item.name}") for item in seen.witnesses if item.tamper]


def read_checkpoint_file(place: Path, key: NoteKey, *old: PublicKey) -> Checkpoint:
    """A checkpoint in a file, signed by the ledger's key. Raises UsageError or TamperError."""
    try:
        return open_checkpoint(_note(place), key.name, key.key, *old)
    except TamperError as error:
        raise TamperError(
            f"no checkpoint of this ledger: {error.message}",
            where=str(place),
            hint="`ledger checkpoint` prints one; verify without it to begin anew",
        ) from error


def _note(place: Path) -> str:
    try:
        with open_regular(place) as handle:
            return handle.read(MAX_NOTE_BYTES + 1).decode()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(place)) from error
    except UnicodeDecodeError as error:
        raise TamperError("no checkpoint of this ledger: not text", where=str(place)) from error


def _remember(place: Path, saved: Sequence[Checkpoint], report: LedgerReport) -> None:
    """Keep the checkpoint that was verified; a state that cannot be written is verified all the same."""
    latest = next((item for item in reversed(saved) if item.size == report.sealed), None)
    if latest is None:
        return
    draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        draft.write_text(latest.note, encoding="utf-8")
        os.replace(draft, place)
    except OSError:
        draft.unlink(missing_ok=True)


def verify_mirror(
    settings: Settings,
    place: str,
    key: str,
    witnesses: Sequence[str],
    since: Path | None,
    progress: Progress | None = None,
) -> LedgerReport:
    """Verify a mirror, a folder or an address, as a stranger: with the log's key and nothing else of this machine."""
    log = NoteKey.from_vkey(key.strip()) if key else wiring.ledger_key(settings)
    begun, unsigned = None, None
    if since is not None:
        try:
            begun = read_checkpoint_file(since, log, *(() if key else wiring.retired_keys(settings)))
        except TamperError as error:
            # Of another key of the same ledger, perhaps: then its entries say so, wherever they are.
            begun, unsigned = read_checkpoint(note_parts(_note(since))[0], log.name, _note(since)), error
    checked = wiring.mirror(
        place, log, None if begun is None else Verified(begun.size, begun.root, unsigned is not None), progress
    )
    report = checked.report
    notes = list(report.notes)
    problems = list(report.problems)
    if since is not None and unsigned is not None:
        try:
            read_checkpoint_file(since, log, *checked.keys)
            notes.append("the checkpoint is of another key than the one that is known: all was read to follow it")
        except TamperError:
            problems.insert(0, LedgerProblem(f"{unsigned.message}, nor by one that it follows", where=str(since)))
    known = [CosignerKey.from_vkey(text) for text in witnesses]
    if not key:
        notes.append("verified under the key of this machine's own ledger")
    if checked.note and known:
        try:
            found = {item.witness: item for item in cosignatures(checked.note, known)}
        except TamperError as error:
            found = {}
            problems.append(LedgerProblem(error.message, where="checkpoint"))
        for name in (item.name for item in known):
            seen = found.get(name)
            said = f"cosigned {report.sealed} entries at {seen.at.isoformat()}" if seen else "did not cosign it"
            notes.append(f"{name} {said}")
            if seen is None:
                problems.append(LedgerProblem(f"{name} did not cosign this checkpoint", where="checkpoint"))
    return replace(report, notes=tuple(notes), problems=tuple(problems[:MAX_PROBLEMS]))


def ledger_files(settings: Settings, opened: Store) -> LedgerFiles:
    """The ledger's files out of an open store, for the server."""
    key = wiring.ledger_key(settings).key
    return wiring.tile_source(opened, key, lambda made: cosigned_note(opened, made))


def publish_folder(settings: Settings, folder: Path) -> Checkpoint:
    """Write the ledger as static files into a folder: only what came since the last time. Raises StateError."""
    with wiring.store(settings, create=False) as opened:
        if opened.ledger.latest_checkpoint() is None:
            raise StateError("the ledger has no checkpoint yet", where=str(settings.state))
        return wiring.publish_tiles(
            opened,
            folder,
            wiring.ledger_key(settings).key,
            *wiring.retired_keys(settings),
            cosigned=lambda made: cosigned_note(opened, made),
        )
