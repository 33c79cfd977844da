"""Policies of others in force: `policy.gatekeeper` and `policy.conftest` of the base revision, at all three points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from customhouse._kit.digest import bytes_digest, json_digest
from customhouse.app import wiring
from customhouse.app.foreign_files import SUFFIXES, documents_of
from customhouse.app.foreign_source import ForeignSource
from customhouse.core.change import Change
from customhouse.core.decision import Decision, Finding, Point
from customhouse.core.errors import ConfigError, PolicyError
from customhouse.core.ports import PolicyEngine
from customhouse.core.resource import Declaration, Manifest, ResourceRef
from customhouse.policy import gatekeeper_review as reviews
from customhouse.policy.conftest import Conftest, load_conftest
from customhouse.policy.foreign import ForeignEngine
from customhouse.policy.foreign_findings import ForeignObject, ForeignPolicies, folded, foreign_findings
from customhouse.policy.gatekeeper import Gatekeeper, Policies, load_policies
from customhouse.policy.waiver import Waiver

_OWN_GROUP = "customhouse.dev/"
_NO_FILES: Mapping[str, bytes] = {}


class Foreign:
    """Judges with policies of others. Built once a governance; `engine` is the one that judges the rest.

    `guarded` False: this process is one that the kernel ends when it takes too long.

    Raises PolicyError (with file and line) for policies that cannot be loaded: the gate stays shut.
    """

    def __init__(self, source: ForeignSource, engine: PolicyEngine, *, guarded: bool = True) -> None:
        self._engine: ForeignEngine = wiring.foreign_engine_beside(engine, guarded=guarded)
        self._cel = wiring.cel_engine()
        self.policies = load(source, self._engine)
        Gatekeeper(self.policies.gatekeeper, self._engine, self._cel).check()

    def findings(
        self,
        objects: Sequence[ForeignObject],
        *,
        point: Point,
        inventory: Mapping[str, Any] | None,
    ) -> list[tuple[Finding, ...]]:
        """See `policy.foreign_findings.foreign_findings`."""
        return foreign_findings(objects, self.policies, self._engine, point=point, inventory=inventory, cel=self._cel)

    def decide(
        self,
        decisions: Sequence[Decision],
        changes: Sequence[Change],
        declared: Sequence[Declaration],
        waivers: Sequence[Waiver],
        as_of: datetime,
    ) -> tuple[Decision, ...]:
        """The Decisions with what these policies say of what each Change leaves; all objects are asked at once."""
        asked = [index for index, change in enumerate(changes) if _is_judged(change)]
        objects = [_object(changes[index].after) for index in asked]
        point = decisions[0].point if decisions else Point.GATE
        found = self.findings(objects, point=point, inventory=inventory_of(declared))
        result = list(decisions)
        for index, findings in zip(asked, found, strict=True):
            result[index] = folded(decisions[index], findings, self.policies, waivers, as_of)
        return tuple(result)

    def admit(
        self,
        decision: Decision,
        ref: ResourceRef,
        request: Mapping[str, Any],
        waivers: Sequence[Waiver],
        as_of: datetime,
        inventory: Mapping[str, Any] | None,
    ) -> Decision:
        """The Decision on an AdmissionRequest with what these policies say of it."""
        manifest = request.get("object") or request.get("oldObject") or {}
        found = self.findings([ForeignObject(ref, manifest, "", request)], point=Point.ADMISSION, inventory=inventory)
        return folded(decision, found[0], self.policies, waivers, as_of)


def inventory_of(declarations: Iterable[Declaration]) -> Mapping[str, Any]:
    """`data.inventory` of what is declared, or lives; what names no namespace is where it will land."""
    return reviews.inventory_of(_landed(item) for item in declarations)


def _landed(item: Declaration) -> Manifest:
    metadata = item.manifest.get("metadata")
    if not item.ref.namespace or not isinstance(metadata, Mapping) or metadata.get("namespace"):
        return item.manifest
    return {**item.manifest, "metadata": {**metadata, "namespace": item.ref.namespace}}


def load(source: ForeignSource, engine: ForeignEngine) -> ForeignPolicies:
    """The policies of a source. Raises PolicyError with file and line, ConfigError for a folder without any."""
    gatekeeper = Policies()
    if source.gatekeeper is not None:
        documents = [
            document
            for path in sorted(source.gatekeeper)
            if path.endswith(SUFFIXES)
            for document in documents_of(source.gatekeeper[path], path)
        ]
        gatekeeper = load_policies(documents)
        if not gatekeeper.constraints:
            raise ConfigError("policy.gatekeeper names a folder that has no constraint")
    conftest: Conftest | None = None
    if source.conftest is not None:
        conftest = conftest_of(source.conftest, engine)
    namespaces = source.namespaces or (conftest.namespaces if conftest is not None else ())
    files = {**(source.gatekeeper or _NO_FILES), **(source.conftest or _NO_FILES)}
    digest = json_digest({path: bytes_digest(data) for path, data in sorted(files.items())})
    return ForeignPolicies(digest, gatekeeper, conftest, namespaces)


def conftest_of(files: Mapping[str, bytes], engine: ForeignEngine) -> Conftest:
    """The packages of a folder's `.rego` files, with its YAML and JSON files as data. Raises PolicyError."""
    return load_conftest(_modules(files), engine, _data(files))


def _modules(files: Mapping[str, bytes]) -> dict[str, str]:
    modules = {}
    for path, data in files.items():
        if path.endswith(".rego"):
            try:
                modules[path] = data.decode()
            except UnicodeDecodeError as error:
                raise PolicyError("the module is not UTF-8 text", where=path) from error
    return modules


def _data(files: Mapping[str, bytes]) -> dict[str, Any]:
    """`data` of a folder's YAML and JSON files, one over the other, in the order of their names."""
    merged: dict[str, Any] = {}
    for path in sorted(files):
        if path.endswith((*SUFFIXES, ".json")):
            for document in documents_of(files[path], path):
                merged.update(document.value)
    return merged


def _is_judged(change: Change) -> bool:
    return change.after is not None and not change.ref.api_version.startswith(_OWN_GROUP)


def _object(declaration: Declaration | None) -> ForeignObject:
    if declaration is None:
        raise PolicyError("there is no object to judge")
    return ForeignObject(declaration.ref, declaration.manifest, declaration.location.file)
