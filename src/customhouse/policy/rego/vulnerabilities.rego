# Known vulnerabilities of models and images: what signed reports say, against what the tier puts up with (its
# `vulnerabilities:`). A report is evidence like any other; that there is one at all is asked for by requiredEvidence and
# requiredImageEvidence.
package customhouse.rules.vulnerabilities

import data.customhouse.lib

# METADATA
# title: Nothing runs with a vulnerability that its tier does not put up with
# description: >-
#   A verified report names a vulnerability whose severity reaches the tier's `vulnerabilities.deny`. With `fixableOnly`
#   only what has a fix denies; else what has none denies once it has been public for `unfixedGraceDays`. A severity
#   that nobody knows denies where `unknown` is `deny`. A waiver may name the advisories that it is about.
# custom:
#   id: vulnerability-denied
#   category: security
#   severity: error
#   fix: Update the package and build anew; or sign a VEX statement, or waive the advisory by its number.
findings contains finding if {
	some artifact in described
	some item in artifact.vulnerabilities.findings
	denies(item)
	finding := object.union(
		lib.error("security", "vulnerability-denied", artifact.pointer, named(artifact, item), remedy(item)),
		{"advisories": array.concat([item.id], item.aliases)},
	)
}

# What the bound of Facts left out has no name to be waived by.
findings contains lib.error("security", "vulnerability-denied", pointer, message, fix) if {
	some artifact in described
	count(refused(artifact)) > 0
	message := sprintf("The %s %s has more such vulnerabilities than are listed: %s.", [
		artifact.role,
		artifact.reference,
		tally(refused(artifact)),
	])
	fix := "Update what is listed first, and build anew; the scanner's own report has all of them."
	pointer := artifact.pointer
}

# METADATA
# title: Vulnerabilities that the tier wants to be known are told
# description: >-
#   A verified report names a vulnerability that does not deny, and its severity reaches the tier's `vulnerabilities.warn`
#   or is unknown to all.
# custom:
#   id: vulnerability-warned
#   category: security
#   severity: warning
#   fix: Update the package when there is a fix, and build anew.
findings contains finding if {
	some artifact in described
	some item in artifact.vulnerabilities.findings
	not denies(item)
	warns(item)
	finding := object.union(
		lib.warning("security", "vulnerability-warned", artifact.pointer, named(artifact, item), remedy(item)),
		{"advisories": array.concat([item.id], item.aliases)},
	)
}

findings contains lib.warning("security", "vulnerability-warned", pointer, message, fix) if {
	some artifact in described
	count(refused(artifact)) == 0
	listed := [item | some item in artifact.vulnerabilities.left_out; warns(left(item))]
	count(listed) > 0
	message := sprintf("The %s %s has more vulnerabilities than are listed: %s.", [
		artifact.role,
		artifact.reference,
		tally(listed),
	])
	fix := "Look at the scanner's own report, which has all of them."
	pointer := artifact.pointer
}

# METADATA
# title: What is known of vulnerabilities is recent
# description: >-
#   No report that counts is younger than the tier's `vulnerabilities.maxAgeDays`, or the one that is was made with a
#   database that is older. A report that does not say when it was made is not recent.
# custom:
#   id: vulnerability-report-stale
#   category: compliance
#   severity: error
#   tiers: "experiment: warning"
#   fix: Scan again with a fresh database, and sign the new report.
findings contains lib.error("compliance", "vulnerability-report-stale", pointer, message, fix) if {
	limit := limits.max_age_days
	is_number(limit)
	some artifact in described
	reports := artifact.vulnerabilities.reports
	some platform in {report.platform | some report in reports}
	own := [report | some report in reports; report.platform == platform]
	count([report | some report in own; recent(report, limit)]) == 0
	message := sprintf("What is known of the vulnerabilities of the %s %s is older than %v days: %s.", [
		artifact.role,
		artifact.reference,
		limit,
		concat("; ", [aged(report) | some report in own]),
	])
	fix := "Scan again with a fresh database, and sign the report (`customhouse vuln attest`)."
	pointer := artifact.pointer
}

# METADATA
# title: A report of vulnerabilities is whole
# description: >-
#   Every verified report has something that could not be read, compared or decided, or there is none for a platform of
#   the image. A report that did not look at everything cannot say that nothing is there.
# custom:
#   id: vulnerability-report-partial
#   category: compliance
#   severity: error
#   tiers: "standard: warning; batch: warning; experiment: note"
#   fix: Let the scanner see all of it, and sign the new report.
findings contains lib.error("compliance", "vulnerability-report-partial", pointer, message, fix) if {
	some artifact in described
	reports := artifact.vulnerabilities.reports
	some platform in {report.platform | some report in reports}
	own := [report | some report in reports; report.platform == platform]
	count([report | some report in own; count(report.gaps) == 0]) == 0
	message := sprintf("The report of %s about the %s %s is not whole: %s.", [
		own[0].scanner,
		artifact.role,
		artifact.reference,
		concat("; ", own[0].gaps),
	])
	fix := "Let the scanner see all of it, and sign the new report."
	pointer := artifact.pointer
}

