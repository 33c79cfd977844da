"""The webhook over TLS beside its bare engine: decisions a second, latency, processor time, and reloads under load.

    python benchmarks/webhook.py --wrk PATH [--seconds 10] [--reloads 20] [--record]

Every review is another one (uid, name, image digest, sizes, replicas), so that no answer could come from a cache; the
price book in memory is 10 MB of CSV. `wrk` (Debian's) runs on the same cores. The bare engine is the packaged rules on
the Facts of one such review, evaluated alone in this process: the ratio says what everything around it costs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

# The request is put together from pieces that are cut once: what the generator takes is not what is measured.
LUA = """
local id, n = 0, 0
function setup(thread) thread:set("id", id); id = id + 1 end
local file = io.open("%s"); local body = file:read("*a"); file:close()
local pieces, kinds, at = {}, {}, 1
while true do
  local first, last, kind = body:find("@(%%u+)@", at)
  if not first then break end
  pieces[#pieces + 1] = body:sub(at, first - 1)
  kinds[#kinds + 1] = kind
  at = last + 1
end
local rest = body:sub(at)
local head = "POST /validate?timeout=5s HTTP/1.1\\r\\nHost: localhost\\r\\n"
head = head .. "Content-Type: application/json\\r\\nContent-Length: "
local value, out = {}, {}
function request()
  n = n + 1
  value.NAME = id .. "-" .. n
  value.DIGEST = string.format("%%064x", n)
  value.CPU = 100 + n %% 1900
  value.MEMORY = 128 + n %% 3968
  value.REPLICAS = 1 + n %% 8
  for i = 1, #pieces do
    out[2 * i - 1] = pieces[i]
    out[2 * i] = value[kinds[i]]
  end
  out[2 * #pieces + 1] = rest
  local text = table.concat(out)
  return head .. #text .. "\\r\\n\\r\\n" .. text
end
function done(summary)
  local e = summary.errors
  print("errors " .. (e.connect + e.read + e.write + e.status + e.timeout))
end
"""
CONFIG = """\
apiVersion: customhouse.dev/v1
policy: {trustedRegistries: [apexlogic.com], requireSignedCommits: false, waivers: waivers.yaml}
prices: {book: prices.csv}
"""
WAIVER = """\
- id: bench-%d
  rules: [image-untrusted-registry]
  owner: ada
  reason: another bundle with every reload
  ticket: OPS-1
  expires: "2100-01-01T00:00:00Z"
  scope: {namespace: elsewhere}
"""


def review() -> dict[str, object]:
    """A Deployment as the API server sends it, with placeholders for what differs."""
    labels = {f"customhouse.dev/{name}": "a" for name in ("owner", "team", "project", "cost-centre")} | {
        "app": "@NAME@"
    }
    container = {
        "name": "main",
        "image": "apexlogic.com/team/app@sha256:@DIGEST@",
        "resources": {
            "requests": {"cpu": "@CPU@m", "memory": "@MEMORY@Mi"},
            "limits": {"cpu": "4", "memory": "4Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "livenessProbe": {"httpGet": {"path": "/", "port": 80}},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
    }
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app-@NAME@", "namespace": "prod", "labels": labels},
        "spec": {
            "replicas": "@REPLICAS@",
            "selector": {"matchLabels": {"app": "@NAME@"}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
    request = {
        "uid": "u-@NAME@",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "operation": "CREATE",
        "namespace": "prod",
        "name": "app-@NAME@",
        "userInfo": {"username": "ada", "groups": ["system:authenticated"]},
        "object": deployment,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def template() -> str:
    """The review with `@NAME@` and the like; the number of replicas stands without quotes."""
    return json.dumps(review()).replace('"@REPLICAS@"', "@REPLICAS@")


def filled(values: dict[str, str]) -> str:
    """One review."""
    return re.sub("@([A-Z]+)@", lambda match: values[match[1]], template())


def prepare(folder: Path) -> None:
    """Configuration, rules, a 10 MB price book and the load generator's script."""
    (folder / "customhouse.yaml").write_text(CONFIG)
    write_rules(folder, 0)
    rows = ["provider,region,instance_type,usd_per_hour,as_of"]
    rows += [f"aws,zone-{n % 40},own{n}.xlarge,{1 + n % 977}.{n % 10000:04d},2026-11-01" for n in range(215_000)]
    (folder / "prices.csv").write_text("\n".join(rows) + "\n")
    (folder / "review.json").write_text(template())
    (folder / "load.lua").write_text(LUA % (folder / "review.json"))


def write_rules(folder: Path, number: int) -> None:
    """A bundle with another digest: its waivers are part of it."""
    (folder / "waivers.yaml").write_text(WAIVER % number)


def bare_engine(folder: Path, *, compiled: bool) -> float:
    """Processor seconds of the rules alone on one Facts document, the best of five rounds."""
    from customhouse.app import wiring
    from customhouse.app.admission import Admission
    from customhouse.app.admission_context import load_context
    from customhouse.app.admission_review import read_review
    from customhouse.app.settings import read_settings
    from customhouse.policy.adapters.regorus import RegorusEngine
    from customhouse.policy.bundle import QUERY, builtin_bundle

    settings = read_settings(config=str(folder / "customhouse.yaml"))
    text = filled({"NAME": "1", "DIGEST": "ab" * 32, "CPU": "500", "MEMORY": "512", "REPLICAS": "2"})
    asked = read_review(text.encode())
    outcome = Admission(load_context(settings, None), wiring.admission_engine(settings), wiring.clock()).validate(asked)
    assert outcome.facts is not None, outcome.answer
    engine, bundle = RegorusEngine(compile_packaged=compiled), builtin_bundle()
    document = outcome.facts.canonical
    best = float("inf")
    for _ in range(6):
        start = time.process_time()
        for _ in range(200):
            engine.evaluate(bundle.modules, bundle.data, document, QUERY)
        best = min(best, (time.process_time() - start) / 200)
    return best


def recording(folder: Path) -> dict[str, float]:
    """Processor seconds a record, the best of three rounds: making it, reading it, storing it in batches of 500."""
    from customhouse.app import wiring
    from customhouse.app.admission import Admission
    from customhouse.app.admission_clerk import BATCH, RECORD, _Books, _records
    from customhouse.app.admission_context import load_context
    from customhouse.app.admission_evaluator import _record
    from customhouse.app.admission_review import read_review
    from customhouse.app.settings import read_settings

    settings = read_settings(config=str(folder / "customhouse.yaml"), state=str(folder / "records"))
    admission = Admission(load_context(settings, None), wiring.admission_engine(settings), wiring.clock())
    books, best = _Books(settings), dict.fromkeys(("made", "read", "stored"), float("inf"))
    for round_ in range(3):
        judged = []
        for n in range(BATCH):
            values = {
                "NAME": f"{round_}-{n}",
                "DIGEST": f"{n:064x}",
                "CPU": "500",
                "MEMORY": str(n + 1),
                "REPLICAS": "2",
            }
            asked = read_review(filled(values).encode())
            judged.append((asked, admission.validate(asked)))
        times = [time.process_time()]
        records = [_record(*item) for item in judged]
        times.append(time.process_time())
        waiting = _records(bytearray(b"".join(RECORD.pack(len(record), 0) + record for record in records)))
        times.append(time.process_time())
        books.write(waiting, wiring.clock().now())
        times.append(time.process_time())
        for name, begin, end in zip(best, times, times[1:], strict=False):
            best[name] = min(best[name], (end - begin) / BATCH)
    return best


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def processes(front: int) -> dict[str, list[int]]:
    """A webhook's processes by what they do: the nursery's children are the clerk, and generations with evaluators."""
    found: dict[str, list[int]] = {"front": [front], "evaluators": [], "clerk": []}
    for nursery in children(front):
        for child in children(nursery):
            evaluators = children(child)
            found["evaluators" if evaluators else "clerk"] += evaluators or [child]
    return found


def cpu_seconds(groups: dict[str, list[int]]) -> dict[str, float]:
    """User and system time so far: the scheduler's own count in nanoseconds, not the clock's ticks."""
    total = dict.fromkeys(groups, 0.0)
    for name, pids in groups.items():
        for pid in pids:
            with contextlib.suppress(FileNotFoundError):
                total[name] += int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return total


def measure(folder: Path, port: int, name: str) -> float:
    """One of the webhook's own metrics."""
    context = ssl.create_default_context(cafile=str(folder / ".customhouse" / "webhook" / "ca.crt"))
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/metrics", context=context) as answer:
        return float(re.search(rf"^{name} (.+)$", answer.read().decode(), re.MULTILINE)[1])


def load(arguments: argparse.Namespace, folder: Path, port: int, seconds: int) -> dict[str, float]:
    """One run of wrk: decisions a second, milliseconds at two quantiles, failures."""
    command = [arguments.wrk, "-t1", "-c8", f"-d{seconds}s", "--latency", "-s", str(folder / "load.lua")]
    said = subprocess.run([*command, f"https://localhost:{port}"], capture_output=True, text=True, check=True).stdout
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    found = {"requests": float(re.search(r"(\d+) requests in", said)[1])}
    found["rate"] = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    for quantile in ("50", "99"):
        match = re.search(rf"{quantile}%\s+([\d.]+)(us|ms|s)", said)
        found[f"p{quantile}"] = float(match[1]) * units[match[2]]
    found["failed"] = float(re.search(r"errors (\d+)", said)[1])
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    found["failed"] += float(refused[1]) if refused else 0
    return found


def main() -> int:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--wrk", default="wrk")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="with the store and the ledger")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="customhouse-bench-") as name:
        folder = Path(name)
        prepare(folder)
        program = Path(sys.executable).with_name("customhouse")
        log = folder / "log"
        options = [] if arguments.record else ["--dry"]
        with log.open("w") as stream:
            server = subprocess.Popen(
                [
                    *(sys.executable, program, "webhook", "--config", "customhouse.yaml"),
                    *("--host", "127.0.0.1", "--port", "0", "--workers", str(arguments.workers), *options),
                ],
                cwd=folder,
                stdout=stream,
                stderr=stream,
            )
        try:
            while not (found := re.search(r"127\.0\.0\.1:(\d+);", log.read_text())):
                if server.poll() is not None:
                    sys.stderr.write(log.read_text())
                    return 1
                time.sleep(0.1)
            port = int(found[1])
            load(arguments, folder, port, 2)
            groups = processes(server.pid)
            before = cpu_seconds(groups)
            steady = load(arguments, folder, port, arguments.seconds)
            after = cpu_seconds(groups)
            unrecorded = measure(folder, port, "customhouse_admission_unrecorded_total")
            engine, interpreted = (bare_engine(folder, compiled=compiled) for compiled in (True, False))
            records = recording(folder) if arguments.record else {}
            reloading = reloads(arguments, folder, server, log, port)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    shares = {name: (after[name] - before[name]) / steady["requests"] for name in groups}
    each = sum(shares.values())
    print(f"load average            {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"decisions a second      {steady['rate']:.0f} (p50 {steady['p50']:.1f} ms, p99 {steady['p99']:.1f} ms)")
    print(f"failed                  {steady['failed']:.0f} of {steady['requests']:.0f}")
    split = ", ".join(f"{name} {share * 1000:.3f}" for name, share in shares.items())
    print(f"processor time each     {each * 1000:.2f} ms ({split}); two cores would give {2 / each:.0f}/s")
    if arguments.record:
        print(f"not recorded            {unrecorded:.0f} of {steady['requests']:.0f}")
        alone = ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in records.items())
        print(f"one record alone, µs    {alone}; beside the bare engine {sum(records.values()) / engine:.2f}")
    print(f"bare engine, compiled   {engine * 1000:.2f} ms: ratio {each / engine:.1f}")
    print(f"bare engine             {interpreted * 1000:.2f} ms: ratio {each / interpreted:.2f}")
    print(
        f"with {arguments.reloads} reloads         {reloading['rate']:.0f}/s, p99 {reloading['p99']:.1f} ms, "
        f"failed {reloading['failed']:.0f} of {reloading['requests']:.0f}; "
        f"{reloading['generations']:.0f} generations, {reloading['certificates']:.0f} certificates"
    )
    return 0 if steady["failed"] + reloading["failed"] == 0 else 1


def reloads(
    arguments: argparse.Namespace, folder: Path, server: subprocess.Popen[bytes], log: Path, port: int
) -> dict[str, float]:
    """The load again while rules and certificate are replaced, one after the other, as often as was asked for."""
    stop = threading.Event()
    result: dict[str, float] = {}

    def asking() -> None:
        runs = []
        while not stop.is_set():
            runs.append(load(arguments, folder, port, 3))
        for key in ("requests", "failed"):
            result[key] = sum(run[key] for run in runs)
        result["rate"] = sum(run["rate"] for run in runs) / len(runs)
        result["p99"] = max(run["p99"] for run in runs)

    thread = threading.Thread(target=asking)
    thread.start()
    for number in range(1, arguments.reloads + 1):
        write_rules(folder, number)
        for name in ("tls.crt", "tls.key"):
            (folder / ".customhouse" / "webhook" / name).unlink()
        server.send_signal(signal.SIGHUP)
        end = time.monotonic() + 60
        while log.read_text().count('"event": "generation"') <= number and time.monotonic() < end:
            time.sleep(0.05)
    stop.set()
    thread.join()
    text = log.read_text()
    result["generations"] = text.count('"event": "generation"') - 1
    result["certificates"] = text.count('"event": "certificate"')
    return result


if __name__ == "__main__":
    sys.exit(main())
