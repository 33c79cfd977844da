"""ApplicationSets: the Applications that they make of what the tree holds. Nothing is asked of a cluster or a forge.

Generators: list, git (directories and files), matrix and merge of these, with selectors; templates with Go templates or
the plain `{{name}}`; templatePatch. Semantics: argo-cd.readthedocs.io, operator-manual/applicationset.
A generator that only a cluster or a forge can answer makes the whole set one of `elsewhere`: half of it would be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from customhouse.control import yaml_nodes
from customhouse.control.argocd_params import flat, git_parameters, kept, merged
from customhouse.control.gotemplate import MAX_ACTIONS, rendered
from customhouse.control.gotemplate_functions import TemplateError
from customhouse.control.rendering_owned import listed, mapping, refused, text
from customhouse.control.yaml_values import Reader
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration, Location

MAX_APPLICATIONS = 2_000
_FOLLOWED = frozenset({"list", "git", "matrix", "merge"})
_MAX_NESTED = 2
"""Argo CD takes a matrix or a merge within another one, and no deeper."""
_TAG = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


class NotHereError(Exception):
    """A generator that is answered elsewhere; the text is what it asks."""


@dataclass(frozen=True, slots=True)
class Made:
    """One Application that a set makes, with the places of the template that it comes from."""

    manifest: dict[str, Any]
    marks: Mapping[str, Location]


def applications_of(item: Declaration, files: Mapping[str, bytes]) -> tuple[Made, ...]:
    """The Applications of one set.

    Raises NotHereError for a set that this tree cannot answer, DeclarationError, at the field, for one that is wrong
    or says what is not known here.
    """
    spec = mapping(item.manifest.get("spec"))
    if spec.get("goTemplate") not in (None, True, False):
        raise refused(item, "/spec/goTemplate", "goTemplate is neither true nor false")
    generators = listed(spec.get("generators"))
    asked = next((name for one in generators for name in _unanswered(mapping(one))), None)
    if asked is not None:
        raise NotHereError(asked)
    filler = _Filler(item, spec)
    marks = {
        pointer.removeprefix("/spec/template"): place
        for pointer, place in item.marks.items()
        if pointer.startswith("/spec/template/")
    }
    made: dict[str, Made] = {}
    for index, one in enumerate(generators):
        pointer = f"/spec/generators/{index}"
        for parameters in _generated(item, pointer, mapping(one), files, filler):
            template = _template(spec, mapping(one))
            manifest = _application(item, filler, template, parameters)
            name = text(manifest["metadata"].get("name"))
            if name in made and made[name].manifest != manifest:
                raise refused(item, pointer, f"two Applications are called {name[:80]!r}", "make the names differ")
            made[name] = Made(manifest, marks)
            if len(made) > MAX_APPLICATIONS:
                raise refused(item, pointer, f"it makes more than {MAX_APPLICATIONS} Applications")
    return tuple(made.values())


def _unanswered(generator: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    if depth > _MAX_NESTED:
        yield "generators within generators within generators"
        return
    for name in generator:
        if name not in _FOLLOWED and name not in ("selector", "template"):
            yield name
    if mapping(generator.get("list")).get("elementsYaml"):
        yield "list.elementsYaml"
    for key in ("matrix", "merge"):
        for one in listed(mapping(generator.get(key)).get("generators")):
            yield from _unanswered(mapping(one), depth + 1)


class _Filler:
    """Puts parameters into texts, in the one of the two dialects that a set is written in."""

    def __init__(self, item: Declaration, spec: Mapping[str, Any]) -> None:
        self._item = item
        self.go = spec.get("goTemplate") is True
        self._strict = "missingkey=error" in listed(spec.get("goTemplateOptions"))

    def text(self, pointer: str, template: str, parameters: Mapping[str, Any]) -> str:
        """One text. Raises DeclarationError at the pointer."""
        if template.count("{{") > MAX_ACTIONS:
            raise refused(self._item, pointer, f"this template has more than {MAX_ACTIONS} actions")
        if not self.go:
            plain = flat(parameters)
            return _TAG.sub(lambda tag: plain.get(tag[1].strip(), tag[0]), template)
        try:
            return rendered(template, parameters, missing_is_error=self._strict)
        except TemplateError as error:
            raise refused(
                self._item, pointer, f"this template cannot be filled in: {error}", template.strip()[:120]
            ) from error

    def value(self, pointer: str, value: Any, parameters: Mapping[str, Any]) -> Any:
        """A value with all of its texts, keys too."""
        if isinstance(value, str):
            return self.text(pointer, value, parameters)
        if isinstance(value, Mapping):
            return {
                self.text(pointer, str(key), parameters): self.value(f"{pointer}/{key}", item, parameters)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(f"{pointer}/{index}", item, parameters) for index, item in enumerate(value)]
        return value


def _generated(
    item: Declaration, pointer: str, generator: Mapping[str, Any], files: Mapping[str, bytes], filler: _Filler
) -> list[dict[str, Any]]:
    kinds = [name for name in generator if name in _FOLLOWED]
    if len(kinds) != 1:
        raise refused(item, pointer, "this generator is of no kind, or of several")
    (kind,) = kinds
    given, place = mapping(generator[kind]), f"{pointer}/{kind}"
    if kind == "list":
        found = [
            _element(item, f"{place}/elements/{at}", one, filler)
            for at, one in enumerate(listed(given.get("elements")))
        ]
    elif kind == "git":
        found = list(_git(item, place, given, files, filler))
    elif kind == "matrix":
        found = list(_matrix(item, place, given, files, filler))
    else:
        found = _merge(item, place, given, files, filler)
    if len(found) > MAX_APPLICATIONS:
        raise refused(item, pointer, f"it gives more than {MAX_APPLICATIONS} sets of parameters")
    try:
        return [one for one in found if kept(mapping(generator.get("selector")), flat(one))]
    except ValueError as error:
        raise refused(item, f"{pointer}/selector", str(error)) from error


def _element(item: Declaration, pointer: str, element: Any, filler: _Filler) -> dict[str, Any]:
    values = dict(mapping(element))
    if not filler.go and any(not isinstance(value, (str, Mapping)) for value in values.values()):
        raise refused(item, pointer, "without goTemplate the values of an element are texts", "write them in quotes")
    return {key: _number(value) for key, value in values.items()}


def _number(value: Any) -> Any:
    """As Go reads JSON: every number is a float, which shows in how a large one is printed."""
    if isinstance(value, Mapping):
        return {key: _number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _git(
    item: Declaration, pointer: str, given: Mapping[str, Any], files: Mapping[str, bytes], filler: _Filler
) -> Iterator[dict[str, Any]]:
    for found in git_parameters(item, pointer, given, files, go=filler.go):
        parameters = {key: _number(value) for key, value in found.items()}
        values = mapping(given.get("values"))
        if values:
            filled = {
                str(key): filler.value(f"{pointer}/values/{key}", value, parameters) for key, value in values.items()
            }
            parameters["values"] = filled
        yield parameters


def _matrix(
    item: Declaration, pointer: str, given: Mapping[str, Any], files: Mapping[str, bytes], filler: _Filler
) -> Iterator[dict[str, Any]]:
    inner = [mapping(one) for one in listed(given.get("generators"))]
    if len(inner) != 2:
        raise refused(item, f"{pointer}/generators", "a matrix has two generators")
    made = 0
    for outer in _generated(item, f"{pointer}/generators/0", inner[0], files, filler):
        # The second may be written with what the first gives.
        second = filler.value(f"{pointer}/generators/1", inner[1], outer)
        for other in _generated(item, f"{pointer}/generators/1", second, files, filler):
            made += 1
            if made > MAX_APPLICATIONS:
                raise refused(item, pointer, f"it gives more than {MAX_APPLICATIONS} sets of parameters")
            if not filler.go:
                one, two = flat(outer), flat(other)
                twice = next((key for key in one if key in two and one[key] != two[key]), None)
                if twice is not None:
                    raise refused(item, pointer, f"both generators give {twice[:80]!r}, and differ")
            yield merged(outer, other)


def _merge(
    item: Declaration, pointer: str, given: Mapping[str, Any], files: Mapping[str, bytes], filler: _Filler
) -> list[dict[str, Any]]:
    keys = [str(key) for key in listed(given.get("mergeKeys"))]
    inner = [mapping(one) for one in listed(given.get("generators"))]
    if not keys or len(inner) < 2:
        raise refused(item, pointer, "a merge has two generators or more, and mergeKeys")

    def by_key(index: int) -> dict[tuple[str, ...], dict[str, Any]]:
        place = f"{pointer}/generators/{index}"
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for one in _generated(item, place, inner[index], files, filler):
            plain = flat(one)
            key = tuple(plain.get(name, "") for name in keys)
            if key in found:
                raise refused(item, place, f"two sets of parameters have the same {', '.join(keys)[:80]}")
            found[key] = one
        return found

    base = by_key(0)
    for index in range(1, len(inner)):
        for key, more in by_key(index).items():
            if key in base:  # what has no counterpart in the first generator is left out
                base[key] = merged(base[key], more)
    return list(base.values())


def _template(spec: Mapping[str, Any], generator: Mapping[str, Any]) -> dict[str, Any]:
    """The set's template, under what a generator says of its own."""
    kind = next((name for name in generator if name in _FOLLOWED), "")
    own = mapping(mapping(generator.get(kind)).get("template"))
    return merged(mapping(spec.get("template")), own)


