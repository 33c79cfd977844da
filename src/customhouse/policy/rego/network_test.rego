package customhouse.tests.network

import data.customhouse.fixtures
import data.customhouse.rules.network

open_namespace := fixtures.with_surroundings(fixtures.facts, {"default_deny": {"ingress": false, "egress": false}})

test_network_default_deny_fires_where_no_policy_denies if {
	found := network.findings with input as open_namespace
	fixtures.rules(found) == {"network-default-deny"}
	some finding in found
	contains(finding.message, "\"fraud\"")
}

test_network_default_deny_fires_when_nothing_is_known if {
	found := network.findings with input as fixtures.with_surroundings(fixtures.facts, null)
	fixtures.rules(found) == {"network-default-deny"}
}

test_network_default_deny_is_silent_where_a_policy_denies if {
	count(network.findings) == 0 with input as fixtures.facts
}

test_network_default_deny_is_silent_for_facts_of_before if {
	count(network.findings) == 0 with input as object.remove(fixtures.facts, ["surroundings"])
}

test_network_egress_open_fires_where_only_ingress_is_denied if {
	found := network.findings with input as fixtures.with_surroundings(fixtures.facts, {"default_deny": {"egress": false}})
	fixtures.rules(found) == {"network-egress-open"}
}

test_network_egress_open_is_silent_where_both_are_denied if {
	count(network.findings) == 0 with input as fixtures.facts
}

default_deny := {
	"api_version": "networking.k8s.io/v1",
	"kind": "NetworkPolicy",
	"namespace": "fraud",
	"name": "default-deny",
	"workload": null,
	"spec": {
		"pod_selector": {"labels": {}, "expressions": 0},
		"policy_types": ["Ingress"],
		"ingress_rules": 0,
	},
}

without_policy := object.union(open_namespace, {"change": {"operation": "delete", "before": default_deny, "after": null}})

test_network_default_deny_removed_fires_when_workloads_stay if {
	found := network.findings with input as without_policy
	fixtures.rules(found) == {"network-default-deny-removed"}
}

test_network_default_deny_removed_is_silent_when_another_one_stays if {
	document := fixtures.with_surroundings(without_policy, {"default_deny": {"ingress": true}})
	count(network.findings) == 0 with input as document
}

test_network_default_deny_removed_is_silent_in_an_empty_namespace if {
	count(network.findings) == 0 with input as fixtures.with_surroundings(without_policy, {"workloads": 0})
}

service(spec) := fixtures.with_object("v1", "Service", object.union(
	{"type": "ClusterIP", "external_ips": [], "load_balancer_source_ranges": []},
	spec,
))

test_service_external_ips_fires if {
	found := network.findings with input as service({"external_ips": ["198.51.100.7"]})
	fixtures.rules(found) == {"service-external-ips"}
}

test_service_external_ips_is_silent_without_them if {
	count(network.findings) == 0 with input as service({})
}

test_service_exposed_fires_for_a_node_port if {
	found := network.findings with input as service({"type": "NodePort"})
	fixtures.rules(found) == {"service-exposed"}
}

test_service_exposed_fires_for_a_load_balancer_open_to_all if {
	every ranges in [[], ["10.0.0.0/8", "0.0.0.0/0"], ["::/0"]] {
		found := network.findings with input as service({"type": "LoadBalancer", "load_balancer_source_ranges": ranges})
		fixtures.rules(found) == {"service-exposed"}
	}
}

test_service_exposed_is_silent_for_named_ranges if {
	document := service({"type": "LoadBalancer", "load_balancer_source_ranges": ["198.51.100.0/24"]})
	count(network.findings) == 0 with input as document
}

test_service_exposed_is_silent_for_an_internal_one if {
	annotations := {"networking.gke.io/load-balancer-type": "Internal"}
	document := object.union(service({"type": "LoadBalancer"}), {"change": {"after": {"annotations": annotations}}})
	count(network.findings) == 0 with input as document
}

ingress(hosts, without) := fixtures.with_object("networking.k8s.io/v1", "Ingress", {
	"hosts": [{"name": host, "pointer": "/spec/rules/0"} | some host in hosts],
	"without_tls": without,
})

test_ingress_without_tls_fires if {
	found := network.findings with input as ingress(["a.example.com"], ["a.example.com"])
	fixtures.rules(found) == {"ingress-without-tls"}
}

test_ingress_without_tls_is_silent_where_it_is_there if {
	count(network.findings) == 0 with input as ingress(["a.example.com"], [])
}

test_ingress_wildcard_fires_for_a_star_and_for_no_host if {
	every host in ["*.example.com", ""] {
		found := network.findings with input as ingress([host], [])
		fixtures.rules(found) == {"ingress-wildcard"}
	}
}

test_ingress_wildcard_is_silent_for_a_name if {
	count(network.findings) == 0 with input as ingress(["a.example.com"], [])
}

webhook(policy) := fixtures.with_object(
	"admissionregistration.k8s.io/v1",
	"ValidatingWebhookConfiguration",
	{"webhooks": [{"name": "images.example.com", "failure_policy": policy, "pointer": "/webhooks/0"}]},
)

test_webhook_fails_open_fires if {
	found := network.findings with input as webhook("Ignore")
	fixtures.rules(found) == {"webhook-fails-open"}
}

test_webhook_fails_open_is_silent_when_it_fails_shut if {
	count(network.findings) == 0 with input as webhook("Fail")
}

test_network_callers_differ_fires_with_what_differs if {
	row := {"workload": "Deployment fraud/scorer", "differences": ["NetworkPolicy open lets in everyone"]}
	found := network.findings with input as fixtures.with_surroundings(fixtures.facts, {"callers": [row]})
	fixtures.rules(found) == {"network-callers-differ"}
	some finding in found
	finding.message == "NetworkPolicy open lets in everyone."
}

test_network_callers_differ_names_the_workload_where_a_policy_changes if {
	row := {"workload": "Deployment fraud/scorer", "differences": ["NetworkPolicy open lets in everyone"]}
	facts := fixtures.with_surroundings(fixtures.facts, {"callers": [row]})
	found := network.findings with input as object.union(facts, {"change": {"resource": {"kind": "NetworkPolicy"}}})
	some finding in found
	finding.message == "Deployment fraud/scorer: NetworkPolicy open lets in everyone."
}

test_network_callers_differ_is_silent_where_nothing_differs if {
	count(network.findings) == 0 with input as fixtures.with_surroundings(fixtures.facts, {"callers": []})
}

routed := object.union(
	fixtures.with_surroundings(fixtures.facts, {"named_by": ["HTTPRoute fraud/door", "InferenceGraph fraud/chain"]}),
	{"change": {"operation": "delete", "before": fixtures.facts.change.after, "after": null}},
)

test_network_backend_removed_fires_for_each_that_would_be_left_behind if {
	found := network.findings with input as routed
	fixtures.rules(found) == {"network-backend-removed"}
	{finding.message | some finding in found} == {
		"HTTPRoute fraud/door sends requests to it and stays: they would fail.",
		"InferenceGraph fraud/chain sends requests to it and stays: they would fail.",
	}
}

test_network_backend_removed_is_silent_where_nothing_names_it_or_nothing_is_known if {
	alone := object.union(routed, {"surroundings": {"named_by": []}})
	count(network.findings) == 0 with input as alone
	count(network.findings) == 0 with input as object.remove(routed, ["surroundings"])
	count(network.findings) == 0 with input as object.union(fixtures.facts, {"surroundings": routed.surroundings})
}
