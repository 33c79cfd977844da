"""Where the webhook's configuration sends reviews."""

from __future__ import annotations

import pytest

from customhouse.app.admission_manifest import configurations
from customhouse.app.settings import read_settings
from customhouse.core.errors import UsageError


@pytest.mark.parametrize(
    "url",
    ["nonsense", "http://host", "https://", "https://a@host", "https://host?x=1", "https://host#x", "https://[::1"],
)
def test_an_address_that_the_api_server_would_refuse_is_refused_here(url: str) -> None:
    with pytest.raises(UsageError, match="--url"):
        configurations(read_settings(), None, b"authority", url)


def test_an_address_gets_the_path_of_each_hook() -> None:
    made = configurations(read_settings(), None, b"authority", "https://host:8443/x/")
    addresses = [hook["clientConfig"]["url"] for one in made for hook in one["webhooks"]]
    assert sorted(addresses) == ["https://host:8443/x/mutate", "https://host:8443/x/validate"]
