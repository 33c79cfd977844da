"""What an Application says of its objects is kept to: pruned or not, healed or told, in order, or left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.control.conducting import conduct
from customhouse.control.plan import keeps, wave_of
from customhouse.control.rendering import Job, Output, Program
from customhouse.control.rendering_tree import render_tree
from customhouse.control.stages import wanted
from customhouse.core.application import Engine
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, ResourceRef

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "argocd"
ENFORCE = "pod-security.kubernetes.io/enforce"
APPLICATION = ResourceRef("argoproj.io/v1alpha1", "Application", "argocd", "fraud-detection-model")


class Nobody:
    """There is nothing to render."""

    def run(self, job: Job) -> Output:
        return Output(b"", Program("nobody", "v1", "sha256:" + "0" * 64))


def example(**edits: str) -> tuple[Declaration, ...]:
    files = {path.relative_to(EXAMPLE).as_posix(): path.read_bytes() for path in EXAMPLE.rglob("*.yaml")}
    name = "apps/fraud-detection-model.yaml"
    for old, new in edits.items():
        files[name] = files[name].replace(old.replace("_", " ").encode(), new.encode())
    return render_tree(files, Nobody())


def test_the_example_is_applied_with_its_namespace_and_without_an_object_that_only_argo_cd_knows() -> None:
    made = conduct(example())
    kinds = {item.ref.kind: item for item in made.declarations}
    assert set(kinds) == {"Namespace", "InferenceService", "ServiceMonitor"}
    assert kinds["Namespace"].ref == ResourceRef("v1", "Namespace", "", "fraud-detection")
    found = {kind: wanted(item, item.ref, correct=True) for kind, item in kinds.items()}
    assert found["Namespace"].keep
    assert not found["InferenceService"].keep
    assert found["InferenceService"].correct
    assert made.by[APPLICATION][0] is Engine.CUSTOMHOUSE
    assert not made.held
    served = conduct(example(), served=lambda ref: ref.kind == "Application")
    assert "Application" in {item.ref.kind for item in served.declarations}


@pytest.mark.parametrize(
    ("old", "new", "keep", "heal"),
    [("prune:_true", "prune: false", True, True), ("selfHeal:_true", "x: 1", False, False)],
)
def test_prune_and_self_heal_are_those_of_the_application(old: str, new: str, keep: bool, heal: bool) -> None:
    made = conduct(example(**{old: new}))
    (service,) = (item for item in made.declarations if item.ref.kind == "InferenceService")
    found = wanted(service, service.ref, correct=True)
    assert (found.keep, found.correct) == (keep, heal)


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"automated:": "manual:"}, "not automated"),
        ({"https://kubernetes.default.svc": "https://eu.example.com"}, "goes to the cluster https://eu.example.com"),
        ({"path:_models/fraud-detection": "chart: nginx"}, "the chart nginx"),
    ],
)
def test_what_may_not_be_applied_is_held_with_the_reason_and_not_deleted(edits: dict[str, str], said: str) -> None:
    made = conduct(example(**edits))
    assert said in made.held[APPLICATION]
    theirs = [item for item in made.declarations if item.owner is not None]
    assert all(item.care is not None and item.care.hold and not item.care.release for item in theirs)


def test_a_namespace_that_an_application_creates_is_declared_with_its_labels_at_their_place() -> None:
    edits = {"syncPolicy:": f"syncPolicy:\n    managedNamespaceMetadata:\n      labels: {{{ENFORCE}: privileged}}"}
    (room,) = (item for item in example(**edits) if item.ref.kind == "Namespace")
    assert room.manifest["metadata"] == {"name": "fraud-detection", "labels": {ENFORCE: "privileged"}}
    assert (room.location.file, room.owner) == ("apps/fraud-detection-model.yaml", APPLICATION)
    text = (EXAMPLE / "apps" / "fraud-detection-model.yaml").read_text()
    line = text.partition("  syncPolicy:")[0].count("\n") + 3
    assert room.locate(f"/metadata/labels/{ENFORCE.replace('/', '~1')}").line == line
    (bare,) = (item for item in example() if item.ref.kind == "Namespace")
    assert bare.manifest["metadata"] == {"name": "fraud-detection"}


def test_two_applications_may_create_one_namespace_and_must_agree_on_its_labels() -> None:
    def app(name: str, more: str = "") -> bytes:
        return (
            f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: {name}, namespace: argocd}}\n"
            f"spec:\n  source: {{repoURL: x, path: {name}}}\n  destination: {{namespace: shared}}\n"
            f"  syncPolicy: {{automated: {{}}, syncOptions: [CreateNamespace=true]{more}}}\n"
        ).encode()

    objects = {
        f"{name}/a.yaml": f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n".encode() for name in "ab"
    }
    apps = {"apps/a.yaml": app("a"), "apps/b.yaml": app("b")}
    found = render_tree({**objects, **apps}, Nobody())
    assert [item.ref.name for item in found if item.ref.kind == "Namespace"] == ["shared"]
    own = b"apiVersion: v1\nkind: Namespace\nmetadata: {name: shared, labels: {a: b}}\n"
    (room,) = (i for i in render_tree({**objects, **apps, "ns.yaml": own}, Nobody()) if i.ref.kind == "Namespace")
    assert room.location.file == "ns.yaml"
    other = app("b", ", managedNamespaceMetadata: {labels: {team: x}}")
    with pytest.raises(DeclarationError, match="is to be created with other labels than") as told:
        render_tree({**objects, **apps, "apps/b.yaml": other}, Nobody())
    assert told.value.where.startswith("apps/b.yaml:")


def test_what_argo_cd_reconciles_is_left_to_it_and_given_up() -> None:
    live = {
        APPLICATION: {"status": {"sync": {"status": "Synced", "revision": "a" * 40}, "health": {"status": "Healthy"}}}
    }
    made = conduct(example(), live=live)
    assert made.by[APPLICATION][0] is Engine.ARGOCD
    assert made.statuses[APPLICATION].revision == "a" * 40
    theirs = [item for item in made.declarations if item.owner is not None]
    assert len(theirs) == 3
    assert all(item.care is not None and item.care.release for item in theirs)
    ours = conduct(example(), live=live, reconciled_by={Engine.ARGOCD: Engine.CUSTOMHOUSE})
    assert not any(item.care is not None and item.care.hold for item in ours.declarations)


def kustomization(name: str, more: str = "") -> str:
    return (
        "---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        f"metadata: {{name: {name}, namespace: flux-system}}\nspec: {{path: ./{name}, prune: true{more}}}\n"
    )


def test_dependencies_waves_and_hooks_say_what_comes_first() -> None:
    def config(name: str, notes: str = "") -> bytes:
        return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{{notes}}}}}\n".encode()

    files = {
        "all.yaml": (kustomization("apps", ", dependsOn: [{name: base}]") + kustomization("base")).encode(),
        "apps/a.yaml": config("a", "argocd.argoproj.io/sync-wave: '-1'"),
        "apps/b.yaml": config("b", "argocd.argoproj.io/hook: PostSync"),
        "apps/c.yaml": config("c", "kustomize.toolkit.fluxcd.io/prune: disabled"),
        "apps/d.yaml": config("d", "helm.sh/hook: test"),
        "base/z.yaml": config("z"),
    }
    made = conduct(render_tree(files, Nobody()))
    order = sorted((item for item in made.declarations if item.ref.kind == "ConfigMap"), key=wave_of)
    free = [item.ref.name for item in order if item.care is not None and not item.care.hold]
    assert free == ["a", "c", "z", "b"]
    needs = {item.ref.name: [need.group for need in item.care.needs] for item in order if item.care is not None}
    assert needs == {
        "a": ["flux/flux-system/base"],
        "b": ["flux/flux-system/base"],
        "c": ["flux/flux-system/base"],
        "d": ["flux/flux-system/base"],
        "z": [],
    }
    assert {item.ref.name: item.care.keep for item in order if item.care is not None}["c"]
    (test,) = (item for item in order if item.ref.name == "d")
    assert test.care is not None
    assert "hook for Skip" in test.care.hold
    circle = kustomization("apps", ", dependsOn: [{name: base}]") + kustomization("base", ", dependsOn: [{name: apps}]")
    made = conduct(render_tree({**files, "all.yaml": circle.encode()}, Nobody()))
    assert len(made.held) == 2


def test_an_annotation_that_cannot_be_read_is_refused_at_its_place_and_deletes_nothing() -> None:
    text = (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    argocd.argoproj.io/sync-wave: x\n"
    )
    declared = render_tree({"a.yaml": text}, Nobody())
    with pytest.raises(DeclarationError) as caught:
        conduct(declared)
    assert caught.value.where.startswith("a.yaml:6:")
    assert keeps(declared[0].manifest)


def test_what_refers_to_a_secret_comes_after_what_makes_it() -> None:
    files = {
        "es.yaml": b"""apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db, namespace: shop}
