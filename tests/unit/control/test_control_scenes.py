"""The same name in two clusters or overlays: two scenes; the same name twice in one: a mistake."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from customhouse.control.diff import changes
from customhouse.control.rendering import Job, Output, Program
from customhouse.control.rendering_tree import render_tree
from customhouse.control.scenes import aligned, by_scene, of_one_scene
from customhouse.control.sources import source_sets
from customhouse.core.change import Actor, ActorKind, Operation
from customhouse.core.errors import DeclarationError

PROGRAM = Program("recorder", "v1.0.0", "sha256:" + "0" * 64)
ADA = Actor(ActorKind.PERSON, "Ada")


def config(name: str, value: str = "", namespace: str = "") -> bytes:
    place = f", namespace: {namespace}" if namespace else ""
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{place}}}\ndata: {{v: '{value}'}}\n".encode()


def application(name: str, path: str, more: str = "", cluster: str = "https://kubernetes.default.svc") -> bytes:
    return (
        f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: argocd}}\nspec:\n"
        f"  source: {{repoURL: https://example.com/r.git, path: {path}{more}}}\n"
        f"  destination: {{server: '{cluster}', namespace: {name}}}\n"
    ).encode()


KUSTOMIZATION = b"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"


class Answers:
    """Stands for the programs: what each root renders to."""

    def __init__(self, answers: Mapping[str, bytes]) -> None:
        self._answers = answers

    def run(self, job: Job) -> Output:
        return Output(self._answers[job.root], PROGRAM)


def test_a_plain_folder_goes_to_the_namespace_of_its_application() -> None:
    files = {
        "apps/fraud.yaml": application("fraud", "models/fraud"),
        "models/fraud/web.yaml": config("web"),
        "models/fraud/own.yaml": config("own", namespace="elsewhere"),
        "models/fraud/deep/no.yaml": config("deep"),
        "other.yaml": config("other"),
    }
    found = {item.ref.name: item for item in render_tree(files, Answers({}))}
    assert found["web"].ref.namespace == "fraud"
    assert found["own"].ref.namespace == "elsewhere"
    assert found["web"].owner == found["fraud"].ref
    # Without `recurse` a folder below is not its own, and is judged as any other file.
    assert (found["deep"].ref.namespace, found["deep"].owner) == ("default", None)
    assert found["other"].owner is None
    assert not any(item.ref.scene for item in found.values())


@pytest.mark.parametrize(
    ("directory", "owned"),
    [
        ("recurse: true", {"a", "b", "c"}),
        ("recurse: true, exclude: '{deep/*,b.yaml}'", {"a"}),
        ("recurse: true, include: '*.yml'", {"c"}),
        ("include: '[ab].yaml'", {"a", "b"}),
        ("exclude: '?.yaml'", set()),
    ],
)
def test_what_of_a_folder_an_application_takes(directory: str, owned: set[str]) -> None:
    files = {
        "app.yaml": application("app", "m", f", directory: {{{directory}}}"),
        "m/a.yaml": config("a"),
        "m/b.yaml": config("b"),
        "m/deep/c.yml": config("c"),
        "m/skipped.yaml": b"# +argocd:skip-file-rendering\n" + config("skipped"),
    }
    found = render_tree(files, Answers({}))
    assert {item.ref.name for item in found if item.owner is not None} == owned
    assert {item.ref.name for item in found} == {"app", "a", "b", "c", "skipped"}


def test_one_folder_in_two_clusters_is_two_objects() -> None:
    files = {
        "one.yaml": application("one", "m", cluster="https://eu.example.com"),
        "two.yaml": application("two", "m", cluster="https://us.example.com"),
        "m/web.yaml": config("web", namespace="shop"),
    }
    found = render_tree(files, Answers({}))
    # Alike in both: nothing is otherwise anywhere, and one object stands for both.
    assert [item.ref.name for item in found] == ["one", "two", "web"]
    overlays = {"eu/kustomization.yaml": KUSTOMIZATION, "us/kustomization.yaml": KUSTOMIZATION}
    files = {
        "one.yaml": application("one", "eu", cluster="https://eu.example.com"),
        "two.yaml": application("two", "us", cluster="https://us.example.com"),
        **overlays,
    }
    answers = Answers({"eu": config("web", "1", "shop"), "us": config("web", "2", "shop")})
    scenes = [item.ref.scene for item in render_tree(files, answers) if item.ref.kind == "ConfigMap"]
    assert scenes == ["https://eu.example.com", "https://us.example.com"]
    same = {name: data.replace(b"https://us.example.com", b"https://eu.example.com") for name, data in files.items()}
    with pytest.raises(DeclarationError, match="declared twice"):
        render_tree(same, answers)


def test_a_mistake_in_plain_files_stays_one() -> None:
    for twin in (config("web"), config("web", "other")):
        with pytest.raises(DeclarationError, match="declared twice"):
            render_tree({"a.yaml": config("web"), "b.yaml": twin}, Answers({}))
    with pytest.raises(DeclarationError, match="declared twice"):
        render_tree(
            {"a.yaml": config("web", "1"), "o/kustomization.yaml": KUSTOMIZATION}, Answers({"o": config("web")})
        )


def test_folders_that_customhouse_yaml_names_are_scenes() -> None:
    files = {
        "eu/web.yaml": config("web", "1"),
        "us/web.yaml": config("web", "2"),
        "us/same.yaml": config("same"),
        "all.yaml": config("all"),
    }
    found = render_tree(files, Answers({}), scenes={"eu": "europe", "us": "america"})
    refs = {(item.ref.name, item.ref.scene) for item in found}
    assert refs == {("web", "europe"), ("web", "america"), ("same", "america"), ("all", "")}
    beside = by_scene(found)
    assert {item.ref.name for item in beside["europe"]} == {"web", "all"}
    assert {item.ref.name for item in beside[""]} == {"all"}
    assert len(by_scene(found, all_for_none=True)[""]) == 4
    assert str(next(item.ref for item in found if item.ref.scene == "europe")) == "ConfigMap default/web [europe]"
    with pytest.raises(DeclarationError, match="america, europe"):
        of_one_scene(found)


def test_a_new_overlay_beside_another_changes_nothing_of_it() -> None:
    answers = Answers({"a": config("web", "1"), "b": config("web", "2")})
    before = render_tree({"b/kustomization.yaml": KUSTOMIZATION}, answers)
    after = render_tree({"a/kustomization.yaml": KUSTOMIZATION, "b/kustomization.yaml": KUSTOMIZATION}, answers)
    (change,) = changes(*aligned(before, after), None, ADA)
    assert (change.operation, change.ref.scene) == (Operation.CREATE, "a")
    (change,) = changes(*aligned(after, before), None, ADA)
    assert (change.operation, change.ref.scene) == (Operation.DELETE, "a")


def test_applications_may_have_objects_of_the_same_names() -> None:
    files = {}
    for name in ("fraud", "churn"):
        files[f"apps/{name}.yaml"] = application(name, f"models/{name}")
        files[f"models/{name}/settings.yaml"] = config("settings", name)
    found = render_tree(files, Answers({}))
    settings = {item.ref.namespace: item.manifest["data"]["v"] for item in found if item.ref.name == "settings"}
    assert settings == {"fraud": "fraud", "churn": "churn"}
    assert not any(item.ref.scene for item in found)


def test_an_application_that_another_one_applies_gets_its_namespace_and_keeps_what_it_owns() -> None:
    child = application("fraud", "models/fraud").replace(b", namespace: argocd", b"")
    overlay = application("shop", "overlays/shop").replace(b", namespace: argocd", b"")
    root = application("root", "children").replace(b"namespace: root", b"namespace: argocd")
    files = {
        "children/fraud.yaml": child,
        "children/shop.yaml": overlay,
        "models/fraud/web.yaml": config("web"),
        "overlays/shop/kustomization.yaml": KUSTOMIZATION,
    }
    # Whether the owner comes before or after in the order of the files.
    for name in ("a-root.yaml", "z-root.yaml"):
        found = render_tree({**files, name: root}, Answers({"overlays/shop": config("till")}))
        owners = {item.ref.name: item.owner for item in found}
        of = {item.ref.name: item.ref for item in found}
        assert of["fraud"].namespace == of["shop"].namespace == "argocd"
        assert (owners["fraud"], owners["shop"]) == (of["root"], of["root"])
        assert (owners["web"], owners["till"]) == (of["fraud"], of["shop"])
        assert (of["web"].namespace, of["till"].namespace) == ("fraud", "shop")
        sets = {item.name: len(item.declarations) for item in source_sets(found)}
        assert sets == {"": 1, "argocd/argocd/root": 2, "argocd/argocd/fraud": 1, "argocd/argocd/shop": 1}
