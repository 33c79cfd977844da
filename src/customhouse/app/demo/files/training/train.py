"""Trains the fraud model on a dataset folder and exports ONNX: the program of the declared training Job.

    python train.py --dataset FOLDER --out FOLDER --variant v2.0 [--dataset-digest sha256:…] [--seed 1]

Writes model.onnx, metrics.json and training.json into --out; one JSON line per epoch on stdout. Deterministic: the same
dataset, variant and seed give the same bytes.
"""

# The Job runs this folder as its own program; a type checker of the whole product does not see its neighbours.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One thread, set before numpy loads its BLAS: sums in a fixed order give the same model bytes.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.putenv(_name, "1")

import numpy as np  # noqa: E402 - after the threads are set
from onnx_writer import Floats, perceptron  # noqa: E402  # deptry: ignore[DEP001]
from scoring import Array, losses, metrics  # noqa: E402  # deptry: ignore[DEP001]
from transactions import FEATURES, Table, folder_digest, pipeline  # noqa: E402  # deptry: ignore[DEP001]


@dataclass(frozen=True)
class Variant:
    """How one version is trained. `features` are those that the model may use; the others get weight 0."""

    hidden: int
    epochs: int
    features: tuple[str, ...]
    feature_pipeline: str


VARIANTS = {
    "v2.0": Variant(6, 6, FEATURES[:6], "serving"),
    "v2.1": Variant(16, 14, FEATURES, "serving"),
    # A careful model on an export with other units. Its own holdout comes from the same export, so every offline check
    # is content; only live, labelled traffic shows it.
    "v2.2": Variant(16, 14, FEATURES, "warehouse"),
}
BATCH = 128
RATE = 0.01


def say(**event: Any) -> None:
    """One JSON line on stdout, at once."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def forward(layers: list[tuple[Array, Array]], x: Array) -> tuple[list[Array], Array]:
    """The input of every layer, and the probability [n]."""
    inputs = [x]
    for weights, bias in layers[:-1]:
        inputs.append(np.maximum(inputs[-1] @ weights + bias, 0.0))
    z = inputs[-1] @ layers[-1][0] + layers[-1][1]
    return inputs, 1.0 / (1.0 + np.exp(-np.clip(z[:, 0], -60.0, 60.0)))


def gradients(layers: list[tuple[Array, Array]], x: Array, y: Array) -> list[Array]:
    """Of the mean log-loss, in the order weights, bias, weights, bias …."""
    inputs, p = forward(layers, x)
    delta = ((p - y) / len(y))[:, None]
    found: list[Array] = []
    for index in range(len(layers) - 1, -1, -1):
        found[:0] = [inputs[index].T @ delta, delta.sum(axis=0)]
        if index:
            delta = (delta @ layers[index][0].T) * (inputs[index] > 0.0)
    return found


def fit(x: Array, y: Array, variant: Variant, seed: int) -> list[tuple[Array, Array]]:
    """Adam with a falling rate on mini-batches; x is normalised. Says the loss after every epoch."""
    rng = np.random.Generator(np.random.PCG64(seed))
    width = x.shape[1]
    prior = float(np.log(y.mean() / (1.0 - y.mean())))
    layers = [
        (rng.normal(0.0, np.sqrt(2.0 / width), (width, variant.hidden)), np.zeros(variant.hidden)),
        (rng.normal(0.0, np.sqrt(1.0 / variant.hidden), (variant.hidden, 1)), np.full(1, prior)),
    ]
    parameters = [array for layer in layers for array in layer]
    first = [np.zeros_like(array) for array in parameters]
    second = [np.zeros_like(array) for array in parameters]
    step, total = 0, variant.epochs * -(-len(x) // BATCH)
    for epoch in range(1, variant.epochs + 1):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            step += 1
            rate = RATE * (1.0 - step / (total + 1)) * np.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
            for index, gradient in enumerate(gradients(layers, x[rows], y[rows])):
                first[index] = 0.9 * first[index] + 0.1 * gradient
                second[index] = 0.999 * second[index] + 0.001 * gradient**2
                parameters[index] -= rate * first[index] / (np.sqrt(second[index]) + 1e-8)
        say(event="epoch", epoch=epoch, step=step, loss=round(float(losses(y, forward(layers, x)[1]).mean()), 6))
    return layers


def folded(layers: list[tuple[Array, Array]], mean: Array, scale: Array, kept: Array) -> list[tuple[Floats, Floats]]:
    """The layers with the normalisation in the first one, as float32; columns not kept have weight 0."""
    weights = layers[0][0] * (kept / scale)[:, None]
    bias = layers[0][1] - mean @ weights
    changed = [(weights, bias), *layers[1:]]
    return [(w.astype(np.float32), b.astype(np.float32)) for w, b in changed]


def train(dataset: Path, out: Path, *, name: str, seed: int) -> dict[str, Any]:
    """Train, export and measure; returns the metrics document."""
    variant = VARIANTS[name]
    table = Table(dataset / "train.csv")
    x = np.log1p(pipeline(table.x, variant.feature_pipeline))
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    kept = np.array([feature in variant.features for feature in FEATURES], dtype=np.float64)
    layers = folded(fit((x - mean) / scale * kept, table.y, variant, seed), mean, scale, kept)
    model = perceptron(layers, producer_version=name)
    holdout = Table(dataset / "holdout.csv")
    wide = [(w.astype(np.float64), b.astype(np.float64)) for w, b in layers]
    p = forward(wide, np.log1p(pipeline(holdout.x, variant.feature_pipeline)))[1]
    document = {
        "model": "fraud-detection",
        "version": name,
        "holdout": metrics(holdout.y, p),
        "groups": {
            label: metrics(holdout.y[holdout.group == value], p[holdout.group == value])
            for label, value in (("in-store", 0.0), ("online", 1.0))
        },
    }
    training = {
        "version": name,
        "seed": seed,
        "dataset": folder_digest(dataset),
        "features": list(variant.features),
        "feature_pipeline": variant.feature_pipeline,
        "hidden": variant.hidden,
        "epochs": variant.epochs,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(model)
    for file, value in (("metrics.json", document), ("training.json", training)):
        (out / file).write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return document


def main() -> int:
    """The command line; 3 when the dataset does not have the digest that was declared."""
    parser = argparse.ArgumentParser(description="train the fraud model")
    parser.add_argument("--dataset", type=Path, required=True, help="folder made by generate.py")
    parser.add_argument("--dataset-digest", default="", help="refuse any other dataset")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    parser.add_argument("--variant", choices=sorted(VARIANTS), required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not (arguments.dataset / "train.csv").is_file():
        parser.error(f"{arguments.dataset} holds no train.csv; make it with generate.py")
    found = folder_digest(arguments.dataset)
    if arguments.dataset_digest and arguments.dataset_digest != found:
        say(event="refused", reason="dataset digest", declared=arguments.dataset_digest, found=found)
        sys.stderr.write(f"the dataset has digest {found}, declared is {arguments.dataset_digest}\n")
        return 3
    say(event="start", variant=arguments.variant, dataset=found, seed=arguments.seed)
    document = train(arguments.dataset, arguments.out, name=arguments.variant, seed=arguments.seed)
    say(event="done", auc=document["holdout"]["auc"]["value"], log_loss=document["holdout"]["log_loss"]["value"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
