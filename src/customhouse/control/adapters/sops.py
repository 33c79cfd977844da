"""SOPS files, opened in memory: YAML and JSON, as `sops --encrypt` writes them (getsops/sops v3).

1. The data key: by one of the age recipients in `sops.age`, else by what else was given (`sops_keys`, `sops_clouds`).
   Where it is shared among groups (`key_groups`), each opened group gives a part, and `shamir_threshold` of them it.
2. Every `ENC[AES256_GCM,…]` with the path of its keys as additional data.
3. The authentication code over all values (or, with `mac_only_encrypted`, the encrypted ones) of all documents.
Nothing is given out before step 3 was right. No value and no key is in any message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from customhouse.control import yaml_nodes
from customhouse.control.adapters.age import AgeError, Identity, opened
from customhouse.control.adapters.shamir import combined
from customhouse.control.adapters.sops_keys import KeyNotOpenedError, KeyOpener
from customhouse.control.sealed import METADATA, is_sealed, mac_of
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import CannotDecideError, DeclarationError
from customhouse.core.resource import Manifest

_ENCRYPTED = re.compile(
    r"ENC\[AES256_GCM,data:([A-Za-z0-9+/=]*),iv:([A-Za-z0-9+/=]+),tag:([A-Za-z0-9+/=]+),type:([a-z]+)\]"
)
_ONLY_ENCRYPTED = hashlib.sha256(b"sops").digest()
"""What the code begins with where only encrypted values are in it."""
_OTHERS = ("kms", "gcp_kms", "azure_kv", "hc_vault", "pgp", "hckms")
_COMMENT = object()
_MAX_ENTRIES, _MAX_GROUPS, _MAX_TRIED = 20, 10, 40
"""Keys of one kind, groups, and keys of programs and services that are tried for one file."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One encrypted file of a revision: where it lies, and how it is read when it is needed."""

    path: str
    read: Callable[[], bytes] = field(repr=False)


class SopsOpener:
    """Opens manifests by the files that they were written in: the code covers a whole file, not an object."""

    def __init__(
        self,
        files: Mapping[str, SealedFile],
        keys: Sequence[Identity],
        others: Mapping[str, KeyOpener] = MappingProxyType({}),
    ) -> None:
        """`files` by the authentication code (`mac_of`) of the manifests that came out of them.

        `others` opens entries of other kinds by their name in the file, such as `pgp` and `gcp_kms`.
        """
        self._files = files
        self._keys = tuple(keys)
        self._others = others

    def opened(self, manifest: Manifest) -> Manifest:
        """See `Opener`."""
        if not is_sealed(manifest):
            return manifest
        file = self._files.get(mac_of(manifest))
        if file is None:
            raise CannotDecideError(
                "this object is encrypted by SOPS, and the file that it comes from is not known",
                where=str(manifest.get("kind")),
                hint="encrypt it with `sops --encrypt`, and do not edit it afterwards",
            )
        values = dict(plaintexts(file.path, file.read(), self._keys, self._others))
        sealed = {key: value for key, value in manifest.items() if key != METADATA}
        result: Manifest = _filled(sealed, values, file.path)
        return result


def plaintexts(
    path: str, data: bytes, keys: Sequence[Identity], others: Mapping[str, KeyOpener] = MappingProxyType({})
) -> Iterator[tuple[str, Any]]:
    """Every ciphertext of a file with its value. Raises CannotDecideError; then none of them was given out."""
    found: list[tuple[str, Any]] = []
    documents = _documents(path, data)
    metadata = documents[0].get(METADATA)
    if not isinstance(metadata, Mapping) or any(document.get(METADATA) != metadata for document in documents):
        raise _refused(path, "SOPS' own part is missing, or differs between documents")
    key = _data_key(path, metadata, tuple(keys), others)
    only = metadata.get("mac_only_encrypted") is True
    code = hashlib.sha512(_ONLY_ENCRYPTED if only else b"")
    for document in documents:
        for place, value in _leaves({name: item for name, item in document.items() if name != METADATA}, ()):
            sealed = isinstance(value, str) and value.startswith("ENC[")
            plain = _value(path, key, value, ":".join(place) + ":") if sealed else value
            if plain is _COMMENT:
                continue
            if sealed:
                found.append((value, plain))
            if sealed or not only:
                code.update(_bytes(plain))
    said = _value(path, key, str(metadata.get("mac")), str(metadata.get("lastmodified")))
    if not hmac.compare_digest(str(said).encode(), code.hexdigest().upper().encode()):
        raise _refused(path, "its values do not fit its authentication code: it was edited after it was encrypted")
    yield from found


def _documents(path: str, data: bytes) -> list[dict[str, Any]]:
    try:
        roots = yaml_nodes.compose(yaml_nodes.decode(data, path), path)
        values = [Reader(path).read(root).value for root in roots]
    except DeclarationError as error:
        raise CannotDecideError(error.message, where=error.where, hint=error.hint) from error
    if not values or not all(isinstance(value, dict) for value in values):
        raise _refused(path, "this is no mapping")
    return [value for value in values if isinstance(value, dict)]


