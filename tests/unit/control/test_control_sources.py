"""Argo CD's and Flux's objects, read as they are: whence, where to, how it is kept, and who reconciles it."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.control.argocd import same_repository
from customhouse.control.edit import edit
from customhouse.control.flux_substitute import SubstitutionError, substitute
from customhouse.control.objectsync import object_sync
from customhouse.control.reconcilers import reconcilers, status_of
from customhouse.control.rendering import Job, Output, Program
from customhouse.control.rendering_tree import render_tree
from customhouse.control.sources import applications, belongs_to, in_order, source_sets
from customhouse.core.application import Engine, Hook, SyncStatus
from customhouse.core.errors import DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration, Manifest, ResourceRef

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "argocd"
REMOTE = "git@git.example.com:ml/models.git"


class Echo:
    """Stands for kustomize: gives the plain files of a root, so that what is put on top is seen in the job alone."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, job: Job) -> Output:
        self.jobs.append(job)
        files = [data for name, data in sorted(job.files.items()) if not name.endswith("kustomization.yaml")]
        return Output(b"\n---\n".join(files), Program("echo", "v1", "sha256:" + "0" * 64))


def example() -> dict[str, bytes]:
    return {path.relative_to(EXAMPLE).as_posix(): path.read_bytes() for path in EXAMPLE.rglob("*.yaml")}


def declared(text: str) -> tuple[Declaration, ...]:
    return render_tree({"all.yaml": text.encode()}, Echo())


def test_the_application_of_the_example_works_unchanged_and_a_release_is_one_edit() -> None:
    files = example()
    before = render_tree(files, Echo())
    own, fraud = source_sets(before, (REMOTE,))
    application = fraud.application
    assert application is not None
    assert application.problem == ""
    assert fraud.name == "argocd/argocd/fraud-detection-model"
    assert application.destination.namespace == "fraud-detection"
    sync = application.sync
    assert (sync.automated, sync.prune, sync.self_heal, sync.create_namespace) == (True, True, True, True)
    assert (sync.allow_empty, application.finalizes, application.suspended) == (False, False, False)
    assert {(item.ref.kind, item.ref.namespace) for item in fraud.declarations} == {
        ("InferenceService", "fraud-detection"),
        ("Namespace", ""),
        ("ServiceMonitor", "fraud-detection"),
    }
    assert [item.ref.kind for item in own.declarations] == ["Application"]
    assert belongs_to(own.declarations[0].ref) is Engine.ARGOCD
    name = "models/fraud-detection/inferenceservice.yaml"
    service = next(item for item in fraud.declarations if item.ref.kind == "InferenceService")
    to = FieldEdit("/spec/predictor/model/storageUri", "s3://models/fraud-detection/v2.1")
    # In the file it has no namespace: the Application gives it one.
    written = ResourceRef(service.ref.api_version, service.ref.kind, "default", service.ref.name)
    files[name] = edit(files[name], written, [to], file=name)
    (_, after) = source_sets(render_tree(files, Echo()), (REMOTE,))
    changed = [item for item in after.declarations if item.digest not in {old.digest for old in fraud.declarations}]
    assert [item.ref for item in changed] == [service.ref]


def test_an_application_of_another_repository_is_not_applied_from_here() -> None:
    (_, fraud) = source_sets(render_tree(example(), Echo()), ("https://git.example.com/ml/other.git",))
    assert fraud.application is not None
    assert "is not of this repository" in fraud.application.problem


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://git.example.com/a/b.git", "git@git.example.com:a/b", True),
        ("ssh://git@Git.example.com:2222/a/b", "https://user@git.example.com/a/b/", True),
        ("https://git.example.com/a/b", "https://git.example.com/a/c", False),
        ("https://git.example.com/a/b", "https://evil.example.com/a/b", False),
        ("https://git.example.com/a/B", "https://git.example.com/a/b", False),
        ("https://git.example.com@evil.example.com/a/b", "https://git.example.com/a/b", False),
        ("file:///srv/a.git", "/srv/a", True),
        ("", "", False),
    ],
)
def test_which_addresses_name_one_repository(one: str, other: str, same: bool) -> None:
    assert same_repository(one, other) is same


