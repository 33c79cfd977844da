"""Files beside what is rendered by which Argo CD alters a source: followed as it does, or refused."""

from __future__ import annotations

import pytest

from customhouse.control.rendering import Job, Output, Program
from customhouse.control.rendering_tree import render_tree
from customhouse.core.errors import DeclarationError

GENERAL, OWN = "shop/.argocd-source.yaml", "shop/.argocd-source-shop.yaml"


class Asked:
    """Keeps what is to be rendered, as text."""

    def __init__(self) -> None:
        self.said = ""

    def run(self, job: Job) -> Output:
        self.said += "\n".join(data.decode() for data in job.added.values())
        config = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: built}\n"
        return Output(config, Program("asked", "v1", "sha256:" + "0" * 64))


def rendered(namespace: str = "argocd", patches: str = "[]", **files: str) -> str:
    """The kustomizations that are built for an Application that says `namePrefix: own-`."""
    application = f"""\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: shop, namespace: {namespace}}}
spec:
  destination: {{namespace: shop}}
  source:
    path: shop
    repoURL: https://git.example.com/shop
    kustomize: {{namePrefix: own-, nameSuffix: -own, patches: PATCHES}}
"""
    tree = {
        "app.yaml": application.replace("PATCHES", patches).encode(),
        "shop/kustomization.yaml": b"resources: [one.yaml]\n",
        "shop/one.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n",
    }
    asked = Asked()
    render_tree(tree | {name: text.encode() for name, text in files.items()}, asked)
    return asked.said


def test_the_general_file_and_then_the_applications_own_are_merged_into_the_source() -> None:
    assert "own-" in rendered()
    said = rendered(**{GENERAL: "kustomize: {namePrefix: general-, nameSuffix: null}\n"})
    assert "general-" in said
    assert "-own" in said  # a null takes nothing away
    both = rendered(
        **{
            GENERAL: "kustomize: {namePrefix: general-}\npath: elsewhere\nrepoURL: https://other.example\n",
            OWN: "kustomize: {namePrefix: of-the-application-}\n",
            "shop/.argocd-source-another.yaml": "kustomize: {namePrefix: theirs-}\n",
        }
    )
    assert "of-the-application-" in both
    assert "-own" in both
    assert "general-" not in both
    assert "theirs-" not in both


@pytest.mark.parametrize(
    ("namespace", "file", "text", "place"),
    [
        ("argocd", GENERAL, "plugin: {name: x}\n", "app.yaml:"),
        ("argocd", GENERAL, "[]\n", f"{GENERAL}:1:1"),
        ("argocd", GENERAL, "kustomize: {patches: [{patch: x}]}\n", f"{GENERAL}:1:1"),
        ("argocd", GENERAL, "kustomize: [\n", f"{GENERAL}:"),
        ("argocd", "shop/.argocd-source-argocd_shop.yaml", "helm: {}\n", "shop/.argocd-source-argocd_shop.yaml:1:1"),
        ("team", OWN, "helm: {}\n", f"{OWN}:1:1"),
        ("team", "shop/.argocd-source-team_shop.yaml", "helm: {}\n", "shop/.argocd-source-team_shop.yaml:1:1"),
    ],
)
def test_what_cannot_be_followed_or_may_not_be_read_is_refused_at_its_place(
    namespace: str, file: str, text: str, place: str
) -> None:
    with pytest.raises(DeclarationError) as told:
        rendered(namespace, "[{target: {kind: ConfigMap}, patch: y}]", **{file: text})
    assert told.value.where.startswith(place)
