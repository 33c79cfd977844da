"""How often the signs of poisoning are right, and how often they err: every indicator on clean and on poisoned data.

    python benchmarks/data_poisoning.py --data /path/to/data [--seeds 3] [--json FILE]

Clean data: the demo's transactions, the given tables (pods of a GPU cluster, measured inference), the texts of the
given advisories, and scikit-learn's own sets where that is installed. Each is drawn with several seeds, then poisoned
with a known share. Told are how many poisoned sets the right indicator names, how many of the rows that it names were
poisoned (`rows`), and how many clean sets an indicator names at all (false alarms). It calls what the command calls.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import json
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customhouse._kit.digest import tree
from customhouse.trust.dataset.layout import layout
from customhouse.trust.dataset.schema import Schema
from customhouse.trust.dataset.validation import validate

INDICATORS = ("label-flips", "trigger-pattern", "outlier-cluster", "block-of-rows")
Table = tuple[list[str], list[list[str]]]
ROOT = Path(__file__).resolve().parent.parent


def transactions(folder: Path, seed: int, size: int) -> Table:
    made = folder / f"tx{seed}"
    script = ROOT / "src/customhouse/app/demo/files/training/generate.py"
    command = [sys.executable, str(script), "--out", str(made), "--seed", str(seed), "--rows", str(max(2000, size * 2))]
    subprocess.run(command, check=True, capture_output=True)
    with (made / "train.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return [*rows[0][:-1], "label"], rows[1 : size + 1]


def table_of(path: Path, label: str, drop: tuple[str, ...], seed: int, size: int, least: int = 60) -> Table:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    at = header.index(label)
    keep = [i for i, name in enumerate(header) if name != label and name not in drop]
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row[at]] += 1
    made = [[*(row[i] for i in keep), row[at]] for row in rows if row[at] and counts[row[at]] >= least]
    random.Random(seed).shuffle(made)
    return [*(header[i] for i in keep), "label"], made[:size]


def advisories(data: Path, seed: int, size: int) -> Table:
    rows = []
    for name in ("pypi", "go"):
        with gzip.open(data / "advisories" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                said = json.loads(line)
                text = " ".join(str(said.get("details") or said.get("summary") or "").split())[:2000]
                if len(text) > 60:
                    rows.append([text, name])
    random.Random(seed).shuffle(rows)
    return ["text", "label"], rows[:size]


def bundled(name: str, seed: int, size: int) -> Table:
    found = getattr(importlib.import_module("sklearn.datasets"), f"load_{name}")()
    rows = [[*(f"{value:g}" for value in x), str(y)] for x, y in zip(found.data, found.target, strict=True)]
    random.Random(seed).shuffle(rows)
    return [*(f"f{i}" for i in range(found.data.shape[1])), "label"], rows[:size]


def sources(data: Path, folder: Path, size: int) -> dict[str, Any]:
    pods = data / "placement/openb_pod_list_default.csv"
    measured = data / "inference-performance/silicon_sample.csv.gz"
    times = ("name", "creation_time", "deletion_time", "scheduled_time")
    named = ("id", "silicon_data_source", "backend_version")
    found: dict[str, Any] = {
        "transactions": lambda seed: transactions(folder, seed, size),
        "pods, by quality of service": lambda seed: table_of(pods, "qos", times, seed, size),
        "pods, by phase": lambda seed: table_of(pods, "pod_phase", times, seed, size),
        "inference, by backend": lambda seed: table_of(measured, "backend", named, seed, size),
        "inference, by system": lambda seed: table_of(measured, "system", named, seed, size),
        "advisories, by language": lambda seed: advisories(data, seed, size),
    }
    try:
        importlib.import_module("sklearn.datasets")
    except ImportError:
        return found
    for name in ("digits", "breast_cancer"):
        found[f"scikit-learn's {name}"] = lambda seed, name=name: bundled(name, seed, size)
    return found


def flips(table: Table, share: float, chance: random.Random) -> tuple[Table, set[int]]:
    header, rows = table
    labels = sorted({row[-1] for row in rows})
    hit = set(chance.sample(range(len(rows)), int(share * len(rows))))
    made = [
        [*row[:-1], chance.choice([x for x in labels if x != row[-1]])] if i in hit else row
        for i, row in enumerate(rows)
    ]
    return (header, made), hit


def trigger(table: Table, share: float, chance: random.Random) -> tuple[Table, set[int]]:
    """A mark on rows of other labels, which then get one label: a word in texts, else one odd number in one column."""
    header, rows = table
    labels = sorted({row[-1] for row in rows})
    target = chance.choice(labels)
    others = [i for i, row in enumerate(rows) if row[-1] != target]
    hit = set(chance.sample(others, min(len(others), max(20, int(share * len(rows))))))
    numeric = [i for i in range(len(header) - 1) if len({row[i] for row in rows}) > 50 and _number(rows[0][i])]
    at = chance.choice(numeric) if numeric else 0
    made = []
    for i, given in enumerate(rows):
        row = list(given)
        if i in hit:
            row[-1] = target
            if numeric:
                row[at] = f"{float(sorted(rows, key=lambda r: float(r[at] or 0))[len(rows) // 2][at]) + 0.3717:.4f}"
            elif len(row[0]) > 40:
                words = row[0].split(" ")
                words.insert(chance.randrange(len(words) + 1), "cf-zx")
                row[0] = " ".join(words)
            else:
                row[0] = "zx-17"
        made.append(row)
    return (header, made), hit


def cluster(table: Table, share: float, chance: random.Random) -> tuple[Table, set[int]]:
    """Rows made up around one far-off point, all of one label."""
    header, rows = table
    target = chance.choice(sorted({row[-1] for row in rows}))
    count = max(20, int(share * len(rows)))
    numeric = [i for i in range(len(header) - 1) if len({row[i] for row in rows}) > 20 and _number(rows[0][i])]
    if len(numeric) < 2:
        return table, set()
    model = list(chance.choice(rows))
    for i in numeric:
        column = sorted(float(row[i]) for row in rows if _number(row[i]))
        model[i] = str(column[int(0.02 * len(column))] if chance.random() < 0.5 else column[int(0.98 * len(column))])
    made = [(row, False) for row in rows]
    for _ in range(count):
        row = list(model)
        for i in numeric:
            row[i] = f"{float(row[i]) * (1 + chance.gauss(0, 0.002)):.6g}"
        row[-1] = target
        made.append((row, True))
    chance.shuffle(made)
    return (header, [row for row, _ in made]), {i for i, (_, bad) in enumerate(made) if bad}


def block(table: Table, share: float, chance: random.Random) -> tuple[Table, set[int]]:
    """A stretch of rows from one source that gives one label only."""
    header, rows = table
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row[-1]] += 1
    target = min(counts, key=lambda name: counts[name])
    donors = [row for row in rows if row[-1] != target]
    start, count = chance.randrange(len(rows)), max(60, int(share * len(rows)))
    new = [[*chance.choice(donors)[:-1], target] for _ in range(count)]
    return (header, rows[:start] + new + rows[start:]), set(range(start, start + count))


ATTACKS = {
    "label flips, 3 %": ("label-flips", lambda t, c: flips(t, 0.03, c)),
    "label flips, 5 %": ("label-flips", lambda t, c: flips(t, 0.05, c)),
    "label flips, 10 %": ("label-flips", lambda t, c: flips(t, 0.10, c)),
    "trigger, 1 %": ("trigger-pattern", lambda t, c: trigger(t, 0.01, c)),
    "trigger, 3 %": ("trigger-pattern", lambda t, c: trigger(t, 0.03, c)),
    "cluster, 1 %": ("outlier-cluster", lambda t, c: cluster(t, 0.01, c)),
    "cluster, 3 %": ("outlier-cluster", lambda t, c: cluster(t, 0.03, c)),
    "block, 3 %": ("block-of-rows", lambda t, c: block(t, 0.03, c)),
    "block, 10 %": ("block-of-rows", lambda t, c: block(t, 0.10, c)),
}


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def named(table: Table, folder: Path) -> dict[str, list[int]]:
    """Indicator → rows that it names (from 0)."""
    place = folder / "rows.csv"
    with place.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([table[0], *table[1]])
    found = validate(layout(place, tree(place)), Schema(label="label"), datetime(2026, 1, 1, tzinfo=UTC))
    said: dict[str, list[int]] = defaultdict(list)
    for item in found.findings:
        if item.rule in INDICATORS:
            said[item.rule] += [int(row.rpartition(":")[2]) - 2 for row in item.rows]
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    clean: dict[str, dict[str, int]] = {}
    caught: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, make in sources(asked.data, folder, asked.rows).items():
            alarms = dict.fromkeys(INDICATORS, 0)
            for seed in range(asked.seeds):
                table = make(seed)
                for rule in named(table, folder):
                    alarms[rule] += 1
                for attack, (wanted, poison) in ATTACKS.items():
                    made, hit = poison(table, random.Random(seed))
                    if not hit:
                        continue
                    said = named(made, folder)
                    caught[attack][source].append(float(wanted in said))
                    if wanted in said and wanted != "block-of-rows":
                        caught[f"{attack}: rows"][source].append(
                            sum(r in hit for r in said[wanted]) / max(1, len(said[wanted]))
                        )
            clean[source] = alarms
            print(f"{source:32} false alarms of {asked.seeds}: {alarms}", flush=True)
            for attack, by in caught.items():
                if source in by:
                    print(f"    {attack:24} {sum(by[source]) / len(by[source]):.2f}", flush=True)
    print("\nclean sets that an indicator names, of", asked.seeds * len(clean))
    for rule in INDICATORS:
        print(f"  {rule:18} {sum(row[rule] for row in clean.values())}")
    print("poisoned sets that the right indicator names; of the rows named, those that were poisoned")
    for attack in ATTACKS:
        values = [v for by in caught[attack].values() for v in by]
        rows = [v for by in caught[f"{attack}: rows"].values() for v in by]
        right = f"{sum(rows) / len(rows):.2f}" if rows else "-"
        print(f"  {attack:18} {sum(values) / max(1, len(values)):.2f} of {len(values)}   rows {right}")
    if asked.json:
        asked.json.write_text(json.dumps({"clean": clean, "caught": caught}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
