"""`customhouse promote`: a release goes dev → staging → production as commits of one line a field."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from control_repository import clone, git, remote, write

from customhouse.app.adopting import adopt
from customhouse.app.promoting import Promoted, promote
from customhouse.app.settings import read_settings
from customhouse.app.wiring import STORE_FILE
from customhouse.core.errors import DeclarationError, UsageError
from customhouse.core.release import Release, RolloutPhase
from customhouse.store import open_store

__all__ = ["clone", "remote"]

RULES = """\
apiVersion: customhouse.dev/v1
policy: {requireSignedCommits: false}
environments:
  dev: {namespaces: [dev]}
  staging: {namespaces: ["staging-*"]}
  production: {namespaces: [prod], production: true}
"""


def service(namespace: str, model: str, replicas: int) -> str:
    return f"""\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: fraud
  namespace: {namespace}
  annotations:
    customhouse.dev/model-digest: sha256:{model * 64}  # pinned
    customhouse.dev/tier-of: {namespace}
spec:
  predictor:
    minReplicas: {replicas}
    model:
      modelFormat: {{name: onnx}}
      storageUri: pvc://models/fraud/{model}
"""


class World:
    def __init__(self, remote: Path, clone: Path) -> None:
        self.remote, self.clone, self.state = remote, clone, clone.parent / "state"
        self.push({"dev": ("b", 1), "staging-1": ("a", 2), "prod": ("a", 8)}, {"customhouse.yaml": RULES})

    def push(self, versions: dict[str, tuple[str, int]], more: dict[str, str]) -> None:
        files = {f"{name}/fraud.yaml": service(name, *rest) for name, rest in versions.items()}
        write(self.clone, {**files, **more}, "Serve")

    def promote(self, to: str, name: str = "fraud", **more: object) -> Promoted:
        return promote(read_settings(state=str(self.state)), str(self.remote), "main", name, to, **more)  # type: ignore[arg-type]

    def seen(self, found: Promoted, phase: RolloutPhase, reason: str = "") -> None:
        from customhouse.app.succession import release_name

        release = Release(
            found.source.ref, release_name(found.source), "c" * 40, "Ada", "", "allow", "sha256:d", phase,
            datetime(2026, 11, 22, tzinfo=UTC), reason,
        )  # fmt: skip
        self.state.mkdir(exist_ok=True)
        with open_store(self.state / STORE_FILE) as store:
            store.releases.record(release)


@pytest.fixture
def world(remote: Path, clone: Path) -> World:
    return World(remote, clone)


def test_a_proved_release_is_carried_field_by_field_and_nothing_else_changes(world: World) -> None:
    refused = world.promote("staging")
    assert (refused.commit, "never seen promoted in dev" in refused.refused) == ("", True)
    assert git(world.remote, "branch", "--list", "customhouse/*") == ""
    world.seen(refused, RolloutPhase.PROMOTED)
    found = world.promote("staging")
    assert found.branch == "customhouse/promote/fraud-to-staging"
    difference = git(world.remote, "diff", "-U0", "main", found.branch).splitlines()
    changed = [line for line in difference if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert changed == [
        f"-    customhouse.dev/model-digest: sha256:{'a' * 64}  # pinned",
        f"+    customhouse.dev/model-digest: sha256:{'b' * 64}  # pinned",
        "-      storageUri: pvc://models/fraud/a",
        "+      storageUri: pvc://models/fraud/b",
    ]
    assert git(world.remote, "diff", "--stat", "main", found.branch).count("|") == 1
    message = git(world.remote, "log", "-1", "--format=%B", found.branch)
    assert message.startswith("Promote fraud from dev to staging\n")
    assert "Customhouse-Proved: dev 2026-11-22T00:00:00Z revision ccc" in message


def test_what_was_rolled_back_is_not_carried_even_when_asked_for(world: World) -> None:
    world.seen(world.promote("staging"), RolloutPhase.ROLLED_BACK, "errors 40 %")
    found = world.promote("staging", unproved=True)
    assert (found.commit, found.refused.endswith("was rolled back in dev: errors 40 %")) == ("", True)


def test_nothing_is_skipped_by_accident_and_the_same_twice_is_no_commit(world: World) -> None:
    found = world.promote("production", unproved=True)
    assert (found.source.ref.namespace, found.target.ref.namespace, found.commit) == ("staging-1", "prod", "")
    skipped = world.promote("production", since="dev", unproved=True)
    assert skipped.commit
    assert {item.pointer for item in skipped.edits} == {
        "/metadata/annotations/customhouse.dev~1model-digest",
        "/spec/predictor/model/storageUri",
    }


@pytest.mark.parametrize(
    ("to", "since", "says"),
    [
        ("live", "", "no environment is called 'live'"),
        ("dev", "", "dev is the first environment"),
        ("staging", "production", "production does not come before staging"),
    ],
)
def test_a_way_that_is_none_is_refused(world: World, to: str, since: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        world.promote(to, since=since)


def overlays(world: World, staging: str = "") -> None:
    """Staging and production as overlays of one base, dev by itself and further on."""
    base = service("x", "b", 1).replace("  namespace: x\n", "")
    overlay = "resources: [../base]\nnamespace: {}\n"
    more = {
        "base/kustomization.yaml": "resources: [fraud.yaml]\n",
        "base/fraud.yaml": base,
        "staging/kustomization.yaml": overlay.format("staging-2") + staging,
        "prod2/kustomization.yaml": overlay.format("prod"),
        "prod/fraud.yaml": "# moved\n",
        "staging-1/fraud.yaml": "# moved\n",
    }
    world.push({"dev": ("c", 1)}, more)


@pytest.mark.part("kustomize")
def test_what_one_overlay_gets_of_a_shared_file_is_a_patch_of_its_own(world: World) -> None:
    resize = (
        "- patch: |-\n    - {op: replace, path: /spec/predictor/minReplicas, value: 3}\n"
        "  target: {kind: InferenceService}\n"
    )
    overlays(world, f"# ours\npatches:\n{resize}labels: []\n")
    found = world.promote("staging", unproved=True)
    changed = git(world.remote, "diff", "--stat", "main", found.branch)
    assert "base/" not in changed
    assert changed.count("|") == 2
    text = git(world.remote, "show", f"{found.branch}:staging/kustomization.yaml")
    own = ["- path: promoted-inferenceservice-fraud.yaml", "  target:", "    kind: InferenceService", "    name: fraud"]
    assert text.splitlines() == [
        *("resources: [../base]", "namespace: staging-2", "# ours", "patches:"),
        *(*resize.splitlines(), *own, "labels: []"),
    ]
    # Merged, the next promotion alters the values in that file, and production stays what it was until it is asked.
    git(world.clone, "fetch", "-q", "origin")
    git(world.clone, "merge", "-q", f"origin/{found.branch}")
    world.push({"dev": ("d", 1)}, {})
    again = world.promote("staging", unproved=True)
    assert (
        git(world.remote, "diff", "--name-only", "main", again.branch) == "staging/promoted-inferenceservice-fraud.yaml"
    )
    patch = git(world.remote, "show", f"{again.branch}:staging/promoted-inferenceservice-fraud.yaml")
    assert f"  value: sha256:{'d' * 64}" in patch
    assert f"  value: pvc://models/fraud/{'d'}" in patch
    # Nobody but production takes the shared lines as they stand any more: there the plain edit is enough.
    onwards = world.promote("production", unproved=True)
    assert git(world.remote, "diff", "--name-only", "main", onwards.branch) == "base/fraud.yaml"


@pytest.mark.part("kustomize")
def test_an_overlay_that_has_the_last_word_elsewhere_is_not_promoted_behind_its_back(world: World) -> None:
    overlays(world, "transformers: [last.yaml]\n")
    last = (
        "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: last}\ntarget: {kind: InferenceService}\n"
        """patch: '[{"op": "replace", "path": "/spec/predictor/model/storageUri", "value": "pvc://models/fraud/z"}]'\n"""
    )
    world.push({"dev": ("c", 1)}, {"staging/last.yaml": last})
    with pytest.raises(UsageError, match="nor a patch in its overlay changes it, and it alone"):
        world.promote("staging", unproved=True)
    assert git(world.remote, "branch", "--list", "customhouse/*") == ""


def test_one_of_several_clusters_is_adopted_by_name_and_the_others_stay_observed(world: World) -> None:
    rules = (
        "targets:\n  east: {context: east}\n  west:\n    context: west  # theirs\n"
        "  north: {context: north, mode: manage}\n"
    )
    world.push({}, {"customhouse.yaml": RULES + rules})
    settings = read_settings(state=str(world.state))
    with pytest.raises(UsageError, match="no target is called 'south'"):
        adopt(settings, str(world.remote), "main", "south")
    assert adopt(settings, str(world.remote), "main", "north").commit == ""
    assert adopt(settings, str(world.remote), "main", "west").commit
    text = git(world.remote, "show", "customhouse/adopt:customhouse.yaml")
    assert "    context: west  # theirs\n    mode: manage\n" in text
    assert text.count("mode: manage") == 2
    adopt(settings, str(world.remote), "main")
    assert git(world.remote, "show", "customhouse/adopt:customhouse.yaml").count("mode: manage") == 3


def workload(image: str = "registry.example/fraud:0.0", more: str = "") -> str:
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: fraud}}
spec:
  selector: {{matchLabels: {{app: fraud}}}}
  template:
    metadata: {{labels: {{app: fraud}}}}
    spec:
      containers:
        - name: server
          image: {image}
{more}"""


