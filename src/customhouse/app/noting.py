"""Noting in a cluster which commit was allowed last, for the webhook that stands there (`app.in_force`).

One ConfigMap of `customhouse-system`, in observe mode too: it is asked for by name, and it is nobody's object but ours.
"""

from __future__ import annotations

import json

from customhouse.app.in_force import KEY, Allowed
from customhouse.control.tracked import NAMESPACE
from customhouse.core.cluster import Apply, Cluster, Refusal
from customhouse.core.resource import Manifest, ResourceRef


class Noting:
    """Belongs to the thread of one keeper. `cluster` is asked directly: an observer notes too."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self.name = cluster, name
        self._written = ""
        self.problem = ""
        """Why the note is not what it should be; empty when it is."""

    def note(self, allowed: Allowed) -> None:
        """Write it, if it says something else than the last one. Raises TargetError where the API is out of reach."""
        text = allowed.text()
        if text == self._written and not self.problem:
            return
        (there,) = self._cluster.get([ResourceRef("v1", "ConfigMap", NAMESPACE, self.name)])
        whose = _whose(there)
        if whose not in ("", allowed.repository):
            self.problem = (
                f"ConfigMap {NAMESPACE}/{self.name} is the note of {whose[:80]!r}: give this one another name"
            )
            return
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "data": {KEY: text},
        }
        (answer,) = self._cluster.write([Apply(manifest, force=True)])
        self.problem = ""
        if answer.ok:
            self._written = text
            return
        hint = "; give the account the roles of docs/install.md" if answer.refusal is Refusal.FORBIDDEN else ""
        self.problem = (
            f"which commit is allowed cannot be noted for the webhook (ConfigMap {NAMESPACE}/{self.name}): "
            f"{answer.problem}{hint}"
        )

    def forget(self) -> None:
        """Write it once more: somebody may have altered it."""
        self._written = ""


def _whose(found: Manifest | None) -> str:
    """`BRANCH@FIRST_COMMIT` of a note that is there; empty where there is none that can be read: it is written anew."""
    try:
        return str(json.loads(found["data"][KEY])["repository"]) if found else ""
    except (KeyError, TypeError, ValueError):
        return ""
