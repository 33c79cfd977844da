"""Two more zip archives of torch: exported programs (torch.export, .pt2) and packages (torch.package)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.source import Source, UnreadableError

_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|quantized|quantized_decomposed|torchvision|_c10d_functional)\.\w+(\.\w+)?"
    r"|torch\.(sym_\w+|_C\._functorch\.\w+)|_operator\.\w+|math\.\w+"
)
"""What torch's own exporter names (torch/_export/serde/serialize.py serialize_operator): operators alone."""
_RISKY = re.compile(
    r"[.](from_file|save|load\w*|_\w*import\w*|\w*exec\w*|\w*eval\w*)([.]|$)|_operator[.](attr|item|method)"
)


def exported_root(names: set[str]) -> str | None:
    """The folder of an exported program in an archive."""
    return next(
        (n.removesuffix("archive_format") for n in sorted(names) if n.rpartition("/")[2] == "archive_format"), None
    )


def package_root(names: set[str]) -> str | None:
    """The folder of a torch package in an archive."""
    end = ".data/extern_modules"
    return next((n.removesuffix(end) for n in sorted(names) if n.endswith(end)), None)


def is_raw(name: str, exported: str | None, packaged: str | None) -> bool:
    """Whether a member holds the numbers of a tensor."""
    if exported is not None and name.startswith((f"{exported}data/weights/", f"{exported}data/constants/")):
        return not name.endswith((".json", ".pt"))
    return packaged is not None and re.fullmatch(re.escape(packaged) + r"\.data/\d+\.storage", name) is not None


def is_graph(name: str, exported: str | None) -> bool:
    """Whether a member is the graph of an exported program."""
    return exported is not None and name.startswith(f"{exported}models/") and name.endswith(".json")


def inspect_graph(source: Source, look: Inspection) -> None:
    """Each node names what it calls when the program runs; only torch's operators may be named."""
    look.format = "torch-export-graph"
    if source.size > look.budget.limits.text:
        raise UnreadableError(f"a graph of {source.size} bytes", rule="limit-text")
    try:
        graph = json.loads(source.read(0, source.size))
    except (ValueError, RecursionError) as error:
        raise UnreadableError("a graph that is not JSON", rule="torch-export") from error
    for target in _targets(graph, look):
        if not _OPERATOR.fullmatch(target) or _RISKY.search(target):
            shown = target[:80].encode("unicode_escape").decode()
            look.malicious("torch-export-target", f"calls {shown} when it runs, which is no operator of torch")
            return


def _targets(value: object, look: Inspection) -> Iterator[str]:
    pending = [value]
    while pending:
        look.spend()
        item = pending.pop()
        if isinstance(item, dict):
            if isinstance(item.get("target"), str) and "inputs" in item:
                yield item["target"]
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
