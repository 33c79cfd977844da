package customhouse.tests.vulnerabilities

import data.customhouse.fixtures
import data.customhouse.rules.vulnerabilities

report := {
	"scanner": "Trivy",
	"version": "0.58.1",
	"signer": "ci",
	"platform": "",
	"digest": fixtures.digest,
	"scanned_days": 1,
	"database_days": 2,
	"packages": 41,
	"findings": 1,
	"gaps": [],
	"suppressed": 0,
	"end_of_life": "",
}

openssl := {
	"id": "CVE-2024-1",
	"aliases": ["GHSA-1"],
	"package": "openssl",
	"version": "1.1.1c",
	"purl": "",
	"fixed": ["1.1.1d"],
	"severity": "high",
	"score": "8.1",
	"published_days": 100,
	"scanners": ["Trivy"],
	"reachable": null,
	"platform": "",
}

nothing := {
	"reports": [report],
	"missing": [],
	"counts": {},
	"findings": [],
	"left_out": [],
	"excused": [],
	"excused_left_out": 0,
	"ignored": [],
	"heard": [],
}

limits := {
	"deny": "high",
	"warn": "medium",
	"unknown": "warn",
	"fixable_only": true,
	"unfixed_grace_days": null,
	"max_age_days": 7,
	"vex_max_age_days": 365,
}

knows(known) := object.union(
	fixtures.service,
	{"artifacts": [object.union(fixtures.model, {"vulnerabilities": object.union(nothing, known)})]},
)

judged(known, change) := fixtures.with_tier(knows(known), {"vulnerabilities": object.union(limits, change)})

has(change) := {"findings": [object.union(openssl, change)]}

of_report(change) := {"reports": [object.union(report, change)]}

found(facts) := rules if {
	rules := {finding.rule | some finding in vulnerabilities.findings} with input as facts
}

test_nothing_is_said_of_an_artifact_without_a_report if {
	found(fixtures.service) == set()
}

test_nothing_is_said_of_a_clean_report if {
	found(judged({}, {})) == set()
}

test_vulnerability_denied_fires_and_names_the_advisory_the_package_and_the_fix if {
	findings := vulnerabilities.findings with input as judged(has({}), {})
	fixtures.rules(findings) == {"vulnerability-denied"}
	some finding in findings
	contains(finding.message, "CVE-2024-1 (high 8.1) in openssl 1.1.1c; fixed in 1.1.1d (Trivy)")
	finding.fix == "Update openssl to 1.1.1d and build anew."
	finding.advisories == ["CVE-2024-1", "GHSA-1"]
}

test_vulnerability_denied_fires_and_names_every_fix_of_several if {
	findings := vulnerabilities.findings with input as judged(has({"fixed": ["1.0.9", "1.1.1d"]}), {})
	some finding in findings
	finding.fix == "Update openssl to the next of 1.0.9, 1.1.1d and build anew."
}

test_vulnerability_denied_fires_by_the_limits_that_hold_without_any if {
	found(knows(has({}))) == {"vulnerability-denied"}
}

test_vulnerability_denied_fires_at_the_threshold_and_above if {
	found(judged(has({"severity": "critical"}), {})) == {"vulnerability-denied"}
	found(judged(has({"severity": "medium"}), {})) == {"vulnerability-warned"}
	found(judged(has({"severity": "low"}), {})) == set()
}

test_vulnerability_denied_is_silent_without_a_threshold if {
	found(judged(has({"severity": "critical"}), {"deny": null, "warn": null})) == set()
}

test_vulnerability_warned_fires_for_what_has_no_fix_where_only_what_has_one_denies if {
	findings := vulnerabilities.findings with input as judged(has({"fixed": []}), {})
	fixtures.rules(findings) == {"vulnerability-warned"}
	some finding in findings
	contains(finding.message, "there is no fix")
	contains(finding.fix, "VEX")
}

test_vulnerability_denied_fires_without_a_fix_after_its_days_of_grace if {
	strict := {"fixable_only": false, "unfixed_grace_days": 30}
	found(judged(has({"fixed": [], "published_days": 31}), strict)) == {"vulnerability-denied"}
	found(judged(has({"fixed": [], "published_days": null}), strict)) == {"vulnerability-denied"}
	found(judged(has({"fixed": [], "published_days": 30}), strict)) == {"vulnerability-warned"}
	found(judged(has({"fixed": [], "published_days": 1}), {"fixable_only": false})) == {"vulnerability-denied"}
}

test_vulnerability_denied_fires_or_not_for_unknown_severity_that_denies_warns_or_is_let_pass if {
	unknown := has({"severity": "unknown", "score": ""})
	found(judged(unknown, {"unknown": "deny"})) == {"vulnerability-denied"}
	found(judged(unknown, {"unknown": "warn"})) == {"vulnerability-warned"}
	found(judged(unknown, {"unknown": "allow"})) == set()
}

test_vulnerability_denied_fires_for_what_was_left_out if {
	more := {"left_out": [
		{"severity": "high", "fixable": true, "count": 3},
		{"severity": "high", "fixable": false, "count": 2},
	]}
	findings := vulnerabilities.findings with input as judged(more, {"fixable_only": false, "unfixed_grace_days": 30})
	fixtures.rules(findings) == {"vulnerability-denied"}
	some finding in findings
	contains(finding.message, "3 high with a fix, 2 high without a fix")
	not finding.advisories
}

