package customhouse.tests.basemodels

import data.customhouse.fixtures
import data.customhouse.rules.basemodels

licence(text, choices) := {"text": text, "choices": choices}

mit := licence("MIT", [[["mit"]]])

noncommercial := licence("CC-BY-NC-4.0", [[["cc-by-nc-4.0"]]])

gpl := licence("GPL-3.0-only", [[["gpl-3.0-only"]]])

either := licence("MIT OR GPL-3.0-only", [[["mit"]], [["gpl-3.0-only"]]])

both := licence("MIT AND GPL-3.0-only", [[["mit"], ["gpl-3.0-only"]]])

excepted := licence(
	"GPL-2.0-only WITH Classpath-exception-2.0",
	[[["gpl-2.0-only with classpath-exception-2.0", "gpl-2.0-only"]]],
)

unread := licence("this AND", null)

hub := {"name": "hf://acme/fraud", "written": "hf://Acme/Fraud", "of": "", "pinned": true, "refused": ""}

base := {"name": "acme/base", "pinned": true, "licences": [mit]}

origin(change) := object.union(
	{
		"reference": "hf://acme/fraud@0123456789abcdef0123456789abcdef01234567",
		"pointer": "/spec/predictor/model/storageUri",
		"bills": 1,
		"licences": [mit],
		"bases": [base],
		"bases_left_out": 0,
		"made_from_none": false,
		"places": [hub],
	},
	change,
)

nothing := {"names": [], "prefixes": []}

policy(change) := object.union(
	{
		"licences": {"limited": false, "allowed": nothing, "denied": nothing},
		"bases": {"required": false, "pinned": false, "licensed": false},
	},
	change,
)

allows(names) := policy({"licences": {"limited": true, "allowed": {"names": names, "prefixes": []}}})

denies(names, prefixes) := policy({"licences": {"denied": {"names": names, "prefixes": prefixes}}})

of_bases(change) := policy({"bases": change})

asked(models, items) := object.union(fixtures.service, {"origins": items, "settings": {"models": models}})

found(document) := findings if {
	findings := basemodels.findings with input as document
}

rules_of(models, change) := fixtures.rules(found(asked(models, [origin(change)])))

message_of(models, change) := text if {
	some finding in found(asked(models, [origin(change)]))
	text := finding.message
}

test_nothing_is_asked_where_nothing_is_configured if {
	found(object.union(fixtures.service, {"origins": [origin({"licences": [], "bases": []})]})) == set()
	rules_of(policy({}), {"licences": [unread], "bills": 0}) == set()
}

test_model_licence_denied_fires_for_a_name_and_a_beginning if {
	rules_of(denies(["gpl-3.0-only"], []), {"licences": [gpl]}) == {"model-licence-denied"}
	rules_of(denies([], ["cc-by-nc-"]), {"licences": [noncommercial]}) == {"model-licence-denied"}
	rules_of(denies(["gpl-3.0-only"], []), {"licences": [both]}) == {"model-licence-denied"}
	contains(message_of(denies([], ["cc-by-nc-"]), {"licences": [noncommercial]}), "has the licence CC-BY-NC-4.0")
}

test_model_licence_denied_is_silent_where_a_choice_is_left if {
	rules_of(denies(["gpl-3.0-only"], []), {"licences": [either]}) == set()
	rules_of(denies(["gpl-3.0-only"], []), {"licences": [mit]}) == set()
}

test_an_exception_may_be_allowed_where_the_licence_is_denied if {
	whole := "gpl-2.0-only with classpath-exception-2.0"
	both_lists := policy({"licences": {
		"limited": true, "allowed": {"names": [whole], "prefixes": []},
		"denied": {"names": [], "prefixes": ["gpl-"]},
	}})
	rules_of(both_lists, {"licences": [excepted], "bases": []}) == set()
	rules_of(denies([], ["gpl-"]), {"licences": [excepted]}) == {"model-licence-denied"}
	rules_of(allows(["gpl-2.0-only", "mit"]), {"licences": [excepted]}) == set()
}

test_model_licence_not_allowed_fires if {
	rules_of(allows(["apache-2.0", "mit"]), {"licences": [gpl]}) == {"model-licence-not-allowed"}
	rules_of(allows(["mit"]), {"licences": [both]}) == {"model-licence-not-allowed"}
	rules_of(allows(["mit"]), {"licences": [mit, gpl]}) == {"model-licence-not-allowed"}
}

test_model_licence_not_allowed_is_silent if {
	rules_of(allows(["apache-2.0", "mit"]), {}) == set()
	rules_of(allows(["mit"]), {"licences": [either]}) == set()
	rules_of(policy({"licences": {"limited": true, "allowed": {"names": [], "prefixes": ["m"]}}}), {}) == set()
}

# What is denied is told once.
test_a_denied_licence_is_not_told_as_one_that_is_not_allowed_too if {
	models := policy({"licences": {
		"limited": true, "allowed": {"names": ["mit"], "prefixes": []},
		"denied": {"names": ["gpl-3.0-only"], "prefixes": []},
	}})
	rules_of(models, {"licences": [gpl]}) == {"model-licence-denied"}
}

test_a_choice_that_is_denied_is_none if {
	models := policy({"licences": {
		"limited": true, "allowed": {"names": ["mit", "lgpl-2.1-or-later"], "prefixes": []},
		"denied": {"names": ["mit"], "prefixes": ["lgpl-"]},
	}})
	later := licence("LGPL-2.1-only OR Zlib", [[["lgpl-2.1-only"]], [["zlib"]]])
	rules_of(models, {"licences": [later], "bases": []}) == {"model-licence-not-allowed"}
}