findings contains lib.error("compliance", "vulnerability-report-partial", pointer, message, fix) if {
	some artifact in described
	some problem in artifact.vulnerabilities.missing
	message := sprintf("Nothing that counts is said of the vulnerabilities of all platforms of the %s %s: %s.", [
		artifact.role,
		artifact.reference,
		problem,
	])
	fix := "Scan the image of every platform, and sign each report."
	pointer := artifact.pointer
}

# A bundle that is asked without the reader of reports must not take them for clean ones.
findings contains lib.error("compliance", "vulnerability-report-partial", pointer, message, fix) if {
	some artifact in input.artifacts
	not artifact.vulnerabilities
	some item in artifact.evidence
	item.kind == "vulnerabilities"
	item.verified
	message := sprintf("The report about the vulnerabilities of the %s %s was not read.", [artifact.role, artifact.reference])
	fix := "Judge with a version of customhouse that reads reports of vulnerabilities."
	pointer := artifact.pointer
}

# METADATA
# title: A report says how old its database was
# description: A report is recent, and nobody knows how old the advisories were that it was made with.
# custom:
#   id: vulnerability-database-undated
#   category: compliance
#   severity: note
#   fix: "Give the database's date when the report is signed: customhouse vuln attest --database-as-of."
findings contains lib.note("compliance", "vulnerability-database-undated", pointer, message, fix) if {
	limit := limits.max_age_days
	is_number(limit)
	some artifact in described
	some report in artifact.vulnerabilities.reports
	recent(report, limit)
	report.database_days == null
	message := sprintf("The report of %s about the %s %s does not say how old its database was.", [
		report.scanner,
		artifact.role,
		artifact.reference,
	])
	fix := "Give the database's date when the report is signed: customhouse vuln attest --database-as-of."
	pointer := artifact.pointer
}

# METADATA
# title: The distribution is still looked after
# description: The scanner says that nobody fixes this release of the distribution any more; few advisories name it, too.
# custom:
#   id: vulnerability-end-of-life
#   category: security
#   severity: warning
#   fix: Build on a release that is maintained.
findings contains lib.warning("security", "vulnerability-end-of-life", pointer, message, fix) if {
	some artifact in described
	some system in {report.end_of_life | some report in artifact.vulnerabilities.reports; report.end_of_life != ""}
	message := sprintf("The %s %s is built on %s, which nobody maintains any more.", [
		artifact.role,
		artifact.reference,
		system,
	])
	fix := "Build on a release that is maintained."
	pointer := artifact.pointer
}

# METADATA
# title: What a VEX statement excuses is told
# description: A verified VEX statement says that the artifact is not affected, or fixed; who says so and why stands here.
# custom:
#   id: vulnerability-excused
#   category: security
#   severity: note
#   fix: Nothing, as long as the reason holds.
findings contains lib.note("security", "vulnerability-excused", pointer, message, fix) if {
	some artifact in described
	some item in artifact.vulnerabilities.excused
	message := sprintf("The %s %s is not affected by %s in %s, says %s (signed by %s): %s.", [
		artifact.role,
		artifact.reference,
		item.id,
		item.package,
		item.author,
		item.signer,
		concat(", ", [word | some word in [item.status, item.justification, item.statement]; word != ""]),
	])
	fix := "Nothing, as long as the reason holds."
	pointer := artifact.pointer
}

# METADATA
# title: A VEX statement that does not count is told
# description: It is not signed by somebody who may, is about something else, too old, or gives no reason.
# custom:
#   id: vulnerability-excuse-ignored
#   category: security
#   severity: warning
#   fix: Have it signed anew by a key of kind vex, about the digest that is pinned and with a justification.
findings contains lib.warning("security", "vulnerability-excuse-ignored", pointer, message, fix) if {
	some artifact in described
	some item in artifact.vulnerabilities.ignored
	message := sprintf("A VEX statement of %s about the %s %s does not count: %s.", [
		item.author,
		artifact.role,
		artifact.reference,
		item.problem,
	])
	fix := "Have it signed anew by a key of kind vex, about the digest that is pinned and with a justification."
	pointer := artifact.pointer
}

