"""Policies of others in the audit: what they say of every live object; what lives is what they may look up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from customhouse.app.foreign import Foreign, inventory_of
from customhouse.app.governance import Governance
from customhouse.core.decision import Decision, Finding, Point
from customhouse.core.errors import CustomhouseError
from customhouse.core.ports import PolicyEngine
from customhouse.core.resource import Declaration
from customhouse.policy.foreign import EndedError
from customhouse.policy.foreign_findings import ForeignObject, digest_with, folded

_ATTEMPTS = 200
"""Questions asked to find out which objects are the ones that cannot be judged."""
_ENDED = 6
"""Of them, those that may end an engine: each takes as long as is waited for one."""


class ForeignAudit:
    """Judges live objects. Raises PolicyError and ConfigError for policies that cannot be loaded."""

    def __init__(self, governing: Governance, engine: PolicyEngine) -> None:
        self._waivers = governing.waivers
        self._foreign = None if governing.foreign is None else Foreign(governing.foreign, engine)

    def digest_with(self, bundle_digest: str) -> str:
        """The digest of the bundle together with these policies."""
        return bundle_digest if self._foreign is None else digest_with(bundle_digest, self._foreign.policies)

    def judged(
        self, pairs: Sequence[tuple[Decision, Declaration]], scene: Sequence[Declaration], now: datetime
    ) -> list[Decision | str]:
        """Each Decision with what these policies say of its object, in order; or why that could not be told."""
        if self._foreign is None:
            return [decision for decision, _ in pairs]
        objects = [ForeignObject(item.ref, item.manifest, item.location.file) for _, item in pairs]
        found = self._findings(objects, inventory_of(scene))
        policies = self._foreign.policies
        return [
            findings if isinstance(findings, str) else folded(decision, findings, policies, self._waivers, now)
            for (decision, _), findings in zip(pairs, found, strict=True)
        ]

    def _findings(
        self, objects: Sequence[ForeignObject], inventory: Mapping[str, Any]
    ) -> list[tuple[Finding, ...] | str]:
        """All at once; where that fails, by halves, so that one object does not hide the others."""
        assert self._foreign is not None  # noqa: S101 - asked above
        found: list[tuple[Finding, ...] | str] = ["" for _ in objects]
        left, ended, waiting = _ATTEMPTS, _ENDED, [(0, len(objects))]
        while waiting:
            start, end = waiting.pop()
            left -= 1
            try:
                found[start:end] = self._foreign.findings(objects[start:end], point=Point.AUDIT, inventory=inventory)
            except CustomhouseError as error:
                ended -= isinstance(error, EndedError)
                if end - start == 1 or left <= 0 or ended <= 0:
                    found[start:end] = [str(error)] * (end - start)
                    continue
                middle = (start + end) // 2
                waiting += [(middle, end), (start, middle)]
        return found
