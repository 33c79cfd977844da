"""A pull request cannot help itself: what it changes about judging counts from the merge on, not for itself.

Each case changes the rules and makes use of the change in one branch. It must be denied by what the base says, with the
change of the rules in plain sight; the same use under rules that were merged before is another matter.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from control_repository import git
from gate_world import DECLARATION, MODEL, Said, Shell, released, shell
from test_gate_judges import DEPLOYMENT, GPU, PIN

from customhouse._kit.clock import FixedClock
from customhouse._kit.digest import json_digest
from customhouse._kit.money import Money
from customhouse.app import wiring
from customhouse.app.snapshot import FILE, REF, predicate
from customhouse.core.cost import Charge
from customhouse.core.evidence import EvidenceKind
from customhouse.core.resource import ResourceRef
from customhouse.trust.attestation import attest
from customhouse.trust.keys import load_private

__all__ = ["released", "shell"]

CONFIG = "customhouse.yaml"
OWN_RULE = """\
package customhouse.rules.house

findings contains {
	"rule": "house-rule", "category": "compliance", "severity": "error", "message": "No copies.",
	"fix": "Remove it.", "pointer": "/metadata/name",
} if startswith(input.change.resource.name, "copy")
"""
WAIVER = """\
- id: W-SELF
  rules: [image-untrusted-registry]
  scope: {namespace: default, name: web}
  reason: we need it
  owner: mallory@example.com
  ticket: OPS-1
  expires: "2099-01-01T00:00:00Z"
