"""`customhouse model evaluate`: how good a model is, and whether that is good enough."""

from __future__ import annotations

from typing import Any

import click

from customhouse.app.settings import Settings
from customhouse.cli.long_work import cached, shown
from customhouse.cli.output import common, formats, talk, write_json, write_table, write_text
from customhouse.cli.report_rows import printable


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--data", required=True, metavar="FILE", help="CSV with a header (.csv, .csv.gz): rows it never saw.")
@click.option("--train", metavar="FILE", help="CSV that it was trained on: for membership inference and leaks.")
@click.option("--against", metavar="MODEL", help="Another model, such as the deployed one, on the same rows.")
@click.option("--dataset", metavar="FOLDER", help="The registered dataset that --data is a file of.")
@click.option(
    "--plan", metavar="FILE|NAME", help="What is measured and which bounds hold (default: customhouse.yaml's)."
)
@click.option("--label", metavar="COLUMN", help="Without a plan: the column that holds what is true.")
@click.option("--group", "groups", multiple=True, metavar="COLUMN", help="Without a plan: groups to compare.")
@click.option("--name", metavar="NAME", help="What the model is called (default: its file's or folder's name).")
@click.option("--attest", is_flag=True, help="Sign what was measured as evidence, below .evidence/ of --repo.")
@click.option("--key", metavar="FILE", help="Private key (PEM) that signs the evidence.")
@click.option("--repo", default=".", show_default=True, help="Work tree of customhouse.yaml and of the evidence.")
@cached
@formats("json", "markdown", "html")
@common
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: str,
    data: str,
    train: str | None,
    against: str | None,
    dataset: str | None,
    plan: str | None,
    label: str | None,
    groups: tuple[str, ...],
    name: str | None,
    attest: bool,
    key: str | None,
    repo: str,
    cache: bool,
    output: str,
    settings: Settings,
) -> None:
    """Measure an ONNX model on held-out rows: performance, fairness, calibration, evasion, stability, privacy.

    The model is scanned first, and runs in a process of its own with limits. Exit status: 0 when all declared bounds
    hold (or none is declared), 1 when one does not, 3 when it could not be measured; then nothing is attested.
    """
    from customhouse.app.evaluating import EvaluateRequest
    from customhouse.app.evaluating import evaluate as measured
    from customhouse.app.looks import looking

    if attest != bool(key):
        raise click.UsageError("--attest and --key belong together")
    request = EvaluateRequest(model, data, train, against, dataset, plan, label, groups, name, repo, key)
    with shown(settings), looking(settings, [model], cache=cache, repo=repo) as wish:
        done = measured(request, settings, wish, lambda step: talk(settings, f"{step} …"))
    if output == "json":
        write_json(done)
    elif output == "table":
        _table(done)
    else:
        from customhouse.cli.report_evaluation import html, markdown

        write_text(markdown(done) if output == "markdown" else html(done))
    if "file" in done:
        talk(settings, f"evidence: {done['file']}")
    for row in done["bounds"]:
        if not row["met"]:
            talk(settings, printable(f"{row['place']}: {row['metric']} must be {row['must']}: {row['problem']}"))
    ctx.exit(1 if done["passed"] is False else 0)


def _table(done: dict[str, Any]) -> None:
    from customhouse.cli.report_evaluation import number, verdict

    write_text(f"{printable(done['model'])}  {done['model_digest']}  {verdict(done)}")
    shown_first = [name for name in done["metrics"] if not name.startswith("slice.")]
    rows = [
        [printable(name), number(item["value"]), number(item["low"]), number(item["high"]), item["count"]]
        for name, item in done["metrics"].items()
        if name in shown_first
    ]
    write_table("Measured", ["Metric", "Value", "Low", "High", "Rows"], rows)
    bounds = [
        [
            printable(row["metric"]),
            row["must"],
            number(row["value"]),
            printable(row["problem"]) or "yes",
        ]
        for row in done["bounds"]
    ]
    write_table("Bounds", ["Metric", "Must be", "Value", "Met"], bounds)
    for text in done["limitations"]:
        write_text(printable(f"- {text}"))
