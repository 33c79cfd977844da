"""Releases on their way: the document of one that is not promoted yet, and the records that it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from customhouse.app import journal
from customhouse.app.memory import ref_of
from customhouse.app.rollout_kinds import walked_release
from customhouse.core.change import Revision
from customhouse.core.decision import Decision
from customhouse.core.errors import DeclarationError
from customhouse.core.ledger import Entry
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import Declaration
from customhouse.execution.objects import job_run, release_of


def release_name(declaration: Declaration) -> str:
    """The digest that names what runs, as the target's Observations name it."""
    if declaration.ref.kind == "InferenceService":
        return release_of(declaration.manifest)
    if declaration.ref.kind == "Job":
        try:
            return job_run(declaration.manifest).digest
        except DeclarationError:
            return declaration.digest  # a cluster runs every form of Job; the local target refuses it itself
    return walked_release(declaration.manifest) or declaration.digest


def require_local(declaration: Declaration) -> None:
    """Raise DeclarationError for a Job that the local target cannot run: its commit is refused, by its name."""
    if declaration.ref.kind == "Job":
        job_run(declaration.manifest)


def pending(declaration: Declaration, commit: str, revision: Revision | None, decision: Decision) -> dict[str, Any]:
    """The document of a release that was allowed; `noted`: its deployment is in the ledger."""
    return {
        "resource": declaration.ref.stored(),
        "release": release_name(declaration),
        "revision": commit,
        "author": "" if revision is None else revision.author,
        "artifact": journal.model_digest(declaration),
        "verdict": decision.verdict.value,
        "decision": decision.digest,
        "noted": False,
        "walked": walked_release(declaration.manifest) is not None,
    }


def concluded(value: Mapping[str, Any], phase: RolloutPhase, reason: str, now: datetime) -> tuple[Release, list[Entry]]:
    """What is recorded when a pending release is promoted or rolled back; only services are in the ledger by phase."""
    ref = ref_of(value["resource"])
    record = Release(
        resource=ref,
        release=value["release"],
        revision=value["revision"],
        author=value["author"],
        artifact=value["artifact"],
        verdict=value["verdict"],
        decision=value["decision"],
        phase=phase,
        at=now,
        reason=reason,
    )
    if ref.kind not in ("InferenceService", "Rollout") and not value.get("walked", False):
        return record, []
    entry = journal.rolled(ref, value["release"], value["revision"], phase.value, reason or "healthy", now)
    return record, [entry]


def replaced(value: Mapping[str, Any], commit: str, now: datetime) -> tuple[Release, Entry]:
    """A release that a later commit replaced before it was promoted."""
    reason = f"replaced by {commit[:12]} before it was promoted"
    record, _ = concluded(value, RolloutPhase.ROLLED_BACK, reason, now)
    entry = journal.rolled(record.resource, record.release, record.revision, "replaced", reason, now)
    return record, entry
