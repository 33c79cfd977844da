# Facts against which no rule has anything to say; every test changes one thing in them.
package customhouse.fixtures

digest := "sha256:1111111111111111111111111111111111111111111111111111111111111111"

other_digest := "sha256:2222222222222222222222222222222222222222222222222222222222222222"

container := {
	"name": "serve",
	"pointer": "/spec/template/spec/containers/0",
	"role": "main",
	"image": {
		"reference": sprintf("apexlogic.com/serve:1.2@%s", [digest]),
		"valid": true,
		"repository": "apexlogic.com/serve",
		"tag": "1.2",
		"digest": digest,
	},
	"cpu_request_milli": 500,
	"cpu_limit_milli": 1000,
	"memory_request_bytes": 268435456,
	"memory_limit_bytes": 536870912,
	"accelerators": 0,
	"command": [],
	"arguments": [],
	"credentials": [],
	"environment": [{"name": "LEVEL", "source": "literal", "value": "info", "looks_like": null, "pointer": "/e/0"}],
	"environment_from": [],
	"ports": [{"port": 8080, "protocol": "TCP", "host_port": 0, "pointer": "/p/0"}],
	"mounts": [],
	"probes": ["readiness"],
	"security": {
		"run_as_non_root": null,
		"run_as_user": null,
		"run_as_group": null,
		"seccomp": null,
		"privileged": false,
		"allow_privilege_escalation": false,
		"read_only_root": true,
		"proc_mount": "Default",
		"capabilities_add": [],
		"capabilities_drop": ["ALL"],
	},
}

pod := {
	"component": "pod",
	"pointer": "/spec/template/spec",
	"host_network": false,
	"host_pid": false,
	"host_ipc": false,
	"share_process_namespace": false,
	"service_account": "default",
	"automount_token": false,
	"runtime_class": null,
	"priority_class": null,
	"scheduler": null,
	"node_selector": {},
	"security_given": true,
	"security": {
		"run_as_non_root": true,
		"run_as_user": null,
		"run_as_group": null,
		"seccomp": "RuntimeDefault",
		"fs_group": null,
		"sysctls": [],
	},
	"tolerations": [],
	"volumes": [{"name": "tmp", "kind": "emptyDir", "host_path": null, "claim": null, "pointer": "/v/0"}],
	"containers": [container],
}

workload := {
	"known": true,
	"batch": false,
	"spot": false,
	"accelerator": null,
	"accelerators": 0,
	"accelerator_classes": [],
	"cpu_milli": 500,
	"memory_bytes": 268435456,
	"replicas_min": 1,
	"replicas_max": 3,
	"models": [],
	"frameworks": [],
	"pods": [pod],
}

after := {
	"api_version": "apps/v1",
	"kind": "Deployment",
	"namespace": "fraud",
	"name": "serve",
	"labels": {
		"customhouse.dev/owner": "ada",
		"customhouse.dev/team": "risk",
		"customhouse.dev/project": "cards",
		"customhouse.dev/cost-centre": "cc-7",
	},
	"annotations": {},
	"workload": workload,
	"spec": {},
}

