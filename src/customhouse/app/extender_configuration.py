"""The scheduler's side of the extender: who may ask it, and the KubeSchedulerConfiguration that does.

`ignorable: true`: a scheduler that gets no answer places pods without. `percentageOfNodesToScore: 100`: one that stops
at the first nodes with room would ask about these alone, and a tier may forbid each of them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from customhouse.app.admission_certificates import Certificates
from customhouse.app.settings import Settings
from customhouse.trust.certificates_serving import ServingFiles, ensure_client, ensure_serving

CLIENT = "customhouse-scheduler"
DEFAULT = "default-scheduler"
TIMEOUT = "1s"
"""The scheduler waits for no pod longer than this; an answer takes milliseconds."""
WEIGHT = 10
"""Of the extender's 0 to 10, beside the sum of the scheduler's own scores: one rank is 100 points, as much as the whole
of a plugin of weight 1."""

# By default the scheduler spreads pods, which is the contrary of packing.
_PACKING = {
    "scoringStrategy": {
        "type": "MostAllocated",
        "resources": [
            {"name": "cpu", "weight": 1},
            {"name": "memory", "weight": 1},
            {"name": "nvidia.com/gpu", "weight": 5},
        ],
    }
}


def certificates_of(
    settings: Settings, names: Sequence[str], given: ServingFiles | None, clients: Path | None, now: datetime
) -> tuple[Certificates, ServingFiles | None]:
    """The server's certificate, and the scheduler's where it is of our own authority (no `clients`).

    Raises StateError and ConfigError.
    """
    folder = settings.state / "extender"
    if clients is not None:
        return Certificates(folder, names, given, now, clients), None
    ensure_serving(folder, names, now)
    client = ensure_client(folder, CLIENT, now)
    return Certificates(folder, names, given, now, client.authorities), client


def scheduler_configuration(
    url: str, authorities: bytes, client: ServingFiles | None, name: str, kubeconfig: str | None
) -> str:
    """A KubeSchedulerConfiguration as JSON (which YAML is). The client's key is named, never shown."""
    tls: dict[str, Any] = {"caData": base64.b64encode(authorities).decode()}
    if client is not None:
        tls |= {"certFile": str(client.certificate), "keyFile": str(client.key)}
    else:
        tls |= {"certFile": "/etc/customhouse/client.crt", "keyFile": "/etc/customhouse/client.key"}
    document: dict[str, Any] = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        **({"clientConnection": {"kubeconfig": kubeconfig}} if kubeconfig else {}),
        # A second scheduler that stood for the first one's Lease would never lead, and place nothing.
        **({"leaderElection": _elected(name)} if name != DEFAULT else {}),
        "percentageOfNodesToScore": 100,
        "profiles": [{"schedulerName": name, "pluginConfig": [{"name": "NodeResourcesFit", "args": _PACKING}]}],
        "extenders": [
            {
                "urlPrefix": url,
                "filterVerb": "filter",
                "prioritizeVerb": "prioritize",
                "preemptVerb": "preempt",
                "weight": WEIGHT,
                "nodeCacheCapable": True,
                "ignorable": True,
                "enableHTTPS": True,
                "httpTimeout": TIMEOUT,
                "tlsConfig": tls,
            }
        ],
    }
    return json.dumps(document, indent=2)


def _elected(name: str) -> dict[str, Any]:
    return {
        "leaderElect": True,
        "resourceLock": "leases",
        "resourceNamespace": "kube-system",
        "resourceName": re.sub("[^a-z0-9.-]+", "-", name.lower()).strip("-."),
    }
