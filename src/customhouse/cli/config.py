"""`customhouse config`: the settings in force, and what they mean."""

from __future__ import annotations

import json

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, write_json, write_table, write_text


@click.group()
def config() -> None:
    """Show and explain customhouse.yaml."""


@config.command()
@click.option("--repo", default=".", show_default=True, help="Folder with a customhouse.yaml, or a repository.")
@click.option("--revision", metavar="REV", help="Show that of a revision instead of the file as it lies there.")
@formats("json", "yaml")
@common
def show(repo: str, revision: str | None, output: str, settings: Settings) -> None:
    """Show every value that is in force and where it comes from: a place in the file, or the default."""
    from customhouse.app.configuring import show as in_force

    found = in_force(settings, repo, revision)
    if output == "json":
        write_json(found.to_json())
    elif output == "yaml":
        import yaml

        write_text(yaml.safe_dump(dict(found.document), sort_keys=False, allow_unicode=True, width=120))
    else:
        rows = [
            [key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), origin]
            for key, value, origin in found.keys
        ]
        write_table(found.source, ["Key", "Value", "From"], rows)


@config.command()
@click.argument("key", default="")
@formats("json")
@common
def explain(key: str, output: str, settings: Settings) -> None:  # noqa: ARG001 - as every command
    """Explain a key (`policy.requireSignedCommits`); without one, list those of the first level."""
    from customhouse.app.configuring import explain_key

    found = explain_key(key)
    if output == "json":
        write_json(found)
        return
    write_text(f"{found['key']}: {found['type']}")
    if found["description"]:
        write_text(f"  {found['description']}")
    if found["values"]:
        write_text(f"  values: {', '.join(str(value) for value in found['values'])}")
    if found["default"] is not None:
        write_text(f"  default: {json.dumps(found['default'])}")
    for child in found["keys"]:
        write_text(f"  {child['key']:<22} {child['description']}")
