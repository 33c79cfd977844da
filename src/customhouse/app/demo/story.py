"""The demo's story as it is played: each step is carried out for real, checked and timed.

What the steps do is in the modules `story_*`, their order in `script`. Here is what they share: waiting for something
to be there, the gate, merging, counting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from customhouse._kit.clock import SystemClock
from customhouse.app.clearance import Judgement
from customhouse.app.controlplane import ControlPlane
from customhouse.app.demo.traffic import Traffic
from customhouse.app.demo.workspace import NAMESPACE, Workspace
from customhouse.app.gatekeeping import GateRequest, judge
from customhouse.app.up import LiveBoard
from customhouse.core.decision import Verdict
from customhouse.core.errors import CustomhouseError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import ResourceRef

T = TypeVar("T")
SERVICE = ResourceRef("serving.kserve.io/v1beta1", "InferenceService", NAMESPACE, "fraud-detection")
_PATIENCE_S = 180.0
"""On a machine with nothing else to do nothing takes 15 s; one that is busy may be slow and still be right."""


class StepFailedError(CustomhouseError):
    """A step of the story did not come out as it must; the message says what was seen."""

    code = "CH050"
    exit_status = 70


@dataclass(frozen=True, slots=True)
class Step:
    """One step as it went."""

    name: str
    ok: bool
    seconds: float
    detail: str


@dataclass(slots=True)
class Story:
    """Plays steps on a workspace. `tell` is called when a step begins (None) and when it has ended."""

    space: Workspace
    plane: ControlPlane
    live: LiveBoard
    tell: Callable[[str, Step | None], None]
    steps: list[Step] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    """What later steps need of earlier ones: model digests by version, the proposal's branch."""
    traffic: Traffic | None = None
    clock: SystemClock = field(default_factory=SystemClock)
    pulse: threading.Event = field(default_factory=threading.Event)

    def play(self, script: Sequence[tuple[str, Callable[[Story], str]]]) -> bool:
        """Every step in order; stops at the first that fails. A step gives its detail or raises StepFailedError."""
        with self._traffic():
            return all(self._play(name, act) for name, act in script)

    def _play(self, name: str, act: Callable[[Story], str]) -> bool:
        self.tell(name, None)
        begun = self.clock.monotonic()
        try:
            detail, ok = act(self), True
        except CustomhouseError as error:
            detail, ok = str(error), False
        step = Step(name, ok, round(self.clock.monotonic() - begun, 3), detail)
        self.steps.append(step)
        self.tell(name, step)
        return ok

    @contextmanager
    def _traffic(self) -> Iterator[None]:
        """Ends the load generator, whenever it was begun."""
        try:
            yield
        finally:
            if self.traffic is not None:
                self.traffic.__exit__(None, None, None)

    def gate(self, branch: str) -> Judgement:
        """The gate at the pull request: the branch against main, by main's rules."""
        ada = self.space.ada
        ada.git("fetch", "-q", "origin")
        return judge(self.space.settings, GateRequest(str(ada.clone), base="origin/main", head=f"origin/{branch}"))

    def reasons(self, judgement: Judgement) -> str:
        """What the gate says, and why."""
        found = self._messages(judgement)
        return f"{judgement.verdict.value}: {' | '.join(found)}"

    def gate_allows(self, branch: str) -> str:
        """It must be allowed."""
        judgement = self.gate(branch)
        self.check(judgement.verdict is Verdict.ALLOW, f"the gate says {self.reasons(judgement)}")
        cost = judgement.cost
        return f"allow; {cost.after.rounded()} {cost.currency} a month, {cost.low.rounded()} to {cost.high.rounded()}"

    def gate_denies(self, branch: str, *words: str) -> str:
        """It must be denied, with findings that speak of these words."""
        judgement = self.gate(branch)
        self.check(judgement.verdict is Verdict.DENY, f"the gate says {judgement.verdict.value}")
        found = [f"{finding.rule}: {finding.message}" for d in judgement.decisions for finding in d.findings]
        for word in words:
            self.check(any(word in text for text in found), f"no finding about {word!r}: {found}")
        about = self._messages(judgement, *words)
        return f"deny: {' | '.join([*about, *(text for text in self._messages(judgement) if text not in about)])}"

    @staticmethod
    def _messages(judgement: Judgement, *words: str) -> list[str]:
        """What was found and not waived; with words only what speaks of one of them."""
        found = [f for d in judgement.decisions for f in d.findings if f.waiver is None]
        return [f.message for f in found if not words or any(word in f"{f.rule}: {f.message}" for word in words)]

    def merge(self, branch: str) -> str:
        """Merge a branch of the remote into main, as a person with a signing key does; the new head."""
        ada = self.space.ada
        ada.git("fetch", "-q", "origin")
        ada.git("checkout", "-q", "-B", "main", "origin/main")
        ada.git("merge", "-q", *(["-S"] if self.space.signs else []), "-m", f"Merge {branch}", f"origin/{branch}")
        ada.push("main")
        return ada.git("rev-parse", "HEAD").strip()

    def promoted(self, version: str) -> Release:
        """Wait until the release of a version has all of the traffic."""
        digest = self.digests[version]

        def found() -> Release | None:
            return next(
                (
                    item
                    for item in self.plane.store.releases.history(SERVICE.name)
                    if item.artifact == digest and item.phase is RolloutPhase.PROMOTED
                ),
                None,
            )

        return self.until(found, f"{version} was not promoted")

    def counts(self) -> str:
        """What the load generator has counted so far."""
        tally = self.traffic.snapshot() if self.traffic else None
        return "" if tally is None else f"{tally.sent} requests, {tally.failed} failed"

    def until(self, look: Callable[[], T | None], failure: str) -> T:
        """Wait for something to be there; every look is real, nothing is waited for longer than it takes."""
        deadline = self.clock.monotonic() + _PATIENCE_S
        while True:
            found = look()
            if found is not None and found is not False:
                return found
            if self.clock.monotonic() > deadline:
                raise StepFailedError(f"{failure} within {_PATIENCE_S:g} s", hint=self.live.overview().problem)
            self.plane.wake()
            self.pulse.wait(0.05)

    def check(self, condition: bool, failure: str) -> None:
        """Raise StepFailedError with what was seen unless `condition` holds."""
        if not condition:
            raise StepFailedError(failure)
