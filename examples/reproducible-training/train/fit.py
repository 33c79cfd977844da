"""Fits a line to rows of x and y: the program of the declared training Job.

    python fit.py --rows FOLDER --out FOLDER [--seed 1]

Writes model.json and metrics.json. Sums are of whole numbers, so that the same rows give the same bytes on any machine.
"""

from __future__ import annotations

import argparse
import json
import random
from fractions import Fraction
from pathlib import Path


def fit(rows: list[tuple[int, int]]) -> tuple[Fraction, Fraction]:
    """Slope and intercept by least squares, exactly."""
    n = len(rows)
    sum_x, sum_y = sum(x for x, _ in rows), sum(y for _, y in rows)
    slope = Fraction(
        n * sum(x * y for x, y in rows) - sum_x * sum_y,
        n * sum(x * x for x, _ in rows) - sum_x * sum_x,
    )
    return slope, (sum_y - slope * sum_x) / n


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    text = (given.rows / "rows.csv").read_text().split()[1:]
    rows = [(int(x), int(y)) for x, y in (line.split(",") for line in text)]
    random.Random(given.seed).shuffle(rows)
    kept, held = rows[len(rows) // 4 :], rows[: len(rows) // 4]
    slope, intercept = fit(kept)
    error = sum(abs(slope * x + intercept - y) for x, y in held) / len(held)
    given.out.mkdir(parents=True, exist_ok=True)
    model = {"slope": str(slope), "intercept": str(intercept)}
    (given.out / "model.json").write_text(json.dumps(model, sort_keys=True) + "\n")
    (given.out / "metrics.json").write_text(json.dumps({"holdout": {"mean_error": round(float(error), 6)}}) + "\n")


if __name__ == "__main__":
    main()
