"""What a verification of an export is asked and what it found: whom the caller believes, links, and their states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.errors import ConfigError, EvidenceError, TamperError, UsageError
from customhouse.trust.cosignature import CosignerKey
from customhouse.trust.keys import TrustRoot
from customhouse.trust.note import NoteKey

PROVED, CLAIMED, BROKEN = "proved", "claimed", "broken"
KEPT = "the checkpoint that you kept"
"""The name of the link that says whether the file fits it."""
_MOST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom the caller believes. `keys` are the ledger's (empty: whomever the file names, which proves nothing).

    `checkpoint` is a note of the same ledger that the caller kept; `roots` are keys of evidence, instead of those of
    the commits in the file.
    """

    keys: tuple[NoteKey, ...] = ()
    fingerprints: tuple[str, ...] = ()
    checkpoint: str = ""
    roots: tuple[TrustRoot, ...] = ()
    witnesses: tuple[CosignerKey, ...] = ()
    """Who must have cosigned the checkpoint."""


@dataclass(frozen=True, slots=True)
class Link:
    """One thing that was looked at. `name` is what a person calls it, `state` is proved, claimed or broken."""

    step: int
    name: str
    state: str
    message: str

    def __str__(self) -> str:
        return f"{self.step}. {self.name}: {self.state}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found, in order of the steps."""

    links: tuple[Link, ...]
    reference: str = ""
    """What the file says that it is about."""
    found: tuple[str, ...] = ()
    """What it is about, by the names of the graph."""
    named: bool = False
    """Whether the entries call `found` by the name `reference`; else that name is the sealer's word alone."""
    origin: str = ""
    size: int = 0
    key: str = ""
    fingerprint: str = ""
    vouched: bool = False
    """Whether the caller named the key that everything hangs on."""

    @property
    def broken(self) -> tuple[Link, ...]:
        """What is not as it says."""
        return tuple(link for link in self.links if link.state == BROKEN)

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken

    @property
    def held(self) -> bool:
        """Whether the file was held against the checkpoint that the caller kept, if there is one."""
        return all(link.state == PROVED for link in self.links if (link.step, link.name) == (3, KEPT))

    @property
    def shown(self) -> tuple[Link, ...]:
        """The first of what is broken, then of what is only claimed."""
        return tuple(link for state in (BROKEN, CLAIMED) for link in self.links if link.state == state)[:_MOST_SHOWN]

    def count(self, state: str) -> int:
        """How many links are proved, claimed or broken."""
        return sum(link.state == state for link in self.links)

    def to_json(self) -> dict[str, Any]:
        """`{"ok","vouched","held","reference","found","ledger":{…},"proved","claimed","broken","links":[…]}`."""
        return {
            "ok": self.ok,
            "vouched": self.vouched,
            "held": self.held,
            "reference": self.reference,
            "named": self.named,
            "found": list(self.found),
            "ledger": {"origin": self.origin, "size": self.size, "key": self.key, "fingerprint": self.fingerprint},
            **{state: self.count(state) for state in (PROVED, CLAIMED, BROKEN)},
            "links": [
                {"step": link.step, "name": link.name, "state": link.state, "message": link.message}
                for link in self.links
            ],
        }


@dataclass(slots=True)
class Findings:
    """Collects links; a step calls `proved`, `claimed`, `broken`, or runs a check that raises."""

    links: list[Link] = field(default_factory=list)
    tick: Callable[[], None] = lambda: None
    """Called before each piece of work; raises when the time is up."""

    def add(self, step: int, name: str, state: str, message: str) -> None:
        """One more."""
        # What is said of a stranger's file goes to terminals: it holds nothing that steers one.
        self.links.append(Link(step, plain(name[:300]), state, plain(message[:500])))

    def check(self, step: int, name: str, look: Callable[[], str]) -> bool:
        """Proved with what `look` says, or broken with what it raises."""
        self.tick()
        try:
            message = look()
        except (TamperError, EvidenceError, ConfigError, UsageError) as error:
            self.add(step, name, BROKEN, error.message)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            self.add(step, name, BROKEN, f"malformed: {type(error).__name__}")
        else:
            self.add(step, name, PROVED, message)
            return True
        return False


def plain(text: str) -> str:
    """A text of a stranger without what steers a terminal."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
