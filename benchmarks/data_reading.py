"""How long a table takes to validate, and how much memory: every row read, hashed and checked once; DuckDB beside it.

    python benchmarks/data_reading.py [--rows 1000000]

DuckDB (where it is installed) summarises the same file and counts its distinct rows, which is less: it names no lines,
no encoding and no ragged rows, and gives no tree over the rows.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from customhouse._kit.digest import tree
from customhouse.trust.dataset.layout import layout
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.validation import validate


def write(place: Path, rows: int) -> None:
    random = np.random.default_rng(1)
    with place.open("w", encoding="utf-8") as file:
        file.write("id,amount,hour,risk,distance,velocity,country,merchant,label\n")
        for start in range(0, rows, 100_000):
            count = min(100_000, rows - start)
            numbers = zip(
                range(start, start + count),
                random.gamma(2, 40, count).round(2).tolist(),
                random.integers(0, 24, count).tolist(),
                random.random(count).round(3).tolist(),
                random.exponential(20, count).round(1).tolist(),
                random.poisson(2, count).tolist(),
                random.choice(["DE", "FR", "US"], count).tolist(),
                random.integers(0, 5000, count).tolist(),
                (random.random(count) < 0.05).astype(int).tolist(),
                strict=True,
            )
            file.writelines(",".join(map(str, row)) + "\n" for row in numbers)


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "rows.csv"
        write(place, asked.rows)
        size, before = place.stat().st_size / 1e6, memory()
        begun = time.process_time()
        found = validate(layout(place, tree(place)), Schema(label="label"), datetime(2026, 1, 1, tzinfo=UTC))
        own = time.process_time() - begun
        print(f"{found.rows} rows, {size:.0f} MB: {own:.1f} CPU-s, {memory()} MB ({before} MB before)")
        try:
            duckdb = importlib.import_module("duckdb")
        except ImportError:
            print("DuckDB is not installed")
            return 0
        begun = time.process_time()
        connection = duckdb.connect()
        connection.execute(f"summarize select * from read_csv('{place}')").fetchall()
        columns = "amount,hour,risk,distance,velocity,country,merchant,label"
        connection.execute(f"select count(distinct hash({columns})) from read_csv('{place}')").fetchall()
        other = time.process_time() - begun
        print(f"DuckDB {duckdb.__version__}: {other:.1f} CPU-s, {memory()} MB; ratio {own / other:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
