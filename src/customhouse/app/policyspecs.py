"""What customhouse.yaml says of bundles from elsewhere and of one on trial; light, since every command reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class Fail(Protocol):
    """Raises ConfigError at a JSON pointer."""

    def __call__(
        self, pointer: str, message: str, known: Sequence[str] = (), near: str = "", *, hint: str = ""
    ) -> NoReturn:
        """Never returns."""


@dataclass(frozen=True, slots=True)
class BundleSource:
    """One entry of `policy.bundles`: where it is, and the digest, the signer (a name of trust.keys), or both."""

    source: str
    digest: str | None = None
    key: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        given = {"source": self.source, "digest": self.digest, "key": self.key}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class CanarySpec:
    """`policy.canary`: candidate rules (a folder here, or pulled), for whom, and how loud. `share` is in percent."""

    folder: str | None
    pulled: BundleSource | None
    mode: str
    share: int
    namespaces: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        what = {"bundle": self.folder} if self.pulled is None else self.pulled.to_json()
        return {**what, "mode": self.mode, "share": self.share, "namespaces": list(self.namespaces)}


def bundles_of(given: Sequence[Mapping[str, Any]], keys: Sequence[str], fail: Fail) -> tuple[BundleSource, ...]:
    """The entries of `policy.bundles`; `keys` are the names of trust.keys."""
    return tuple(_source(item, keys, fail, f"/policy/bundles/{index}") for index, item in enumerate(given))


def canary_of(given: Mapping[str, Any] | None, keys: Sequence[str], fail: Fail) -> CanarySpec | None:
    """`policy.canary`, None when there is none."""
    if not given:
        return None
    folder, source = given.get("bundle"), given.get("source")
    if (folder is None) == (source is None):
        fail("/policy/canary", "it names one of bundle (a folder of this repository) and source")
    share, namespaces = given.get("share", 0), tuple(given.get("namespaces") or ())
    if not share and not namespaces:
        fail(
            "/policy/canary", "it is for nobody", hint="write share: 10 (percent of the namespaces), or namespaces: […]"
        )
    pulled = None if source is None else _source(given, keys, fail, "/policy/canary")
    return CanarySpec(folder, pulled, given.get("mode", "dryrun"), share, namespaces)


def _source(given: Mapping[str, Any], keys: Sequence[str], fail: Fail, pointer: str) -> BundleSource:
    digest, key = given.get("digest"), given.get("key")
    if digest is not None and _DIGEST.fullmatch(digest) is None:
        fail(f"{pointer}/digest", f"{digest[:80]!r} is no digest", hint="`customhouse policy build` prints it")
    if key is not None and key not in keys:
        fail(f"{pointer}/key", f"no trust key is called {key!r}", list(keys), near=key)
    if digest is None and key is None:
        fail(pointer, "neither digest nor key: anybody could change it", hint="pin the digest, or name who must sign")
    return BundleSource(given["source"], digest, key)