# METADATA
# title: A report that nobody trusted signed is heard when it warns
# description: A report that does not verify names something grave that no verified report names. It does not deny.
# custom:
#   id: vulnerability-heard
#   category: security
#   severity: warning
#   fix: Scan the artifact yourself, and sign the report.
findings contains lib.warning("security", "vulnerability-heard", pointer, message, fix) if {
	some artifact in described
	some item in artifact.vulnerabilities.heard
	message := sprintf("A report of %s about the %s %s, which does not count (%s), names %s (%s) in %s %s.", [
		item.scanner,
		artifact.role,
		artifact.reference,
		item.problem,
		item.id,
		item.severity,
		item.package,
		item.version,
	])
	fix := "Scan the artifact yourself, and sign the report."
	pointer := artifact.pointer
}

# METADATA
# title: What a scanner kept to itself is told
# description: The scanner suppressed vulnerabilities by rules of its own (an ignore file, a VEX file that nobody signed).
# custom:
#   id: vulnerability-suppressed
#   category: compliance
#   severity: note
#   fix: Scan without the scanner's own ignore rules, and sign a VEX statement for what is not affected.
findings contains lib.note("compliance", "vulnerability-suppressed", pointer, message, fix) if {
	some artifact in described
	some report in artifact.vulnerabilities.reports
	report.suppressed > 0
	message := sprintf("%s left %v vulnerabilities of the %s %s out of its report, by rules of its own.", [
		report.scanner,
		report.suppressed,
		artifact.role,
		artifact.reference,
	])
	fix := "Scan without the scanner's own ignore rules, and sign a VEX statement for what is not affected."
	pointer := artifact.pointer
}

described := [artifact | some artifact in input.artifacts; artifact.vulnerabilities]

# Facts of an earlier version have no limits: then what is known counts as it does in a tier that says nothing.
limits := object.get(input.tier.spec, "vulnerabilities", {
	"deny": "high",
	"warn": "medium",
	"unknown": "warn",
	"fixable_only": true,
	"unfixed_grace_days": null,
	"max_age_days": 30,
})

ranks := {"critical": 5, "high": 4, "medium": 3, "low": 2, "negligible": 1}

reaches(severity, threshold) if ranks[severity] >= ranks[threshold]

denies(item) if {
	grave(item.severity)
	count(item.fixed) > 0
}

denies(item) if {
	grave(item.severity)
	count(item.fixed) == 0
	not limits.fixable_only
	not graced(item)
}

grave(severity) if reaches(severity, limits.deny)

grave("unknown") if limits.unknown == "deny"

graced(item) if {
	is_number(limits.unfixed_grace_days)
	is_number(item.published_days)
	item.published_days <= limits.unfixed_grace_days
}

warns(item) if grave(item.severity)

warns(item) if reaches(item.severity, limits.warn)

warns(item) if {
	item.severity == "unknown"
	limits.unknown == "warn"
}

# As a finding of which all that is not known is taken to be bad.
left(item) := {"severity": item.severity, "fixed": [version | item.fixable; version := "?"], "published_days": null}

refused(artifact) := [item | some item in artifact.vulnerabilities.left_out; denies(left(item))]

tally(listed) := concat(", ", [sprintf("%v %s %s", [item.count, item.severity, fixable(item)]) | some item in listed])

fixable(item) := "with a fix" if item.fixable

fixable(item) := "without a fix" if not item.fixable

recent(report, limit) if {
	is_number(report.scanned_days)
	report.scanned_days <= limit
	not outdated(report, limit)
}

outdated(report, limit) if {
	is_number(report.database_days)
	report.database_days > limit
}

aged(report) := sprintf("%s, scanned %s, database %s", [
	report.scanner,
	ago(report.scanned_days),
	ago(report.database_days),
])

ago(days) := sprintf("%v days ago", [days]) if is_number(days)

ago(days) := "nobody says when" if not is_number(days)

named(artifact, item) := sprintf("The %s %s has %s (%s) in %s %s; %s (%s).", [
	artifact.role,
	artifact.reference,
	item.id,
	concat(" ", [word | some word in [item.severity, item.score]; word != ""]),
	item.package,
	item.version,
	mended(item),
	concat(", ", item.scanners),
])

mended(item) := sprintf("fixed in %s", [concat(", ", item.fixed)]) if count(item.fixed) > 0

mended(item) := "there is no fix" if count(item.fixed) == 0

remedy(item) := sprintf("Update %s to %s and build anew.", [item.package, item.fixed[0]]) if count(item.fixed) == 1

# A scanner lists the fixes of all branches: the first is not always the one above what is there.
remedy(item) := sprintf("Update %s to the next of %s and build anew.", [item.package, concat(", ", item.fixed)]) if {
	count(item.fixed) > 1
}

remedy(item) := sprintf("Do without %s, or have a VEX statement signed that says why %s does not matter here.", [
	item.package,
	item.id,
]) if {
	count(item.fixed) == 0
}
