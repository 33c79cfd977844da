"""A companion runs what is installed, wherever its parent stands."""

from __future__ import annotations

from customhouse._kit.companion import Companion


def test_a_file_of_the_working_directory_is_not_imported_in_place_of_a_module(tmp_path, monkeypatch):
    """The gate stands in a checkout of strangers: their json.py would have judged it."""
    run = tmp_path / "run"
    (tmp_path / "json.py").write_text(f"open({str(run)!r}, 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    companion = Companion("customhouse.policy.adapters.evaluator")
    try:
        companion.start()
        asked = b'A{"key":"k","query":"q","documents":[]}'
        assert companion.ask([asked], generation=companion.generation, timeout_s=60.0) == b"[]"
    finally:
        companion.close()
    assert not run.exists()
