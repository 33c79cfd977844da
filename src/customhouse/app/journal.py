"""The journal: what the control plane does, as ledger Entries that carry their part of the custody graph.

Every function gives the Entry of one event. Keys are made of what the event is about, never of when it was written, so
that a process that was killed and repeats itself writes nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import json_digest
from customhouse._kit.money import total
from customhouse.core.application import ReconcilerStatus
from customhouse.core.change import Revision
from customhouse.core.cost import Charge, Usage
from customhouse.core.decision import Decision
from customhouse.core.facts import Facts
from customhouse.core.ledger import Entry
from customhouse.core.proposal import Proposal
from customhouse.core.resource import PREFIX, Declaration, ResourceRef
from customhouse.core.workload import workload
from customhouse.trust.custody import Link, LinkKind, Node, NodeKind, entry

DATASET = PREFIX + "dataset"
ACTOR = "customhouse"
_ARTIFACTS = (NodeKind.MODEL, NodeKind.IMAGE, NodeKind.DATASET, NodeKind.CODE)
_MOST_LINKS = 60
"""Of one entry: with nodes of some 500 bytes and links of 250, half of what an entry may hold."""
_MOST_BYTES = 40_000
_MOST_PODS = 20
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def commit_node(revision: str) -> Node:
    """A commit."""
    return Node(NodeKind.COMMIT, revision, aliases=(revision[:12],))


def deployment_node(ref: ResourceRef, release: str) -> Node:
    """One release of one resource; the resource's name leads to all its releases."""
    name = f"{ref.namespace}/{ref.name}@{release.removeprefix('sha256:')[:12]}"
    return Node(NodeKind.DEPLOYMENT, name, release, aliases=(ref.name, f"{ref.namespace}/{ref.name}", str(ref)))


def run_node(namespace: str, name: str) -> Node:
    """A training run: the Job that Git declares under this name."""
    return Node(NodeKind.TRAINING_RUN, f"{namespace}/{name}", aliases=(name,))


def model_node(digest: str, *names: str) -> Node:
    """A model by its digest."""
    return Node.of(NodeKind.MODEL, digest, *names)


def model_digest(declaration: Declaration) -> str:
    """The digest of the model that a Declaration serves; empty when it serves none."""
    work = workload(declaration.manifest, declaration.ref)
    found = (a.digest for a in work.artifacts if a.role == "model" and a.digest) if work else iter(())
    return next(found, "")


def founded(revision: str, configuration_digest: str, at: datetime) -> Entry:
    """The first revision whose customhouse.yaml is taken as given: the root of every later judgement."""
    body = {"text": "trusted on first use: the governance of this commit", "configuration": configuration_digest}
    return entry("founding", f"founding:{revision}", at, ACTOR, nodes=[commit_node(revision)], body=body)


def judged(revision: Revision, decision: Decision, facts: Facts) -> Iterator[Entry]:
    """The Decision on one Change of a commit, and all that it rests on: artifacts, evidence, bundle, waivers."""
    commit = commit_node(revision.id)
    digest = decision.digest
    made = Node.of(NodeKind.DECISION, digest, time=decision.decided_at)
    nodes, links = [commit, made], [Link.between(commit, made, LinkKind.JUDGED_BY)]
    rests: list[Link] = []
    for artifact in facts.document["artifacts"]:
        if artifact["role"] not in _ARTIFACTS or not artifact["digest"]:
            continue
        thing = Node.of(artifact["role"], artifact["digest"], artifact["reference"][:300])
        nodes.append(thing)
        links.append(Link.between(thing, commit, LinkKind.DECLARED_IN))
        for item in artifact["evidence"]:
            yield _evidence(thing, item, decision.decided_at)
            rests.append(Link(f"{NodeKind.EVIDENCE}:{item['digest']}", made.id, LinkKind.CONSIDERED_IN))
    links.append(Link(f"{NodeKind.POLICY_BUNDLE}:{decision.bundle_digest}", made.id, LinkKind.JUDGED_UNDER))
    waivers = sorted({finding.waiver for finding in decision.findings if finding.waiver})
    rests += [Link(f"{NodeKind.WAIVER}:{name}", made.id, LinkKind.JUDGED_UNDER) for name in waivers]
    # The same commit judged again later (history was moved back to it) is another judgement.
    key = f"decision:{revision.id}:{decision.resource}:{decision.point.value}:{digest[7:19]}"
    fits = len(nodes) + len(links) + len(rests) <= _MOST_LINKS
    yield entry(
        "decision",
        key,
        decision.decided_at,
        revision.author,
        nodes=nodes[:_MOST_LINKS],
        links=[*links[:_MOST_LINKS], *(rests if fits else ())],
        body={**decision_body(decision, digest=digest), "signer": revision.signer},
    )
    more = [] if fits else [*links[_MOST_LINKS:], *rests]
    for number, start in enumerate(range(0, len(more), _MOST_LINKS)):
        body = {"text": f"more that {decision.verdict.value} {decision.resource} rests on"[:1000]}
        part = more[start : start + _MOST_LINKS]
        basis = f"decision-basis:{key.removeprefix('decision:')}:{number}"
        yield entry("decision-basis", basis, decision.decided_at, revision.author, links=part, body=body)


