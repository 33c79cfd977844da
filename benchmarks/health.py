"""The health of objects, beside reading the same objects from JSON in the same run.

`python benchmarks/health.py FOLDER`: FOLDER holds the given cases (`GROUP/KIND/testdata/*.yaml`, `_builtin/testdata`).
CPU seconds, the best of five rounds; what is read is what a watch sends for the object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from customhouse.execution.health import health
from customhouse.execution.health.generic import generic
from customhouse.execution.health.seen import seen

ROUNDS, TIMES = 5, 20


def _objects(folder: Path) -> list[dict[str, Any]]:
    files = sorted([*folder.glob("*/*/testdata/**/*.yaml"), *folder.glob("_builtin/testdata/*.yaml")])
    found = [item for file in files for item in yaml.load_all(file.read_text(), yaml.CSafeLoader)]
    return [json.loads(json.dumps(item, default=str)) for item in found if isinstance(item, dict)]


def _microseconds(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    for item in items:
        work(item)
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(TIMES):
            for item in items:
                work(item)
        best = min(best, time.process_time() - start)
    return best / TIMES / len(items) * 1e6


def main() -> None:
    folder = Path(sys.argv[1])
    objects = _objects(folder)
    workloads = [item for item in objects if item["apiVersion"] in ("v1", "apps/v1", "batch/v1")]
    texts = [json.dumps(item) for item in objects]
    read = _microseconds(json.loads, texts)
    print(f"{len(objects)} objects, {sum(map(len, texts)) / len(texts):,.0f} bytes on average")
    print(f"json.loads                    {read:6.1f} µs an object   1.00")
    rows = [
        ("health", _microseconds(health, objects)),
        ("health, Kubernetes' own kinds", _microseconds(health, workloads)),
        ("the rule for kinds never seen", _microseconds(lambda item: generic(seen(item)), objects)),
    ]
    for name, took in rows:
        print(f"{name:<30}{took:6.1f} µs an object   {took / read:.2f}")


if __name__ == "__main__":
    main()
