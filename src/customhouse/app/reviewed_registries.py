"""Which registries are trusted by what was reviewed: a change that brings one along gets no request and no login.

The gate has its base revision for that. Who only looks (`plan`, `sources lock`) takes, in this order,

1. the revision that is named (`--base`);
2. the one that is in force, where a note or a state of `up` says which;
3. the first parent, as the gate does; without one (a first commit, a shallow clone) `--config` or nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from customhouse.app import wiring
from customhouse.app.configuration import FILE, Configuration
from customhouse.app.governance import read_configuration
from customhouse.app.in_force import in_force
from customhouse.app.settings import Settings
from customhouse.control.lockfile import is_trusted
from customhouse.control.source import Commits
from customhouse.core.errors import ConfigError, SourceError, StateError


def reviewed_registries(settings: Settings, objects: Commits, commit: str, base: str | None = None) -> tuple[str, ...]:
    """`policy.trustedRegistries` of what goes before a commit. Raises SourceError for a base that is not there."""
    if base is not None:
        return _of(settings, objects, objects.resolve(base))
    try:
        known, revision = _in_force(settings, objects)
        if known:
            return _of(settings, objects, revision)
    except (ConfigError, StateError):  # a note that is named and not there: nothing is in force
        return ()
    except SourceError:  # the state is of another repository
        pass
    try:
        parent: str | None = objects.resolve(f"{commit}^")
    except SourceError:
        parent = None
    return _of(settings, objects, parent)


def configuration_of(settings: Settings, objects: Commits, revision: str | None) -> Configuration:
    """What a revision's customhouse.yaml says, else `--config`: read, and nothing that it names. Raises ConfigError."""
    data = None if revision is None else objects.read(revision, FILE)
    if data is not None:
        return read_configuration(data)
    if settings.config is not None:
        return read_configuration(settings.config.read_bytes(), settings.config.name)
    return Configuration()


def common(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """The places that both of two lists trust, as such a list."""
    found = [entry for entry in one if is_trusted(entry.rstrip("/"), other)]
    return tuple(dict.fromkeys([*found, *(entry for entry in other if is_trusted(entry.rstrip("/"), one))]))


def _of(settings: Settings, objects: Commits, revision: str | None) -> tuple[str, ...]:
    try:
        return configuration_of(settings, objects, revision).trusted_registries
    except ConfigError:  # one that cannot be read trusts nobody; what mends it may be looked at
        return ()


def _in_force(settings: Settings, objects: Commits) -> tuple[bool, str | None]:
    """Whether it is known what rules, and the revision. Raises StateError, ConfigError, SourceError."""
    if settings.allowed is not None:
        return True, in_force(settings, objects, None).revision
    if not wiring.has_store(settings):
        return False, None
    with wiring.store(settings) as opened:
        found = in_force(settings, objects, opened)
    if found.unsure:
        return False, None
    return True, None if found.revision is None else objects.resolve(found.revision)
