"""AWS Signature Version 4: the worked examples of the Amazon S3 API Reference, and keys from files."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from customhouse._kit.sigv4 import EMPTY, Keys, signed
from customhouse.core.errors import ConfigError
from customhouse.trust.adapters.registries.aws_access import aws_access

KEYS = Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "https://examplebucket.s3.amazonaws.com"


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "signature"),
    [
        (
            "GET", "/test.txt", {"Range": "bytes=0-9"}, b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "PUT", "/test%24file.text",
            {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
            b"Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        ("GET", "?lifecycle", {}, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        (
            "GET", "?max-keys=2&prefix=J", {}, b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)  # fmt: skip
def test_a_request_is_signed_as_the_reference_has_it(method, url, headers, body, signature):
    payload = hashlib.sha256(body).hexdigest() if body else EMPTY
    sent = signed(method, HOST + url, headers, payload, KEYS, "us-east-1", AT)
    assert sent["Authorization"].endswith(f"Signature={signature}")


def test_keys_are_never_shown():
    assert "wJalr" not in repr(KEYS)


def test_keys_region_and_endpoint_come_from_the_files_of_a_profile(tmp_path: Path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text("[team]\naws_access_key_id = A\naws_secret_access_key = B%C\n")
    (tmp_path / ".aws" / "config").write_text("[profile team]\nregion = eu-west-1\n")
    found = aws_access({"HOME": str(tmp_path), "AWS_PROFILE": "team", "AWS_ENDPOINT_URL": "https://s3.example"})
    assert (found.keys, found.region, found.endpoint) == (Keys("A", "B%C"), "eu-west-1", "https://s3.example")
    assert aws_access({"HOME": str(tmp_path)}).keys is None
    with pytest.raises(ConfigError, match="other"):
        aws_access({"HOME": str(tmp_path), "AWS_PROFILE": "other"})


def test_a_file_of_profiles_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path):
    place = tmp_path / "credentials"
    place.write_text("[team\naws_secret_access_key = hidden\n")
    with pytest.raises(ConfigError) as refused:
        aws_access({"AWS_SHARED_CREDENTIALS_FILE": str(place), "AWS_PROFILE": "team"})
    assert str(place) in str(refused.value)
    assert "hidden" not in str(refused.value)
