package customhouse.tests.revisions

import data.customhouse.fixtures
import data.customhouse.rules.revisions

signed(state) := object.union(fixtures.facts, {"revision": {"signature": state}})

test_commit_signature_fires_for_each_state_with_its_reason if {
	every state, reason in {"unsigned": "is not signed", "untrusted": "allowed signers", "invalid": "does not verify"} {
		found := revisions.findings with input as signed(state)
		fixtures.rules(found) == {"commit-signature"}
		some finding in found
		contains(finding.message, reason)
		contains(finding.message, "0123456789ab by Ada")
	}
}

test_commit_signature_fires_for_a_state_that_the_gate_should_have_refused if {
	found := revisions.findings with input as signed("unknown")
	fixtures.rules(found) == {"commit-signature"}
}

test_commit_signature_fires_for_a_deletion if {
	found := revisions.findings with input as object.union(fixtures.deletion, {"revision": {"signature": "unsigned"}})
	fixtures.rules(found) == {"commit-signature"}
}

test_commit_signature_is_silent_when_not_required if {
	loose := object.union(signed("unsigned"), {"settings": {"require_signed_commits": false}})
	count(revisions.findings) == 0 with input as loose
}

test_commit_signature_is_silent_when_verified if {
	count(revisions.findings) == 0 with input as signed("verified")
}

test_history_rewritten_fires_for_a_deletion_too if {
	found := revisions.findings with input as object.union(fixtures.deletion, {"revision": {"descends": false}})
	fixtures.rules(found) == {"history-rewritten"}
}

test_history_rewritten_is_silent_for_a_descendant if {
	count(revisions.findings) == 0 with input as fixtures.facts
}

test_revision_absent_fires_as_a_note if {
	found := revisions.findings with input as object.union(fixtures.facts, {"revision": null})
	fixtures.rules(found) == {"revision-absent"}
	some finding in found
	finding.severity == "note"
}

test_revision_absent_is_silent_for_a_commit if {
	count(revisions.findings) == 0 with input as fixtures.facts
}

test_revision_required_fires if {
	found := revisions.findings with input as object.union(
		fixtures.facts,
		{"revision": null, "settings": {"require_revision": true}},
	)
	fixtures.rules(found) == {"revision-required"}
	some finding in found
	finding.severity == "error"
}

test_revision_required_is_silent_for_a_commit if {
	required := {"settings": {"require_revision": true}}
	count(revisions.findings) == 0 with input as object.union(fixtures.facts, required)
}

governance(base) := object.union(
	base,
	{"change": {"resource": {"apiVersion": "customhouse.dev/v1", "kind": "Governance", "namespace": "", "name": "customhouse.yaml"}}},
)

test_governance_removed_fires if {
	found := revisions.findings with input as governance(fixtures.deletion)
	fixtures.rules(found) == {"governance-removed"}
	some finding in found
	finding.severity == "error"
}

test_governance_removed_is_silent_for_other_deletions if {
	count(revisions.findings) == 0 with input as fixtures.deletion
}

test_governance_changed_fires_as_a_warning if {
	found := revisions.findings with input as governance(fixtures.facts)
	fixtures.rules(found) == {"governance-changed"}
	some finding in found
	finding.severity == "warning"
}

test_governance_changed_is_silent_for_other_changes if {
	count(revisions.findings) == 0 with input as fixtures.facts
}
