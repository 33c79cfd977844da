"""`scan.names` of customhouse.yaml: classes and functions of the organisation's own that the model scanner may know.

They are the base revision's to declare: `model scan` and `model attest` use them, their evidence says which it rests
on, and the gate believes it only as long as the revision that it judges by declares these names for these uses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from customhouse._kit.clock import from_rfc3339, to_rfc3339
from customhouse.core.evidence import Evidence, EvidenceKind

if TYPE_CHECKING:
    from customhouse.trust.scan.names import Use

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class AddedName:
    """One exact dotted name, what a pickle may do with it (`trust.scan.names.Use`), why, and who answers for it."""

    name: str
    use: str
    reason: str
    owner: str
    expires: datetime | None = None
    """From then on it does not count; None: no end."""

    def to_json(self) -> dict[str, str]:
        """As customhouse.yaml writes it."""
        end = {} if self.expires is None else {"expires": to_rfc3339(self.expires)}
        return {"name": self.name, "use": self.use, "reason": self.reason, "owner": self.owner, **end}


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """The part `scan` of customhouse.yaml."""

    names: tuple[AddedName, ...] = ()

    def uses(self, now: datetime) -> dict[str, Use]:
        """The names that count at `now`, as the scanner takes them."""
        if not self.names:
            return {}
        from customhouse.trust.scan.names import Use

        return {item.name: Use(item.use) for item in self.names if item.expires is None or now < item.expires}

    def believed(self, found: Evidence, now: datetime) -> Evidence:
        """Evidence of a scan as this revision may believe it: not where it rests on a name that is not declared here.

        Anything else is given back as it is. A scan that found something is heard all the same (`model-scan`).
        """
        if found.kind is not EvidenceKind.SCAN or "added_names" not in found.predicate:
            return found
        from customhouse.trust.scan.additions import rests_on

        asked = rests_on(found.predicate)
        if asked is None:
            return replace(found, verified=False, problem="added_names of the scan cannot be read")
        declared = {item.name: item for item in self.names}
        wrong = []
        for name, use in sorted(asked.items()):
            item = declared.get(name)
            if item is None:
                wrong.append(f"{name} (not declared)")
            elif item.use != use:
                wrong.append(f"{name} (declared for {item.use}, not for {use})")
            elif item.expires is not None and now >= item.expires:
                wrong.append(f"{name} (declared until {to_rfc3339(item.expires)})")
        if not wrong:
            return found
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        listed = ", ".join(text[:200] for text in wrong[:_SHOWN])
        why = f"it rests on names that scan.names of the base revision does not vouch for: {listed}{more}"
        why += "; merge them there first"
        return replace(found, verified=False, problem=found.problem or why)


def scan_of(document: Mapping[str, Any], fail: Callable[..., NoReturn]) -> ScanSpec:
    """From a checked document. `fail` (pointer, message) raises for a name that may not be added."""
    rows: Sequence[Mapping[str, Any]] = (document.get("scan") or {}).get("names") or ()
    if not rows:
        return ScanSpec()
    from customhouse.trust.scan.additions import MAX_NAMES, refusal

    if len(rows) > MAX_NAMES:
        fail("/scan/names", f"more than {MAX_NAMES} names", hint="convert models to safetensors or ONNX instead")
    found: dict[str, AddedName] = {}
    for index, row in enumerate(rows):
        place, name = f"/scan/names/{index}", row["name"]
        if why := refusal(name):
            fail(f"{place}/name", f"{name[:200]!r} cannot be added: {why}", hint="docs/scanner.md says what can")
        if name in found:
            fail(f"{place}/name", f"{name} is listed twice")
        for key in ("reason", "owner"):
            if not row[key].strip():
                fail(f"{place}/{key}", f"{key} is empty")
        found[name] = AddedName(name, row["use"], row["reason"], row["owner"], _end(row, place, fail))
    return ScanSpec(tuple(found.values()))


def _end(row: Mapping[str, Any], place: str, fail: Callable[..., NoReturn]) -> datetime | None:
    """A day means its beginning, in UTC."""
    text = row.get("expires")
    if text is None:
        return None
    try:
        return from_rfc3339(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as error:
        fail(f"{place}/expires", f"expires: {error}", hint="write a day like 2027-05-01 (UTC), or a time with its zone")
