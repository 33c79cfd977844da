"""`forge` of customhouse.yaml: where reviews are given and branches are protected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TOKEN = "CUSTOMHOUSE_FORGE_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that holds the forge's token; it is in no file."""
PUSH, PULL_REQUEST = "push", "pull-request"


@dataclass(frozen=True, slots=True)
class ForgeSpec:
    """`forge` of customhouse.yaml: where reviews are given, and how many are asked for."""

    kind: str
    repository: str
    url: str = ""
    required_reviews: int = 1
    code_owners: bool = True
    check_hours: int = 1
    rollback: str = PUSH
    """How a revert comes to the deployed branch: pushed, or by a pull request."""

    @classmethod
    def parse(cls, given: Mapping[str, Any] | None) -> ForgeSpec | None:
        """From the checked section; None without it."""
        if not given:
            return None
        return cls(
            given["kind"],
            given["repository"],
            given.get("url", ""),
            given.get("requiredReviews", 1),
            given.get("codeOwners", True),
            given.get("checkHours", 1),
            given.get("rollback", PUSH),
        )

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml says it."""
        return {
            "kind": self.kind,
            "repository": self.repository,
            "url": self.url or None,
            "requiredReviews": self.required_reviews,
            "codeOwners": self.code_owners,
            "checkHours": self.check_hours,
            "rollback": self.rollback,
        }
