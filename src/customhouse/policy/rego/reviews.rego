package customhouse.rules.reviews

import data.customhouse.lib

# METADATA
# title: Changes are reviewed by others
# description: >-
#   The forge knows of fewer approvals of this commit than the configuration asks for: it was pushed without a pull
#   request, or its pull request was merged without them. Approvals of an older state and the author's own do not count.
#   Reverts that Customhouse itself signs are exempt when they restore a former state exactly.
# custom:
#   id: review-missing
#   category: compliance
#   severity: error
#   fix: Open a pull request for the change, and let somebody else approve its last state.
findings contains lib.error("compliance", "review-missing", "", message, fix) if {
	count(input.review.approvals) < input.review.required
	not input.review.exempt
	message := sprintf("Commit %s %s: %v of %v approvals%s.", [
		substring(input.revision.id, 0, 12),
		origin,
		count(input.review.approvals),
		input.review.required,
		by,
	])
	fix := "Open a pull request for the change, and let somebody else approve its last state."
}

# METADATA
# title: Owners agree
# description: >-
#   CODEOWNERS of the base revision names people or teams who answer for a changed file, and none of them approved. What
#   the change writes into CODEOWNERS itself takes effect after it.
# custom:
#   id: owner-review-missing
#   category: compliance
#   severity: error
#   fix: Let an owner who is named for the file approve the pull request.
findings contains lib.error("compliance", "owner-review-missing", "", message, fix) if {
	count(input.review.missing_owners) > 0
	not input.review.exempt
	message := sprintf("Nobody who owns it approved %s%s.", [concat(", ", array.slice(input.review.missing_owners, 0, 5)), more])
	fix := "Let an owner who is named for the file approve the pull request."
}

# METADATA
# title: No reviewer objects
# description: A reviewer asked for changes and has not taken that back.
# custom:
#   id: review-objection
#   category: compliance
#   severity: error
#   fix: Settle what the reviewer asked for; let them approve, or have the review dismissed.
findings contains lib.error("compliance", "review-objection", "", message, fix) if {
	count(input.review.objections) > 0
	not input.review.exempt
	message := sprintf("%s asked for changes and has not taken that back.", [lib.listed(input.review.objections)])
	fix := "Settle what the reviewer asked for; let them approve, or have the review dismissed."
}

origin := "was pushed without a pull request" if input.review.pull_request == null

origin := sprintf("came by pull request %v", [input.review.pull_request]) if input.review.pull_request != null

by := "" if count(input.review.approvals) == 0

by := sprintf(" (by %s)", [lib.listed(input.review.approvals)]) if count(input.review.approvals) > 0

more := "" if count(input.review.missing_owners) <= 5

more := sprintf(" and %v more", [count(input.review.missing_owners) - 5]) if count(input.review.missing_owners) > 5