def changed(world: World, branch: str) -> dict[str, list[str]]:
    """File → its lines that differ, without context."""
    found: dict[str, list[str]] = {}
    for line in git(world.remote, "diff", "-U0", "main", branch).splitlines():
        if line.startswith("+++ b/"):
            found[line[6:]] = lines = []
        elif line[0] in "+-" and not line.startswith("---"):
            lines.append(line)
    return found


NOTHING = {"dev/fraud.yaml": "# moved\n", "staging-1/fraud.yaml": "# moved\n", "prod/fraud.yaml": "# moved\n"}
OLD, DIGEST = f"sha256:{'a' * 64}", f"sha256:{'d' * 64}"


@pytest.mark.part("kustomize")
@pytest.mark.parametrize(
    ("dev", "staging", "lines"),
    [
        ("newTag: '1.10'", "newTag: '1.9' # ours", ["-    newTag: '1.9' # ours", "+    newTag: '1.10' # ours"]),
        (f"digest: {DIGEST}", f"digest: {OLD}", [f"-    digest: {OLD}", f"+    digest: {DIGEST}"]),
        (
            f'newTag: "2"\n    digest: {DIGEST}',
            'newTag: "1"',
            ['-    newTag: "1"', '+    newTag: "2"', f"+    digest: {DIGEST}"],
        ),
        (
            'newName: mirror.example/f\n    newTag: "2"',
            'newTag: "1"',
            ['-    newTag: "1"', '+    newTag: "2"', "+    newName: mirror.example/f"],
        ),
    ],
)  # fmt: skip
def test_the_images_of_a_kustomization_are_altered_where_they_are_written(
    world: World, dev: str, staging: str, lines: list[str]
) -> None:
    head = "resources: [../base]\nnamespace: {}\nimages:\n  - name: registry.example/fraud\n    {}\n"
    more = {
        "base/kustomization.yaml": "resources: [fraud.yaml]\n",
        "base/fraud.yaml": workload(),
        "dev2/kustomization.yaml": head.format("dev", dev),
        "staging/kustomization.yaml": "# staging\n" + head.format("staging-2", staging) + "# end\n",
    }
    world.push({}, {**NOTHING, **more})
    found = world.promote("staging", unproved=True)
    assert changed(world, found.branch) == {"staging/kustomization.yaml": lines}


