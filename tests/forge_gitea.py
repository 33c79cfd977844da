"""A real Gitea for tests: people with tokens, and its REST interface in a few words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PEOPLE = ("ada", "bob", "eve")


class GiteaServer:
    """`url` is the root of the REST interface, `tokens` are by person. Everything is below `folder`."""

    def __init__(self, program: Path, files: Path, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self._folder, self._program = folder, program
        (folder / "app.ini").write_text(
            f"""RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = {folder}/work
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
STATIC_ROOT_PATH = {files}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test
PASSWORD_HASH_ALGO = pbkdf2$1$16
[service]
DISABLE_REGISTRATION = true
[indexer]
ISSUE_INDEXER_TYPE = db
[log]
LEVEL = Error
"""
        )
        self._environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
        self._run("migrate")
        self.tokens = {name: self._person(name) for name in PEOPLE}
        with (folder / "web.log").open("wb") as log:
            self._child = subprocess.Popen(
                [program, "--config", str(folder / "app.ini"), "web"], stdout=log, stderr=log, env=self._environment
            )
        self._wait()

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait(20)

    def repository(self, name: str, owner: str = "ada") -> Path:
        """A new repository with one commit on `main`; where its bare repository lies."""
        self.call("POST", "/user/repos", {"name": name, "auto_init": True, "default_branch": "main"}, owner)
        return self._folder / "work" / "data" / "gitea-repositories" / owner / f"{name}.git"

    def write(self, repository: str, path: str, text: str, branch: str, person: str = "ada", new: str = "") -> str:
        """Commit a file on `branch`, or on a new branch from it; the commit."""
        import base64

        body = {"content": base64.b64encode(text.encode()).decode(), "branch": branch, "message": f"Write {path}"}
        if new:
            body["new_branch"] = new
        try:
            query = f"?ref={branch}"
            body["sha"] = self.call("GET", f"/repos/{repository}/contents/{path}{query}", person=person)["sha"]
            verb = "PUT"
        except urllib.error.HTTPError:
            verb = "POST"
        return str(self.call(verb, f"/repos/{repository}/contents/{path}", body, person)["commit"]["sha"])

    def call(self, method: str, path: str, body: Any = None, person: str = "ada") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, method=method)
        request.add_header("Authorization", f"token {self.tokens[person]}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def _person(self, name: str) -> str:
        self._run(
            *("admin", "user", "create", "--username", name, "--password", f"Pass-{name}-0", "--admin"),
            *("--email", f"{name}@example.com", "--must-change-password=false"),
        )
        return self.token(name, "all")

    def token(self, person: str, scopes: str) -> str:
        """One more token of a person, with scopes such as `write:issue,read:user`."""
        named = ("--username", person, "--token-name", scopes.replace(":", "-"), "--scopes", scopes)
        made = self._run("admin", "user", "generate-access-token", *named, "--raw")
        # Another process has written it: on a busy machine the server has been seen to refuse it at first.
        for _ in range(600):
            asked = urllib.request.Request(f"{self.url}/user", headers={"Authorization": f"token {made}"})
            try:
                with urllib.request.urlopen(asked, timeout=30):
                    return made
            except urllib.error.HTTPError as error:
                if error.code != 401:
                    return made  # known, and not allowed this
            except OSError:
                return made  # the server has not begun
            time.sleep(0.1)
        raise RuntimeError(f"gitea does not know the token that it made for {person}")

    def _run(self, *arguments: str) -> str:
        command = [self._program, "--config", str(self._folder / "app.ini"), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    def _wait(self) -> None:
        for _ in range(400):
            try:
                with urllib.request.urlopen(f"{self.url}/version", timeout=5):
                    return
            except OSError:
                if self._child.poll() is not None:
                    raise RuntimeError((self._folder / "web.log").read_text()[-2000:]) from None
                time.sleep(0.05)
        raise RuntimeError("gitea does not answer")
