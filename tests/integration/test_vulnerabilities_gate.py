"""Vulnerabilities at the gate: a scanner's report and a VEX document are signed, committed, and judged by the tier."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from control_repository import git
from gate_world import KEY, Shell, released, shell

__all__ = ["released", "shell"]

FIRST = "kinds: [signature, scan, bom, provenance, evaluation"
KINDS = f"{FIRST}, data-validation, vulnerabilities, vex]"
"""As `init` writes them."""
WAIVER = """- id: w-1
  rules: [vulnerability-denied]
  advisories: [%s]
  owner: ada
  reason: the code is not reached
  ticket: SEC-1
  expires: "%s"
  scope: {name: second-model}
"""


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat().replace("+00:00", "Z")


def trivy(**change: Any) -> dict[str, Any]:
    """A report of today about a file system, which names no digest."""
    found = {
        "VulnerabilityID": "CVE-2024-0001",
        "PkgName": "numpy",
        "PkgIdentifier": {"PURL": "pkg:pypi/numpy@1.0.0"},
        "InstalledVersion": "1.0.0",
        "FixedVersion": "1.2.3",
        "Severity": "HIGH",
        "VendorIDs": ["DSA-1-1"],
    }
    result = {"Target": "requirements.txt", "Class": "lang-pkgs", "Vulnerabilities": [{**found, **change}]}
    return {"SchemaVersion": 2, "CreatedAt": days_ago(0), "ArtifactType": "filesystem", "Results": [result]}


def vex(**change: Any) -> dict[str, Any]:
    said = {
        "vulnerability": {"name": "CVE-2024-0001"},
        "products": [{"@id": "pkg:pypi/numpy@1.0.0"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
        **change,
    }
    head = {"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://vex.example/1", "author": "Ada", "version": 1}
    return {**head, "timestamp": days_ago(1), "statements": [said]}


def declare(shell: Shell, kinds: str = "vulnerabilities, vex", tier: str = "") -> str:
    """The base revision: who may sign, and what the tier puts up with. Gives the model's digest."""
    text = shell.path("customhouse.yaml").read_text()
    assert KINDS in text
    text = text.replace(KINDS, f"{FIRST}, {kinds}]" if kinds else f"{FIRST}]")
    limits = tier or "vulnerabilities: {deny: high, warn: medium, maxAgeDays: 7}"
    shell.write("customhouse.yaml", text.replace("tiers:\n", f"tiers:\n  definitions: {{experiment: {{{limits}}}}}\n"))
    shell.commit("who may sign, and what is put up with")
    (folder,) = shell.root.glob(".evidence/*")
    return f"sha256:{folder.name}"


def attest(shell: Shell, digest: str, document: dict[str, Any], *options: str) -> Any:
    shell.write("report.json", json.dumps(document))
    done = shell.run(
        "vuln",
        "attest",
        shell.path("report.json"),
        "--subject",
        digest,
        "--key",
        shell.path(KEY),
        "-o",
        "json",
        *options,
    )
    shell.path("report.json").unlink()
    assert done.status == 0, done.err
    return done.json


def judged(shell: Shell) -> dict[str, list[str]]:
    """Rule → messages about vulnerabilities and evidence, at the gate of a branch that uses the model anew."""
    shell.edit("models/first-model.yaml", "name: first-model", "name: second-model")
    git(shell.root, "checkout", "-q", "-b", "topic")
    shell.commit("the change")
    done = shell.run("gate", "--base", "main", "-o", "json")
    assert done.out, done.err
    found: dict[str, list[str]] = {}
    for item in done.json["findings"]:
        if item["rule"].startswith(("vulnerability-", "evidence-")):
            found.setdefault(item["rule"] + (" (waived)" if item["waiver"] else ""), []).append(item["message"])
    return found


