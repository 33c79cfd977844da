"""The ledger's side of witnesses: ask them for cosignatures on the latest checkpoint, and say how far they came.

Never on the way of an append: `up` asks in a thread of its own, `ledger witness ask` once. What was agreed on is kept
in the store: the lines of cosignatures, and of each witness how far it came and what it said last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from customhouse._kit.clock import Clock, from_rfc3339, to_rfc3339
from customhouse._kit.http import Answer, HttpError
from customhouse.app.ledger_spec import LedgerSpec, WitnessSpec
from customhouse.core.errors import CustomhouseError, StateError, TamperError
from customhouse.core.ledger import Checkpoint
from customhouse.trust.cosignature import Cosignature, CosignerKey, cosignatures, with_lines
from customhouse.trust.witness import SIZE_TYPE, request_body

if TYPE_CHECKING:
    from customhouse.store import Store
    from customhouse.trust.ledger import Ledger

MEMORY = "ledger/witness/"
"""Documents: by the witness's name what it cosigned last and what it said last."""
SPEC = "ledger/witnesses"
"""The document that holds the section of customhouse.yaml, for commands that have no repository at hand."""
_ATTEMPTS = 3
_FUTURE = timedelta(minutes=5)
"""How far a witness's clock may be ahead."""

Post = Callable[[str, bytes], Answer]
"""POST a body to an address; raises HttpError."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one witness said. `tamper`: it has seen another past of this ledger, which is no matter of reaching it."""

    name: str
    size: int
    problem: str = ""
    tamper: bool = False


def ask(ledger: Ledger, store: Store, spec: LedgerSpec, post: Post, clock: Clock) -> tuple[Asked, ...]:
    """Ask every witness for its cosignature on the latest checkpoint; one that fails does not hold up the others."""
    checkpoint = ledger.checkpoint()
    found = []
    for witness in spec.witnesses:
        known = store.state.get(MEMORY + witness.name) or {}
        if known.get("size") == checkpoint.size and not known.get("problem"):
            found.append(Asked(witness.name, checkpoint.size))
            continue
        try:
            given = _cosigned(ledger, checkpoint, witness, int(known.get("size", 0)), post, clock.now())
            store.cosignatures.add(checkpoint.size, witness.name, given.line)
            said = Asked(witness.name, checkpoint.size)
        except (CustomhouseError, HttpError) as error:
            text = error.message if isinstance(error, CustomhouseError) else str(error)
            said = Asked(witness.name, int(known.get("size", 0)), text[:500], isinstance(error, TamperError))
        found.append(said)
        document = {"size": said.size, "at": to_rfc3339(clock.now()), "problem": said.problem, "tamper": said.tamper}
        store.state.put({MEMORY + witness.name: document})
    return tuple(found)


def _cosigned(
    ledger: Ledger, checkpoint: Checkpoint, witness: WitnessSpec, old: int, post: Post, now: datetime
) -> Cosignature:
    """The cosignature of one witness, verified. Raises TamperError (another past), StateError, HttpError."""
    address = witness.url.rstrip("/") + "/add-checkpoint"
    tried: set[int] = set()
    for _ in range(_ATTEMPTS):
        if old > checkpoint.size:
            raise TamperError(
                f"{witness.name} says it cosigned {old} entries, and this ledger has {checkpoint.size}: it was cut back"
            )
        tried.add(old)
        proof = ledger.consistency(old, checkpoint.size) if old else ()
        answer = post(address, request_body(old, proof, checkpoint.note))
        if answer.status == 200:
            return _line(answer, checkpoint, witness, now)
        if answer.status == 422 and old:
            # The proof was made of this ledger's own tree, so the tree that the witness saw is not its beginning.
            raise TamperError(f"{witness.name} says it has seen another tree of {old} entries: this ledger was forked")
        if answer.status != 409:
            raise StateError(f"{witness.name} answered {answer.status}: {_text(answer)}")
        old = _size(answer, witness)
        if old == checkpoint.size and old in tried:
            raise TamperError(f"{witness.name} says it cosigned another tree of {old} entries: this ledger was forked")
        if old in tried:
            raise StateError(f"{witness.name} answers that it has seen {old} entries, and refuses a proof from there")
    raise StateError(f"{witness.name} keeps answering with other sizes")


def _size(answer: Answer, witness: WitnessSpec) -> int:
    text = answer.body[:64].decode("ascii", "replace")
    digits = text.removesuffix("\n")
    plain = digits.isascii() and digits.isdigit() and len(digits) <= 18
    if answer.headers.get("content-type", "").partition(";")[0].strip() != SIZE_TYPE or not plain:
        raise StateError(f"{witness.name} answered 409 without a size")
    return int(digits)


