"""`scheduling` of customhouse.yaml: whether `up` runs the extender and proposes node pools, and what pods carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

AFTER_S = 300
Fail = Callable[[str, str], object]


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Where proposed node pools are written, and for how long a pod has to have waited."""

    path: str
    after_seconds: int = AFTER_S


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """The part `scheduling`. `listen` is HOST:PORT, empty where `up` runs no extender."""

    listen: str = ""
    names: tuple[str, ...] = ()
    """In the extender's certificate, beside the Service's and the loopback's."""
    pools: PoolSpec | None = None
    node_affinity: bool = False
    """Whether the webhook puts what a tier says of nodes on its pods: then it holds without the extender too."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def to_json(self) -> dict[str, Any]:
        """As customhouse.yaml writes it."""
        value: dict[str, Any] = {"nodeAffinity": self.node_affinity}
        if self.listen:
            value["extender"] = {"listen": self.listen, **({"names": list(self.names)} if self.names else {})}
        if self.pools is not None:
            value["pools"] = {"path": self.pools.path, "afterSeconds": self.pools.after_seconds}
        return value


def schedule_of(given: Mapping[str, Any], paths: Sequence[str], fail: Fail) -> ScheduleSpec:
    """From the checked section. `fail` raises ConfigError at a JSON pointer."""
    extender, pools = given.get("extender") or {}, given.get("pools")
    listen = extender.get("listen", "")
    if listen and not 0 <= int(listen.rpartition(":")[2]) < 65536:
        fail("/scheduling/extender/listen", f"{listen!r} names no port; write HOST:PORT, with a port up to 65535")
    spec = None
    if pools is not None:
        path = pools["path"].strip("/")
        parts = path.split("/")
        if not path or any(part in ("", ".", "..") for part in parts):
            fail("/scheduling/pools/path", f"{pools['path']!r} is no folder of the repository")
        held = [item.strip("/") for item in paths]
        if held and not any(path == item or path.startswith(f"{item}/") for item in held):
            fail(
                "/scheduling/pools/path", f"{path} is not among `paths`, so what is merged there would not be deployed"
            )
        spec = PoolSpec(path, pools.get("afterSeconds", AFTER_S))
    return ScheduleSpec(listen, tuple(extender.get("names") or ()), spec, given.get("nodeAffinity", False))
