"""The packaged book against the price files it was made from, row by row."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

from customhouse.observability.prices import PREEMPTIBLE, PriceBook


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "prices" / name).open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_row_of_the_clouds_is_in_the_book_and_zero_is_unpriced(shared_data: Path) -> None:
    book = PriceBook.load()
    seen: Counter[str] = Counter()
    for row in rows(shared_data, "aws_ondemand.csv") + rows(shared_data, "azure_ondemand.csv"):
        price = book._part(row["provider"], row["region"])[row["instance_type"], row["pricing"]]
        assert price.usd_per_hour == row["usd_per_hour"]
        assert price.as_of == row["as_of"]
        if Decimal(row["usd_per_hour"]) == 0:
            assert book.machine(row["provider"], row["region"], row["instance_type"]) is None
            seen["unpriced"] += 1
        seen[row["provider"]] += 1
    assert seen == {"aws": 1367, "azure": 65112, "unpriced": 68}


def test_google_machines_have_the_prices_of_the_file(shared_data: Path) -> None:
    book, checked = PriceBook.load(), 0
    pricing = {"instancePrices": "OnDemand", "preemptiblePrices": PREEMPTIBLE}
    for row in rows(shared_data, "gce.csv"):
        if row["table"] in pricing:
            rate = book.machine("gcp", "us-central1", row["name"], pricing[row["table"]])
            assert rate is not None
            assert rate.per_hour.to_decimal() == Decimal(row["value"])
            checked += 1
    assert checked == 439


def test_google_disks_have_the_prices_of_the_file(shared_data: Path) -> None:
    book = PriceBook.load()
    disks = {r["name"]: r["value"] for r in rows(shared_data, "gce.csv") if r["table"] == "bootDiskPricePerHour"}
    assert set(disks) == {"pd-standard", "pd-balanced", "pd-ssd"}
    for name, value in disks.items():
        rate = book.unit(f"storage/{name}", "gcp", "us-central1")
        assert rate is not None
        assert rate.per_hour.to_decimal() == Decimal(value)
    assert not [name for name in book.accelerators("gcp", "us-central1") if "storage" in name]


def test_machine_shapes_are_those_of_the_file(shared_data: Path) -> None:
    book = PriceBook.load()
    for row in rows(shared_data, "machine_shapes.csv"):
        shape = book.shape(row["provider"], row["instance_type"])
        assert shape is not None
        assert (shape.vcpu, shape.memory_mib, shape.devices) == (
            int(row["vcpu"]),
            int(row["memory_mib"]),
            int(row["gpu_count"]),
        )


def test_the_build_script_gives_the_packaged_book(shared_data: Path, repository_root: Path) -> None:
    script = repository_root / "scripts" / "build_price_book.py"
    done = subprocess.run(
        [sys.executable, str(script), str(shared_data / "prices"), "--check"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
