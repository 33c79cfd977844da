# What the rules share: shapes of findings, money as text, and the readings of Facts that several topics need.
package customhouse.lib

error(category, rule, pointer, message, fix) := {
	"rule": rule,
	"category": category,
	"severity": "error",
	"pointer": pointer,
	"message": message,
	"fix": fix,
}

warning(category, rule, pointer, message, fix) := {
	"rule": rule,
	"category": category,
	"severity": "warning",
	"pointer": pointer,
	"message": message,
	"fix": fix,
}

note(category, rule, pointer, message, fix) := {
	"rule": rule,
	"category": category,
	"severity": "note",
	"pointer": pointer,
	"message": message,
	"fix": fix,
}

# Micro-units as exact decimal text with two places, more when there are more: integers only, since a float that is
# divided by a million is already another amount.
money(micro) := sprintf("%s%s.%s %s", [sign(micro), format_int(whole(micro), 10), places(micro), input.cost.currency])

sign(micro) := "-" if micro < 0

sign(micro) := "" if micro >= 0

whole(micro) := (abs(micro) - (abs(micro) % 1000000)) / 1000000

places(micro) := substring(digits(micro), 0, 2) if abs(micro) % 10000 == 0

places(micro) := trim_right(digits(micro), "0") if abs(micro) % 10000 != 0

digits(micro) := substring(format_int(1000000 + (abs(micro) % 1000000), 10), 1, -1)

default pods := []

pods := input.change.after.workload.pods

workload := input.change.after.workload if input.change.after.workload != null

# What the object names, by role: what no artifact of a role is named for is not asked further.
roles contains artifact.role if some artifact in input.artifacts

# Whether anything has been said about any of it.
witnessed if {
	some artifact in input.artifacts
	count(artifact.evidence) > 0
}

# A container's own setting wins over its pod's.
effective(pod, container, field) := container.security[field] if {
	container.security[field] != null
} else := pod.security[field] if {
	container.security[field] == null
}

# Whether the object can say how its pods are secured. Where it cannot (the router of an InferenceGraph), its controller
# does, and the pods that it makes are judged themselves: what is not said is no finding.
secured(pod) if not pod.security_given == false

# A function and not a rule: the embedded engine evaluates rules ahead of the guards of those that use them.
shown(items, empty) := empty if count(items) == 0

shown(items, _) := concat(", ", items) if count(items) > 0

listed(items) := concat(", ", sort(items))

called(container) := "the model container" if container.name == "kserve-container"

called(container) := sprintf("%s container %q", [container.role, container.name]) if {
	container.name != "kserve-container"
	container.role != "main"
}

called(container) := sprintf("container %q", [container.name]) if {
	container.name != "kserve-container"
	container.role == "main"
}

# How strict the tier, with its environment, is about a check; and what it relaxed for a while. A relaxation is never
# silent: its finding stays, less severe, and says who answers for it until when; what is no relaxation relaxes nothing
# and loses nothing, since what may have no value is worked out in bodies. One chain: of definitions that stand by themselves the engine evaluates every one for every finding.
judged(finding) := finding if {
	not stated(finding)
	not relaxed(finding)
} else := object.union(finding, {"severity": input.tier.checks[finding.rule]}) if {
	not relaxed(finding)
} else := object.union(finding, {"severity": severity, "message": message}) if {
	relaxation := input.tier.relaxations[finding.rule]
	relaxation.state == "active"
	severity := laxer(strictness(finding), relaxation.severity)
	message := sprintf("%s Relaxed from %s to %s until %s by %s (%s): %s", [
		finding.message,
		strictness(finding),
		relaxation.severity,
		relaxation.expires,
		relaxation.owner,
		relaxation.ticket,
		relaxation.reason,
	])
} else := object.union(finding, {"severity": strictness(finding), "message": message}) if {
	relaxation := input.tier.relaxations[finding.rule]
	relaxation.state != "active"
	message := sprintf("%s The relaxation by %s (%s) does not hold: %s.", [
		finding.message,
		relaxation.owner,
		relaxation.ticket,
		relaxation.state,
	])
} else := object.union(finding, {"severity": strictness(finding)})

# What controllers derive has the cost, the labels and the commit of its owner, and these are judged there. A guard of
# its own: a head without a value is an element of the set in the embedded engine. What is no finding is not left out.
kept(finding) if {
	not input.derived == true
} else if {
	not left_to_owner(finding)
}

left_to_owner(finding) if finding.category in ["cost", "reliability", "compliance"]

# Functions, and not the looks that they take: what is no finding has no rule, and would be lost where `not` has an operand
# without a value. It has to reach who judges, who then shuts the gate.
stated(finding) if input.tier.checks[finding.rule]

relaxed(finding) if input.tier.relaxations[finding.rule]

strictness(finding) := object.get(object.get(input.tier, "checks", {}), finding.rule, finding.severity)

ranks := {"error": 3, "warning": 2, "note": 1, "muted": 0}

# What is muted is still told, as a note.
laxer(_, "muted") := "note"

# What is no severity relaxes nothing: a finding that has no value here would be lost.
laxer(severity, asked) := severity if not ranks[asked]

laxer(severity, asked) := severity if {
	asked != "muted"
	not ranks[severity]
}

laxer(severity, asked) := severity if {
	asked != "muted"
	ranks[severity] <= ranks[asked]
}

laxer(severity, asked) := asked if {
	asked != "muted"
	ranks[severity] > ranks[asked]
}
