"""Which kinds an API serves: aggregated discovery in two requests, or the older one in one a group version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.core.cluster import ApiKind, Discovered
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

    def preferred(self) -> Discovered:
        """Each kind once."""
        first: dict[tuple[str, str], ApiKind] = {}
        for kind in self.served:
            first.setdefault((kind.group, kind.plural), kind)
        return Discovered(tuple(first.values()), self.problems)

    def find(self, api_version: str, kind: str) -> ApiKind | None:
        """The kind as exactly this version serves it."""
        return next((item for item in self.served if (item.api_version, item.kind) == (api_version, kind)), None)


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