def test_a_report_that_names_something_grave_denies_with_the_fix(shell: Shell) -> None:
    digest = declare(shell)
    done = attest(shell, digest, trivy(), "--database-as-of", days_ago(1))
    assert done["file"] == f".evidence/{digest[7:]}/vulnerabilities-trivy.sigstore.json"
    assert done["counts"]["high"] == 1
    found = judged(shell)
    assert list(found) == ["vulnerability-denied"]
    (message,) = found["vulnerability-denied"]
    assert "CVE-2024-0001 (high) in numpy 1.0.0; fixed in 1.2.3 (Trivy)" in message


def test_a_signed_vex_statement_excuses_it_and_the_decision_says_who_and_why(shell: Shell) -> None:
    digest = declare(shell)
    attest(shell, digest, trivy(), "--database-as-of", days_ago(1))
    assert attest(shell, digest, vex())["kind"] == "vex"
    found = judged(shell)
    assert list(found) == ["vulnerability-excused"]
    (message,) = found["vulnerability-excused"]
    assert "says Ada (signed by evidence): not_affected, vulnerable_code_not_in_execute_path" in message


def test_a_vex_statement_of_somebody_who_may_not_sign_any_excuses_nothing(shell: Shell) -> None:
    digest = declare(shell, kinds="vulnerabilities")
    attest(shell, digest, trivy(), "--database-as-of", days_ago(1))
    attest(shell, digest, vex())
    found = judged(shell)
    assert set(found) == {"vulnerability-denied", "vulnerability-excuse-ignored"}


@pytest.mark.parametrize(
    "change",
    [
        {"products": [{"@id": "pkg:pypi/numpy@1.0.1"}]},
        {"products": [{"@id": "pkg:pypi/other"}]},
        {"vulnerability": {"name": "CVE-2024-9999"}},
        {"status": "under_investigation"},
        {"timestamp": "2020-01-01T00:00:00Z"},
    ],
    ids=["another version", "another package", "another vulnerability", "not decided", "too old"],
)
def test_a_vex_statement_about_something_else_or_too_old_excuses_nothing(shell: Shell, change: dict[str, Any]) -> None:
    digest = declare(shell)
    attest(shell, digest, trivy(), "--database-as-of", days_ago(1))
    attest(shell, digest, vex(**change))
    assert "vulnerability-denied" in judged(shell)


def test_a_waiver_may_name_the_advisory(shell: Shell) -> None:
    digest = declare(shell)
    attest(shell, digest, trivy(), "--database-as-of", days_ago(1))
    shell.write("waivers.yaml", WAIVER % ("cve-2024-0001", days_ago(-5)))
    shell.edit("customhouse.yaml", "policy:\n", "policy:\n  waivers: waivers.yaml\n")
    shell.commit("a waiver")
    assert list(judged(shell)) == ["vulnerability-denied (waived)"]


def test_a_waiver_of_another_advisory_waives_nothing(shell: Shell) -> None:
    digest = declare(shell)
    attest(shell, digest, trivy(), "--database-as-of", days_ago(1))
    shell.write("waivers.yaml", WAIVER % ("CVE-2024-0002", days_ago(-5)))
    shell.edit("customhouse.yaml", "policy:\n", "policy:\n  waivers: waivers.yaml\n")
    shell.commit("a waiver")
    assert list(judged(shell)) == ["vulnerability-denied"]


def test_a_tier_may_ask_for_a_report(shell: Shell) -> None:
    declare(shell, tier="requiredEvidence: [signature, scan, bom, vulnerabilities]")
    found = judged(shell)
    (message,) = found["evidence-missing"]
    assert "has no report of vulnerabilities" in message


def test_a_report_that_does_not_say_when_it_was_made_is_stale(shell: Shell) -> None:
    digest = declare(shell)
    attest(shell, digest, {**trivy(Severity="LOW"), "CreatedAt": ""})
    found = judged(shell)
    (message,) = found["vulnerability-report-stale"]
    assert "Trivy, scanned nobody says when" in message