def _application(
    item: Declaration, filler: _Filler, template: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    filled = filler.value("/spec/template", template, parameters)
    metadata = {key: value for key, value in mapping(filled.get("metadata")).items() if key != "namespace"}
    manifest: dict[str, Any] = {
        "apiVersion": item.ref.api_version,
        "kind": "Application",
        # Argo CD makes them beside the set, whatever the template says.
        "metadata": {**metadata, "namespace": item.ref.namespace},
        "spec": mapping(filled.get("spec")),
    }
    patch = mapping(item.manifest.get("spec")).get("templatePatch")
    if patch is None:
        return manifest
    if not filler.go or not isinstance(patch, str):
        raise refused(item, "/spec/templatePatch", "templatePatch is a Go template; it needs goTemplate: true")
    for part in _read(item, filler.text("/spec/templatePatch", patch, parameters)):
        manifest = merged(manifest, {key: value for key, value in part.items() if key in ("metadata", "spec")})
    return manifest


def _read(item: Declaration, patch: str) -> Iterator[Mapping[str, Any]]:
    try:
        for root in yaml_nodes.compose(patch, "templatePatch"):
            value = Reader("templatePatch").read(root).value
            if not isinstance(value, Mapping):
                raise refused(item, "/spec/templatePatch", "what it comes to is not a mapping")
            yield value
    except DeclarationError as error:
        raise refused(item, "/spec/templatePatch", f"what it comes to cannot be read: {error.message}") from error
