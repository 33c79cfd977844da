package customhouse.rules.pods

import data.customhouse.lib

# METADATA
# title: Containers do not run as root
# description: >-
#   A container has to say runAsNonRoot true, or a runAsUser other than 0, itself or through its pod. What says nothing
#   runs as whatever user the image names, which is root as a rule.
# custom:
#   id: container-root
#   category: security
#   severity: error
#   fix: "Set securityContext.runAsNonRoot: true on the pod or the container."
findings contains lib.error("security", "container-root", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	lib.effective(pod, container, "run_as_user") == 0
	message := sprintf("The %s runs as root (runAsUser is 0).", [trim_prefix(lib.called(container), "the ")])
	fix := "Set securityContext.runAsNonRoot: true on the pod or the container."
	pointer := security_pointer(container)
}

findings contains lib.error("security", "container-root", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	lib.effective(pod, container, "run_as_non_root") != true
	lib.effective(pod, container, "run_as_user") == null
	lib.secured(pod)
	message := sprintf("The %s may run as root: runAsNonRoot is not true.", [trim_prefix(lib.called(container), "the ")])
	fix := "Set securityContext.runAsNonRoot: true on the pod or the container."
	pointer := security_pointer(container)
}

# METADATA
# title: No container is privileged
# description: A privileged container (or a Windows host process) is root on the node.
# custom:
#   id: container-privileged
#   category: security
#   severity: error
#   fix: "Remove privileged: true; ask for the one capability or device that is needed."
findings contains lib.error("security", "container-privileged", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.security.privileged
	message := sprintf("The %s is privileged.", [trim_prefix(lib.called(container), "the ")])
	fix := "Remove privileged: true; ask for the one capability or device that is needed."
	pointer := security_pointer(container)
}

# METADATA
# title: No container may gain privileges
# description: >-
#   allowPrivilegeEscalation true lets a process become more than it was started as (setuid programs). Not set means
#   true for Kubernetes.
# custom:
#   id: container-privilege-escalation
#   category: security
#   severity: error
#   fix: "Set securityContext.allowPrivilegeEscalation: false."
findings contains lib.error("security", "container-privilege-escalation", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.security.allow_privilege_escalation != false
	lib.secured(pod)
	message := sprintf("The %s may gain privileges: allowPrivilegeEscalation is not false.", [trim_prefix(lib.called(container), "the ")])
	fix := "Set securityContext.allowPrivilegeEscalation: false."
	pointer := security_pointer(container)
}

# METADATA
# title: Containers drop all capabilities
# description: >-
#   Every container drops ALL Linux capabilities; only NET_BIND_SERVICE may be added back (Pod Security Standards,
#   restricted).
# custom:
#   id: container-capabilities
#   category: security
#   severity: error
#   fix: "Set securityContext.capabilities.drop: [ALL]."
findings contains lib.error("security", "container-capabilities", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	dropped := container.security.capabilities_drop
	not "ALL" in dropped
	lib.secured(pod)
	message := sprintf("The %s does not drop all Linux capabilities.", [trim_prefix(lib.called(container), "the ")])
	fix := "Set securityContext.capabilities.drop: [ALL]."
	pointer := security_pointer(container)
}

findings contains lib.error("security", "container-capabilities", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	added := [name | some name in container.security.capabilities_add; name != "NET_BIND_SERVICE"]
	count(added) > 0
	message := sprintf("The %s adds the capabilities %s.", [trim_prefix(lib.called(container), "the "), lib.listed(added)])
	fix := "Remove them from securityContext.capabilities.add; only NET_BIND_SERVICE may be added."
	pointer := security_pointer(container)
}

# METADATA
# title: Containers run under a seccomp profile
# description: >-
#   Without a profile a container may make every system call of the kernel; RuntimeDefault refuses the dangerous ones
#   (Pod Security Standards, restricted). The pod or the container says RuntimeDefault or Localhost.
# custom:
#   id: container-seccomp
#   category: security
#   severity: error
#   fix: "Set securityContext.seccompProfile.type: RuntimeDefault on the pod."
findings contains lib.error("security", "container-seccomp", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	profile := lib.effective(pod, container, "seccomp")
	not profile in own_profiles
	lib.secured(pod)
	message := sprintf("The %s runs without a seccomp profile (%s).", [
		trim_prefix(lib.called(container), "the "),
		shown_profile(profile),
	])
	fix := "Set securityContext.seccompProfile.type: RuntimeDefault on the pod."
	pointer := security_pointer(container)
}