def decision_body(decision: Decision, at: str = "", *, digest: str = "") -> dict[str, Any]:
    """What every Entry of a Decision says of it, wherever it was made; `at` begins the sentence for people.

    `digest` is the Decision's, where it has been worked out already.
    """
    reason = next((finding.message for finding in decision.findings if finding.waiver is None), "every rule is met")
    return {
        "text": f"{at}{decision.verdict.value} {decision.resource}: {reason}"[:1000],
        "verdict": decision.verdict.value,
        "resource": decision.resource.to_json(),
        "decision": digest or decision.digest,
        "facts": decision.facts_digest,
        "bundle": decision.bundle_digest,
        "rules": sorted({finding.rule for finding in decision.findings}),
        "waivers": sorted({finding.waiver for finding in decision.findings if finding.waiver}),
    }


def _evidence(about: Node, item: Mapping[str, Any], at: datetime) -> Entry:
    kind = item["kind"]
    said = Node.of(NodeKind.EVIDENCE, item["digest"], f"{kind}/{about.digest[7:19]}")
    nodes, links = [about, said], [Link.between(about, said, LinkKind.ATTESTED_BY)]
    # Only provenance that verified may say where a model comes from.
    if kind == "provenance" and item["verified"]:
        run = _run_of(item["summary"].get("job"))
        for part in item["summary"].get("materials", ()):
            if part["digest"] and part["name"] in (NodeKind.DATASET, NodeKind.CODE, NodeKind.IMAGE, NodeKind.MODEL):
                source = Node.of(part["name"], part["digest"])
                nodes.append(source)
                links.append(Link.between(source, run or about, LinkKind.INPUT_OF))
        if run is not None:
            nodes.append(run)
            links.append(Link.between(run, about, LinkKind.PRODUCED))
    state = "verified" if item["verified"] else f"not verified: {item['problem']}"
    body = {"text": f"{kind} of {about.digest[7:19]}, {state}"[:500], "signer": item["signer"], "kind": kind}
    # One file may speak of several models, or be laid where it does not belong: each time is an event of its own.
    key = f"evidence:{item['digest']}:{item['verified']}:{about.digest[7:19]}"
    return entry("evidence", key, at, ACTOR, nodes=nodes, links=links, body=body)


def _run_of(job: str | None) -> Node | None:
    """The run that the provenance names. What an annotation says of it is anybody's word."""
    namespace, slash, name = (job or "").partition("/")
    return run_node(namespace, name) if slash and namespace and name else None


def refused(revision: str, author: str, code: str, message: str, at: datetime) -> Entry:
    """A commit that could not be judged: the gate stayed shut."""
    body = {"text": f"could not decide: {message}"[:1000], "code": code}
    return entry("refused", f"refused:{revision}:{code}", at, author, nodes=[commit_node(revision)], body=body)


def protection_seen(repository: str, said: Mapping[str, Any], weak: Sequence[str], at: datetime) -> Entry:
    """How the branch is protected at its forge: the first time, and whenever that changed."""
    text = f"{said['branch']} of {repository}: {'; '.join(weak) or 'held as customhouse.yaml asks'}"
    body = {"text": text[:1000], "protection": dict(said), "weaknesses": list(weak)}
    # The time is part of the key: a protection that is switched off, on and off again is three events.
    return entry("protection", f"protection:{json_digest(body)[7:19]}:{to_rfc3339(at)}", at, ACTOR, nodes=[], body=body)


