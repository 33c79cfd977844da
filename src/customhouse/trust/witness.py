"""A witness (C2SP tlog-witness): it cosigns a log's checkpoint only when that begins with the last one it cosigned.

    witness = Witness(memory, key, "witness.example/w1", [NoteKey.from_vkey(...)], clock)
    answer = witness.add_checkpoint(body)         # status, type and body of the HTTP answer

The same module writes the requests that a log sends (`request_body`), so that both sides have one form.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from customhouse._kit.clock import Clock
from customhouse.core.errors import TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.trust import merkle
from customhouse.trust.cosignature import CosignerKey, cosign
from customhouse.trust.keys import PrivateKey
from customhouse.trust.note import NoteKey, note_parts, open_note, read_checkpoint

MAX_REQUEST_BYTES = 64 * 1024
"""63 lines of 45 bytes and a checkpoint: some 4 KB in practice."""
MAX_PROOF_LINES = 63
SIZE_TYPE = "text/x.tlog.size"
_PLAIN = "text/plain; charset=utf-8"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class WitnessMemory(Protocol):
    """What a witness keeps, durably: of each log the last checkpoint that it cosigned."""

    def seen(self, origin: str) -> Checkpoint | None:
        """The last one; None before the first."""

    def advance(self, old: Checkpoint | None, new: Checkpoint) -> bool:
        """Store `new` if `old` still is the last one, in one step; whether it was. Durable when it returns."""


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """An HTTP answer."""

    status: int
    body: str
    content_type: str = _PLAIN


class _RefusedError(Exception):
    def __init__(self, answer: WitnessAnswer) -> None:
        super().__init__(answer.body)
        self.answer = answer


class Witness:
    """Answers `add-checkpoint`. May be used from several threads, and by several processes over one memory."""

    def __init__(
        self, memory: WitnessMemory, key: PrivateKey, name: str, logs: Iterable[NoteKey], clock: Clock
    ) -> None:
        """`logs`: the keys of the logs that are known; the name of a key is the log's origin."""
        self.cosigner = CosignerKey(name, key.public)
        self._memory = memory
        self._key = key
        self._clock = clock
        self._logs: dict[str, list[NoteKey]] = {}
        for log in logs:
            self._logs.setdefault(log.name, []).append(log)

    def add_checkpoint(self, body: bytes) -> WitnessAnswer:
        """The steps of tlog-witness; nothing is stored unless all of them are passed, and nothing is told before."""
        try:
            return self._add(body)
        except _RefusedError as refused:
            return refused.answer

    def _add(self, body: bytes) -> WitnessAnswer:
        # 1. The form of the request.
        old_size, proof, note = _parse(body)
        # 2. A known log (404), signed by a key that is trusted for it (403).
        new = self._signed(note)
        # 3. The old size may not be beyond the new one (400).
        if old_size > new.size:
            raise _refused(400, f"the old size {old_size} is larger than the checkpoint's {new.size}")
        # 4. It must be what was cosigned last (409, with that size).
        last = self._memory.seen(new.origin)
        known = 0 if last is None else last.size
        if old_size != known:
            raise _RefusedError(WitnessAnswer(409, f"{known}\n", SIZE_TYPE))
        # 5. The same size with another root is a fork (409); else the proof must lead from the one to the other (422).
        if last is not None and known == new.size and not hmac.compare_digest(last.root, new.root):
            raise _RefusedError(WitnessAnswer(409, f"{known}\n", SIZE_TYPE))
        _check_proof(last, new, proof)
        # 6. Stored, if nobody was faster (409), and only then cosigned.
        if not self._memory.advance(last, new):
            now = self._memory.seen(new.origin)
            raise _RefusedError(WitnessAnswer(409, f"{0 if now is None else now.size}\n", SIZE_TYPE))
        return WitnessAnswer(200, cosign(note, self.cosigner.name, self._key, self._clock.now()) + "\n")

    def _signed(self, note: str) -> Checkpoint:
        try:
            text, _ = note_parts(note)
        except TamperError as error:
            raise _refused(400, error.message) from error
        origin = text.partition("\n")[0]
        keys = self._logs.get(origin)
        if keys is None:
            raise _refused(404, "this log is not known here")
        try:
            open_note(note, *keys)
        except TamperError as error:
            raise _refused(403, error.message) from error
        try:
            return read_checkpoint(text, origin, note)
        except TamperError as error:
            raise _refused(400, error.message) from error


def _refused(status: int, message: str) -> _RefusedError:
    return _RefusedError(WitnessAnswer(status, message[:500] + "\n"))


def _parse(body: bytes) -> tuple[int, list[bytes], str]:
    """(old size, proof, checkpoint note) of a request."""
    if len(body) > MAX_REQUEST_BYTES:
        raise _refused(413, f"more than {MAX_REQUEST_BYTES} bytes")
    try:
        head, separator, note = body.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        raise _refused(400, "not UTF-8") from error
    first, *lines = head.split("\n")
    found = _OLD.fullmatch(first)
    if not separator or found is None:
        raise _refused(400, "the first line must be `old SIZE`, and an empty line must come before the checkpoint")
    if len(lines) > MAX_PROOF_LINES:
        raise _refused(400, f"more than {MAX_PROOF_LINES} lines of proof")
    try:
        proof = [_hash(line) for line in lines]
    except ValueError as error:
        raise _refused(400, "a line of the proof is not 32 bytes of base64") from error
    return int(found[1]), proof, note


def _hash(line: str) -> bytes:
    raw = base64.b64decode(line, validate=True)
    if len(raw) != merkle.HASH_BYTES or base64.b64encode(raw).decode() != line:
        raise ValueError(line)
    return raw


def _check_proof(last: Checkpoint | None, new: Checkpoint, proof: Sequence[bytes]) -> None:
    if last is None or last.size == 0:
        if proof:
            raise _refused(422, "consistency proof: not empty from size 0")
        return
    try:
        merkle.verify_consistency(last.size, new.size, proof, last.root, new.root)
    except TamperError as error:
        raise _refused(422, error.message) from error


def request_body(old_size: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of an `add-checkpoint` request."""
    lines = [f"old {old_size}", *(base64.b64encode(item).decode() for item in proof)]
    return ("\n".join(lines) + "\n\n" + note).encode()
