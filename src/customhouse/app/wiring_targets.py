"""Wiring of targets: this machine, a cluster or several of them, as a configuration says."""

from __future__ import annotations

from pathlib import Path

from customhouse.app import wiring
from customhouse.app.configuration import Configuration
from customhouse.app.settings import Settings
from customhouse.app.several_targets import SeveralTargets
from customhouse.core.errors import StateError
from customhouse.execution.adapters.kubernetes.target import KubernetesTarget
from customhouse.execution.adapters.local.jobs import SecretProvider
from customhouse.execution.adapters.local.notice import write_notice
from customhouse.execution.adapters.local.places import Places
from customhouse.execution.adapters.local.target import LocalTarget


def plane_target(
    settings: Settings, configuration: Configuration, secrets: SecretProvider | None = None
) -> LocalTarget | KubernetesTarget | SeveralTargets:
    """The cluster or clusters that a configuration names, else this machine. Raises ConfigError."""
    made = {
        name: KubernetesTarget(wiring.target_cluster(settings, spec), wiring.clock())
        for name, spec in configuration.clusters.items()
    }
    if configuration.cluster is not None:
        return made[""]
    return SeveralTargets(made, configuration.placing) if made else wiring.target(settings, configuration, secrets)


def local_notice(settings: Settings, given: tuple[int, str] | None) -> Path:
    """Write the notice that this machine goes (seconds, reason), or take it back; the file. Raises StateError."""
    place = Places.under(settings.state).notice
    try:
        if given is None:
            place.unlink(missing_ok=True)
        else:
            write_notice(place, *given, wiring.clock().now())
    except OSError as error:
        raise StateError(f"cannot be removed: {error.strerror}", where=str(place)) from error
    return place
