# Kueue: who has to wait in a queue, whether the queue can ever let it in, and what a queue's quota is worth.
package customhouse.rules.queues

import data.customhouse.lib

# METADATA
# title: Batch work waits in a queue where the tier says so
# description: >-
#   In a tier with queueRequired a batch workload names a LocalQueue (label kueue.x-k8s.io/queue-name): what names none is
#   started at once, beside every quota.
# custom:
#   id: queue-required
#   category: cost
#   severity: error
#   fix: "Set the label kueue.x-k8s.io/queue-name to a LocalQueue of the namespace (of a CronJob in its jobTemplate)."
findings contains lib.error("cost", "queue-required", "/metadata/labels", message, fix) if {
	lib.workload.batch
	not lib.workload.template
	not input.derived
	input.tier.spec.queue_required
	not queue
	message := sprintf("Tier %s starts batch work by queues; this workload names none.", [input.tier.name])
	fix := "Set the label kueue.x-k8s.io/queue-name to a LocalQueue of the namespace (of a CronJob in its jobTemplate)."
}

# METADATA
# title: The queue that is named lets work in
# description: >-
#   The LocalQueue and its ClusterQueue are declared, take from the namespace and are not stopped; else the workload waits,
#   and nobody is told.
# custom:
#   id: queue-closed
#   category: reliability
#   severity: warning
#   fix: Name a LocalQueue of the namespace whose ClusterQueue is declared and open.
findings contains lib.warning("reliability", "queue-closed", "/metadata/labels", message, fix) if {
	queue.problem != ""
	message := sprintf("Queue %s lets nothing in: %s.", [queue.name, queue.problem])
	fix := "Name a LocalQueue of the namespace whose ClusterQueue is declared and open."
}

# METADATA
# title: The queue can let the workload in
# description: >-
#   What the workload asks for at once is within what its queue can ever give it of some flavor: the nominal quota, and
#   what may be borrowed. Kueue would leave it pending for good, without an error.
# custom:
#   id: queue-never-fits
#   category: cost
#   severity: error
#   fix: Ask for less, name a queue with more quota, or have the quota raised.
findings contains lib.error("cost", "queue-never-fits", "", message, fix) if {
	some lack in queue.lacks
	lack.sure
	message := never(lack)
	fix := "Ask for less, name a queue with more quota, or have the quota raised."
}

# METADATA
# title: The queue is known to have what the workload asks for
# description: >-
#   By what is declared here, the queue cannot give what the workload asks for; queues of the cohort that are declared
#   elsewhere, or Kueue's own configuration, may.
# custom:
#   id: queue-may-not-fit
#   category: cost
#   severity: warning
#   fix: Ask for less, or add the resource to the quota of the queue.
findings contains lib.warning("cost", "queue-may-not-fit", "", message, fix) if {
	some lack in queue.lacks
	not lack.sure
	message := never(lack)
	fix := "Ask for less, or add the resource to the quota of the queue."
}

# METADATA
# title: The quota of a queue is within the budget
# description: >-
#   At the price book's prices the quota of a queue, with what it may borrow, may cost more in a month than a budget that
#   covers it: the queue lets in what the budget does not pay for.
# custom:
#   id: quota-over-budget
#   category: cost
#   severity: warning
#   fix: Lower the quota or its borrowingLimit, or have the budget raised by its owner.
findings contains lib.warning("cost", "quota-over-budget", "/spec", message, fix) if {
	startswith(input.change.after.api_version, "kueue.x-k8s.io/")
	some budget in input.budgets
	input.cost.monthly_high_micro > budget.limit_micro
	message := sprintf("The quota of %s %s is worth up to %s a month; budget %s has %s.", [
		input.change.after.kind,
		input.change.after.name,
		lib.money(input.cost.monthly_high_micro),
		budget.name,
		lib.money(budget.limit_micro),
	])
	fix := "Lower the quota or its borrowingLimit, or have the budget raised by its owner."
}

queue := input.surroundings.queue

never(lack) := sprintf("%s asks for %s of %s at once; flavor %s of ClusterQueue %s can give %s at most.", [
	lack.pods,
	lack.asked,
	lack.resource,
	lack.flavor,
	queue.cluster_queue,
	lack.most,
]) if {
	lack.most != null
}

never(lack) := sprintf("%s asks for %s of %s, of which ClusterQueue %s has no quota.", [
	lack.pods,
	lack.asked,
	lack.resource,
	queue.cluster_queue,
]) if {
	lack.most == null
	lack.flavor == ""
}

never(lack) := sprintf("%s asks for %s of %s; by labels and taints it fits none of the flavors of ClusterQueue %s (%s).", [
	lack.pods,
	lack.asked,
	lack.resource,
	queue.cluster_queue,
	lack.flavor,
]) if {
	lack.most == null
	lack.flavor != ""
}
