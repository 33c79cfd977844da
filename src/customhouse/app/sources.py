"""What the gate reads: the files of a revision, of a work tree, or bare ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class SourceTree(Protocol):
    """Files by POSIX path, relative to the root. `rev` says which state, where there is more than one."""

    def files(self, rev: str, prefix: str = "") -> Mapping[str, bytes]:
        """Every file below `prefix`; bytes are read when asked for. Raises SourceError."""

    def read(self, rev: str, path: str) -> bytes | None:
        """One file, None when it does not exist."""
