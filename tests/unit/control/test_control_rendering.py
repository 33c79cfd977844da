"""What is rendered, with which files, and what is refused before any program starts."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from customhouse.control.rendering import TREE, Job, Output, Program, RenderEntry, helm_job, jsonnet_job
from customhouse.control.rendering_jsonnet import imports_of
from customhouse.control.rendering_kustomize import Forest, roots_among
from customhouse.control.rendering_tree import render_tree
from customhouse.control.scenes import of_one_scene
from customhouse.core.errors import DeclarationError

CONFIG_MAP = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: plain\n"
PROGRAM = Program("recorder", "v1.0.0", "sha256:" + "0" * 64)


class Recorder:
    """Stands for the programs: keeps the jobs, answers with what it was given."""

    def __init__(self, answers: Mapping[str, bytes] | None = None) -> None:
        self.jobs: list[Job] = []
        self._answers = answers or {}

    def run(self, job: Job) -> Output:
        self.jobs.append(job)
        return Output(self._answers.get(job.root, b""), PROGRAM)


def kustomization(text: str) -> bytes:
    return f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n{text}".encode()


def refused(files: Mapping[str, bytes], entries: tuple[RenderEntry, ...] = ()) -> DeclarationError:
    recorder = Recorder()
    with pytest.raises(DeclarationError) as caught:
        render_tree(files, recorder, entries=entries)
    assert recorder.jobs == []
    return caught.value


TREE_OF_OVERLAYS = {
    "base/kustomization.yaml": kustomization("resources: [web.yaml]\n"),
    "base/web.yaml": CONFIG_MAP,
    "base/notes.yaml": b"not: an object\n",
    "parts/tls/kustomization.yaml": b"kind: Component\npatches:\n- path: p.yaml\n",
    "parts/tls/p.yaml": CONFIG_MAP,
    "overlays/a/kustomization.yaml": kustomization("resources: [../../base]\ncomponents: [../../parts/tls]\n"),
    "overlays/b/kustomization.yaml": kustomization(
        "resources: [../../base]\nconfigMapGenerator:\n- name: c\n  files: [k=f.txt]\n"
    ),
    "overlays/b/f.txt": b"x",
    "plain.yaml": CONFIG_MAP,
}


def test_overlays_are_roots_and_what_they_build_on_is_not() -> None:
    forest = Forest(TREE_OF_OVERLAYS)
    assert roots_among(forest, ["base", "parts/tls", "overlays/a", "overlays/b"]) == ["overlays/a", "overlays/b"]


def test_a_program_sees_only_the_files_that_its_root_refers_to() -> None:
    recorder = Recorder()
    declared = render_tree(TREE_OF_OVERLAYS, recorder)
    assert [item.ref.name for item in declared] == ["plain"]  # a file of a kustomization is not an object of its own
    first, second = recorder.jobs
    assert sorted(first.files) == [
        "base/kustomization.yaml",
        "base/web.yaml",
        "overlays/a/kustomization.yaml",
        "parts/tls/kustomization.yaml",
        "parts/tls/p.yaml",
    ]
    assert "overlays/b/f.txt" in second.files
    assert json.loads(first.added["kustomization.yaml"]) == {
        "buildMetadata": ["originAnnotations"],
        "resources": [f"../{TREE}/overlays/a"],
    }


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("resources:\n- https://example.com/base?ref=v1\n", "fetched from elsewhere", 4),
        ("resources:\n- web.yaml\n- github.com/org/repo//path?ref=v0.1\n", "fetched from elsewhere", 5),
        ("bases:\n- git@github.com:org/repo.git\n", "fetched from elsewhere", 4),
        ("components:\n- git::https://example.com/r.git\n", "fetched from elsewhere", 4),
        ("patches:\n- path: https://example.com/p.yaml\n", "fetched from elsewhere", 4),
        ("resources:\n- ../../outside\n", "leads out of the tree", 4),
        ("resources:\n- /etc/passwd\n", "leads out of the tree", 4),
        ("configMapGenerator:\n- name: c\n  files:\n  - k=/etc/shadow\n", "leads out of the tree", 6),
        ("configMapGenerator:\n- name: c\n  envs: [../../../.env]\n", "leads out of the tree", 5),
        ("openapi:\n  path: https://example.com/schema.json\n", "fetched from elsewhere", 4),
        ("resources:\n- gone.yaml\n", "neither a file nor a folder", 4),
        ("helmCharts:\n- name: x\n  repo: https://example.com\n", "start Helm", 3),
        ("transformers:\n- fn.yaml\n", "is a function", 4),
        ("resources: web.yaml\n", "is not a list", 3),
        ("resources:\n- web.yaml\nresources:\n- web.yaml\n", "written twice", 5),
    ],
)
def test_what_would_be_fetched_or_read_elsewhere_is_refused_with_its_line(text: str, said: str, line: int) -> None:
    files = {
        "app/kustomization.yaml": kustomization(text),
        "app/web.yaml": CONFIG_MAP,
        "app/fn.yaml": b"metadata:\n  annotations:\n    config.kubernetes.io/function: '{}'\n",
    }
    error = refused(files)
    assert said in str(error)
    assert error.where.startswith(f"app/kustomization.yaml:{line}:")


def test_a_hostile_reference_is_refused_at_once() -> None:
    files = {"app/kustomization.yaml": kustomization(f"resources:\n- {'a@' * 500_000}\n")}
    assert "fetched from elsewhere" in str(refused(files)) or "neither a file" in str(refused(files))


def test_kustomizations_in_a_circle_are_not_left_out() -> None:
    error = refused({
        "a/kustomization.yaml": kustomization("resources: [../b]\n"),
        "b/kustomization.yaml": kustomization("resources: [../a]\n"),
    })  # fmt: skip
    assert "circle" in str(error)


def test_two_kustomizations_in_one_folder_are_refused() -> None:
    files = {"a/kustomization.yaml": kustomization(""), "a/Kustomization": kustomization("")}
    assert "two kustomizations" in str(refused(files))


def test_what_customhouse_yaml_names_stays_a_root_when_another_refers_to_it() -> None:
    files = {
        "prod/kustomization.yaml": kustomization("resources: [web.yaml]\n"),
        "prod/web.yaml": CONFIG_MAP,
        "tamed/kustomization.yaml": kustomization("resources: [../prod]\npatches:\n- patch: |\n    kind: ConfigMap\n"),
    }
    recorder = Recorder()
    render_tree(files, recorder, entries=[RenderEntry("prod")])
    assert [job.root for job in recorder.jobs] == ["prod", "tamed"]


def test_an_entry_without_anything_to_render_is_an_error() -> None:
    assert "no kustomization, no chart" in str(refused({"a.yaml": CONFIG_MAP}, (RenderEntry("nowhere"),)))


CHART = {
    "charts/web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.0.0\n",
    "charts/web/values.yaml": b"replicas: 1\n",
    "charts/web/templates/web.yaml": b"{{ not yaml }}\n",
    "charts/web/charts/sub/Chart.yaml": b"apiVersion: v2\nname: sub\nversion: 1.0.0\n",
    "prod.yaml": b"replicas: 3\n",
}
APPLICATION = b"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop}
spec:
  destination: {namespace: retail}
  source:
    path: charts/web
    helm:
      valueFiles: [/prod.yaml]
      parameters: [{name: a.b, value: "1", forceString: true}]
"""


