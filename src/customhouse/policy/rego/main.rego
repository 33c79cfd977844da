# The entry point. One body a topic, each behind a guard: a topic that cannot concern the object costs nothing. A project's
# own rules, packages `customhouse.rules.NAME` with a set `findings`, join by bodies that the bundle adds when it is read
# (`policy.bundle`): named packages are what the embedded engine can compile, and what makes it several times faster.
package customhouse

import data.customhouse.lib

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.pods.findings
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.images.findings
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.labels.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.models.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.secrets.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.capacity.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.cost.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.revisions.findings
}

findings contains lib.judged(finding) if {
	input.review != null
	some finding in data.customhouse.rules.reviews.findings
}

findings contains lib.judged(finding) if {
	startswith(input.change.after.api_version, "rbac.authorization.k8s.io/")
	some finding in data.customhouse.rules.access.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.autoscaling.findings
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.evidence.findings
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.experiments.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.files.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.network.findings
}

findings contains lib.judged(finding) if {
	lib.workload
	some finding in data.customhouse.rules.placement.findings
}

findings contains lib.judged(finding) if {
	some finding in data.customhouse.rules.spend.findings
}