test_vulnerability_warned_fires_for_what_was_left_out if {
	more := {"left_out": [{"severity": "medium", "fixable": false, "count": 3}]}
	found(judged(more, {})) == {"vulnerability-warned"}
	found(judged({"left_out": [{"severity": "low", "fixable": true, "count": 3}]}, {})) == set()
}

test_vulnerability_report_stale_fires_by_its_own_age_or_that_of_its_database if {
	found(judged(of_report({"scanned_days": 8}), {})) == {"vulnerability-report-stale"}
	found(judged(of_report({"database_days": 8}), {})) == {"vulnerability-report-stale"}
	found(judged(of_report({"scanned_days": null}), {})) == {"vulnerability-report-stale"}
	found(judged(of_report({"scanned_days": 7, "database_days": 7}), {})) == set()
	found(judged(of_report({"scanned_days": 800}), {"max_age_days": null})) == set()
}

test_vulnerability_report_stale_fires_and_says_how_old_it_is if {
	findings := vulnerabilities.findings with input as judged(of_report({"scanned_days": null, "database_days": 773}), {})
	some finding in findings
	contains(finding.message, "Trivy, scanned nobody says when, database 773 days ago")
}

test_vulnerability_report_stale_is_silent_when_one_of_two_is_recent if {
	found(judged({"reports": [report, object.union(report, {"scanned_days": 90})]}, {})) == set()
}

test_vulnerability_report_stale_fires_and_asks_of_each_platform if {
	old := object.union(report, {"platform": "arm64", "scanned_days": 90})
	found(judged({"reports": [report, old]}, {})) == {"vulnerability-report-stale"}
}

test_vulnerability_report_partial_fires_and_names_what_is_missing if {
	findings := vulnerabilities.findings with input as judged(of_report({"gaps": ["npm: no advisories of it are here"]}), {})
	fixtures.rules(findings) == {"vulnerability-report-partial"}
	some finding in findings
	contains(finding.message, "npm: no advisories of it are here")
}

test_vulnerability_report_partial_is_silent_when_one_of_two_is_whole if {
	found(judged({"reports": [object.union(report, {"gaps": ["x"]}), report]}, {})) == set()
}

test_vulnerability_report_partial_fires_and_names_a_platform_without_a_report if {
	found(judged({"missing": ["there is none for linux/arm64"]}, {})) == {"vulnerability-report-partial"}
}

test_vulnerability_report_partial_fires_for_a_report_that_nobody_read if {
	facts := fixtures.with_evidence([fixtures.evidence("vulnerabilities", {})])
	found(facts) == {"vulnerability-report-partial"}
}

test_vulnerability_database_undated_fires if {
	found(judged(of_report({"database_days": null}), {})) == {"vulnerability-database-undated"}
}

test_vulnerability_end_of_life_fires if {
	found(judged(of_report({"end_of_life": "alpine 3.10.2"}), {})) == {"vulnerability-end-of-life"}
}

test_vulnerability_excused_fires_and_says_who_and_why if {
	excuse := {
		"id": "CVE-2024-1",
		"package": "openssl",
		"status": "not_affected",
		"justification": "vulnerable_code_not_present",
		"statement": "",
		"author": "Ada",
		"signer": "security",
	}
	findings := vulnerabilities.findings with input as judged({"excused": [excuse]}, {})
	fixtures.rules(findings) == {"vulnerability-excused"}
	some finding in findings
	contains(finding.message, "says Ada (signed by security): not_affected, vulnerable_code_not_present.")
}

test_vulnerability_excuse_ignored_fires_and_says_why if {
	found(judged({"ignored": [{"author": "Ada", "problem": "older than 365 days"}]}, {})) == {"vulnerability-excuse-ignored"}
}

test_vulnerability_heard_fires_for_a_stranger if {
	item := {
		"scanner": "Grype",
		"problem": "signed by nobody that is trusted",
		"id": "CVE-2024-2",
		"package": "zlib",
		"version": "1.2",
		"severity": "critical",
		"fixed": [],
	}
	found(judged({"heard": [item]}, {})) == {"vulnerability-heard"}
}

test_vulnerability_suppressed_fires if {
	found(judged(of_report({"suppressed": 3}), {})) == {"vulnerability-suppressed"}
}

test_vulnerability_warned_is_silent_of_a_clean_report if {
	not "vulnerability-warned" in found(judged({}, {}))
}

test_vulnerability_database_undated_is_silent_of_a_clean_report if {
	not "vulnerability-database-undated" in found(judged({}, {}))
}

test_vulnerability_end_of_life_is_silent_of_a_clean_report if {
	not "vulnerability-end-of-life" in found(judged({}, {}))
}

test_vulnerability_excused_is_silent_of_a_clean_report if {
	not "vulnerability-excused" in found(judged({}, {}))
}

test_vulnerability_excuse_ignored_is_silent_of_a_clean_report if {
	not "vulnerability-excuse-ignored" in found(judged({}, {}))
}

test_vulnerability_heard_is_silent_of_a_clean_report if {
	not "vulnerability-heard" in found(judged({}, {}))
}

test_vulnerability_suppressed_is_silent_of_a_clean_report if {
	not "vulnerability-suppressed" in found(judged({}, {}))
}
