"""Build the packaged price book from a folder of list prices: `python scripts/build_price_book.py FOLDER [--check]`.

FOLDER holds aws_ondemand.csv, azure_ondemand.csv, gce.csv, machine_shapes.csv and the LICENSE and NOTICE files of
their sources. Prices are copied as the text that the source has, never through a float. The same input gives the same
bytes: members are sorted, their times fixed. `--check` compares with what is packaged and writes nothing.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
import zipfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from customhouse._kit.canonical import canonical_json
from customhouse._kit.digest import bytes_digest
from customhouse._kit.money import Money
from customhouse.observability import hardware
from customhouse.observability.book_files import ON_DEMAND, PREEMPTIBLE, SCHEMA, UNIT

DATA = Path(__file__).resolve().parent.parent / "src/customhouse/observability/data"
ORIGINS = {
    "aws_ondemand.csv": "aws/karpenter-provider-aws @1d92708, pkg/providers/pricing/zz_generated.pricing_aws.go",
    "azure_ondemand.csv": "Azure/karpenter-provider-azure @352646f, pkg/providers/pricing/zz_generated.pricing.go",
    "gce.csv": "kubernetes/autoscaler @55c37cd, cluster-autoscaler/cloudprovider/gce/gce_price_info.go",
    "machine_shapes.csv": "kubernetes/autoscaler @55c37cd, cluster-autoscaler/cloudprovider/*/*_instance_types.go",
}
NOTICES = (
    "LICENSE.karpenter-provider-aws",
    "LICENSE.karpenter-provider-azure",
    "LICENSE.kubernetes-autoscaler",
    "NOTICE.karpenter-provider-aws",
    "NOTICE.karpenter-provider-azure",
)
GCE_REGION = "us-central1"
"""The Google file names no region; its fallback prices are those of us-central1, so that is where they are valid."""
GCE_FAMILY = "n2"
"""The general-purpose family whose vCPU and memory prices are the unit prices on Google."""

Prices = dict[str, list[tuple[str, str, str]]]


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    """All rows of a source file."""
    with (folder / name).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def clouds(folder: Path) -> tuple[Prices, dict[str, str]]:
    """AWS and Azure: `provider/region` → rows, and → the oldest date."""
    prices: Prices = defaultdict(list)
    dates: dict[str, str] = {}
    for name in ("aws_ondemand.csv", "azure_ondemand.csv"):
        for row in rows(folder, name):
            part = f"{row['provider']}/{row['region']}"
            Money.parse(row["usd_per_hour"])
            prices[part].append((row["instance_type"], row["pricing"], row["usd_per_hour"]))
            dates[part] = min(row["as_of"], dates.get(part, row["as_of"]))
    return prices, dates


def google(folder: Path) -> list[tuple[str, str, str]]:
    """Machines, attached accelerators, disks, and the unit prices of the reference family."""
    tables: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows(folder, "gce.csv"):
        tables[row["table"]][row["name"]] = row["value"]
    found = [(name, ON_DEMAND, value) for name, value in tables["instancePrices"].items()]
    found += [(name, PREEMPTIBLE, value) for name, value in tables["preemptiblePrices"].items()]
    for table, pricing in (("gpuPrices", ON_DEMAND), ("preemptibleGpuPrices", PREEMPTIBLE)):
        found += [(UNIT + hardware.GCE_ATTACHED[name], pricing, value) for name, value in tables[table].items()]
    discount = Decimal(tables["predefinedPreemptibleDiscount"][GCE_FAMILY])
    for unit, table in (("vcpu", "predefinedCpuPricePerHour"), ("GiB", "predefinedMemoryPricePerHourPerGb")):
        price = Decimal(tables[table][GCE_FAMILY])
        # The source's rule is price × factor; twelve places are kept, as Money does.
        spot = (price * discount).quantize(Decimal("1e-12"))
        found += [(UNIT + unit, ON_DEMAND, str(price)), (UNIT + unit, PREEMPTIBLE, f"{spot:f}")]
    # Disks: US dollars a GiB and hour (the file's own monthly price over its 720 hours).
    found += [(f"{UNIT}storage/{name}", ON_DEMAND, value) for name, value in tables["bootDiskPricePerHour"].items()]
    return [(name, pricing, f"{Decimal(value):f}") for name, pricing, value in found]


def shapes(folder: Path, google_prices: list[tuple[str, str, str]]) -> dict[str, list[tuple[str, ...]]]:
    """Provider → instance type, vCPU, MiB, devices, architecture, accelerator class, share of one per device."""
    found: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for row in rows(folder, "machine_shapes.csv"):
        name, devices = row["instance_type"], int(row["gpu_count"])
        model = hardware.accelerator(row["provider"], name) if devices else None
        found[row["provider"]].append(
            (
                name,
                row["vcpu"],
                row["memory_mib"],
                str(devices),
                row["architecture"],
                model.name if model else "",
                str(model.share) if model and model.share != 1 else "",
            )
        )
    for name in sorted({name for name, _, _ in google_prices}):
        shape = hardware.gce_shape(name)
        if shape is not None:
            vcpu, memory, devices = shape
            model = hardware.accelerator("gcp", name) if devices else None
            architecture = "arm64" if name.startswith("t2a-") else "amd64"
            found["gcp"].append(
                (name, str(vcpu), str(memory), str(devices), architecture, model.name if model else "", "")
            )
    return found


def table(header: str, lines: list[tuple[str, ...]]) -> bytes:
    """Plain CSV without quotes. Refuses a field that would need them."""
    for line in lines:
        if any(set(cell) & set(',"\r\n') for cell in line):
            raise SystemExit(f"a field of {line!r} needs quotes")
    return "\n".join([header, *(",".join(line) for line in sorted(lines))]).encode() + b"\n"


def build(folder: Path, gce_as_of: str) -> bytes:
    """The archive."""
    prices, dates = clouds(folder)
    part = f"gcp/{GCE_REGION}"
    prices[part], dates[part] = google(folder), gce_as_of
    members: dict[str, bytes] = {}
    index: dict[str, Any] = {
        "schema": SCHEMA,
        "currency": "USD",
        "accelerators_as_of": hardware.AS_OF,
        "sources": [
            {
                "file": name,
                "sha256": bytes_digest((folder / name).read_bytes()),
                "origin": origin,
                "licence": "Apache-2.0",
            }
            for name, origin in ORIGINS.items()
        ],
        "parts": {},
        "shapes": {},
    }
    sources = {"aws": "aws_ondemand.csv", "azure": "azure_ondemand.csv", "gcp": "gce.csv"}
    for name in sorted(prices):
        data = table("item,pricing,usd_per_hour", list(prices[name]))
        members[f"prices/{name}.csv"] = data
        index["parts"][name] = {
            "sha256": bytes_digest(data),
            "as_of": dates[name],
            "rows": len(prices[name]),
            "source": sources[name.partition("/")[0]],
        }
    for provider, lines in shapes(folder, prices[part]).items():
        data = table("instance_type,vcpu,memory_mib,devices,architecture,accelerator,share", lines)
        members[f"shapes/{provider}.csv"] = data
        index["shapes"][provider] = {"sha256": bytes_digest(data), "rows": len(lines)}
    members["index.json"] = canonical_json(index)
    return pack(members)


def pack(members: dict[str, bytes]) -> bytes:
    """A ZIP with sorted members and fixed times and modes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, members[name], compresslevel=9)
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sources_page(folder: Path) -> str:
    """What the book was made from, for people; the same is in the archive's index."""
    lines = [
        "# Sources of price-book.zip",
        "",
        "Built by `scripts/build_price_book.py`; prices are the sources' own text. All sources: Apache-2.0, the",
        "licences and notices lie beside. The digest of the book is the sha256 of `index.json` in the archive.",
        "",
        "| file | sha256 | origin |",
        "|---|---|---|",
    ]
    for name, origin in ORIGINS.items():
        digest = bytes_digest((folder / name).read_bytes()).removeprefix("sha256:")
        lines.append(f"| {name} | `{digest}` | {origin} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the arguments, build, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gce-as-of", default="2026-06-23", help="when gce.csv's source last changed (it has no date)")
    parser.add_argument("--check", action="store_true", help="compare with the packaged book and write nothing")
    arguments = parser.parse_args()
    data = build(arguments.folder, arguments.gce_as_of)
    book = DATA / "price-book.zip"
    if arguments.check:
        # Members and not bytes: another zlib may pack the same book otherwise, and the digest is of the index anyway.
        if not book.is_file() or unpack(book.read_bytes()) != unpack(data):
            raise SystemExit(f"{book.name} is not what {arguments.folder} gives; run without --check")
        return
    DATA.mkdir(parents=True, exist_ok=True)
    book.write_bytes(data)
    (DATA / "SOURCES.md").write_text(sources_page(arguments.folder), encoding="utf-8")
    for name in NOTICES:
        shutil.copyfile(arguments.folder / name, DATA / name)
        (DATA / name).chmod(0o644)
    sys.stdout.write(f"{book.name}: {len(data)} bytes, {bytes_digest(data)}\n")


if __name__ == "__main__":
    main()