own_profiles := {"RuntimeDefault", "Localhost"}

shown_profile(profile) := "none is named" if profile == null

shown_profile(profile) := profile if profile != null

# METADATA
# title: A pod gets no token that it does not use
# description: >-
#   Every pod is given a token for the API server unless automountServiceAccountToken is false; whoever breaks in has it.
# custom:
#   id: pod-token-mounted
#   category: security
#   severity: error
#   tiers: "standard: warning; experiment: note"
#   fix: "Set automountServiceAccountToken: false on the pod, or name a service account of its own and waive this."
findings contains lib.error("security", "pod-token-mounted", pointer, message, fix) if {
	some pod in lib.pods
	pod.automount_token != false
	lib.secured(pod)
	message := "The pod is given a token for the API server: automountServiceAccountToken is not false."
	fix := "Set automountServiceAccountToken: false on the pod."
	pointer := pod.pointer
}

# METADATA
# title: Pods keep out of the host's namespaces
# description: >-
#   hostNetwork, hostPID and hostIPC put a pod beside the node's own processes; a hostPort opens a port of the node; an
#   unmasked /proc shows the node's.
# custom:
#   id: pod-host-namespace
#   category: security
#   severity: error
#   fix: Remove the field; reach the pod through a Service.
findings contains lib.error("security", "pod-host-namespace", pointer, message, fix) if {
	some pod in lib.pods
	some field, name in {"host_network": "hostNetwork", "host_pid": "hostPID", "host_ipc": "hostIPC"}
	pod[field]
	pointer := sprintf("%s/%s", [pod.pointer, name])
	message := sprintf("The pod shares a namespace with its node: %s is true.", [name])
	fix := sprintf("Remove %s; reach the pod through a Service.", [name])
}

findings contains lib.error("security", "pod-host-namespace", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	some port in container.ports
	port.host_port != 0
	message := sprintf("The %s opens port %v of its node.", [trim_prefix(lib.called(container), "the "), port.host_port])
	fix := "Remove hostPort; reach the pod through a Service."
	pointer := port.pointer
}

findings contains lib.error("security", "pod-host-namespace", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.security.proc_mount != "Default"
	message := sprintf("The %s has an unmasked /proc (procMount %s).", [trim_prefix(lib.called(container), "the "), container.security.proc_mount])
	fix := "Remove securityContext.procMount."
	pointer := security_pointer(container)
}

# METADATA
# title: No volume is a path of the host
# description: A hostPath volume reads or writes the node's own files, past every limit of the cluster.
# custom:
#   id: pod-host-path
#   category: security
#   severity: error
#   fix: Use a PersistentVolumeClaim, an emptyDir or a ConfigMap.
findings contains lib.error("security", "pod-host-path", pointer, message, fix) if {
	some pod in lib.pods
	some volume in pod.volumes
	volume.kind == "hostPath"
	message := sprintf("The volume %q is the path %s of the node.", [volume.name, volume.host_path])
	fix := "Use a PersistentVolumeClaim, an emptyDir or a ConfigMap."
	pointer := volume.pointer
}

# METADATA
# title: Every container has requests and limits
# description: >-
#   CPU and memory requests and limits are what a price and a place are computed from; a container without a memory
#   limit can take its neighbours down. Init containers and the model of an InferenceService count too.
# custom:
#   id: resources-missing
#   category: reliability
#   severity: error
#   fix: Set resources.requests and resources.limits for cpu and memory.
findings contains lib.error("reliability", "resources-missing", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	container.role != "ephemeral" # Kubernetes refuses resources there
	missing := [name |
		some field, name in {
			"cpu_request_milli": "requests.cpu",
			"cpu_limit_milli": "limits.cpu",
			"memory_request_bytes": "requests.memory",
			"memory_limit_bytes": "limits.memory",
		}
		container[field] == 0
	]
	count(missing) > 0
	pointer := sprintf("%s/resources", [container.pointer])
	message := sprintf("The %s has no %s.", [trim_prefix(lib.called(container), "the "), lib.listed(missing)])
	fix := sprintf("Set resources.%s.", [concat(" and resources.", sort(missing))])
}

security_pointer(container) := sprintf("%s/securityContext", [container.pointer])
