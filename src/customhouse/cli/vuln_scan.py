"""`customhouse vuln scan`: packages with known vulnerabilities."""

from __future__ import annotations

from collections.abc import Sequence

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text
from customhouse.cli.report_rows import one_line
from customhouse.core.vulnerability import MAX_AGE_DAYS, Rating, Reach, Report, Vulnerability

ACCEPTABLE = ("stale", "unknown", "undecided", "unread", "unrated")
_SHOWN = 40


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH|PURL...")
@click.option("--db", metavar="FILE", help="Advisories (default: advisories.sqlite of the state).")
@click.option(
    "--fail-on", type=click.Choice([rating.value for rating in Rating if rating is not Rating.UNKNOWN]),
    help="Exit 1 only for vulnerabilities from this rating on, and for unrated ones (default: any).",
)  # fmt: skip
@click.option("--vex", multiple=True, metavar="FILE", help="Statements that vulnerabilities do not apply.")
@click.option(
    "--product", multiple=True, metavar="ID", help="What the packages lie in, as the statements call it (purl, digest)."
)
@click.option("--imports", metavar="FILE", help="Go import paths that are used, one a line (`go list -deps ./...`).")
@click.option(
    "--max-age-days", type=click.IntRange(0), default=MAX_AGE_DAYS, show_default=True, metavar="N",
    help="Advisories that are older decide nothing.",
)  # fmt: skip
@click.option(
    "--accept", multiple=True, type=click.Choice(ACCEPTABLE),
    help="What may stay open without exit status 3 (`unrated`: without 1 under --fail-on).",
)  # fmt: skip
@formats("json", "sarif")
@common
@click.pass_context
def scan(
    ctx: click.Context,
    paths: tuple[str, ...],
    db: str | None,
    fail_on: str | None,
    vex: tuple[str, ...],
    product: tuple[str, ...],
    imports: str | None,
    max_age_days: int,
    accept: tuple[str, ...],
    output: str,
    settings: Settings,
) -> None:
    """Say which packages have known vulnerabilities, where they are, and what mends them, without a network.

    Takes bills (CycloneDX and SPDX in JSON, evidence that holds one), lock files of nine ecosystems, folders (what lies
    or is installed there) and package URLs. Exit status: 1 for a vulnerability that counts, else 3 when something could
    not be decided (advisories that are old or not there, a version without an order, a file that cannot be read),
    else 0.
    """
    from customhouse.app.package_sources import read_given
    from customhouse.app.vulnerabilities import scan_packages, vex_statements

    given = read_given(paths, imports=imports)
    said = [vex_statements(path) for path in vex]
    report = scan_packages(
        settings,
        given.packages,
        statements=[one for statements, _ in said for one in statements],
        subjects={*given.subjects, *product},
        db=db,
        max_age_days=max_age_days,
    )
    for text in (*given.problems, *(text for _, ignored in said for text in ignored)):
        talk(settings, f"not read: {one_line(text)}")
    if output == "json":
        write_json({**report.to_json(), "skipped": given.skipped, "problems": given.problems})
    elif output == "sarif":
        from customhouse.cli.vuln_sarif import vulnerabilities_sarif

        write_json(vulnerabilities_sarif(report, given.problems))
    else:
        show_report(report)
    ctx.exit(exit_status(report, fail_on and Rating(fail_on), accept, problems=bool(given.problems)))


def exit_status(report: Report, threshold: Rating | str | None, accept: Sequence[str] = (), *, problems: bool) -> int:
    """1 for a finding that counts; else 3 for what is open and not accepted; else 0."""
    least = Rating(threshold) if threshold else None
    for finding in report.open:
        unrated = finding.rating is Rating.UNKNOWN
        if unrated and least is not None and "unrated" in accept:
            continue
        if least is None or finding.rating.reaches(least):
            return 1
    left = {
        "stale": bool(report.stale),
        "unknown": bool(report.unknown),
        "undecided": bool(report.undecided),
        "unread": problems or not report.packages,
    }
    return 3 if any(is_open and name not in accept for name, is_open in left.items()) else 0


def show_report(report: Report) -> None:
    """For a terminal: findings, what is open, and how old all of it is."""
    rows = [_row(finding) for finding in report.findings]
    write_table("", ["Package", "Version", "Where", "Advisory", "Rating", "Fixed in", "About"], rows)
    _show_open(report)
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
    found = f"{len(report.open)} {'vulnerability' if len(report.open) == 1 else 'vulnerabilities'}"
    write_text(f"{plural(report.packages, 'package')}, {found}{f' ({counts})' if counts else ''}")
    if not report.open and not report.complete:
        write_text("nothing was found, and not everything was decided: that is not clean")
    if not report.packages:
        write_text("no package was looked up: that is not clean")


def _row(finding: Vulnerability) -> list[str]:
    package = finding.package
    place = f"{package.file}:{package.line}" if package.line else package.file or package.within
    notes = [finding.summary]
    if package.path:
        notes.append(f"by way of {' → '.join(package.path)}")
    if finding.reachable is not Reach.UNKNOWN:
        notes.append("reachable" if finding.reachable is Reach.YES else "what is vulnerable of it is not imported")
    if finding.suppressed is not None:
        said = finding.suppressed
        reason = said.justification or said.statement
        notes.append(f"{said.status}: {reason} (says {said.author or 'nobody'}, {said.source})")
    score = "" if finding.score is None else f" {finding.score}"
    rating = f"{finding.rating.value}{score}"
    cells = [
        package.name,
        package.version,
        place,
        " ".join((finding.id, *finding.aliases[:3])),
        f"({rating})" if finding.suppressed else rating,
        finding.fixed or "no fix known",
        ". ".join(note for note in notes if note),
    ]
    return [one_line(cell, 400) for cell in cells]  # a bill's names must not drive a terminal


def _show_open(report: Report) -> None:
    undecided = [
        [one_line(cell, 400) for cell in (item.package.name, item.package.version, item.id or "all", item.reason)]
        for item in report.undecided[:_SHOWN]
    ]
    write_table("Not decided", ["Package", "Version", "Advisory", "Why"], undecided)
    if len(report.undecided) > _SHOWN:
        write_text(f"and {len(report.undecided) - _SHOWN} more")
    unknown = [[one_line(item.ecosystem, 80) or "not said", item.packages, item.reason] for item in report.unknown]
    write_table("Not known", ["Ecosystem", "Packages", "Why"], unknown)
    for item in report.freshness:
        age = item.age(report.as_of)
        old = "of an age that nobody knows" if age is None else f"{age.days} days old"
        dated = item.as_of.date().isoformat() if item.as_of is not None else "unknown"
        stale = ": stale" if item in report.stale else ""
        count = f"{item.records} {'advisory' if item.records == 1 else 'advisories'}"
        write_text(f"{item.ecosystem}: {count} as of {dated}, {old}{stale}")
