package customhouse.tests.files

import data.customhouse.fixtures
import data.customhouse.rules.files

repository(listed) := fixtures.with_object("customhouse.dev/v1", "RepositoryFiles", {"files": listed})

file(problem) := {
	"path": "data/train.csv",
	"problem": problem,
	"detail": "a table of 20000 rows",
	"digest": fixtures.digest,
	"pointer": "/spec/files/0",
}

again(problem) := object.union(
	repository([file(problem)]),
	{"change": {"before": {"kind": "RepositoryFiles", "spec": {"files": [file(problem)]}}}},
)

test_data_file_in_git_fires if {
	found := files.findings with input as repository([file("data")])
	fixtures.rules(found) == {"data-file-in-git"}
}

test_data_file_in_git_fires_when_the_file_changed if {
	document := object.union(again("data"), {"change": {"before": {"spec": {"files": [object.union(
		file("data"),
		{"digest": fixtures.other_digest},
	)]}}}})
	found := files.findings with input as document
	fixtures.rules(found) == {"data-file-in-git"}
}

test_data_file_in_git_is_silent_for_what_was_there if {
	count(files.findings) == 0 with input as again("data")
}

test_personal_data_in_git_fires_for_a_file if {
	found := files.findings with input as repository([file("personal")])
	fixtures.rules(found) == {"personal-data-in-git"}
}

test_personal_data_in_git_fires_for_a_config_map if {
	spec := {"personal_data": [{"pointer": "/data/a", "detail": "1 IBAN"}]}
	found := files.findings with input as fixtures.with_object("v1", "ConfigMap", spec)
	fixtures.rules(found) == {"personal-data-in-git"}
	some finding in found
	finding.message == "The value at /data/a holds 1 IBAN."
}

test_personal_data_in_git_is_silent_for_a_config_map_without if {
	count(files.findings) == 0 with input as fixtures.with_object("v1", "ConfigMap", {"personal_data": []})
}

test_secret_in_file_fires if {
	found := files.findings with input as repository([file("secret")])
	fixtures.rules(found) == {"secret-in-file"}
}

test_secret_in_file_is_silent_for_another_kind if {
	document := fixtures.with_object("example.com/v1", "RepositoryFiles", {"files": [file("secret")]})
	count(files.findings) == 0 with input as document
}

test_file_not_judged_fires_as_a_warning if {
	some found in files.findings with input as repository([file("unjudged")])
	found.rule == "file-not-judged"
	found.severity == "warning"
}

test_file_not_judged_is_silent_for_what_was_there if {
	count(files.findings) == 0 with input as again("unjudged")
}

test_root_hidden_fires if {
	found := files.findings with input as repository([file("hidden")])
	fixtures.rules(found) == {"root-hidden"}
}

test_root_hidden_is_silent_for_what_was_there if {
	count(files.findings) == 0 with input as again("hidden")
}
