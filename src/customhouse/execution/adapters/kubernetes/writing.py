"""Writes: many at a time, each tried again as long as that is safe, every outcome a value."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import orjson

from customhouse.core.cluster import ApiKind, Apply, ClusterChange, Delete, Evict, Refusal, Remove, Written
from customhouse.core.errors import TargetError
from customhouse.core.resource import ResourceRef
from customhouse.execution.adapters.kubernetes.discovery import Catalogue
from customhouse.execution.adapters.kubernetes.errors import ApiError, UnreachableError
from customhouse.execution.adapters.kubernetes.pace import MOST, Pace
from customhouse.execution.adapters.kubernetes.reading import path_of
from customhouse.execution.adapters.kubernetes.refusals import refused
from customhouse.execution.adapters.kubernetes.transport import Transport

FIELD_MANAGER = "customhouse"
MAX_REQUEST = 3 * 1024 * 1024
"""k8s.io/apiserver's MaxRequestBodyBytes. It cuts the connection of who sends more, often before its answer is read."""
CONFLICT_TRIES = 4
_APPLY = {"Content-Type": "application/apply-patch+yaml"}  # JSON is YAML
_JSON_PATCH = {"Content-Type": "application/json-patch+json"}
_JSON = {"Content-Type": "application/json"}


class Writer:
    """Writes batches to one API; one for all batches, so that they share its pace."""

    def __init__(self, transport: Transport, catalogue: Catalogue, pace: Pace) -> None:
        self.transport = transport
        self._catalogue = catalogue
        self._pace = pace

    async def write(self, changes: Sequence[ClusterChange]) -> list[Written]:
        """One result a change, in order. Raises TargetError when the API's kinds cannot be asked for."""
        results: list[Written | None] = [None] * len(changes)
        chains: dict[ResourceRef, list[int]] = {}
        for index, change in enumerate(changes):
            ref = _ref_of(change)
            if isinstance(ref, Written):
                results[index] = ref
            else:
                chains.setdefault(ref, []).append(index)
        kinds = await self._catalogue.find({(ref.api_version, ref.kind) for ref in chains})
        batch = _Batch(self, changes, results)
        for ref, indexes in chains.items():
            kind = kinds[ref.api_version, ref.kind]
            if isinstance(kind, Written):
                for index in indexes:
                    results[index] = kind
            else:
                batch.waiting.append((kind, ref, indexes))
        await batch.run()
        return [item if item is not None else _LOST for item in results]

    async def one(self, kind: ApiKind, ref: ResourceRef, change: ClusterChange) -> Written:
        """One change. Raises UnreachableError when the API is not there."""
        for attempt in range(CONFLICT_TRIES):
            try:
                if isinstance(change, Apply):
                    return await self._apply(kind, ref, change)
                if isinstance(change, Remove):
                    return await self._remove(kind, ref, change)
                if isinstance(change, Evict):
                    return await self._evict(kind, ref, change)
                return await self._delete(kind, ref, change)
            except ApiError as error:
                answer = refused(error)
                if answer.refusal is Refusal.NO_KIND:
                    self._catalogue.forget(kind)
                if attempt < CONFLICT_TRIES - 1 and _raced(change, answer):
                    continue
                return answer
        raise AssertionError  # the last attempt returns or raises

    async def _apply(self, kind: ApiKind, ref: ResourceRef, change: Apply) -> Written:
        try:
            body = orjson.dumps(dict(change.manifest))
        except TypeError as error:
            return Written(False, None, "Invalid", f"it cannot be written as JSON: {error}", Refusal.INVALID)
        if len(body) > MAX_REQUEST:
            problem = f"it has {len(body)} bytes, and the API takes {MAX_REQUEST}"
            return Written(False, None, "RequestEntityTooLarge", problem, Refusal.TOO_LARGE)
        parameters = {"fieldManager": change.manager or FIELD_MANAGER, "fieldValidation": change.validation}
        if change.force:
            parameters["force"] = "true"
        if change.dry_run:
            parameters["dryRun"] = "All"
        path = path_of(kind, ref.namespace, ref.name, change.subresource)
        answer = await self.transport.send(
            "PATCH", path, parameters=parameters, headers=_APPLY, body=body, pace=self._pace
        )
        return Written(True, _object(answer.value, managers=change.managers), warnings=answer.warnings)

    async def _remove(self, kind: ApiKind, ref: ResourceRef, change: Remove) -> Written:
        """A JSON patch; what it replaces first makes the API refuse any other state of the object (409)."""
        named = {"uid": change.uid, "resourceVersion": change.version}
        patch = [{"op": "replace", "path": f"/metadata/{name}", "value": value} for name, value in named.items()]
        # From behind: taking an item of a list away moves those after it.
        ordered = sorted(change.pointers, key=_place, reverse=True)
        patch += [{"op": "remove", "path": pointer} for pointer in ordered]
        parameters = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if change.dry_run else {})}
        path, body = path_of(kind, ref.namespace, ref.name), orjson.dumps(patch)
        answer = await self.transport.send(
            "PATCH", path, parameters=parameters, headers=_JSON_PATCH, body=body, pace=self._pace
        )
        return Written(True, _object(answer.value, managers=False), warnings=answer.warnings)

    async def _evict(self, kind: ApiKind, ref: ResourceRef, change: Evict) -> Written:
        """By policy/v1; a pod that is gone is ok, as one that is deleted is."""
        options: dict[str, Any] = {"preconditions": {"uid": change.uid}}
        if change.grace_s is not None:
            options["gracePeriodSeconds"] = change.grace_s
        if change.dry_run:
            options["dryRun"] = ["All"]
        named = {"name": ref.name, "namespace": ref.namespace}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named, "deleteOptions": options}
        path = path_of(kind, ref.namespace, ref.name, "eviction")
        try:
            answer = await self.transport.send(
                "POST", path, headers=_JSON, body=orjson.dumps(body), again=True, pace=self._pace
            )
        except ApiError as error:
            if error.status == 404 and refused(error).refusal is Refusal.NOT_FOUND:
                return Written(True)
            raise
        return Written(True, warnings=answer.warnings)

    async def _delete(self, kind: ApiKind, ref: ResourceRef, change: Delete) -> Written:
        conditions = {"uid": change.uid, "resourceVersion": change.version}
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": change.propagation}
        options["preconditions"] = {key: value for key, value in conditions.items() if value}
        if change.dry_run:
            options["dryRun"] = ["All"]
        path = path_of(kind, ref.namespace, ref.name)
        body = orjson.dumps(options)
        try:
            # Without a uid a second try might meet another object of the same name.
            answer = await self.transport.send(
                "DELETE", path, headers=_JSON, body=body, again=bool(change.uid) or change.dry_run, pace=self._pace
            )
        except ApiError as error:
            if error.status == 404 and refused(error).refusal is not Refusal.NO_KIND:
                return Written(True)
            raise
        left = answer.value if isinstance(answer.value, dict) and answer.value.get("kind") != "Status" else None
        return Written(True, None if left is None else _object(left, managers=False), warnings=answer.warnings)


