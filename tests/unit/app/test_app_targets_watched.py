"""Several clusters beside `up`: what runs in one is held against what is declared for that one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from customhouse.app.auditing_background import labelled
from customhouse.app.governance import Governance, governance, read_configuration
from customhouse.app.settings import Settings
from customhouse.app.vulnerability_live import ClusterWish, undeclared
from customhouse.control.render import render
from customhouse.core.resource import Declaration

HEAD = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"
RULES = f"""{HEAD}\
targets:
  east: {{context: east, paths: [east]}}
  west: {{context: west, paths: [west]}}
"""


def pod(image: str) -> dict[str, Any]:
    metadata = {"name": "score", "namespace": "shop", "uid": image}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"image": image}]}}


def lives(target: str, image: str) -> Declaration:
    (found,) = render({"live.yaml": json.dumps(pod(image)).encode()})
    return replace(found, ref=replace(found.ref, scene=target))


def declares(target: str, image: str) -> Declaration:
    return replace(lives(target, image), scene=target)


def test_what_is_declared_for_another_cluster_is_not_declared_here() -> None:
    rules: Governance = replace(governance(None, None), configuration=read_configuration(RULES.encode()))
    one, two = f"a/b@sha256:{'1' * 64}", f"a/b@sha256:{'2' * 64}"
    declared = (declares("east", one), declares("west", two))

    def found(*live: Declaration) -> list[tuple[str, str]]:
        return [(top.ref.scene, artifact.reference) for top, artifact in undeclared(rules, declared, live)]

    assert found(lives("east", one), lives("west", two)) == []
    assert found(lives("east", two), lives("west", one)) == [("east", two), ("west", one)]
    # Of a cluster that nobody names it is not known which it is: what is declared for either may be meant.
    assert found(lives("", one)) == found(lives("", two)) == []
    assert found(lives("", "a/b:3")) == [("", "a/b:3")]


def test_which_clusters_are_asked_what_runs() -> None:
    settings = Settings(Path("state"), target="west")
    several = read_configuration(RULES.encode())
    assert list(ClusterWish().opened(settings, several)) == ["east", "west"]
    assert list(ClusterWish(context="here").opened(settings, several)) == ["west"]
    assert not ClusterWish(off=True).opened(settings, several)
    for text in ("target: {kind: kubernetes, context: x}\n", "audit: {everyMinutes: 5}\n"):
        assert list(ClusterWish().opened(settings, read_configuration((HEAD + text).encode()))) == [""]
    assert not ClusterWish().opened(settings, read_configuration(HEAD.encode()))


def test_the_metrics_of_several_audits_are_one_text_with_each_family_once() -> None:
    one = "# HELP a_b What.\n# TYPE a_b gauge\na_b 1\n# TYPE c gauge\n" + 'c{x="{",y="2"} 3\n'
    assert labelled({"east": one, "west": "# TYPE a_b gauge\na_b 0\n"}) == (
        "# HELP a_b What.\n# TYPE a_b gauge\n"
        'a_b{target="east"} 1\na_b{target="west"} 0\n'
        '# TYPE c gauge\nc{target="east",x="{",y="2"} 3\n'
    )
