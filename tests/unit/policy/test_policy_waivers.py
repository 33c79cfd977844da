"""Waivers as configuration writes them."""

from __future__ import annotations

import pytest

from customhouse.core.errors import ConfigError
from customhouse.policy.waiver import parse_waivers

GOOD = {
    "id": "W-1",
    "rules": ["pod-host-path"],
    "owner": "ada",
    "reason": "log shipper",
    "ticket": "OPS-1",
    "expires": "2026-03-01T00:00:00Z",
    "scope": {"namespace": "logging", "name": "shipper-*"},
}


def test_a_waiver_is_read_and_written_back():
    (waiver,) = parse_waivers([GOOD])
    assert waiver.to_json() == {**GOOD, "scope": {"kind": "*", **GOOD["scope"]}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"owner": ""}, "owner has to be text"),
        ({"ticket": 7}, "ticket has to be text"),
        ({"rules": []}, "list of rule ids"),
        ({"rules": "pod-host-path"}, "list of rule ids"),
        ({"rules": ["*"]}, "no patterns"),
        ({"rules": ["pod-*"]}, "no patterns"),
        ({"expires": "2026-03-01"}, "zone"),
        ({"expires": "soon"}, "expires"),
        ({"scope": {}}, "scope names"),
        ({"scope": {"name": "*"}}, "covers every namespace"),
        ({"scope": {"kind": "Pod"}}, "covers every namespace"),
        ({"scope": {"cluster": "x"}}, "scope names"),
        ({"severity": "note"}, "severity"),
    ],
)
def test_a_waiver_that_is_too_wide_or_unclear_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        parse_waivers([{**GOOD, **changes}])


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_waiver_that_lacks_anything_is_refused(key):
    with pytest.raises(ConfigError, match=key):
        parse_waivers([{name: value for name, value in GOOD.items() if name != key}])


def test_two_waivers_of_one_id_are_refused():
    with pytest.raises(ConfigError, match=r"waivers\[1\].*there twice"):
        parse_waivers([GOOD, GOOD])
