"""`customhouse doctor` about the registries that are configured: what was seen, and what is unknown."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from customhouse.cli.program import run
from oci_registry import Registry

LOGIN = "tester:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC\n"


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Asks about registries; the status of `doctor`, and its rows about them."""
    monkeypatch.chdir(tmp_path)
    for name in ("CUSTOMHOUSE_REGISTRY_USER", "CUSTOMHOUSE_REGISTRY", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def ask(*registries: str) -> tuple[int, list[dict[str, Any]]]:
        Path("customhouse.yaml").write_text(
            "apiVersion: customhouse.dev/v1\npolicy: {requireSignedCommits: false}\ntrust:\n"
            f"  registries: {json.dumps(list(registries))}\n"
        )
        capsys.readouterr()
        status = run(["doctor", "-o", "json"])
        rows = json.loads(capsys.readouterr().out)["checks"]
        return status, [row for row in rows if row["name"].startswith(("registry", "configuration"))]

    return ask


@pytest.mark.part("docker-registry")
def test_an_open_registry_is_told_and_a_closed_one_is_seen_to_be_closed(
    asked: Callable[..., Any], find_part: Callable[[str], Path], tmp_path: Path
) -> None:
    running = []
    try:
        for name, login in (("open", None), ("closed", LOGIN)):
            (tmp_path / name).mkdir()
            running.append(Registry(find_part("docker-registry"), tmp_path / name, login))
        wide, closed = running
        status, (row,) = asked(closed.host)
        assert (status, row["state"]) == (0, "ok")
        assert row["registry"] == {
            "reachable": True, "tls": False, "publicRead": False, "publicWrite": False, "auditLog": None
        }  # fmt: skip
        assert "whether writes are logged is unknown" in row["detail"]
        status, (row, other) = asked(f"{wide.host}/models", closed.host)
        assert (status, row["state"], other["state"]) == (3, "missing", "ok")
        assert row["detail"].startswith("WHOEVER REACHES IT MAY WRITE THERE")
        assert (row["registry"]["publicRead"], row["registry"]["publicWrite"]) == (True, True)
        # The upload that was begun was given up (docker-registry keeps an empty hash of it).
        assert not list(wide.data.rglob("_uploads/*/data"))
    finally:
        for registry in running:
            registry.stop()


def test_what_cannot_be_reached_or_is_no_registry_is_unknown_and_never_closed(asked: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    status, (row,) = asked(host)
    assert (status, row["state"]) == (3, "missing")
    assert "cannot be reached" in row["detail"]
    assert "who may write there is unknown" in row["detail"]
    assert row["registry"]["publicWrite"] is None


def test_a_configuration_that_is_broken_is_told(asked: Callable[..., Any]) -> None:
    status, (row,) = asked("")
    assert (status, row["name"], row["state"]) == (3, "configuration", "missing")
