"""`customhouse policy`: the rules, their tests, their archives and what they would have said."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text
from customhouse.cli.policy_verify import verify

if TYPE_CHECKING:
    from customhouse.app.policytests import TestRun
    from customhouse.core.ports import Progress

_REPLAY_ROWS = 40


@click.group()
def policy() -> None:
    """Test, lint, build, pull and replay the rules that judge."""


policy.add_command(verify)


@policy.command()
@click.argument("folder", required=False)
@click.option("--coverage", is_flag=True, help="Show how much of each rule the tests evaluate (embedded engine).")
@click.option("--min-coverage", type=click.FloatRange(0, 100), metavar="PERCENT", help="Fail below this coverage.")
@click.option("--cases", multiple=True, metavar="FILE", help="A file of table cases, beside *_cases.yaml of FOLDER.")
@formats("json")
@common
@click.pass_context
def test(
    ctx: click.Context,
    folder: str | None,
    coverage: bool,
    min_coverage: float | None,
    cases: tuple[str, ...],
    output: str,
    settings: Settings,
) -> None:
    """Run the tests of the built-in rules, or with FOLDER those of one's own: *_test.rego and *_cases.yaml.

    Exit status: 1 if one fails, or the coverage is below what --min-coverage asks for.
    """
    from customhouse.app.policytests import run_bundle_tests

    found = run_bundle_tests(
        settings, folder, coverage=coverage or min_coverage is not None, cases=cases, progress=_progress(settings)
    )
    short = min_coverage is not None and found.coverage is not None and found.coverage.percent < min_coverage
    if output == "json":
        write_json(found.to_json())
    else:
        _show_tests(found)
    passed = len(found.tests) + len(found.cases) - len(found.failed) - len(found.failed_cases)
    talk(settings, f"{passed} of {len(found.tests) + len(found.cases)} tests passed")
    if short and found.coverage is not None:
        talk(settings, f"coverage is {found.coverage.percent:g} %, below {min_coverage:g} %")
    ctx.exit(1 if found.failed or found.failed_cases or short else 0)


def _show_tests(found: TestRun) -> None:
    rows = [[item.name, f"{item.file}:{item.line}", ""] for item in found.failed]
    rows += [[item.name, f"{item.file}[{item.index}]", "; ".join(item.problems)] for item in found.failed_cases]
    write_table("", ["Failed test", "Where", "Why"], rows)
    if found.coverage is None:
        return
    missed = [
        [f"{rule.file}:{rule.line}", rule.rule, ", ".join(map(str, rule.missed))]
        for rule in found.coverage.rules
        if rule.missed
    ]
    write_table("", ["Not covered", "Rule", "Lines"], missed)
    files = [[name, f"{percent:g} %"] for name, percent in found.coverage.files().items()]
    write_table("", ["File", "Coverage"], [*files, ["all", f"{found.coverage.percent:g} %"]])


@policy.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@formats("json", "sarif")
@common
@click.pass_context
def lint(ctx: click.Context, paths: tuple[str, ...], output: str, settings: Settings) -> None:
    """Find what the engines lack or refuse, what judges nothing, and what means two things.

    Exit status: 1 if anything is an error.
    """
    from customhouse.app.policybundles import lint as look

    found = look(settings, paths)
    errors = sum(item.severity == "error" for item in found)
    if output == "json":
        write_json({"findings": [item.to_json() for item in found], "errors": errors})
    elif output == "sarif":
        from customhouse.cli.policy_sarif import lint_sarif

        write_json(lint_sarif([item.to_json() for item in found]))
    else:
        rows = [[item.where, item.severity, item.rule, item.message, item.fix] for item in found]
        write_table("", ["Where", "Severity", "Rule", "Message", "Fix"], rows)
    talk(settings, f"{plural(errors, 'error')}, {plural(len(found) - errors, 'warning')}")
    ctx.exit(1 if errors else 0)


@policy.command()
@click.argument("folder", required=False)
@click.option("-o", "--out", required=True, metavar="FILE", help="Where the archive goes (bundle.tar.gz).")
@click.option("--version", default="0", show_default=True, help="The bundle's version (OPA's `revision`).")
@click.option("--sign", "key", metavar="FILE", help="Private key (PEM): FILE.sigstore.json is written beside it.")
@click.option("--with-builtin", is_flag=True, help="Put the built-in rules in: OPA alone can judge with the archive.")
@common
def build(
    folder: str | None,
    out: str,
    version: str,
    key: str | None,
    with_builtin: bool,
    settings: Settings,
) -> None:
    """Make a bundle of FOLDER's rules: an archive that OPA loads, the same bytes on every machine.

    Prints the digest that customhouse.yaml pins (policy.bundles).
    """
    from customhouse.app.policybundles import build as made

    built = made(folder, out, version=version, key=key, with_builtin=with_builtin)
    write_text(built.digest)
    signed = "" if built.signature is None else f", signed in {built.signature}"
    talk(settings, f"{plural(built.modules, 'module')}, bundle {built.bundle_digest}{signed}")


@policy.command()
@click.argument("source")
@click.option("--digest", metavar="SHA256", help="The digest of the archive, as `policy build` prints it.")
@click.option("--key", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="The signer's public key.")
@formats("json")
@common
def pull(source: str, digest: str | None, key: str | None, output: str, settings: Settings) -> None:
    """Fetch a bundle from SOURCE (a file, a folder, https:// or oci://), verify it and keep it for the gate.

    Exit status: 5 if its digest or its signature is another; then nothing is kept.
    """
    from customhouse.app.policybundles import pull as fetched

    pulled = fetched(settings, source, digest, key)
    told = {
        "digest": pulled.archive.digest,
        "version": pulled.archive.version,
        "files": sorted(pulled.archive.files),
        "signed": pulled.signer is not None,
    }
    if output == "json":
        write_json(told)
    else:
        write_text(f"{told['digest']}  version {told['version']}{', signed' if told['signed'] else ''}")


@policy.command()
@click.option("--repo", default=".", show_default=True, help="Whose rules and waivers are in force (its HEAD).")
@click.option("--bundle", metavar="PATH", help="The candidate: a folder of rules or an archive (default: in force).")
@click.option("--waivers", metavar="FILE", help="Candidate waivers (default: those in force).")
@click.option("--since", metavar="TIME", help="30d, 12h or an RFC 3339 time (default: all that is recorded).")
@formats("json")
@common
@click.pass_context
def replay(
    ctx: click.Context,
    repo: str,
    bundle: str | None,
    waivers: str | None,
    since: str | None,
    output: str,
    settings: Settings,
) -> None:
    """Judge the recorded decisions again under a candidate bundle: who would be hit.

    Exit status: 1 if anything would be newly denied (or an old decision cannot be repeated), else 3 if the candidate
    could not decide about something, else 0.
    """
    from customhouse.app.policyreplay import ReplayRequest
    from customhouse.app.policyreplay import replay as judged_again

    found = judged_again(settings, ReplayRequest(repo, bundle, waivers, since), _progress(settings))
    told = found.to_json()
    if output == "json":
        write_json(told)
    else:
        _show_replay(told)
    others = sum(told["other_schema"].values())
    talk(
        settings,
        f"{plural(told['judged'], 'decision')} judged again: {told['newly_denied']} newly denied, "
        f"{told['newly_allowed']} newly allowed, {told['changed']} with other findings, {told['same']} the same"
        + (f"; {told['undecided']} could not be decided" if told["undecided"] else "")
        + (f"; {others} have Facts of another schema and were left out" if others else "")
        + (
            f"; {told['foreign_findings_left_out']} findings of other policies left out"
            if told["foreign_findings_left_out"]
            else ""
        )
        + (f"; {told['unstable']} CANNOT BE REPEATED under the bundle they were made with" if told["unstable"] else ""),
    )
    ctx.exit(1 if told["newly_denied"] or told["unstable"] else 3 if told["undecided"] else 0)


def _show_replay(told: dict[str, Any]) -> None:
    for title, name in (("Rule", "by_rule"), ("Namespace", "by_namespace"), ("Team", "by_team")):
        write_table("", [title, "Newly denied"], list(told[name].items()))
    rows = [
        [
            item["effect"],
            "{kind} {namespace}/{name}".format(**item["resource"]),
            f"{item['before']} → {item['after']}",
            ", ".join([*(f"+{rule}" for rule in item["added"]), *(f"-{rule}" for rule in item["removed"])]),
            item["decided_at"][:16],
        ]
        for item in told["decisions"]
    ]
    write_table("", ["Effect", "Object", "Verdict", "Rules", "Decided"], rows[:_REPLAY_ROWS])
    if len(rows) > _REPLAY_ROWS:
        write_text(f"and {len(rows) - _REPLAY_ROWS} more (-o json lists them)")
    for reason, count in told["undecided_reasons"].items():
        write_text(f"could not decide ({count}): {reason}")


@policy.command()
@click.option("--since", metavar="TIME", help="30d, 12h or an RFC 3339 time (default: all that is recorded).")
@formats("json")
@common
def canary(since: str | None, output: str, settings: Settings) -> None:
    """Show what bundles on trial (policy.canary) would have denied, as the recorded decisions tell it."""
    from customhouse.app.policycanary import count

    found = count(settings, since)
    if output == "json":
        write_json({"candidates": {digest: item.to_json() for digest, item in found.items()}})
        return
    if not found:
        talk(settings, "no decision was made with a bundle on trial")
    for digest, item in found.items():
        write_text(
            f"{digest} ({item.mode}): {item.judged} decisions, {item.would_deny} would be denied, "
            f"{item.undecided} could not be decided"
        )
        write_table("", ["Rule", "Would deny"], list(item.by_rule.most_common()))
        write_table("", ["Namespace", "Would deny"], list(item.by_namespace.most_common()))


def _progress(settings: Settings) -> Progress:
    """One line on a terminal's stderr, rewritten; nothing where a program reads it."""
    shown = not settings.quiet and sys.stderr.isatty()

    def tell(what: str, done: int, total: int) -> None:
        if shown:
            click.echo(f"\r{what}: {done}{f' of {total}' if total else ''}", err=True, nl=bool(total) and done >= total)

    return tell
