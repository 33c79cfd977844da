"""Which kinds an API serves: aggregated discovery in two requests, or the older one in one a group version."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.cluster import ApiKind, Discovered, Refusal, Written
from customhouse.core.errors import TargetError
from customhouse.execution.adapters.kubernetes.errors import ApiError
from customhouse.execution.adapters.kubernetes.transport import Transport

# KEP-3352; a server that does not know it answers in the plain form.
_ACCEPT = ",".join(
    [
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        "application/json",
    ]
)
_AT_ONCE = 8
_PATIENCE_S = 15.0
"""Discovery comes first: an API that is not there is to be told of before a person looks for what is wrong."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """All kinds in all versions, preferred version first, with the groups that did not answer."""

    served: tuple[ApiKind, ...]
    problems: Mapping[str, str]
    _named: Mapping[tuple[str, str], ApiKind] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        named: dict[tuple[str, str], ApiKind] = {}
        for item in self.served:
            named.setdefault((item.api_version, item.kind), item)
        object.__setattr__(self, "_named", named)

    def preferred(self) -> Discovered:
        """Each kind once."""
        first: dict[tuple[str, str], ApiKind] = {}
        for kind in self.served:
            first.setdefault((kind.group, kind.plural), kind)
        return Discovered(tuple(first.values()), self.problems, self.served)

    def find(self, api_version: str, kind: str) -> ApiKind | None:
        """The kind as exactly this version serves it."""
        return self._named.get((api_version, kind))


class Catalogue:
    """The kinds that an API serves, remembered; asked for anew when one is missing or turned out to be gone."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._kinds: Kinds | None = None
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def refresh(self) -> Kinds:
        """Ask now. Callers that come while the API is asked wait for the answer to a question of their own time."""
        came = self._transport.monotonic()
        async with self._lock:
            if self._kinds is None or self._asked_at < came:
                asked_at = self._transport.monotonic()
                self._kinds = await discover(self._transport)
                self._asked_at = asked_at
            return self._kinds

    def forget(self, kind: ApiKind) -> None:
        """The API no longer serves it."""
        if self._kinds is not None and kind in self._kinds.served:
            served = tuple(item for item in self._kinds.served if item != kind)
            self._kinds = Kinds(served, self._kinds.problems)

    async def find(self, names: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], ApiKind | Written]:
        """(apiVersion, kind) → how it is served, or the refusal of what it is not. Raises TargetError."""
        kinds = self._kinds
        if kinds is None or any(kinds.find(*name) is None for name in names):
            kinds = await self.refresh()  # a definition may have been applied since
        return {name: kinds.find(*name) or _unserved(*name, kinds.problems) for name in names}


def _unserved(api_version: str, kind: str, problems: Mapping[str, str]) -> Written:
    if problem := problems.get(api_version):
        return Written(False, None, "ServiceUnavailable", f"{api_version}: {problem}", Refusal.BROKEN)
    return Written(False, None, "NotFound", f"the API serves no {kind} of {api_version}", Refusal.NO_KIND)


async def discover(transport: Transport) -> Kinds:
    """Ask the API. Raises TargetError when it is out of reach, refuses, or answers with something else."""
    served: list[ApiKind] = []
    problems: dict[str, str] = {}
    for root in ("/api", "/apis"):
        answer = await transport.request("GET", root, headers={"Accept": _ACCEPT}, deadline_s=_PATIENCE_S)
        try:
            if answer["kind"] == "APIGroupDiscoveryList":
                served += _aggregated(answer, problems)
            else:
                served += await _plain(transport, root, answer, problems)
        except (KeyError, TypeError, AttributeError) as error:
            raise TargetError("the answer is no discovery document", where=root) from error
    return Kinds(tuple(served), problems)


def _aggregated(answer: Mapping[str, Any], problems: dict[str, str]) -> Iterator[ApiKind]:
    for group in answer.get("items") or []:
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or []:
            # An aggregated API server that is down is served from memory, and marked.
            if version.get("freshness", "Current") != "Current":
                problems[f"{name}/{version['version']}"] = "the group's own API server does not answer"
            for item in version.get("resources") or []:
                kind = (item.get("responseKind") or {}).get("kind") or ""
                if kind:
                    yield _kind(name, version["version"], kind, item["resource"], item["scope"] == "Namespaced", item)


def _kind(group: str, version: str, kind: str, plural: str, namespaced: bool, item: Mapping[str, Any]) -> ApiKind:
    texts = (group, version, kind, plural)
    if not all(isinstance(text, str) for text in texts) or "/" in plural:
        raise TypeError(plural)
    return ApiKind(group, version, kind, plural, namespaced, tuple(str(verb) for verb in item.get("verbs") or ()))


async def _plain(
    transport: Transport, root: str, answer: Mapping[str, Any], problems: dict[str, str]
) -> Sequence[ApiKind]:
    if root == "/api":
        versions = [("", str(version)) for version in answer["versions"]]
    else:
        versions = []
        for group in answer["groups"]:
            preferred = (group.get("preferredVersion") or {}).get("version")
            names = [str(item["version"]) for item in group["versions"]]
            versions += [(str(group["name"]), name) for name in sorted(names, key=lambda item: item != preferred)]
    limit = asyncio.Semaphore(_AT_ONCE)

    async def ask(group: str, version: str) -> Sequence[ApiKind]:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            async with limit:
                listed = await transport.request("GET", path, deadline_s=_PATIENCE_S)
        except ApiError as error:
            problems[f"{group}/{version}" if group else version] = error.message
            return ()
        return [
            _kind(group, version, item["kind"], item["name"], item["namespaced"] is True, item)
            for item in listed["resources"]
            if "/" not in item["name"]
        ]

    found = await asyncio.gather(*(ask(group, version) for group, version in versions))
    return [kind for kinds in found for kind in kinds]
