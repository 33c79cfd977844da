"""How long a Sigstore bundle takes to verify, beside sigstore-python and cosign on the same bundles and trusted root.

    python benchmarks/bundle_verify.py     # sigstore and cosign from where `make parts` put them

The bundles are those of an in-memory Sigstore (tests/sigstore_world.py) that all three accept: a message and an
attestation, of Rekor 1 and 2. In one process: processor milliseconds of a verification, the median of rounds; the
bundle is read each time, the trusted root once. As a program: processor seconds of a whole cold process, in turns.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE / "tests"))
from sigstore_world import ARTIFACT, IDENTITY, ISSUER, World  # noqa: E402 - a module of the tests

ROUNDS = 100
CASES = {
    "message, Rekor 1": {},
    "message, Rekor 2": {"kind": "hashedrekord 0.0.2"},
    "attestation, Rekor 1": {"kind": "dsse 0.0.1", "dsse": True},
    "attestation, Rekor 2": {"kind": "hashedrekord 0.0.2", "dsse": True},
}
PEER = f"""
import json, statistics, sys, time
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy

folder, count = sys.argv[1], {len(CASES)}
artifact = open(folder + "/artifact", "rb").read()
who = policy.Identity(identity={IDENTITY!r}, issuer={ISSUER!r})
found = []
verifier = Verifier(trusted_root=TrustedRoot.from_file(folder + "/root.json"))
for number in range(count):
    taken = []
    for _ in range({ROUNDS}):
        start = time.process_time()
        bundle = Bundle.from_json(open(f"{{folder}}/{{number}}.json").read())
        if bundle._dsse_envelope:
            verifier.verify_dsse(bundle, who)
        else:
            verifier.verify_artifact(artifact, bundle, who)
        taken.append(time.process_time() - start)
    found.append(statistics.median(taken))
json.dump(found, sys.stdout)
"""
OURS = f"""
import json, statistics, sys, time
from datetime import UTC, datetime
from pathlib import Path
from customhouse.trust.sigstore.identity import Expected
from customhouse.trust.sigstore.roots import read_root
from customhouse.trust.sigstore.verification import Artifact, Policy, verify_bundle

folder, count = Path(sys.argv[1]), {len(CASES)}
who = Policy(expected=Expected({IDENTITY!r}, {ISSUER!r}))
found = []
root = read_root((folder / "root.json").read_bytes())
for number in range(count):
    taken = []
    for _ in range({ROUNDS}):
        start = time.process_time()
        artifact = Artifact.of_file(folder / "artifact")
        verify_bundle((folder / f"{{number}}.json").read_bytes(), artifact, who, root, datetime.now(UTC))
        taken.append(time.process_time() - start)
    found.append(statistics.median(taken))
json.dump(found, sys.stdout)
"""


def part(name: str) -> Path:
    """A program that `make parts` installs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = Path(os.environ.get("CUSTOMHOUSE_PARTS") or cache / "customhouse" / "parts") / "bin" / name
    found = own if own.exists() else Path(shutil.which(name) or "")
    if not found.name:
        sys.exit(f"{name} is missing: run `make parts`")
    return found


def inside(python: Path, script: str, folder: Path) -> list[float]:
    done = subprocess.run([str(python), "-c", script, str(folder)], capture_output=True, text=True, check=True)
    return [float(item) for item in json.loads(done.stdout)]


def processor_seconds(command: list[str], folder: Path) -> float:
    """Of a whole process and its children; raises when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, env={"HOME": str(folder), "PATH": ""}, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    world = World()
    reference = part("model_signing").resolve().parent / "python"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "artifact").write_bytes(ARTIFACT)
        (folder / "root.json").write_text(json.dumps(world.root()))
        for number, options in enumerate(CASES.values()):
            (folder / f"{number}.json").write_text(json.dumps(world.bundle(**options)))
        ours, theirs = inside(Path(sys.executable), OURS, folder), inside(reference, PEER, folder)
        print("in one process, ms of processor a verification      customhouse  sigstore-python  ratio")
        for case, mine, peer in zip(CASES, ours, theirs, strict=True):
            print(f"  {case:48} {mine * 1000:12.2f} {peer * 1000:16.2f} {mine / peer:6.2f}")
        who = ["--trusted-root", "root.json", "--bundle", "0.json"]
        named = ["--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER]
        script = str(Path(sys.executable).parent / "customhouse")
        programs = {
            "customhouse": [script, "artifact", "verify", "artifact", "--identity", IDENTITY, "--issuer", ISSUER, *who],
            "cosign": [str(part("cosign")), "verify-blob", *who, *named, "artifact"],
        }
        rounds = [{title: processor_seconds(line, folder) for title, line in programs.items()} for _ in range(9)]
        print("as a program, s of processor")
        for title in programs:
            print(f"  {title:48} {statistics.median(item[title] for item in rounds):12.2f}")


if __name__ == "__main__":
    main()