test_model_licence_unknown_fires if {
	rules_of(allows(["mit"]), {"licences": [], "bills": 0}) == {"model-licence-unknown"}
	contains(message_of(allows(["mit"]), {"licences": [], "bills": 0}), "no verified bill of materials.")
	contains(message_of(allows(["mit"]), {"licences": []}), "does not say.")
	rules_of(allows(["mit"]), {"licences": [mit, unread]}) == {"model-licence-unknown"}
	contains(message_of(allows(["mit"]), {"licences": [unread]}), "\"this AND\" cannot be read.")
}

test_model_licence_unknown_is_silent_for_one_that_is_said if {
	rules_of(allows(["mit"]), {}) == set()
}

test_model_licence_unsaid_fires if {
	rules_of(denies(["gpl-3.0-only"], []), {"licences": []}) == {"model-licence-unsaid"}
	rules_of(denies([], ["gpl-"]), {"licences": [unread]}) == {"model-licence-unsaid"}
}

test_model_licence_unsaid_is_silent_without_a_list if {
	rules_of(policy({}), {"licences": []}) == set()
	rules_of(denies(["gpl-3.0-only"], []), {}) == set()
}

test_base_model_undeclared_fires if {
	rules_of(of_bases({"required": true}), {"bases": []}) == {"base-model-undeclared"}
	contains(message_of(of_bases({"required": true}), {"bases": []}), "No bill of materials of the model")
	contains(message_of(of_bases({"required": true}), {"bases": [], "bills": 0}), "No verified bill of materials of")
}

test_base_model_undeclared_is_silent if {
	rules_of(of_bases({"required": true}), {}) == set()
	rules_of(of_bases({"required": true}), {"bases": [], "made_from_none": true}) == set()
	rules_of(of_bases({}), {"bases": []}) == set()
}

loose := object.union(base, {"pinned": false})

test_base_model_not_pinned_fires if {
	rules_of(of_bases({"pinned": true}), {"bases": [base, loose]}) == {"base-model-not-pinned"}
	many := [object.union(loose, {"name": format_int(number, 10)}) | some number in numbers.range(1, 7)]
	endswith(message_of(of_bases({"pinned": true}), {"bases": [loose]}), ": acme/base.")
	endswith(message_of(of_bases({"pinned": true}), {"bases": many}), ": 1, 2, 3, 4, 5 and 2 more.")
	rules_of(policy({}), {"bases_left_out": 3}) == {"base-model-not-pinned"}
}

test_names_that_are_left_out_are_counted if {
	texts := {finding.message | some finding in found(asked(of_bases({"pinned": true}), [origin({
		"bases": [loose],
		"bases_left_out": 3,
	})]))}
	some text in texts
	endswith(text, ": acme/base and 3 more.")
}

test_base_model_not_pinned_is_silent if {
	rules_of(of_bases({"pinned": true}), {}) == set()
	rules_of(of_bases({}), {"bases": [loose]}) == set()
}

test_base_model_licence_fires if {
	tainted := [object.union(base, {"licences": [noncommercial]})]
	rules_of(denies([], ["cc-by-nc-"]), {"bases": tainted}) == {"base-model-licence"}
	rules_of(allows(["mit"]), {"bases": tainted}) == {"base-model-licence"}
	contains(message_of(allows(["mit"]), {"bases": tainted}), "was made from acme/base, whose licence CC-BY-NC-4.0")
	rules_of(of_bases({"licensed": true}), {"bases": [object.union(base, {"licences": []})]}) == {"base-model-licence"}
	rules_of(of_bases({"licensed": true}), {"bases": [object.union(base, {"licences": [unread]})]}) == {"base-model-licence"}
}

test_base_model_licence_is_silent if {
	rules_of(allows(["mit"]), {}) == set()
	rules_of(of_bases({"licensed": true}), {}) == set()
	rules_of(allows(["mit"]), {"bases": [object.union(base, {"licences": []})]}) == set()
}

refused := object.union(hub, {"refused": "which no pattern of models.sources.allowed covers"})

test_model_source_not_allowed_fires if {
	rules_of(policy({}), {"places": [refused]}) == {"model-source-not-allowed"}
	contains(message_of(policy({}), {"places": [refused]}), "comes from hf://Acme/Fraud, which no pattern of")
	of_base := object.union(refused, {"of": "acme/base", "pinned": false})
	rules_of(policy({}), {"places": [of_base]}) == {"model-source-not-allowed"}
	startswith(message_of(policy({}), {"places": [of_base]}), "The base model acme/base of hf://acme/fraud")
}

test_model_source_not_allowed_is_silent if {
	rules_of(policy({}), {}) == set()
}

test_model_revision_not_pinned_fires_without_any_configuration if {
	moving := object.union(hub, {"pinned": false})
	texts := {finding.rule | some finding in found(object.union(fixtures.service, {"origins": [origin({"places": [moving]})]}))}
	texts == {"model-revision-not-pinned"}
}

test_model_revision_not_pinned_is_silent if {
	rules_of(policy({}), {"places": [object.union(hub, {"pinned": null})]}) == set()
	rules_of(policy({}), {"places": [object.union(hub, {"pinned": false, "of": "acme/base"})]}) == set()
}

test_the_bundle_asks_the_topic_where_there_is_an_origin if {
	document := asked(denies(["mit"], []), [origin({"bases": []})])
	findings := data.customhouse.findings with input as document
	fixtures.severity(findings, "model-licence-denied") == {"error"}
}
