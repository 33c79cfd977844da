"""A small repository with tiny models, and `customhouse up` on it as a process of its own: what its tests share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from control_repository import git
from execution_onnx import logistic
from execution_world import eventually

from customhouse._kit.digest import tree
from customhouse.core.ledger import Entry
from customhouse.core.release import Release
from customhouse.store import open_store
from customhouse.trust.ledger import parse_entry

RULES = """\
apiVersion: customhouse.dev/v1
target:
  kind: local
  volumes:
    models: artifacts
tiers:
  definitions:
    standard:
      requiredEvidence: []
policy:
  requireSignedCommits: false
budgets:
  - name: shop
    monthly: "900"
    namespaces: [shop]
prices:
  maxAgeDays: 3650
optimiser:
  autonomy: observe
  windowSeconds: 1
"""
QUICK = "min-requests=0, min-labelled=0, max-duration=10m"
"""A canary that needs no traffic to go on."""
SLOW = "min-requests=100000, min-labelled=0, max-duration=10m"
"""A canary that stays where it is."""

_LABELS = ("owner", "team", "project", "cost-centre")


def service(digest: str, version: str, *, name: str = "score", analysis: str = QUICK, **extra: str) -> str:
    """An InferenceService that meets every rule, with a canary."""
    labels = "".join(f"    customhouse.dev/{label}: x\n" for label in _LABELS)
    labels += "".join(f"    {key}: {value}\n" for key, value in extra.items())
    return f"""\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  namespace: shop
  labels:
{labels}  annotations:
    customhouse.dev/model-digest: {digest}
    customhouse.dev/rollout: canary
    customhouse.dev/rollout-steps: "20,50"
    customhouse.dev/rollout-analysis: "{analysis}"
spec:
  predictor:
    minReplicas: 1
    maxReplicas: 1
    model:
      modelFormat: {{name: onnx}}
      protocolVersion: v2
      storageUri: pvc://models/{version}
      resources:
        requests: {{cpu: 100m, memory: 256Mi}}
        limits: {{cpu: 100m, memory: 256Mi}}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {{drop: [ALL]}}
    securityContext:
      runAsNonRoot: true
      runAsUser: 10001
      seccompProfile: {{type: RuntimeDefault}}
