"""What known names may be used for: the lists that were made from the frameworks, and how their lines read.

`known/<package>.txt` is written by scripts/scan_names.py, which imports each framework in an environment of its own and
says by which rule it lists; this module only reads text. Nothing is looked up in what is installed here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from functools import cache
from importlib import resources


class Use(Enum):
    """What a pickle may do with a name that is known."""

    CALL = "call"
    """Anything: naming it, calling it with any arguments and setting its state runs nothing that the file chose."""
    STATE = "state"
    """A class to be made bare and given its attributes. Its constructor was not reviewed and may not be called."""
    TABLE = "table"
    """As STATE, and a container whose items may be set or appended."""
    VALUE = "value"
    """A function that a model keeps as a value (a metric, a ufunc). It may not be called."""
    ENUM = "enum"
    """An enumeration: a member is looked up by its value or its name."""
    CHECKED = "checked"
    """Harmless with some arguments only: `calls` looks at each call, and handing it on is a finding."""


_PACKAGE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,40}")


@cache
def listed(package: str) -> Mapping[tuple[str, str], Use]:
    """The names of a package's list, by module and name; empty for a package that has none."""
    if not _PACKAGE.fullmatch(package):
        return {}
    place = resources.files("customhouse.trust.scan") / "known" / f"{package}.txt"
    if not place.is_file():
        return {}
    found: dict[tuple[str, str], Use] = {}
    for line in place.read_text("utf-8").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        kind, module, *names = line.replace(":", " ", 1).split()
        use = Use(kind)
        for name in names:
            found[module, name] = use
    return found
