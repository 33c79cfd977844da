"""Who we are to an S3-compatible store: the variables and the files that Amazon's own tools read.

AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; else the profile AWS_PROFILE (`default`) of
AWS_SHARED_CREDENTIALS_FILE (`~/.aws/credentials`). Region: AWS_REGION, AWS_DEFAULT_REGION, or that of the profile in
AWS_CONFIG_FILE (`~/.aws/config`). Endpoint: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL. Not asked: instance metadata, web
identities, SSO.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from customhouse._kit.reading import open_regular
from customhouse._kit.sigv4 import Keys
from customhouse.core.errors import ConfigError

_MAX_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class AwsAccess:
    """Keys (None: none were found), region and endpoint (None: Amazon's)."""

    keys: Keys | None
    region: str
    endpoint: str | None


def aws_access(environment: Mapping[str, str]) -> AwsAccess:
    """What the environment says. Raises ConfigError for a file or a profile that cannot be read; shows no value."""
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or None
    named = environment.get("AWS_PROFILE", "")
    profile = named or "default"
    settings = _section(_place(environment, "AWS_CONFIG_FILE", "config"), (f"profile {profile}", profile))
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or settings.get("region")
    access, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    keys = Keys(access, secret, environment.get("AWS_SESSION_TOKEN", "")) if access and secret else None
    if keys is None:
        place = _place(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials")
        kept = _section(place, (profile,))
        if kept.get("aws_access_key_id") and kept.get("aws_secret_access_key"):
            token = kept.get("aws_session_token", "")
            keys = Keys(kept["aws_access_key_id"], kept["aws_secret_access_key"], token)
        elif named:
            raise ConfigError(f"the profile {named!r} of AWS_PROFILE has no keys", where=str(place or "~/.aws"))
    return AwsAccess(keys, region or "us-east-1", endpoint)


def _place(environment: Mapping[str, str], variable: str, name: str) -> Path | None:
    if environment.get(variable):
        return Path(environment[variable])
    return Path(environment["HOME"]) / ".aws" / name if environment.get("HOME") else None


def _section(place: Path | None, names: tuple[str, ...]) -> Mapping[str, str]:
    if place is None:
        return {}
    try:
        with open_regular(place) as handle:
            data = handle.read(_MAX_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(place)) from error
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(data.decode())
    except (configparser.Error, ValueError):
        # Not chained: the parser's message shows the line.
        raise ConfigError("not a file of AWS profiles", where=str(place)) from None
    return next((dict(parser[name]) for name in names if parser.has_section(name)), {})
