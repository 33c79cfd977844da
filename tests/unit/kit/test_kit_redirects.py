"""Where an archive or a blob may be redirected to: a public host over https, by its written form."""

from __future__ import annotations

import pytest

from customhouse._kit.http import to_a_store

PUBLIC = "https://registry.example/v2/x"
HERE = "http://127.0.0.1:5000/v2/x"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "127.0.0.0x1", "0177.0.0.1", "0"),
        *("0.0.0.0", "localhost", "LOCALHOST", "localhost.", "db.localhost", "127.0.0.1.", "store.example.", ""),
        *(
            "10.0.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "10.1",
            "0xA9FEA9FE",
            "224.0.0.1",
            "[::1]",
            "[::]",
            "[fe80::1]",
        ),
        *("[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[2002:7f00:1::]", "[fd00::1]", "１２７.1", "user@127.1"),
    ],
)
@pytest.mark.parametrize("port", ["", ":8443"])
def test_no_form_of_an_address_of_this_machine_or_network_is_followed(host: str, port: str) -> None:
    assert not to_a_store(PUBLIC, f"https://{host}{port}/x")
    assert not to_a_store(PUBLIC, f"http://{host}{port}/x")


@pytest.mark.parametrize("host", ["store.example", "s3.eu-1.cloud.example:8443", "1e100.net", "8.8.8.8", "[2600::1]"])
def test_a_store_of_another_host_is_followed_over_https_alone(host: str) -> None:
    assert to_a_store(PUBLIC, f"https://{host}/x?signature=1")
    assert to_a_store(HERE, f"https://{host}/x")
    assert not to_a_store(PUBLIC, f"http://{host}/x")
    assert not to_a_store(HERE, f"http://{host}/x")


def test_this_machine_may_lead_to_itself_and_to_no_other_form_of_it() -> None:
    assert to_a_store(HERE, "http://localhost:9000/x")
    assert to_a_store(HERE, "https://[::1]:9000/x")
    assert not to_a_store(HERE, "https://127.1:9000/x")
    assert not to_a_store(HERE, "http://127.1:9000/x")
    assert not to_a_store(HERE, "https://10.0.0.1/x")
    assert not to_a_store(PUBLIC, "https://[::1/x")