def deployed(declaration: Declaration, release: str, revision: str, decision: str, at: datetime) -> Entry:
    """A release was handed to the target, on the strength of a Decision."""
    commit, running = commit_node(revision), deployment_node(declaration.ref, release)
    nodes, links = [commit, running], [Link.between(commit, running, LinkKind.SERVED_AS)]
    if decision:
        made = Node.of(NodeKind.DECISION, decision)
        nodes.append(made)
        links.append(Link.between(made, running, LinkKind.ALLOWED))
    digest = model_digest(declaration)
    if digest:
        model = model_node(digest)
        nodes.append(model)
        links.append(Link.between(model, running, LinkKind.SERVED_AS))
    body = {"text": f"{declaration.ref} release {release[7:19]}", "resource": declaration.ref.to_json()}
    key = f"deployment:{revision}:{declaration.ref}:{release}"
    return entry("deployment", key, at, ACTOR, nodes=nodes, links=links, body=body)


def deleted(ref: ResourceRef, revision: str, at: datetime) -> Entry:
    """An object that left Git left the target."""
    body = {"text": f"{ref} removed", "resource": ref.to_json()}
    return entry("removal", f"removal:{revision}:{ref}", at, ACTOR, nodes=[commit_node(revision)], body=body)


def released(ref: ResourceRef, reason: str, revision: str, at: datetime) -> Entry:
    """An object left the declarations and was not deleted, because it is not ours any more."""
    body = {"text": f"{ref} was left in the target: {reason}"[:500]}
    key = f"released:{ref}:{to_rfc3339(at)}"
    return entry("released", key, at, ACTOR, nodes=[commit_node(revision)], body=body)


def undeclared(ref: ResourceRef, uid: str, revision: str, at: datetime) -> Entry:
    """Somebody put an object into a namespace that is declared here."""
    body = {"text": f"{ref} is in a declared namespace and nobody declared it; it is left there"[:500]}
    return entry("drift", f"undeclared:{ref}:{uid}", at, ACTOR, nodes=[commit_node(revision)], body=body)


def job_finished(
    declaration: Declaration, revision: str, status: str, message: str, at: datetime, *, finished: str = ""
) -> Entry:
    """A declared Job ended; a training run when it names its dataset. `finished` tells runs of one manifest apart."""
    run = run_node(declaration.ref.namespace, declaration.ref.name)
    nodes, links = [commit_node(revision), run], [Link.between(commit_node(revision), run, LinkKind.PRODUCED)]
    dataset = declaration.annotation(DATASET)
    if dataset:
        source = Node.of(NodeKind.DATASET, dataset)
        nodes.append(source)
        links.append(Link.between(source, run, LinkKind.INPUT_OF))
    body = {"text": f"{declaration.ref} {status}: {message}"[:500], "manifest": declaration.digest, "status": status}
    key = f"job:{declaration.ref}:{declaration.digest}:{status}:{finished}"
    return entry("training-run", key, at, ACTOR, nodes=nodes, links=links, body=body)


def rolled(ref: ResourceRef, release: str, revision: str, phase: str, text: str, at: datetime) -> Entry:
    """A step of a canary: begun, moved, promoted or rolled back."""
    running = deployment_node(ref, release)
    step = Node(NodeKind.ROLLOUT, f"{running.name}:{phase}", aliases=(phase,))
    body = {"text": f"{ref} {phase}: {text}"[:1000], "phase": phase, "revision": revision}
    links = [Link.between(running, step, LinkKind.ROLLED_OUT_BY)]
    key = f"rollout:{revision}:{ref}:{release}:{phase}"
    return entry("rollout", key, at, ACTOR, nodes=[running, step], links=links, body=body)


def reverted(ref: ResourceRef, bad: str, commit: str, at: datetime) -> Entry:
    """The commit that undoes a release in Git."""
    before, after = commit_node(bad), commit_node(commit)
    body = {"text": f"{ref}: {commit[:12]} reverts {bad[:12]}"}
    links = [Link.between(before, after, LinkKind.REPLACED_BY)]
    return entry("revert", f"revert:{bad}:{ref}", at, ACTOR, nodes=[before, after], links=links, body=body)