"""


def notes(text: str, name: str = "notes") -> str:
    """An object that nothing runs for."""
    labels = "".join(f"    customhouse.dev/{label}: x\n" for label in _LABELS)
    metadata = f"  name: {name}\n  namespace: shop\n  labels:\n{labels}"
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n{metadata}data:\n  text: {text}\n"


class UpWorld:
    """Remote, clone, artifacts and state in one folder; `start` runs `customhouse up` on the remote."""

    SERVICE = "models/score.yaml"

    def __init__(self, root: Path, rules: str = RULES, more: dict[str, str] | None = None) -> None:
        self.root = root
        self.remote, self.clone, self.state = root / "remote.git", root / "clone", root / ".customhouse"
        git(root, "init", "-q", "--bare", "-b", "main", str(self.remote))
        git(root, "init", "-q", "-b", "main", str(self.clone))
        git(self.clone, "remote", "add", "origin", str(self.remote))
        for number, version in enumerate(("v1", "v2", "v3", "v4"), start=1):
            self.model(version, logistic([0.1 * number, 0.2, 0.3], 0.5))
        self.model("broken", b"not a model")
        self.process: subprocess.Popen[str] | None = None
        self.log = root / "up.log"
        self.push({"customhouse.yaml": rules, **(more or {})}, "Found the shop's repository")

    def model(self, version: str, data: bytes) -> None:
        folder = self.root / "artifacts" / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(data)

    def digest(self, version: str) -> str:
        return tree(self.root / "artifacts" / version).digest

    def declare(self, version: str, **more: str) -> str:
        return service(self.digest(version), version, **more)

    def push(self, files: dict[str, str | None], message: str = "change") -> str:
        """Commit on top of the remote's branch and push; the commit."""
        self.commit(files, message)
        git(self.clone, "push", "-q", "origin", "HEAD:main")
        return git(self.clone, "rev-parse", "HEAD")

    def commit(self, files: dict[str, str | None], message: str = "change") -> str:
        if git(self.remote, "for-each-ref", "refs/heads/main"):
            git(self.clone, "fetch", "-q", "origin", "main")
            git(self.clone, "checkout", "-q", "-B", "main", "FETCH_HEAD")
        for name, text in files.items():
            place = self.clone / name
            if text is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.clone, "rev-parse", "HEAD")

    def serve(self, version: str, **more: str) -> str:
        """Push the service at a version."""
        return self.push({self.SERVICE: self.declare(version, **more)}, f"Serve {version}")

    @property
    def head(self) -> str:
        return git(self.remote, "rev-parse", "main")

    # the process
    def command(self, *options: str) -> list[str]:
        base = [str(Path(sys.executable).parent / "customhouse"), "up", "--repo", str(self.remote)]
        return [*base, "--port", "0", "--state", str(self.state), *options]

    def start(self, *options: str, command: list[str] | None = None, **variables: str) -> subprocess.Popen[str]:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command or self.command(*options),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.root,
                # Without bytecode: where a test fills the disk, Python would leave cut-off files beside its modules.
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.root / "nobody"),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    **variables,
                },
                start_new_session=True,
            )
        return self.process

    def end(self, how: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(seconds)

    # what it says
    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def overview(self) -> dict[str, Any]:
        place = self.state / "overview.json"
        return json.loads(place.read_text()) if place.exists() else {}

    def until(self, look: Callable[[], Any], seconds: float = 60.0) -> Any:
        def probe() -> Any:
            assert self.process is None or self.process.poll() is None, f"up ended: {self.said()[-2000:]}"
            return look()

        return eventually(probe, seconds, lambda: (self.said()[-1500:], self.overview().get("problem")))

    def deployed(self, commit: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a commit is what is deployed, and its release has all the traffic."""

        def look() -> dict[str, Any] | None:
            seen = self.overview()
            settled = not self.documents("pending/") and not self.documents("rollout/")
            return seen if seen.get("deployed") == commit and settled else None

        found: dict[str, Any] = self.until(look, seconds)
        return found

    def deployed_after_start(self, commit: str) -> None:
        self.start()
        self.deployed(commit)

    def problem(self, *words: str, seconds: float = 60.0) -> str:
        """Wait until the problem speaks of every word."""

        def look() -> str:
            text = str(self.overview().get("problem", ""))
            return text if text and all(word in text for word in words) else ""

        return str(self.until(look, seconds))

    # what it wrote
    def entries(self, kind: str = "") -> list[Entry]:
        with open_store(self.state / "state.db") as store:
            found = [parse_entry(data) for data in store.ledger.read(0, store.ledger.size())]
        return [entry for entry in found if not kind or entry.kind == kind]

    def releases(self) -> list[Release]:
        with open_store(self.state / "state.db") as store:
            return list(store.releases.history("score", 1000))

    def documents(self, prefix: str) -> dict[str, Any]:
        with open_store(self.state / "state.db") as store:
            return {key: store.state.get(key) for key in store.state.keys(prefix)}

    def serving(self) -> list[str]:
        """The command lines of the processes that this state's target runs."""
        found = []
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                try:
                    line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if str(self.state) in line and ".local.launch " in line:
                    found.append(f"{place.name} {line}")
        return found

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).parent / "customhouse")
        return subprocess.run(
            [program, *arguments, "--state", str(self.state)],
            capture_output=True,
            text=True,
            cwd=self.root,
            env={"PATH": os.environ["PATH"]},
            check=False,
            timeout=30,
        )

    def page(self) -> dict[str, Any]:
        """The Overview as the dashboard gives it: from memory, also when nothing can be written."""
        url = re.findall(r"dashboard: (\S+);", self.said())[-1]
        with urllib.request.urlopen(f"{url}api/v1/overview", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def infer(self) -> int:
        """Ask the service; the status of the answer."""
        body = {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.3]}]}
        address = self.overview()["gateway"]
        request = urllib.request.Request(
            f"http://{address}/shop/score/v2/models/score/infer",
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)

    def close(self) -> None:
        """End everything, also what a killed process left running."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        for line in self.serving():
            try:
                os.kill(int(line.partition(" ")[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def world(tmp_path: Path):
    found = UpWorld(tmp_path)
    yield found
    found.close()