class _Batch:
    """The changes of one call: objects are written many at a time, the changes of one object in their order."""

    def __init__(self, writer: Writer, changes: Sequence[ClusterChange], results: list[Written | None]) -> None:
        self._writer = writer
        self._changes = changes
        self._results = results
        self._gone: Written | None = None
        self.waiting: deque[tuple[ApiKind, ResourceRef, list[int]]] = deque()

    async def run(self) -> None:
        """Write all; a batch of one needs no task."""
        workers = min(MOST, len(self.waiting))
        if workers == 1:
            await self._work()
        elif workers:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work())

    async def _work(self) -> None:
        while self.waiting:
            kind, ref, indexes = self.waiting.popleft()
            for index in indexes:
                self._results[index] = await self._one(kind, ref, self._changes[index])

    async def _one(self, kind: ApiKind, ref: ResourceRef, change: ClusterChange) -> Written:
        if self._gone is not None:
            return self._gone
        began = self._writer.transport.monotonic()
        try:
            return await self._writer.one(kind, ref, change)
        except UnreachableError as error:
            if not self._writer.transport.answers_others(began):
                # Nobody was answered while this one was tried for as long as it may be: nor will the rest be.
                self._gone = Written(False, None, "", str(error), Refusal.UNREACHABLE)
            return refused(error)
        except TargetError as error:
            return refused(error)


_LOST = Written(False, None, "", "it was not tried", Refusal.UNREACHABLE)


def _ref_of(change: ClusterChange) -> ResourceRef | Written:
    if not isinstance(change, Apply):
        return change.ref
    try:
        ref = ResourceRef.of(change.manifest)
    except (KeyError, TypeError) as error:
        problem = f"the object has no apiVersion, kind or name: {error}"
        return Written(False, None, "Invalid", problem, Refusal.INVALID)
    if not ref.name or not ref.kind or ref.name in (".", "..") or ref.namespace in (".", ".."):
        return Written(False, None, "Invalid", f"{ref.name!r} cannot be the name of an object", Refusal.INVALID)
    return ref


def _place(pointer: str) -> list[tuple[int, str]]:
    """Orders pointers with the indexes of lists as numbers."""
    return [(int(part), "") if part.isdigit() and len(part) < 9 else (0, part) for part in pointer.split("/")]


def _raced(change: ClusterChange, answer: Written) -> bool:
    """Whether somebody else wrote the object at the same moment: an apply that names no version may be done again."""
    if not isinstance(change, Apply) or answer.refusal is not Refusal.CONFLICT or answer.conflicts:
        return False
    metadata = change.manifest["metadata"]
    return not metadata.get("resourceVersion") and not metadata.get("uid")


def _object(value: Any, *, managers: bool) -> dict[str, Any]:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(metadata, dict):
        raise ApiError("the answer is no object", status=200)
    if not managers:
        metadata.pop("managedFields", None)
    return value
