"""What is to be written for pods that wait: a new NodePool, or a higher limit of one that is declared.

1. Pools of one name (tier, machine, capacity) are one.
2. One that is not declared becomes a file of its own.
3. One that is declared has room for what its limit says, less what its nodes have already. While there is room it is
   Karpenter's turn, and nothing is proposed; else its limit is raised, and nothing else of it is altered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from customhouse._kit.clock import to_rfc3339
from customhouse._kit.digest import bytes_digest
from customhouse._kit.money import Money
from customhouse._kit.quantity import QuantityError, parse_count
from customhouse.app.nodepools import WHOLE, Pool
from customhouse.control.edit import edit
from customhouse.core.cost import HOURS_PER_MONTH
from customhouse.core.errors import CustomhouseError, DeclarationError
from customhouse.core.proposal import FieldEdit
from customhouse.core.resource import Declaration, ResourceRef
from customhouse.execution.extender_nodes import CPU, MEMORY

BRANCHES = "customhouse/nodepool/"
_NAMED = 20


@dataclass(frozen=True, slots=True)
class PoolChange:
    """A file as it is to be, for pods that wait; without `text` nothing is to be written, for `problem`."""

    name: str
    pools: tuple[Pool, ...]
    path: str = ""
    text: bytes = b""
    limit: int = 0
    before: int | None = None
    """The limit that is declared; None for a new pool."""
    problem: str = ""

    @property
    def branch(self) -> str:
        """The one branch of this pool."""
        return BRANCHES + self.name

    @property
    def digest(self) -> str:
        """What tells one proposal from the next: the file, and not who happens to wait for it."""
        return bytes_digest(self.path.encode() + b"\0" + self.text)

    @property
    def pods(self) -> tuple[str, ...]:
        """Those that wait."""
        return tuple(name for pool in self.pools for name in pool.waiting.pods)

    @property
    def monthly(self) -> Money | None:
        """What all machines cost in a full month; None where no machine was found."""
        found = [
            Money(pool.machine.rate.per_hour.pico * pool.count * HOURS_PER_MONTH, pool.machine.rate.per_hour.currency)
            for pool in self.pools
            if pool.machine is not None
        ]
        return Money(sum(item.pico for item in found), found[0].currency) if found else None

    @property
    def machines(self) -> str:
        """`3 × g6.xlarge`."""
        first = self.pools[0].machine
        return f"{sum(pool.count for pool in self.pools)} × {first.name}" if first is not None else "none found"

    def to_json(self) -> dict[str, Any]:
        """For the board and `schedule pools --propose`."""
        monthly = self.monthly
        return {
            "name": self.name,
            "tier": self.pools[0].waiting.tier.name,
            "pods": len(self.pods),
            "since": to_rfc3339(min(pool.waiting.since for pool in self.pools)),
            "machines": self.machines,
            "monthly": None if monthly is None else str(monthly),
            "path": self.path,
            "problem": self.problem,
        }


def pool_changes(
    found: Sequence[Pool],
    declared: Sequence[Declaration],
    read: Callable[[str], bytes | None],
    used: Mapping[str, int],
    folder: str,
) -> tuple[PoolChange, ...]:
    """Steps 1 to 3. `read` gives a file of the revision that the branches start from."""
    groups: dict[str, list[Pool]] = {}
    for pool in found:
        if pool.manifest is None:
            problem = pool.problem or "node pools of this cloud are no Kubernetes objects: make it there"
            key = f"{pool.waiting.tier.name}-{bytes_digest(repr(sorted(pool.waiting.amounts.items())).encode())[7:15]}"
            groups.setdefault(f"!{key}\0{problem}", []).append(pool)
        else:
            groups.setdefault(str(pool.manifest["metadata"]["name"]), []).append(pool)
    known = {item.ref.name: item for item in declared if item.ref.kind == "NodePool"}
    made = []
    for name, pools in sorted(groups.items()):
        if name.startswith("!"):
            key, _, problem = name[1:].partition("\0")
            made.append(PoolChange(key, tuple(pools), problem=problem))
        elif name in known:
            made.append(_raised(name, tuple(pools), known[name], read, used.get(name, 0)))
        else:
            made.append(_new(name, tuple(pools), read, folder))
    return tuple(made)


def _wanted(pools: Sequence[Pool]) -> int:
    return sum(pool.count * pool.machine.devices for pool in pools if pool.machine is not None)


def _new(name: str, pools: tuple[Pool, ...], read: Callable[[str], bytes | None], folder: str) -> PoolChange:
    import yaml

    path, limit = f"{folder}/{name}.yaml", _wanted(pools)
    if read(path) is not None:
        return PoolChange(name, pools, path, problem=f"{path} is there, and declares no NodePool {name}")
    manifest = {**(pools[0].manifest or {})}
    manifest["spec"] = {**manifest["spec"], "limits": {WHOLE: str(limit)}}
    text = yaml.safe_dump(manifest, sort_keys=False, width=120).encode()
    return PoolChange(name, pools, path, text, limit)


def _raised(
    name: str, pools: tuple[Pool, ...], declared: Declaration, read: Callable[[str], bytes | None], used: int
) -> PoolChange:
    path, needed = declared.location.file, _wanted(pools)
    spec = declared.manifest.get("spec")
    limits = spec.get("limits") if isinstance(spec, Mapping) else None
    said = limits.get(WHOLE) if isinstance(limits, Mapping) else None
    try:
        before = None if said is None else parse_count(said)
    except (QuantityError, TypeError, ValueError):
        return PoolChange(name, pools, path, problem=f"the limit {WHOLE} of NodePool {name} is no number")
    if before is None or used + needed <= before:
        room = "no limit" if before is None else f"room for {before - used} more {WHOLE}"
        text = f"NodePool {name} is declared and has {room}: its machines have not come (see its NodeClaims)"
        return PoolChange(name, pools, path, before=before, problem=text)
    data = read(path)
    ref = ResourceRef(declared.ref.api_version, "NodePool", declared.ref.namespace, name)
    value = FieldEdit(f"/spec/limits/{WHOLE.replace('/', '~1')}", f'"{used + needed}"')
    try:
        if data is None or declared.rendering is not None:
            raise DeclarationError("it is rendered from other files")
        after = edit(data, ref, (value,), file=path)
    except CustomhouseError as error:
        problem = f"the limit of NodePool {name} has to be {used + needed}, and cannot be edited: {error}"
        return PoolChange(name, pools, path, before=before, problem=problem)
    return PoolChange(name, pools, path, after, used + needed, before)


def _amount(name: str, number: int) -> str:
    """As a person would write it: `amounts` has CPU in thousandths, and memory in bytes."""
    if name == CPU:
        return f"{number / 1000:g} CPU"
    return f"{number / 2**30:.4g} GiB of memory" if name == MEMORY else f"{number} {name}"


def message_of(change: PoolChange) -> str:
    """The message of the commit, which is the text of the pull request: what for, at what price, and the way back."""
    first, count = change.pools[0], len(change.pods)
    waits = f"{count} pod{'s wait' if count > 1 else ' waits'}"
    title = (
        f"Add a node pool of {change.machines}: {waits} (tier {first.waiting.tier.name})"
        if change.before is None
        else f"Raise the limit of node pool {change.name} from {change.before} to {change.limit}: {waits}"
    )
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    lines = [title, "", f"Pods: {', '.join(change.pods[:_NAMED])}{more}"]
    for pool in change.pools:
        asks = ", ".join(starmap(_amount, sorted(pool.waiting.amounts.items())))
        lines.append(f"They have waited since {to_rfc3339(pool.waiting.since)}; each asks for {asks}")
        lines.append(f"The scheduler says: {' '.join(pool.waiting.said.split())[:500]}")
    if first.machine is not None and change.monthly is not None:
        rate = first.machine.rate
        lines.append(
            f"{change.machines} ({first.machine.accelerator}) cost {change.monthly.rounded()} "
            f"{change.monthly.currency} in a full month, {rate.per_hour} an hour each"
        )
        lines.append(f"Priced: {rate.source}, as of {rate.as_of[:10]}; the lowest bill of the machines that hold them")
    lines += [
        "",
        "Karpenter makes no more machines than the limit allows, and takes empty ones away after five minutes.",
        "The way back: revert this commit. Deleting this branch declines it while the need is the same.",
        "",
        f"Customhouse-Proposes: NodePool {change.name}",
    ]
    return "\n".join(lines) + "\n"
