package customhouse.tests.evidence

import data.customhouse.fixtures
import data.customhouse.rules.evidence

image := {
	"role": "image",
	"reference": fixtures.container.image.reference,
	"digest": fixtures.digest,
	"pinned": true,
	"pointer": "/spec/template/spec/containers/0/image",
	"evidence": [fixtures.evidence("signature", {}), fixtures.evidence("scan", {"verdict": "clean"})],
}

with_image(change) := fixtures.with_tier(
	object.union(fixtures.facts, {"artifacts": [object.union(image, change)]}),
	{"required_image_evidence": ["signature", "scan"]},
)

signed := [fixtures.evidence("signature", {})]

test_image_evidence_missing_fires if {
	found := evidence.findings with input as with_image({"evidence": signed})
	fixtures.rules(found) == {"image-evidence-missing"}
}

test_image_evidence_missing_names_the_command if {
	found := evidence.findings with input as with_image({"evidence": [fixtures.evidence("scan", {"verdict": "clean"})]})
	some finding in found
	contains(finding.fix, "customhouse image sign apexlogic.com/serve")
}

test_image_evidence_missing_is_silent_when_it_is_there if {
	count(evidence.findings) == 0 with input as with_image({})
}

test_image_evidence_missing_is_silent_for_what_is_not_pinned if {
	count(evidence.findings) == 0 with input as with_image({"digest": null, "evidence": []})
}

test_image_evidence_missing_is_silent_in_a_tier_that_asks_for_none if {
	document := fixtures.with_tier(with_image({"evidence": []}), {"required_image_evidence": []})
	count(evidence.findings) == 0 with input as document
}

prescanned(entries) := fixtures.with_tier(with_image({"evidence": signed}), {"prescanned_images": entries})

test_image_prescanned_fires_by_digest_repository_and_registry if {
	every entry in [fixtures.digest, "apexlogic.com/serve", "apexlogic.com/", "apexlogic.com"] {
		found := evidence.findings with input as prescanned([entry])
		fixtures.rules(found) == {"image-prescanned"}
	}
}

test_image_prescanned_is_silent_for_others_and_says_what_is_missing if {
	every entry in [fixtures.other_digest, "apexlogic.co", "apexlogic.com/serv", "/"] {
		found := evidence.findings with input as prescanned([entry])
		fixtures.rules(found) == {"image-evidence-missing"}
	}
}

with_scan(summary, change) := with_image({"evidence": array.concat(
	signed,
	[object.union(fixtures.evidence("scan", summary), change)],
)})

test_image_evidence_unverified_fires if {
	found := evidence.findings with input as with_scan({"verdict": "clean"}, {"verified": false, "problem": "wrong key"})
	fixtures.rules(found) == {"image-evidence-unverified"}
	some finding in found
	contains(finding.message, "wrong key")
}

test_image_evidence_unverified_is_silent_when_one_verifies if {
	count(evidence.findings) == 0 with input as with_image({})
}

test_image_evidence_stale_fires if {
	found := evidence.findings with input as with_scan({"verdict": "clean"}, {"age_seconds": (30 * 86400) + 1})
	fixtures.rules(found) == {"image-evidence-stale"}
}

test_image_evidence_stale_fires_without_a_date if {
	found := evidence.findings with input as with_scan({"verdict": "clean"}, {"age_seconds": null})
	fixtures.rules(found) == {"image-evidence-stale"}
}

test_image_evidence_stale_says_when_there_is_no_date if {
	found := evidence.findings with input as with_scan({"verdict": "clean"}, {"age_seconds": null})
	some finding in found
	contains(finding.message, "does not say when it was made")
	contains(finding.fix, "customhouse image attest apexlogic.com/serve")
}

with_provenance(summary) := fixtures.with_tier(
	object.union(fixtures.facts, {"artifacts": [object.union(
		image,
		{"evidence": [fixtures.evidence("provenance", summary)]},
	)]}),
	{"required_image_evidence": ["provenance"]},
)

test_image_provenance_fires_without_a_builder if {
	found := evidence.findings with input as with_provenance({"builder": null})
	fixtures.rules(found) == {"image-provenance"}
}

test_image_provenance_is_silent_with_one if {
	count(evidence.findings) == 0 with input as with_provenance({"builder": "https://ci.example/builder"})
}

test_image_evidence_stale_is_silent_at_the_limit if {
	count(evidence.findings) == 0 with input as with_scan({"verdict": "clean"}, {"age_seconds": 30 * 86400})
}

test_image_scan_fires_for_a_verdict_that_is_not_clean if {
	every said in ["malicious", "unscannable", null] {
		found := evidence.findings with input as with_scan({"verdict": said}, {})
		fixtures.rules(found) == {"image-scan"}
	}
}

test_image_scan_fires_for_a_warning_that_nobody_signed if {
	found := evidence.findings with input as with_scan({"verdict": "malicious"}, {"verified": false})
	"image-scan" in fixtures.rules(found)
}

test_image_scan_is_silent_for_a_clean_one if {
	count(evidence.findings) == 0 with input as with_image({})
}
