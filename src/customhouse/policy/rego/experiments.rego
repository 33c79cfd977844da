package customhouse.rules.experiments

import data.customhouse.lib

# METADATA
# title: An experiment says when it ends
# description: >-
#   In a tier with ttlRequired a workload carries customhouse.dev/ttl, a day (2026-12-31) or a moment (RFC 3339), so that
#   what nobody needs any more does not go on costing.
# custom:
#   id: ttl-missing
#   category: cost
#   severity: error
#   fix: "Set the annotation customhouse.dev/ttl to the last day that it is needed, such as 2026-12-31."
findings contains lib.error("cost", "ttl-missing", "/metadata/annotations", message, fix) if {
	lib.workload
	input.tier.spec.ttl_required
	input.lifetime == null
	message := sprintf("Tier %s asks every workload when it ends; this one does not say.", [input.tier.name])
	fix := "Set the annotation customhouse.dev/ttl to the last day that it is needed, such as 2026-12-31."
}

# METADATA
# title: The end of a workload can be read
# description: customhouse.dev/ttl is a day or an RFC 3339 moment with a zone; a duration has no beginning in Git.
# custom:
#   id: ttl-invalid
#   category: cost
#   severity: error
#   fix: Write a day (2026-12-31) or a moment (2026-12-31T18:00:00Z).
findings contains lib.error("cost", "ttl-invalid", "/metadata/annotations/customhouse.dev~1ttl", message, fix) if {
	lib.workload
	input.lifetime.ttl
	input.lifetime.seconds_left == null
	message := sprintf("The end %q is neither a day nor a moment.", [input.lifetime.ttl])
	fix := "Write a day (2026-12-31) or a moment (2026-12-31T18:00:00Z)."
}

# METADATA
# title: What has ended is taken away
# description: The workload is past the end that it declares.
# custom:
#   id: ttl-expired
#   category: cost
#   severity: error
#   fix: Take it away, or say how much longer it is needed.
findings contains lib.error("cost", "ttl-expired", "/metadata/annotations/customhouse.dev~1ttl", message, fix) if {
	lib.workload
	is_number(input.lifetime.seconds_left)
	input.lifetime.seconds_left <= 0
	message := sprintf("It was to end at %s.", [input.lifetime.ttl])
	fix := "Take it away, or say how much longer it is needed."
}

# METADATA
# title: The end of a workload is near enough
# description: The tier bounds how long a workload may be declared to live (maxTtlDays).
# custom:
#   id: ttl-too-long
#   category: cost
#   severity: error
#   fix: Declare an earlier end; it can be moved when it is reached.
findings contains lib.error("cost", "ttl-too-long", "/metadata/annotations/customhouse.dev~1ttl", message, fix) if {
	lib.workload
	is_number(input.lifetime.seconds_left)
	is_number(input.tier.spec.max_ttl_days)
	input.lifetime.seconds_left > (input.tier.spec.max_ttl_days + 1) * 86400
	message := sprintf("It is to end at %s; tier %s allows %v days.", [
		input.lifetime.ttl,
		input.tier.name,
		input.tier.spec.max_ttl_days,
	])
	fix := "Declare an earlier end; it can be moved when it is reached."
}

# METADATA
# title: What does nothing is named
# description: Evidence of its use says that the workload served no request, or that its accelerators did nothing.
# custom:
#   id: workload-idle
#   category: cost
#   severity: note
#   fix: Take it away, or let it scale to zero.
findings contains lib.note("cost", "workload-idle", "", message, fix) if {
	lib.workload
	message := idle
	fix := "Take it away, or let it scale to zero."
}

idle := sprintf("It served no request in %v days.", [input.usage.window_days]) if input.usage.requests == 0

idle := sprintf("Its %v accelerators were at most %v%% busy in %v days.", [
	lib.workload.accelerators,
	input.usage.accelerator_percent,
	input.usage.window_days,
]) if {
	not input.usage.requests == 0
	lib.workload.accelerators > 0
	is_number(input.usage.accelerator_percent)
	input.usage.accelerator_percent < 5
}

# METADATA
# title: What is far too large is named
# description: >-
#   Evidence of its use says that a replica needs less than half of what it reserves (99th percentile). The optimiser
#   proposes the numbers.
# custom:
#   id: workload-oversized
#   category: cost
#   severity: note
#   fix: "Take the proposal of customhouse optimise recommend."
findings contains lib.note("cost", "workload-oversized", "", message, fix) if {
	lib.workload
	some field, asked in {"cpu_milli": lib.workload.cpu_milli, "memory_bytes": lib.workload.memory_bytes}
	needed := input.usage[field]
	is_number(needed)
	needed * 2 < asked
	message := sprintf("A replica reserves %v %s and needed %v in %v days.", [
		asked,
		{"cpu_milli": "millicores", "memory_bytes": "bytes of memory"}[field],
		needed,
		input.usage.window_days,
	])
	fix := "Take the proposal of `customhouse optimise recommend`."
}
