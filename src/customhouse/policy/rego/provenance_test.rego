package customhouse.tests.provenance

import data.customhouse.fixtures
import data.customhouse.rules.provenance

wanted := {"name": "fraud", "place": "customhouse.yaml:12:5", "max_age_days": 30}

unmet := {
	"check": "builder",
	"message": "built by https://evil.example/b, not by https://ci.example/b",
	"at": "/runDetails/builder/id",
	"place": "customhouse.yaml:14:9",
}

good := {"level": 3, "level_reason": "declared", "met": ["builder"], "unmet": []}

said(change) := fixtures.evidence("provenance", object.union(good, change))

with_model(evidence) := object.union(
	fixtures.service,
	{"artifacts": [object.union(fixtures.model, {"provenance": wanted, "evidence": evidence})]},
)

test_provenance_expected_is_silent_when_all_is_met if {
	count(provenance.findings) == 0 with input as with_model([said({})])
}

test_provenance_expected_is_silent_where_nothing_is_expected if {
	count(provenance.findings) == 0 with input as fixtures.service
}

test_provenance_expected_fires_without_a_statement if {
	found := provenance.findings with input as with_model([])
	fixtures.rules(found) == {"provenance-expected"}
	some finding in found
	contains(finding.message, "customhouse.yaml:12:5")
}

test_provenance_expected_fires_for_one_that_does_not_verify if {
	found := provenance.findings with input as with_model([object.union(said({}), {"verified": false})])
	fixtures.rules(found) == {"provenance-expected"}
}

test_provenance_expected_names_what_is_not_met if {
	found := provenance.findings with input as with_model([said({"unmet": [unmet]})])
	fixtures.rules(found) == {"provenance-expected"}
	some finding in found
	contains(finding.message, "not by https://ci.example/b")
	contains(finding.message, "/runDetails/builder/id, expected at customhouse.yaml:14:9")
}

test_provenance_expected_is_silent_when_one_of_two_meets_all if {
	count(provenance.findings) == 0 with input as with_model([said({"unmet": [unmet]}), said({})])
}

test_provenance_expected_fires_for_facts_without_a_level if {
	found := provenance.findings with input as with_model([fixtures.evidence("provenance", {"builder": "b"})])
	fixtures.rules(found) == {"provenance-expected"}
}

test_provenance_stale_fires if {
	old := object.union(said({}), {"age_seconds": 31 * 86400})
	found := provenance.findings with input as with_model([old])
	fixtures.rules(found) == {"provenance-stale"}
}

test_provenance_stale_fires_without_a_time if {
	found := provenance.findings with input as with_model([object.union(said({}), {"age_seconds": null})])
	fixtures.rules(found) == {"provenance-stale"}
}

test_provenance_stale_is_silent_on_the_last_day if {
	count(provenance.findings) == 0 with input as with_model([object.union(said({}), {"age_seconds": 30 * 86400})])
}

at_level(level, evidence) := fixtures.with_tier(
	object.union(fixtures.service, {"artifacts": [object.union(fixtures.model, {"evidence": evidence})]}),
	{"provenance_level": level},
)

test_provenance_level_fires_below if {
	found := provenance.findings with input as at_level(3, [said({"level": 2, "level_reason": "declared at line 9"})])
	fixtures.rules(found) == {"provenance-level"}
	some finding in found
	contains(finding.message, "reaches SLSA Build level 2, and tier")
	contains(finding.message, "declared at line 9")
}

test_provenance_level_fires_without_provenance if {
	found := provenance.findings with input as at_level(1, [])
	fixtures.rules(found) == {"provenance-level"}
}

test_provenance_level_is_silent_at_the_level if {
	count(provenance.findings) == 0 with input as at_level(3, [said({})])
}

test_provenance_level_of_models_says_nothing_of_images if {
	image := {
		"role": "image",
		"reference": fixtures.container.image.reference,
		"digest": fixtures.digest,
		"pinned": true,
		"pointer": "/spec/template/spec/containers/0/image",
		"evidence": [],
	}
	facts := object.union(fixtures.facts, {"artifacts": [image]})
	count(provenance.findings) == 0 with input as fixtures.with_tier(facts, {"provenance_level": 3})
	found := provenance.findings with input as fixtures.with_tier(facts, {"image_provenance_level": 3})
	fixtures.rules(found) == {"provenance-level"}
}