spec: {target: {name: database}}
---
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: sealed, namespace: shop}
---
apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: vault, namespace: shop}
""",
        "web.yaml": b"""apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, annotations: {customhouse.dev/wave: "3"}}
spec:
  template:
    spec:
      imagePullSecrets: [{name: sealed}]
      volumes:
      - {name: v, csi: {driver: secrets-store.csi.k8s.io, volumeAttributes: {secretProviderClass: vault}}}
      containers:
      - {name: c, env: [{name: P, valueFrom: {secretKeyRef: {name: database, key: p}}}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: free, namespace: shop}
spec: {template: {spec: {containers: [{name: c, envFrom: [{secretRef: {name: database, optional: true}}]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: other}
spec: {template: {spec: {containers: [{name: c, envFrom: [{secretRef: {name: database}}]}]}}}
""",
    }
    made = conduct(render_tree(files, Nobody()))
    after = {
        str(item.ref): [ref.kind for ref in item.care.after] for item in made.declarations if item.care is not None
    }
    assert after == {"Deployment shop/web": ["SealedSecret", "ExternalSecret", "SecretProviderClass"]}
    (web,) = (item for item in made.declarations if item.care is not None)
    assert wanted(web, web.ref, correct=True).wave == 3


def test_a_hook_without_a_name_gets_one_of_its_run_and_another_one_when_anything_beside_it_changes() -> None:
    def made(text: str) -> Declaration:
        job = b"apiVersion: batch/v1\nkind: Job\nmetadata:\n  generateName: migrate-\n"
        job += b"  annotations: {argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/hook-delete-policy: HookFailed}\n"
        app = (
            b"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: a, namespace: argocd}\n"
            b"spec: {source: {repoURL: x, path: a}, destination: {namespace: shop}, syncPolicy: {automated: {}}}\n"
        )
        other = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{text: {text}}}\n".encode()
        found = render_tree({"app.yaml": app, "a/job.yaml": job, "a/c.yaml": other}, Nobody())
        (item,) = (one for one in conduct(found).declarations if one.ref.kind == "Job")
        return item

    first, same, next_one = made("x"), made("x"), made("y")
    assert first.ref == same.ref
    assert first.ref.name.startswith("migrate-")
    assert first.ref.name != next_one.ref.name
    assert first.manifest["metadata"]["name"] == first.ref.name
    assert first.care is not None
    assert first.care.hook is not None
    assert first.care.hook.delete_when == ("HookFailed",)
    assert first.care.wave < 0


def test_a_status_that_git_declares_is_nobody_elses_word() -> None:
    text = "\nstatus: {sync: {status: Synced}, reconciledAt: '2026-01-01T00:00:00Z'}\n"
    files = {"app.yaml": (EXAMPLE / "apps" / "fraud-detection-model.yaml").read_bytes() + text.encode()}
    made = conduct(render_tree(files, Nobody()), served=lambda _: True)
    (item,) = (one for one in made.declarations if one.ref == APPLICATION)
    assert "status" not in item.manifest
    assert "spec" in item.manifest