def reconciled(ref: ResourceRef, said: ReconcilerStatus, at: datetime, beyond: str = "") -> Entry:
    """What another one that reconciles says of an Application, where that is not what it said before.

    `beyond`: what it did with a commit that was not allowed; empty where it did nothing.
    """
    where = f" at {said.revision[:12]}" if said.revision else ""
    tried = f", tried {said.attempted[:12]}" if said.attempted else ""
    why = f": {said.message}" if said.message else ""
    wrong = f" {beyond}, and" if beyond else ""
    body = {
        "text": f"{said.engine}{wrong} says of {ref}: {said.sync.value}, {said.health}{where}{tried}{why}"[:1000],
        "by": said.engine.value,
        "sync": said.sync.value,
        "health": said.health,
        "revision": said.revision,
        "attempted": said.attempted,
        "at": said.at,
        **({"beyond": beyond} if beyond else {}),
    }
    nodes = [commit_node(said.revision)] if _COMMIT.fullmatch(said.revision) else []
    known = [said.engine.value, said.sync.value, said.health, said.revision, said.attempted, said.at]
    key = f"reconciled:{ref}:{json_digest([*known, beyond] if beyond else known)[7:31]}"
    return entry("reconciled", key, at, ACTOR, nodes=nodes, body=body)


def drifted(
    ref: ResourceRef,
    kind: str,
    fields: Sequence[Mapping[str, Any]],
    revision: str,
    at: datetime,
    *,
    corrected: bool = True,
) -> Entry:
    """The target was found otherwise than declared, and was put right, or is left so."""
    shown = ", ".join(str(item["pointer"]) for item in fields) or "the object"
    by = ", ".join(sorted({str(item["manager"]) for item in fields if item.get("manager")}))
    end = ("corrected" if corrected else "left") + (f"; by {by}" if by else "")
    body = {"text": f"{ref} {kind} ({shown[:300]}), {end}"[:500], "fields": list(fields)[:20]}
    # Drift can come back: unlike a deployment the same drift at another time is another event.
    key = f"drift:{ref}:{to_rfc3339(at)}"
    return entry("drift", key, at, ACTOR, nodes=[commit_node(revision)], body=body)


def charged(charges: Iterable[Charge], start: datetime, end: datetime, run: str = "") -> Iterator[Entry]:
    """Money of one interval, a node per release; `run` names the Job whose own interval it is.

    The first Entry binds all rows by their digest; the nodes that it has no room for (an Entry is 64 KiB at most)
    follow in Entries of the kind `charge-part`.
    """
    by_release: dict[tuple[ResourceRef, str, str], list[Charge]] = {}
    rows = list(charges)
    for charge in rows:
        by_release.setdefault((charge.resource, charge.release, charge.artifact), []).append(charge)
    interval = f"{to_rfc3339(start)}/{to_rfc3339(end)}"
    parts: list[tuple[list[Node], list[Link]]] = [([], [])]
    size = 0
    for (ref, release, artifact), own in by_release.items():
        nodes, links = _charged(ref, release, artifact, own, interval)
        length = sum(400 + len(node.name) for node in nodes) + 300 * len(links)
        if size and size + length > _MOST_BYTES:
            parts.append(([], []))
            size = 0
        parts[-1][0].extend(nodes)
        parts[-1][1].extend(links)
        size += length
    amount = total((charge.amount for charge in rows), "USD")
    body = {
        "text": f"{amount} {amount.currency} for {len(by_release)} releases",
        "rows": rows_digest(rows),
        "labels": labels_digest(rows),
    }
    key = f"charge:{interval}:{run}" if run else f"charge:{interval}"
    for number, (nodes, links) in enumerate(parts):
        if number == 0:
            yield entry("charge", key, end, ACTOR, nodes=nodes, links=links, body=body)
        else:
            said = {"text": f"more releases of {interval}", "of": key}
            yield entry("charge-part", f"{key}:part:{number}", end, ACTOR, nodes=nodes, links=links, body=said)


def _charged(
    ref: ResourceRef, release: str, artifact: str, parts: Sequence[Charge], interval: str
) -> tuple[list[Node], list[Link]]:
    amount = total(charge.amount for charge in parts)
    running = deployment_node(ref, release)
    name = f"{ref.namespace}/{ref.name}@{release[7:19]}:{interval}"
    money = Node(NodeKind.CHARGE, name, aliases=(f"{amount} USD",))
    nodes, links = [running, money], [Link.between(running, money, LinkKind.CHARGED)]
    if artifact:
        nodes.append(model_node(artifact))
        links.append(Link.between(model_node(artifact), running, LinkKind.SERVED_AS))
    return nodes, links


