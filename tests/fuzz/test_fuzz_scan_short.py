"""A few thousand cases of the scanner's fuzzer, so that it cannot rot; the long runs are made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz_scan import MAX_SEED, Fuzzer, follows, read_seeds

from hostile_formats import hostile_models


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_a_short_run_breaks_no_promise(shared_data: Path) -> None:
    seeds = read_seeds([shared_data / "models" / "malicious", shared_data / "models" / "benign"])
    seeds += [(case.data, case.name) for case in list(hostile_models(bombs=False))[::9] if len(case.data) <= MAX_SEED]
    figures = Fuzzer(seeds, seed=20261122, max_cpu_s=20.0).run(60.0, cases=3_000)
    assert figures.failures == []
    assert figures.cases == 3_000
    assert figures.followed > 10, "the oracle must have had something to say"


def test_the_oracle_follows_payloads_and_runs_none_of_them() -> None:
    marker = Path("/tmp/fuzz-oracle-marker")
    assert follows(b"cos\nsystem\n(S'touch /tmp/fuzz-oracle-marker'\ntR.")
    assert not follows(b"ccollections\nOrderedDict\n)R.")
    assert not marker.exists()
