"""Generated questions for byte identity: an object as people write it and as a server gives it back, keys shuffled."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

from customhouse._kit.digest import bytes_digest
from customhouse._kit.money import Money
from customhouse.app.vulnerability_rules import VulnerabilityJudge
from customhouse.core.change import Change, SignatureState
from customhouse.core.cost import WorkloadCost
from customhouse.core.evidence import ArtifactRef, EvidenceKind
from customhouse.core.facts import Facts
from customhouse.core.resource import ResourceRef
from customhouse.policy.facts import ArtifactEvidence, PolicySettings, build_facts
from customhouse.policy.tiers import TierJudgement, TierSpec, VulnerabilityLimits
from customhouse.trust.reported import SEVERITIES, Reported, ScannerReport
from customhouse.trust.vulnerability_evidence import as_predicate
from kind_samples import BUILT_IN, SAMPLES
from policy_cases import DIGEST, NOW, context, created, evidence, revision, served

# `served` gives every object of the core group a spec, which a PodTemplate does not have.
MANIFESTS = [sample.manifest() for sample in (*SAMPLES, *BUILT_IN) if sample.kind != "PodTemplate"]
_QUANTITIES = ("100m", "0.1", "1", "1000m", "2", "500Mi", "0.5Gi", "524288Ki", "1Gi", "1024Mi")
_IMAGES = ("nginx", "nginx:1.25", "apexlogic.com/a:1", "apexlogic.com.evil/a:1", "evil.io/x@sha256:" + "2" * 64, "BAD:")


def case(seed: int) -> tuple[Change, Facts, Facts]:
    """A change, and its Facts from the file and from the live object."""
    source = random.Random(seed)
    manifest = copy.deepcopy(source.choice(MANIFESTS))
    for _ in range(source.randrange(6)):
        _damage(source, manifest)
    live = _shuffled(source, served(manifest))
    change = created(
        manifest,
        revision(
            source.choice([one for one in SignatureState if one is not SignatureState.UNKNOWN]),
            descends=source.random() < 0.8,
        ),
    )
    known = _known(source, manifest)
    ref = ResourceRef.of(manifest)
    other = replace(change, after=replace(change.after, manifest=live, ref=ref)) if change.after else change
    facts = [build_facts(one, context(manifest, **known)) for one in (change, other)]
    return change, facts[0], facts[1]


def _known(source: random.Random, manifest: dict[str, Any]) -> dict[str, Any]:
    amounts = sorted(source.randrange(9 * 10**12) for _ in range(3))
    low, monthly, high = (Money(amount * 10**3 + 1) for amount in amounts)
    ref = ResourceRef.of(manifest)
    spec = TierSpec(
        gpu_classes=source.choice((None, (), ("L4", "H100"))),
        spot=source.choice(("required", "allowed", "forbidden")),
        max_replicas=source.choice((None, 1, 5)),
        max_accelerators=source.choice((None, 0, 2)),
        replica_ceiling=source.choice((None, Money.parse("100"))),
    )
    items = [evidence(kind, verified=source.random() < 0.7) for kind in EvidenceKind if source.random() < 0.5]
    known: dict[str, Any] = {
        "items": items,
        "tier": TierJudgement("standard", source.choice((None, "x")), source.random() < 0.8, spec),
        "cost_after": WorkloadCost(ref, monthly, low, high, unpriced=source.choice(((), ("accelerator GB300",)))),
    }
    if source.random() < 0.3:
        _know_vulnerabilities(source, known)
    return known


def _know_vulnerabilities(source: random.Random, known: dict[str, Any]) -> None:
    """Reports of several scanners, statements about them, and limits of all kinds."""
    words = ("critical", "high", "medium", "low", "negligible", None)
    limits = VulnerabilityLimits(
        deny=source.choice(words),
        warn=source.choice(words),
        unknown=source.choice(("deny", "warn", "allow")),
        fixable_only=source.random() < 0.5,
        unfixed_grace_days=source.choice((None, 0, 30)),
        max_age_days=source.choice((None, 1, 7)),
        vex_max_age_days=source.choice((None, 1, 365)),
    )
    reports = [
        ScannerReport(
            form=form,
            scanner=form,
            database_at=source.choice((None, NOW, NOW - timedelta(days=9))),
            scanned_at=source.choice((None, NOW, NOW - timedelta(days=3))),
            findings=tuple(_reported(source) for _ in range(source.randrange(30))),
            gaps=source.choice(((), ("npm: no advisories",))),
            suppressed=source.randrange(3),
            end_of_life=source.choice(("", "alpine 3.10")),
        )
        for form in source.sample(("trivy", "grype", "clair"), source.randrange(1, 4))
    ]
    said = [(EvidenceKind.VULNERABILITIES, as_predicate(report)) for report in reports]
    said.append((EvidenceKind.VEX, _vex(source)))
    found = []
    for kind, predicate in said:
        digest = bytes_digest(json.dumps(predicate).encode())
        found.append(evidence(kind, predicate, verified=source.random() < 0.8, digest=digest, problem="a stranger's"))
    image = ArtifactRef("image", f"registry.example/app@{DIGEST}", DIGEST, True, "/spec/image")
    known["artifacts"] = (ArtifactEvidence(image, (*known["items"], *found)),)
    known["tier"] = replace(known["tier"], spec=replace(known["tier"].spec, vulnerabilities=limits))
    known["settings"] = PolicySettings(trusted_registries=("apexlogic.com/",), vulnerabilities=VulnerabilityJudge())


def _reported(source: random.Random) -> Reported:
    number = source.randrange(12)
    return Reported(
        id=source.choice((f"CVE-2024-{number}", f"GHSA-{number}")),
        aliases=source.choice(((), (f"CVE-2024-{number}",))),
        package=source.choice(("openssl", "numpy", "ünïcode")),
        version="1.0",
        purl=source.choice(("", "pkg:pypi/numpy@1.0")),
        fixed=source.choice(((), ("1.1",))),
        severity=source.choice(SEVERITIES),
        score=source.choice(("", "9.8", "5.3")),
        published=source.choice((None, NOW - timedelta(days=source.randrange(90)))),
    )


def _vex(source: random.Random) -> dict[str, Any]:
    statements = [
        {
            "vulnerability": {"name": f"CVE-2024-{number}"},
            "products": [{"@id": source.choice(("pkg:pypi/numpy", DIGEST, "pkg:pypi/other"))}],
            "status": source.choice(("not_affected", "fixed", "affected", "whatever")),
            "justification": source.choice(("", "vulnerable_code_not_present")),
            "timestamp": source.choice(("2020-01-01T00:00:00Z", "2026-01-30T00:00:00Z")),
        }
        for number in range(source.randrange(12))
    ]
    return {"@context": "https://openvex.dev/ns/v0.2.0", "@id": "v", "author": "Ada", "statements": statements}


def _damage(source: random.Random, value: Any) -> None:
    """One change somewhere in the containers: an image, a quantity, a context, an argument."""
    containers = list(_containers(value))
    if not containers:
        return
    container = source.choice(containers)
    what = source.randrange(5)
    if what == 0 and isinstance(container.get("image"), str):
        container["image"] = source.choice(_IMAGES)
    elif what == 1:
        resources = container.setdefault("resources", {})
        kind, size = source.choice(("limits", "requests")), source.choice(_QUANTITIES)
        resources.setdefault(kind, {})[source.choice(("cpu", "memory"))] = size
    elif what == 2:
        container["securityContext"] = {
            "privileged": source.random() < 0.5,
            "runAsUser": source.choice((0, 1000)),
            "capabilities": {"add": source.sample(["NET_ADMIN", "CAP_SYS_ADMIN", "ALL"], source.randrange(3))},
        }
    elif what == 3:
        container["args"] = [source.choice(("--token=ghp_" + "a" * 36, "", "ünïcode \U0001f600", 'a\n"b'))]
    else:
        container["env"] = [{"name": "PASSWORD", "value": source.choice(("hunter22", "", "$(X)"))}]


def _containers(value: Any) -> Any:
    if isinstance(value, dict):
        for key in sorted(value):
            if key == "containers" and isinstance(value[key], list):
                yield from (item for item in value[key] if isinstance(item, dict))
            yield from _containers(value[key])
    elif isinstance(value, list):
        for item in value:
            yield from _containers(item)


def _shuffled(source: random.Random, value: Any) -> Any:
    """The same JSON with the keys of every mapping in another order."""
    if isinstance(value, dict):
        keys = list(value)
        source.shuffle(keys)
        return {key: _shuffled(source, value[key]) for key in keys}
    if isinstance(value, list):
        return [_shuffled(source, item) for item in value]
    return copy.copy(value)
