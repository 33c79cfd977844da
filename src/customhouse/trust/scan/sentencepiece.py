"""SentencePiece models: pieces with scores, and how they were trained; data without code.

After sentencepiece_model.proto.
"""

from __future__ import annotations

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.protobuf import fields
from customhouse.trust.scan.source import Source, UnreadableError

_PARTS = frozenset({1, 2, 3, 4, 5})


def is_sentencepiece(source: Source, look: Inspection) -> bool:
    """Whether all of it reads as a ModelProto: pieces first, each a text, a score and a kind at most."""
    pieces = trained = 0
    try:
        for item in fields(source, look):
            if item.number not in _PARTS or item.body is None:
                return False
            if item.number == 1:
                if _is_usual(item.body):
                    pieces += 1
                    continue
                kinds = [(part.number, part.body is None) for part in fields(item.message(), look)]
                if not kinds or not set(kinds) <= {(1, False), (2, True), (3, True)} or kinds[0] != (1, False):
                    return False
                pieces += 1
            trained += item.number in (2, 3)
    except UnreadableError as error:
        if error.rule.startswith("limit"):
            raise
        return False
    return pieces > 0 and trained > 0


def _is_usual(body: Source) -> bool:
    """A short text and a score, maybe a kind: what nearly every piece is, told without taking it apart."""
    data = body.peek(0, 160)
    if len(data) < 2 or data[0] != 0x0A or data[1] >= 0x80 or body.size > 150:
        return False
    rest = data[2 + data[1] :]
    return rest[:1] == b"\x15" and (len(rest) == 5 or (len(rest) == 7 and rest[5] == 0x18 and rest[6] < 0x80))


def inspect_sentencepiece(_source: Source, look: Inspection) -> None:
    """Nothing to judge: it was read whole to know what it is."""
    look.format = "sentencepiece"
