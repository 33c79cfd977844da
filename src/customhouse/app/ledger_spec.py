"""`ledger` of customhouse.yaml: who watches that the ledger is never cut back or forked, and how many must."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True, slots=True)
class WitnessSpec:
    """One witness: a name for people, the prefix of its calls, its verifier key (tlog-cosignature)."""

    name: str
    url: str
    key: str

    def to_json(self) -> dict[str, str]:
        """As customhouse.yaml says it."""
        return {"name": self.name, "url": self.url, "key": self.key}


@dataclass(frozen=True, slots=True)
class LedgerSpec:
    """`ledger` of customhouse.yaml. `quorum` witnesses must have cosigned what is older than `max_age_minutes`."""

    witnesses: tuple[WitnessSpec, ...] = ()
    quorum: int = 0
    max_age_minutes: int = 60

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> LedgerSpec:
        """From the checked section; without a quorum all but one must have cosigned, and one of one."""
        if not given:
            return cls()
        found = tuple(WitnessSpec(item["name"], item["url"], item["key"]) for item in given.get("witnesses") or ())
        return cls(found, given.get("quorum", max(len(found) - 1, min(len(found), 1))), given.get("maxAgeMinutes", 60))

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml says it."""
        return {
            "witnesses": [item.to_json() for item in self.witnesses],
            "quorum": self.quorum,
            "maxAgeMinutes": self.max_age_minutes,
        }


def ledger_of(document: Mapping[str, Any], fail: Callable[[str, str], NoReturn]) -> LedgerSpec:
    """The section of a checked document: names once, keys that can be read, a quorum that can be reached."""
    spec = LedgerSpec.parse(document.get("ledger"))
    if not spec.witnesses and not spec.quorum:
        return spec
    from customhouse.core.errors import ConfigError
    from customhouse.trust.cosignature import CosignerKey

    names = [item.name for item in spec.witnesses]
    for index, item in enumerate(spec.witnesses):
        if item.name in names[:index]:
            fail(f"/ledger/witnesses/{index}/name", f"two witnesses are called {item.name!r}")
        try:
            CosignerKey.from_vkey(item.key)
        except ConfigError as error:
            fail(f"/ledger/witnesses/{index}/key", error.message)
    if spec.quorum > len(spec.witnesses):
        fail("/ledger/quorum", f"quorum is {spec.quorum}, and {len(spec.witnesses)} witnesses are named")
    return spec
