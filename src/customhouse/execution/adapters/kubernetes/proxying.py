"""Through which proxy an API is reached: `proxy-url` of the kubeconfig, else the environment, as kubectl does it.

The rules are those of Go (golang.org/x/net/http/httpproxy): HTTPS_PROXY or HTTP_PROXY by the server's scheme, never for
loopback, nor for what NO_PROXY names (`*`, addresses, CIDR blocks, domains with all below them, each with a port or
without).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from customhouse.core.errors import ConfigError


def proxy_for(server: str, environment: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for a server; None for none. Raises ConfigError for one of no use."""
    parts = urlsplit(server)
    names = ("HTTPS_PROXY", "https_proxy") if parts.scheme == "https" else ("HTTP_PROXY", "http_proxy")
    name, value = next(((name, environment[name]) for name in names if environment.get(name)), ("", ""))
    if not value or _direct(parts.hostname or "", parts.port or 443, environment):
        return None
    return checked(value if "://" in value else f"http://{value}", name)


def checked(proxy: str, where: str) -> str:
    """A proxy that can be used. Raises ConfigError for another kind of proxy, without telling its password."""
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("it is no HTTP proxy", where=where, hint="write http://HOST:PORT; SOCKS is not spoken")
    return proxy


def _direct(host: str, port: int, environment: Mapping[str, str]) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    listed = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    return any(_matches(item.strip().lower(), host, address, port) for item in listed.split(",") if item.strip())


def _matches(item: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    if item == "*":
        return True
    if "/" in item:
        try:
            return address is not None and address in ipaddress.ip_network(item, strict=False)
        except ValueError:
            return False
    name, _, told = item.rpartition(":") if item.count(":") == 1 or item.startswith("[") else (item, "", "")
    if told and told.isdigit():
        if int(told) != port:
            return False
        item = name
    item = item.strip("[]")
    if (only := _address(item)) is not None:
        return only == address
    item = item.removeprefix("*")
    return host.endswith(item) if item.startswith(".") else host == item or host.endswith("." + item)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