def test_a_chart_is_one_root_with_its_subcharts_and_default_values() -> None:
    recorder = Recorder()
    render_tree({name: data for name, data in CHART.items() if name != "prod.yaml"}, recorder)
    (job,) = recorder.jobs
    assert job.arguments[:3] == ("template", "web", "tree/charts/web")
    assert sorted(job.files) == sorted(name for name in CHART if name.startswith("charts/"))


def test_an_application_says_with_which_values_its_chart_is_rendered() -> None:
    files = {name: data for name, data in CHART.items() if name != "prod.yaml"}
    files |= {"app.yaml": APPLICATION, "values/prod.yaml": b"replicas: 3\n"}
    error = refused(files)
    assert "'/prod.yaml' is not in this tree" in str(error)
    assert error.where.startswith("app.yaml:9:")
    recorder = Recorder()
    application = APPLICATION.replace(b"/prod.yaml", b"../../values.yml")
    files = {**CHART, "app.yaml": application, "values.yml": b"replicas: 3\n", "prod.yaml": CONFIG_MAP}
    declared = render_tree(files, recorder)
    assert [item.ref.name for item in declared] == ["shop", "plain"]  # values are no object, also where they look plain
    (job,) = recorder.jobs
    assert job.namespace == "retail"
    assert job.arguments[1] == "shop"
    assert job.arguments[-4:] == ("--values", "tree/values.yml", "--set-string", "a.b=1")