TEMPLATE = workload("{{ .Values.server.image.repository }}:{{ .Values.server.image.tag }}").replace(
    "metadata: {name: fraud}",
    'metadata:\n  name: fraud\n  namespace: "{{ .Values.at }}"\n'
    '  annotations: {customhouse.dev/dataset: "{{ .Values.data }}"}',
)
CHART = {"chart/Chart.yaml": "apiVersion: v2\nname: fraud\nversion: 1.0.0\n", "chart/templates/fraud.yaml": TEMPLATE}


def values(at: str, tag: str, data: str) -> str:
    image = f"    repository: registry.example/fraud # here\n    tag: {tag}\n"
    return f"at: {at}\nserver:\n  image:\n{image}data: {data}\n"


def charted(world: World, **more: str) -> None:
    """One chart, rendered once for each environment by the values of its HelmRelease."""
    release = (
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: fraud, namespace: {0}}}\nspec:\n"
        "  chart: {{spec: {{chart: ./chart, sourceRef: {{kind: GitRepository, name: here}}}}}}\n  values:\n{1}"
    )
    texts = {"dev": values("dev", '"1.10"', "data@v2"), "staging-1": values("staging-1", "1.9", "data@v1"), **more}
    files = {
        f"releases/{at}.yaml": release.format(at, "".join(f"    {line}\n" for line in text.splitlines()))
        for at, text in texts.items()
    }
    git_here = (
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: here, namespace: {0}}}\n"
        "spec: {{url: {1}}}\n"
    )
    for at in texts:
        files[f"releases/here-{at}.yaml"] = git_here.format(at, f"https://git.example/{world.remote.name}")
    world.push({}, {**NOTHING, **CHART, **files})


