package customhouse.rules.spot

import data.customhouse.lib

# The longest that a cloud tells ahead: AWS two minutes; Google and Azure thirty seconds (docs/spot.md).
longest_notice_s := 120

# METADATA
# title: What runs on spot capacity puts up with being interrupted
# description: >-
#   A spot machine is taken away within seconds. What serves needs a second replica, a Job needs an attempt left or a
#   podFailurePolicy that ignores DisruptionTarget. Whoever can do without says so: annotation
#   customhouse.dev/interruption, accepted, on the pods.
# custom:
#   id: spot-interruption
#   category: reliability
#   severity: error
#   fix: "Have two replicas, or an attempt left; or say customhouse.dev/interruption: accepted on the pods."
findings contains lib.error("reliability", "spot-interruption", pointer, message, fix) if {
	some pod in interruptible
	not lib.workload.batch
	input.change.after.kind != "Pod"
	input.change.after.kind != "DaemonSet"
	pod.replicas_min < 2
	message := sprintf("%v replica on spot capacity: nothing answers from when its machine is taken away until it runs again.", [
		pod.replicas_min,
	])
	fix := "Declare at least two replicas, or say customhouse.dev/interruption: accepted on the pods."
	pointer := pod.pointer
}

findings contains lib.error("reliability", "spot-interruption", pointer, message, fix) if {
	some pod in interruptible
	some job in jobs
	job.backoff_limit < 1
	not job.disruptions_ignored
	message := "The Job has no attempt left (backoffLimit 0): it fails for good when its spot machine is taken away."
	fix := "Set backoffLimit to at least 1, or a podFailurePolicy that ignores DisruptionTarget."
	pointer := pod.pointer
}

# METADATA
# title: A Pod on spot capacity has somebody who starts it again
# description: >-
#   A Pod without a controller is gone when its spot machine is. A warning, since the tier's own cost policy may have put it
#   there.
# custom:
#   id: spot-pod
#   category: reliability
#   severity: warning
#   fix: "Make it a Job or a Deployment, or say customhouse.dev/interruption: accepted on it."
findings contains lib.warning("reliability", "spot-pod", pointer, message, fix) if {
	some pod in interruptible
	input.change.after.kind == "Pod"
	not input.derived
	message := "A Pod of its own on spot capacity: nobody starts it again when its machine is taken away."
	fix := "Make it a Job or a Deployment, or say customhouse.dev/interruption: accepted on it."
	pointer := pod.pointer
}

# METADATA
# title: Batch work on spot capacity saves what it has done
# description: >-
#   Without a checkpoint each interruption costs all that was done. The pods' annotation customhouse.dev/checkpoint names
#   the path at which the program saves its state on SIGTERM; customhouse.dev/interruption, restart, says that it begins
#   anew on purpose.
# custom:
#   id: spot-checkpoint
#   category: cost
#   severity: warning
#   fix: "Save on SIGTERM and say where: annotation customhouse.dev/checkpoint on the pods."
findings contains lib.warning("cost", "spot-checkpoint", pointer, message, fix) if {
	some pod in interruptible
	lib.workload.batch
	pod.checkpoint == null
	message := "Batch work on spot capacity that saves nothing: each interruption costs all that it has done."
	fix := "Save on SIGTERM and say where (customhouse.dev/checkpoint), or say customhouse.dev/interruption: restart."
	pointer := pod.pointer
}

# METADATA
# title: Nobody gets longer to end than a spot machine stays
# description: >-
#   A termination grace period above the notice is a promise that nobody keeps: AWS tells 120 seconds ahead, Google and
#   Azure 30.
# custom:
#   id: spot-grace
#   category: reliability
#   severity: warning
#   fix: Lower terminationGracePeriodSeconds, and save more often.
findings contains lib.warning("reliability", "spot-grace", pointer, message, fix) if {
	some pod in lib.pods
	pod.spot
	pod.termination_grace_s > longest_notice_s
	message := sprintf("It may take %v s to end, and no spot machine stays longer than %v s.", [
		pod.termination_grace_s,
		longest_notice_s,
	])
	fix := sprintf("Set it to at most %v (30 on Google and Azure).", [longest_notice_s])
	pointer := sprintf("%s/terminationGracePeriodSeconds", [pod.pointer])
}

# METADATA
# title: No burstable machine where the tier forbids it
# description: >-
#   Burstable machines (AWS T, Azure B, Google's shared cores) give their full CPU only while they have credits: latency
#   is not bounded when these are used up, or the bill is not.
# custom:
#   id: burstable-forbidden
#   category: reliability
#   severity: error
#   fix: Select machines that are not burstable.
findings contains lib.error("reliability", "burstable-forbidden", pointer, message, fix) if {
	input.tier.spec.burstable == "forbidden"
	some pod in lib.pods
	some machine in pod.burstable
	message := sprintf("Tier %s forbids burstable machines; this workload selects %s.", [input.tier.name, machine])
	fix := "Select machines that are not burstable."
	pointer := sprintf("%s/nodeSelector", [pod.pointer])
}

# Whoever says that it puts up with an interruption (customhouse.dev/interruption) is not asked again.
interruptible contains pod if {
	not lib.workload.template
	some pod in lib.pods
	pod.spot
	pod.interruption != "accepted"
	pod.interruption != "restart"
}

jobs contains input.change.after.spec if input.change.after.kind == "Job"

jobs contains input.change.after.spec.job if input.change.after.kind == "CronJob"
