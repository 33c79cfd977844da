"""ApplicationSets make the Applications that Argo CD makes of the same tree, or say why not."""

from __future__ import annotations

import pytest

from customhouse.control.gotemplate import rendered
from customhouse.control.gotemplate_functions import TemplateError
from customhouse.control.rendering import Job, Output, Program, Sight
from customhouse.control.rendering_tree import render_tree
from customhouse.control.sources import source_sets
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration


class Silent:
    """Stands for the programs: roots that render to nothing."""

    def run(self, job: Job) -> Output:
        return Output(b"", Program("silent", "v1", "sha256:" + "0" * 64))


def config(name: str) -> bytes:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n".encode()


FILES = {
    "apps/fraud_1/web.yaml": config("fraud"),
    "apps/churn/web.yaml": config("churn"),
    "apps/old/web.yaml": config("old"),
    "apps/churn/deep/x.yaml": config("deep"),
    "clusters/eu/config.json": b'{"cluster": {"name": "eu", "address": "https://eu"}, "replicas": 3, "tier": "gold"}',
    "clusters/us/config.json": b'{"cluster": {"name": "us", "address": "https://us"}, "replicas": 1}',
}
HEAD = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set, namespace: argocd}\nspec:\n"
PLAIN = """
  template:
    metadata: {name: '{{path.basenameNormalized}}', labels: {part: '{{path[1]}}'}}
    spec:
      source: {repoURL: https://example.com/r, path: '{{path}}'}
      destination: {server: https://kubernetes.default.svc, namespace: '{{path.basename}}'}
"""
GO = """
  goTemplate: true
  goTemplateOptions: [missingkey=error]
  template:
    metadata: {name: '{{ .path.basename | normalize }}-{{ .cluster.name }}'}
    spec:
      source: {repoURL: https://example.com/r, path: '{{ .path.path }}'}
      destination: {server: '{{ .cluster.address }}', namespace: '{{ index .path.segments 1 | replace "_" "-" }}'}
"""


def applications(text: str, files: dict[str, bytes] | None = None) -> dict[str, Declaration]:
    found = render_tree({**(FILES if files is None else files), "set.yaml": (HEAD + text).encode()}, Silent())
    return {item.ref.name: item for item in found if item.ref.kind == "Application"}


DIRECTORIES = "  generators: [{git: {directories: [{path: apps/*}, {path: apps/old, exclude: true}]}}]"


def test_a_directory_each() -> None:
    found = applications(DIRECTORIES + PLAIN)
    assert sorted(found) == ["churn", "fraud-1"]
    fraud = found["fraud-1"]
    assert fraud.manifest["spec"]["source"]["path"] == "apps/fraud_1"
    assert fraud.manifest["metadata"] == {"name": "fraud-1", "labels": {"part": "fraud_1"}, "namespace": "argocd"}
    assert str(fraud.locate("/spec/source/path")) == "set.yaml:9:54"
    assert fraud.owner is not None
    assert fraud.owner.kind == "ApplicationSet"


def test_what_they_name_is_theirs_and_nobody_applies_the_applications() -> None:
    text = (HEAD + DIRECTORIES + PLAIN.replace("'{{path.basename}}'", "'team-{{path.basenameNormalized}}'")).encode()
    sets = source_sets(render_tree({**FILES, "set.yaml": text}, Silent()))
    of = {item.name: {(one.ref.namespace, one.ref.name) for one in item.declarations} for item in sets}
    assert of["argocd/argocd/churn"] == {("team-churn", "churn")}
    assert of["argocd/argocd/fraud-1"] == {("team-fraud-1", "fraud")}
    assert of[""] == {("argocd", "set"), ("default", "old"), ("default", "deep")}


def test_files_and_directories_as_a_matrix_with_go_templates() -> None:
    matrix = """  generators:
  - matrix:
      generators:
      - git: {repoURL: https://example.com/r, files: [{path: clusters/**/config.json}], pathParamPrefix: its}
      - git: {repoURL: https://example.com/r, directories: [{path: 'apps/[cf]*'}]}
"""
    found = applications(matrix + GO)
    assert sorted(found) == ["churn-eu", "churn-us", "fraud-1-eu", "fraud-1-us"]
    assert found["fraud-1-us"].manifest["spec"]["destination"] == {"server": "https://us", "namespace": "fraud-1"}
    selected = matrix + "    selector: {matchLabels: {tier: gold}}\n"
    assert sorted(applications(selected + GO)) == ["churn-eu", "fraud-1-eu"]


