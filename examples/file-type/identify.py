"""Asks the served model what files are.

    python examples/file-type/identify.py --url URL --model artifacts/file-type FILE…

Standard library only. The model looks at the first and the last bytes of a file, stripped of white space at the outer
end, as numbers 0 to 255; what is missing is the padding token. The sizes and the labels are in config.min.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Config:
    """What the model wants and says, from config.min.json."""

    first: int
    last: int
    block: int
    padding: int
    least: int
    threshold: float
    thresholds: dict[str, float]
    overwrite: dict[str, str]
    labels: tuple[str, ...]

    @classmethod
    def load(cls, folder: Path) -> Config:
        """Read config.min.json of the model folder. Raises SystemExit for a layout this client does not know."""
        raw = json.loads((folder / "config.min.json").read_text(encoding="utf-8"))
        if raw["version_major"] != 3 or raw["mid_size"] or raw["use_inputs_at_offsets"]:
            raise SystemExit(f"{folder}: a model with other inputs than this client makes")
        return cls(
            raw["beg_size"],
            raw["end_size"],
            raw["block_size"],
            raw["padding_token"],
            raw["min_file_size_for_dl"],
            raw["medium_confidence_threshold"],
            raw["thresholds"],
            raw["overwrite_map"],
            tuple(raw["target_labels_space"]),
        )


def tokens(path: Path, config: Config) -> list[int] | None:
    """The model's input for one file; None when there is too little in it for a model to say anything."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(config.block).lstrip()
        handle.seek(max(0, size - config.block))
        tail = handle.read(config.block).rstrip()
    if size < config.least or len(head) < config.least:
        return None
    head, tail = head[: config.first], tail[-config.last :]
    pad = [config.padding]
    return [*head, *pad * (config.first - len(head)), *pad * (config.last - len(tail)), *tail]


def verdict(scores: Sequence[float], config: Config) -> tuple[str, float]:
    """The label and its score; what is below its threshold is `unknown`."""
    best = max(range(len(scores)), key=scores.__getitem__)
    label, score = config.labels[best], float(scores[best])
    if score < config.thresholds.get(label, config.threshold):
        return "unknown", score
    return config.overwrite.get(label, label), score


def request(rows: Sequence[list[int]]) -> dict[str, Any]:
    """The Open Inference Protocol v2 body for some files."""
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "bytes", "shape": [len(rows), len(rows[0])], "datatype": "INT32", "data": data}]}


def infer(url: str, body: dict[str, Any], name: str = "file-type") -> list[list[float]]:
    """The scores per file. Raises SystemExit with what the server said."""
    target = f"{url.rstrip('/')}/v2/models/{name}/infer"
    if not target.startswith(("http://", "https://")):
        raise SystemExit(f"{url}: not an http address")
    call = urllib.request.Request(target, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=30) as answer:
            output = json.load(answer)["outputs"][0]
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{target}: {error.code} {error.read(2000).decode(errors='replace')}") from error
    except OSError as error:
        raise SystemExit(f"{target}: {error}; is the control plane up?") from error
    rows, width = output["shape"]
    return [output["data"][row * width : (row + 1) * width] for row in range(rows)]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="what are these files?")
    parser.add_argument("--url", required=True, help="address of the InferenceService")
    parser.add_argument("--model", type=Path, required=True, help="model folder, for config.min.json")
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    config = Config.load(arguments.model)
    for path in arguments.files:
        row = tokens(path, config)
        if row is None:
            print(f"{path}: too small to tell")
            continue
        label, score = verdict(infer(arguments.url, request([row]))[0], config)
        print(f"{path}: {label} ({score:.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
