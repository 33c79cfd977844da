package customhouse.tests.pods

import data.customhouse.fixtures
import data.customhouse.rules.pods

test_container_root_fires_when_nothing_is_said if {
	found := pods.findings with input as fixtures.with_pod({"security": {"run_as_non_root": null}})
	fixtures.rules(found) == {"container-root"}
}

test_container_root_fires_when_the_container_overrides_its_pod if {
	found := pods.findings with input as fixtures.with_container({"security": {"run_as_non_root": false}})
	fixtures.rules(found) == {"container-root"}
}

test_container_root_fires_for_user_0 if {
	found := pods.findings with input as fixtures.with_container({"security": {"run_as_user": 0}})
	fixtures.rules(found) == {"container-root"}
	some finding in found
	contains(finding.message, "runAsUser is 0")
}

test_container_root_is_silent_for_a_user_of_the_pod if {
	change := {"security": {"run_as_non_root": null, "run_as_user": 1000}}
	count(pods.findings) == 0 with input as fixtures.with_pod(change)
}

test_container_privileged_fires if {
	found := pods.findings with input as fixtures.with_container({"security": {"privileged": true}})
	fixtures.rules(found) == {"container-privileged"}
}

test_container_privileged_is_silent_for_an_ordinary_container if {
	count(pods.findings) == 0 with input as fixtures.facts
}

test_container_privilege_escalation_fires_when_not_set if {
	found := pods.findings with input as fixtures.with_container({"security": {"allow_privilege_escalation": null}})
	fixtures.rules(found) == {"container-privilege-escalation"}
}

test_container_privilege_escalation_is_silent_when_refused if {
	change := {"security": {"allow_privilege_escalation": false}}
	count(pods.findings) == 0 with input as fixtures.with_container(change)
}

test_container_capabilities_fires_when_they_are_kept if {
	found := pods.findings with input as fixtures.with_container({"security": {"capabilities_drop": ["NET_RAW"]}})
	fixtures.rules(found) == {"container-capabilities"}
}

test_container_capabilities_fires_for_one_that_is_added if {
	change := {"security": {"capabilities_add": ["NET_BIND_SERVICE", "SYS_ADMIN"]}}
	found := pods.findings with input as fixtures.with_container(change)
	fixtures.rules(found) == {"container-capabilities"}
	some finding in found
	contains(finding.message, "SYS_ADMIN")
	not contains(finding.message, "NET_BIND_SERVICE")
}

test_container_capabilities_is_silent_for_net_bind_service if {
	change := {"security": {"capabilities_add": ["NET_BIND_SERVICE"]}}
	count(pods.findings) == 0 with input as fixtures.with_container(change)
}

test_pod_host_namespace_fires_for_each_of_the_three if {
	every field in ["host_network", "host_pid", "host_ipc"] {
		found := pods.findings with input as fixtures.with_pod({field: true})
		fixtures.rules(found) == {"pod-host-namespace"}
	}
}

test_pod_host_namespace_fires_for_a_host_port if {
	port := {"port": 80, "protocol": "TCP", "host_port": 80, "pointer": "/p/0"}
	found := pods.findings with input as fixtures.with_container({"ports": [port]})
	fixtures.rules(found) == {"pod-host-namespace"}
}

test_pod_host_namespace_fires_for_an_unmasked_proc if {
	found := pods.findings with input as fixtures.with_container({"security": {"proc_mount": "Unmasked"}})
	fixtures.rules(found) == {"pod-host-namespace"}
}

test_pod_host_namespace_is_silent_for_a_port_of_the_pod if {
	count(pods.findings) == 0 with input as fixtures.facts
}

test_pod_host_path_fires if {
	volume := {"name": "docker", "kind": "hostPath", "host_path": "/var/run", "claim": null, "pointer": "/v/0"}
	found := pods.findings with input as fixtures.with_pod({"volumes": [volume]})
	fixtures.rules(found) == {"pod-host-path"}
	some finding in found
	finding.pointer == "/v/0"
}

test_pod_host_path_is_silent_for_a_claim if {
	volume := {"name": "m", "kind": "persistentVolumeClaim", "host_path": null, "claim": "models", "pointer": "/v/0"}
	count(pods.findings) == 0 with input as fixtures.with_pod({"volumes": [volume]})
}

test_resources_missing_fires_and_names_what_is_missing if {
	found := pods.findings with input as fixtures.with_container({"cpu_limit_milli": 0, "memory_limit_bytes": 0})
	fixtures.rules(found) == {"resources-missing"}
	some finding in found
	contains(finding.message, "limits.cpu, limits.memory")
	finding.fix == "Set resources.limits.cpu and resources.limits.memory."
}

test_resources_missing_fires_for_an_init_container if {
	found := pods.findings with input as fixtures.with_container({"role": "init", "cpu_request_milli": 0})
	fixtures.rules(found) == {"resources-missing"}
}

test_resources_missing_is_silent_for_a_debug_container if {
	count(pods.findings) == 0 with input as fixtures.with_container({"role": "ephemeral", "cpu_limit_milli": 0})
}

test_container_seccomp_fires_without_a_profile_and_for_none if {
	every profile in [null, "Unconfined"] {
		found := pods.findings with input as fixtures.with_pod({"security": {"seccomp": profile}})
		fixtures.rules(found) == {"container-seccomp"}
	}
}

test_container_seccomp_fires_when_the_container_undoes_it if {
	found := pods.findings with input as fixtures.with_container({"security": {"seccomp": "Unconfined"}})
	fixtures.rules(found) == {"container-seccomp"}
}

test_container_seccomp_is_silent_for_a_profile_of_ones_own if {
	count(pods.findings) == 0 with input as fixtures.with_container({"security": {"seccomp": "Localhost"}})
}

test_pod_token_mounted_fires if {
	every said in [true, null] {
		found := pods.findings with input as fixtures.with_pod({"automount_token": said})
		fixtures.rules(found) == {"pod-token-mounted"}
	}
}

test_pod_token_mounted_is_silent_without_one if {
	count(pods.findings) == 0 with input as fixtures.facts
}

unsaid := {
	"automount_token": null,
	"security": {"run_as_non_root": null, "run_as_user": null, "seccomp": null},
	"containers": [object.union(
		fixtures.container,
		{"security": {
			"run_as_non_root": null,
			"run_as_user": null,
			"seccomp": null,
			"privileged": false,
			"allow_privilege_escalation": null,
			"read_only_root": false,
			"capabilities_add": [],
			"capabilities_drop": [],
		}},
	)],
}

test_what_a_kind_cannot_say_is_no_finding if {
	count(pods.findings) > 4 with input as fixtures.with_pod(unsaid)
	count(pods.findings) == 0 with input as fixtures.with_pod(object.union(unsaid, {"security_given": false}))
}

test_what_it_does_say_is_judged if {
	found := pods.findings with input as fixtures.with_pod({
		"security_given": false,
		"host_network": true,
		"containers": [object.union(fixtures.container, {"security": {"run_as_user": 0, "privileged": true}})],
	})
	fixtures.rules(found) == {"pod-host-namespace", "container-root", "container-privileged"}
}

test_facts_that_do_not_tell_whether_it_can_are_judged if {
	untold := object.union(object.remove(fixtures.pod, ["security_given"]), {"automount_token": null})
	found := pods.findings with input as fixtures.with_workload({"pods": [untold]})
	fixtures.rules(found) == {"pod-token-mounted"}
}
