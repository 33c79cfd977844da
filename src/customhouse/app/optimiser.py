"""The optimiser beside the control plane: looks at usage now and then, and writes proposals as far as it may."""

from __future__ import annotations

from customhouse.app import journal, proposals
from customhouse.app.controlplane import ControlPlane
from customhouse.app.memory import PROPOSAL, ref_of
from customhouse.app.proposals import Written


class Optimiser:
    """One per control plane; called by its thread."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._due = 0.0

    def step(self) -> tuple[Written, ...]:
        """Look again when a window has passed. While a canary runs nothing is proposed: its usage is not normal."""
        configuration = self._plane.governing().configuration
        now = self._plane.clock.monotonic()
        if now < self._due or configuration.autonomy != "propose" or self._plane.rollouts.walks():
            return ()
        self._due = now + configuration.window_seconds
        return self.propose()

    def propose(self) -> tuple[Written, ...]:
        """Write every recommendation that is not written yet to a branch of its own.

        Raises PushRejectedError and what reading the repository raises.
        """
        plane = self._plane
        deployed = plane.memory.deployed
        if deployed is None or plane.head != deployed.revision:
            return ()  # a head that is denied is no base for a proposal
        governing, declared = plane.governing(), plane.declared()
        configuration = governing.configuration
        since = proposals.horizon(plane.clock, configuration.window_seconds, configuration.minimum_windows)
        by_ref = {declaration.ref: declaration for declaration in declared}
        waiting = proposals.open_proposals(plane.memory.all(PROPOSAL), declared)
        # One open proposal a subject: a second one would only argue with the first. One that fell behind the deployed
        # revision is written anew on top of it.
        open_subjects = {ref_of(value["resource"]) for value in waiting if value["base"] == deployed.revision}
        written = []
        for asked in proposals.recommendations(governing, declared, plane.store.measurements, since):
            key = f"{PROPOSAL}{asked.id}"
            if asked.subject in open_subjects:
                continue
            done = proposals.write(plane.source, deployed.revision, by_ref[asked.subject], asked, plane.signing_key)
            plane.memory.put({key: done.to_json()})
            plane.append([journal.proposed(asked, done.branch, done.commit, plane.clock.now())])
            written.append(done)
        return tuple(written)