facts := {
	"schema": "customhouse.dev/facts/v1",
	"as_of": "2026-01-31T10:00:00Z",
	"change": {
		"operation": "update",
		"resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "fraud", "name": "serve"},
		"before": null,
		"after": after,
	},
	"revision": {
		"id": "0123456789abcdef0123456789abcdef01234567",
		"author": "Ada <ada@example.com>",
		"signer": "ada@example.com",
		"signature": "verified",
		"descends": true,
		"reviewers": [],
	},
	"review": null,
	"actor": {"kind": "person", "name": "Ada <ada@example.com>"},
	"derived": false,
	"tier": {
		"name": "standard",
		"requested": null,
		"granted": true,
		"checks": {},
		"relaxations": {},
		"reserved_nodes": [],
		"spec": {
			"gpu_classes": ["L4", "T4"],
			"spot": "required",
			"max_replicas": 5,
			"max_accelerators": 2,
			"replica_ceiling_micro": 2500000000,
			"required_evidence": ["signature", "scan", "bom"],
			"evidence_max_age_days": 30,
			"required_image_evidence": [],
			"prescanned_images": [],
			"per_thousand_predictions_micro": null,
			"per_million_tokens_micro": null,
			"dedicated_nodes": null,
			"scheduler": null,
			"monitoring": [],
			"latency_target_ms": null,
			"scale_to_zero": "allowed",
			"queue_required": false,
			"ttl_required": false,
			"max_ttl_days": null,
		},
	},
	"environment": null,
	"surroundings": {
		"default_deny": {"ingress": true, "egress": true},
		"workloads": 1,
		"role": null,
		"target_found": null,
		"rivals": [],
		"metrics": false,
		"tracing": false,
		"node_pools": [],
	},
	"lifetime": null,
	"usage": null,
	"artifacts": [],
	"cost": {
		"currency": "USD",
		"monthly_before_micro": 100000000,
		"monthly_after_micro": 300000000,
		"monthly_low_micro": 100000000,
		"monthly_high_micro": 300000000,
		"monthly_replica_micro": 100000000,
		"unpriced": [],
		"alternatives": [],
	},
	"change_set": {"monthly_delta_micro": 200000000},
	"budgets": [{
		"name": "risk",
		"limit_micro": 1000000000,
		"month_to_date_micro": 300000000,
		"forecast_micro": 500000000,
		"left_micro": 700000000,
		"change_micro": 200000000,
		"snapshot": null,
	}],
	"prices": {"book_digest": digest, "as_of": "2026-01-01", "age_days": 30, "max_age_days": 180},
	"settings": {
		"trusted_registries": ["apexlogic.com/"],
		"required_labels": ["owner", "team", "project", "cost-centre"],
		"require_signed_commits": true,
		"require_revision": false,
		"frameworks": {},
	},
}

with_after(change) := object.union(facts, {"change": {"after": change}})

with_workload(change) := with_after({"workload": change})

with_pod(change) := with_workload({"pods": [object.union(pod, change)]})

with_container(change) := with_pod({"containers": [object.union(container, change)]})

with_image(change) := with_container({"image": object.union(container.image, change)})

with_tier(document, change) := object.union(document, {"tier": {"spec": change}})

deletion := object.union(facts, {
	"change": {"operation": "delete", "before": after, "after": null},
	"cost": {"monthly_after_micro": 0},
	"budgets": [],
})

# A model with all the evidence that the tier asks for.
model := {
	"role": "model",
	"reference": "pvc://models/fraud",
	"digest": digest,
	"pinned": true,
	"pointer": "/spec/predictor/model/storageUri",
	"evidence": [
		evidence("bom", {"components": 3}),
		evidence("scan", {"verdict": "clean", "bad_files": [], "rules": []}),
		evidence("signature", {}),
	],
}

evidence(kind, summary) := {
	"kind": kind,
	"predicate_type": sprintf("https://customhouse.dev/attestations/%s/v1", [kind]),
	"verified": true,
	"signer": "release",
	"issued_at": "2026-01-30T10:00:00Z",
	"age_seconds": 86400,
	"digest": digest,
	"problem": "",
	"summary": summary,
}

service := object.union(facts, {
	"change": {"after": {
		"api_version": "serving.kserve.io/v1beta1",
		"kind": "InferenceService",
		"workload": {"models": [{
			"pointer": "/spec/predictor/model",
			"format": "onnx",
			"runtime": null,
			"protocol_version": null,
			"storage_uri": "pvc://models/fraud",
		}]},
		"spec": {"max_replicas": 3},
	}},
	"artifacts": [model],
})

with_evidence(items) := object.union(service, {"artifacts": [object.union(model, {"evidence": items})]})

with_scan(change, summary) := with_evidence([
	evidence("bom", {}),
	evidence("signature", {}),
	object.union(evidence("scan", object.union({"verdict": "clean", "bad_files": [], "rules": []}, summary)), change),
])

without(kind) := [item | some item in model.evidence; item.kind != kind]

# An object that runs nothing, with its spec.
with_object(group_version, kind, spec) := object.union(facts, {"change": {"after": object.union(
	object.remove(after, ["spec", "workload"]),
	{"api_version": group_version, "kind": kind, "workload": null, "spec": spec},
)}})

with_surroundings(document, change) := object.union(document, {"surroundings": change})

severity(findings, rule) := {finding.severity | some finding in findings; finding.rule == rule}

rules(findings) := {finding.rule | some finding in findings}
