"""Rendering: what the files of a revision declare, and what is refused with its place."""

from __future__ import annotations

import json
import time

import pytest

from customhouse.control.render import render, render_noted
from customhouse.control.yaml_nodes import Limits
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Location, ResourceRef

SERVICE = b"""\
# the model
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: fraud-detection
  labels: {customhouse.dev/team: risk}
spec:
  predictor:
    minReplicas: 2
    model:
      storageUri: pvc://models/fraud  # pinned
      args:
        - --a
        -   --b
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: other}
data:
  a/b~c: x
"""


def config_map(body: str) -> bytes:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n{body}\n".encode()


def refused(data: bytes, name: str = "f.yaml") -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        render({name: data})
    assert caught.value.exit_status == 3
    assert caught.value.where.startswith(name)
    return caught.value


def value_of(text: str) -> object:
    return render({"f.yaml": config_map(f"x: {text}")})[0].manifest["x"]


def test_every_object_and_field_has_file_line_and_column() -> None:
    service, config = render({"m/s.yaml": SERVICE})
    assert service.ref == ResourceRef("serving.kserve.io/v1beta1", "InferenceService", "default", "fraud-detection")
    assert service.location == Location("m/s.yaml", 2, 1)
    assert config.ref.namespace == "other"
    assert config.location == Location("m/s.yaml", 16, 1)
    assert service.locate("/spec/predictor/model/storageUri") == Location("m/s.yaml", 11, 19)
    assert service.locate("/spec/predictor/model") == Location("m/s.yaml", 10, 5)
    assert service.locate("/spec/predictor/model/args/1") == Location("m/s.yaml", 14, 13)
    assert service.locate("/spec/predictor/model/missing/deep") == Location("m/s.yaml", 10, 5)
    assert service.locate("/metadata/labels/customhouse.dev~1team") == Location("m/s.yaml", 6, 34)
    assert config.locate("/data/a~1b~0c") == Location("m/s.yaml", 20, 10)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True),
        ("On", True),
        ("n", False),
        ("OFF", False),
        ("~", None),
        ("", None),
        ("0644", 420),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("-12", -12),
        ("08", 8.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1e999", "1e999"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T10:00:00Z", "2026-01-31T10:00:00Z"),
        ("'yes'", "yes"),
        ('"0644"', "0644"),
        ("!!str 12", "12"),
        ("!!float 1", 1.0),
        ("1.2.3", "1.2.3"),
        ("512Mi", "512Mi"),
        ("=", "="),
        ("_1", "_1"),
        ("[yes, {a: no}]", [True, {"a": False}]),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(text: str, value: object) -> None:
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("body", "message", "place"),
    [
        ("x: [1, 2", "not YAML", "f.yaml:6"),
        ("x: 'open", "not YAML", "f.yaml:6"),
        ("x: 1\n\ty: 2", "not YAML", "f.yaml:6:1"),
        ("x: 1\nx: 2", "'x' is written twice (first at line 5, column 1)", "f.yaml:6:1"),
        ("x: {a: 1, a: 2}", "'a' is written twice", "f.yaml:5:11"),
        ("1: x", "read as int, not as text", "f.yaml:5:1"),
        ("yes: x", "read as bool", "f.yaml:5:1"),
        ("? [a]\n: x", "a key is a list", "f.yaml:5:3"),
        ("x: !!python/object:os.system id", "tag", "f.yaml:5:4"),
        ("x: !!binary aGk=", "tag", "f.yaml:5:4"),
        ("x: !!int abc", "not what its tag", "f.yaml:5:4"),
        ("x: !!set {a}", "tag", "f.yaml:5:4"),
        ("x: .nan", "not a number that JSON has", "f.yaml:5:4"),
        ("x: -.inf", "not a number that JSON has", "f.yaml:5:4"),
        ("x: 9007199254740993", "beyond 2^53-1", "f.yaml:5:4"),
        ("x: *nowhere", "no anchor", "f.yaml:5:4"),
        ("x: &a [*a]", "inside its own anchor", "f.yaml:5:8"),
        ("a: 1\n<<: {a: 2}", "stands after the key 'a'", "f.yaml:6:1"),
        ("<<: [1]", "merges a mapping", "f.yaml:5:1"),
        ("<<: {}\n<<: {}", "second '<<'", "f.yaml:6:1"),
        ("x: \x01", "not YAML", "f.yaml"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(body: str, message: str, place: str) -> None:
    error = refused(config_map(body))
    assert message in error.message
    assert error.where.startswith(place)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\n", "no apiVersion"),
        (b"apiVersion: v1\nmetadata: {name: x}\n", "no kind"),
        (b"apiVersion: v1\nkind: Pod\n", "no metadata"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {}\n", "no metadata.name"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {name: 12}\n", "name is not valid"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\n", "name is not valid"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: A_b}\n", "namespace is not valid"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {a: 1}}\n", "'a' is not text"),
        (b"apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: [a]}\n", "not a mapping"),
        (b"- apiVersion: v1\n", "not a mapping"),
        (b"just text\n", "not a mapping"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: \xe9\n", "not UTF-8"),
    ],
)
def test_what_is_no_kubernetes_object_is_refused_with_a_hint(data: bytes, message: str) -> None:
    assert message in refused(data).message


def test_a_secret_value_is_in_no_error() -> None:
    for body in ("stringData:\n  p: s3cret\n  p: s3cret2", "stringData: {p: [s3cret", "data: {p: !!x s3cret}"):
        error = refused(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{body}\n".encode())
        assert "s3cret" not in str(error)


def test_a_yaml_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    merges = ["m0: &m0 {k: v}"] + [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    for body in ("\n".join(lines), "\n".join(merges)):
        started = time.process_time()
        assert "YAML bomb" in refused(config_map(body)).message
        assert time.process_time() - started < 5


def test_a_bomb_of_long_texts_or_long_names_is_refused_before_it_fills_the_memory() -> None:
    text = "a: &a " + "x" * 1_000_000 + "\nb: [" + "*a," * 9_000 + "]"
    names = "".join(f"{' ' * depth}{'k' * 1000}:\n" for depth in range(50)) + " " * 50 + "z: [" + "1," * 9_000 + "]"
    long_key = "? " + "k" * 1_000_000 + "\n: [" + "1," * 9_000 + "]"
    for body in (text, names, long_key):
        error = refused(config_map(body))
        assert "characters once aliases and names are expanded" in error.message
        assert len(str(error)) < 400


@pytest.mark.parametrize("body", ["x: " + "[" * 100_000, "x: " + "{a: " * 100_000, "- " * 100_000])
def test_deep_nesting_is_refused_and_not_recursed_into(body: str) -> None:
    assert "nested deeper than 64" in refused(config_map(body) if body[0] == "x" else body.encode()).message


def test_nesting_by_aliases_is_refused() -> None:
    body = "a0: &a0 x\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 80))
    assert "nest deeper" in refused(config_map(body)).message


def test_large_files_and_many_values_are_refused() -> None:
    assert "at most 4194304" in refused(b"#" * (4 * 1024 * 1024 + 1)).message
    with pytest.raises(DeclarationError, match="more than 100 values"):
        render({"f.yaml": config_map("x: [" + "1," * 200 + "]")}, limits=Limits(nodes=100))


def test_aliases_and_merges_are_expanded() -> None:
    body = "base: &b {cpu: 1, memory: 2Gi}\none: {<<: *b, cpu: 2}\ntwo: *b\nlist: {<<: [*b, {cpu: 9, disk: 1}]}"
    manifest = render({"f.yaml": config_map(body)})[0].manifest
    assert manifest["one"] == {"cpu": 2, "memory": "2Gi"}
    assert manifest["two"] == {"cpu": 1, "memory": "2Gi"}
    assert manifest["list"] == {"cpu": 1, "memory": "2Gi", "disk": 1}


def test_a_list_is_its_items() -> None:
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    other = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}
    data = json.dumps({"apiVersion": "v1", "kind": "List", "items": [item, other]}, indent="\t").encode()
    found = render({"l.json": data})
    assert [str(declaration.ref) for declaration in found] == ["ConfigMap default/a", "Secret default/b"]
    assert found[1].location.line > found[0].location.line
    assert found[1].locate("/metadata/name").line == found[1].location.line + 4


def test_the_same_object_declared_twice_names_both_places() -> None:
    first = b"apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: a}\n"
    second = b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: default}\n"
    with pytest.raises(DeclarationError) as caught:
        render({"a.yaml": first, "b.yaml": second})
    assert caught.value.where == "b.yaml:1:1"
    assert "a.yaml:1:1" in caught.value.message
    other = second.replace(b"apps/v1", b"example.com/v1")
    assert len(render({"a.yaml": first, "b.yaml": other})) == 2


def test_cluster_scoped_kinds_have_no_namespace_and_definitions_teach_new_ones() -> None:
    data = b"""\
apiVersion: v1
kind: Namespace
metadata: {name: ml}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: fleets.example.com}
spec: {group: example.com, scope: Cluster, names: {kind: Fleet}}
---
apiVersion: example.com/v1
kind: Fleet
metadata: {name: f}
---
apiVersion: example.com/v1
kind: Ship
metadata: {name: s}
"""
    assert [item.ref.namespace for item in render({"a.yaml": data})] == ["", "", "", "default"]
    assert render({"a.yaml": data}, default_namespace="ml")[-1].ref.namespace == "ml"


def test_hidden_folders_settings_and_data_files_are_not_declarations() -> None:
    files = {
        ".github/workflows/ci.yaml": b"on: push\n",
        ".evidence/ab/scan.sigstore.json": b"{}",
        "customhouse.yaml": b"tiers: {}\n",
        "models/v1/labels.json": b'{"0": "cat"}',
        "README.md": b"# hi\n",
        "empty.yaml": b"---\n# nothing\n---\n",
        "a.yaml": config_map(""),
    }
    rendered = render_noted(files)
    assert [str(item.ref) for item in rendered.declarations] == ["ConfigMap default/c"]
    assert rendered.passed_over == ("models/v1/labels.json",)
    assert not rendered.notes
    assert "no apiVersion" in refused(b"tiers: {}\n", "deep/customhouse.yaml").message


def test_a_kustomize_or_helm_folder_is_never_half_read() -> None:
    files = {
        "a.yaml": config_map(""),
        "k/kustomization.yaml": b"resources: [x.yaml]\n",
        "k/deep/x.yaml": config_map(""),
        "chart/Chart.yaml": b"name: c\n",
        "chart/templates/x.yaml": b"{{ .Values }}\n",
    }
    rendered = render_noted(files)
    assert len(rendered.declarations) == 1
    assert [note.location.file for note in rendered.notes] == ["chart/Chart.yaml", "k/kustomization.yaml"]
    with pytest.raises(DeclarationError, match="Helm chart") as caught:
        render(files)
    assert "helm template" in caught.value.hint


def test_a_flux_kustomization_is_a_plain_object() -> None:
    flux = (
        b"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./x}\n"
    )
    assert [item.ref.kind for item in render({"c/kustomization.yaml": flux})] == ["Kustomization"]


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    data = b"\xef\xbb\xbf" + config_map("x: 1").replace(b"\n", b"\r\n")
    found = render({"f.yaml": data})[0]
    assert found.location == Location("f.yaml", 1, 1)
    assert found.locate("/x") == Location("f.yaml", 5, 4)


def test_json_escapes_are_read_as_json_means_them() -> None:
    values = {"emoji": "a\U0001f600b", "text": "\\ud83d\\ude00", "slash": "a/b", "tab": "\t\u00e9\x7f"}
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": values}
    data = json.dumps(document).replace("a/b", "a\\/b").encode()
    assert b"\\ud83d\\ude00" in data
    assert render({"c.json": data})[0].manifest["data"] == values
    assert "not YAML" in refused(data.replace(b"\\ude00b", b"b"), "c.json").message


POD = "{apiVersion: v1, kind: Pod, metadata: {name: evil}, spec: {containers: []}}"


@pytest.mark.parametrize(
    "text",
    [
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nitems: [{POD}]\n",
        f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nitems:\n- {POD}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nitems: []\n",
        f"apiVersion: v1\nkind: List\nmetadata: {{name: a}}\nItems: [{POD}]\n",
    ],
)
def test_an_object_that_kubectl_takes_for_a_list_hides_nothing(text):
    with pytest.raises(DeclarationError, match="for a List"):
        render({"a.yaml": text.encode()})


@pytest.mark.parametrize(
    "text",
    [
        f"apiVersion: v1\nkind: List\nx: &i [{POD}]\nitems: *i\n",
        f"x: &k List\napiVersion: v1\nkind: *k\nitems: [{POD}]\n",
        f"apiVersion: v1\nkind: List\n<<: {{items: [{POD}]}}\n",
        f"apiVersion: v1\nkind: List\nitems: [{{apiVersion: v1, kind: List, items: [{POD}]}}]\n",
    ],
)
def test_a_list_is_one_however_it_is_written(text):
    assert [item.ref.name for item in render({"a.yaml": text.encode()})] == ["evil"]
