"""The matcher on all given advisories: what a record lists is affected, what mends it is not."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from customhouse.core.advisory import Advisory
from customhouse.core.vulnerability import Package
from customhouse.trust.vulnerabilities.matching import match
from customhouse.trust.vulnerabilities.osv import parse_record

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def given(shared_data: Path, name: str) -> Iterator[Advisory]:
    with gzip.open(shared_data / "advisories" / f"{name}.jsonl.gz") as lines:
        yield from (parse_record(line)[0] for line in lines)


def said_of(advisories: Iterator[Advisory]) -> tuple[Counter[str], set[tuple[str, str, str]]]:
    """How often a version of a record was (`listed`, `fixed`, `introduced`) and was not as the record says it."""
    counts: Counter[str] = Counter()
    odd: set[tuple[str, str, str]] = set()
    for advisory in advisories:
        if advisory.withdrawn is not None:
            counts["withdrawn"] += 1
        for item in advisory.affected:
            known = {(item.family, item.key): (replace(advisory, affected=(item,)),)}
            # Of long lists each seventh, the first and the last; all 139,481 were looked at, see docs/benchmarks.md.
            marks = [("listed", version) for version in {*item.versions[::7], *item.versions[-1:]}]
            events = [event for one in item.ranges if one.type != "GIT" for event in one.events]
            marks += [(kind, version) for kind, version in events if kind in ("introduced", "fixed") and version != "0"]
            packages = {version: Package(item.name, version, item.ecosystem) for _, version in marks}
            matched = match(packages.values(), known, NOW)
            hit = {finding.package.version for finding in matched.findings}
            for kind, version in marks:
                counts[kind] += 1
                if advisory.withdrawn is not None:
                    counts["withdrawn and found"] += version in hit
                elif (version in hit) != (kind != "fixed"):
                    odd.add((kind, advisory.id, version))
            counts["undecided"] += len(matched.undecided)
    return counts, odd


def test_every_version_that_the_given_pypi_records_list_is_found_and_every_fix_is_not(shared_data: Path) -> None:
    counts, odd = said_of(given(shared_data, "pypi"))
    assert counts["listed"] >= 20_000
    assert counts["fixed"] >= 4_916
    assert counts["withdrawn"] == 10
    assert counts["withdrawn and found"] == 0
    assert odd == {
        # These records list the version that they say is the fix.
        ("fixed", "PYSEC-2023-177", "23.9.0"),
        ("fixed", "PYSEC-2022-236", "3.1.1"),
        ("fixed", "PYSEC-2023-72", "3.1.1"),
        ("fixed", "PYSEC-2021-114", "2.11.6"),
        # These name one version as introduced and, in the next event, as fixed.
        ("introduced", "PYSEC-2022-42972", "0.13.0"),
        ("introduced", "PYSEC-2023-72", "3.2.0"),
        # The fixes of these two are no versions of PyPI (`0.2.0-n653`, `2019-09-12`): told as undecided.
    }
    assert counts["undecided"] >= 2


def test_every_event_of_the_given_go_records_is_as_it_says(shared_data: Path) -> None:
    counts, odd = said_of(given(shared_data, "go"))
    assert counts["fixed"] >= 5_309
    assert counts["introduced"] >= 2_425
    assert counts["withdrawn"] == 17
    assert counts["withdrawn and found"] == 0
    assert odd == set()
    assert counts["undecided"] == 0
