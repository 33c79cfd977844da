"""ConstraintTemplates of Gatekeeper: what one declares, read strictly.

Sources: "Constraint Templates" and "Validating Admission Policy" of Gatekeeper's documentation (v3.23). Rego is taken
from `targets[].rego` with `libs`, or from `targets[].code` (engine Rego, version v0 or v1); CEL where there is no Rego.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from customhouse.core.errors import PolicyError
from customhouse.policy.foreign import Program, data_references, package_of, rules_of

GROUP = "templates.gatekeeper.sh"
TARGET = "admission.k8s.gatekeeper.sh"
_VERSIONS = ("v1", "v1beta1", "v1alpha1")
_MAY_READ = frozenset({"lib", "inventory"})


class Document(NamedTuple):
    """One object of a file as plain values, and where it starts (`file:line`)."""

    value: Mapping[str, Any]
    where: str

    @property
    def kind(self) -> str:
        """Its kind, empty when it has none."""
        return str(self.value.get("kind", ""))

    @property
    def group(self) -> str:
        """The group of its apiVersion."""
        return str(self.value.get("apiVersion", "")).rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version of its apiVersion."""
        return str(self.value.get("apiVersion", "")).rpartition("/")[2]

    @property
    def name(self) -> str:
        """metadata.name, empty when it has none."""
        metadata = self.value.get("metadata")
        return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of constraint. `query` is the rule that holds its violations; `program` is None for one in CEL."""

    kind: str
    schema: Mapping[str, Any] | None
    legacy: bool
    program: Program | None
    query: str
    operations: tuple[str, ...]
    where: str
    cel: Mapping[str, Any] = field(default_factory=dict)
    referential: bool = False
    """Whether it looks up other objects (`data.inventory`)."""


def is_template(document: Document) -> bool:
    """Whether it is a ConstraintTemplate, of whatever version."""
    return document.group == GROUP and document.kind == "ConstraintTemplate"


def parse_template(document: Document) -> Template:
    """The template. Raises PolicyError with file and line for whatever Gatekeeper would refuse."""
    where = document.where
    if not is_template(document) or document.version not in _VERSIONS:
        said = f"{document.value.get('apiVersion')} {document.kind}"
        raise PolicyError(f"this is no ConstraintTemplate, but {said}", where=where, hint=f"apiVersion: {GROUP}/v1")
    kind = _at(document.value, where, "spec", "crd", "spec", "names").get("kind")
    if not isinstance(kind, str) or not kind:
        raise PolicyError("spec.crd.spec.names.kind is missing", where=where)
    if document.name != kind.lower():
        raise PolicyError(f"the template's name {document.name!r} has to be {kind.lower()!r}, its kind", where=where)
    targets = _at(document.value, where, "spec").get("targets")
    if not isinstance(targets, list) or len(targets) != 1 or not isinstance(targets[0], Mapping):
        raise PolicyError("a template has exactly one target", where=where)
    target = targets[0]
    if target.get("target") != TARGET:
        raise PolicyError(f"the target {target.get('target')!r} is not known", where=where, hint=f"target: {TARGET}")
    validation = _at(document.value, where, "spec", "crd", "spec", optional=True).get("validation") or {}
    schema = validation.get("openAPIV3Schema") if isinstance(validation, Mapping) else None
    legacy = (
        bool(validation.get("legacySchema", document.version != "v1")) if isinstance(validation, Mapping) else False
    )
    program, query = _program(target, kind, where)
    return Template(
        kind=kind,
        schema=schema if isinstance(schema, Mapping) else None,
        legacy=legacy,
        program=program,
        query=query,
        operations=tuple(str(item) for item in target.get("operations") or ()),
        where=where,
        cel={} if program is not None else _source(target, "K8sNativeValidation") or {},
        referential=program is not None and _looks_up(program),
    )


def _program(target: Mapping[str, Any], kind: str, where: str) -> tuple[Program | None, str]:
    source = _source(target, "Rego")
    if source is None and target.get("rego"):
        source = {"rego": target["rego"], "libs": target.get("libs")}
    if source is None:
        if _source(target, "K8sNativeValidation") is None:
            raise PolicyError("the template has neither Rego nor CEL", where=where)
        return None, ""
    version, rego, libs = source.get("version") or "v0", source.get("rego"), source.get("libs") or []
    if version not in ("v0", "v1"):
        raise PolicyError(f"Rego {version!r} is not known", where=where, hint="version: v0 or v1")
    if not isinstance(rego, str) or not isinstance(libs, list) or not all(isinstance(item, str) for item in libs):
        raise PolicyError("rego has to be a text, and libs a list of texts", where=where)
    entry = f"{where}: {kind}"
    modules = {entry: rego, **{f"{where}: {kind} lib {index}": text for index, text in enumerate(libs)}}
    if "violation" not in rules_of(rego, entry):
        raise PolicyError("the template has no rule violation", where=entry)
    for name, text in modules.items():
        package = package_of(text, name)
        if name != entry and package[0] != "lib":
            raise PolicyError(f"the package {'.'.join(package)} of a lib does not begin with lib", where=name)
        for reference, line in data_references(text, name):
            if reference not in _MAY_READ:
                what = f"data.{reference}" if reference else "the whole of data"
                raise PolicyError(f"{what} may not be read", where=f"{name}:{line}", hint="data.lib or data.inventory")
    query = "data." + ".".join(package_of(rego, entry)) + ".violation"
    return Program(modules, v0=version == "v0"), query


def _looks_up(program: Program) -> bool:
    return any(
        reference == "inventory"
        for name, text in program.modules.items()
        for reference, _ in data_references(text, name)
    )


def _source(target: Mapping[str, Any], engine: str) -> Mapping[str, Any] | None:
    for code in target.get("code") or ():
        if isinstance(code, Mapping) and code.get("engine") == engine and isinstance(code.get("source"), Mapping):
            source: Mapping[str, Any] = code["source"]
            return source
    return None


def _at(value: Mapping[str, Any], where: str, *keys: str, optional: bool = False) -> Mapping[str, Any]:
    for index, key in enumerate(keys):
        part = value.get(key)
        if not isinstance(part, Mapping):
            if optional:
                return {}
            raise PolicyError(f"{'.'.join(keys[: index + 1])} is missing, or no mapping", where=where)
        value = part
    return value
