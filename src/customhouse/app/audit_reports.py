"""What an audit says, as objects of the cluster and as metrics.

PolicyReport and ClusterPolicyReport (wgpolicyk8s.io/v1alpha2, the format of the Kubernetes policy working group) hold
the findings of a namespace, or of what has none, in parts of bounded size. They are written by server-side apply
without force, so that another tool's report of the same name stays as it is; what is no longer needed is deleted only
when it has our label and our field manager, by its uid and version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse._kit.clock import to_rfc3339
from customhouse.app.audit import Audited, AuditReport
from customhouse.core.cluster import Apply, Cluster, Delete, Written
from customhouse.core.decision import Finding, Severity
from customhouse.core.errors import TargetError
from customhouse.core.resource import PREFIX, ResourceRef

GROUP = "wgpolicyk8s.io"
API_VERSION = f"{GROUP}/v1alpha2"
NAMESPACED, CLUSTER = "PolicyReport", "ClusterPolicyReport"
NAME = "customhouse-audit"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "customhouse"
AUDITED_AT = PREFIX + "audited-at"
MAX_BYTES = 768 * 1024
"""Bytes of one report: etcd takes 1.5 MB of request, and managed fields come on top."""
MAX_PARTS = 16
"""Reports a namespace; what is beyond them is counted in the summary and said, so that etcd does not fill up."""
MAX_MESSAGE = 2000
_RESULTS = {Severity.ERROR: "fail", Severity.WARNING: "warn", Severity.NOTE: "pass"}
_SEVERITIES = {Severity.ERROR: "high", Severity.WARNING: "medium", Severity.NOTE: "info"}
_COUNTED = ("pass", "fail", "warn", "error", "skip")


@dataclass(frozen=True, slots=True)
class Published:
    """How many reports were written and removed, and what could not be."""

    written: int
    removed: int
    problems: tuple[str, ...]


def policy_reports(report: AuditReport) -> tuple[dict[str, Any], ...]:
    """The reports of an audit, in order of namespace and part. Every namespace that was judged has at least one."""
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    clean: dict[str, int] = defaultdict(int)
    for item in report.audited:
        ref = item.decision.resource
        rows = [_result(finding, item) for finding in item.decision.findings]
        shown = [row for row in rows if row is not None]
        results[ref.namespace].extend(shown)
        clean[ref.namespace] += not any(row["result"] in ("fail", "warn") for row in shown)
    for problem in report.undecided:
        results[problem.resource.namespace].append(_error(problem.resource, problem.problem))
    made: list[dict[str, Any]] = []
    for namespace in sorted(results):
        made.extend(_parts(namespace, results[namespace], clean[namespace], to_rfc3339(report.at)))
    return tuple(made)


def _result(finding: Finding, item: Audited) -> dict[str, Any] | None:
    if finding.severity is Severity.NOTE:
        return None
    row: dict[str, Any] = {
        "source": MANAGER,
        "policy": finding.rule,
        "rule": finding.rule,
        "category": finding.category.value,
        "severity": _SEVERITIES[finding.severity],
        "result": "skip" if finding.waiver else _RESULTS[finding.severity],
        "scored": finding.waiver is None,
        "message": finding.message[:MAX_MESSAGE],
        "resources": [_resource(finding.resource, item.uid)],
        "properties": {"fix": finding.fix[:MAX_MESSAGE], "decision": item.decision.digest, "way": item.way},
    }
    if finding.pointer:
        row["properties"]["pointer"] = finding.pointer[:500]
    if finding.waiver:
        row["properties"]["waiver"] = finding.waiver
    if item.owner is not None:
        row["properties"]["owner"] = str(item.owner)
    return row


def _error(ref: ResourceRef, problem: str) -> dict[str, Any]:
    return {
        "source": MANAGER,
        "policy": "could-not-decide",
        "severity": "high",
        "result": "error",
        "scored": False,
        "message": problem[:MAX_MESSAGE],
        "resources": [_resource(ref, "")],
    }


def _resource(ref: ResourceRef, uid: str) -> dict[str, str]:
    place = {"namespace": ref.namespace} if ref.namespace else {}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "name": ref.name, **place, **({"uid": uid} if uid else {})}


def _parts(namespace: str, results: Sequence[dict[str, Any]], clean: int, at: str) -> Iterator[dict[str, Any]]:
    """Several reports where one would be too large; the first counts the objects without a finding as passes."""
    groups: list[list[dict[str, Any]]] = [[]]
    size = 0
    for row in results:
        length = len(canonical_json(row)) + 1
        if size + length > MAX_BYTES and groups[-1]:
            groups.append([])
            size = 0
        groups[-1].append(row)
        size += length
    left_out = [row for group in groups[MAX_PARTS:] for row in group]
    for index, group in enumerate(groups[:MAX_PARTS]):
        rows = group
        if left_out and index == MAX_PARTS - 1:
            said = f"{len(left_out)} more findings are not listed here: run `customhouse audit`"
            rows = [*group, {"source": MANAGER, "policy": "not-listed", "result": "error", "message": said}]
        summary = {name: sum(row["result"] == name for row in rows) for name in _COUNTED}
        summary["pass"] += clean if index == 0 else 0
        kind = NAMESPACED if namespace else CLUSTER
        yield {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {
                "name": NAME if index == 0 else f"{NAME}-{index + 1}",
                **({"namespace": namespace} if namespace else {}),
                "labels": {MANAGED_BY: MANAGER},
                "annotations": {AUDITED_AT: at},
            },
            "results": rows,
            "summary": summary,
        }


def publish(cluster: Cluster, report: AuditReport) -> Published:
    """Write the reports of an audit, then remove ours that it no longer has.

    After an audit that is not complete nothing is removed: what was not seen may still be there. Raises TargetError
    when the API is out of reach or does not know the kind.
    """
    kinds = {kind.kind: kind for kind in cluster.discover().kinds if kind.group == GROUP}
    if NAMESPACED not in kinds or CLUSTER not in kinds or kinds[NAMESPACED].api_version != API_VERSION:
        raise TargetError(
            f"the cluster does not serve {NAMESPACED} and {CLUSTER} of {API_VERSION}",
            hint="apply the definitions of the policy working group (wgpolicyk8s.io), or leave --report out",
        )
    wanted = policy_reports(report)
    written = cluster.write([Apply(item) for item in wanted])
    problems = [
        f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}: {done.problem}"
        for item, done in zip(wanted, written, strict=True)
        if not done.ok and not _leaving(done)
    ]
    removed = 0
    if report.complete:
        keep = {ResourceRef.of(item, "") for item in wanted}
        stale = [*_stale(cluster, [kinds[NAMESPACED], kinds[CLUSTER]], keep, problems)]
        gone = cluster.write(stale)
        removed = sum(done.ok for done in gone)
        problems += [f"{item.ref}: {done.problem}" for item, done in zip(stale, gone, strict=True) if not done.ok]
    return Published(sum(done.ok for done in written), removed, tuple(problems))


def _leaving(done: Written) -> bool:
    """Whether the namespace went away while it was audited: it needs no report any more."""
    gone = done.reason == "NotFound" and "namespaces " in done.problem
    return gone or (done.reason == "Forbidden" and "because it is being terminated" in done.problem)


def _stale(cluster: Cluster, kinds: Sequence[Any], keep: set[ResourceRef], problems: list[str]) -> Iterator[Delete]:
    for listed in cluster.list(kinds):
        if listed.problem:
            problems.append(f"{listed.kind}: {listed.problem}")
        refs = [ResourceRef.of(item, "") for item in listed.objects if _labelled(item)]
        candidates = [ref for ref in refs if ref not in keep]
        # Who wrote it is only in the whole object.
        for ref, found in zip(candidates, cluster.get(candidates), strict=True):
            if found is not None and _ours(found):
                metadata = found["metadata"]
                yield Delete(ref, uid=str(metadata["uid"]), version=str(metadata["resourceVersion"]))


def _labelled(manifest: Mapping[str, Any]) -> bool:
    metadata = manifest["metadata"]
    labels = metadata.get("labels") or {}
    name = str(metadata.get("name"))
    return labels.get(MANAGED_BY) == MANAGER and (name == NAME or name.startswith(f"{NAME}-"))


def _ours(manifest: Mapping[str, Any]) -> bool:
    """Whether our field manager applied it, and nobody else wrote into it."""
    fields = manifest["metadata"].get("managedFields") or []
    managers = {(item.get("manager"), item.get("operation")) for item in fields if isinstance(item, Mapping)}
    return managers == {(MANAGER, "Apply")}


def metrics_text(report: AuditReport) -> str:
    """Prometheus text exposition format 0.0.4, in an order that is always the same."""
    ways = {way: sum(item.way == way for item in report.audited) for way in ("derived", "new", "recorded")}
    states = {**ways, "exempt": report.exempt, "undecided": len(report.undecided)}
    lines = [
        "# HELP customhouse_violations Findings of the last audit that no waiver covers.",
        "# TYPE customhouse_violations gauge",
    ]
    for (rule, category, severity, namespace), count in report.counts().items():
        labels = {"rule": rule, "category": category, "severity": severity, "namespace": namespace}
        lines.append(f"customhouse_violations{_labels(labels)} {count}")
    lines += [
        "# HELP customhouse_audit_objects Objects of the last audit, by what became of them.",
        "# TYPE customhouse_audit_objects gauge",
        *(f'customhouse_audit_objects{{result="{name}"}} {count}' for name, count in sorted(states.items())),
    ]
    for name, text, value in (
        ("unlisted_kinds", "Kinds and groups that the last audit could not list.", str(len(report.problems))),
        ("complete", "1 when the last audit saw and judged everything.", str(int(report.complete))),
        ("timestamp_seconds", "When the last audit was made.", f"{report.at.timestamp():.3f}"),
        ("duration_seconds", "How long the last audit judged.", f"{report.seconds:.3f}"),
    ):
        full = f"customhouse_audit_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} gauge", f"{full} {value}"]
    return "\n".join(lines) + "\n"


def _labels(values: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