ARGO = """
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: web, namespace: argocd, finalizers: [resources-finalizer.argocd.argoproj.io]}
spec:
  sources:
  - {repoURL: https://example.com/r, path: chart, helm: {releaseName: shop, valueFiles: [$v/v/prod.yaml]}}
  - {repoURL: https://example.com/r, ref: v}
  destination: {name: eu-west, namespace: shop}
  ignoreDifferences:
  - {group: apps, kind: Deployment, jsonPointers: [/spec/replicas], managedFieldsManagers: [hpa]}
  syncPolicy:
    automated: {prune: true, enabled: false}
    managedNamespaceMetadata: {labels: {team: risk}}
    syncOptions: [ServerSideApply=true, ApplyOutOfSyncOnly=true, CreateNamespace=true, PruneLast=true]
"""


def test_what_an_application_says_of_its_sync() -> None:
    files = {"chart/Chart.yaml": b"name: chart\nversion: 1.0.0\n", "v/prod.yaml": b"a: 1\n", "all.yaml": ARGO.encode()}
    recorder = Echo()
    (item,) = applications(render_tree({name: files[name] for name in files}, _nothing(recorder)))
    (job,) = recorder.jobs
    assert job.arguments[:2] == ("template", "shop")
    assert "tree/v/prod.yaml" in job.arguments
    assert (item.destination.cluster, item.destination.namespace) == ("eu-west", "shop")
    assert (item.sync.automated, item.sync.prune, item.finalizes, item.release) == (False, True, True, "shop")
    assert (item.sync.server_side, item.sync.only_out_of_sync, item.sync.prune_last) == (True, True, True)
    assert item.sync.namespace_labels == {"team": "risk"}
    assert (item.ignore[0].pointers, item.ignore[0].managers) == (("/spec/replicas",), ("hpa",))
    assert item.problem == ""


def _nothing(recorder: Echo) -> Echo:
    class Nothing(Echo):
        def run(self, job: Job) -> Output:
            recorder.jobs.append(job)
            return Output(b"", Program("echo", "v1", "sha256:" + "0" * 64))

    return Nothing()


FLUX = """
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: repo, namespace: flux-system}
spec: {url: https://git.example.com/ml/models, ref: {branch: main}, suspend: SUSPEND}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: models, namespace: flux-system}
spec:
  interval: 1h30m
  path: ./models
  prune: true
  sourceRef: {kind: GitRepository, name: repo}
  dependsOn: [{name: base}]
  decryption: {provider: sops, secretRef: {name: age}}
  healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: web, namespace: shop}]
  postBuild:
    substitute: {replicas: "3", env: prod}
    substituteFrom: [{kind: ConfigMap, name: vars}, {kind: Secret, name: none, optional: true}]
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: base, namespace: flux-system}
spec: {path: ./base, prune: false, wait: true, sourceRef: {kind: GitRepository, name: repo}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: vars, namespace: flux-system}
data: {env: dev, region: eu}
"""
WEB = b"""apiVersion: v1
kind: Thing
metadata:
  name: ${env}-web
spec:
  replicas: ${replicas}
  region: "${region}"
  price: $5
  shell: $${HOME} $HOME
  other: ${missing:=none} ${missing}
"""
KEPT = b"""apiVersion: v1
kind: Script
metadata:
  name: script
  annotations:
    kustomize.toolkit.fluxcd.io/substitute: disabled
spec:
  text: ${env}
"""


def test_a_flux_kustomization_with_its_variables() -> None:
    text = FLUX.replace("SUSPEND", "false")
    files = {
        "all.yaml": text.encode(),
        "models/a.yaml": WEB,
        "models/b.yaml": KEPT,
        "base/c.yaml": KEPT.replace(b"name: script", b"name: other"),
    }
    found = render_tree(files, Echo())
    sets = {item.name: item for item in source_sets(found, (REMOTE,))}
    things = {item.ref.kind: item.manifest for item in sets["flux/flux-system/models"].declarations}
    assert things["Thing"]["metadata"]["name"] == "prod-web"
    # A number: as in Flux, whoever wants a text writes quotes.
    assert things["Thing"]["spec"] == {
        "replicas": 3,
        "region": "eu",
        "price": "$5",
        "shell": "${HOME} $HOME",
        "other": "none",
    }
    assert things["Script"]["spec"]["text"] == "${env}"
    models = sets["flux/flux-system/models"].application
    assert models is not None
    assert (models.sync.interval_s, models.sync.prune, models.decryption) == (5400, True, "sops")
    assert [str(ref) for ref in models.health_checks] == ["Deployment shop/web"]
    assert models.problem == ""
    ordered, never = in_order([models, *applications(found, (REMOTE,))[1:]])
    assert [item.ref.name for item in ordered] == ["base", "models"]
    assert not never


def test_a_suspended_source_suspends_what_it_gives() -> None:
    found = applications(declared(FLUX.replace("SUSPEND", "true").partition("  postBuild")[0]))
    assert [item.suspended for item in found] == [True]


