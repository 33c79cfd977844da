"""CUSTOMHOUSE_STORE: a server instead of a file, and a password that nobody sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from customhouse.app import wiring
from customhouse.app.settings import read_settings
from customhouse.core.errors import StateError, UsageError


def test_the_store_is_a_file_unless_a_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUSTOMHOUSE_STORE", raising=False)
    assert read_settings(state=str(tmp_path)).store == ""
    assert not wiring.has_store(read_settings(state=str(tmp_path)))
    monkeypatch.setenv("CUSTOMHOUSE_STORE", "postgresql://ch@db.example:5433/ch")
    settings = read_settings(state=str(tmp_path))
    assert settings.store == "postgresql+pg8000://ch@db.example:5433/ch"
    assert wiring.has_store(settings)


def test_the_password_is_told_apart_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_STORE", f"postgresql://ch@/ch?unix_sock={tmp_path}/none")
    monkeypatch.setenv("CUSTOMHOUSE_STORE_PASSWORD", "p/w@x")
    settings = read_settings(state=str(tmp_path))
    assert settings.store.startswith("postgresql+pg8000://ch:p%2Fw%40x@/ch")
    assert "p%2Fw" not in repr(settings)
    with pytest.raises(StateError, match="out of reach") as error:
        wiring.store(settings)
    assert "p%2Fw" not in str(error.value)
    assert "p/w" not in str(error.value)


@pytest.mark.parametrize("given", ["/var/lib/db", "mysql://ch:secret@host/x", "postgresql"])
def test_another_address_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOMHOUSE_STORE", given)
    with pytest.raises(UsageError, match="no address of a PostgreSQL server") as error:
        read_settings()
    assert "secret" not in str(error.value)
