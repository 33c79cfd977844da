"""A training run that may be interrupted: on SIGTERM it saves where it is, and the next start goes on from there.

The state is written beside the last one and renamed: a machine that goes in the middle leaves the old one whole. With
the random generator's state in it, a run that was interrupted ends with the same bytes as one that was not.

    python train.py --steps 400 --out model.npz        # CUSTOMHOUSE_CHECKPOINT_DIR names the folder
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

INTERRUPTED = 75
"""EX_TEMPFAIL: not done, and not failed either. A podFailurePolicy may name this code."""
ROWS, FEATURES, BATCH, RATE = 2000, 20, 64, 0.05


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--every", type=int, default=50, help="steps between two saves that nobody asked for")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wait-at", type=int, default=-1, help="step at which a first run waits, for a demonstration")
    given = parser.parse_args()
    place = Path(os.environ["CUSTOMHOUSE_CHECKPOINT_DIR"])  # noqa: TID251 - a program of its own
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))

    truth = np.random.default_rng(1)
    inputs = truth.normal(size=(ROWS, FEATURES))
    labels = (inputs @ truth.normal(size=FEATURES) + truth.normal(scale=0.1, size=ROWS) > 0).astype(float)
    weights, step, draw, resumed = restored(place)
    print(f"{'resumed' if resumed else 'started'} at step {step}, loss {loss(weights, inputs, labels):.6f}", flush=True)
    while step < given.steps:
        if step == given.wait_at and not resumed:
            save(place, weights, step, draw)
            while not stop:
                time.sleep(0.01)
        if stop:
            save(place, weights, step, draw)
            print(f"saved at step {step}, loss {loss(weights, inputs, labels):.6f}", flush=True)
            return INTERRUPTED
        rows = draw.integers(0, ROWS, BATCH)
        error = predicted(weights, inputs[rows]) - labels[rows]
        weights = weights - RATE * inputs[rows].T @ error / BATCH
        step += 1
        if step % given.every == 0:
            save(place, weights, step, draw)
    given.out.write_bytes(weights.tobytes())
    print(f"done at step {step}, loss {loss(weights, inputs, labels):.6f}", flush=True)
    return 0


def predicted(weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-inputs @ weights))


def loss(weights: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> float:
    found = np.clip(predicted(weights, inputs), 1e-12, 1 - 1e-12)
    return float(-np.mean(labels * np.log(found) + (1 - labels) * np.log(1 - found)))


def save(place: Path, weights: np.ndarray, step: int, draw: np.random.Generator) -> None:
    draft = place / "state.new"
    state = {"step": step, "weights": weights.tolist(), "draw": draw.bit_generator.state}
    with draft.open("w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, place / "state.json")


def restored(place: Path) -> tuple[np.ndarray, int, np.random.Generator, bool]:
    draw = np.random.default_rng(7)
    try:
        state = json.loads((place / "state.json").read_text())
    except FileNotFoundError:
        return np.zeros(FEATURES), 0, draw, False
    draw.bit_generator.state = state["draw"]
    return np.array(state["weights"]), int(state["step"]), draw, True


if __name__ == "__main__":
    sys.exit(main())