def test_a_circle_of_dependencies_is_told() -> None:
    text = FLUX.replace("SUSPEND", "false").partition("  postBuild")[0].replace("name: base", "name: models")
    ordered, never = in_order(applications(declared(text)))
    assert not ordered
    assert "depends, by way of others, on itself" in next(iter(never.values()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${a}", "Value"),
        ("${a,}", "value"),
        ("${a^^}", "VALUE"),
        ("${p:2}", "b/c.txt"),
        ("${p:2:3}", "b/c"),
        ("${p: -3}", "txt"),
        ("${a/a/o}", "Volue"),
        ("${p#*/}", "b/c.txt"),
        ("${p##*/}", "c.txt"),
        ("${p%/*}", "a/b"),
        ("${p%%/*}", "a"),
        ("${p//./-}", "a/b/c-txt"),
        ("${#a}", "5"),
        ("${x:-${a}}", "Value"),
        ("${x:=a/b:c}", "a/b:c"),
        ("$${a} $a", "${a} $a"),
    ],
)
def test_forms_of_variables(text: str, said: str) -> None:
    assert substitute(text, {"a": "Value", "p": "a/b/c.txt"}) == said


@pytest.mark.parametrize("text", ["${", "${a", "${1a}", "${a!b}", "${}", "${a:x}"])
def test_what_is_no_variable_is_refused_and_never_left_out(text: str) -> None:
    with pytest.raises(SubstitutionError):
        substitute(text, {"a": "1"})


