"""The given half of Gatekeeper's library, unmodified, with the embedded engine alone: every case has to pass."""

from __future__ import annotations

import json

from customhouse.cli.program import run


def test_the_given_library_passes_whole(shared_data, capsys):
    library = shared_data / "policies" / "gatekeeper-library"
    status = run(["policy", "verify", str(library), "-o", "json", "--engine", "embedded", "-q"])
    told = json.loads(capsys.readouterr().out)
    assert told == {"suites": 30, "tests": 43, "cases": 130, "passed": 130, "skipped": 0, "failed": []}
    assert status == 0
