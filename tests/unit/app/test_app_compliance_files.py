"""Mappings and statements of a compliance report: the packaged ones are sound, and slips of the pen are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.app.compliance_files import PACKAGED, framework, frameworks, statements
from customhouse.core.errors import ConfigError
from customhouse.trust.evaluation.plan import KINDS

MAPPING = """
id: own
title: Our own
text: Handbook, 2026
url: https://example.com
controls:
  - id: H1
    title: Models are scanned
    source: chapter 1
    needs:
      - {check: evidence, value: scan, where: {verdict: clean}, todo: scan it}
"""


def test_the_packaged_frameworks_are_read_and_say_what_to_do():
    found = frameworks((), ())
    assert tuple(item.id for item in found) == PACKAGED
    for item in found:
        assert item.url.startswith("https://")
        assert len(item.controls) >= 10
        assert all(need.todo for control in item.controls for need in control.needs)
        assert any(control.needs for control in item.controls)


def test_the_packaged_frameworks_ask_for_measurements_that_there_are():
    # A word that no evaluation ever writes would be missing for ever, whatever was measured.
    asked_for = [need.where for item in frameworks((), ()) for control in item.controls for need in control.needs]
    asked = {word for where in asked_for for word in where.get("measured", ())}
    assert asked
    assert asked <= set(KINDS)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("check: evidence", "check: evidnce", "own.yaml:11: no check is called 'evidnce'"),
        ("value: scan", "value: scam", "evidence knows no 'scam'"),
        ("todo: scan it", "tudo: scan it", "no key is called 'tudo'"),
        ("where: {verdict: clean}", "where: [clean]", "`where` is no map"),
        ("source: chapter 1", "source: 1", "own.yaml:9: 'source' is missing, or no text"),
        ("id: own", "id: own\nname: x", "own.yaml:3: no key is called 'name'"),
        ("controls:", "controls: 7\nx:", "no key is called 'x'"),
    ],
)  # fmt: skip
def test_a_slip_of_the_pen_is_named_with_its_line(old, new, said):
    with pytest.raises(ConfigError) as refused:
        framework(MAPPING.replace(old, new, 1).encode(), "own.yaml")
    assert said in str(refused.value)


def test_a_control_that_is_there_twice_is_refused():
    twice = MAPPING + MAPPING[MAPPING.index("  - id: H1") :]
    with pytest.raises(ConfigError, match="there twice"):
        framework(twice.encode(), "own.yaml")


def test_a_framework_of_one_s_own_comes_from_a_file(tmp_path: Path):
    (tmp_path / "own.yaml").write_text(MAPPING)
    assert [item.id for item in frameworks([str(tmp_path / "own.yaml")], ())] == ["own"]
    assert [item.id for item in frameworks([str(tmp_path / "own.yaml")], ["soc2"])] == ["soc2", "own"]
    with pytest.raises(ConfigError, match="no framework is called"):
        frameworks((), ["soc3"])


def test_statements_are_of_a_control_or_for_a_check(tmp_path: Path):
    place = tmp_path / "statements.yaml"
    place.write_text(
        "statements:\n"
        "  - {framework: soc2, control: CC7.4, owner: sre@example.com, text: on call, until: 2027-06-30}\n"
        "  - {check: backups, owner: sre@example.com, text: daily, until: '2027-06-30'}\n"
    )
    spoken, checks, digest = statements(str(place))
    assert [word.control for word in spoken["soc2"]] == ["CC7.4"]
    assert [item.value for item in checks] == ["backups"]
    assert digest.startswith("sha256:")
    assert statements(None) == ({}, (), "")
    place.write_text("statements:\n  - {framework: soc2, control: CC7.4, owner: a, text: b, until: soon}\n")
    with pytest.raises(ConfigError, match="'until' is no date"):
        statements(str(place))
    with pytest.raises(ConfigError, match="cannot be read"):
        statements(str(tmp_path / "absent"))
