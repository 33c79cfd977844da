# Files of the repository that are no Declarations, as one object (kind RepositoryFiles) with what was found in them.
package customhouse.rules.files

import data.customhouse.lib

# METADATA
# title: No data files in Git
# description: >-
#   Training data, feature tables and arrays belong to a data store with access control and deletion: from Git's history
#   nothing is ever deleted. Found by content (Parquet, Arrow, Avro, ORC, HDF5, NumPy, SQLite …) and, for text tables, by
#   size. Register the dataset and refer to it by its digest.
# custom:
#   id: data-file-in-git
#   category: compliance
#   severity: error
#   fix: Take the file out of the commit, keep it in a data store, and refer to it by digest (customhouse data register).
findings contains lib.error("compliance", "data-file-in-git", pointer, message, fix) if {
	some file in new_files
	file.problem == "data"
	message := sprintf("%s is %s.", [file.path, file.detail])
	fix := "Take the file out of the commit, keep it in a data store, and refer to it by digest (customhouse data register)."
	pointer := file.pointer
}

# METADATA
# title: No personal data in Git
# description: >-
#   Payment card numbers and IBANs (by their check digits), and lists of e-mail addresses or telephone numbers, in files or
#   in the values of a ConfigMap. What was found is counted and never shown.
# custom:
#   id: personal-data-in-git
#   category: compliance
#   severity: error
#   fix: Take it out, rewrite the history that holds it, and tell whoever is responsible for data protection.
findings contains lib.error("compliance", "personal-data-in-git", pointer, message, fix) if {
	some file in new_files
	file.problem == "personal"
	message := sprintf("%s holds %s.", [file.path, file.detail])
	fix := "Take it out, rewrite the history that holds it, and tell whoever is responsible for data protection."
	pointer := file.pointer
}

findings contains lib.error("compliance", "personal-data-in-git", pointer, message, fix) if {
	some found in input.change.after.spec.personal_data
	message := sprintf("The value at %s holds %s.", [found.pointer, found.detail])
	fix := "Take it out, rewrite the history that holds it, and tell whoever is responsible for data protection."
	pointer := found.pointer
}

# METADATA
# title: No credential in a file of the repository
# description: A file that is no Declaration holds what looks like a credential by a prefix that its issuer documents.
# custom:
#   id: secret-in-file
#   category: security
#   severity: error
#   fix: Take it out, and change the value that was committed.
findings contains lib.error("security", "secret-in-file", pointer, message, fix) if {
	some file in new_files
	file.problem == "secret"
	message := sprintf("%s holds %s.", [file.path, file.detail])
	fix := "Take it out, and change the value that was committed."
	pointer := file.pointer
}

# METADATA
# title: What may be deployed is judged
# description: >-
#   A link, a submodule, an object in a file or folder that is not read, or something that Argo CD or Flux renders from
#   elsewhere: somebody may deploy it, and no rule has seen it.
# custom:
#   id: file-not-judged
#   category: security
#   severity: warning
#   fix: Put it where it is read, name it under render in customhouse.yaml, or see that nothing deploys it.
findings contains lib.warning("security", "file-not-judged", pointer, message, fix) if {
	some file in new_files
	file.problem == "unjudged"
	message := sprintf("%s: %s.", [file.path, file.detail])
	fix := "Put it where it is read, name it under render in customhouse.yaml, or see that nothing deploys it."
	pointer := file.pointer
}

# METADATA
# title: What is applied as it stands stays in sight
# description: >-
#   A kustomization, chart or file was judged as it stands. This change alters it and at the same time has it judged only
#   with the changes of another on top, or not at all: who applies it as it stands would get what no rule has seen.
# custom:
#   id: root-hidden
#   category: security
#   severity: error
#   fix: Name it under render in customhouse.yaml, or take the two steps in two changes.
findings contains lib.error("security", "root-hidden", pointer, message, fix) if {
	some file in new_files
	file.problem == "hidden"
	message := sprintf("%s %s; this change alters it.", [file.path, file.detail])
	fix := "Name it under render in customhouse.yaml, or take the two steps in two changes."
	pointer := file.pointer
}

new_files := [file |
	is_files
	some file in input.change.after.spec.files
	not known(file)
]

# What was there before, byte for byte, is not this change's.
known(file) if {
	some old in input.change.before.spec.files
	old.path == file.path
	old.digest == file.digest
}

is_files if {
	input.change.after.kind == "RepositoryFiles"
	input.change.after.api_version == "customhouse.dev/v1"
}