def test_annotations_of_four_dialects() -> None:
    argo = {"argocd.argoproj.io/sync-wave": "-5", "argocd.argoproj.io/sync-options": "Prune=false,Delete=false"}
    found = object_sync({"metadata": {"annotations": argo}})
    assert (found.wave, found.prune, found.delete, found.hooks) == (-5, False, False, ())
    hook = {"argocd.argoproj.io/hook": "PreSync", "argocd.argoproj.io/hook-delete-policy": "HookSucceeded"}
    found = object_sync({"metadata": {"annotations": hook}})
    assert (found.hooks, found.delete_hook) == ((Hook.PRE_SYNC,), ("HookSucceeded",))
    helm = {"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "3", "helm.sh/resource-policy": "keep"}
    found = object_sync({"metadata": {"annotations": helm}})
    assert (found.hooks, found.wave, found.prune) == ((Hook.PRE_SYNC,), 3, False)
    assert object_sync({"metadata": {"annotations": {"helm.sh/hook": "test"}}}).hooks == (Hook.SKIP,)
    assert not object_sync({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/prune": "disabled"}}}).prune
    assert object_sync({"metadata": {"annotations": {"kustomize.toolkit.fluxcd.io/ssa": "Ignore"}}}).ignored
    assert not object_sync({"metadata": {"annotations": {"customhouse.dev/prune": "disabled"}}}).prune
    with pytest.raises(DeclarationError) as caught:
        object_sync({"metadata": {"annotations": {"argocd.argoproj.io/sync-wave": "first"}}})
    assert caught.value.where == "/metadata/annotations/argocd.argoproj.io~1sync-wave"
    assert object_sync({}).prune


COMMIT = "0123456789abcdef0123456789abcdef01234567"
APP = ResourceRef("argoproj.io/v1alpha1", "Application", "argocd", "fraud-detection-model")
KUSTOMIZATION = ResourceRef("kustomize.toolkit.fluxcd.io/v1", "Kustomization", "flux-system", "models")


def test_what_argo_cd_says_of_an_application() -> None:
    (item,) = (item for item in render_tree(example(), Echo()) if item.ref.kind == "Application")
    spec = item.manifest["spec"]
    live = {
        "spec": spec,
        "status": {
            "sync": {"status": "Synced", "revision": COMMIT, "comparedTo": {**spec}},
            "health": {"status": "Healthy"},
            "operationState": {"phase": "Succeeded", "finishedAt": "2026-11-22T10:00:00Z"},
        },
    }
    assert status_of(APP, {"spec": spec}) is None
    said = status_of(APP, live)
    assert said is not None
    assert (said.sync, said.health, said.revision, said.current) == (SyncStatus.SYNCED, "Healthy", COMMIT, True)
    moved = {**live, "spec": {**spec, "destination": {"server": "https://other", "namespace": "x"}}}
    stale = status_of(APP, moved)
    assert stale is not None
    assert not stale.current
    failed = {
        "spec": spec,
        "status": {
            "sync": {"status": "OutOfSync", "revision": COMMIT},
            "health": {"status": "Degraded"},
            "operationState": {"phase": "Failed", "message": "denied by policy", "syncResult": {"revision": COMMIT}},
        },
    }
    said = status_of(APP, failed)
    assert said is not None
    # What failed was not applied.
    assert (said.revision, said.attempted, said.message) == ("", COMMIT, "denied by policy")


@pytest.mark.parametrize(
    ("ready", "more", "sync", "health"),
    [
        ("True", {"lastAttemptedRevision": f"main@sha1:{COMMIT}"}, SyncStatus.SYNCED, "Healthy"),
        ("True", {"lastAttemptedRevision": "main@sha1:" + "f" * 40}, SyncStatus.OUT_OF_SYNC, "Healthy"),
        ("True", {"observedGeneration": 1}, SyncStatus.UNKNOWN, "Progressing"),
        ("False", {}, SyncStatus.OUT_OF_SYNC, "Degraded"),
        ("Unknown", {}, SyncStatus.UNKNOWN, "Progressing"),
    ],
)
def test_what_flux_says_of_a_kustomization(ready: str, more: dict[str, object], sync: SyncStatus, health: str) -> None:
    status = {
        "observedGeneration": 2,
        "lastAppliedRevision": f"main@sha1:{COMMIT}",
        "conditions": [{"type": "Ready", "status": ready, "reason": "BuildFailed", "message": "said"}],
    }
    said = status_of(KUSTOMIZATION, {"metadata": {"generation": 2}, "spec": {}, "status": {**status, **more}})
    assert said is not None
    assert (said.sync, said.health, said.revision, said.message) == (sync, health, COMMIT, "said")


def test_who_reconciles() -> None:
    (_, fraud) = source_sets(render_tree(example(), Echo()))
    assert fraud.application is not None
    live = {"status": {"sync": {"status": "Synced"}}}
    ref, known = fraud.application.ref, {fraud.application.ref: fraud.application}

    def who(declared: dict[Engine, Engine], found: Manifest | None = None) -> Engine:
        return reconcilers(known, declared, {} if found is None else {ref: found})[ref][0]

    assert who({}) is Engine.CUSTOMHOUSE
    assert who({}, {"status": {}}) is Engine.CUSTOMHOUSE
    assert who({}, live) is Engine.ARGOCD
    assert who({Engine.ARGOCD: Engine.CUSTOMHOUSE}, live) is Engine.CUSTOMHOUSE
    assert who({Engine.ARGOCD: Engine.ARGOCD}) is Engine.ARGOCD


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("path: chart, helm: {fileParameters: [{name: 'a=/etc/passwd,b', path: f.txt}]}", "more than a name"),
        ("path: chart, helm: {fileParameters: [{name: a, path: '/x,b=/etc/passwd'}]}", "more than a name"),
        ("path: chart, helm: {fileParameters: [{name: a, path: ../../etc/passwd}]}", "not in this tree"),
        ("path: chart, helm: {fileParameters: [{name: a, path: 'https://example.com/x'}]}", "not in this tree"),
        ("path: chart, helm: {valueFiles: ['$other/v.yaml']}", "not in this tree"),
        ("path: chart, helm: {valueFiles: ['https://example.com/v.yaml']}", "not in this tree"),
        (
            "path: j, directory: {jsonnet: {extVars: [{name: a, value: 'importstr \"/etc/passwd\"', code: true}]}}",
            "imports",
        ),
        ("path: j, directory: {jsonnet: {tlas: [{name: a, value: '(import \"x\")', code: true}]}}", "imports"),
        ("path: j, directory: {jsonnet: {libs: [../../etc]}}", "not a folder of this tree"),
        ("path: j, plugin: {name: x}", "no plugin is run"),
        ("path: j, directory: {include: '[z-a]'}", "cannot be read"),
    ],
)
def test_an_application_reads_no_file_of_the_machine(source: str, said: str) -> None:
    text = (
        f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: a}}\nspec:\n  source: {{{source}}}\n"
    )
    files = {
        "chart/Chart.yaml": b"name: c\nversion: 1.0.0\n",
        "chart/f.txt": b"",
        "x,b=/etc/passwd": b"",
        "j/a.jsonnet": b"{}",
    }
    recorder = Echo()
    with pytest.raises(DeclarationError) as caught:
        render_tree({**files, "a.yaml": text.encode()}, recorder)
    assert said in str(caught.value)
    assert caught.value.where.startswith("a.yaml:5:")
    assert recorder.jobs == []
