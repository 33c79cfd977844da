"""Keeps the rows that are two whole numbers, each x once, in order: the program of the declared preparation Job.

python clean.py --raw FOLDER --out FOLDER
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--raw", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows: dict[int, int] = {}
    for line in (given.raw / "rows.csv").read_text().splitlines():
        if found := re.fullmatch(r"(\d+),(\d+)", line.strip()):
            rows.setdefault(int(found[1]), int(found[2]))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "rows.csv").write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in sorted(rows.items())))


if __name__ == "__main__":
    main()
