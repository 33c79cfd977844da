"""What others apply is judged: outside of `paths` and hidden too; behind a link, or in a submodule, it is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from customhouse.control.adapters.git_objects import GitObjects
from customhouse.control.adapters.git_program import Git
from customhouse.control.rendering import Job, Output
from customhouse.control.rendering_tree import render_tree
from customhouse.core.errors import DeclarationError

APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: argocd}
spec:
  destination: {namespace: shop}
  source:
    path: PATH
    repoURL: https://git.example.com/shop
    directory: {recurse: RECURSE}
"""
KUSTOMIZATION = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-system}
spec: {path: ./apps/web, sourceRef: {kind: GitRepository, name: shop}}
"""
CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n"
SUBMODULE = "3" * 40


class Repository:
    """A bare beginning of one: what is staged is what is committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", ".")

    def git(self, *words: str, stdin: str = "") -> str:
        said = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
        named = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(self.folder)]
        done = subprocess.run(
            ["git", *named, *words], input=stdin, env=said, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def stage(self, path: str, text: str = "", mode: str = "100644", name: str = "") -> None:
        name = name or self.git("hash-object", "-w", "--stdin", stdin=text)
        self.git("update-index", "--add", "--cacheinfo", f"{mode},{name},{path}")

    def rendered(self, path: str = "apps/web", recurse: str = "false") -> int:
        """How many objects Argo CD's one Application leads to, itself included."""
        self.stage("deploy/app.yaml", APPLICATION.replace("PATH", path).replace("RECURSE", recurse))
        return self.declared()

    def declared(self) -> int:
        self.git("commit", "--quiet", "-m", "one")
        files = GitObjects(Git(self.folder / ".git", dict(os.environ))).files("HEAD")
        return len(render_tree(files, Nothing(), folders=("deploy",)))


class Nothing:
    """No program is asked."""

    def run(self, job: Job) -> Output:
        raise AssertionError(job)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path)
    made.stage("apps/real/one.yaml", CONFIG)
    return made


@pytest.mark.parametrize("place", ["apps/web", "apps/web/deeper"])
@pytest.mark.parametrize(("mode", "name"), [("120000", ""), ("160000", SUBMODULE)])
def test_a_folder_that_is_a_link_or_a_submodule_or_in_one_is_refused(
    repository: Repository, place: str, mode: str, name: str
) -> None:
    repository.stage("apps/web", "real", mode, name)
    with pytest.raises(DeclarationError, match="apps/web is no folder of this tree") as caught:
        repository.rendered(place)
    assert caught.value.where == "deploy/app.yaml:7:11"


def test_a_submodule_in_a_folder_that_is_read_to_its_depth_is_refused_and_no_other(repository: Repository) -> None:
    repository.stage("apps/web/one.yaml", CONFIG)
    repository.stage("apps/website", mode="160000", name=SUBMODULE)
    assert repository.rendered(recurse="true") == 2
    repository.stage("apps/web/part", mode="160000", name=SUBMODULE)
    assert repository.rendered() == 2  # Argo CD looks into no folder below
    with pytest.raises(DeclarationError, match="apps/web/part is a submodule"):
        repository.rendered(recurse="true")


@pytest.mark.parametrize("name", ["one.yaml", ".hidden.yaml", ".hidden/one.yml", "deep/one.json"])
def test_what_is_applied_is_judged_wherever_it_lies(repository: Repository, name: str) -> None:
    """Outside of `paths`, and in what is hidden: Argo CD reads every manifest of the folder."""
    text = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}' if "json" in name else CONFIG
    repository.stage(f"apps/web/{name}", text)
    assert repository.rendered(recurse="true") == 2


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("one.yaml", 2),
        (".hidden.yaml", 2),
        (".hidden/one.yml", 2),
        ("one.json", 1),
        (".sops.yaml", 1),
        (".github/a.yml", 1),
    ],
)
def test_so_it_is_where_flux_applies_it(repository: Repository, name: str, objects: int) -> None:
    """Of what is hidden it leaves out what it names itself, and no more."""
    repository.stage(f"apps/web/{name}", CONFIG)
    repository.stage("deploy/app.yaml", KUSTOMIZATION)
    assert repository.declared() == objects
