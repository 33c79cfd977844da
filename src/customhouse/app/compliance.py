"""`customhouse report compliance`: which controls the evidence of one release meets, and what is missing.

Read are the release's Decision with the Facts that it judged, the entries of the ledger that its trace leads to (each
proved), the ledger itself (verified now), and the history of the workload. What is met names what can be looked up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring
from customhouse.app.artifact_sign import sign
from customhouse.app.compliance_files import frameworks, statements
from customhouse.app.custody import Asked, traced
from customhouse.app.journal import deployment_node
from customhouse.app.ledger_verifying import verify_ledger
from customhouse.app.model_signing import By
from customhouse.app.settings import Settings
from customhouse.app.wholefile import write_whole
from customhouse.core.compliance import Framework, Judged, Proof, Said, State, judge
from customhouse.core.errors import StateError, UsageError
from customhouse.core.release import Release, RolloutPhase
from customhouse.core.resource import PREFIX

SCHEMA = "customhouse.dev/compliance/v1"
DISCLAIMER = (
    "This report says which evidence there is for a release. Whether that satisfies a law or a standard is for people "
    "to judge who know both; it is no legal advice and no certificate."
)
_ROLES = {"data-validation": ("dataset",), "vulnerabilities": ("model", "image"), "vex": ("model", "image")}
_SECRETS = ("secret-", "personal-data-")
_ITS_OWN = ("deployment", "rollout", "usage", "charge")
"""Entries that count when they are about this release, and not about a Job that its commit declares too."""
_MOST_PROOFS = 5
_HISTORY = 500

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is reported. `release` begins a release's digest, or names a workload (its newest release)."""

    release: str
    names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    statements: str | None = None


def report(settings: Settings, wanted: Wanted, progress: Progress | None = None) -> dict[str, Any]:
    """The report as a document (docs/compliance.md). Raises UsageError, ConfigError, StateError, TamperError."""
    chosen = frameworks(wanted.files, wanted.names)
    spoken, checks, digest = statements(wanted.statements)
    now = wiring.clock().now()
    release, earlier = _release(settings, wanted.release)
    facts, decision = _judgement(settings, release)
    verified = verify_ledger(settings, progress)
    today = now.date()
    known = [
        *_of_decision(release, decision, facts),
        *_of_facts(release, facts),
        *_of_trace(settings, release),
        *_of_history(release, earlier),
        *(item for item in checks if item.fields["until"] >= today),
    ]
    if verified.ok:
        said = f"{verified.size} entries verified, root {verified.root.hex()[:16]}…"
        known.append(Said("ledger", "verified", {}, Proof("ledger", verified.root.hex(), said)))
    judged = [(item, judge(item, known, spoken.get(item.id, ()), today)) for item in chosen]
    return {
        "schema": SCHEMA,
        "as_of": to_rfc3339(now),
        "disclaimer": DISCLAIMER,
        "release": _release_json(release),
        "decided_at": decision["envelope"].get("decided_at", ""),
        "ledger": {
            "size": verified.size,
            "root": verified.root.hex(),
            "verified": verified.ok,
            "problems": [str(problem) for problem in verified.problems[:_MOST_PROOFS]],
        },
        "statements": {"file": wanted.statements, "digest": digest} if wanted.statements else None,
        "unknown_controls": _strangers(chosen, spoken),
        "frameworks": [_framework_json(item, results) for item, results in judged],
        "not_looked_at": [
            "Evidence is as the Decision had it that let the release in; it was not fetched and verified anew.",
            "Statements of owners are taken as they stand in their file; what they say was not checked.",
            "Entries that reached the ledger after its last checkpoint are not in the trace.",
        ],
    }


