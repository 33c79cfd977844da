"""The dashboard where it is reached by other names than the loopback's: only those that were given are answered."""

from __future__ import annotations

import http.client
import socket

import pytest

from customhouse.app.up import LiveBoard
from customhouse.server.serving import Server


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("customhouse-controller.customhouse-system.svc:8440", 200),
        ("10.0.0.7:8440", 200),
        ("[fd00::7]:8440", 200),
        ("localhost", 200),
        ("10.0.0.8:8440", 400),
        ("evil.example", 400),
    ],
)
def test_only_the_names_that_were_given_are_answered_beside_the_loopbacks(host: str, status: int) -> None:
    names = ("customhouse-controller.customhouse-system.svc", "10.0.0.7", "fd00::7")
    with Server(LiveBoard(), names=names) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=60)
        connection.request("GET", "/healthz", headers={"Host": host})
        assert connection.getresponse().status == status
        connection.close()


def test_it_listens_where_it_was_told() -> None:
    with Server(LiveBoard(), "0.0.0.0") as server:
        assert server.address.host == "0.0.0.0"
        socket.create_connection(("127.0.0.1", server.address.port), timeout=60).close()
