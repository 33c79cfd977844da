"""`customhouse init`: a repository of one's own."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, talk, write_text


@click.command()
@click.argument("folder", default=".")
@click.option("--namespace", default="default", show_default=True, help="Namespace of the first workloads.")
@click.option("--registry", "registries", multiple=True, metavar="PREFIX", help="Trusted image registry (repeatable).")
@click.option("--budget", default="500", show_default=True, metavar="USD", help="Monthly budget, decimal text.")
@click.option(
    "--signer",
    "signers",
    multiple=True,
    metavar="PRINCIPAL=FILE",
    help="Who may sign commits, with an SSH public key (repeatable); then every commit has to be signed.",
)
@click.option("--example", is_flag=True, help="Add a tiny model and its declaration, not committed yet.")
@common
def init(
    folder: str,
    namespace: str,
    registries: tuple[str, ...],
    budget: str,
    signers: tuple[str, ...],
    example: bool,
    settings: Settings,
) -> None:
    """Make a repository that Customhouse can run: its rules, signers and budget, and keys that stay outside Git."""
    from pathlib import Path

    from customhouse.app.initialise import Founding, initialise, read_signers

    founding = Founding(namespace=namespace, registries=registries or ("registry.example.com/",), budget=budget)
    root = Path(folder).absolute()
    people = read_signers(signers)
    commit = initialise(root, founding, settings.environment.get("PATH", ""), people, example=example)
    write_text(commit)
    talk(settings, f"{root} is ready; its keys lie in .customhouse/keys, outside Git")
    if people:
        talk(settings, f"commits must be signed by: {', '.join(people)}")
    else:
        talk(settings, "commits need no signature yet: customhouse.yaml says how to ask for one")
    if example:
        talk(settings, "an example lies in models/first-model.yaml and artifacts/first-model/v1, not committed yet")
    then = "customhouse gate --worktree" if example else "customhouse up"
    talk(settings, f"next: cd {folder} && {then}")
