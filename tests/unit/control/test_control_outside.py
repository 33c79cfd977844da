"""Charts and artifacts of registries: which digest is meant, who may bring them, and what an archive may hold."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from customhouse.control.adapters.renderers import ProgramRenderer
from customhouse.control.lockfile import LOCK, Locked, is_trusted, place_of, read_lock, write_lock
from customhouse.control.outside import Asked, Content, Mount, Outside, Pin
from customhouse.control.outside_names import of_argo, of_release, of_repository
from customhouse.control.rendering import Job, Output, Program, Sight
from customhouse.control.rendering_tree import render_tree
from customhouse.control.sources import applications
from customhouse.control.unpacking import MAX_BYTES, MAX_FILES, unpack
from customhouse.control.version_ranges import fits, newest
from customhouse.core.errors import CannotDecideError, CustomhouseError, DeclarationError
from customhouse.core.resource import Declaration

DIGEST = "sha256:" + "ab" * 32
CHART = {
    "Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.2.0\n",
    "values.yaml": b"replicas: 1\n",
    "production.yaml": b"replicas: 3\n",
    "templates/cm.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n",
}
LINE = Locked("oci://registry.example/charts/web", "1.2.0", DIGEST, 100, version="1.x")
RELEASE = b"""\
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: shop}
spec: {type: oci, url: oci://registry.example/charts}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: shop, namespace: shop}
spec:
  chart:
    spec: {chart: web, version: 1.x, valuesFiles: [production.yaml], sourceRef: {kind: HelmRepository, name: charts}}
"""


class Shelf:
    """Stands for a cache that has one archive, and counts who asks."""

    def __init__(self, content: Content | None = None) -> None:
        self.asked: list[Pin] = []
        self._content = content or Content(CHART, is_chart=True)

    def content(self, pin: Pin) -> Content:
        self.asked.append(pin)
        return self._content


class Templates:
    """Stands for helm: the templates of a chart as they are."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, job: Job) -> Output:
        self.jobs.append(job)
        files = [f"---\n# Source: web/templates/{name.rpartition('/')[2]}\n".encode() + data
                 for name, data in sorted(job.files.items()) if "/templates/" in name]  # fmt: skip
        plain = [data for name, data in sorted(job.files.items()) if name.endswith("object.yaml")]
        return Output(b"\n---\n".join(files or plain), Program("helm", "v1", "sha256:" + "0" * 64))


def outside(*lines: Locked, trusted: tuple[str, ...] = ("registry.example/charts",), **more: object) -> Outside:
    shelf = more.pop("shelf", None) or Shelf()
    return Outside({line.key: line for line in lines}, trusted, lambda: shelf, **more)  # type: ignore[arg-type, return-value]


def rendered(text: bytes, found: Outside, sight: Sight | None = None) -> tuple[Declaration, ...]:
    return render_tree({"all.yaml": text}, Templates(), outside=found, sight=sight)


def test_a_locked_chart_is_rendered_with_its_own_values_files_and_its_release_is_whole() -> None:
    shelf, templates = Shelf(), Templates()
    found = outside(LINE, shelf=shelf)
    declared = render_tree({"all.yaml": RELEASE}, templates, outside=found)
    (web,) = (item for item in declared if item.ref.kind == "ConfigMap")
    assert str(web.location).startswith(".fetched/registry.example/charts/web/1.2.0-abababababab/templates/cm.yaml")
    assert (web.ref.namespace, shelf.asked[0].digest) == ("shop", DIGEST)
    (job,) = templates.jobs
    assert any(word.endswith("1.2.0-abababababab/production.yaml") for word in job.arguments)
    (application,) = applications(declared)
    assert application.problem == ""
    (told,) = found.fetched
    assert (told.name, told.version, told.digest) == ("web", "1.2.0", DIGEST)


@pytest.mark.parametrize(
    ("lines", "trusted", "said"),
    [
        ((), ("registry.example/",), f"no line of {LOCK} says which digest is meant: `customhouse sources lock`"),
        ((LINE,), (), "is not under policy.trustedRegistries"),
        ((LINE,), ("registry.example/chart",), "is not under policy.trustedRegistries"),
    ],
)
def test_what_is_not_locked_or_not_trusted_is_not_fetched_and_said(
    lines: tuple[Locked, ...], trusted: tuple[str, ...], said: str
) -> None:
    shelf, sight = Shelf(), Sight()
    declared = rendered(RELEASE, outside(*lines, trusted=trusted, shelf=shelf), sight)
    assert {item.ref.kind for item in declared} == {"HelmRepository", "HelmRelease"}
    assert shelf.asked == []
    assert said in " ".join(what for _, what in sight.elsewhere)
    (application,) = applications(declared)
    assert "`customhouse sources lock` tells why" in application.problem


def test_a_registry_that_only_the_change_itself_trusts_cannot_be_decided_and_is_not_asked() -> None:
    shelf = Shelf()
    with pytest.raises(CannotDecideError, match=r"do not trust registry\.example/charts/web.*merge a commit with that"):
        rendered(RELEASE, outside(LINE, allowed=("other.example/",), shelf=shelf))
    assert shelf.asked == []


def test_a_chart_that_is_another_version_than_the_lock_file_says_is_refused() -> None:
    line = Locked("oci://registry.example/charts/web", "1.9.0", DIGEST, 100, version="1.x")
    with pytest.raises(DeclarationError, match=r"says web 1\.9\.0, and the chart is web 1\.2\.0"):
        rendered(RELEASE, outside(line))
    url = "https://registry.example/charts"
    other = Locked(url, "1.2.0", DIGEST, 1, "db", "1.x", url=f"{url}/db.tgz")
    text = RELEASE.replace(b"type: oci, url: oci://registry.example/charts", f"url: {url}".encode())
    with pytest.raises(DeclarationError, match=r"says db 1\.2\.0, and the chart is web 1\.2\.0"):
        rendered(text.replace(b"chart: web", b"chart: db"), outside(other))
    nothing = Content({"README.md": b"hello"}, is_chart=True)
    with pytest.raises(DeclarationError, match="the archive is no chart"):
        rendered(RELEASE, outside(LINE, shelf=Shelf(nothing)))


def test_an_artifact_is_the_source_of_a_kustomization_and_sees_nothing_of_the_tree() -> None:
    text = b"""\
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: app, namespace: flux-system}
spec: {url: oci://registry.example/charts/app, ref: {digest: DIGEST}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: app, namespace: flux-system}
spec: {path: ./deploy, prune: true, sourceRef: {kind: OCIRepository, name: app}, targetNamespace: shop}
""".replace(b"DIGEST", DIGEST.encode())
    thing = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"
    found = outside(shelf=Shelf(Content({"deploy/object.yaml": thing}, is_chart=False)))
    declared = rendered(text, found)
    assert [item.ref.kind for item in declared if item.owner is not None] == ["ConfigMap"]
    assert [item.problem for item in applications(declared)] == [""]
    reaching = {"deploy/kustomization.yaml": b"resources: [../../../../../../secret]\n"}
    with pytest.raises(DeclarationError):
        render_tree(
            {"all.yaml": text, "secret/object.yaml": thing, "secret/kustomization.yaml": b"resources: [object.yaml]\n"},
            Templates(),
            outside=outside(shelf=Shelf(Content(reaching, is_chart=False))),
        )


def test_what_objects_name() -> None:
    chart = {"repoURL": "https://charts.example/stable/", "chart": "web", "targetRevision": "1.x"}
    assert of_argo(chart) == Asked("https://charts.example/stable", "web", version="1.x")
    assert of_argo({**chart, "repoURL": "registry.example/charts"}) == Asked(
        "oci://registry.example/charts/web", version="1.x"
    )
    whole = {"repoURL": "oci://registry.example/app", "path": ".", "targetRevision": DIGEST}
    assert of_argo(whole) == Asked("oci://registry.example/app", digest=DIGEST)
    assert of_argo({**whole, "targetRevision": "latest"}) == Asked("oci://registry.example/app", tag="latest")
    assert of_argo({"repoURL": "https://git.example/app.git", "path": "."}) is None
    repository, release = render_tree({"all.yaml": RELEASE}, Templates())
    assert of_release(release, (repository, release)) == Asked("oci://registry.example/charts/web", version="1.x")
    for more, problem in (({"verify": {"provider": "cosign"}}, "not verified"), ({"ignore": "*"}, "not followed")):
        spec = {"url": "oci://registry.example/app", **more}
        item = Declaration(repository.ref, {**repository.manifest, "spec": spec}, repository.location)
        found = outside().mount(item, "/spec", of_repository(item))
        assert isinstance(found, str)
        assert problem in found


def test_the_lock_file_comes_back_as_it_was_written_and_a_new_version_is_one_line() -> None:
    other = Locked(
        "https://charts.example", "2.0.0", DIGEST, 7, "db", "*", url="https://charts.example/db-2.0.0.tgz", locked="x"
    )
    written = write_lock((LINE, other))
    assert sorted(read_lock(written).values(), key=lambda one: one.key) == [other, LINE]
    newer = write_lock((Locked(LINE.source, "1.3.0", "sha256:" + "cd" * 32, 9, version="1.x"), other))
    assert len(set(written.splitlines()) ^ set(newer.splitlines())) == 2
    assert read_lock(write_lock(())) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sources: {}", "one document with a list"),
        ("sources: []\nmore: 1", "one document with a list"),
        ("sources: [{source: 'oci://h/a', tag: x, resolved: x, digest: 'sha256:1'}]", "its digest is not"),
        ("sources: [{source: 'ftp://h/a', tag: x, resolved: x, digest: DIGEST}]", "is no address of a registry"),
        ("sources: [{source: 'oci://u:p@h/a', tag: x, resolved: x, digest: DIGEST}]", "is no address of a registry"),
        ("sources: [{source: 'oci://h/../a', tag: x, resolved: x, digest: DIGEST}]", "is no address of a registry"),
        ("sources: [{source: 'oci://h/a', version: 2.x, resolved: 1.0.0, digest: DIGEST}]", "is not what '2.x' asks"),
        ("sources: [{source: 'oci://h/a', tag: x, resolved: z, digest: DIGEST}]", "is not what 'x' asks"),
        ("sources: [{source: 'oci://h/a', tag: x, version: 1.x, resolved: x, digest: DIGEST}]", "one of them"),
        ("sources: [{source: 'https://h/a', version: 1.x, resolved: 1.0.0, digest: DIGEST}]", "a chart and a url"),
        ("sources: [{source: 'oci://h/a', tag: x, resolved: x, digest: DIGEST, hook: y}]", "'hook' is not known"),
        ("sources: [{source: 'oci://h/a', tag: x, resolved: x, digest: DIGEST, size: 9999999999}]", "number of bytes"),
        (
            "sources:\n- {source: 'oci://h/a', tag: x, resolved: x, digest: DIGEST}\n"
            "- {source: 'oci://h/a', tag: x, resolved: x, digest: 'sha256:" + "0" * 64 + "'}",
            "which one counts cannot be told",
        ),
    ],
)
def test_a_lock_file_that_is_wrong_is_refused_at_its_line(text: str, said: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^{LOCK}:\d+:\d+.*{said}"):
        read_lock(text.replace("DIGEST", f"'{DIGEST}'").encode())


def test_prefixes_are_whole_parts_of_an_address() -> None:
    assert is_trusted("registry.example/charts/web", ("registry.example/charts/",))
    assert not is_trusted("registry.example/charts-of-others/web", ("registry.example/charts",))
    assert not is_trusted("registry.example.org/charts", ("registry.example",))
    assert not is_trusted("registry.example/x", ("", "/"))
    assert place_of("https://Charts.Example:8443/a/b") == "charts.example:8443/a/b"
    assert [place_of(text) for text in ("https://u@h/a", "oci://h/a/../b", "oci://h//a", "h/a", "https://h/a?x")] == [
        ""
    ] * 5


@pytest.mark.parametrize(
    ("asked", "version", "fit"),
    [
        ("6.x", "6.7.1", True), ("6.x", "7.0.0", False), ("*", "1.0.0-rc1", False), (">=1.0.0-0", "1.0.0-rc1", True),
        ("^1.2", "1.9.9", True), ("^0.2.3", "0.3.0", False), ("^0.0.3", "0.0.4", False), ("^0", "0.9.0", True),
        ("~1.2.3", "1.3.0", False), ("~1", "1.9.0", True), (">= 1.0.0, < 2", "2.0.0", False),
        ("1.2 - 2.3", "2.3.5", True),
        ("1.2 || 3.x", "3.4.5", True), ("v1.2.3", "1.2.3", True), (">1.2", "1.2.9", False), ("<=1.2", "1.2.9", True),
        ("1.2.3", "latest", False),
    ],
)  # fmt: skip
def test_ranges_of_versions_are_those_of_helm(asked: str, version: str, fit: bool) -> None:
    assert fits(asked, version) is fit


def test_the_newest_is_by_precedence_and_what_is_no_range_is_refused() -> None:
    assert newest("1.x", ["1.9.0", "1.10.0", "2.0.0", "1.11.0-rc1", "latest"]) == "1.10.0"
    assert newest("3.x", ["1.9.0"]) is None
    for wrong in ("", "latest", ">=", "1.2.3,", "1.2.3.4", "x" * 1000):
        with pytest.raises(ValueError, match="range"):
            fits(wrong, "1.0.0")


def packed(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), 1)


