"""`customhouse model pull`: a model from a registry, an address or a folder, verified."""

from __future__ import annotations

import click

from customhouse.app.settings import Settings
from customhouse.cli.output import common, formats, talk, write_json, write_text


@click.command()
@click.argument("reference")
@click.argument("out", metavar="FOLDER")
@click.option(
    "--digest", metavar="DIGEST", help="What an https:// address or a path must have; of oci:// say …@sha256:…."
)
@click.option("--lock", metavar="FILE", help="Record what was resolved; where it is there, give the same or nothing.")
@click.option("--platform", metavar="OS/ARCH", help="Of an image for several platforms, this one.")
@click.option(
    "--evidence", metavar="FOLDER", help="Bring what was registered with it into .evidence/ of this work tree."
)
@click.option("--probe", is_flag=True, help="Try whether a stranger may write there (an upload is begun and given up).")
@formats("json")
@common
def pull(
    reference: str,
    out: str,
    digest: str | None,
    lock: str | None,
    platform: str | None,
    evidence: str | None,
    probe: bool,
    output: str,
    settings: Settings,
) -> None:
    """Fetch a model into FOLDER, from where REFERENCE says that it lies, and verify it.

    oci:// (ORAS, KitOps, KServe modelcars), s3://, mlflow:// or models:/, sagemaker://, hf://, https://…@sha256:…, or a
    path. A tag, an alias or a branch is resolved once; every byte is checked. Nothing is loaded or run. Exit status: 0,
    3 when it cannot be had, 5 when what came is not what was pinned.
    """
    from customhouse.app.model_places import bring_evidence, exposure_of, told
    from customhouse.app.model_pull import pull as pulled

    done = pulled(settings, reference, out, digest=digest, lock=lock, platform=platform)
    brought = () if evidence is None else bring_evidence(settings, done.reference, done.tree, evidence)
    exposure = exposure_of(settings, done.reference, probe=probe)
    if output == "json":
        said = done.to_json() | {"exposure": None if exposure is None else exposure.to_json()}
        write_json(said if evidence is None else said | {"evidence": list(brought)})
        return
    write_text(f"{done.tree}  {out}")
    for name in brought:
        write_text(f"  {evidence}/{name}")
    talk(settings, f"from {done.reference}")
    if exposure is not None:
        talk(settings, told(exposure))
    if evidence is not None and not brought:
        talk(settings, "no evidence lies beside it: `customhouse model register` sends it along")
