"""`customhouse status` and `history`: what runs and what ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text


@click.command()
@formats("json")
@common
@click.pass_context
def status(ctx: click.Context, output: str, settings: Settings) -> None:
    """Show what the control plane last saw: releases, health, costs. Exit status 4 while a problem is open."""
    from customhouse.app.statusfile import read_status

    found = read_status(settings)
    if output == "json":
        write_json(found)
    else:
        rows = [
            [
                f"{r['namespace']}/{r['name']}",
                r["version"] or r["release"][7:19],
                r["state"] or r["phase"],
                r["health"],
                _percent(r["weight"]),
                str(r["requests"]) if r["requests"] else "",
                "" if r["p95_ms"] is None else f"{r['p95_ms']:.1f} ms",
                r["revision"][:12],
                r["message"],
            ]
            for r in found["releases"]
        ]
        columns = ["Workload", "Version", "State", "Health", "Traffic", "Requests", "p95", "Commit", ""]
        write_table("", columns, rows)
        write_text(f"as of {found['at'][:19]}Z: {found['state']} {found['branch']}, deployed {found['deployed'][:12]}")
        for row in found["releases"]:
            if row["endpoint"]:
                write_text(f"{row['name']} {row['version']} answers at {row['endpoint']}")
            if row.get("vulnerabilities"):
                write_text(f"{row['name']} {row['version']} has {row['vulnerabilities']}")
        _cluster(found.get("cluster") or {})
        _scheduling(found.get("scheduling") or {})
        costs = found["costs"]
        if costs is not None:
            month = f"{costs['month_low']} to {costs['month_high']}"
            write_text(f"charged this month: {costs['month_to_date']} {costs['currency']}; the month: {month}")
        if found["problem"]:
            write_text(f"problem: {found['problem']}")
    ctx.exit(4 if found["problem"] or (found.get("cluster") or {}).get("drift") else 0)


def _cluster(found: Mapping[str, Any]) -> None:
    """What is not as declared in a cluster."""
    if not found:
        return
    if "targets" not in found:
        waits = len(found["waiting"])
        write_text(f"{plural(found['objects'], 'object')} in the cluster, {waits} not applied yet ({found['mode']})")
    for item in found.get("targets", ()):
        count = plural(item["objects"], "object")
        said = f"{item['name']}: {count}, {item['waiting']} not applied yet ({item['mode']})"
        write_text(f"{said}: {item['problem']}" if item["problem"] else said)
    for item in found.get("interruptions", ()):
        until = f" by {item['deadline']}" if item["deadline"] else ""
        goes = " goes" if item["response"] == "drain" else ""
        write_text(f"node {item['node']}{goes}{until} ({item['sign']}): {item['state']}")
        for pod in item["pods"][:20]:
            write_text(f"  {pod['pod']}: {pod['state']}")
    for item in [one for one in found.get("applications", ()) if "status" in one and one["by"] != "customhouse"][:10]:
        said = item["status"]
        at = f" at {said['revision'][:12]}" if said["revision"] else ""
        tried = f", tried {said['attempted'][:12]}" if said["attempted"] else ""
        text = f"{item['by']}: {_where(item)}{_named(item['resource'])}: {said['sync']}, {said['health']}{at}{tried}"
        well = (said["sync"], said["health"]) == ("Synced", "Healthy") or not said["message"]
        write_text(text if well else f"{text}: {said['message'][:300]}")
    for item in found["waiting"][:10]:
        write_text(f"waiting: {_where(item)}{_named(item['resource'])}: {item['for']}")
    for item in found["drift"]:
        fields = ", ".join(
            one["pointer"] + (f" by {one['manager']}" if one["manager"] else "") for one in item["fields"]
        )
        write_text(
            f"drift: {_where(item)}{_named(item['resource'])} {item['found']}" + (f": {fields}" if fields else "")
        )
    for item in found.get("ignored", ())[:10]:
        write_text(f"left to others: {_where(item)}{_named(item['resource'])}: {', '.join(item['fields'])}")
    for item in found.get("undeclared", ())[:10]:
        write_text(f"undeclared: {_where(item)}{_named(item)} is in a declared namespace")
    if found["blocked"]:
        write_text(f"nothing is deleted: {found['blocked']}")


def _scheduling(found: Mapping[str, Any]) -> None:
    """What the scheduler's extender did, and which node pools are wanted."""
    for row in found.get("pools", ()):
        where = f" on {row['branch']}" if row.get("branch") else ""
        why = f": {row['problem']}" if row["problem"] else ""
        waits = f"{plural(row['pods'], 'pod')} since {row['since'][:19]}Z"
        write_text(f"node pool {row['name']} ({row['machines']}) for {waits}: {row['state']}{where}{why}")
    told = found.get("extender")
    if not told:
        return
    calls = sum(number for codes in told["calls"].values() for number in codes.values())
    known = f"{plural(told['nodes'], 'node')}, {plural(told['reservations'], 'reservation')}"
    write_text(f"extender: {plural(calls, 'call')}, {known}, {plural(told['pending'], 'pod')} without a node")
    for row in told["tiers"]:
        asked = f"asked for {plural(row['asked'], 'pod')}" if row["asked"] else "not asked for"
        write_text(f"extender: tier {row['tier'] or 'unknown'}: {asked}, no node left for {row['emptied']}")
    for row in told["without"][:10]:
        why = "; ".join(f"{item['reason']} ({plural(item['nodes'], 'node')})" for item in row["reasons"][:2])
        write_text(f"extender: no node was left for {row['pod']}: {why}")
    for text in told["doubted"][:10]:
        write_text(f"extender: node {text}")


def _where(item: Mapping[str, Any]) -> str:
    """The target's name before what is in it, where there are several."""
    return f"{item['target']}: " if "target" in item else ""


def _named(resource: Mapping[str, str]) -> str:
    place = f"{resource['namespace']}/" if resource["namespace"] else ""
    return f"{resource['kind']} {place}{resource['name']}"


@click.command()
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at the most.")
@formats("json")
@common
def history(name: str | None, limit: int, output: str, settings: Settings) -> None:
    """Show the releases of a workload: commit, author, reviewers, verdict, evidence, time and how it ended.

    Those that are on their way come first, with what they wait for.
    """
    from customhouse.app.records import history as releases

    found = releases(settings, name, limit)
    if output == "json":
        write_json(found)
        return
    several, reviewed = any(item["target"] for item in found), any(item["reviewers"] for item in found)
    columns = [
        *("Time", *(["Target"] if several else []), "Workload", "Version", "Release", "Phase", "Commit", "Author"),
        *([*(["Reviewers"] if reviewed else []), "Verdict", "Evidence", "Reason"]),
    ]
    rows = [
        [
            item["at"][:19],
            *([item["target"]] if several else []),
            f"{item['resource']['namespace']}/{item['resource']['name']}",
            item["version"],
            item["release"][7:19],
            item["phase"],
            item["revision"][:12],
            item["author"],
            *([", ".join(item["reviewers"])] if reviewed else []),
            item["verdict"],
            ", ".join(sorted({one["kind"] for one in item["evidence"]})),
            item["reason"],
        ]
        for item in found
    ]
    write_table("", columns, rows)
    if not rows:
        said = f"nothing called {name!r} was released yet" if name else "nothing was released yet"
        talk(settings, f"{said}; `customhouse status` shows what is on its way")


def _percent(weight: int | None) -> str:
    return "" if weight is None else f"{weight} %"
