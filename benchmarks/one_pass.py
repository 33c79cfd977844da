"""Hash, scan and bill of materials of a large model, beside the bare hashes of the same files in the same run.

    python benchmarks/one_pass.py --gib 5 --folder /big/disk [--signing PYTHON]

PYTHON is an interpreter of an environment with `model_signing`; without it that peer is left out, and said. The files
are safetensors of random bytes, written first (so in the page cache, where the disk is no excuse) and removed at the
end. Bare rates are measured inside of their process, ours with the whole of it (start of Python, evidence, output), so
every ratio is the least it can be. Runs take turns; a figure is the best of its rounds: neighbours only slow down.
The exit status is 1 when `model bom --digests blake3` is below 0.9 of the bare blake3 rate (one thread), memory is over
200 MB, or a run after a change of README.md reads 1 % of the bytes or more.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

RATIO, MEMORY_MB, REREAD = 0.9, 200, 0.01
BARE = """
import glob, hashlib, sys, time
from blake3 import blake3
files = sorted(glob.glob(sys.argv[2] + "/*.safetensors"))
begun = time.perf_counter()
for name in files:
    if sys.argv[1] == "blake3-all-threads":
        blake3(max_threads=blake3.AUTO).update_mmap(name)
        continue
    hasher = blake3() if sys.argv[1] == "blake3" else hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with open(name, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])
print(time.perf_counter() - begun)
"""
OURS = """
import atexit, sys
from customhouse.cli import main
def tell():
    rows = dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())
    print("rchar", rows["rchar"], file=sys.stderr)
atexit.register(tell)
sys.argv[0] = "customhouse"
main()
"""
PEER = """
import sys, time
from pathlib import Path
import model_signing
begun = time.perf_counter()
model_signing.signing.Config().use_elliptic_key_signer(private_key=Path(sys.argv[2])).sign(
    Path(sys.argv[1]), Path(sys.argv[3]))
print(time.perf_counter() - begun)
"""


@dataclass
class Run:
    """Seconds, CPU seconds, peak memory in MB, bytes that were read by system calls (0: not measured)."""

    seconds: float
    cpu: float
    memory: float
    read: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=5)
    parser.add_argument("--shards", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--signing", help="Python that has model_signing")
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="one-pass-", dir=asked.folder))
    try:
        return measure(place, asked)
    finally:
        shutil.rmtree(place)


def measure(place: Path, asked: argparse.Namespace) -> int:
    """All runs, in turns; the table on stdout."""
    model, state, key = place / "model", place / "state", place / "key.pem"
    size = write_model(model, int(asked.gib * (1 << 30)) // asked.shards, asked.shards)
    subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key], check=True)
    bare = {name: [sys.executable, "-c", BARE, name, str(model)] for name in ("blake3", "blake3-all-threads", "sha256")}
    ours = {
        "bom --digests blake3": ["bom", model, "--digests", "blake3", "--no-cache"],
        "bom": ["bom", model, "--no-cache"],
        "sign": ["sign", model, "--key", key, "--out", place / "sig", "--no-cache"],
    }
    found: dict[str, list[Run]] = {}
    for _ in range(asked.rounds):
        for name, command in bare.items():
            found.setdefault(f"bare {name}", []).append(run(command, inner=True))
        for name, words in ours.items():
            found.setdefault(f"model {name}", []).append(run([sys.executable, "-c", OURS, "model", *map(str, words)]))
        if asked.signing:
            found.setdefault("model_signing (its Python)", []).append(
                run([asked.signing, "-c", PEER, str(model), str(key), str(place / "peer.sig")], inner=True)
            )
    again = [sys.executable, "-c", OURS, "model", "sign", str(model), "--key", str(key), "--out", str(place / "sig")]
    time.sleep(2.1)  # what was changed within two seconds is not remembered
    run([*again, "--state", str(state)])
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\nAnother text.\n")
    second = run([*again, "--state", str(state)])
    (tiny := place / "tiny").mkdir()
    (tiny / "README.md").write_text("nothing")
    base = run([*[word if word != str(model) else str(tiny) for word in again], "--state", str(state)])
    return report(size, found, second, max(0, second.read - base.read), bool(asked.signing))


def report(size: int, found: dict[str, list[Run]], second: Run, reread: int, peer: bool) -> int:
    """The table and the verdict."""
    best = {name: min(runs, key=lambda item: item.seconds) for name, runs in found.items()}
    reference = best["bare blake3"].seconds
    print(f"{size / 1e9:.2f} GB in the page cache, {len(os.sched_getaffinity(0))} cores; best of the rounds")
    print(f"{'':28} {'s':>7} {'CPU s':>7} {'GB/s':>6} {'of bare blake3':>15} {'peak MB':>8}")
    for name, one in best.items():
        rate, ratio = size / 1e9 / one.seconds, reference / one.seconds
        print(f"{name:28} {one.seconds:7.2f} {one.cpu:7.2f} {rate:6.2f} {ratio:15.2f} {one.memory:8.0f}")
    share = reread / size
    print(f"signed again after a change of README.md: {second.seconds:.2f} s, {reread} bytes read ({share:.5%})")
    if not peer:
        print("model_signing: not measured (--signing PYTHON)")
    problems = []
    if reference / best["model bom --digests blake3"].seconds < RATIO:
        problems.append(f"below {RATIO} of bare blake3")
    memory = max(run.memory for name, runs in found.items() if name.startswith("model ") for run in runs)
    if memory > MEMORY_MB:
        problems.append(f"{memory:.0f} MB of memory")
    if share >= REREAD:
        problems.append(f"{share:.2%} read again")
    print("passed" if not problems else f"FAILED: {'; '.join(problems)}")
    return 1 if problems else 0


def write_model(model: Path, shard: int, shards: int) -> int:
    """Safetensors of random bytes (no holes, nothing that compresses), a config and a README; bytes in all."""
    model.mkdir()
    shard -= shard % 2
    for number in range(shards):
        tensor = {"dtype": "BF16", "shape": [shard // 2], "data_offsets": [0, shard]}
        header = json.dumps({f"layers.{number}.weight": tensor, "__metadata__": {"format": "pt"}}).encode()
        with (model / f"model-{number + 1:05}-of-{shards:05}.safetensors").open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            left = shard
            while left:
                left -= file.write(os.urandom(min(left, 1 << 24)))
    (model / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\nA text.\n")
    return sum(file.stat().st_size for file in model.iterdir())


def run(command: list[str], *, inner: bool = False) -> Run:
    """One process; `inner`: it prints the seconds of its work itself."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as talk:
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=talk)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        told, said = out.read(), talk.read()
    if child.returncode != 0:
        raise SystemExit(f"{command[:1] + command[3:6]} failed: {said[-2000:]}")
    read = [int(line.split()[1]) for line in said.splitlines() if line.startswith("rchar ")]
    return Run(
        float(told.split()[-1]) if inner else seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1000,
        read[0] if read else 0,
    )


if __name__ == "__main__":
    sys.exit(main())
