"""Orders of versions against what the real programs said of the same pairs.

`version_orders.csv` has their answers: dpkg --compare-versions, Maven's ComparableVersion 3.8.7, npm's semver 7,
golang.org/x/mod/semver, Ruby's Gem::Version 3.3, knqyf263/go-apk-version and go-rpm-version. The pairs were drawn
at random; dpkg was asked of those that another reading of its rules (knqyf263/go-deb-version) had answered alike.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from customhouse.trust.vulnerabilities.orders import order_of

ANSWERS = [line.split(",") for line in (Path(__file__).parent / "version_orders.csv").read_text().splitlines()]


@pytest.mark.parametrize("ecosystem", ["Alpine", "Debian", "Go", "Maven", "Red Hat", "RubyGems", "npm"])
def test_pairs_are_ordered_as_the_real_program_orders_them(ecosystem: str) -> None:
    order = order_of(ecosystem)
    assert order is not None
    asked = wrong = refused = 0
    for _, left, sign, right in (row for row in ANSWERS if row[0] == ecosystem):
        asked += 1
        try:
            one, other = order(left), order(right)
        except ValueError:
            refused += 1  # nobody takes that for "not affected"
            continue
        wrong += sign != ("=" if one == other else "<" if one < other else ">")
    assert asked >= 140
    assert (wrong, refused) == (0, refused)
    assert refused <= asked // 8, "what a real program takes is mostly taken"


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="no dpkg on this machine")
@pytest.mark.parametrize(
    ("left", "sign", "right"),
    [
        ("1.0~rc1-1", "lt", "1.0-1"),
        ("1:0.1", "gt", "9.9"),
        ("2.36-9+deb12u4", "lt", "2.36-9+deb12u10"),
        ("9-0", "eq", "9"),
        ("1.2a", "lt", "1.2+b"),
    ],
)
def test_debian_versions_are_ordered_as_this_machines_dpkg_does(left: str, sign: str, right: str) -> None:
    assert subprocess.run(["dpkg", "--compare-versions", left, sign, right], check=False).returncode == 0
    order = order_of("Debian:12")
    assert order is not None
    one, other = order(left), order(right)
    assert {"lt": one < other, "gt": one > other, "eq": one == other}[sign]


@pytest.mark.parametrize(
    ("left", "sign", "right"),
    [
        # Of apk-tools' own list (test/version.data): leading zeros, suffixes, letters, revisions.
        ("1.06-r6", "<", "006"),
        ("1.07.5", ">", "1.07"),
        ("1.2.07.8", "<", "1.2.12.04"),
        ("2.02.06", "<", "2.02.10"),
        ("0.98", "<", "1.00"),
        ("1.39", ">", "1.00_beta2"),
        ("1.1", ">", "1.1_alpha1"),
        ("0.1.0_alpha_pre2", "<", "0.1.0_alpha"),
        ("1.0_p10-r0", ">", "1.0_p9-r0"),
        ("2.5.1-r8", "<", "2.5.1a-r1"),
        ("4.5_p1-r1", ">", "4.5_p1"),
        ("3.4.6-r2", "=", "3.4.6-r2"),
    ],
)
def test_alpine_versions_are_ordered_as_apk_says(left: str, sign: str, right: str) -> None:
    order = order_of("Alpine:v3.20")
    assert order is not None
    one, other = order(left), order(right)
    assert {"<": one < other, ">": one > other, "=": one == other}[sign]