def test_a_database_of_last_month_is_stale_whenever_it_was_scanned(shell: Shell) -> None:
    digest = declare(shell)
    attest(shell, digest, trivy(Severity="LOW"), "--database-as-of", days_ago(30))
    assert list(judged(shell)) == ["vulnerability-report-stale"]


def test_of_one_scanner_the_newest_report_counts(shell: Shell) -> None:
    digest = declare(shell)
    old = {**trivy(), "CreatedAt": days_ago(3)}
    first = attest(shell, digest, old, "--database-as-of", days_ago(3))
    shell.path(first["file"]).rename(shell.path(first["file"].replace("trivy", "trivy-before")))
    attest(shell, digest, trivy(Severity="LOW"), "--database-as-of", days_ago(1))
    assert judged(shell) == {}


def test_a_report_about_another_image_is_not_signed_for_this_one(shell: Shell) -> None:
    digest = declare(shell)
    other = f"sha256:{'e' * 64}"
    report = {**trivy(), "Metadata": {"RepoDigests": [f"registry.example/a@{other}"]}}
    shell.write("report.json", json.dumps(report))
    asked = ["vuln", "attest", shell.path("report.json"), "--subject", digest, "--key", shell.path(KEY)]
    done = shell.run(*asked)
    assert done.status == 3
    assert f"it is about {other}, and not about {digest}" in done.err
    assert shell.run(*asked, "--other-digest").status == 0


def test_what_is_no_report_is_refused_by_name(shell: Shell) -> None:
    digest = declare(shell)
    for content, said in (("{}", "no report of a scanner"), ("[1", "not JSON"), ('{"a":1,"a":2}', "is there twice")):
        shell.write("report.json", content)
        done = shell.run("vuln", "attest", shell.path("report.json"), "--subject", digest, "--key", shell.path(KEY))
        assert (done.status, said in done.err, "report.json" in done.err) == (3, True, True), done.err


def test_limits_that_warn_later_than_they_deny_are_refused_with_their_place(shell: Shell) -> None:
    declare(shell, tier="vulnerabilities: {deny: medium, warn: high}")
    done = shell.run("gate", "--base", "main")
    assert done.status != 0
    assert "customhouse.yaml:" in done.err
    assert "denies from medium on already" in done.err


def test_critical_inference_asks_for_a_fresh_report_and_names_the_command(shell: Shell) -> None:
    """The built-in tier; what `init` writes lets its evidence key sign such a report."""
    (folder,) = shell.root.glob(".evidence/*")
    digest = f"sha256:{folder.name}"
    namespaces, granted = "[standard, batch, experiment]", "[standard, batch, experiment, critical-inference]"
    shell.edit("customhouse.yaml", namespaces, granted)
    shell.commit("the tier is granted")
    shell.edit("models/first-model.yaml", "tier: experiment", "tier: critical-inference")
    before = judged(shell)
    (message,) = (text for text in before["evidence-missing"] if "vulnerabilities" in text)
    assert message.endswith("has no report of vulnerabilities; tier critical-inference requires it.")
    clean = trivy()
    package = {"Name": "numpy", "Version": "1.2.3", "Identifier": {"PURL": "pkg:pypi/numpy@1.2.3"}}
    clean["Results"] = [{"Target": "requirements.txt", "Class": "lang-pkgs", "Packages": [package]}]
    attest(shell, digest, clean, "--database-as-of", days_ago(1))
    shell.commit("a report of today")
    after = shell.run("gate", "--base", "main", "-o", "json").json["findings"]
    about = [item for item in after if "vulnerability" in item["message"] or "vulnerabilities" in item["message"]]
    assert [item for item in about if item["severity"] == "error"] == []
    # The same report a week later counts for nothing.
    old = {**clean, "CreatedAt": days_ago(8)}
    attest(shell, digest, old, "--database-as-of", days_ago(9))
    shell.commit("an old report instead")
    stale = shell.run("gate", "--base", "main", "-o", "json").json["findings"]
    assert "error" in [item["severity"] for item in stale if item["rule"] == "vulnerability-report-stale"]
