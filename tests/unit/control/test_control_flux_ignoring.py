"""What keeps files out of what Flux renders: refused where it is a manifest, with the line that does so."""

from __future__ import annotations

import pytest

from customhouse.control.rendering import Job, Output, Program
from customhouse.control.rendering_tree import render_tree
from customhouse.core.errors import DeclarationError

CONFIG = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop}\n"


class Nobody:
    """There is nothing to render."""

    def run(self, job: Job) -> Output:
        return Output(CONFIG % b"built", Program("nobody", "v1", "sha256:" + "0" * 64))


def tree(source: str = "", **more: str) -> dict[str, bytes]:
    """A folder with a kustomization, one without, and what the GitRepository says beside its address."""
    flux = f"""\
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: shop, namespace: flux-system}}
spec:
  url: https://git.example.com/shop
{source}---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: shop, namespace: flux-system}}
spec: {{path: ./apps/shop, sourceRef: {{kind: GitRepository, name: shop}}}}
"""
    files = {
        "flux.yaml": flux.encode(),
        "apps/shop/kustomization.yaml": b"resources: [one.yaml]\n",
        "apps/shop/one.yaml": CONFIG % b"one",
        "apps/shop/README.md": b"read me\n",
        "other/two.yaml": CONFIG % b"two",
    }
    return files | {name.replace("__", "/").replace("_ignore", ".sourceignore"): t.encode() for name, t in more.items()}


def refusal(files: dict[str, bytes]) -> str:
    with pytest.raises(DeclarationError) as told:
        render_tree(files, Nobody())
    return f"{told.value.where} {told.value.message}"


@pytest.mark.parametrize(
    "pattern",
    [
        "kustomization.yaml",
        "*.yaml",
        "apps/",
        "/apps",
        "apps/shop/one.yaml",
        "apps/*/kustomization.*",
        "**/one.yaml",
        "apps/**/*.yaml",
        "apps/**",
        "o?e.yaml",
        "[n-p]ne.yaml",
        "on\\e.yaml",
        "/*\n!/other",
        "one.yaml\n!on[e].yaml",
        "*a*a*a*a*a*a*",
        "# a comment\n\none.yaml  ",
    ],
)
def test_a_pattern_that_keeps_a_judged_manifest_out_is_refused_at_its_line(pattern: str) -> None:
    line = next(n for n, text in enumerate(pattern.split("\n"), 1) if text and text[0] not in "#!")
    said = refusal(tree(_ignore=pattern) | {"apps/shop/aaaaaaaa.yaml": CONFIG % b"a"})
    assert said.startswith(f".sourceignore:{line}:1 ")
    assert "out of what Flux renders for Kustomization flux-system/shop, and it is judged" in said
    text = "".join(f"    {one}\n" for one in pattern.split("\n"))
    assert refusal(tree(f"  ignore: |\n{text}") | {"apps/shop/aaaaaaaa.yaml": CONFIG % b"a"}).startswith("flux.yaml:6:")


@pytest.mark.parametrize(
    "pattern",
    [
        "*.md",
        "other/",
        "/other/*",
        "two.yaml",
        "apps/one.yaml",
        "one.yaml/",
        "*\n!*",
        "/*\n!/apps",
        "apps/shop/*.md",
        "#*",
    ],
)
def test_one_that_keeps_out_nothing_that_is_judged_is_none(pattern: str) -> None:
    assert render_tree(tree(_ignore=pattern), Nobody())


def test_the_file_that_lies_deeper_and_the_object_after_it_have_the_last_word() -> None:
    assert render_tree(tree(_ignore="one.yaml", apps___ignore="!one.yaml"), Nobody())
    assert refusal(tree(_ignore="!one.yaml", apps__shop___ignore="one.yaml")).startswith("apps/shop/.sourceignore:1:1")
    assert render_tree(tree("  ignore: '!one.yaml'\n", apps___ignore="one.yaml"), Nobody())
    assert render_tree(tree(other___ignore="*"), Nobody())


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("  include: [{repository: {name: other}}]\n", "/include"),
        ("  recurseSubmodules: true\n", "submodules"),
        ("  sparseCheckout: [apps/shop/one]\n", "does not take in all of apps/shop"),
    ],
)
def test_what_brings_files_from_elsewhere_or_half_of_them_is_refused(said: str, place: str) -> None:
    assert place.removeprefix("/include") in refusal(tree(said))
    assert refusal(tree(said)).startswith("flux.yaml:6:")


def test_a_checkout_of_folders_that_has_the_rendered_one_is_taken() -> None:
    assert render_tree(tree("  sparseCheckout: [docs, ./apps]\n"), Nobody())


@pytest.mark.parametrize(
    "pattern", ["!.github/", "!apps/shop/.github/**", "!*.yaml", "!.git[h]ub", "!/apps/shop/.github/two.yaml"]
)
def test_what_flux_leaves_out_by_itself_is_not_taken_in_again(pattern: str) -> None:
    files = tree(_ignore=f"{pattern}\n") | {"apps/shop/.github/two.yaml": CONFIG % b"two"}
    assert "takes apps/shop/.github/two.yaml into what Flux renders" in refusal(files)
    render_tree(tree(_ignore=f"{pattern}\n"), Nobody())
    render_tree(tree(_ignore="!apps/shop/one.yaml\n") | {"apps/shop/.github/two.yaml": CONFIG % b"two"}, Nobody())