def _data_key(
    path: str, metadata: Mapping[str, Any], keys: tuple[Identity, ...], others: Mapping[str, KeyOpener]
) -> bytes:
    opens = _Opens(path, keys, others)
    shared, threshold = metadata.get("key_groups"), metadata.get("shamir_threshold") or 0
    if not isinstance(threshold, int) or not isinstance(shared or [], list):
        raise _refused(path, "how its key is shared cannot be read")
    if not shared or any(metadata.get(kind) for kind in ("age", *_OTHERS)):
        if threshold > 1:
            raise _refused(path, f"its key is shared between {threshold} groups, and one is there")
        found = opens.group(metadata)
    elif len(shared) == 1:
        found = opens.group(shared[0])
    else:
        return _together(path, shared, max(threshold, 2), opens)
    if found is None:
        raise opens.refused("")
    return _whole(path, found)


def _together(path: str, shared: list[Any], threshold: int, opens: _Opens) -> bytes:
    """The key, of which every group has a part; `threshold` of them are enough."""
    parts: list[bytes] = []
    for group in shared[:_MAX_GROUPS]:
        part = opens.group(group)
        if part is not None:
            parts.append(part)
        if len(parts) == threshold:
            break
    if len(parts) < threshold:
        raise opens.refused(f"{threshold} of its {len(shared)} key groups are needed, and {len(parts)} opened; ")
    try:
        return _whole(path, combined(parts))
    except ValueError as error:
        raise _refused(path, str(error)) from error


@dataclass(slots=True)
class _Opens:
    """What opens entries, and what it met on the way."""

    path: str
    keys: tuple[Identity, ...]
    others: Mapping[str, KeyOpener]
    problems: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    left: int = _MAX_TRIED

    def group(self, entries: Any) -> bytes | None:
        """What the first entry that is for us holds: the key, or a part of it."""
        if not isinstance(entries, Mapping):
            raise _refused(self.path, "a group of its keys cannot be read")
        self.kinds += [name for name in _OTHERS if entries.get(name) and name not in self.kinds]
        for item in _entries(entries, "age"):
            self.recipients.append(str(item.get("recipient"))[:80])
            try:
                key = opened(str(item.get("enc")), self.keys)
            except AgeError as error:
                raise _refused(self.path, str(error)) from error
            if key is not None:
                return key
        for kind, opener in self.others.items():
            for item in _entries(entries, kind):
                self.left -= 1
                if self.left < 0:
                    raise _refused(self.path, f"it has more than {_MAX_TRIED} keys, and none of those opens it")
                try:
                    key = opener(item)
                except KeyNotOpenedError as error:
                    self.problems.append(str(error)[:500])
                    continue
                if key is not None:
                    return key
        return None

    def refused(self, told: str) -> CannotDecideError:
        """Why nothing opens it."""
        if self.problems:
            said = told + "; ".join(self.problems[:3])
            return _refused(self.path, said, "give a key that may open it, or `sops updatekeys`")
        if not self.recipients:
            known = ", ".join(("age", *self.others))
            named = ", ".join(self.kinds) or "nobody"
            return _refused(self.path, f"{told}it is encrypted for {named}, and here is what opens {known}")
        return _refused(
            self.path,
            f"{told}no key that is known here opens it; it is encrypted for {', '.join(self.recipients[:5])}",
            "name the file of the key in SOPS_AGE_KEY_FILE, or give it in SOPS_AGE_KEY",
        )


def _entries(metadata: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    listed = metadata.get(kind)
    return [item for item in listed[:_MAX_ENTRIES] if isinstance(item, Mapping)] if isinstance(listed, list) else []


def _whole(path: str, key: bytes) -> bytes:
    if len(key) != 32:
        raise _refused(path, "its key has another length than SOPS gives one")
    return key


def _leaves(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All values that are no mapping and no list, in their order; the place has no numbers of lists."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*place, str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, place)
    elif value is not None:
        yield place, value


def _value(path: str, key: bytes, text: str, additional: str) -> Any:
    match = _ENCRYPTED.fullmatch(text)
    if match is None:
        raise _refused(path, "a value that begins with ENC[ cannot be read")
    try:
        data, iv, tag = (base64.b64decode(part, validate=True) for part in match.groups()[:3])
        decryptor = Cipher(AES(key), GCM(iv, tag)).decryptor()
        decryptor.authenticate_additional_data(additional.encode())
        plain = decryptor.update(data) + decryptor.finalize()
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise _refused(path, "a value was altered or moved after it was encrypted") from error
    # Nothing is chained: the error's own text holds the value.
    with suppress(ValueError):
        return _typed(plain.decode(), match[4])
    raise _refused(path, f"a value is no {match[4]}")


def _typed(text: str, kind: str) -> Any:
    match kind:
        case "str" | "bytes":
            return text
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "bool":
            if text.lower() not in ("true", "false"):
                raise ValueError(kind)
            return text.lower() == "true"
        case "comment":
            return _COMMENT
    raise ValueError(kind)


def _bytes(value: Any) -> bytes:
    """As SOPS puts values into its code: Go's shortest decimal for floats, `True` and `False`."""
    if isinstance(value, bool):
        return b"True" if value else b"False"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0").encode()
    return str(value).encode()


def _filled(value: Any, values: Mapping[str, Any], path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item, values, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values, path) for item in value]
    if isinstance(value, str) and value.startswith("ENC["):
        if value not in values:
            raise _refused(path, "an encrypted value of this object is not in its file")
        return values[value]
    return value


def _refused(path: str, message: str, hint: str = "") -> CannotDecideError:
    return CannotDecideError(
        f"SOPS: {message}", where=f"{path}:1:1", hint=hint or "decrypt and encrypt it again with `sops`"
    )
