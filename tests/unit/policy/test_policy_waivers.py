"""Waivers as configuration writes them."""

from __future__ import annotations

import pytest

from customhouse._kit.clock import from_rfc3339
from customhouse.app.governance import read_waivers
from customhouse.core.decision import Category, Finding, Severity
from customhouse.core.errors import ConfigError
from customhouse.core.resource import ResourceRef
from customhouse.policy.waiver import apply, parse_waivers

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
        ({"scope": {"name": "a*"}}, "covers every namespace"),
        ({"scope": {"namespace": "*e*", "name": "?[ab]*x"}}, "covers every namespace"),
        ({"from": "soon"}, "from"),
        ({"from": "2026-03-01T00:00:00Z"}, "before it begins"),
        ({"advisories": []}, "advisories is empty"),
        ({"advisories": "CVE-2024-1"}, "advisories is a list"),
        ({"advisories": [""]}, "advisories is a list"),
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


REF = ResourceRef("apps/v1", "DaemonSet", "logging", "shipper-1")
FINDING = Finding("pod-host-path", Category.SECURITY, Severity.ERROR, REF, "It is a path.", "Do not.")


@pytest.mark.parametrize(
    ("changes", "moment", "said"),
    [
        ({}, "2026-02-28T23:59:59Z", ""),
        ({}, "2026-03-01T00:00:00Z", "it ended on 2026-03-01T00:00:00Z"),
        ({"from": "2026-02-01T00:00:00Z"}, "2026-01-31T00:00:00Z", "it begins on 2026-02-01T00:00:00Z"),
        ({"from": "2026-02-01T00:00:00Z"}, "2026-02-01T00:00:00Z", ""),
        ({}, "2025-11-30T00:00:00Z", "it lasts longer than 90 days (until 2026-03-01T00:00:00Z)"),
        ({"from": "2025-11-30T00:00:00Z"}, "2026-02-28T00:00:00Z", "it lasts longer than 90 days"),
    ],
)
def test_a_waiver_holds_between_its_moments_and_no_longer_than_it_may(changes, moment, said):
    waivers = parse_waivers([{**GOOD, **changes}])
    (found,) = apply([FINDING], waivers, from_rfc3339(moment))
    assert found.waiver == (None if said else "W-1")
    assert found.message.startswith("It is a path.")
    assert (f"The waiver W-1 of ada does not hold: {said}" in found.message) is bool(said)


def test_a_waiver_that_does_not_hold_says_nothing_about_what_another_one_waives():
    lapsed = {**GOOD, "id": "W-0", "expires": "2026-01-01T00:00:00Z"}
    (found,) = apply([FINDING], parse_waivers([lapsed, GOOD]), from_rfc3339("2026-02-01T00:00:00Z"))
    assert (found.waiver, found.message) == ("W-1", "It is a path.")


def test_the_configuration_may_allow_waivers_to_last_longer():
    waivers = parse_waivers([GOOD], max_days=180)
    (found,) = apply([FINDING], waivers, from_rfc3339("2025-11-01T00:00:00Z"))
    assert found.waiver == "W-1"
    assert waivers[0].to_json()["max_days"] == 180


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("  owner: ada\n", "", "waivers.yaml:2:3"),
        ("owner: ada", "owner: ''", "waivers.yaml:4:10"),
        ('"2026-03-01T00:00:00Z"', "soon", "waivers.yaml:7:12"),
        ("{name: shipper}", "{name: '*'}", "waivers.yaml:8:3"),
    ],
)
def test_what_is_wrong_with_a_waiver_is_said_with_file_and_line(old, new, place):
    text = """# ours
- id: W-1
  rules: [pod-host-path]
  owner: ada
  reason: log shipper
  ticket: OPS-1
  expires: "2026-03-01T00:00:00Z"
  scope: {name: shipper}
"""
    with pytest.raises(ConfigError) as caught:
        read_waivers(text.replace(old, new).encode(), "waivers.yaml")
    assert caught.value.where == place


def test_waivers_for_a_replay_last_as_long_as_configured_and_say_line_and_column(tmp_path):
    from customhouse.app.policybundles import read_waivers as for_replay

    place = tmp_path / "waivers.yaml"
    text = (
        "- id: W-1\n  rules: [pod-host-path]\n  owner: ada@example.com\n  reason: logs\n  ticket: OPS-1\n"
        '  expires: "2027-01-15T00:00:00Z"\n  scope: {name: shipper-*}\n'
    )
    place.write_text(text)
    assert for_replay(str(place), 7)[0].max_days == 7
    place.write_text(text.replace("[pod-host-path]", "['*']"))
    with pytest.raises(ConfigError) as caught:
        for_replay(str(place), 7)
    assert caught.value.where.endswith("waivers.yaml:2:3")
