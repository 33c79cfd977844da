"""`image scan` of an image made of this machine's own files, beside what knows them: dpkg, importlib, go; and syft.

    python benchmarks/image_scan.py [--folder /big/disk] [--syft PROGRAM]

Three layers: what Debian installed (lists, /usr/bin, /usr/lib/python3), this environment's site-packages, and what
`make parts` builds; a second image shares them and adds a fourth. The exit status is 1 when a package is missing that
an oracle knows, when one is listed that no oracle knows, or when the second image reads more than its own layer.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from image_builder import ImageBuilder  # noqa: E402

SYSTEM = (
    "usr/lib/os-release",
    "etc/os-release",
    "var/lib/dpkg/status",
    "var/lib/dpkg/info",
    "usr/bin",
    "usr/lib/python3",
)


def packed(pairs: list[tuple[str, str]]) -> tuple[bytes, bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for source, name in pairs:
            tar.add(source, name)
    plain = out.getvalue()
    return gzip.compress(plain, 1), plain


def timed(*words: str) -> tuple[float, float, float, str]:
    """Seconds, processor seconds, peak MB (by GNU time: a child's own begins with its parent's) and what it printed."""
    begun = time.perf_counter()
    done = subprocess.run(["/usr/bin/time", "-f", "%U %S %M", *words], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    user, system, memory = done.stderr.split()[-3:]
    return seconds, float(user) + float(system), int(memory) / 1024, done.stdout


def go_modules(folder: Path) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    said = subprocess.run(["go", "version", "-m", str(folder)], capture_output=True, text=True, check=False).stdout
    last: tuple[str, str] | None = None
    for line in said.splitlines():
        row = line.strip().split("\t")
        if row[0] in ("mod", "dep") and len(row) > 2:
            last = (row[1], row[2].removeprefix("v"))
            found.add(last)
        elif row[0] == "=>" and last:
            found.discard(last)
            found.add((row[1], (row[2] if len(row) > 2 else "").removeprefix("v")))
    return found


def oracles(parts: Path, site: Path) -> dict[str, set[tuple[str, str]]]:
    form = "${db:Status-Status}\t${Package}\t${Version}\n"
    rows = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    deb = {tuple(line.split("\t")[1:]) for line in rows.splitlines() if not line.startswith(("config-files", "not-"))}
    python = {
        (item.metadata["Name"].lower().replace("_", "-").replace(".", "-"), item.version)
        for item in importlib.metadata.distributions(path=[str(site)])
    }
    return {"deb": deb, "pypi": python, "golang": go_modules(parts)}  # type: ignore[dict-item]


def main() -> int:
    reader = argparse.ArgumentParser()
    reader.add_argument("--folder")
    reader.add_argument("--syft", default=shutil.which("syft"))
    asked = reader.parse_args()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parts = Path(os.environ.get("CUSTOMHOUSE_PARTS") or cache / "customhouse" / "parts") / "bin"
    site = Path(importlib.metadata.distribution("click").locate_file(""))
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        place = Path(name)
        image = ImageBuilder()
        for pairs in (
            [(f"/{path}", path) for path in SYSTEM],
            [(str(site), "app/site-packages")],
            [(str(parts), "usr/local/bin")],
        ):
            compressed, plain = packed(pairs)
            image.layer(plain, packed=compressed)
        first = image.layout(place / "first")
        size = sum(len(data) for data, _, _ in image.layers) / 1e6
        plain_size = sum(len(data) for _, data, _ in image.layers) / 1e6
        image.layer({"srv/x-1.dist-info/METADATA": "Name: x\nVersion: 1\n\n"})
        second = image.layout(place / "second")
        print(f"image: {size:.0f} MB packed, {plain_size:.0f} MB unpacked, 3 layers")
        ours = [sys.executable, "-c", "from customhouse.cli import main; main()", "image", "scan", "--no-match", "-q"]
        words = ["--state", str(place / "state"), "-o", "json"]
        cold, cold_cpu, memory, text = timed(*ours, str(first), *words)
        found = json.loads(text)
        warm, warm_cpu, _, _ = timed(*ours, str(first), *words)
        shared, shared_cpu, _, text = timed(*ours, str(second), *words)
        states = [row["state"] for row in json.loads(text)["layers"]]
        print(f"first scan {cold:.1f} s, {cold_cpu:.1f} of processor, {memory:.0f} MB")
        print(f"again {warm:.2f} s, {warm_cpu:.2f} of processor: {cold_cpu / warm_cpu:.0f} times as cheap")
        more = f"{shared_cpu:.2f} of processor: {cold_cpu / shared_cpu:.0f} times as cheap"
        print(f"second image on the same base {shared:.2f} s, {more}; {', '.join(states)}")
        wrong = compare(found, oracles(parts, site))
        if asked.syft:
            peer, peer_cpu, peer_mb, text = timed(asked.syft, "scan", f"oci-dir:{first}", "-q", "-o", "json")
            print(
                f"syft {peer:.1f} s, {peer_cpu:.1f} of processor, {peer_mb:.0f} MB: {peer_cpu / cold_cpu:.1f} of ours"
            )
            beside(found, json.loads(text))
    return 1 if wrong or states != ["remembered"] * 3 + ["read"] else 0


def compare(found: dict[str, Any], known: dict[str, set[tuple[str, str]]]) -> int:
    """How many packages of an oracle are missing, or listed by nobody else."""
    wrong = 0
    for kind, want in known.items():
        rows = [item for item in found["packages"] if item["type"] == kind and item["name"] != "stdlib"]
        if kind == "pypi":
            rows = [item for item in rows if item["path"].startswith("/app/") and "vendor.txt" not in item["path"]]
        if kind == "golang":
            rows = [item for item in rows if item["path"].startswith("/usr/local/bin/")]
        have = {(item["name"], item["version"]) for item in rows}
        wrong += len(have ^ want)
        print(f"{kind}: {len(have & want)} of {len(want)} that the oracle knows, {len(have - want)} that it does not")
    return wrong


def beside(found: dict[str, Any], said: dict[str, Any]) -> None:
    kinds = {"python": "pypi", "go-module": "golang"}
    theirs: dict[str, set[tuple[str, str]]] = {}
    for item in said["artifacts"]:
        kind = kinds.get(item["type"], item["type"])
        name, version = item["name"].lower(), item["version"]
        if kind == "pypi":
            name = name.replace("_", "-").replace(".", "-")
        theirs.setdefault(kind, set()).add((name, version.removeprefix("v").removeprefix("go")))
    for kind in sorted({*theirs, *(item["type"] for item in found["packages"])}):
        have = {(item["name"].lower(), item["version"]) for item in found["packages"] if item["type"] == kind}
        their = theirs.get(kind, set())
        print(
            f"{kind}: {len(have & their)} by both, {len(have - their)} by us alone, {len(their - have)} by syft alone"
        )


if __name__ == "__main__":
    sys.exit(main())