def test_a_flux_kustomization_puts_its_patches_on_top() -> None:
    flux = (
        b"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec:\n"
        b"  path: ./prod\n  targetNamespace: shop\n  patches: [{patch: 'kind: X'}]\n"
    )
    files = {"prod/kustomization.yaml": kustomization("resources: [w.yaml]\n"), "prod/w.yaml": CONFIG_MAP}
    recorder = Recorder()
    render_tree({**files, "apps.yaml": flux}, recorder)
    (job,) = recorder.jobs
    outer = json.loads(job.added["kustomization.yaml"])
    assert outer["namespace"] == "shop"
    assert outer["patches"] == [{"patch": "kind: X"}]
    unknown = b"postBuild: {substituteFrom: [{kind: ConfigMap, name: cluster-vars}]}"
    error = refused({**files, "apps.yaml": flux.replace(b"targetNamespace: shop", unknown)})
    assert error.where.startswith("apps.yaml:6:")
    assert "ConfigMap cluster-vars" in str(error)


def test_half_a_chart_is_not_rendered() -> None:
    with pytest.raises(DeclarationError, match="outside of what was named"):
        helm_job({}, "charts/web")


@pytest.mark.parametrize("path", ["v,/etc/passwd", 'v"x.yaml', "v\nx.yaml"])
def test_a_values_file_is_one_file_to_helm_too(path: str) -> None:
    with pytest.raises(DeclarationError, match="a comma or a quote"):
        helm_job({"c/Chart.yaml": b"name: c\n", path: b"a: 1\n"}, "c", values=[path])


@pytest.mark.parametrize("name", ["--post-renderer=x", "-f", "UPPER", "a b", "a" * 54])
def test_a_release_name_is_no_option_of_the_program(name: str) -> None:
    with pytest.raises(DeclarationError, match="is not a release name"):
        helm_job(CHART, "charts/web", release=name)
    with pytest.raises(DeclarationError, match="is not a namespace"):
        helm_job(CHART, "charts/web", namespace=name)


def test_jsonnet_gets_what_it_imports_and_nothing_else() -> None:
    files = {
        "main.jsonnet": b"// import 'no'\nlocal a = import 'a.libsonnet'; [importstr \"t/x.txt\", 'import \"no\"']",
        "a.libsonnet": b"import 'deep.libsonnet' /* import 'no' */",
        "vendor/deep.libsonnet": b"{x: |||\n  import 'no'\n|||}",
        "t/x.txt": b"import 'no'",
        "other.txt": b"",
    }
    assert set(imports_of("main.jsonnet", files, ("vendor",))) == set(files) - {"other.txt"}
    job = jsonnet_job(files, RenderEntry("main.jsonnet", libraries=("vendor",)))
    assert job.arguments == ("--jpath", "tree/vendor", "tree/main.jsonnet")


@pytest.mark.parametrize(
    "text",
    [
        "importstr '/etc/passwd'",
        "importstr '../../etc/passwd'",
        'import "\\u002fetc/passwd"',
        "importstr @'/etc/passwd'",
        "import ('a' + 'b')",
        "import std.x",
        "local x = 'unclosed",
        "{a: 1} /* unclosed",
        "importbin 'https://example.com/x'",
    ],
)
def test_jsonnet_that_would_read_the_machine_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        imports_of("d/main.jsonnet", {"d/main.jsonnet": text.encode()})
    assert caught.value.where.startswith("d/main.jsonnet:1:")


def test_objects_that_two_roots_render_differently_are_two_scenes_and_no_target_takes_both() -> None:
    files = {
        "a/kustomization.yaml": kustomization(""),
        "b/kustomization.yaml": kustomization(""),
    }
    other = CONFIG_MAP + b"data: {x: y}\n"
    both = render_tree(files, Recorder({"a": CONFIG_MAP, "b": other}))
    assert [item.ref.scene for item in both] == ["a", "b"]
    with pytest.raises(DeclarationError) as caught:
        of_one_scene(both)
    assert "a, b" in str(caught.value)
    assert "paths" in caught.value.hint
    assert len(render_tree(files, Recorder({"a": CONFIG_MAP, "b": CONFIG_MAP}))) == 1
    assert len(render_tree(files, Recorder({"a": CONFIG_MAP, "b": other}), folders=["b"])) == 1