def outcome(document: Mapping[str, Any]) -> dict[str, int]:
    """How many controls stand how, over all frameworks."""
    states = [control["state"] for item in document["frameworks"] for control in item["controls"]]
    return {state.value: states.count(state.value) for state in State}


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """The JSON as it is written and signed."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def digest_of(document: Mapping[str, Any]) -> str:
    """The digest of that JSON."""
    return bytes_digest(to_bytes(document))


def written(document: Mapping[str, Any], page: bytes, folder: Path, key: str | None) -> tuple[str, str | None]:
    """Write `compliance.json` and `compliance.html`; with a key the bundle beside the JSON. The places of both.

    Raises StateError when it cannot be written, ConfigError for a key that cannot be read.
    """
    place = folder / "compliance.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(place, to_bytes(document))
        write_whole(folder / "compliance.html", page)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    if key is None:
        return str(place), None
    return str(place), sign(str(place), By(key=key), None)["bundle"]


def _release(settings: Settings, asked: str) -> tuple[Release, Sequence[Release]]:
    with wiring.store(settings, create=False) as opened:
        everything = opened.releases.history(None, _HISTORY)
    prefix = asked.removeprefix("sha256:").lower()
    by_digest = [r for r in everything if len(prefix) >= 8 and r.release.removeprefix("sha256:").startswith(prefix)]
    names = [r for r in everything if asked in (r.resource.name, f"{r.resource.namespace}/{r.resource.name}")]
    found = by_digest or [r for r in names if r.phase is RolloutPhase.PROMOTED] or names
    if len({r.resource for r in found}) > 1:
        listed = ", ".join(sorted({f"{r.resource.kind} {r.resource.namespace}/{r.resource.name}" for r in found})[:5])
        raise UsageError(
            f"{asked!r} means several workloads: {listed}", hint="write NAMESPACE/NAME, or a release's digest"
        )
    if not found:
        raise UsageError(f"there is no release {asked!r}", hint="customhouse history lists them")
    chosen = max(found, key=lambda item: item.at)
    return chosen, [r for r in everything if r.resource == chosen.resource and r.at < chosen.at]


def _judgement(settings: Settings, release: Release) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The Facts and the Decision of a release, as the commit that declares it was judged."""
    with wiring.store(settings, create=False) as opened:
        found = opened.decisions.find(release.decision) if release.decision else ()
    ours = [item for item in found if item["envelope"]["revision"] == release.revision] or list(found)
    if not ours:
        raise UsageError(f"no Decision is kept of the release {release.release}", hint="name one that was let in here")
    return ours[0]["facts"], ours[0]


