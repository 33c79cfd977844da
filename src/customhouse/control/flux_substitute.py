"""Flux's `postBuild`: variables put into what a Kustomization renders, object by object, after it is rendered.

The forms are those of fluxcd/pkg/envsubst (its README) and of the documents of Kustomization; `$name` without braces is
left as it is, `$${name}` gives `${name}`. A variable that nobody defines is empty, as with Flux's default settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

NAME = re.compile(r"[_A-Za-z][_A-Za-z0-9]*")
MAX_TEXT = 16 * 1024 * 1024
"""Characters of one object with its variables: a variable may be written a million times."""
_MAX_DEPTH = 8
_DISABLED = "kustomize.toolkit.fluxcd.io/substitute"
_OPERATORS = (
    ":=", ":-", "=", "-", "##", "#", "%%", "%", "^^", "^", ",,", ",", "//", "/#", "/%", "/", ":",
)  # fmt: skip


class SubstitutionError(ValueError):
    """An expression that cannot be read; `expression` is how it begins."""

    def __init__(self, message: str, expression: str) -> None:
        super().__init__(message)
        self.expression = expression[:80]


def keeps_variables(manifest: Mapping[str, Any]) -> bool:
    """Whether an object is labelled or annotated to be left as it is."""
    metadata = manifest.get("metadata")
    for field in ("labels", "annotations"):
        given = metadata.get(field) if isinstance(metadata, Mapping) else None
        if isinstance(given, Mapping) and str(given.get(_DISABLED)).lower() == "disabled":
            return True
    return False


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """One text with its variables. Raises SubstitutionError."""
    parts, size = [], 0
    for part in _walk(text, variables, 0):
        size += len(part)
        if size > MAX_TEXT:
            raise SubstitutionError(f"with its variables it is longer than {MAX_TEXT} characters", text)
        parts.append(part)
    return "".join(parts)


def _walk(text: str, variables: Mapping[str, str], depth: int) -> Iterator[str]:
    at = 0
    while True:
        found = text.find("${", at)
        if found < 0:
            yield text[at:]
            return
        if found > at and text[found - 1] == "$":
            yield text[at : found - 1]
            end = _closing(text, found + 2)
            yield text[found:end]
            at = end
            continue
        yield text[at:found]
        end = _closing(text, found + 2)
        yield _value(text[found + 2 : end - 1], variables, depth)
        at = end


def _closing(text: str, start: int) -> int:
    """Just after the brace that closes one opened before `start`; a default may hold an expression of its own."""
    open_, at = 1, start
    while at < len(text):
        if text.startswith("${", at):
            open_ += 1
            at += 2
            continue
        if text[at] == "}":
            open_ -= 1
            if not open_:
                return at + 1
        elif text[at] == "\n" and open_ == 1 and at - start > 4_000:
            break
        at += 1
    raise SubstitutionError("a `${` that is not closed", text[max(0, start - 2) :])


def _value(expression: str, variables: Mapping[str, str], depth: int) -> str:
    if depth > _MAX_DEPTH:
        raise SubstitutionError(f"expressions within expressions, more than {_MAX_DEPTH} deep", expression)
    length = expression.startswith("#")
    match = NAME.match(expression, 1 if length else 0)
    if match is None:
        raise SubstitutionError("this is no name of a variable", "${" + expression)
    value, rest = variables.get(match[0], ""), expression[match.end() :]
    if length:
        if rest:
            raise SubstitutionError("this form is not known", "${" + expression)
        return str(len(value))
    if not rest:
        return value
    operator = next((one for one in _OPERATORS if rest.startswith(one)), None)
    if operator is None:
        raise SubstitutionError("this form is not known", "${" + expression)
    argument = "".join(_walk(rest[len(operator) :], variables, depth + 1))
    return _formed(expression, operator, value, argument)


def _formed(expression: str, operator: str, value: str, argument: str) -> str:
    match operator:
        case ":=" | ":-" | "=" | "-":
            return value or argument
        case "^" | ",":
            return (value[:1].upper() if operator == "^" else value[:1].lower()) + value[1:]
        case "^^":
            return value.upper()
        case ",,":
            return value.lower()
        case "#" | "##":
            return _cut(value, argument, longest=operator == "##")
        case "%" | "%%":
            return _cut(value[::-1], argument[::-1], longest=operator == "%%")[::-1]
        case ":":
            return _slice(expression, value, argument)
    old, _, new = argument.partition("/")
    if not old:
        return value
    if operator == "//":
        return value.replace(old, new)
    if operator == "/#":
        return new + value[len(old) :] if value.startswith(old) else value
    if operator == "/%":
        return value[: -len(old)] + new if value.endswith(old) else value
    return value.replace(old, new, 1)


def _slice(expression: str, value: str, argument: str) -> str:
    start, colon, length = (part.strip() for part in argument.partition(":"))
    try:
        begin, count = int(start), int(length) if colon else None
    except ValueError as error:
        raise SubstitutionError("this form is not known", "${" + expression) from error
    begin = max(0, len(value) + begin) if begin < 0 else begin
    return value[begin:] if count is None else value[begin:][: max(0, count)]


def _cut(value: str, pattern: str, *, longest: bool) -> str:
    """Without the shortest or longest beginning that a pattern with `*` and `?` matches."""
    ends = range(len(value), -1, -1) if longest else range(len(value) + 1)
    if len(value) > 10_000 or pattern.count("*") > 10:
        raise SubstitutionError("this value or pattern is too long to be cut", pattern)
    form = re.compile("".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern), re.DOTALL)
    return next((value[end:] for end in ends if form.fullmatch(value[:end])), value)
