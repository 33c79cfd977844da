"""What a person who was denied reads in the API server's answer: every reason, its fix, and where to ask further."""

from __future__ import annotations

from customhouse.core.change import Change
from customhouse.core.decision import Decision, Severity
from customhouse.core.errors import CannotDecideError
from customhouse.core.evidence import ArtifactRef
from customhouse.policy.explain import plain, verdict_text
from customhouse.trust.attestation import FOLDER

_MOST = 20


def denial_text(decision: Decision, digest: str = "") -> str:
    """The message of a refusal: to the byte what `customhouse explain` says of the same Decision."""
    return verdict_text(str(decision.resource), decision.body(), digest or decision.digest)


def warnings_of(decision: Decision) -> tuple[str, ...]:
    """One line for each unwaived warning; kubectl prints them."""
    shown = [item for item in decision.findings if item.waiver is None and item.severity is Severity.WARNING][:_MOST]
    return tuple([f"{item.rule}: {plain(item.message)} Fix: {plain(item.fix)}" for item in shown])


def not_filed(artifact: ArtifactRef, change: Change) -> CannotDecideError:
    """What is said where nothing is known of an artifact: registries are not asked while a request waits."""
    return CannotDecideError(
        f"nothing is filed here about {artifact.digest}",
        where=str(change.ref),
        hint=f"commit its evidence below {FOLDER}/, or, for what is in a registry, run `customhouse image evidence "
        "--index`; the webhook looks nowhere else while a request waits",
    )
