"""Whether the branch is protected at its forge: looked at now and then, told when it is not, entered on a change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from customhouse._kit.digest import json_digest
from customhouse.app import journal, wiring
from customhouse.app.forge_settings import ForgeSpec
from customhouse.app.memory import PROTECTION
from customhouse.core.errors import CustomhouseError
from customhouse.core.forge import Forge, Protection

if TYPE_CHECKING:
    from customhouse.app.controlplane import ControlPlane

_RETRY_S = 60.0


def weaknesses(told: Protection, spec: ForgeSpec, *, signed: bool) -> tuple[str, ...]:
    """What the forge lets through that the configuration forbids, in words; empty when the branch is held.

    `signed`: whether customhouse.yaml asks for signed commits. What the forge did not tell is no weakness: it is in
    `told.unknown`, and shown as such.
    """
    branch = told.branch
    if told.protected is False:
        return (f"{branch} is not protected: anybody who may write can push and rewrite it",)
    found = []
    if told.required_reviews is not None and told.required_reviews < spec.required_reviews:
        found.append(f"{branch} asks for {told.required_reviews} reviews, customhouse.yaml for {spec.required_reviews}")
    if spec.code_owners and told.code_owner_reviews is False:
        found.append(f"{branch} can be merged without its code owners")
    if signed and told.signed_commits is False:
        found.append(f"{branch} takes unsigned commits")
    if told.force_push:
        found.append(f"the history of {branch} can be rewritten")
    if told.administrators_bound is False:
        found.append(f"administrators are not bound by the protection of {branch}")
    if told.two_factor is False:
        found.append("the organisation does not demand a second factor")
    return tuple(found)


class ProtectionWatch:
    """Asks the forge in a thread of its own: a forge that hangs delays no rollback. `step` belongs to the loop."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._due = 0.0
        self._asking: threading.Thread | None = None
        self._answer: Protection | CustomhouseError | None = None
        self.problem = ""
        """What is weak, or why it could not be found out; empty when the branch is held."""

    def step(self) -> None:
        """Take in an answer, and ask again when it is due. Raises StateError when the change cannot be entered."""
        if self._asking is not None:
            if not self._asking.is_alive():
                self._asking = None
                self._take_in(self._answer)
            return
        configuration = self._plane.governing().configuration
        spec, now = configuration.forge, self._plane.clock.monotonic()
        if spec is None:
            self.problem = ""
            return
        forge = wiring.forge(self._plane.settings, configuration)
        if now >= self._due and forge is not None:
            self._due = now + spec.check_hours * 3600
            self._asking = threading.Thread(target=self._ask, args=(forge, configuration.branch), daemon=True)
            self._asking.start()

    def _ask(self, forge: Forge, branch: str) -> None:
        try:
            self._answer = forge.protection(branch)
        except CustomhouseError as error:
            self._answer = error

    def _take_in(self, answer: Protection | CustomhouseError | None) -> None:
        plane = self._plane
        configuration = plane.governing().configuration
        if answer is None or configuration.forge is None:
            return
        if isinstance(answer, CustomhouseError):
            self._due = plane.clock.monotonic() + _RETRY_S
            self.problem = f"the protection of the branch could not be read: {answer}"
            return
        weak = weaknesses(answer, configuration.forge, signed=configuration.require_signed_commits)
        self.problem = f"branch protection: {'; '.join(weak)}" if weak else ""
        said = asdict(answer) | {"unknown": list(answer.unknown)}
        before = plane.memory.get(PROTECTION)
        if before is None or before["protection"] != said:
            entry = journal.protection_seen(configuration.forge.repository, said, weak, plane.clock.now())
            document: Mapping[str, Any] = {"protection": said, "weaknesses": list(weak), "digest": json_digest(said)}
            plane.outbox.commit({PROTECTION: document}, [entry])
