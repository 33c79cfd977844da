"""Charts and artifacts out of a real registry, by the digest that Git names: locked, judged, moved, gone, swapped."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from control_repository import git

from customhouse._kit.digest import bytes_digest
from customhouse.app import wiring_outside
from customhouse.cli.program import run
from oci_registry import MANIFEST, Registry

pytestmark = [pytest.mark.part("docker-registry"), pytest.mark.part("helm")]
LABELS = "".join(f"    customhouse.dev/{name}: x\n" for name in ("cost-centre", "owner", "project", "team"))
TEMPLATE = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n  labels:\n" + LABELS
TEMPLATE += "data: {text: {{ .Values.text | quote }}, version: {{ .Chart.Version }}}\n"
RELEASE = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: shop}
spec: {URL}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: shop, namespace: shop}
spec:
  chart:
    spec: {chart: web, version: "RANGE", sourceRef: {kind: HelmRepository, name: charts}}
  values: {text: hello}
"""


@pytest.fixture(scope="module")
def registry(find_part: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = Registry(find_part("docker-registry"), tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


class World:
    """A repository, a registry, and a cache of this test alone."""

    def __init__(self, root: Path, helm: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.helm, self.registry, self._capsys = root, helm, registry, capsys
        self.repo, self.cache = root / "repo", root / "cache"
        self.repo.mkdir()
        git(self.repo, "init", "-q", "-b", "main")

    def chart(self, version: str, text: str = TEMPLATE) -> Path:
        """A chart, packed by Helm."""
        folder = self.root / version / "web"
        (folder / "templates").mkdir(parents=True)
        (folder / "Chart.yaml").write_text(f"apiVersion: v2\nname: web\nversion: {version}\n")
        (folder / "values.yaml").write_text("text: default\n")
        (folder / "templates" / "cm.yaml").write_text(text)
        self._helm("package", str(folder), "-d", str(self.root))
        return self.root / f"web-{version}.tgz"

    def push(self, version: str, text: str = TEMPLATE, repository: str = "charts") -> None:
        """Packed and pushed by Helm."""
        self._helm("push", str(self.chart(version, text)), f"oci://{self.registry.host}/{repository}", "--plain-http")

    def _helm(self, *words: str) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        subprocess.run([self.helm, *words], env=environment, check=True, capture_output=True)

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.repo / f"{name.replace('_', '.')}.yaml").write_text(text)

    def settings(self, *registries: str) -> None:
        said = json.dumps(list(registries))
        text = f"apiVersion: customhouse.dev/v1\npolicy: {{trustedRegistries: {said}, requireSignedCommits: false}}\n"
        self.write(customhouse=text)

    def commit(self, message: str = "a change") -> None:
        git(self.repo, "add", "-A")
        git(self.repo, "commit", "-q", "-m", message)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a command; nothing is remembered from the one before."""
        wiring_outside.fetcher.cache_clear()
        status = run([*words, "--repo", str(self.repo)])
        said = self._capsys.readouterr()
        return status, said.out, said.err

    def gate(self, *words: str) -> tuple[int, dict[str, Any], str]:
        status, out, err = self.run("gate", "--engine", "embedded", "-o", "json", *words)
        return status, json.loads(out) if out else {}, err

    @property
    def lock(self) -> str:
        return (self.repo / "customhouse.lock.yaml").read_text()


@pytest.fixture
def world(
    tmp_path: Path,
    registry: Registry,
    find_part: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    helm = find_part("helm")
    monkeypatch.setenv("PATH", f"{helm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUSTOMHOUSE_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path, helm, registry, capsys)
    made.settings(registry.host + "/charts")
    made.commit("base")
    return made


def oci(world: World, asked: str = "1.x", repository: str = "charts") -> str:
    address = f'type: oci, url: "oci://{world.registry.host}/{repository}"'
    return RELEASE.replace("URL", address).replace("RANGE", asked)


def test_a_range_is_locked_judged_moved_on_by_one_line_and_cannot_be_moved_by_a_tag(world: World) -> None:
    world.push("1.2.0")
    world.write(release=oci(world))
    world.commit("unlocked")
    status, report, _ = world.gate()
    assert (status, [item["resource"]["kind"] for item in report["decisions"]].count("ConfigMap")) == (0, 0)
    status, out, err = world.run("sources", "lock")
    assert (status, "1.2.0" in out, "commit it" in err) == (0, True, True)
    assert world.run("sources", "lock", "--check")[0] == 0
    world.commit("locked")
    status, report, err = world.gate()
    assert "ConfigMap" in [item["resource"]["kind"] for item in report["decisions"]]
    (told,) = report["fetched"]
    assert (told["name"], told["version"]) == ("web", "1.2.0")
    assert told["digest"] in world.lock
    assert "web 1.2.0-" in err

    # The tag is moved: still the locked digest, and no line changes by itself. A newer version is asked for by hand.
    before = world.lock
    world.push("1.2.0-evil.1".partition("-")[0] + "+again", TEMPLATE.replace("hello", "evil"))
    world.push("1.3.0")
    moved = world.registry.get("/v2/charts/web/manifests/1.3.0")
    world.registry.document("charts/web", "1.2.0", json.loads(moved), MANIFEST)
    assert world.run("sources", "lock")[0] == 0
    assert world.lock == before
    assert world.gate()[1]["fetched"] == [told]
    assert world.run("sources", "lock", "--update", "-q")[0] == 0
    assert len(set(world.lock.splitlines()) ^ set(before.splitlines())) == 2
    world.commit("1.3.0")
    status, report, err = world.gate()
    assert (status, [item["resource"]["kind"] for item in report["decisions"]]) == (0, ["ConfigMap"])
    assert "web 1.2.0-" in err
    assert "→ 1.3.0-" in err

    # The line goes: that is no deletion, and the gate stays shut.
    world.write(**{"customhouse.lock": "sources: []\n"})
    world.commit("no line")
    status, report, err = world.gate()
    assert status == 3
    assert "had objects rendered, and now they are not here: the chart web (no line of customhouse.lock.yaml" in err


def test_a_change_cannot_bring_its_own_registry_and_nothing_is_asked_of_it(world: World) -> None:
    world.settings("elsewhere.example/")
    world.commit("base")
    world.push("1.2.0")
    world.settings("elsewhere.example/", world.registry.host)
    world.write(release=oci(world))
    assert world.run("sources", "lock", "-q")[0] == 0
    world.commit("its own registry")
    (world.root / "cache").rename(world.root / "cache-of-before")
    status, report, err = world.gate()
    assert (status, report) == (3, {})
    assert "merge a commit with that alone first" in err
    assert not (world.root / "cache").exists()
    # Trusted no more, by the change itself: said, and not fetched.
    world.settings("elsewhere.example/")
    world.commit("and none")
    status, out, _ = world.run("sources", "lock")
    assert status == 1
    assert "is not under policy.trustedRegistries" in " ".join(out.split())


def test_a_registry_that_is_gone_or_lies_cannot_be_decided_unless_the_bytes_are_here(
    world: World, find_part: Callable[[str], Path]
) -> None:
    folder = world.root / "second"
    folder.mkdir()
    other = Registry(find_part("docker-registry"), folder)
    world.registry = other
    world.settings(other.host)
    world.commit("base")
    try:
        world.push("1.2.0")
        world.write(release=oci(world))
        assert world.run("sources", "lock", "-q")[0] == 0
        world.commit("locked")
        world.run("gate", "-q")
        # What lies in the cache is believed as little as the registry: it is fetched again.
        for place in world.cache.iterdir():
            place.write_bytes(b"other bytes")
        assert world.gate()[1]["fetched"]
        blobs = [
            place
            for place in (other.data / "docker/registry/v2/blobs/sha256").rglob("data")
            if place.read_bytes().startswith(b"\x1f\x8b")
        ]
        kept = {place: place.read_bytes() for place in blobs}
        for place in blobs:
            place.write_bytes(b"swapped")
        assert world.gate()[0] != 3  # everything is here
        for place in world.cache.iterdir():
            place.unlink()
        status, _, err = world.gate()
        assert status == 3
        assert f"the registry gave {bytes_digest(b'swapped')}" in err
        assert "customhouse.lock.yaml:" in err
        for place, data in kept.items():
            place.write_bytes(data)
        assert world.gate()[1]["fetched"]
    finally:
        other.stop()
    assert world.gate()[1]["fetched"]  # offline, with all of it here
    for place in world.cache.iterdir():
        place.unlink()
    status, _, err = world.gate()
    assert status == 3
    assert "customhouse.lock.yaml:" in err


def test_an_artifact_of_flux_and_applications_of_argo_cd_are_rendered_from_the_registry(
    world: World, find_part: Callable[[str], Path]
) -> None:
    thing = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: NAME\n  labels:\n" + LABELS
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in {"deploy/cm.yaml": thing.replace("NAME", "artifact")}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    layer = world.registry.blob("charts/app", gzip.compress(buffer.getvalue()))
    layer["mediaType"] = "application/vnd.cncf.flux.content.v1.tar+gzip"
    digest = world.registry.manifest("charts/app", "v7", [layer])
    world.push("2.0.0")
    host = world.registry.host
    world.write(
        flux=f"""\
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {{name: app, namespace: flux-system}}
spec: {{url: "oci://{host}/charts/app", ref: {{tag: v7}}}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: app, namespace: flux-system}}
spec: {{path: ./deploy, prune: true, targetNamespace: shop, sourceRef: {{kind: OCIRepository, name: app}}}}
""",
        argo=f"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: values-from-git, namespace: argocd}}
spec:
  destination: {{namespace: retail, server: "https://kubernetes.default.svc"}}
  sources:
    - {{repoURL: "{host}/charts", chart: web, targetRevision: 2.0.0, helm: {{valueFiles: [$values/values/prod.yaml]}}}}
    - {{repoURL: "https://git.example/models.git", targetRevision: main, ref: values}}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: by-digest, namespace: argocd}}
spec:
  destination: {{namespace: pinned, server: "https://kubernetes.default.svc"}}
  source: {{repoURL: "oci://{host}/charts/app", path: deploy, targetRevision: "{digest}"}}
""",
    )
    (world.repo / "values").mkdir()
    (world.repo / "values" / "prod.yaml").write_text("text: production\n")
    status, _, err = world.run("sources", "lock", "-q")
    assert status == 0, err
    assert world.lock.count("\n  - ") == 2
    world.commit("all of them")
    _, report, _ = world.gate()
    maps = {
        f"{item['resource']['namespace']}/{item['resource']['name']}"
        for item in report["decisions"]
        if item["resource"]["kind"] == "ConfigMap"
    }
    assert maps == {"shop/artifact", "retail/values-from-git", "pinned/artifact"}
    assert {item["digest"] for item in report["fetched"]} >= {digest}