def plain(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    return member, data


def odd(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def hostile() -> Iterator[tuple[str, bytes, str]]:
    chart = plain("web/Chart.yaml")
    yield "no gzip", b"hello", "no gzip file"
    yield "no tar", gzip.compress(b"hello" * 200), "no archive|no plain file|path"
    yield "cut off", packed([plain("web/a", b"y" * 5000)])[:-20], "ends too early|no gzip"
    yield "two streams", packed([chart]) + packed([chart]), "something follows"
    yield "parent", packed([chart, plain("web/../../etc/passwd")]), "leads out"
    yield "absolute", packed([chart, plain("/etc/passwd")]), "leads out"
    yield "backslash", packed([chart, plain("web\\..\\x")]), "leads out"
    yield "control", packed([chart, plain("web/a\nb")]), "leads out"
    yield "symbolic link", packed([chart, odd("web/x", tarfile.SYMTYPE, "/etc/passwd")]), "no plain file"
    yield "hard link", packed([chart, odd("web/x", tarfile.LNKTYPE, "web/Chart.yaml")]), "no plain file"
    yield "device", packed([chart, odd("web/x", tarfile.CHRTYPE)]), "no plain file"
    yield "twice", packed([chart, chart]), "twice"
    yield "file and folder", packed([plain("web/a"), plain("web/a/b")]), "a file and a folder"
    yield "two tops", packed([chart, plain("other/x")]), "holds one folder"
    yield "no top", packed([plain("Chart.yaml")]), "holds one folder"
    yield "empty", packed([]), "holds one folder"
    yield "many", packed([plain(f"web/{number}", b"") for number in range(MAX_FILES + 1)]), "more than"
    yield "bomb", gzip.compress(b"\0" * (MAX_BYTES + 1), 1), "unpacks to more"


@pytest.mark.parametrize(("data", "said"), [item[1:] for item in hostile()], ids=[item[0] for item in hostile()])
def test_a_hostile_archive_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(CustomhouseError, match=said):
        unpack(data, "oci://registry.example/web", chart=True)


def test_an_archive_of_a_chart_is_the_chart_s_folder_and_an_artifact_is_as_it_is() -> None:
    data = packed([plain("web/Chart.yaml", b"a"), plain("web/templates/x.yaml", b"b")])
    assert unpack(data, "here", chart=True) == {"Chart.yaml": b"a", "templates/x.yaml": b"b"}
    dotted = packed([plain("./web/Chart.yaml", b"a"), plain("web/templates/x.yaml", b"b")])
    assert set(unpack(dotted, "here", chart=False)) == {"web/Chart.yaml", "web/templates/x.yaml"}
    with pytest.raises(DeclarationError, match="a file of another chart"):
        unpack(dotted, "here", chart=True)
    mount = outside(LINE).mount(rendered(RELEASE, outside())[0], "/spec", Asked(LINE.source, version="1.x"))
    assert isinstance(mount, Mount)


def test_a_folder_of_the_tree_does_not_pass_for_what_was_fetched() -> None:
    text = b"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec:
  destination: {namespace: shop}
  sources:
    - {repoURL: registry.example/charts, chart: web, targetRevision: 1.x}
    - {repoURL: https://git.example/x.git, path: .fetched/registry.example/charts/web/1.2.0-abababababab}
"""
    files = {f".fetched/registry.example/charts/web/1.2.0-abababababab/{name}": data for name, data in CHART.items()}
    declared = render_tree({"all.yaml": text, **files}, Templates(), outside=outside())
    assert [item.ref.kind for item in declared] == ["Application"]
    (application,) = applications(declared)
    assert "is not in this tree" in application.problem


HERE = ".fetched/registry.example/charts/web/1.2.0-abababababab"
SHOP = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec:
  destination: {namespace: shop}
  sources:
    - {repoURL: https://git.example/this.git, targetRevision: HEAD, ref: values}
    - {repoURL: oci://registry.example/other, targetRevision: HEAD, ref: other}
    - {repoURL: registry.example/charts, chart: web, targetRevision: 1.x, helm: {HELM}}
"""


@pytest.mark.parametrize("named", ["valueFiles: ['NAME']", "fileParameters: [{name: text, path: 'NAME'}]"])
@pytest.mark.parametrize(
    "name",
    [
        f"$values/{HERE}/.helmignore",
        f"$values/{HERE}/templates/zz.yaml",
        f"$values/{HERE}/production.yaml",
        "$values/.fetched/registry.example/charts/web/other.yaml",
        "$other/values/shop.yaml",
        ".helmignore",
        "templates/zz.yaml",
        "../../../../../values/shop.yaml",
        "/values/shop.yaml",
    ],
)
def test_no_file_of_the_tree_becomes_a_part_of_a_fetched_chart(name: str, named: str) -> None:
    ours = {f"{HERE}/{one}": b"a: b" for one in (".helmignore", "templates/zz.yaml", "production.yaml")}
    ours |= {"values/shop.yaml": b"a: b", ".fetched/registry.example/charts/web/other.yaml": b"a: b"}
    text = SHOP.replace("{HELM}", "{" + named.replace("NAME", name) + "}").encode()
    with pytest.raises(DeclarationError, match=r"all\.yaml:\d+:\d+.* is not in this tree"):
        render_tree({"all.yaml": text, **ours}, Templates(), outside=outside(LINE))


@pytest.mark.parametrize("name", ["production.yaml", "/production.yaml", "$values/values/shop.yaml"])
def test_values_of_a_fetched_chart_are_its_own_files_and_those_of_the_tree_by_a_reference(name: str) -> None:
    templates = Templates()
    text = SHOP.replace("{HELM}", f"{{valueFiles: ['{name}']}}").encode()
    thing = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: evil}\n"
    evil = dict.fromkeys(("production.yaml", f"{HERE}/production.yaml", f"{HERE}/templates/zz.yaml"), thing)
    theirs = {"values/shop.yaml": b"replicas: 9"} if "$" in name else {}
    files = {"all.yaml": text, **theirs, **evil}
    render_tree(files, templates, outside=outside(LINE))
    (job,) = templates.jobs
    assert {one.removeprefix(HERE + "/") for one in job.files} == {*CHART, *theirs}
    assert b"evil" not in b"".join(job.files.values())


def test_a_second_line_of_the_same_bytes_is_held_against_the_chart_too() -> None:
    again = Locked(LINE.source, "1.9.0", DIGEST, 100, version="1.9.x")
    other = RELEASE.partition(b"---")[2].replace(b"name: shop, n", b"name: other, n").replace(b"1.x", b"1.9.x")
    with pytest.raises(DeclarationError, match=r"says web 1\.9\.0, and the chart is web 1\.2\.0"):
        rendered(RELEASE + b"---\n" + other, outside(LINE, again))


@pytest.mark.parametrize("name", ["templates/.evil.yaml", "templates/.d/evil.yaml", "charts/sub/templates/.evil.yaml"])
def test_a_hidden_template_is_refused_since_not_every_program_renders_it(name: str) -> None:
    shelf = Shelf(Content({**CHART, name: b"kind: Pod"}, is_chart=True))
    with pytest.raises(DeclarationError, match=f"{name.replace('.', '[.]')} is hidden"):
        rendered(RELEASE, outside(LINE, shelf=shelf))
    harmless = {**CHART, name: b"\n", "files/templates/.x": b"no template"}
    found = outside(LINE, shelf=Shelf(Content(harmless, is_chart=True)))
    item = rendered(RELEASE, outside())[0]
    assert isinstance(found.mount(item, "/spec", Asked(LINE.source, version="1.x")), Mount)


POD = b"apiVersion: v1\nkind: Pod\nmetadata: {name: evil}\nspec: {hostPID: true}\n"
HIDING = {**CHART, "templates/evil.yaml": POD, ".helmignore": b"templates/evil.yaml\nvalues.yaml\n"}


@pytest.mark.part("helm")
def test_a_helmignore_hides_nothing_from_who_judges_what_flux_installs(
    find_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{find_part('helm').parent}{os.pathsep}{os.environ['PATH']}")
    told = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: told}\n"
    told += b'data: {replicas: "{{ .Values.replicas }}", ignored: {{ .Files.Get ".helmignore" | quote }}}\n'
    content = Content({**HIDING, "templates/told.yaml": told}, is_chart=True)
    release = RELEASE.replace(b", valuesFiles: [production.yaml]", b"")
    shop = SHOP.replace("helm: {HELM}", "helm: {releaseName: shop}").encode()
    for text, kinds, replicas in ((release, {"Pod", "ConfigMap"}, "1"), (shop, {"ConfigMap"}, "")):
        found = outside(LINE, shelf=Shelf(content))
        declared = render_tree({"all.yaml": text}, ProgramRenderer(), outside=found)
        owned = [item for item in declared if item.owner is not None]
        assert {item.ref.kind for item in owned} == kinds
        (data,) = (item.manifest["data"] for item in owned if item.ref.name == "told")
        assert data == {"replicas": replicas, "ignored": HIDING[".helmignore"].decode()}
