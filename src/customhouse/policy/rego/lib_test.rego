package customhouse.tests.lib

import data.customhouse.lib

usd := {"cost": {"currency": "USD"}}

test_money_has_two_places_at_least if {
	lib.money(12000000) == "12.00 USD" with input as usd
	lib.money(12500000) == "12.50 USD" with input as usd
	lib.money(0) == "0.00 USD" with input as usd
}

test_money_shows_every_place_that_is_there if {
	lib.money(1) == "0.000001 USD" with input as usd
	lib.money(12345600) == "12.3456 USD" with input as usd
}

test_money_is_exact_where_a_float_is_not if {
	lib.money(8999999999999999) == "8999999999.999999 USD" with input as usd
	lib.money(9007199254740991) == "9007199254.740991 USD" with input as usd
}

test_money_can_be_negative if {
	lib.money(-1500000) == "-1.50 USD" with input as usd
	lib.money(-1) == "-0.000001 USD" with input as usd
}

test_a_note_and_a_warning_have_their_severity if {
	lib.note("cost", "r", "", "m", "f").severity == "note"
	lib.warning("cost", "r", "", "m", "f").severity == "warning"
}

test_containers_are_called_by_name_and_role if {
	lib.called({"name": "kserve-container", "role": "main"}) == "the model container"
	lib.called({"name": "a", "role": "main"}) == `container "a"`
	lib.called({"name": "a", "role": "init"}) == `init container "a"`
}
