"""One text for a Decision: what the webhook answers and what `explain` says are the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from customhouse._kit.money import Money
from customhouse.app.admission_text import denial_text
from customhouse.app.explaining import explanation, stored_text
from customhouse.app.settings import Settings
from customhouse.core.decision import Category, Decision, Finding, Point, Severity, verdict_of
from customhouse.core.facts import Facts
from customhouse.core.resource import Location, ResourceRef
from customhouse.policy.explain import MAX_TEXT, verdict_text
from customhouse.store import open_store
from policy_cases import NOW

WEB = ResourceRef("apps/v1", "Deployment", "shop", "web")
FACTS = Facts(
    {
        "artifacts": [
            {"role": "model", "reference": "pvc://m/v1", "digest": None, "evidence": []},
            {
                "role": "image",
                "reference": "nginx",
                "digest": "sha256:" + "2" * 64,
                "evidence": [
                    {"kind": "scan", "verified": False, "signer": None, "problem": "signed by a stranger"},
                    {"kind": "bom", "verified": True, "signer": "scanner", "problem": ""},
                ],
            },
        ],
        "pods": [{"containers": [{"pointer": "/spec/containers/0", "image": "nginx"}]}],
    }
)


def finding(severity=Severity.ERROR, **more):
    said = {"rule": "container-root", "message": "It runs as root.", "fix": "Set it.", **more}
    return Finding(category=Category.SECURITY, severity=severity, resource=WEB, **said)


def decision(*findings, revision="a" * 40):
    places = tuple(Location("web.yaml", 3 + number) for number in range(len(findings)))
    return Decision(
        WEB, verdict_of(findings), findings, FACTS.digest, "sha256:" + "1" * 64, Point.ADMISSION, NOW, places, revision,
        {"rules": 1.25},
    )  # fmt: skip


MADE = decision(
    finding(pointer="/spec/containers/0/securityContext", cost_delta=Money.parse("0.000000000001")),
    finding(Severity.WARNING, rule="own", message="Odd \x1b[31m\n text."),
    finding(waiver="W-1", rule="secret-in-git"),
)


def text_of(made: Decision) -> str:
    return verdict_text(str(made.resource), made.body(), made.digest)


@pytest.fixture
def kept(tmp_path: Path) -> Settings:
    with open_store(tmp_path / "state.db") as store:
        store.decisions.record(MADE, FACTS.document)
    return Settings(tmp_path)


def test_the_webhook_and_explain_say_the_same_bytes(kept: Settings) -> None:
    found = explanation(kept, MADE.digest)
    assert found["text"] == denial_text(MADE) == text_of(MADE)
    assert found["shown"].startswith(denial_text(MADE) + "\n")
    wire = json.loads(json.dumps({"envelope": MADE.envelope(), "body": MADE.body(), "digest": MADE.digest}))
    assert stored_text(wire) == denial_text(MADE), "kept as text and read again"


def test_a_denial_says_why_and_what_to_do_and_nothing_of_what_is_pardoned() -> None:
    assert text_of(MADE) == (
        "Customhouse denies Deployment shop/web:\n"
        "  error container-root: It runs as root.\n"
        "    fix: Set it.\n"
        f"decision {MADE.digest} (customhouse explain {MADE.digest[7:19]})"
    )


def test_what_is_allowed_with_warnings_says_them() -> None:
    warned = text_of(decision(finding(Severity.WARNING)))
    assert warned.startswith("Customhouse allows, with warnings, Deployment shop/web:\n  warning container-root: ")
    assert text_of(decision()).startswith("Customhouse allows Deployment shop/web.\ndecision sha256:")


def test_a_long_denial_is_cut_and_still_names_its_decision() -> None:
    many = decision(*(finding(message="m" * 5000, fix="f" * 5000, rule=f"rule-{n}") for n in range(60)))
    text = text_of(many)
    assert len(text) < MAX_TEXT + 200
    assert text.endswith(f"(customhouse explain {many.digest[7:19]})")


def test_a_manifest_cannot_drive_the_reader() -> None:
    text = text_of(decision(finding(message="a\x1b[2J\nerror other: b\u202e", rule="r\n")))
    assert len(text.splitlines()) == 4
    assert all(line.isprintable() for line in text.splitlines())


def test_explain_shows_the_rule_the_input_the_evidence_and_the_fix(kept: Settings) -> None:
    shown = explanation(kept, MADE.digest[7:20])["shown"]
    assert "rule: Containers do not run as root." in shown
    assert "where: web.yaml:3:1, at /spec/containers/0/securityContext" in shown
    assert 'input: {"image": "nginx", "pointer": "/spec/containers/0"}' in shown
    assert "fix: Set it." in shown
    assert "waived by W-1" in shown
    assert "model pvc://m/v1 not pinned\n    none" in shown
    assert "scan: not verified: signed by a stranger" in shown
    assert "bom: verified, signed by scanner" in shown
    assert "about commit aaaa" in shown
    assert "checks took rules 1.25 ms" in shown