class Pages(ThreadingHTTPServer):
    """A chart repository: what lies at a path, or where a path leads."""

    def __init__(self) -> None:
        pages: dict[str, bytes | str] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = pages.get(self.path)
                self.send_response(404 if found is None else 302 if isinstance(found, str) else 200)
                if isinstance(found, str):
                    self.send_header("Location", found)
                body = found if isinstance(found, bytes) else b""
                self.send_header("Content-Length", str(len(body) if len(body) < 10**6 else 5 * 10**9))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True
        self.pages = pages
        self.address = f"http://127.0.0.1:{self.server_port}"
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def pages() -> Iterator[Pages]:
    running = Pages()
    yield running
    running.shutdown()
    running.server_close()


def test_a_chart_repository_is_asked_once_and_never_leads_elsewhere(world: World, pages: Pages) -> None:
    archive = world.chart("1.4.0").read_bytes()
    digest = bytes_digest(archive)
    index = f"""\
apiVersion: v1
entries:
  other:
  - {{name: other, version: 9.0.0, urls: [other.tgz]}}
  web:
  - apiVersion: v2
    name: web
    version: 1.4.0
    digest: {digest.removeprefix("sha256:")}
    urls:
    - files/web-1.4.0.tgz
generated: "2026-01-01T00:00:00Z"
"""
    pages.pages |= {"/stable/index.yaml": index.encode(), "/stable/files/web-1.4.0.tgz": archive}
    place = pages.address.removeprefix("http://")
    world.settings(f"{place}/stable")
    world.commit("base")
    world.write(release=RELEASE.replace("URL", f'url: "{pages.address}/stable"').replace("RANGE", "^1.3"))
    status, _, err = world.run("sources", "lock")
    assert (status, digest in world.lock) == (0, True), err
    good = world.lock
    world.commit("locked")
    assert world.gate()[1]["fetched"][0]["version"] == "1.4.0"

    cases: list[tuple[dict[str, bytes | str], str]] = [
        ({"/stable/index.yaml": index.replace("files/web", "/evil/web").encode()}, "is not under policy.trusted"),
        (
            {"/stable/index.yaml": index.replace("files/web", "files/%2e%2e/%2e%2e/evil/web").encode()},
            "cannot be read as one",
        ),
        ({"/stable/index.yaml": index.replace("files/web-1.4.0.tgz", "https://x.example/w.tgz").encode()}, "x.example"),
        ({"/stable/index.yaml": index.replace(digest[7:], "f" * 64).encode()}, "the index says"),
        (
            {"/stable/index.yaml": f"{pages.address.replace('127.0.0.1', 'localhost')}/stable/i"},
            "which is not followed",
        ),
        ({"/stable/index.yaml": b"entries: [\n"}, "cannot be read"),
        ({"/stable/files/web-1.4.0.tgz": "http://192.0.2.1/web.tgz"}, "redirected to"),
        ({"/stable/files/web-1.4.0.tgz": "https://169.254.169.254/latest"}, "which is not followed"),
        ({"/stable/files/web-1.4.0.tgz": b"\0" * 33 * 1024 * 1024}, "is larger than"),
    ]
    for changed, said in cases:
        kept = dict(pages.pages)
        pages.pages |= changed
        status, out, err = world.run("sources", "lock", "--update", "-o", "json")
        assert (status, world.lock) == (1, good), said
        (row,) = json.loads(out)["sources"]
        assert said in row["problem"]
        pages.pages.update(kept)
    # A line that names another address is no way around: only what the base trusts is fetched.
    for place_of_cache in world.cache.iterdir():
        place_of_cache.unlink()
    (world.repo / "customhouse.lock.yaml").write_text(good.replace("/stable/files/", "/evil/"))
    world.commit("another address")
    status, _, err = world.gate()
    assert status == 3
    assert "had objects rendered" in err