def _line(answer: Answer, checkpoint: Checkpoint, witness: WitnessSpec, now: datetime) -> Cosignature:
    try:
        lines = [line for line in answer.body.decode().split("\n") if line]
        found = cosignatures(with_lines(checkpoint.note, lines), [CosignerKey.from_vkey(witness.key)])
    except (TamperError, UnicodeDecodeError) as error:
        # Not a matter of this ledger's past: the witness, or who stands between, does not tell the truth.
        raise StateError(f"{witness.name} gave no cosignature that verifies: {error}") from error
    if not found:
        raise StateError(f"{witness.name} answered without a cosignature by the key that is known of it")
    if found[0].at > now + _FUTURE:
        raise StateError(f"the cosignature of {witness.name} is from the future ({to_rfc3339(found[0].at)})")
    return found[0]


def _text(answer: Answer) -> str:
    return " ".join(answer.body[:200].decode("utf-8", "replace").split())


@dataclass(frozen=True, slots=True)
class Watched:
    """How far one witness came, by its cosignatures that verify; `problem` is what it said last, if it refused."""

    name: str
    size: int
    at: datetime | None
    problem: str = ""
    tamper: bool = False

    def to_json(self) -> dict[str, Any]:
        """`{"name","size","at","problem"}`."""
        at = None if self.at is None else to_rfc3339(self.at)
        return {"name": self.name, "size": self.size, "at": at, "problem": self.problem}


@dataclass(frozen=True, slots=True)
class Watch:
    """What the witnesses know of a ledger of `size` entries; `agreed` is what the quorum has cosigned."""

    witnesses: tuple[Watched, ...]
    quorum: int
    agreed: int
    size: int
    problem: str = ""

    def lines(self) -> list[str]:
        """Sentences for people."""
        if not self.witnesses:
            return ["no witness is named: a ledger that was cut back with its checkpoints would not be seen here"]
        said = [
            f"{item.name} cosigned {item.size} of {self.size} entries"
            + (f" at {to_rfc3339(item.at)}" if item.at else "")
            + (f"; {item.problem}" if item.problem else "")
            for item in self.witnesses
        ]
        return [*said, f"{self.quorum} of {len(self.witnesses)} witnesses are asked for; they agree on {self.agreed}"]


def watch(store: Store, spec: LedgerSpec, now: datetime) -> Watch:
    """Read it from the store; every cosignature is verified again, under the checkpoint that it is of."""
    watched = tuple(_watched(store, witness) for witness in spec.witnesses)
    size = store.ledger.size()
    reached = sorted((item.size for item in watched), reverse=True)
    agreed = reached[spec.quorum - 1] if 0 < spec.quorum <= len(reached) else size
    problem = next((item.problem for item in watched if item.tamper), "")
    if not problem and spec.quorum and agreed < size:
        since = _entered(store, agreed)
        if since is not None and now - since > timedelta(minutes=spec.max_age_minutes):
            problem = (
                f"{spec.quorum} of {len(watched)} witnesses are asked for; they agree on {agreed} of {size} entries, "
                f"and the next is of {to_rfc3339(since)}, more than {spec.max_age_minutes} minutes ago"
            )
    return Watch(watched, spec.quorum, agreed, size, problem)


def _watched(store: Store, witness: WitnessSpec) -> Watched:
    key = CosignerKey.from_vkey(witness.key)
    known = store.state.get(MEMORY + witness.name) or {}
    problem, tamper = str(known.get("problem", "")), bool(known.get("tamper"))
    for size in store.cosignatures.sizes(witness.name):
        (checkpoint,) = store.ledger.checkpoints(size)[:1] or (None,)
        if checkpoint is None or checkpoint.size != size:
            text = f"it cosigned {size} entries, of which there is no checkpoint here any more"
            return Watched(witness.name, size, None, text, tamper=True)
        try:
            found = cosignatures(with_lines(checkpoint.note, store.cosignatures.lines(size)), [key])
        except TamperError:
            continue
        if found:
            return Watched(witness.name, size, found[0].at, problem, tamper)
    return Watched(witness.name, 0, None, problem or "it has cosigned nothing yet", tamper)


def _entered(store: Store, index: int) -> datetime | None:
    import json

    try:
        (data,) = store.ledger.read(index, index + 1)
        return from_rfc3339(json.loads(data)["at"])
    except (StateError, ValueError, KeyError, TypeError):
        return None  # the ledger's own verification says what is wrong with it


def cosigned_note(store: Store, checkpoint: Checkpoint) -> str:
    """The checkpoint with every cosignature that is kept of it."""
    return with_lines(checkpoint.note, store.cosignatures.lines(checkpoint.size))


def remembered(store: Store) -> LedgerSpec:
    """The section that `up` last found in customhouse.yaml."""
    return LedgerSpec.parse(store.state.get(SPEC))


def best_checkpoint(store: Store, index: int) -> Checkpoint | None:
    """The largest checkpoint over entry `index` that has a cosignature, if there is one."""
    for size in store.cosignatures.sizes():
        if size <= index:
            return None
        found: Sequence[Checkpoint] = store.ledger.checkpoints(size)[:1]
        if found and found[0].size == size:
            return found[0]
    return None
