"""`customhouse model convert`: weights as safetensors."""

from __future__ import annotations

from pathlib import Path

from customhouse._kit.reading import absent
from customhouse.core.errors import UsageError
from customhouse.trust.convert import Converted
from customhouse.trust.convert import convert as to_safetensors

KNOWN = ("safetensors",)


def convert(path: str, to: str, out: str | None, *, leave_out: bool, replace: bool) -> Converted:
    """Write the weights of one file beside it, or at `out`. Raises UsageError and ArtifactError."""
    place = Path(path)
    if to not in KNOWN:
        raise UsageError(f"{to!r} is no format to convert to", hint="safetensors is")
    if not place.is_file():
        raise UsageError(absent(path), hint="files are converted one by one")
    target = Path(out) if out else place.with_suffix(".safetensors")
    if target.exists() and target.resolve() == place.resolve():
        raise UsageError(f"{path} would be replaced by itself", hint="name another file with --out")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {target.parent}", hint="make it first")
    return to_safetensors(place, target, leave_out=leave_out, replace=replace)
