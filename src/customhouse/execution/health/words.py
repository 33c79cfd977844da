"""What one word of a controller says: fine, busy, paused or failed.

Controllers write their state as names in CamelCase or as small words ("ReconcileError", "in progress", "HEALTH_WARN").
They agree on few names and on many words, so a name is read word by word. The words are data
(`vocabulary.txt`); the order in which their meanings count is in `tone`.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from pathlib import Path

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_MAX = 200
"""Characters of a name that are read; a message is longer, and is no name."""


class Tone(Enum):
    """What a name says of the object."""

    GOOD = "good"
    BUSY = "busy"
    PAUSED = "paused"
    FAILED = "failed"


def _vocabulary() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    name = ""
    for line in Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name = line.strip("[]")
        elif line and not line.startswith("#"):
            found.setdefault(name, set()).update(line.split())
    return {key: frozenset(value) for key, value in found.items()}


VOCABULARY = _vocabulary()
_FAILED, _BUSY, PAUSED, _GOOD = (VOCABULARY[name] for name in ("failed", "busy", "paused", "good"))
STRONG, ENDS, DECLARES = (VOCABULARY[name] for name in ("strong", "ends", "declares"))
_DENIALS = frozenset(("not", "non", "no", "never", "without", "isnt", "of"))
"""Before a word; "of" as in "OutOfSync"."""
_WHOLE = {("up",): Tone.GOOD, ("down",): Tone.FAILED}
"""What means something alone, and something else in "ScalingUp"."""


def words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case: "ReconcileError" is ("reconcile", "error")."""
    return _words(name[:_MAX])


@lru_cache(maxsize=8192)
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))


def tone(name: str) -> Tone | None:
    """What a name says; None when no word of it is known.

    1. A word of failure counts unless it is denied ("NoErrors"), then one of pausing.
    2. Else the last word that is known counts: "InstallSucceeded" is good, "UpgradePending" goes on. A denied good word
       ("NotReady") goes on, a denied failure ("NoErrors") is good.
    """
    return _tone(name[:_MAX])


@lru_cache(maxsize=8192)
def _tone(name: str) -> Tone | None:
    found = _words(name)
    if found in _WHOLE:
        return _WHOLE[found]
    last: Tone | None = None
    paused = False
    for index, word in enumerate(found):
        denied = bool(index) and found[index - 1] in _DENIALS
        if word in _FAILED:
            if not denied:
                return Tone.FAILED
            last = Tone.GOOD
        elif word in PAUSED:
            paused = paused or not denied
        elif word in _BUSY:
            last = Tone.BUSY
        elif word in _GOOD:
            if denied and found[index - 1] == "non":
                return Tone.FAILED  # "NonCompliant" is no matter of waiting
            last = Tone.BUSY if denied else Tone.GOOD
    return Tone.PAUSED if paused else last
