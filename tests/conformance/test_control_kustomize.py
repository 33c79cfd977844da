"""Every kustomization of the given repositories, built by the real program; and places that are told through it."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from customhouse._kit.process import run
from customhouse.control.adapters.renderers import ProgramRenderer
from customhouse.control.conducting import conduct
from customhouse.control.render import identity
from customhouse.control.rendering import kustomize_job
from customhouse.control.rendering_kustomize import Forest
from customhouse.control.rendering_tree import render_tree
from customhouse.control.scenes import of_one_scene
from customhouse.control.sources import applications
from customhouse.control.yaml_values import escape
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Location

pytestmark = pytest.mark.part("kustomize")
FLUX, KSERVE, KUBEFLOW = "fluxcd__flux2-kustomize-helm-example", "kserve__kserve", "kubeflow__manifests"
_ORIGIN = re.compile(r"\n    config\.kubernetes\.io/origin: \|(?:\n      .*)+")
_EMPTY = re.compile(r"\n  annotations:(?=\n  ?[a-z])")


@pytest.fixture(scope="module")
def program(find_part: Callable[[str], Path]) -> Path:
    return find_part("kustomize")


@pytest.fixture
def renderer(program: Path, monkeypatch: pytest.MonkeyPatch) -> ProgramRenderer:
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return ProgramRenderer()


@pytest.fixture(scope="module")
def repositories(shared_data: Path) -> Mapping[str, Mapping[str, bytes]]:
    root = shared_data / "manifests"
    return {
        name: {
            path.relative_to(root / name).as_posix(): path.read_bytes()
            for path in sorted((root / name).rglob("*"))
            if path.is_file()
        }
        for name in (FLUX, KSERVE, KUBEFLOW)
    }


@pytest.fixture(scope="module")
def listed(shared_data: Path) -> list[tuple[str, str, str]]:
    """Repository, folder, and what it refers to, of every kustomization of the given list."""
    with (shared_data / "manifests" / "kustomizations.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    split = [(*row["path"].removesuffix("/kustomization.yaml").partition("/")[::2], row["references"]) for row in rows]
    return [(name, folder, references) for name, folder, references in split]


def test_every_local_kustomization_renders_to_what_kustomize_makes_of_it(
    renderer: ProgramRenderer,
    program: Path,
    shared_data: Path,
    repositories: Mapping[str, Mapping[str, bytes]],
    listed: list[tuple[str, str, str]],
) -> None:
    forests = {name: Forest(files) for name, files in repositories.items()}
    local, remote = [], 0
    for name, folder, references in listed:
        if references == "local":
            local.append((name, folder))
            continue
        with pytest.raises(DeclarationError, match="fetched from elsewhere"):
            forests[name].at(folder)
        remote += 1

    def built(place: tuple[str, str]) -> bool:
        name, folder = place
        found = forests[name].at(folder)
        assert found is not None
        if found.is_component:  # nothing by itself: a part of the overlays that refer to it
            return False
        output = renderer.run(kustomize_job(forests[name], repositories[name], folder)).data.decode()
        # The larger ones are definitions, which differ in length alone; and one in six is enough of the small.
        if len(output) < 100_000 and local.index(place) % 6 == 0:
            plain = run([str(program), "build", str(shared_data / "manifests" / name / folder)]).stdout.decode()
            assert sorted(_EMPTY.sub("", _ORIGIN.sub("", output)).split("\n---\n")) == sorted(plain.split("\n---\n"))
        return True

    with ThreadPoolExecutor(2) as pool:
        rendered = list(pool.map(built, local))
    assert (sum(rendered), len(rendered) - sum(rendered), remote) == (53, 2, 1)


def scalars(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield pointer, value
        return
    for key, item in items:
        yield from scalars(item, f"{pointer}/{escape(str(key))}")


def test_a_field_is_found_in_the_file_that_says_it(
    renderer: ProgramRenderer, repositories: Mapping[str, Mapping[str, bytes]]
) -> None:
    files = repositories[KUBEFLOW]
    folders = ["applications/kserve/models-web-app", "applications/tensorboard/tensorboard-controller", "common/dex"]
    fields = told = exact = 0
    for folder in folders[:2]:
        overlay = folder + ("/overlays/kubeflow" if folder.endswith("app") else "/upstream/overlays/kubeflow")
        for item in render_tree(files, renderer, folders=[overlay]):
            assert "config.kubernetes.io/origin" not in (item.manifest["metadata"].get("annotations") or {})
            assert item.rendering is not None
            assert item.rendering.program == "kustomize"
            assert item.rendering.digest.startswith("sha256:")
            for pointer, value in scalars(item.manifest):
                place = item.locate(pointer)
                fields += 1
                told += pointer in item.marks
                lines = files[place.file].decode().splitlines()
                exact += str(value)[:10] in lines[place.line - 1]
    assert fields > 350
    assert told / fields > 0.95
    # What a transformer composed (a prefixed name, an image's new tag) stands in two places; the line has a part of it.
    assert exact / fields > 0.9


def test_a_cluster_of_the_flux_example_is_what_its_kustomizations_name(
    renderer: ProgramRenderer, repositories: Mapping[str, Mapping[str, bytes]]
) -> None:
    declared = render_tree(repositories[FLUX], renderer, folders=["clusters/production"])
    roots = {item.rendering.root for item in declared if item.rendering is not None}
    assert roots == {"apps/production", "infrastructure/configs", "infrastructure/controllers"}
    (issuer,) = (item for item in declared if item.ref.kind == "ClusterIssuer")
    # The patch of the cluster's own Kustomization object, not what the folder says.
    assert issuer.manifest["spec"]["acme"]["server"] == "https://acme-v02.api.letsencrypt.org/directory"
    (podinfo,) = (item for item in declared if item.ref.name == "podinfo" and item.ref.kind == "HelmRelease")
    assert podinfo.locate("/spec/values/httpRoute/hostnames/0").file == "apps/production/podinfo-values.yaml"


def test_two_clusters_in_one_question_are_two_scenes(
    renderer: ProgramRenderer, repositories: Mapping[str, Mapping[str, bytes]]
) -> None:
    declared = render_tree(repositories[FLUX], renderer)
    assert {item.ref.scene for item in declared} == {"clusters/production", "clusters/staging"}
    hosts = {
        item.ref.scene: item.manifest["spec"]["values"]["httpRoute"]["hostnames"][0]
        for item in declared
        if (item.ref.kind, item.ref.name) == ("HelmRelease", "podinfo")
    }
    assert hosts == {"clusters/production": "podinfo.production", "clusters/staging": "podinfo.staging"}
    with pytest.raises(DeclarationError, match="a target has one of them"):
        of_one_scene(declared)
    one = render_tree(repositories[FLUX], renderer, folders=["clusters/staging"])
    assert of_one_scene(one) == one
    assert {item.owner.name for item in one if item.owner is not None} == {"apps", "infra-configs", "infra-controllers"}


def test_every_object_of_flux_in_the_given_repositories_is_read_as_a_source_or_says_why_not(
    renderer: ProgramRenderer, repositories: Mapping[str, Mapping[str, bytes]]
) -> None:
    whole = Counter[str]()
    for cluster in ("production", "staging"):
        declared = render_tree(repositories[FLUX], renderer, folders=[f"clusters/{cluster}"])
        made = conduct(declared)
        for application in applications(declared):
            reason = made.held.get(application.ref, "")
            whole[f"{application.ref.kind} {'held' if reason else 'followed'}"] += 1
            assert not reason or "is not in this tree" in reason
        issuer = next(item for item in made.declarations if item.ref.kind == "ClusterIssuer")
        gateway = next(item for item in made.declarations if item.ref.kind == "Gateway")
        # infra-configs depends on infra-controllers, and apps on infra-configs.
        for item in (issuer, gateway):
            assert item.care is not None
            assert [need.group for need in item.care.needs] == ["flux/flux-system/infra-controllers"], item.ref
        assert {item.ref.kind for item in made.declarations} >= {"Namespace", "Gateway", "GatewayClass"}
    # The charts of the releases are fetched from registries; what is not here is never applied in part.
    assert whole == {"Kustomization followed": 6, "HelmRelease held": 6}


def test_overlays_of_a_whole_repository_are_scenes_where_they_differ(
    renderer: ProgramRenderer, repositories: Mapping[str, Mapping[str, bytes]]
) -> None:
    upstream = "applications/tensorboard/tensorboard-controller/upstream"
    declared = render_tree(repositories[KUBEFLOW], renderer, folders=["applications/tensorboard"])
    assert len({identity(item.ref) for item in declared}) == len(declared)
    roles = [item for item in declared if item.ref.name == "tensorboard-controller-manager-role"]
    assert {item.ref.scene for item in roles} == {f"{upstream}/overlays/kubeflow", f"{upstream}/overlays/standalone"}
    # Patches that are commented out of their kustomization are looked at by themselves, and are in nobody's way.
    patches = {item.ref.scene for item in declared if item.rendering is None and item.ref.kind.startswith("Custom")}
    assert patches == {f"{upstream}/crd/patches/{part}_in_tensorboards.yaml" for part in ("cainjection", "webhook")}


def test_places_in_patches_fields_and_generators(renderer: ProgramRenderer) -> None:
    files = {
        "base/kustomization.yaml": b"resources: [web.yaml]\n",
        "base/web.yaml": (
            b"# a comment\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 1\n"
            b"  template:\n    spec:\n      containers:\n      - name: side\n        image: side:1\n"
            b"      - name: web\n        image: web:1\n        imagePullPolicy: Always\n"
        ),
        "prod/kustomization.yaml": (
            b"resources: [../base]\nnamePrefix: p-\nnamespace: shop\nimages:\n- name: web\n  newTag: latest\n"
            b"patches:\n- path: more.yaml\n- target: {kind: Deployment}\n  patch: |-\n    - op: add\n"
            b"      path: /spec/template/spec/hostNetwork\n      value: true\n"
            b"configMapGenerator:\n- name: settings\n  literals:\n  - mode=fast\n"
        ),
        "prod/more.yaml": (
            b"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 7\n  template:\n"
            b"    spec:\n      containers:\n      - name: web\n        securityContext:\n          privileged: true\n"
        ),
    }
    web, settings = sorted(render_tree(files, renderer), key=lambda item: item.ref.kind, reverse=True)
    pods = "/spec/template/spec"
    names = [item["name"] for item in web.manifest["spec"]["template"]["spec"]["containers"]]
    index = names.index("web")
    assert web.ref.namespace == "shop"
    assert web.location == Location("base/web.yaml", 3, 1)
    assert web.locate("/metadata/namespace") == Location("prod/kustomization.yaml", 3, 12)
    assert web.locate("/spec/replicas") == Location("prod/more.yaml", 6, 13)
    assert web.locate(f"{pods}/containers/{index}/securityContext/privileged") == Location("prod/more.yaml", 12, 23)
    assert web.locate(f"{pods}/containers/{index}/image") == Location("prod/kustomization.yaml", 6, 11)
    assert web.locate(f"{pods}/containers/{index}/imagePullPolicy") == Location("base/web.yaml", 16, 26)
    assert web.locate(f"{pods}/containers/{names.index('side')}/image") == Location("base/web.yaml", 13, 16)
    assert web.locate(f"{pods}/hostNetwork") == Location("prod/kustomization.yaml", 13, 14)
    assert settings.locate("/data/mode") == Location("prod/kustomization.yaml", 17, 5)
    assert "annotations" not in web.manifest["metadata"]
