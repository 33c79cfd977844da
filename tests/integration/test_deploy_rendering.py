"""What `deploy/` renders to: Kustomize and Helm alike, allowed by the gate, and what was forgotten is named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from deploy_rendering import example, helmed, kustomized, objects

from customhouse.app.admission_manifest import NAMESPACE, SERVICE
from customhouse.cli.up import up
from customhouse.cli.webhook import webhook

pytestmark = pytest.mark.part("kustomize", "helm")

GIVEN = {
    "image__repository": "apexlogic.com/platform/customhouse",
    "image__digest": "sha256:" + "0" * 64,
    "source__repository": "https://git.apexlogic.com/models.git",
    "namespace__create": "true",
}
RULES = """\
apiVersion: customhouse.dev/v1
policy: {trustedRegistries: [apexlogic.com], requireSignedCommits: false}
prices: {maxAgeDays: 3650}
"""
COMPONENTS = ("monitoring", "registration", "opa", "git-credentials")
OPA = "sha256:" + "1" * 64
Found = Callable[[str], Path]


def by_name(items: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    assert len(found) == len(items)
    return found


def test_kustomize_and_helm_install_the_same_objects(find_part: Found, repository_root: Path) -> None:
    charted = helmed(find_part("helm"), repository_root, **GIVEN)
    assert charted.returncode == 0, charted.stderr
    assert by_name(objects(charted.stdout)) == by_name(example(find_part("kustomize"), repository_root))


def _sorted(item: dict[str, Any]) -> None:
    """Volumes, mounts and variables in one order: the components add theirs one after the other."""
    spec = item.get("spec", {}).get("template", {}).get("spec", {})
    for part in ("volumes",):
        spec.get(part, []).sort(key=lambda one: str(one["name"]))
    for container in spec.get("containers", []):
        for part in ("volumeMounts", "env"):
            container.get(part, []).sort(key=lambda one: str(one["name"]))


def test_the_components_of_kustomize_are_values_of_the_chart(
    find_part: Found, repository_root: Path, tmp_path: Path
) -> None:
    place = Path(os.path.relpath(repository_root / "deploy/kustomize", tmp_path))
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(place / "example")],
        "components": [str(place / "components" / name) for name in COMPONENTS],
        "images": [{"name": "opa-not-set.invalid/opa", "newName": "apexlogic.com/platform/opa", "digest": OPA}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    # The overlay's own container comes from a component, after the example named the image.
    overlay["images"] += yaml.safe_load((repository_root / "deploy/kustomize/example/kustomization.yaml").read_text())[
        "images"
    ]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    values = {**GIVEN, "monitoring__enabled": "true", "source__netrcSecret": "customhouse-git"}
    values |= {"webhook__register": "true", "opa__enabled": "true", "opa__image__digest": OPA}
    values |= {"opa__image__repository": "apexlogic.com/platform/opa"}
    charted = helmed(find_part("helm"), repository_root, **values)
    assert charted.returncode == 0, charted.stderr
    made = by_name(kustomized(find_part("kustomize"), tmp_path))
    # The chart mounts the credentials into the registrar too, which a component cannot know of.
    first, registrar = made["Deployment", "customhouse-webhook"]["spec"]["template"]["spec"]["containers"]
    git = next(item for item in first["volumeMounts"] if item["name"] == "git")
    registrar["volumeMounts"].append(git)
    verb, *options = registrar["args"]
    assert verb == webhook.name
    webhook.make_parser(click.Context(webhook, info_name=verb)).parse_args(options)
    for item in made.values():
        _sorted(item)
    found = by_name(objects(charted.stdout))
    for item in found.values():
        _sorted(item)
    assert found == made
    assert ("ServiceMonitor", "customhouse-controller") in by_name(objects(charted.stdout))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image__digest": ""}, "set image.digest to the digest of your image"),
        ({"image__digest": "latest"}, "does not match pattern"),
        ({"image__repository": ""}, "set image.repository"),
        ({"source__repository": ""}, "set source.repository"),
        ({"image__tag": "1"}, "additional properties 'tag' not allowed"),
        ({"opa__enabled": "true"}, "set opa.image.digest"),
        ({"opa__enabled": "true", "opa__image__digest": OPA, "engine": "embedded"}, "exclude one another"),
        ({"release": "default"}, "install with --namespace customhouse-system"),
    ],
)
def test_a_chart_that_was_not_told_what_it_needs_says_what_is_missing(
    find_part: Found, repository_root: Path, change: dict[str, str], said: str
) -> None:
    done = helmed(find_part("helm"), repository_root, **{**GIVEN, **change})
    assert done.returncode != 0
    assert said in done.stderr


def test_what_is_left_out_is_not_rendered(find_part: Found, repository_root: Path) -> None:
    off = {"webhook__enabled": "false", "networkPolicies__enabled": "false", "manage__workloads": "false"}
    done = helmed(find_part("helm"), repository_root, **{**GIVEN, **off})
    made = by_name(objects(done.stdout))
    assert not [name for kind, name in made if kind in ("NetworkPolicy", "PodDisruptionBudget")]
    assert ("Deployment", "customhouse-webhook") not in made
    assert ("ClusterRole", "customhouse-manage-workloads") not in made
    assert ("ClusterRole", "customhouse-manage") in made


def test_the_gate_allows_the_installation_and_denies_one_without_an_image(
    find_part: Found, repository_root: Path, tmp_path: Path
) -> None:
    kustomize = find_part("kustomize")
    (tmp_path / "rules.yaml").write_text(RULES)
    judged = {}
    for name in ("example", "base"):
        items = kustomized(kustomize, repository_root / "deploy" / "kustomize" / name)
        if name == "base":  # what denies it is in this one
            items = [item for item in items if item["kind"] == "Deployment"]
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(items))
        command: list[str | Path] = [
            Path(sys.executable).with_name("customhouse"),
            "gate",
            f"{name}.yaml",
            "--config",
            "rules.yaml",
        ]
        judged[name] = subprocess.run(
            [*command, "--engine", "embedded"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert judged["example"].returncode == 0, judged["example"].stdout
    assert judged["base"].returncode == 1
    assert "image-not-set.invalid/customhouse" in judged["base"].stdout


def test_what_the_pods_run_is_what_the_command_line_understands(find_part: Found, repository_root: Path) -> None:
    made = by_name(example(find_part("kustomize"), repository_root))
    for name, command in (("customhouse-controller", up), ("customhouse-webhook", webhook)):
        (container,) = made["Deployment", name]["spec"]["template"]["spec"]["containers"]
        verb, *options = container["args"]
        context = click.Context(command, info_name=verb)
        command.make_parser(context).parse_args(options)  # raises for what is no option
        assert verb == command.name
    assert made["Service", SERVICE]["metadata"]["namespace"] == NAMESPACE
    assert made["Service", SERVICE]["spec"]["ports"][0]["port"] == 443


def test_no_role_has_a_wildcard_a_secret_or_a_way_to_more_rights(find_part: Found, repository_root: Path) -> None:
    items = example(find_part("kustomize"), repository_root)
    audit = [item for item in objects((repository_root / "deploy/audit/rbac.yaml").read_text()) if item]
    written = {"wgpolicyk8s.io"}  # the audit's own reports
    for rule in next(item for item in audit if item["kind"] == "ClusterRole")["rules"]:
        assert not {*rule["verbs"], *rule["resources"], *rule["apiGroups"]} & {"*", "secrets"}
        assert set(rule["verbs"]) == {"list", "watch"} or set(rule["apiGroups"]) == written
    rules = [
        (item["metadata"]["name"], rule) for item in items if "Role" in item["kind"] for rule in item.get("rules", [])
    ]
    assert len(rules) > 20
    for name, rule in rules:
        words = {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}
        assert not words & {"*", "secrets", "escalate", "bind", "impersonate"}, name
        assert not any("/" in resource for resource in rule["resources"]), name
        writes = set(rule["verbs"]) - {"get", "list", "watch"}
        assert not (writes and set(rule["apiGroups"]) & {"rbac.authorization.k8s.io", "admissionregistration.k8s.io"})
    bound = {item["subjects"][0]["name"] for item in items if item["kind"].endswith("RoleBinding")}
    assert bound == {"customhouse-controller"}, "the webhook has no rights at all"
    for item in items:
        if item["kind"] == "Deployment":
            assert item["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