def _of_decision(release: Release, decision: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[Said]:
    proof = Proof("decision", release.decision, f"{release.verdict}, bundle {decision['body']['bundle_digest'][:19]}…")
    if release.verdict in ("allow", "warn"):
        yield Said("decision", "allowed", {"verdict": release.verdict}, proof)
    none = Proof("decision", release.decision, "the Decision about this workload has no open finding of that kind")
    open_ones = [item for item in decision["body"]["findings"] if not item.get("waiver")]
    for category in ("security", "cost", "reliability", "compliance"):
        if not any(item["category"] == category for item in open_ones):
            yield Said("no-findings", category, {}, none)
    if not any(item["rule"].startswith(_SECRETS) for item in open_ones):
        yield Said("no-findings", "secrets", {}, none)
    revision = facts.get("revision") or {}
    if release.revision:
        yield Said("commit", "named", {}, Proof("commit", release.revision, f"by {release.author}"))
    if revision.get("signature") == "verified":
        said = f"signed by {revision.get('signer')}, verified under the keys of the commit before"
        yield Said("commit", "signed", {}, Proof("commit", release.revision, said))
    reviewers = revision.get("reviewers") or (facts.get("review") or {}).get("approvers") or ()
    if reviewers:
        yield Said("commit", "reviewed", {}, Proof("commit", release.revision, f"reviewed by {', '.join(reviewers)}"))


def _of_facts(release: Release, facts: Mapping[str, Any]) -> Iterator[Said]:
    for artifact in facts.get("artifacts") or ():
        for item in artifact.get("evidence") or ():
            if item["verified"] and artifact["role"] in _ROLES.get(item["kind"], ("model",)):
                said = f"{item['kind']} of the {artifact['role']} {str(artifact['digest'])[:19]}…, by {item['signer']}"
                fields = _fields(item.get("summary") or {})
                yield Said("evidence", item["kind"], fields, Proof("evidence", item["digest"], said))
    digest = f"decision {release.decision[:19]}…"
    after = (facts.get("change") or {}).get("after") or {}
    labels = after.get("labels") or {}
    if (facts.get("surroundings") or {}).get("metrics"):
        yield Said("facts", "metrics", {}, Proof("facts", digest, "something scrapes the workload"))
    walls = (facts.get("surroundings") or {}).get("default_deny") or {}
    if walls.get("ingress") and walls.get("egress"):
        said = "NetworkPolicies refuse what is not allowed, in and out"
        yield Said("facts", "default-deny", {}, Proof("facts", digest, said))
    if team := labels.get(f"{PREFIX}team"):
        yield Said("facts", "owner", {}, Proof("facts", digest, f"{PREFIX}team: {team}"))
    if facts.get("budgets"):
        said = f"{len(facts['budgets'])} budget(s) hold for it"
        yield Said("facts", "budget", {}, Proof("facts", digest, said))


def _fields(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What `where` may ask for: plain values and lists of words of the summary, and the names of the materials."""
    found = {k: v for k, v in summary.items() if isinstance(v, (str, bool, int, list))}
    materials = [item["name"] for item in summary.get("materials") or () if isinstance(item, Mapping)]
    return {**found, "material": materials}


def _of_trace(settings: Settings, release: Release) -> Iterator[Said]:
    node = deployment_node(release.resource, release.release)
    try:
        trace = traced(settings, Asked(node.id))
    except UsageError:
        return  # refused before it was deployed: nothing came of it
    counted: dict[str, int] = {}
    for receipt, entry in trace.proofs:
        kind = entry.kind
        if kind in _ITS_OWN and node.id not in entry.subjects:
            continue
        counted[kind] = counted.get(kind, 0) + 1
        if counted[kind] <= _MOST_PROOFS:
            said = str(entry.body.get("text", entry.kind))[:300]
            yield Said("entry", kind, {}, Proof("entry", str(receipt.index), said))


def _of_history(release: Release, earlier: Iterable[Release]) -> Iterator[Said]:
    before = [r for r in earlier if r.phase is RolloutPhase.PROMOTED and r.release != release.release]
    if before:
        last = max(before, key=lambda item: item.at)
        said = f"release {last.release[7:19]} of {to_rfc3339(last.at)} served before, and can again"
        yield Said("rollback", "possible", {}, Proof("release", last.release, said))


def _strangers(chosen: Sequence[Framework], spoken: Mapping[str, Sequence[Any]]) -> list[str]:
    """Controls that somebody states something of and that no framework of this report has."""
    known = {item.id: {control.id for control in item.controls} for item in chosen}
    return sorted(
        f"{name} {word.control}"
        for name, words in spoken.items()
        if name in known
        for word in words
        if word.control not in known[name]
    )


def _release_json(release: Release) -> dict[str, Any]:
    return {
        "resource": release.resource.to_json(),
        "release": release.release,
        "revision": release.revision,
        "author": release.author,
        "artifact": release.artifact,
        "verdict": release.verdict,
        "decision": release.decision,
        "phase": release.phase.value,
        "at": to_rfc3339(release.at),
    }


def _framework_json(item: Framework, results: Sequence[Judged]) -> dict[str, Any]:
    states = [result.state for result in results]
    return {
        "id": item.id,
        "title": item.title,
        "text": item.text,
        "url": item.url,
        "mapping": item.digest,
        "summary": {state.value: states.count(state) for state in State},
        "controls": [result.to_json() for result in results],
    }
