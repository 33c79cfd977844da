package customhouse.tests.reviews

import data.customhouse.fixtures
import data.customhouse.rules.reviews

given(fields) := object.union(fixtures.facts, {"review": object.union(
	{
		"required": 1,
		"pull_request": 7,
		"merged": true,
		"author": "ada",
		"approvals": ["bob"],
		"objections": [],
		"missing_owners": [],
		"exempt": false,
	},
	fields,
)})

test_review_missing_is_silent_when_the_forge_was_not_asked if {
	count(reviews.findings) == 0 with input as fixtures.facts
}

test_owner_review_missing_is_silent_when_all_is_given if {
	count(reviews.findings) == 0 with input as given({})
}

test_review_missing_fires_for_too_few_approvals if {
	found := reviews.findings with input as given({"required": 2})
	fixtures.rules(found) == {"review-missing"}
	some finding in found
	contains(finding.message, "came by pull request 7: 1 of 2 approvals (by bob)")
}

test_review_missing_fires_for_a_push_without_a_pull_request if {
	found := reviews.findings with input as given({"pull_request": null, "approvals": []})
	fixtures.rules(found) == {"review-missing"}
	some finding in found
	contains(finding.message, "was pushed without a pull request: 0 of 1 approvals.")
}

test_owner_review_missing_fires_and_names_the_files if {
	missing := [sprintf("f%d.yaml (CODEOWNERS:1: @sec)", [n]) | some n in numbers.range(1, 7)]
	found := reviews.findings with input as given({"missing_owners": missing})
	fixtures.rules(found) == {"owner-review-missing"}
	some finding in found
	contains(finding.message, "f1.yaml (CODEOWNERS:1: @sec)")
	contains(finding.message, "and 2 more")
	not contains(finding.message, "f6.yaml")
}

test_owner_review_missing_fires_for_few_files_without_more if {
	found := reviews.findings with input as given({"missing_owners": ["a (CODEOWNERS:1: @sec)"]})
	some finding in found
	finding.message == "Nobody who owns it approved a (CODEOWNERS:1: @sec)."
}

test_review_objection_fires if {
	found := reviews.findings with input as given({"objections": ["eve", "dan"]})
	fixtures.rules(found) == {"review-objection"}
	some finding in found
	contains(finding.message, "dan, eve asked for changes")
}

test_an_exact_revert_of_our_own_is_exempt if {
	count(reviews.findings) == 0 with input as given({
		"exempt": true,
		"pull_request": null,
		"approvals": [],
		"objections": ["eve"],
		"missing_owners": ["a"],
	})
}

test_review_objection_is_silent_without_one if {
	count(reviews.findings) == 0 with input as given({"objections": []})
}
