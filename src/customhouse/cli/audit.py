"""`customhouse audit`: every live object judged by the rules in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table, write_text

if TYPE_CHECKING:
    import threading

    from customhouse.app.auditing import AuditDone

CONFIGURED = "as configured"
MOST_ROWS = 200
"""Findings that the table shows; the counts before them are of all."""


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--kubeconfig", metavar="FILE", help="The cluster (default: KUBECONFIG, the pod's own, ~/.kube/config).")
@click.option("--context", metavar="NAME", help="The context of the kubeconfig (default: its current one).")
@click.option("--repo", metavar="REPO", help="Repository whose rules, evidence and Declarations hold (else --config).")
@click.option("--once", is_flag=True, help="One audit (the default), also where a pod template says --every.")
@click.option(
    "--every",
    metavar="[DURATION]",
    is_flag=False,
    flag_value=CONFIGURED,
    help="Audit again and again, such as 10m (without one: audit.everyMinutes); the cluster is watched between.",
)
@click.option(
    "--report/--no-report",
    default=None,
    help="Write PolicyReport and ClusterPolicyReport objects into the cluster (default: audit.publishReports).",
)
@click.option("--metrics-file", metavar="FILE", help="Write Prometheus metrics there, for a text file collector.")
@formats("json", "policyreport", "prometheus")
@common
@click.pass_context
def audit(
    ctx: click.Context,
    paths: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    repo: str | None,
    once: bool,
    every: str | None,
    report: bool | None,
    metrics_file: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Judge every live object, or dumps of them in files, by the same rules as at the gate.

    With --state, denials and what changed since the last audit are recorded there.

    Exit status: 0 clean, 1 a rule that denies is broken, 3 the API is out of reach, or something could not be listed or
    judged (it says what).
    """
    from customhouse.app.auditing import AuditRequest, interval_s, keep_auditing, run_audit

    request = AuditRequest(
        paths,
        Path(kubeconfig) if kubeconfig else None,
        context,
        repo,
        report,
        Path(metrics_file) if metrics_file else None,
        record=settings.state_named,
    )
    if once or every is None:
        done = run_audit(settings, request)
        _show(done, output, settings)
        ctx.exit(done.exit_status)
    if paths:
        raise click.UsageError("--every watches a cluster; PATH arguments do not change")
    keep_auditing(
        settings,
        request,
        interval_s(settings, request) if every == CONFIGURED else _seconds(every),
        _stopped_by_signals(),
        lambda done: _show(done, output, settings),
        lambda problem: talk(settings, f"audit: {problem}"),
    )


def _seconds(text: str) -> float:
    from customhouse._kit.quantity import QuantityError, parse_duration

    try:
        seconds = parse_duration(text) / 1_000_000_000
    except QuantityError as error:
        raise click.UsageError(f"--every: {error}") from error
    if not 1 <= seconds <= 7 * 86_400:
        raise click.UsageError("--every is at least 1s and at most 168h")
    return seconds


def _stopped_by_signals() -> threading.Event:
    """Set by SIGTERM or Ctrl-C: the audit that runs is finished; a second one ends it at once."""
    import signal
    import threading

    stop = threading.Event()

    def end(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return stop


def _show(done: AuditDone, output: str, settings: Settings) -> None:
    from customhouse.app.audit import report_json
    from customhouse.app.audit_reports import metrics_text, policy_reports

    report = done.report
    if output == "json":
        write_json(report_json(report))
    elif output == "policyreport":
        write_json({"apiVersion": "v1", "kind": "List", "items": list(policy_reports(report))})
    elif output == "prometheus":
        write_text(metrics_text(report))
    else:
        _table(done, settings)
    for alert in done.alerts:
        talk(settings, f"notice: {alert}")
    if done.kept.recorded:
        talk(settings, f"{done.kept.recorded} decisions recorded; `customhouse explain DIGEST` tells each")
    if done.kept.left:
        talk(settings, f"{done.kept.left} more are recorded by the next audits")
    if done.warning:
        talk(settings, f"warning: {done.warning}")
    said = "complete" if report.complete else "NOT complete"
    talk(settings, f"audit of {report.scene}: {len(report.audited)} objects judged in {report.seconds:.1f} s, {said}")
    if done.published is not None:
        talk(settings, f"{done.published.written} reports written, {done.published.removed} removed")
        for problem in done.published.problems:
            talk(settings, f"not written: {problem}")


def _table(done: AuditDone, settings: Settings) -> None:
    from customhouse.cli.report_rows import printable
    from customhouse.core.decision import Severity

    report = done.report
    counts = [
        (rule, category, severity, namespace or "(cluster)", count)
        for (rule, category, severity, namespace), count in report.counts().items()
    ]
    write_table("", ["Rule", "Category", "Severity", "Namespace", "Findings"], counts, settings.colour)
    rows = [
        (finding.severity.value, *map(printable, (finding.rule, str(finding.resource), finding.message, finding.fix)))
        for severity in (Severity.ERROR, Severity.WARNING)
        for item in report.audited
        for finding in item.decision.findings
        if finding.severity is severity and finding.waiver is None
    ]
    write_table("", ["Severity", "Rule", "Object", "Finding", "What to do"], rows[:MOST_ROWS], settings.colour)
    if len(rows) > MOST_ROWS:
        write_text(f"{len(rows) - MOST_ROWS} more findings: -o json has all of them")
    for problem in report.undecided:
        write_text(printable(f"could not be judged: {problem.resource}: {problem.problem}"))
    for name, reason in sorted(report.problems.items()):
        write_text(printable(f"could not be listed: {name}: {reason}"))
    ways = {way: sum(item.way == way for item in report.audited) for way in ("recorded", "derived", "new")}
    write_text(
        f"{ways['recorded']} objects as the gate judged them, {ways['derived']} derived by controllers, "
        f"{ways['new']} that no judged commit declares, {report.exempt} exempt by name; "
        f"what runs costs {report.cost.after} {report.cost.currency} a month"
    )
