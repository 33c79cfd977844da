"""`customhouse plan`: what the target needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, plural, talk, write_json, write_table, write_text


@click.command()
@click.option("--repo", default=".", show_default=True, help="Repository: a clone, a bare repository or a URL.")
@click.option("--revision", default="HEAD", show_default=True, metavar="REV", help="The revision to reach.")
@click.option(
    "--base",
    metavar="REV",
    help="The revision whose policy.trustedRegistries count beside its own (default: the one in force, where the state "
    "of `up` or a note says it, else the first parent).",
)
@formats("json")
@common
def plan(repo: str, revision: str, base: str | None, output: str, settings: Settings) -> None:
    """Show what the target needs to reach a revision: a cluster is asked by dry runs, by which nothing is changed.

    The local target is held against what this state directory last applied. Exit status 3 when one of several clusters
    could not be asked; the others are shown.
    """
    from customhouse.app.planning import plan as planned

    found = planned(settings, repo, revision, base)
    unknown = any(item["problem"] for item in found.get("targets", ()))
    if output == "json":
        write_json(found)
    else:
        _show(found, settings)
    if unknown:
        click.get_current_context().exit(3)


def _show(found: Mapping[str, Any], settings: Settings) -> None:
    rows = []
    for item in found["actions"]:
        resource = item["resource"]
        place = f"{resource['namespace']}/" if resource["namespace"] else ""
        fields = item.get("fields", ())
        shown = "; ".join(f"{one['pointer']}: {_value(one['live'])} → {_value(one['declared'])}" for one in fields[:3])
        more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
        row = [item["action"], f"{resource['kind']} {place}{resource['name']}", item.get("note") or shown + more]
        rows.append([item["target"], *row] if "targets" in found else row)
    write_table("", [*(["Target"] if "targets" in found else []), "Action", "Resource", ""], rows)
    short = found["revision"][:12]
    write_text(found["blocked"] or f"{plural(len(rows), 'action')} to reach {short}")
    if rows or found["gate"]:  # what follows from a revision that is denied is that nothing of this happens
        talk(settings, _gate(found["gate"], short))
    observed = [item["name"] for item in found.get("targets", ()) if item["mode"] == "observe"]
    if observed or found.get("mode") == "observe":
        which = f"{', '.join(observed)}: observed" if observed else "this cluster is observed"
        talk(settings, f"{which}: nothing of it is done before `customhouse adopt` is merged")


def _gate(said: Mapping[str, Any] | None, short: str) -> str:
    if said is None:
        return f"whether the rules allow it: `customhouse gate --head {short}`"
    when = f" ({said['at'][:19]}Z)" if said["at"] else ""
    if said["verdict"] == "undecided":
        return f"the gate could not decide{when}: {said['text']}"
    if said["verdict"] == "deny":
        return f"the gate denies it{when}, so nothing of this is done: {said['text']}"
    word = "it was allowed and is what is deployed" if said["deployed"] else f"the gate allows it{when}"
    return f"{word}, with a warning: {said['text']}" if said["text"] else word


def _value(value: object) -> str:
    import json

    text = value if isinstance(value, str) else "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
