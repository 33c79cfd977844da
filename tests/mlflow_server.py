"""A real MLflow server for tests: its registry and its proxy of artifacts, without its job runners."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote


class MlflowServer:
    """`url` is what MLFLOW_TRACKING_URI says; `host` what a reference names."""

    def __init__(self, program: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.host}"
        # What `mlflow server` would set; it would start a dozen processes of job runners besides.
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder / 'mlflow.sqlite'}",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        }
        environment.pop("PYTHONPATH", None)
        python = program.resolve().parent / "python"
        host, _, port = self.host.partition(":")
        command = [python, "-m", "uvicorn", "--host", host, "--port", port, "--log-level", "warning"]
        with (folder / "mlflow.log").open("wb") as log:
            self._child = subprocess.Popen(
                [*command, "mlflow.server.fastapi_app:app"], env=environment, cwd=folder, stdout=log, stderr=log
            )
        self._wait(folder / "mlflow.log")

    def _wait(self, log: Path) -> None:
        end = time.monotonic() + 240  # its imports take 8 s of CPU, and the machine may be busy
        while time.monotonic() < end and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=30):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(log.read_text()[-4000:])

    def call(self, method: str, path: str, body: bytes | dict[str, Any] | None = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        asked = urllib.request.Request(f"{self.url}/api/2.0/{path}", data, method=method)
        if isinstance(body, dict):
            asked.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return json.loads(answer.read() or b"{}")

    def version(self, name: str, files: dict[str, bytes], source: str | None = None) -> str:
        """Log files in a run of their own and register them; the version's number."""
        with suppress(urllib.error.HTTPError):  # it exists already
            self.call("POST", "mlflow/registered-models/create", {"name": name})
        run = self.call("POST", "mlflow/runs/create", {"experiment_id": "0"})["run"]["info"]
        place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path, content in files.items():
            self.call("PUT", f"mlflow-artifacts/artifacts/{place}/model/{quote(path)}", content)
        body = {"name": name, "source": source or f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        return str(self.call("POST", "mlflow/model-versions/create", body)["model_version"]["version"])

    def alias(self, name: str, alias: str, version: str) -> None:
        self.call("POST", "mlflow/registered-models/alias", {"name": name, "alias": alias, "version": version})

    def stop(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(30)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
