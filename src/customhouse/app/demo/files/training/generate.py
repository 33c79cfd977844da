"""Generates card transactions with a known cause of fraud: seeded, the same bytes for the same arguments.

    python generate.py --out FOLDER [--seed 7] [--rows 24000]

Writes train.csv (60 %), holdout.csv (20 %), live.csv (20 %, what the demo's shoppers send) and README.md, the card.
"""

# The Job runs this folder as its own program; a type checker of the whole product does not see its neighbours.
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from transactions import FEATURES, GROUP, LABEL, Array, folder_digest  # deptry: ignore[DEP001]

FRAUD_RATE = 0.03
LABEL_NOISE = 0.002
"""Share of labels that are wrong both ways: chargebacks that were mistakes, frauds that nobody noticed."""

CARD = """\
# Card transactions (synthetic)

Made by generate.py with seed {seed}; {rows} rows. No person, card or merchant exists. Licence: CC0-1.0.
Purpose: to train and to watch a small fraud model. Not fit for any decision about real people.

| column | unit | meaning |
|---|---|---|
| amount | US dollars | log-normal, median 35 |
| hour | 0 to 23, local time | when it happened |
| merchant_risk | 0 to 1 | past share of disputes in the merchant's category, rescaled |
| distance_km | kilometres | from the card holder's usual place |
| velocity_1h | count | transactions of this card in the hour before |
| device_age_days | days | since this device was first seen |
| foreign | 0 or 1 | merchant in another country |
| prior_chargebacks | count | of this card, ever |
| channel | 0 in store, 1 online | not a model input; metrics are also given by it |
| fraud | 0 or 1 | the label: {share:.2%} of all rows; {noise:.1%} of labels are wrong |

Cause: fraud is drawn from a logistic function of the columns with two interactions (foreign × distance; night ×
amount), so a linear model cannot reach the best score. Split at random: train 60 %, holdout 20 %, live 20 %.
"""


def _draw(rng: np.random.Generator, rows: int) -> tuple[Array, Array, Array]:
    channel = (rng.random(rows) < 0.4).astype(np.float64)
    amount = np.round(np.exp(rng.normal(3.55, 1.05, rows)), 2)
    hour = np.floor((rng.normal(14.5, 5.0, rows)) % 24.0)
    merchant_risk = np.round(rng.beta(1.6, 6.0, rows), 3)
    distance = np.round(np.exp(rng.normal(1.8 + 0.6 * channel, 1.3, rows)), 1)
    velocity = rng.poisson(0.7 + 0.5 * channel).astype(np.float64)
    device_age = np.round(rng.exponential(220.0, rows), 0)
    foreign = (rng.random(rows) < 0.06 + 0.08 * channel).astype(np.float64)
    chargebacks = rng.poisson(0.08, rows).astype(np.float64)
    night = (hour < 6).astype(np.float64)
    score = (
        0.95 * (np.log1p(amount) - 3.6)
        + 5.0 * (merchant_risk - 0.21)
        + 0.55 * (np.log1p(distance) - 2.0)
        + 0.75 * (velocity - 0.9)
        - 0.70 * (np.log1p(device_age) - 4.7)
        + 0.9 * foreign
        + 1.5 * chargebacks
        + 1.3 * foreign * (np.log1p(distance) - 2.0)
        + 1.2 * night * (np.log1p(amount) - 3.0)
    )
    score = 1.6 * score
    # The intercept that gives the declared fraud rate, by bisection.
    low, high = -30.0, 10.0
    for _ in range(60):
        middle = (low + high) / 2.0
        rate = float(np.mean(1.0 / (1.0 + np.exp(-(score + middle)))))
        low, high = (middle, high) if rate < FRAUD_RATE else (low, middle)
    fraud = (rng.random(rows) < 1.0 / (1.0 + np.exp(-(score + low)))).astype(np.float64)
    fraud = np.where(rng.random(rows) < LABEL_NOISE, 1.0 - fraud, fraud)
    table = np.stack([amount, hour, merchant_risk, distance, velocity, device_age, foreign, chargebacks], axis=1)
    return table, fraud, channel


def _write(path: Path, x: Array, y: Array, group: Array) -> None:
    formats = ("%.2f", "%d", "%.3f", "%.1f", "%d", "%d", "%d", "%d", "%d", "%d")
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.write(",".join((*FEATURES, GROUP, LABEL)) + "\n")
        np.savetxt(handle, np.column_stack([x, group, y]), fmt=formats, delimiter=",", newline="\n")


def generate(out: Path, *, seed: int, rows: int) -> str:
    """Write the dataset into `out` (made if missing) and return its digest."""
    out.mkdir(parents=True, exist_ok=True)
    x, y, group = _draw(np.random.Generator(np.random.PCG64(seed)), rows)
    first, second = int(rows * 0.6), int(rows * 0.8)
    for name, part in (
        ("train", slice(0, first)),
        ("holdout", slice(first, second)),
        ("live", slice(second, rows)),
    ):
        _write(out / f"{name}.csv", x[part], y[part], group[part])
    card = CARD.format(seed=seed, rows=rows, share=float(y.mean()), noise=LABEL_NOISE)
    (out / "README.md").write_text(card, encoding="utf-8")
    return str(folder_digest(out))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="generate card transactions")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rows", type=int, default=24_000, help="transactions in all")
    arguments = parser.parse_args()
    if not 1_000 <= arguments.rows <= 5_000_000:
        parser.error("--rows must be between 1000 and 5000000")
    digest = generate(arguments.out, seed=arguments.seed, rows=arguments.rows)
    sys.stdout.write(json.dumps({"event": "dataset", "rows": arguments.rows, "digest": digest}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