"""


def config(*pairs: tuple[str, str]) -> Callable[[Shell], None]:
    def change(shell: Shell) -> None:
        for old, new in pairs:
            shell.edit(CONFIG, old, new)

    return change


def deploy(image: str = f"evil.example/web{PIN}") -> Callable[[Shell], None]:
    return lambda shell: shell.write("models/web.yaml", DEPLOYMENT.replace("IMAGE", image))


def costly(shell: Shell) -> None:
    shell.edit(DECLARATION, "memory: 256Mi\n        limits", GPU.format(count=8))
    shell.edit(DECLARATION, "  predictor:\n", "  predictor:\n    nodeSelector:\n      nvidia.com/gpu.product: T4\n")


def unlabelled(shell: Shell) -> None:
    shell.edit(DECLARATION, "    customhouse.dev/owner: you\n", "")


def critical(shell: Shell) -> None:
    shell.edit(DECLARATION, "tier: experiment", "tier: critical-inference")


def crowd(shell: Shell) -> None:
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 40")


def copy(shell: Shell) -> None:
    text = shell.path(DECLARATION).read_text()
    shell.write("models/copy.yaml", text.replace("name: first-model", "name: copy", 1))


def stranger_signs(shell: Shell) -> None:
    """The evidence is made anew by a key that the branch itself brings."""
    assert shell.run("init", "stranger", "-q").status == 0
    attested = ("model", "attest", MODEL, "--name", "first-model", "--version", "v1")
    assert shell.run(*attested, "--key", "stranger/.customhouse/keys/evidence.key").status == 0
    shutil.copy(shell.path("stranger/trust/evidence.pub"), shell.path("trust/evidence.pub"))
    shutil.rmtree(shell.path("stranger"))
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")


def waive(shell: Shell) -> None:
    shell.edit(CONFIG, "policy:\n", "policy:\n  waivers: waivers.yaml\n")
    shell.write("waivers.yaml", WAIVER)


def nothing(shell: Shell) -> None:
    pass


def house_rules(shell: Shell) -> None:
    shell.edit(CONFIG, "policy:\n", "policy:\n  bundle: rules\n")
    shell.write("rules/house.rego", OWN_RULE)


def signed_only(shell: Shell) -> None:
    shell.edit(CONFIG, "requireSignedCommits: false", "requireSignedCommits: true")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGpjEPlRxTQJ2Vj1tQG5r0HjU1mY0S1hT3m2v2mQb0nX"
    shell.write("trust/allowed_signers", f'ada@example.com namespaces="git" {key}\n')


# What the base says besides the example, what the branch changes about judging, its use, the rule that must speak.
CASES = {
    "raises its own budget": (nothing, config(('monthly: "500"', 'monthly: "900000"')), costly, "budget-exceeded"),
    "moves its budget elsewhere": (
        nothing, config(("namespaces: [default]", "namespaces: [other]")), costly, "budget-exceeded",
    ),
    "takes the budget away": (
        nothing,
        lambda shell: shell.write(CONFIG, shell.path(CONFIG).read_text().split("budgets:")[0]),
        costly,
        "budget-exceeded",
    ),
    "waives itself": (nothing, waive, deploy(), "image-untrusted-registry"),
    "trusts its own key": (nothing, nothing, stranger_signs, "evidence-unverified"),
    "trusts its own registry": (
        nothing, config(("[registry.example.com/]", "[registry.example.com/, evil.example/]")), deploy(),
        "image-untrusted-registry",
    ),
    "needs no labels any more": (
        nothing, config(("policy:\n", "policy:\n  requiredLabels: []\n")), unlabelled, "labels-missing",
    ),
    "grants itself a tier": (
        nothing, config(("[standard, batch,", "[standard, critical-inference, batch,")), critical, "tier-not-granted",
    ),
    "relaxes its tier": (
        nothing, config(("tiers:\n", "tiers:\n  definitions: {experiment: {maxReplicas: 99}}\n")), crowd,
        "replicas-over-bound",
    ),
    "changes the bundle": (
        house_rules, lambda shell: shell.write("rules/house.rego", OWN_RULE.replace('"copy"', '"nobody"')), copy,
        "house-rule",
    ),
    "takes the bundle away": (
        house_rules, config(("  bundle: rules\n", "")), copy, "house-rule",
    ),
    "lets itself be unsigned": (
        signed_only, config(("requireSignedCommits: true", "requireSignedCommits: false")), crowd, "commit-signature",
    ),
    "leaves the folders that are judged": (
        config(("branch: main\n", "branch: main\npaths: [models]\n")),
        config(("paths: [models]", "paths: [elsewhere]")), deploy(), "image-untrusted-registry",
    ),
}  # fmt: skip


def asked(shell: Shell, *arguments: str) -> Said:
    return shell.run("gate", "--base", "main", "--head", "wish", "-o", "json", *arguments)


@pytest.mark.parametrize("name", CASES)
def test_a_pull_request_cannot_help_itself(shell: Shell, name: str) -> None:
    base, help_itself, use, rule = CASES[name]
    base(shell)
    shell.commit("the rules")
    git(shell.root, "branch", "-M", "main")
    git(shell.root, "checkout", "-q", "-b", "wish")
    help_itself(shell)
    use(shell)
    shell.commit("help myself")
    said = asked(shell)
    assert said.status == 1, said.err
    spoken = {finding["rule"] for finding in said.json["findings"] if finding["severity"] == "error"}
    assert rule in spoken
    assert all(finding["waiver"] is None for finding in said.json["findings"])
    if help_itself is not nothing or "key" in name:
        assert "governance-changed" in {finding["rule"] for finding in said.json["findings"]}, "it is said aloud"


# --- what was spent ------------------------------------------------------------------------------------------------


def publish(shell: Shell, as_of: datetime) -> None:
    """The snapshot as `up` publishes it, signed by the control plane's own key."""
    ref = ResourceRef("apps/v1", "Deployment", "default", "web")
    start = as_of - timedelta(hours=2)
    charge = Charge(ref, "r", "", start, start + timedelta(hours=1), "compute", Money.parse("3.5"), {})
    said = predicate([charge], as_of)
    key = load_private(shell.path(".customhouse/keys/ledger.key"))
    data = attest("spend-snapshot", json_digest(said), EvidenceKind.FORECAST, said, key, issued_at=as_of)
    place = shell.root.parent / "snapshot"
    place.write_bytes(data)
    blob = git(shell.root, "hash-object", "-w", str(place))
    index = shell.root.parent / "index"
    git(shell.root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{FILE}")
    tree = git(shell.root, "write-tree")
    git(shell.root, "reset", "-q")
    assert not index.exists()
    git(shell.root, "update-ref", REF, git(shell.root, "commit-tree", tree, "-m", "spent"))


@pytest.mark.parametrize(
    ("age", "status", "words"),
    [
        (timedelta(hours=23), 0, ""),
        (timedelta(hours=25), 1, "known as of 25 hours ago"),
        (timedelta(days=40), 3, "not a moment of this month"),
        (timedelta(hours=-1), 3, "not a moment of this month"),
    ],
    ids=["of today", "of yesterday", "of last month", "of tomorrow"],
)
def test_an_old_record_of_what_was_spent_is_a_finding(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, age: timedelta, status: int, words: str
) -> None:
    now = datetime.now(UTC)
    if now.day < 3:  # what was two days ago must be of the same month
        now += timedelta(days=5)
    publish(shell, now - age)
    for left in shell.path(".customhouse").glob("state.db*"):  # as in CI: no state of one's own
        left.unlink()
    monkeypatch.setattr(wiring, "clock", lambda: FixedClock(now))
    shell.edit(DECLARATION, "minReplicas: 1", "minReplicas: 2")
    shell.edit(DECLARATION, "maxReplicas: 1", "maxReplicas: 2")
    said = shell.run("gate", "--worktree", "-o", "json")
    assert said.status == status, said.err
    if status == 3:
        assert words in said.err
        return
    stale = [finding for finding in said.json["findings"] if finding["rule"] == "spend-stale"]
    assert [words in finding["message"] for finding in stale] == [True] * (status == 1)
    (budget,) = said.json["cost"]["budgets"]
    assert budget["month_to_date"] == "3.50"
