"""What `doctor` says of the scheduler's extender: not there, not answering, at its end."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customhouse._kit.clock import to_rfc3339
from customhouse.app.extender_checkup import extender_rows
from customhouse.app.extender_status import write_extender_status
from customhouse.app.settings import Settings
from customhouse.trust.certificates_serving import ensure_client, ensure_serving

RULES = "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\n"


def rows(settings: Settings) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["state"], row["detail"]) for row in extender_rows(settings, ".")}


def test_an_extender_that_is_asked_for_and_was_never_there_is_missed(tmp_path: Path) -> None:
    file = tmp_path / "customhouse.yaml"
    file.write_text(RULES)
    settings = Settings(state=tmp_path / "state", config=file)
    assert rows(settings) == {}
    file.write_text(RULES + 'scheduling: {extender: {listen: "127.0.0.1:8444"}}\n')
    ((state, text),) = rows(settings).values()
    assert state == "missing"
    assert "asks for one on 127.0.0.1:8444, and none has run" in text


def test_one_that_does_not_answer_and_certificates_that_end_are_said(tmp_path: Path) -> None:
    file = tmp_path / "customhouse.yaml"
    file.write_text(RULES)
    folder, now = tmp_path / "state" / "extender", datetime.now(UTC)
    ensure_serving(folder, ("127.0.0.1",), now)
    ensure_client(folder, "scheduler", now - timedelta(days=360))
    settings = Settings(state=tmp_path / "state", config=file)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ended = to_rfc3339(now - timedelta(days=1))
    write_extender_status(settings.state, {"at": ended, "host": "0.0.0.0", "port": port, "certificate_ends": ended})
    found = rows(settings)
    assert found["scheduler's extender"][0] == "missing"
    assert "does not answer, so the scheduler goes on without it" in found["scheduler's extender"][1]
    assert found["certificate of the extender"][0] == "missing"
    assert "it ended on" in found["certificate of the extender"][1]
    assert found["certificate of the scheduler"][0] == "absent", "it ends within two weeks"
    (folder / "client.crt").write_text("no certificate")
    assert rows(settings)["certificate of the scheduler"] == ("missing", f"{folder / 'client.crt'}: no PEM certificate")
    write_extender_status(settings.state, {"port": port})
    assert "is not known" in rows(settings)["certificate of the extender"][1]