def measured(rows: Iterable[Usage], pods: Mapping[tuple[ResourceRef, str], Sequence[str]]) -> Iterator[Entry]:
    """What ran and what was asked of it in one interval: pods, predictions, usage, each on the way to its charge.

    `pods` are the processes that were seen of a release. Requests are counted, none is named.
    """
    parts: list[tuple[list[Node], list[Link]]] = []
    size, number = 0, 0
    interval = ""
    for row in rows:
        interval = f"{to_rfc3339(row.start)}/{to_rfc3339(row.end)}"
        part = _measured(row, pods.get((row.resource, row.release), ()), interval)
        length = sum(400 + len(node.name) for node in part[0]) + 300 * len(part[1])
        if parts and size + length > _MOST_BYTES:
            yield _usage_entry(parts, interval, number, row.end)
            parts, size, number = [], 0, number + 1
        parts.append(part)
        size += length
        end = row.end
    if parts:
        yield _usage_entry(parts, interval, number, end)


def _measured(row: Usage, pods: Sequence[str], interval: str) -> tuple[list[Node], list[Link]]:
    name = f"{row.resource.namespace}/{row.resource.name}@{row.release[7:19]}"
    running, money = f"{NodeKind.DEPLOYMENT}:{name}", f"{NodeKind.CHARGE}:{name}:{interval}"
    used = Node(
        NodeKind.USAGE,
        f"{name}:{interval}",
        aliases=(f"{row.replica_milliseconds} ms of replicas, {row.cpu_used_microseconds} us of CPU",),
    )
    nodes, links = [used], [Link(used.id, money, LinkKind.CHARGED)]
    before = used
    if row.requests:
        said = f"{row.requests} predictions, {row.errors} errors"
        before = Node(NodeKind.PREDICTIONS, f"{name}:{interval}", aliases=(said,))
        nodes.append(before)
        links.append(Link.between(before, used, LinkKind.MEASURED))
    how = LinkKind.ANSWERED if row.requests else LinkKind.USED
    for pod in pods[:_MOST_PODS]:
        one = Node(NodeKind.POD, f"{row.resource.namespace}/{pod}", aliases=(pod,))
        nodes.append(one)
        links += [Link(running, one.id, LinkKind.RAN_AS), Link.between(one, before, how)]
    if not pods:
        links.append(Link(running, before.id, how))
    return nodes, links


def _usage_entry(parts: Sequence[tuple[list[Node], list[Link]]], interval: str, number: int, at: datetime) -> Entry:
    nodes, links = [node for part in parts for node in part[0]], [link for part in parts for link in part[1]]
    body = {"text": f"what {len(parts)} releases used in {interval}"}
    # The interval of a Job is its own, and another Job may have the same one to the microsecond.
    key = f"usage:{interval}:{json_digest(sorted(node.id for node in nodes))[7:19]}:{number}"
    return entry("usage", key, at, ACTOR, nodes=nodes, links=links, body=body)


def rows_digest(rows: Sequence[Charge]) -> str:
    """What an entry binds of its Charges, in the order they were stored; `app.crosscheck` makes it again."""
    return json_digest(rows_document(rows))


def labels_digest(rows: Sequence[Charge]) -> str:
    """What an entry binds of the labels of its Charges, by which they are shared out; older entries do not."""
    return json_digest([dict(row.labels) for row in rows])


def rows_document(rows: Sequence[Charge]) -> list[Any]:
    """What that digest is made of; a custody export takes it along."""
    return [
        [str(row.resource), row.release, to_rfc3339(row.start), to_rfc3339(row.end), row.category, str(row.amount)]
        for row in rows
    ]


def proposed(proposal: Proposal, branch: str, commit: str, at: datetime) -> Entry:
    """The optimiser wrote a branch."""
    node = Node(NodeKind.PROPOSAL, proposal.id, aliases=(branch,))
    body = {"text": f"{proposal.title} on {branch}", "saving": str(proposal.saving), "risk": proposal.risk}
    links = [Link.between(node, commit_node(commit), LinkKind.PROPOSED)]
    key = f"proposal:{proposal.id}"
    return entry("proposal", key, at, "optimiser", nodes=[node, commit_node(commit)], links=links, body=body)
