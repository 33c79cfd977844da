"""Who Customhouse is in Git: one identity, so that what it writes can be told from what people write."""

from __future__ import annotations

from customhouse.control.source import Identity

PRINCIPAL = "customhouse@customhouse.dev"
"""The principal of Customhouse's own commits in an allowed-signers file."""

IDENTITY = Identity("Customhouse", PRINCIPAL)
COMMIT_KEY = "commit"
"""The file in the folder of keys that signs what it commits."""
