"""The rules that a customhouse.yaml means: the built-in ones, a folder of the repository, bundles from the shelf."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from customhouse.app.configuration import Configuration
from customhouse.app.policyspecs import BundleSource
from customhouse.core.errors import PolicyError
from customhouse.policy.bundle import Bundle, builtin_bundle, load_bundle
from customhouse.policy.canary import Canary
from customhouse.policy.waiver import Waiver

if TYPE_CHECKING:
    from customhouse.app.policyshelf import Shelf
    from customhouse.trust.keys import TrustRoot

_UNKEPT = "this command takes no bundles from elsewhere"


class Rules:
    """Reads one configuration's rules; `folder` gives the files of a folder of its revision."""

    def __init__(
        self, shelf: Shelf | None, roots: Sequence[TrustRoot], folder: Callable[[str], Mapping[str, bytes]]
    ) -> None:
        self._shelf = shelf
        self._roots = roots
        self._folder = folder
        self.alerts: list[str] = []

    def in_force(self, configuration: Configuration) -> Bundle:
        """The bundle that decides. Raises PolicyError, ConfigError."""
        return self._joined(configuration.bundle, configuration.bundles)

    def on_trial(self, configuration: Configuration, waivers: tuple[Waiver, ...]) -> Canary | None:
        """The candidate: its folder stands for the folder in force, its archive comes beside what is in force.

        Raises like `in_force`: a candidate that cannot be read is not merged, though it would decide nothing.
        """
        spec = configuration.canary
        if spec is None:
            return None
        if spec.pulled is None:
            bundle = self._joined(spec.folder, configuration.bundles)
        else:
            bundle = self._joined(configuration.bundle, (*configuration.bundles, spec.pulled))
        return Canary(bundle, spec.mode, spec.share, spec.namespaces, waivers)

    def _joined(self, folder: str | None, sources: Sequence[BundleSource]) -> Bundle:
        base = builtin_bundle()
        files = dict(self._folder(folder)) if folder else {}
        version = ""
        for source in sources:
            taken, version = self._taken(source, base)
            files |= taken
        return load_bundle(files, base=base, version=version) if files else base

    def _taken(self, source: BundleSource, base: Bundle) -> tuple[dict[str, bytes], str]:
        if self._shelf is None:
            # Without its rules the answer could be a wrong "allowed".
            raise PolicyError(f"the policy bundle cannot be used: {_UNKEPT}", where=source.source)
        pulled = self._shelf.take(source, self._roots)
        if pulled.alert and pulled.alert not in self.alerts:
            self.alerts.append(pulled.alert)
        # By digest: two bundles may have files of the same name, and what was used can be told from any error.
        prefix = pulled.archive.digest.removeprefix("sha256:")[:12]
        return (
            {f"{prefix}/{name}": data for name, data in pulled.archive.own_files(base).items()},
            pulled.archive.version,
        )


def own_folders(configuration: Configuration) -> tuple[str, ...]:
    """The folders of this repository that hold rules: in force, and on trial."""
    trial = None if configuration.canary is None else configuration.canary.folder
    return tuple(folder for folder in (configuration.bundle, trial) if folder)
