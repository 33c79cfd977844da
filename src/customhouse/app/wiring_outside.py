"""Wiring of what is fetched by digest to be rendered: names adapters, like `wiring`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from customhouse.app.settings import Settings, read_settings

if TYPE_CHECKING:
    from customhouse.app.fetching import CachedFetcher, Means
    from customhouse.control.adapters.chart_repository import ChartRepository
    from customhouse.trust.adapters.registries.oci import OciRegistry


@cache
def fetcher() -> CachedFetcher:
    """What fetches charts and artifacts; one for the process, since it keeps what it has unpacked."""
    from customhouse.app.fetching import CachedFetcher

    return CachedFetcher(lambda: means(read_settings()))


def means(settings: Settings, *, logins: bool = True) -> Means:
    """With what is fetched, by the folders of these settings, and their logins or none."""
    from customhouse.app.fetching import Means

    return Means(cache_of(settings), lambda host: oci(settings, host, logins=logins), charts(settings, logins=logins))


def cache_of(settings: Settings) -> Path | None:
    """Where what was fetched is kept: CUSTOMHOUSE_CACHE, else the user's own folder for such things; None: nowhere."""
    named = settings.environment.get("CUSTOMHOUSE_CACHE", "")
    if named:
        return Path(named)
    general, home = (settings.environment.get(name, "") for name in ("XDG_CACHE_HOME", "HOME"))
    if general:
        return Path(general) / "customhouse" / "fetched"
    return Path(home) / ".cache" / "customhouse" / "fetched" if home else None


def oci(settings: Settings, host: str, *, logins: bool = True) -> OciRegistry:
    """A registry, as images are asked for."""
    from customhouse.app.wiring import registry
    from customhouse.trust.adapters.registries.oci import OciRegistry

    return registry(settings, host) if logins else OciRegistry(host)


def charts(settings: Settings, *, logins: bool = True) -> ChartRepository:
    """Chart repositories, with the logins that `docker login` keeps for their hosts."""
    from customhouse.control.adapters.chart_repository import ChartRepository
    from customhouse.trust.adapters.registries.access import stored_credentials

    def headers(host: str) -> Mapping[str, str]:
        found = stored_credentials(host, settings.environment) if logins else None
        if found is None:
            return {}
        word = base64.b64encode(f"{found.user}:{found.password}".encode()).decode()
        return {"Authorization": f"Basic {word}"}

    return ChartRepository(headers)