@pytest.mark.part("helm")
def test_the_values_of_a_chart_are_altered_where_they_are_written(
    world: World, find_part: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{find_part('helm').parent}:{os.environ['PATH']}")
    charted(world)
    found = world.promote("staging", unproved=True)
    assert changed(world, found.branch) == {
        "releases/staging-1.yaml": [
            *("-        tag: 1.9", "-    data: data@v1"),
            *('+        tag: "1.10"', "+    data: data@v2"),
        ]
    }
    # What another workload of the chart shares is nothing that can be altered for one of them.
    shared = TEMPLATE.replace("{name: fraud}", "{name: other}").replace("  name: fraud", "  name: other")
    world.push({}, {"chart/templates/other.yaml": shared})
    with pytest.raises(UsageError, match="changes it, and it alone"):
        world.promote("staging", unproved=True)


def test_a_charts_version_is_carried_between_releases_and_applications(world: World) -> None:
    release = (
        "kind: HelmRelease\napiVersion: helm.toolkit.fluxcd.io/v2\nmetadata: {{name: fraud, namespace: {0}}}\n"
        'spec:\n  chart:\n    spec:\n      chart: {2}\n      version: "{1}" # pinned\n      sourceRef: {{kind: '
        "HelmRepository, name: charts}}\n---\nkind: Application\napiVersion: argoproj.io/v1alpha1\n"
        "metadata: {{name: fraud-{0}, namespace: argocd}}\nspec:\n  destination: {{namespace: {0}}}\n"
        "  source: {{repoURL: 'https://charts.example', chart: fraud, targetRevision: {1}}}\n"
    )
    files = {
        "dev.yaml": release.format("dev", "1.3.0", "fraud"),
        "s.yaml": release.format("staging-1", "1.2.0", "fraud"),
    }
    world.push({}, {**NOTHING, **files})
    refused = world.promote("staging", name="HelmRelease/fraud")
    assert "never seen promoted in dev" in refused.refused
    found = world.promote("staging", name="HelmRelease/fraud", unproved=True)
    assert changed(world, found.branch) == {
        "s.yaml": ['-      version: "1.2.0" # pinned', '+      version: "1.3.0" # pinned']
    }
    found = world.promote("staging", name="Application/fraud", unproved=True)
    (lines,) = changed(world, found.branch).values()
    assert [line.rpartition(" ")[2] for line in lines] == ["1.2.0}", '"1.3.0"}']
    world.push({}, {"s.yaml": release.format("staging-1", "1.2.0", "another")})
    with pytest.raises(DeclarationError, match="fetch different things"):
        world.promote("staging", name="HelmRelease/fraud", unproved=True)
