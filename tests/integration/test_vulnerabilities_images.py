"""Reports of vulnerabilities attached to images in a real registry: at the gate, at the webhook, for every platform."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from test_gate_images import REPOSITORY, Place, place, registry, review

from customhouse._kit.clock import SystemClock
from customhouse.app.admission import Admission
from customhouse.app.admission_context import load_context
from customhouse.policy.adapters.regorus import RegorusEngine
from oci_registry import Registry

__all__ = ["place", "registry"]
pytestmark = pytest.mark.part("docker-registry")


def grype(digest: str, severity: str = "Critical", name: str = "CVE-2024-0001") -> dict[str, Any]:
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    match = {
        "vulnerability": {"id": name, "severity": severity, "fix": {"versions": ["3.0.15"], "state": "fixed"}},
        "relatedVulnerabilities": [],
        "artifact": {"name": "openssl", "version": "3.0.7", "purl": "pkg:deb/debian/openssl@3.0.7?distro=debian-12"},
    }
    return {
        "matches": [match] if severity else [],
        "source": {"type": "image", "target": {"manifestDigest": digest}},
        "descriptor": {"name": "grype", "version": "0.111.0", "timestamp": now, "db": {"status": {"built": now}}},
    }


def trust(place: Place, *kinds: str) -> None:
    config = place.folder / "customhouse.yaml"
    listed = ", ".join(("signature", "bom", "scan", *kinds))
    config.write_text(config.read_text().replace("kinds: [signature, bom, scan]", f"kinds: [{listed}]"))


def attest(place: Place, reference: str, document: dict[str, Any], key: str = "trusted.pem") -> Any:
    (place.folder / "report.json").write_text(json.dumps(document))
    asked = ("vuln", "attest", str(place.folder / "report.json"), "--image", reference)
    return place.run(*asked, "--key", str(place.folder / key))


def found(place: Place, digest: str) -> dict[str, str]:
    """Rule → message of what the gate finds about vulnerabilities and scans."""
    _, said = place.gate(digest)
    return {f["rule"]: f["message"] for f in said["findings"] if f["rule"].startswith(("vulnerability-", "image-scan"))}


def test_a_report_is_attached_and_judged_at_the_gate_and_at_the_webhook_alike(registry: Registry, place: Place) -> None:
    trust(place, "vulnerabilities", "vex")
    digest = registry.image(REPOSITORY, "v1", b"v1")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    place.attach(digest)
    status, done = attest(place, reference, grype(digest))
    assert (status, done["kind"], done["counts"]["critical"]) == (0, "vulnerabilities", 1), done
    told = found(place, digest)
    assert list(told) == ["vulnerability-denied"]
    assert "CVE-2024-0001 (critical) in openssl 3.0.7; fixed in 3.0.15 (Grype)" in told["vulnerability-denied"]
    answer = Admission(
        load_context(place.settings, None), RegorusEngine(compile_packaged=True), SystemClock()
    ).validate(review(place, digest))
    assert answer.decision is not None
    rules = {f.rule: f.message for f in answer.decision.findings if f.rule.startswith("vulnerability-")}
    assert rules == told
    # Somebody who may says that it is not affected, as a whole image: the package URL of the image, or its digest.
    vex = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://vex.example/1",
        "author": "Ada",
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "version": 1,
        "statements": [
            {
                "vulnerability": {"name": "CVE-2024-0001"},
                "products": [{"@id": f"pkg:oci/app@{digest.replace(':', '%3A')}"}],
                "status": "not_affected",
                "justification": "component_not_present",
            }
        ],
    }
    assert attest(place, reference, vex)[0] == 0
    assert list(found(place, digest)) == ["vulnerability-excused"]


def test_a_report_that_nobody_trusted_signed_warns_and_takes_nothing_away(registry: Registry, place: Place) -> None:
    trust(place, "vulnerabilities")
    digest = registry.image(REPOSITORY, "v2", b"v2")
    reference = f"{registry.host}/{REPOSITORY}@{digest}"
    place.attach(digest)
    assert attest(place, reference, grype(digest, "Critical", "CVE-2024-0001"))[0] == 0
    assert attest(place, reference, grype(digest, "", ""), "other.pem")[0] == 0
    assert list(found(place, digest)) == ["vulnerability-denied"]
    assert attest(place, reference, grype(digest, "High", "CVE-2024-0002"), "other.pem")[0] == 0
    told = found(place, digest)
    assert set(told) == {"vulnerability-denied", "vulnerability-heard"}
    assert "CVE-2024-0002" in told["vulnerability-heard"]


def test_every_platform_needs_a_report_and_none_speaks_for_another(registry: Registry, place: Place) -> None:
    trust(place, "vulnerabilities", "vex")
    amd, arm = (registry.image(REPOSITORY, name, name.encode()) for name in ("amd-v", "arm-v"))
    both = registry.index(REPOSITORY, "both-v", {"linux/amd64": amd, "linux/arm64": arm})
    for one in (amd, arm):
        place.attach(one)
    assert attest(place, f"{registry.host}/{REPOSITORY}@{amd}", grype(amd, ""))[0] == 0
    told = found(place, both)
    assert "there is none for linux/arm64" in told["vulnerability-report-partial"]
    assert attest(place, f"{registry.host}/{REPOSITORY}@{arm}", grype(arm))[0] == 0
    assert list(found(place, both)) == ["vulnerability-denied"]
    # A report of another image is not attached to this one; that of a platform in an index goes to that platform.
    status, said = attest(place, f"{registry.host}/{REPOSITORY}@{amd}", grype(arm))
    assert status == 3
    assert "it is about" in said
    status, done = attest(place, f"{registry.host}/{REPOSITORY}:both-v", grype(arm))
    assert (status, done["subject"]) == (0, arm)
