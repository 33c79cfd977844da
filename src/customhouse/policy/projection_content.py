"""Projections of what objects carry: ConfigMaps and Secrets, and credentials and personal data that lie in them.

Values never appear, only what they look like and where they are.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from customhouse._kit.digest import json_digest
from customhouse.core.fields import escaped
from customhouse.core.resource import Manifest
from customhouse.policy import reading
from customhouse.policy.personal import personal_data
from customhouse.policy.reading import flag, mapping, text

_SOPS = re.compile(r"ENC\[AES256_GCM,data:[A-Za-z0-9+/=]*,iv:[A-Za-z0-9+/=]+,tag:[A-Za-z0-9+/=]+,type:\w+\]", re.ASCII)
"""A value that SOPS has encrypted (its documented form)."""
_LONGEST_CREDENTIAL = 256
_CIPHERTEXT, _SHORTEST_SOPS = "ENC[AES256_GCM,", 200


def config_map(manifest: Manifest) -> dict[str, Any]:
    """Keys and a digest, and what of the values should not be there; no value."""
    data = mapping(manifest, "data", "")
    binary = mapping(manifest, "binaryData", "")
    return {
        "keys": sorted([*data, *binary]),
        "immutable": flag(manifest, "immutable", "", default=False),
        "digest": json_digest({"data": dict(data), "binary": dict(binary)}),
        "credentials": [
            {"pointer": f"/data/{escaped(key)}", "looks_like": found}
            for key, value in sorted(data.items())
            if isinstance(value, str) and (found := reading.credential(_telling(key, value), value)) is not None
        ],
        "personal_data": [
            {"pointer": f"/data/{escaped(key)}", "detail": found}
            for key, value in sorted(data.items())
            if isinstance(value, str) and (found := personal_data(value)) is not None
        ],
    }


def _telling(key: str, value: str) -> str:
    """A key names a credential when its value could be one; a whole file below `credentials` is configuration."""
    return "" if "\n" in value or len(value) > _LONGEST_CREDENTIAL else key


def secret(manifest: Manifest) -> dict[str, Any]:
    """Names of keys, and which of them SOPS has not encrypted."""
    # Not even a digest of the values: a short password is found from its digest.
    values = {**mapping(manifest, "data", ""), **mapping(manifest, "stringData", "")}
    sealed = bool(mapping(manifest, "sops", "").get("mac"))
    return {
        "type": text(manifest, "type", "", "Opaque"),
        "keys": sorted(values),
        # SOPS leaves an empty text as it is: there is nothing to hide in it.
        "plain_keys": sorted(
            key
            for key, value in values.items()
            if not (sealed and isinstance(value, str) and (not value or _SOPS.fullmatch(value)))
        ),
        # What a generator took in as it is: it stays ciphertext in the cluster, and whoever mounts it reads that.
        "encrypted_files": sorted(key for key, value in values.items() if _is_encrypted_file(value)),
        "immutable": flag(manifest, "immutable", "", default=False),
    }


def _is_encrypted_file(value: Any) -> bool:
    """Whether a value is a whole file that SOPS encrypted, as text or in base64."""
    if not isinstance(value, str) or len(value) < _SHORTEST_SOPS:
        return False
    text = value
    if _CIPHERTEXT not in value:
        try:
            text = base64.b64decode(value, validate=True).decode()
        except ValueError:
            return False
    return _CIPHERTEXT in text and "sops" in text and "mac" in text


def credentials(value: Any, pointer: str) -> Iterator[dict[str, str]]:
    """Texts in an object of an unknown kind that an issuer's prefix gives away; pods have their own reading."""
    if isinstance(value, str):
        found = reading.credential("", value)
        if found is not None:
            yield {"pointer": pointer, "looks_like": found}
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in ("containers", "initContainers", "ephemeralContainers"):
                yield from credentials(item, f"{pointer}/{escaped(key)}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from credentials(item, f"{pointer}/{index}")
