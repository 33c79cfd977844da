"""Google's CEL (the C++ runtime, `cel-expr-python`) for constraint templates that are written in CEL.

As Gatekeeper's `K8sNativeValidation`: `object`, `oldObject`, `request`, `params` (the constraint), `namespaceObject`,
and `variables`, of which `anyObject` and `params` (its parameters) are there before the template's own. An expression
that ends in an error is a violation, unless the template says `failurePolicy: Ignore`. The runtime bounds nesting,
length and iterations by itself; its regular expressions are RE2. Of Kubernetes' own functions it has those of strings,
optionals, mathematics, encoders and bindings; a template that calls another (`quantity`, `ip` …) does not compile.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from customhouse.core.errors import PolicyError
from customhouse.policy.gatekeeper_template import Template

_BOUND = ("object", "oldObject", "request", "params", "namespaceObject", "variables")
_KEYS = frozenset({"validations", "variables", "matchConditions", "failurePolicy", "generateVAP", "auditAnnotations"})
_ASKS_WHETHER = re.compile(r"has\s*\(\s*variables|variables\s*(?:\.\s*\?|\[)|\bin\s+variables")
"""An expression that asks whether there is a variable; one that could not be computed would look like none."""
_CACHED = 256


class _Failed(Exception):  # noqa: N818 - what an expression came to, never seen outside
    pass


class _Expression(NamedTuple):
    source: str
    program: Any
    asks_whether: bool


class _Validation(NamedTuple):
    expression: _Expression
    message: str
    said: _Expression | None


class _Compiled(NamedTuple):
    template: Template
    variables: tuple[tuple[str, _Expression], ...]
    conditions: tuple[_Expression, ...]
    validations: tuple[_Validation, ...]
    ignores: bool


class GoogleCel:
    """`CelEngine` on cel-expr-python, which has to be installed; it is loaded when a template needs it."""

    def __init__(self) -> None:
        self._compiled: dict[int, _Compiled] = {}

    def violations(self, template: Template, review: Mapping[str, Any], constraint: Mapping[str, Any]) -> list[str]:
        """See `policy.gatekeeper_cel.CelEngine`."""
        compiled = self._compiled.get(id(template))
        if compiled is None or compiled.template is not template:
            if len(self._compiled) >= _CACHED:
                self._compiled.clear()
            compiled = self._compiled[id(template)] = _compile(template)
        known = _known(review, constraint)
        broken: list[str] = []
        for name, expression in compiled.variables:
            try:
                known["variables"] = {**known["variables"], name: _value(expression, known, broken)}
            except _Failed as error:
                broken.append(f"variables.{name}: {error}")
        for condition in compiled.conditions:
            try:
                if _value(condition, known, broken) is not True:
                    return []
            except _Failed as error:
                return [] if compiled.ignores else [_error(condition, error)]
        found = []
        for validation in compiled.validations:
            try:
                if _value(validation.expression, known, broken) is not True:
                    found.append(_message(validation, known, broken))
            except _Failed as error:
                if not compiled.ignores:
                    found.append(_error(validation.expression, error))
        return found


@functools.cache
def _environment() -> Any:
    from cel_expr_python import cel  # type: ignore[import-not-found,import-untyped,unused-ignore]
    from cel_expr_python.ext import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ext_bindings,
        ext_encoders,
        ext_math,
        ext_optional,
        ext_strings,
    )

    extensions = [
        ext_strings.ExtStrings(),
        ext_optional.ExtOptional(),
        ext_math.ExtMath(),
        ext_encoders.ExtEncoders(),
        ext_bindings.ExtBindings(),
    ]
    return cel.NewEnv(variables=dict.fromkeys(_BOUND, cel.Type.DYN), extensions=extensions)


def _known(review: Mapping[str, Any], constraint: Mapping[str, Any]) -> dict[str, Any]:
    request = {key: value for key, value in review.items() if key not in ("object", "oldObject", "_unstable")}
    # A deletion leaves no object; Rego is shown the old one in its place.
    new = None if review.get("operation") == "DELETE" else review.get("object")
    old = review.get("oldObject")
    parameters = (constraint.get("spec") or {}).get("parameters")
    return {
        "object": new,
        "oldObject": old,
        "request": request,
        "params": constraint,
        "namespaceObject": review.get("namespaceObject"),
        "variables": {"anyObject": old if new is None else new, "params": parameters},
    }


def _compile(template: Template) -> _Compiled:
    """Raises PolicyError with the template's place: a broken expression, or one that is no condition."""
    source, where = template.cel, template.where
    if extra := sorted(set(source) - _KEYS):
        raise PolicyError(f"{template.kind}: the key {extra[0]!r} of its CEL is not known", where=where)
    if source.get("failurePolicy", "Fail") not in ("Fail", "Ignore"):
        raise PolicyError(f"{template.kind}: failurePolicy is {source['failurePolicy']!r}", where=where)

    def expression(text: Any, what: str, *, condition: bool = False) -> _Expression:
        if not isinstance(text, str) or not text.strip():
            raise PolicyError(f"{template.kind}: {what} has no expression", where=where)
        try:
            program = _environment().compile(text)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:500]
            raise PolicyError(f"{template.kind}: {what} does not compile: {said}", where=where) from error
        if condition and program.return_type().name() not in ("BOOL", "DYN"):
            raise PolicyError(
                f"{template.kind}: {what} is neither true nor false", where=where, hint=text.strip()[:200]
            )
        return _Expression(text.strip(), program, _ASKS_WHETHER.search(text) is not None)

    validations = [
        _Validation(
            expression(item.get("expression"), f"validation {number}", condition=True),
            str(item.get("message") or "").strip(),
            expression(item["messageExpression"], f"the message of validation {number}")
            if item.get("messageExpression")
            else None,
        )
        for number, item in enumerate(_listed(template, "validations"), 1)
    ]
    if not validations:
        raise PolicyError(f"{template.kind}: its CEL has no validation", where=where)
    return _Compiled(
        template,
        tuple(
            (str(item.get("name")), expression(item.get("expression"), f"the variable {item.get('name')}"))
            for item in _listed(template, "variables")
        ),
        tuple(
            expression(item.get("expression"), f"the condition {item.get('name')}", condition=True)
            for item in _listed(template, "matchConditions")
        ),
        tuple(validations),
        source.get("failurePolicy") == "Ignore",
    )


