"""Helm and Jsonnet by the real programs, and what the programs cannot do from where they run."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from customhouse.control.adapters.renderers import ProgramRenderer
from customhouse.control.rendering import RenderEntry, helm_job
from customhouse.control.rendering_tree import render_tree
from customhouse.core.errors import CannotDecideError, DeclarationError
from customhouse.core.resource import Location

CHART = {
    "charts/web/Chart.yaml": b"apiVersion: v2\nname: webapp\nversion: 1.0.0\n",
    "charts/web/values.yaml": b"replicas: 2\nimage: {repository: nginx, tag: '1.0'}\n",
    "charts/web/templates/deployment.yaml": b"""\
{{- /* a chart */}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-web
spec:
  replicas: {{ .Values.replicas }}
  template:
    spec:
      containers:
        - name: web
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
          securityContext:
            privileged: true
          {{- range .Values.more }}
        - name: {{ . }}
          image: more
          {{- end }}
""",
    "charts/web/charts/sub/Chart.yaml": b"apiVersion: v2\nname: sub\nversion: 1.0.0\n",
    "charts/web/charts/sub/templates/cm.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: sub\n",
    "charts/web/templates/tests/test.yaml": (
        b"apiVersion: v1\nkind: Pod\nmetadata:\n  name: t\n  annotations: {helm.sh/hook: test}\n"
    ),
    "charts/web/crds/c.yaml": (
        b"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: cs.example.com\n"
        b"spec:\n  group: example.com\n  scope: Cluster\n  names: {kind: C, plural: cs}\n"
    ),
}
APPLICATION = b"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec:
  destination: {namespace: retail}
  source:
    path: charts/web
    helm:
      valueFiles: [../../environments/prod.yaml]
      valuesObject: {replicas: 5}
      parameters: [{name: image.tag, value: "2.0"}]
"""


@pytest.fixture
def renderer(find_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> ProgramRenderer:
    folders = {str(find_part(name).parent) for name in ("helm", "jsonnet", "kustomize")}
    monkeypatch.setenv("PATH", ":".join([*sorted(folders), "/usr/bin", "/bin"]))
    return ProgramRenderer()


@pytest.mark.part("helm", "jsonnet", "kustomize")
def test_a_chart_is_judged_as_its_application_installs_it(renderer: ProgramRenderer) -> None:
    files = {**CHART, "app.yaml": APPLICATION, "environments/prod.yaml": b"replicas: 4\nimage: {repository: r}\n"}
    found = {item.ref.kind: item for item in render_tree(files, renderer)}
    assert sorted(found) == ["Application", "ConfigMap", "CustomResourceDefinition", "Deployment"]  # no test hooks
    web, config = found["Deployment"], found["ConfigMap"]
    assert (web.ref.namespace, web.ref.name) == ("retail", "shop-web")
    assert web.manifest["spec"]["replicas"] == 5  # values on the object win over files
    container = web.manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "r:2.0"  # and parameters over both
    template = "charts/web/templates/deployment.yaml"
    at = "/spec/template/spec/containers/0"
    assert web.locate("/spec/replicas") == Location(template, 7, 3)
    assert web.locate(f"{at}/securityContext/privileged") == Location(template, 14, 13)
    # Two lines say `image:` (the other in a loop): which one is meant cannot be told, so the nearest that can is.
    assert web.locate(f"{at}/image") == Location(template, 10, 7)
    assert config.location.file == "charts/web/charts/sub/templates/cm.yaml"
    assert web.rendering is not None
    assert (web.rendering.program, web.rendering.root) == ("helm", "charts/web")


@pytest.mark.part("helm", "jsonnet", "kustomize")
def test_jsonnet_is_rendered_as_declared(renderer: ProgramRenderer) -> None:
    files = {
        "main.jsonnet": b"local l = import 'lib.libsonnet'; {one: l.map('a'), more: [l.map('b')], none: null}",
        "lib.libsonnet": b"{map(n):: {apiVersion: 'v1', kind: 'ConfigMap', metadata: {name: n}}}",
    }
    declared = render_tree(files, renderer, entries=[RenderEntry("main.jsonnet", namespace="shop")])
    assert [(item.ref.namespace, item.ref.name) for item in declared] == [("shop", "b"), ("shop", "a")]
    assert {item.location.file for item in declared} == {"main.jsonnet"}
    with pytest.raises(DeclarationError, match="jsonnet does not render this"):
        render_tree({"main.jsonnet": b"error 'no'"}, renderer, entries=[RenderEntry("main.jsonnet")])
    with pytest.raises(CannotDecideError, match="jsonnet"):  # endless: stopped by its own limit, or by ours
        render_tree(
            {"main.jsonnet": b"local f(x) = f(x + 1) + 1; f(0)"}, renderer, entries=[RenderEntry("main.jsonnet")]
        )


@pytest.mark.part("helm", "jsonnet", "kustomize")
def test_a_template_cannot_read_the_machine_or_the_cluster(
    renderer: ProgramRenderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_TEST_SECRET", "hunter2")
    template = (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\ndata:\n"
        b'  file: {{ .Files.Get "/etc/hostname" | quote }}\n  up: {{ .Files.Get "../../other.txt" | quote }}\n'
        b'  live: {{ (lookup "v1" "Secret" "" "") | toJson | quote }}\n'
        b'  name: {{ getHostByName "localhost" | quote }}\n'
    )
    files = {name: data for name, data in CHART.items() if name.endswith("web/Chart.yaml")}
    files |= {"charts/web/templates/cm.yaml": template, "other.txt": b"secret"}
    (found,) = render_tree(files, renderer)
    assert found.manifest["data"] == {"file": "", "up": "", "live": "{}", "name": ""}
    broken = {**files, "charts/web/templates/cm.yaml": b'{{ env "CUSTOMHOUSE_TEST_SECRET" }}'}
    with pytest.raises(DeclarationError) as caught:
        render_tree(broken, renderer)
    assert "hunter2" not in str(caught.value)
    assert "/tmp" not in str(caught.value)


@pytest.mark.part("helm", "jsonnet", "kustomize")
def test_a_chart_whose_dependencies_are_not_here_is_an_error(renderer: ProgramRenderer) -> None:
    wanting = CHART["charts/web/Chart.yaml"] + (
        b"dependencies:\n- {name: gone, version: 1.0.0, repository: 'https://example.com'}\n"
    )
    with pytest.raises(DeclarationError, match="gone"):
        render_tree({**CHART, "charts/web/Chart.yaml": wanting}, renderer)


def test_a_missing_program_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotDecideError) as caught:
        ProgramRenderer().run(helm_job(CHART, "charts/web"))
    assert "helm, which is not on PATH" in str(caught.value)
    assert "helm.sh" in caught.value.hint
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", "wrote more than"),
        ("echo $PATH $HOME >&2; echo 'a value' >&2; exit 1", "does not render"),
        ("echo 'kind: ['", "not YAML"),
        ("echo '- a list'", "not a mapping"),
    ],
)
def test_a_program_that_misbehaves_is_an_error(
    script: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "helm"
    program.write_text(f'#!/bin/sh\nif [ "$1" = version ]; then echo v3.0.0; exit; fi\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("customhouse.control.adapters.renderers.MAX_OUTPUT", 100_000)
    with pytest.raises(CannotDecideError) as caught:
        render_tree(CHART, ProgramRenderer())
    assert said in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "/customhouse-render" not in str(caught.value)


@pytest.mark.part("kustomize")
def test_variables_of_flux_in_what_kustomize_really_writes(renderer: ProgramRenderer) -> None:
    flux = b"""apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: web, namespace: flux-system}
spec:
  path: ./app
  targetNamespace: shop
  postBuild: {substitute: {image_tag: "1.25", replicas: "3"}}
"""
    files = {
        "flux.yaml": flux,
        "app/kustomization.yaml": b"resources: [web.yaml, script.yaml]\n",
        "app/web.yaml": b"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: ${replicas}
  template:
    spec:
      containers:
      - name: web
        image: nginx:${image_tag}
        args: ["--greeting=${greeting:=hello world}", "$${HOME}", "$PATH"]
""",
        "app/script.yaml": b"""apiVersion: v1
kind: ConfigMap
metadata:
  name: script
  labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}
data:
  run.sh: |
    echo ${HOME}
    ---
    echo ${1}
""",
    }
    found = {item.ref.kind: item for item in render_tree(files, renderer)}
    web = found["Deployment"]
    assert web.ref.namespace == "shop"
    assert web.manifest["spec"]["replicas"] == 3
    container = web.manifest["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "nginx:1.25"
    assert container["args"] == ["--greeting=hello world", "${HOME}", "$PATH"]
    assert found["ConfigMap"].manifest["data"]["run.sh"] == "echo ${HOME}\n---\necho ${1}\n"
    broken = {**files, "app/script.yaml": files["app/script.yaml"].replace(b": disabled", b": enabled")}
    with pytest.raises(DeclarationError, match="no name of a variable") as caught:
        render_tree(broken, renderer)
    assert caught.value.where.startswith("flux.yaml:7:")
