"""`customhouse model convert`: weights in a format without code."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_table


@click.command()
@click.argument("path", metavar="PATH")
@click.option("--to", default="safetensors", show_default=True, help="The format to write.")
@click.option("--out", metavar="FILE", help="Where to write it; beside PATH if not given.")
@click.option("--leave-out", is_flag=True, help="Leave out what is no tensor (it is named), instead of refusing.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@formats("json")
@common
def convert(path: str, to: str, out: str | None, leave_out: bool, force: bool, output: str, settings: Settings) -> None:
    """Write the weights of a file as safetensors, without executing what it holds.

    Reads torch's weights (state_dict, zip or old format), NumPy's npy and npz, and pickles and joblib files of plain
    arrays. The file is scanned first, and what was written is compared with it. Anything else is refused with the
    reason (exit status 3).
    """
    from customhouse.app.converting import convert as write

    done = write(path, to, out, leave_out=leave_out, replace=force)
    if output == "json":
        write_json(done.to_json())
        return
    rows = [[name, kind, "×".join(map(str, shape)) or "scalar"] for name, (kind, shape) in done.tensors.items()]
    write_table("", ["Tensor", "Type", "Shape"], rows)
    for name, kept in done.shared.items():
        talk(settings, f"{name} is the same tensor as {kept}, which is kept")
    for name in done.left_out:
        talk(settings, f"left out: {name}")
    talk(settings, f"{done.path}: {len(done.tensors)} tensors of {path} ({done.source_digest})")
