"""Names inside archives: what would write or link outside of the folder that it is unpacked into."""

from __future__ import annotations

import re

from customhouse.trust.scan.inspection import Inspection

_DRIVE = re.compile(r"[A-Za-z]:")


def escapes(name: str) -> bool:
    """Whether a relative path leaves its folder: absolute, with a drive, or with `..` in it."""
    return (
        name.startswith(("/", "\\", "~"))
        or _DRIVE.match(name) is not None
        or ".." in name.replace("\\", "/").split("/")
        or "\x00" in name
    )


def check_name(name: str, look: Inspection, offset: int = 0) -> None:
    """Report a member's name that escapes."""
    if escapes(name):
        look.malicious("archive-traversal", f"unpacks to {name[:200]!r}, outside of its folder", offset)
