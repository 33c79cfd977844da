"""Evaluates an exported model on the holdout with onnxruntime and writes evaluation.json.

    python evaluate.py --dataset FOLDER --model FOLDER --out FILE [--split holdout] [--as-served]

It reads the features the way training.json says, as any offline check that trusts the model's own description does;
--as-served takes them as live traffic brings them. Checks that onnxruntime and the weights read back agree to 1e-5.
"""

# The Job runs this folder as its own program; a type checker of the whole product does not see its neighbours.
# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from scoring import Array, metrics  # deptry: ignore[DEP001]
from transactions import FEATURES, Table, folder_digest, pipeline  # deptry: ignore[DEP001]

TOLERANCE = 1e-5


def initializers(data: bytes) -> dict[str, Array]:
    """The float tensors of an ONNX file by name, read with a protobuf reader of three wire types."""
    graph = next(value for field, value in _fields(data) if field == 7)
    found: dict[str, Array] = {}
    for field, tensor in _fields(graph):
        if field == 5:
            parts = list(_fields(tensor))
            shape = [int(value) for number, value in parts if number == 1]
            name = next(value for number, value in parts if number == 8).decode()
            raw = next(value for number, value in parts if number == 9)
            found[name] = np.frombuffer(raw, dtype="<f4").reshape(shape).astype(np.float64)
    return found


def _fields(data: bytes) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while place < len(data):
        key = varint()
        if key & 7 == 0:
            found.append((key >> 3, varint()))
        elif key & 7 == 2:
            size = varint()
            found.append((key >> 3, data[place : place + size]))
            place += size
        else:
            raise SystemExit(f"wire type {key & 7}: not a model that train.py wrote")
    return found


def reference(weights: dict[str, Array], x: Array) -> Array:
    """The same network in numpy, in double precision."""
    value = np.log1p(np.maximum(x, 0.0))
    count = sum(name.startswith("w") for name in weights)
    for index in range(1, count + 1):
        value = value @ weights[f"w{index}"] + weights[f"b{index}"]
        value = np.maximum(value, 0.0) if index < count else 1.0 / (1.0 + np.exp(-value))
    return np.asarray(value[:, 0], dtype=np.float64)


def evaluate(dataset: Path, model: Path, *, split: str, as_served: bool) -> dict[str, Any]:
    """The evaluation document. Raises SystemExit when onnxruntime and numpy differ by more than TOLERANCE."""
    data = (model / "model.onnx").read_bytes()
    training = json.loads((model / "training.json").read_text(encoding="utf-8"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    table = Table(dataset / f"{split}.csv")
    x = table.x if as_served else pipeline(table.x, training["feature_pipeline"])
    p = session.run(["probability"], {"input": x.astype(np.float32)})[0][:, 0].astype(np.float64)
    difference = float(np.abs(p - reference(initializers(data), x)).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"onnxruntime and numpy differ by {difference:.2e}, more than {TOLERANCE}")
    return {
        "model": "fraud-detection",
        "version": training["version"],
        "model_digest": folder_digest(model),
        "dataset_digest": folder_digest(dataset),
        "split": split,
        "features": list(FEATURES),
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "max_difference_from_numpy": difference,
        "metrics": metrics(table.y, p),
        "groups": {
            label: metrics(table.y[table.group == value], p[table.group == value])
            for label, value in (("in-store", 0.0), ("online", 1.0))
        },
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="evaluate the exported fraud model")
    parser.add_argument("--dataset", type=Path, required=True, help="folder made by generate.py")
    parser.add_argument("--model", type=Path, required=True, help="folder that train.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="evaluation.json to write (outside the model folder)")
    parser.add_argument("--split", choices=("train", "holdout", "live"), default="holdout")
    parser.add_argument("--as-served", action="store_true", help="take the features as live traffic brings them")
    arguments = parser.parse_args()
    document = evaluate(arguments.dataset, arguments.model, split=arguments.split, as_served=arguments.as_served)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({"event": "evaluation", **document["metrics"]}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
