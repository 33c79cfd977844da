"""A registry that only the change itself trusts: `plan` and `sources lock --check` do not ask it, nobody logs in."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from control_repository import git

from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring_outside
from customhouse.app.in_force import Allowed
from customhouse.cli.program import run

pytestmark = pytest.mark.part("helm")
FILES = {
    "web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.0.0\n",
    "web/templates/cm.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-the-chart}\n",
}
RELEASE = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {{name: charts, namespace: shop}}
spec: {{url: "http://{host}/team"}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: shop, namespace: shop}}
spec:
  chart:
    spec: {{chart: web, version: "1.0.0", sourceRef: {{kind: HelmRepository, name: charts}}}}
"""


def archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


class Charts(ThreadingHTTPServer):
    """A chart repository that notes what it is asked, and by which login."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []
        seen, data = self.seen, archive()
        digest = bytes_digest(data).removeprefix("sha256:")
        entry = {"name": "web", "version": "1.0.0", "urls": ["web.tgz"], "digest": digest}
        index = json.dumps({"apiVersion": "v1", "entries": {"web": [entry]}}).encode()
        pages = {"/team/index.yaml": index, "/team/web.tgz": data}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, self.headers.get("Authorization")))
                body = pages.get(self.path, b"")
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True
        self.host = f"127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class World:
    """A repository whose first commit trusts nobody, and whose second brings a chart repository along and uses it."""

    def __init__(self, root: Path, charts: Charts, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.charts, self._capsys = root, charts, capsys
        self.repo = root / "repo"
        self.repo.mkdir()
        git(self.repo, "init", "-q", "-b", "main")
        self.trust()
        self.first = self.commit()
        self.trust(charts.host)
        (self.repo / "release.yaml").write_text(RELEASE.format(host=charts.host))
        status, said = self.run("sources", "lock")
        assert status == 0, said
        self.commit()

    def trust(self, *hosts: str) -> None:
        policy = f"{{trustedRegistries: {json.dumps(hosts)}, requireSignedCommits: false}}"
        text = f"apiVersion: customhouse.dev/v1\npolicy: {policy}\n"
        (self.repo / "customhouse.yaml").write_text(text)

    def commit(self) -> str:
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-q", "-m", "a change", "--allow-empty")
        return str(git(self.repo, "rev-parse", "HEAD")).strip()

    def run(self, *words: str) -> tuple[int, str]:
        """Exit status and all that was said; nothing is kept from before."""
        wiring_outside.fetcher.cache_clear()
        for place in (self.root / "cache").glob("*"):
            place.unlink()
        self.charts.seen.clear()
        status = run([*words, "--repo", str(self.repo)])
        said = self._capsys.readouterr()
        return status, " ".join((said.out + said.err).split())

    @property
    def logins(self) -> set[str | None]:
        return {login for _, login in self.charts.seen}


LOGIN = "Basic " + base64.b64encode(b"ci:pw").decode()


@pytest.fixture
def world(
    tmp_path: Path,
    find_part: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[World]:
    charts = Charts()
    monkeypatch.setenv("PATH", f"{find_part('helm').parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUSTOMHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auths = {charts.host: {"auth": LOGIN.removeprefix("Basic ")}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
    yield World(tmp_path, charts, capsys)
    charts.shutdown()
    charts.server_close()


def test_a_plan_asks_nothing_of_a_registry_that_only_its_revision_trusts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, said = world.run("plan")
    assert (status, world.charts.seen) == (3, [])
    assert "merge a commit with that alone first" in said
    # Who trusts the revision says so; and what stood before the revision was reviewed.
    status, said = world.run("plan", "--base", "HEAD")
    assert (status, world.logins, "of-the-chart" in said) == (0, {LOGIN}, True), said
    world.commit()
    status, said = world.run("plan")
    assert (status, world.logins, "of-the-chart" in said) == (0, {LOGIN}, True), said
    # What is in force counts before any parent: a branch may have many commits.
    note = world.root / "allowed.json"
    note.write_text(Allowed(world.first, ()).text())
    monkeypatch.setenv("CUSTOMHOUSE_ALLOWED", str(note))
    assert (world.run("plan")[0], world.charts.seen) == (3, [])
    note.unlink()
    assert (world.run("plan")[0], world.charts.seen) == (3, [])


def test_a_check_of_the_lock_file_asks_only_what_was_reviewed(world: World) -> None:
    for words in (["--check"], ["--check", "--update"]):
        status, said = world.run("sources", "lock", *words)
        assert (status, world.charts.seen) == (1, []), said
    status, said = world.run("sources", "lock", "--check", "-o", "json")
    assert "is trusted by this change alone, so --check does not ask it: merge that line" in said
    status, said = world.run("sources", "lock", "--check", "--update", "--base", "HEAD")
    assert (status, world.logins) == (0, {LOGIN}), said
    world.commit()
    status, said = world.run("sources", "lock", "--check", "--update")
    assert (status, world.logins) == (0, {LOGIN}), said


def test_a_person_locks_what_their_work_tree_trusts_without_a_login(world: World) -> None:
    status, said = world.run("sources", "lock", "--update")
    assert (status, world.logins, len(world.charts.seen) >= 2) == (0, {None}, True), said
    (world.repo / "customhouse.lock.yaml").unlink()
    world.commit()
    world.trust()
    world.commit()
    world.commit()
    world.trust(world.charts.host)  # only the work tree
    status, said = world.run("sources", "lock")
    assert (status, world.logins) == (0, {None}), said
    (world.repo / "release.yaml").write_text(RELEASE.format(host=world.charts.host).replace("/team", "/none"))
    status, said = world.run("sources", "lock", "-o", "json")
    assert (status, "asked without a login, since this change alone trusts it" in said) == (1, True), said


def test_the_first_commit_of_a_clone_brings_its_registries_along_too(world: World) -> None:
    git(world.repo, "checkout", "-q", "--orphan", "other")
    world.commit()
    assert (world.run("plan")[0], world.charts.seen) == (3, [])
    assert (world.run("sources", "lock", "--check", "--update")[0], world.charts.seen) == (1, [])
    assert (world.run("sources", "lock", "--update")[0], world.logins) == (0, {None})
