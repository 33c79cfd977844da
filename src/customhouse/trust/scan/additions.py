"""Names that an organisation adds to what is known: what may be added, and how a verdict says that it rests on one.

An addition never changes what the scanner knows by itself: it gives a use to an exact name that would else be
suspicious. What can run code stays malicious, whoever vouches for it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from customhouse.trust.scan.importables import CHECKED, canonical, suspect
from customhouse.trust.scan.names import Use
from customhouse.trust.scan.verdict import ScanFinding, ScanSeverity

USES = tuple(use.value for use in Use if use is not Use.CHECKED)
"""What a name may be added for; `checked` needs code that looks at the arguments."""
RULE = "declared-name"
MAX_NAMES = 1000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_MAX_LENGTH = 200
_SHOWN = 5


def refusal(name: str) -> str:
    """Why a name may not be added; empty when it may."""
    if len(name) > _MAX_LENGTH or not _NAME.fullmatch(name):
        return "it is not the exact dotted name of a class or function (package.module.Name; no wildcards)"
    parts = name.split(".")
    if any(part.startswith("__") for part in parts):
        return "names of Python's own machinery can run code, and __main__ is whatever program loads the file"
    if parts[0] in sys.stdlib_module_names or canonical(parts[0], "x")[0] != parts[0]:
        return f"{parts[0]} is Python's own module, not a package of an organisation"
    # A pickle chooses where the module ends and the attribute begins: it must be harmless either way.
    for cut in range(1, len(parts)):
        module, attribute = canonical(".".join(parts[:cut]), ".".join(parts[cut:]))
        if suspect(module, attribute) is ScanSeverity.MALICIOUS or (module, attribute) in CHECKED:
            return "it can run code, or reaches what can; the scanner calls it malicious whoever vouches for it"
    return ""


def by_use(names: Mapping[str, Use]) -> list[dict[str, str]]:
    """Names as evidence lists them, sorted."""
    return [{"name": name, "use": use.value} for name, use in sorted(names.items())]


def digest_of(rules: str, names: Mapping[str, Use]) -> str:
    """The digest of the scanner's rules with the names that were added; `rules` itself where none was."""
    if not names:
        return rules
    lines = "".join(f"{name} {use.value}\n" for name, use in sorted(names.items()))
    return "sha256:" + sha256(f"{rules}\n{lines}".encode()).hexdigest()


def note_of(names: Iterable[str], uses: Mapping[str, Use]) -> tuple[ScanFinding, ...]:
    """What a scan says of the names that it met and that are known by configuration only; no effect on the verdict."""
    met = sorted(names)
    if not met:
        return ()
    more = f" and {len(met) - _SHOWN} more" if len(met) > _SHOWN else ""
    listed = ", ".join(f"{name} ({uses[name].value})" for name in met[:_SHOWN])
    what = f"rests on names that customhouse.yaml adds under scan.names: {listed}{more}"
    return (ScanFinding(RULE, ScanSeverity.NOTE, what[:500]),)


def rests_on(predicate: Mapping[str, Any]) -> dict[str, str] | None:
    """The added names, with their uses, that scan evidence says it rests on; None when it cannot be read."""
    said = predicate.get("added_names", [])
    if not isinstance(said, list) or len(said) > MAX_NAMES:
        return None
    found: dict[str, str] = {}
    for row in said:
        if not isinstance(row, Mapping):
            return None
        name, use = row.get("name"), row.get("use")
        if not isinstance(name, str) or not isinstance(use, str):
            return None
        found[name] = use
    return found
