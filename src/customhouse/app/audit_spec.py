"""The part `audit` of customhouse.yaml, from a document that the schema has checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EXEMPT = ("kube-system", "kube-public", "kube-node-lease")
"""What Kubernetes itself runs, by name; never by a label, which is anybody's to set."""


@dataclass(frozen=True, slots=True)
class AuditSpec:
    """When the cluster is audited, what is left out, and whether reports are written into it."""

    every_minutes: int | None = None
    publish_reports: bool = False
    exempt_namespaces: tuple[str, ...] = EXEMPT

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> AuditSpec:
        """From a checked document."""
        return cls(
            every_minutes=document.get("everyMinutes"),
            publish_reports=document.get("publishReports", False),
            exempt_namespaces=tuple(document.get("exemptNamespaces", EXEMPT)),
        )

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        return {
            "everyMinutes": self.every_minutes,
            "publishReports": self.publish_reports,
            "exemptNamespaces": list(self.exempt_namespaces),
        }
