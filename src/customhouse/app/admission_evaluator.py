"""One evaluator: a process that answers reviews over a socket, one at a time, and may be killed at any moment.

The front keeps the connections and the clocks; whatever happens here (a rule that loops, a panic, a crash of the
engine's native code) ends this process only, and the review that it held is refused in time.
"""

from __future__ import annotations

import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from customhouse.app.admission import Admission, Outcome
from customhouse.app.admission_context import AdmissionContext
from customhouse.app.admission_image import validate_images
from customhouse.app.admission_mutation import mutation
from customhouse.app.admission_objects import declaration_of
from customhouse.app.admission_review import Answer, NotAReviewError, Review, read_review, undecided
from customhouse.core.errors import CustomhouseError

REQUEST = struct.Struct("!IQBd")
"""Bytes of the body, number, kind, deadline (monotonic seconds of the machine, 0: none)."""
RESPONSE = struct.Struct("!IIIQHB")
"""Bytes of the answer, of the record, of the answer without a record; number, HTTP status, index of the label."""
VALIDATE, MUTATE, IMAGE = range(3)
LABELS = ("allow", "warn", "deny", "undecided", "exempt", "break-glass", "mutate", "bad-request")
CPU_LIMIT_S = 1.0
"""Processor seconds of one review; the kernel ends the process after it, whatever native code is doing."""
_CHUNK = 1 << 16
"""Bytes asked for at once. A larger buffer is mapped anew by the allocator for every review: five times the price."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the front: `record` is for the ledger; `instead` is said when that has to be and cannot."""

    body: bytes
    label: str
    status: int = 200
    record: bytes = b""
    instead: bytes = b""


class Evaluator:
    """Answers bodies. `prefix` is the registry that `/validate-image` trusts."""

    def __init__(self, admission: Admission, context: AdmissionContext, prefix: str, *, dry: bool = False) -> None:
        self._admission, self._context, self._prefix, self._dry = admission, context, prefix, dry

    def reply(self, kind: int, body: bytes) -> Reply:
        """The reply to one body; never raises."""
        try:
            review = read_review(body)
        except NotAReviewError as error:
            return refusal(error)
        if kind == VALIDATE:
            outcome = self._admission.validate(review)
        elif kind == IMAGE:
            answer = validate_images(review, self._prefix)
            outcome = Outcome(answer, "image")
        else:
            return self._mutate(review)
        # A break-glass needs its Entry: where nothing is recorded the clerk says so, and `instead` is answered.
        silent = review.dry_run or (self._dry and not outcome.durable)
        return Reply(
            outcome.answer.to_bytes(review.uid),
            _label(outcome),
            record=b"" if silent else _record(review, outcome),
            instead=b"" if outcome.instead is None else outcome.instead.to_bytes(review.uid),
        )

    def _mutate(self, review: Review) -> Reply:
        configuration = self._context.governing.configuration
        answer = Answer(True)
        label = "allow"
        if (
            review.operation == "CREATE"
            and not review.subresource
            and review.ref.namespace not in configuration.admission.exempt_namespaces
        ):
            try:
                patch = mutation(declaration_of(review.ref, review.object), self._context.governing)
                if patch:
                    answer, label = Answer(True, patch=patch), "mutate"
            except CustomhouseError as error:
                answer, label = undecided(str(error)), "undecided"
            except Exception as error:  # noqa: BLE001 - as in Admission.validate
                answer, label = undecided(f"internal error: {type(error).__name__}: {error}"[:500]), "undecided"
        return Reply(answer.to_bytes(review.uid), label)


def refusal(error: NotAReviewError) -> Reply:
    """What is answered to a body that is no review: as a review where its uid could be read, else as HTTP 400."""
    if error.uid:
        return Reply(undecided(str(error), code=400).to_bytes(error.uid), "bad-request")
    return Reply(f"{error}\n".encode(), "bad-request", 400)


def serve(channel: socket.socket, evaluator: Evaluator, *, cpu_limit_s: float = CPU_LIMIT_S) -> None:
    """Answer until the front closes the channel."""
    answer = _answering(channel, evaluator, cpu_limit_s)
    buffer = bytearray()
    while data := channel.recv(_CHUNK):
        buffer += data
        while len(buffer) >= REQUEST.size:
            size, number, kind, deadline = REQUEST.unpack_from(buffer)
            end = REQUEST.size + size
            if len(buffer) < end:
                break
            body = bytes(memoryview(buffer)[REQUEST.size : end])
            del buffer[:end]
            answer(number, kind, deadline, body)


def _answering(
    channel: socket.socket, evaluator: Evaluator, limit_s: float
) -> Callable[[int, int, float, bytes], None]:
    # The default action of SIGPROF ends the process: a handler would have to wait for the engine to come back.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)

    def answer(number: int, kind: int, deadline: float, body: bytes) -> None:
        if deadline and time.monotonic() >= deadline:
            channel.sendall(RESPONSE.pack(0, 0, 0, number, 0, 0))  # the front has refused it already
            return
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        reply = evaluator.reply(kind, body)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        head = RESPONSE.pack(
            len(reply.body),
            len(reply.record),
            len(reply.instead),
            number,
            reply.status,
            LABELS.index(reply.label),
        )
        channel.sendall(head + reply.body + reply.record + reply.instead)

    return answer


def _label(outcome: Outcome) -> str:
    if outcome.kind in ("exempt", "break-glass", "undecided"):
        return outcome.kind
    if not outcome.answer.allowed:
        return "deny"
    return "warn" if outcome.answer.warnings else "allow"


def _record(review: Review, outcome: Outcome) -> bytes:
    """What the clerk writes down (two lines of JSON, see there); nothing for what was let through unjudged."""
    if outcome.kind in ("exempt", "unchanged", "image"):
        return b""
    import orjson

    decision, facts = outcome.decision, outcome.facts
    value: dict[str, Any] = {
        "uid": review.uid,
        "kind": outcome.kind,
        "allowed": outcome.answer.allowed,
        "user": review.user[:500],
        "operation": review.operation,
        "resource": review.ref.to_json(),
        "reason": outcome.reason or (outcome.answer.message[:1000] if not outcome.answer.allowed else ""),
    }
    if decision is None or facts is None:
        return orjson.dumps({**value, "digest": "", "verdict": ""}) + b"\n"
    head = orjson.dumps({**value, "digest": outcome.digest, "verdict": decision.verdict.value})
    # The Facts were written once already, for the engine.
    written = orjson.Fragment(facts.canonical.text)
    return head + b"\n" + orjson.dumps({"body": decision.body(), "envelope": decision.envelope(), "facts": written})
