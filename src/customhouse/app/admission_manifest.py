"""The ValidatingWebhookConfiguration and MutatingWebhookConfiguration that send reviews here, as YAML to be committed.

`failurePolicy: Fail`: without an answer nothing enters. What keeps a dead webhook from locking the cluster is a list of
namespaces by name, in reviewed configuration: the label that is matched is set by the API server itself and cannot be
chosen (kubernetes.io/metadata.name).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from customhouse._kit.reading import absent
from customhouse.app.governance import governance
from customhouse.app.in_force import ruling_revision
from customhouse.app.settings import Settings
from customhouse.core.errors import TargetError, UsageError
from customhouse.trust.certificates_serving import ServingFiles

NAME = "customhouse"
NAMESPACE = "customhouse-system"
SERVICE = "customhouse-webhook"
TIMEOUT_S = 5


def given_files(certificate: str | None, key: str | None, authorities: str | None) -> ServingFiles | None:
    """The files of --cert, --key and --ca. Raises UsageError when one is named without the other, or is not there."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise UsageError("--cert and --key go together")
    files = ServingFiles(Path(certificate), Path(key), Path(authorities or certificate))
    for path in (files.certificate, files.key, files.authorities):
        if not path.is_file():
            raise UsageError(absent(path))
    return files


def printed(settings: Settings, repo: str | None, authorities: bytes, url: str | None) -> str:
    """Both objects as a YAML stream (JSON documents, which YAML is)."""
    made = configurations(settings, repo, authorities, url)
    return "\n---\n".join(json.dumps(item, indent=2) for item in made)


def apply_configurations(
    settings: Settings, repo: str | None, authorities: bytes, url: str | None, kubeconfig: str | None
) -> tuple[str, ...]:
    """Apply both objects to a cluster; their names. Raises TargetError with the API's own words."""
    from customhouse.app import wiring
    from customhouse.core.cluster import Apply

    made = configurations(settings, repo, authorities, url)
    with wiring.cluster(settings, Path(kubeconfig) if kubeconfig else None) as cluster:
        for item, written in zip(made, cluster.write([Apply(item, force=True) for item in made]), strict=True):
            if not written.ok:
                raise TargetError(
                    f"{item['kind']} {NAME}: {written.problem or written.reason}",
                    where=cluster.name,
                    hint="deploy/webhook/rbac.yaml has the rights that are needed",
                )
    return tuple(f"{item['kind']} {NAME}" for item in made)


def configurations(
    settings: Settings, repo: str | None, authorities: bytes, url: str | None
) -> tuple[dict[str, Any], ...]:
    """Both objects. Raises ConfigError for a customhouse.yaml that cannot be read."""
    from customhouse.app import wiring

    if repo is None:
        governing = governance(None, None, settings.config, wiring.shelf(settings))
    else:
        # What a denied commit would exempt stays judged.
        objects, found = ruling_revision(settings, repo)
        governing = governance(objects, found.revision, settings.config, wiring.shelf(settings))
    exempt = list(governing.configuration.admission.exempt_namespaces)
    return (
        _object(
            "ValidatingWebhookConfiguration",
            "validate",
            [
                _rule(["CREATE", "UPDATE", "DELETE"], ["*"], ["*"]),
                _rule(["CREATE", "UPDATE"], [""], ["pods/ephemeralcontainers", "pods/resize"]),
                _rule(["UPDATE"], ["*"], ["*/scale"]),
            ],
            exempt,
            authorities,
            url,
        ),
        _object(
            "MutatingWebhookConfiguration",
            "mutate",
            [
                _rule(["CREATE"], [""], ["pods"]),
                _rule(["CREATE"], ["resource.k8s.io"], ["resourceclaims", "resourceclaimtemplates"]),
            ],
            exempt,
            authorities,
            url,
        ),
    )


def _address(url: str) -> str:
    """An address that the API server takes: https, a host, no user, query or fragment. Raises UsageError."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError(f"--url is {url[:200]!r}", hint="write https://HOST[:PORT][/PATH]")
    return url.rstrip("/")


def _rule(operations: list[str], groups: list[str], resources: list[str]) -> dict[str, Any]:
    return {
        "operations": operations,
        "apiGroups": groups,
        "apiVersions": ["*"],
        "resources": resources,
        "scope": "*",
    }


def _object(
    kind: str, path: str, rules: list[dict[str, Any]], exempt: list[str], authorities: bytes, url: str | None
) -> dict[str, Any]:
    client: dict[str, Any] = {"caBundle": base64.b64encode(authorities).decode()}
    if url is None:
        client["service"] = {"namespace": NAMESPACE, "name": SERVICE, "path": f"/{path}", "port": 443}
    else:
        client["url"] = f"{_address(url)}/{path}"
    hook: dict[str, Any] = {
        "name": f"{path}.customhouse.dev",
        "clientConfig": client,
        "rules": rules,
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "NoneOnDryRun",
        "timeoutSeconds": TIMEOUT_S,
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {
            "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": exempt}]
        },
        # Leases, Events, reviews of rights, what nodes say of themselves and what audits report are the cluster's
        # pulse, not a Declaration: refused, it would stop.
        "matchConditions": [
            {
                "name": "not-the-clusters-own",
                "expression": "!(request.resource.group in ['coordination.k8s.io', 'events.k8s.io', "
                "'authentication.k8s.io', 'authorization.k8s.io', 'discovery.k8s.io', 'metrics.k8s.io'])"
                " && !(request.resource.group == '' && request.resource.resource in "
                "['events', 'nodes', 'endpoints', 'bindings'])"
                " && !(request.resource.group == 'storage.k8s.io' && request.resource.resource in "
                "['csinodes', 'csistoragecapacities', 'volumeattachments'])"
                " && !(request.resource.group == 'resource.k8s.io' && request.resource.resource == 'resourceslices')"
                " && !(request.resource.group == 'networking.k8s.io' && request.resource.resource == 'ipaddresses')"
                " && !(request.resource.group == 'certificates.k8s.io' && "
                "request.resource.resource == 'certificatesigningrequests')"
                " && request.resource.group != 'wgpolicyk8s.io'",
            }
        ],
    }
    if kind == "MutatingWebhookConfiguration":
        hook["reinvocationPolicy"] = "IfNeeded"
        hook["sideEffects"] = "None"
        del hook["matchConditions"]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": NAME},
        "webhooks": [hook],
    }
