package customhouse.tests.secrets

import data.customhouse.fixtures
import data.customhouse.rules.secrets

secret(keys) := fixtures.with_after({"kind": "Secret", "api_version": "v1", "workload": null, "spec": {"keys": keys}})

test_secret_in_git_fires_and_shows_keys_only if {
	found := secrets.findings with input as secret(["password", "user"])
	fixtures.rules(found) == {"secret-in-git"}
	some finding in found
	contains(finding.message, "password, user")
}

test_secret_in_git_is_silent_for_a_secret_without_values if {
	count(secrets.findings) == 0 with input as secret([])
}

test_secret_in_git_is_silent_for_a_sealed_secret if {
	sealed := object.union(secret(["a"]), {"change": {"after": {"kind": "SealedSecret", "api_version": "bitnami.com/v1alpha1"}}})
	count(secrets.findings) == 0 with input as sealed
}

test_secret_in_container_fires_for_a_variable if {
	variable := {"name": "TOKEN", "source": "literal", "value": null, "looks_like": "a GitHub token", "pointer": "/e/0"}
	found := secrets.findings with input as fixtures.with_container({"environment": [variable]})
	fixtures.rules(found) == {"secret-in-container"}
	some finding in found
	finding.pointer == "/e/0"
}

test_secret_in_container_fires_for_an_argument if {
	argument := {"name": "an argument", "looks_like": "a GitHub token", "pointer": "/c"}
	found := secrets.findings with input as fixtures.with_container({"credentials": [argument]})
	fixtures.rules(found) == {"secret-in-container"}
}

test_secret_in_container_is_silent_for_a_reference if {
	variable := {"name": "TOKEN", "source": "secretKeyRef", "value": null, "looks_like": null, "pointer": "/e/0"}
	count(secrets.findings) == 0 with input as fixtures.with_container({"environment": [variable]})
}

test_secret_in_git_is_silent_for_what_sops_encrypted if {
	spec := {"keys": ["password"], "plain_keys": []}
	count(secrets.findings) == 0 with input as fixtures.with_object("v1", "Secret", spec)
}

test_secret_in_git_tells_encrypted_files_from_values if {
	spec := {"keys": ["a", "b"], "plain_keys": ["a", "b"], "encrypted_files": ["b"]}
	found := secrets.findings with input as fixtures.with_object("v1", "Secret", spec)
	{finding.rule | some finding in found} == {"secret-in-git"}
	count(found) == 2
	some first in found
	contains(first.message, "plain sight (keys: a)")
	some second in found
	contains(second.message, "encrypted files as they are (keys: b)")
}

test_secret_in_git_is_silent_for_an_encrypted_file_that_git_does_not_show if {
	spec := {"keys": ["a"], "plain_keys": [], "encrypted_files": ["a"]}
	count(secrets.findings) == 0 with input as fixtures.with_object("v1", "Secret", spec)
}

test_secret_in_object_fires if {
	spec := {"credentials": [{"pointer": "/data/a", "looks_like": "a GitHub token"}]}
	found := secrets.findings with input as fixtures.with_object("v1", "ConfigMap", spec)
	fixtures.rules(found) == {"secret-in-object"}
}

test_secret_in_object_is_silent_for_ordinary_values if {
	count(secrets.findings) == 0 with input as fixtures.with_object("v1", "ConfigMap", {"credentials": []})
}