def _listed(template: Template, key: str) -> Sequence[Mapping[str, Any]]:
    found = template.cel.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise PolicyError(f"{template.kind}: {key} has to be a list of mappings", where=template.where)
    return found


def _value(expression: _Expression, known: Mapping[str, Any], broken: Sequence[str]) -> Any:
    if broken and expression.asks_whether:
        raise _Failed(broken[0])
    try:
        answer = expression.program.eval(data=known)
        value = answer.plain_value()
    except (RuntimeError, TypeError, ValueError) as error:  # a bound of the runtime's, or a value that Python has not
        raise _Failed(" ".join(str(error).split())[:500]) from error
    if answer.type().name() == "ERROR":
        # A variable without a value is missing to the runtime, which short-circuits as Kubernetes does.
        why = [item for item in broken if item.partition(":")[0] in expression.source]
        raise _Failed("; ".join([" ".join(str(value).split())[:500], *why[:1]]))
    return value


def _message(validation: _Validation, known: Mapping[str, Any], broken: Sequence[str]) -> str:
    if validation.said is not None:
        try:
            said = _value(validation.said, known, broken)
        except _Failed:
            said = ""
        # As Kubernetes: a message that is none, empty or of several lines gives way to the fixed one.
        if isinstance(said, str) and said.strip() and "\n" not in said.strip():
            return said.strip()
    return validation.message or f"failed expression: {validation.expression.source}"


def _error(expression: _Expression, error: _Failed) -> str:
    return f"expression '{expression.source}' resulted in error: {error}"
