package customhouse.rules.secrets

import data.customhouse.lib

# METADATA
# title: No Secret with values is in Git
# description: >-
#   The values of a Secret are only encoded, not encrypted: whoever can read the repository, or any copy of it, has
#   them.
# custom:
#   id: secret-in-git
#   category: security
#   severity: error
#   fix: Commit a SealedSecret or an ExternalSecret instead, and change the values that were committed.
findings contains lib.error("security", "secret-in-git", "", message, fix) if {
	input.change.after.kind == "Secret"
	input.change.after.api_version == "v1"
	count(open_keys) > 0
	message := sprintf("The Secret carries its values in plain sight (keys: %s).", [lib.listed(open_keys)])
	fix := "Commit a SealedSecret or an ExternalSecret instead, and change the values that were committed."
}

# What a generator took in is ciphertext in the cluster too: nobody decrypts it there.
findings contains lib.error("security", "secret-in-git", "", message, fix) if {
	input.change.after.kind == "Secret"
	input.change.after.api_version == "v1"
	keys := [key | some key in shown_keys; key in encrypted_files]
	count(keys) > 0
	message := sprintf(
		"The Secret holds encrypted files as they are (keys: %s), and whoever mounts it would read ciphertext.",
		[lib.listed(keys)],
	)
	fix := "Encrypt the Secret's own manifest with SOPS and list it under resources, instead of a file in a generator."
}

shown_keys := object.get(input.change.after.spec, "plain_keys", input.change.after.spec.keys)

encrypted_files := object.get(input.change.after.spec, "encrypted_files", [])

open_keys := [key | some key in shown_keys; not key in encrypted_files]

# METADATA
# title: No credential is written into a container
# description: >-
#   A literal environment variable or argument that looks like a credential, by a prefix its issuer documents or by its
#   name. The value is shown nowhere.
# custom:
#   id: secret-in-container
#   category: security
#   severity: error
#   fix: Take it from a Secret (valueFrom.secretKeyRef), and change the value that was committed.
findings contains lib.error("security", "secret-in-container", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	some variable in container.environment
	variable.looks_like != null
	message := sprintf("The environment variable %s of %s holds %s.", [variable.name, lib.called(container), variable.looks_like])
	fix := "Take it from a Secret (valueFrom.secretKeyRef), and change the value that was committed."
	pointer := variable.pointer
}

findings contains lib.error("security", "secret-in-container", pointer, message, fix) if {
	some pod in lib.pods
	some container in pod.containers
	some found in container.credentials
	message := sprintf("An argument of %s holds %s.", [lib.called(container), found.looks_like])
	fix := "Take it from a Secret (an environment variable with valueFrom.secretKeyRef), and change the value."
	pointer := found.pointer
}

# METADATA
# title: No credential is written into a ConfigMap or any other object
# description: >-
#   A value that looks like a credential by a prefix that its issuer documents (or, in a ConfigMap, by its name). What
#   ExternalSecret, SealedSecret, Vault, the CSI driver and SOPS write are references or ciphertext, and pass.
# custom:
#   id: secret-in-object
#   category: security
#   severity: error
#   fix: Move it to a secret store, refer to it (ExternalSecret, SealedSecret), and change the value that was committed.
findings contains lib.error("security", "secret-in-object", pointer, message, fix) if {
	some found in input.change.after.spec.credentials
	message := sprintf("The value at %s holds %s.", [found.pointer, found.looks_like])
	fix := "Move it to a secret store, refer to it (ExternalSecret, SealedSecret), and change the value."
	pointer := found.pointer
}