def test_a_list_merged_with_what_differs_and_a_patch() -> None:
    merge = """  goTemplate: true
  generators:
  - merge:
      mergeKeys: [name]
      generators:
      - list: {elements: [{name: a, replicas: 1234567, fast: false}, {name: b, replicas: 2, fast: true}]}
      - list: {elements: [{name: b, replicas: 5}, {name: c, replicas: 9}]}
  template:
    metadata: {name: '{{ .name }}'}
    spec:
      source: {repoURL: https://example.com/r, path: apps/churn, helm: null}
      destination: {namespace: '{{ printf "n-%v" .replicas }}'}
  templatePatch: |
    {{- if .fast }}
    spec:
      syncPolicy:
        automated: {prune: {{ .fast }}}
    {{- end }}
"""
    found = applications(merge)
    assert sorted(found) == ["a", "b"]
    # A number is a float to Go, and is printed like one.
    assert found["a"].manifest["spec"]["destination"]["namespace"] == "n-1.234567e+06"
    assert found["b"].manifest["spec"]["destination"]["namespace"] == "n-5"
    assert "syncPolicy" not in found["a"].manifest["spec"]
    assert found["b"].manifest["spec"]["syncPolicy"] == {"automated": {"prune": True}}


@pytest.mark.parametrize("generator", ["clusters: {}", "scmProvider: {github: {}}", "plugin: {}"])
def test_what_only_a_cluster_or_a_forge_knows_is_said_and_nothing_is_made_up(generator: str) -> None:
    text = HEAD + f"  generators: [{{list: {{elements: []}}}}, {{{generator}}}]" + PLAIN
    sight = Sight()
    found = render_tree({"set.yaml": text.encode()}, Silent(), sight=sight)
    assert [item.ref.kind for item in found] == ["ApplicationSet"]
    ((place, said),) = sight.elsewhere
    assert str(place).startswith("set.yaml:5:")
    assert generator.partition(":")[0] in said


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        (DIRECTORIES + PLAIN.replace("{{path}}", "{{ .path.path }}") + "  goTemplate: maybe\n", "neither true", 11),
        (DIRECTORIES + GO, "there is no 'cluster'", 9),
        (DIRECTORIES + GO.replace(".path.basename | normalize", "env `HOME`"), "'env' is not known", 9),
        (DIRECTORIES + GO.replace(".path.basename | normalize", "regexMatch `a` `b`"), "'regexMatch' is not known", 9),
        (DIRECTORIES + PLAIN.replace("{{path.basenameNormalized}}", "same"), "two Applications are called", 5),
        ("  generators: [{list: {elements: [{a: 1}]}}]" + PLAIN, "are texts", 5),
        ("  generators: [{matrix: {generators: [{list: {}}]}}]" + PLAIN, "two generators", 5),
        ("  generators: [{git: {directories: [], files: []}}]" + PLAIN, "either directories or files", 5),
    ],
)
def test_a_set_that_is_wrong_is_refused_at_its_line(text: str, said: str, line: int) -> None:
    with pytest.raises(DeclarationError) as caught:
        applications(text)
    assert said in str(caught.value)
    assert caught.value.where.startswith(f"set.yaml:{line}:")


@pytest.mark.parametrize(
    "template",
    [
        "{{ range $i, $x := 100000 }}{{ range 100000 }}x{{ end }}{{ end }}",
        "{{ repeat 100000000 `x` }}",
        "{{ $x := `ab` }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}{{ $x }}",
        "{{ if true }}" * 200 + "{{ end }}" * 200,
        "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
        "{{",
        "{{" * 50_000,
        "{{ end }}",
        "{{ .a.b.c }}",
        "{{ index .list 99 }}",
    ],
)
def test_a_hostile_template_ends(template: str) -> None:
    with pytest.raises(TemplateError):
        rendered(template, {"list": [1], "a": "text"})


def test_generators_that_multiply_are_stopped() -> None:
    def many(name: str) -> str:
        return "{list: {elements: [" + ", ".join(f"{{{name}: '{number}'}}" for number in range(1_500)) + "]}}"

    with pytest.raises(DeclarationError, match="more than 2000 sets"):
        applications(f"  generators: [{{matrix: {{generators: [{many('a')}, {many('b')}]}}}}]" + PLAIN)
    deep = "{list: {elements: []}}"
    for _ in range(6):
        deep = f"{{matrix: {{generators: [{deep}, {deep}]}}}}"
    assert applications(f"  generators: [{deep}]" + PLAIN) == {}
    with pytest.raises(DeclarationError, match="more than 500 actions"):
        applications(DIRECTORIES + PLAIN.replace("{{path}}", "{{" * 600))
