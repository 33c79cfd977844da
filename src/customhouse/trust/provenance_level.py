"""The SLSA Build level of provenance, and which level a builder of ours may claim.

Source: https://slsa.dev/spec/v1.1/levels and /verifying-artifacts. In short:

* L1: there is provenance that says how the artifact was built. It may be wrong, and anybody may have written it.
* L2: a hosted platform made it and signed it itself, so that after the build nobody can change it.
* L3: the platform is hardened: runs cannot influence one another, and what runs in a build cannot reach the key that
  signs the provenance. Whoever controls the build steps cannot forge it.

A level is never read off the provenance. It is what reviewed configuration says of the builder, and counts only when
the provenance verifies, names that builder, and is signed by somebody who signs for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from customhouse.trust.provenance_patterns import matches

LOCAL_TARGET = "https://customhouse.dev/builders/local-target"
"""Jobs as child processes of the account that holds the keys; provenance signed by whoever attests."""
OWN = "https://customhouse.dev/builders/"
CEILINGS: Mapping[str, tuple[int, str]] = {
    LOCAL_TARGET: (
        1,
        "its Jobs run under the account that signs, so that a Job could read the key and write any provenance",
    ),
}
"""What builders of ours can claim at most, with the reason. No configuration may say more."""
MEANINGS: Mapping[int, str] = {
    0: "no provenance that can be believed",
    1: "provenance exists; the builder is not one that it is vouched for",
    2: "a hosted builder made and signed it",
    3: "a hardened builder made and signed it: not even its build steps can forge it",
}


@dataclass(frozen=True, slots=True)
class Builder:
    """A builder as customhouse.yaml declares it. `identifier` is a pattern, `place` is where that is written."""

    identifier: str
    level: int
    signers: tuple[str, ...]
    place: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A level with the reason, and the declared Builder that it rests on."""

    number: int
    reason: str
    builder: Builder | None = None


def ceiling(identifier: str) -> tuple[int, str]:
    """The most that may be claimed for a builder, and why. Builders of others: 3, which is a matter of review."""
    if identifier in CEILINGS:
        return CEILINGS[identifier]
    if identifier.startswith(OWN):
        return 1, "it is no builder of Customhouse that was measured against the levels"
    return 3, ""


def level_of(builder: str, signer: str | None, *, verified: bool, problem: str, declared: Sequence[Builder]) -> Level:
    """The level of one statement.

    1. it verifies; 2. its builder is declared; 3. its signer signs for that builder; 4. what is declared, not above
    what the builder can claim.
    """
    # 1.
    if not verified:
        return Level(0, f"{MEANINGS[0]}: {problem or 'it does not verify'}")
    # 2.
    named = [item for item in declared if matches(item.identifier, builder)]
    if not named:
        return Level(1, f"no builder declared under provenance.builders is {builder[:200]}")
    # 3.
    signed = [item for item in named if signer in item.signers]
    if not signed:
        who = " or ".join(dict.fromkeys(name for item in named for name in item.signers))
        return Level(1, f"signed by {signer}, who does not sign for {builder[:200]} ({who} does)", None)
    # 4.
    best = max(signed, key=lambda item: item.level)
    most, why = ceiling(builder)
    if best.level > most:
        return Level(most, f"{builder} reaches {most} at most: {why}", best)
    return Level(best.level, f"declared at {best.place or best.identifier}", best)
