"""Reads the dataset folder: columns, digest, and the two ways in which a feature pipeline may fill the columns."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FEATURES = (
    "amount",
    "hour",
    "merchant_risk",
    "distance_km",
    "velocity_1h",
    "device_age_days",
    "foreign",
    "prior_chargebacks",
)
"""The model's input columns, in order; units are in the dataset card. All are non-negative."""
LABEL = "fraud"
GROUP = "channel"
"""Column that metrics are also given by (0 in store, 1 online)."""

Array = NDArray[np.float64]


class Table:
    """One CSV file: `x` [n, 8], `y` [n] in {0, 1}, `group` [n]."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8") as handle:
            header = handle.readline().strip().split(",")
            values = np.loadtxt(handle, delimiter=",", dtype=np.float64, ndmin=2)
        missing = [name for name in (*FEATURES, LABEL, GROUP) if name not in header]
        if missing:
            raise SystemExit(f"{path}: no column {', '.join(missing)}; make the dataset with generate.py")
        self.x: Array = values[:, [header.index(name) for name in FEATURES]]
        self.y: Array = values[:, header.index(LABEL)]
        self.group: Array = values[:, header.index(GROUP)]


def pipeline(x: Array, name: str) -> Array:
    """The features as a pipeline delivers them.

    `serving` is what live requests bring: device age in days. `warehouse` is an export that counts it in minutes: a
    model trained on it looks as good on that export's own holdout, and on live traffic takes every device for new.
    """
    if name == "serving":
        return x
    if name == "warehouse":
        scaled = x.copy()
        scaled[:, FEATURES.index("device_age_days")] *= 1440.0
        return scaled
    raise SystemExit(f"unknown feature pipeline {name!r}; known: serving, warehouse")


def folder_digest(folder: Path) -> str:
    """Digest of a folder as declarations pin it: sha256 of the canonical JSON list of path, sha256 and size."""
    files = []
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).as_posix()):
        data = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        files.append({"path": name, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})
    text = json.dumps({"files": files}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
