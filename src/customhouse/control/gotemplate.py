"""A part of Go's text/template: what ApplicationSets write with `goTemplate: true`. Pure, bounded, and never guessing.

Text, fields, variables, pipelines, `if`, `with`, `range` and the functions of `gotemplate_functions`. What is not known
here is refused by name: a template that is half understood makes another Application than Argo CD does. Semantics are
those of pkg.go.dev/text/template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse.control.gotemplate_functions import FUNCTIONS, TemplateError, printed, truth

MAX_OUTPUT = 1024 * 1024
MAX_ACTIONS = 500
"""To look for the end of one takes as long as the text is."""
_MAX_STEPS = 200_000
_MAX_DEPTH = 50
_ACTION = re.compile(r"\{\{(-[ \t\r\n])?(.*?)([ \t\r\n]-)?\}\}", re.DOTALL)
_TOKEN = re.compile(
    r"""\s+|(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<raw>`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d+)?)(?![\w.])
    |(?P<variable>\$[A-Za-z_0-9]*)|(?P<field>\.[A-Za-z_][A-Za-z0-9_]*)|(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>:=|=|\||\(|\)|,|\.)""",
    re.VERBOSE,
)
_CLOSED = frozenset({"block", "break", "continue", "define", "template"})
_BLOCKS = frozenset({"if", "range", "with"})

Token = tuple[str, str, bool]
"""Kind, text, and whether white space stands before it."""


@dataclass(frozen=True, slots=True)
class _Node:
    """`kind` is text, do, if, with or range; `parts` a pipeline's tokens; `names` the variables of a range."""

    kind: str
    text: str = ""
    parts: tuple[Token, ...] = ()
    body: tuple[_Node, ...] = ()
    other: tuple[_Node, ...] = ()


@dataclass(slots=True)
class _Block:
    """A node that is being read; `other` is None before its `else`."""

    kind: str
    parts: tuple[Token, ...]
    body: list[_Node] = field(default_factory=list)
    other: list[_Node] | None = None
    chained: bool = False


@dataclass(slots=True)
class _Scope:
    root: Any
    missing_is_error: bool
    names: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    steps: int = 0
    size: int = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise TemplateError("this template does not come to an end soon enough")


def rendered(template: str, parameters: Mapping[str, Any], *, missing_is_error: bool = False) -> str:
    """A template with its parameters (JSON values). Raises TemplateError for what is wrong, or not known here."""
    if "{{" not in template:
        return template
    if template.count("{{") > MAX_ACTIONS:
        raise TemplateError(f"it has more than {MAX_ACTIONS} actions")
    nodes = _parsed(template)
    scope = _Scope(parameters, missing_is_error)
    return "".join(_run(nodes, parameters, scope, 0))


def _parsed(template: str) -> tuple[_Node, ...]:
    parser = _Parser()
    for text, action in _pieces(template):
        if text:
            parser.add(_Node("text", text))
        if action and not action.startswith("/*"):
            parser.take(_tokens(action))
    return parser.finished()


class _Parser:
    """Blocks that are open, the outermost first; an `else if` opens one that its `end` closes with the first."""

    def __init__(self) -> None:
        self._open: list[_Block] = [_Block("", ())]

    def add(self, node: _Node) -> None:
        block = self._open[-1]
        (block.body if block.other is None else block.other).append(node)

    def take(self, tokens: tuple[Token, ...]) -> None:
        word = tokens[0][1] if tokens and tokens[0][0] == "word" else ""
        if word in _CLOSED:
            raise TemplateError(f"`{word}` is not known here")
        if word in _BLOCKS:
            self._begin(_Block(word, tokens[1:]))
        elif word in ("else", "end") and len(self._open) == 1:
            raise TemplateError(f"`{word}` without a beginning")
        elif word == "else":
            self._turn(tokens)
        elif word == "end":
            while self._close():
                pass
        else:
            self.add(_Node("do", "", tokens))

    def finished(self) -> tuple[_Node, ...]:
        if len(self._open) > 1:
            raise TemplateError(f"`{self._open[-1].kind}` has no `end`")
        return tuple(self._open[0].body)

    def _begin(self, block: _Block) -> None:
        self._open.append(block)
        if len(self._open) > _MAX_DEPTH:
            raise TemplateError("blocks within blocks too deeply")

    def _turn(self, tokens: tuple[Token, ...]) -> None:
        block = self._open[-1]
        if block.other is not None:
            raise TemplateError("a second `else`")
        block.other = []
        if len(tokens) > 1:
            if tokens[1][1] not in ("if", "with"):
                raise TemplateError("`else` with something that is neither `if` nor `with`")
            self._begin(_Block(tokens[1][1], tokens[2:], chained=True))

    def _close(self) -> bool:
        block = self._open.pop()
        self.add(_Node(block.kind, "", block.parts, tuple(block.body), tuple(block.other or ())))
        return block.chained


def _pieces(template: str) -> Iterator[tuple[str, str | None]]:
    at, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip() if trim else text
        yield (text.rstrip() if match[1] else text), match[2].strip()
        at, trim = match.end(), match[3] is not None
    rest = template[at:]
    if "{{" in rest:
        raise TemplateError("an action that is not closed")
    yield (rest.lstrip() if trim else rest), None


def _tokens(action: str) -> tuple[Token, ...]:
    found: list[Token] = []
    at, apart = 0, False
    while at < len(action):
        match = _TOKEN.match(action, at)
        if match is None:
            raise TemplateError(f"{action[at : at + 20]!r} cannot be read")
        at = match.end()
        if match.lastgroup is None:
            apart = True
            continue
        found.append((match.lastgroup, match[0], apart))
        apart = False
    return tuple(found)


def _run(nodes: Sequence[_Node], dot: Any, scope: _Scope, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise TemplateError("blocks within blocks too deeply")
    for node in nodes:
        scope.step()
        if node.kind == "text":
            yield _counted(node.text, scope)
            continue
        names, pipeline = _declared(node.parts)
        if node.kind == "range":
            yield from _range(node, names, _pipeline(pipeline, dot, scope), dot, scope, depth)
            continue
        value = _pipeline(pipeline, dot, scope)
        if node.kind == "do":
            if names:
                _assign(names, node.parts, value, scope)
            else:
                yield _counted(printed(value), scope)
            continue
        scope.names.append({})
        for name in names:
            scope.names[-1][name] = value
        if truth(value):
            yield from _run(node.body, value if node.kind == "with" else dot, scope, depth + 1)
        else:
            yield from _run(node.other, dot, scope, depth + 1)
        scope.names.pop()


def _range(node: _Node, names: Sequence[str], value: Any, dot: Any, scope: _Scope, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping):
        items: list[tuple[Any, Any]] = [(key, value[key]) for key in sorted(value)]
    elif isinstance(value, list):
        items = list(enumerate(value))
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_STEPS:
        items = [(number, number) for number in range(value)]
    elif value is None:
        items = []
    else:
        raise TemplateError(f"`range` over {printed(value)[:40]!r}")
    if not items:
        yield from _run(node.other, dot, scope, depth + 1)
    for key, item in items:
        scope.names.append(dict(zip(names, (key, item) if len(names) > 1 else (item,), strict=False)))
        yield from _run(node.body, item, scope, depth + 1)
        scope.names.pop()


def _counted(text: str, scope: _Scope) -> str:
    scope.size += len(text)
    if scope.size > MAX_OUTPUT:
        raise TemplateError(f"it writes more than {MAX_OUTPUT} characters")
    return text


def _declared(parts: Sequence[Token]) -> tuple[list[str], Sequence[Token]]:
    """The variables that a pipeline fills (`$a :=`, `$i, $a :=`, `$a =`), and the rest of it."""
    for at, (kind, text, _) in enumerate(parts[:4]):
        if kind == "mark" and text in (":=", "="):
            names = [word for what, word, _ in parts[:at] if what == "variable"]
            if len(names) != (at + 1) // 2 or not names:
                break
            return names, parts[at + 1 :]
    return [], parts


def _assign(names: Sequence[str], parts: Sequence[Token], value: Any, scope: _Scope) -> None:
    (name,) = names if len(names) == 1 else ("",)
    if not name:
        raise TemplateError("two variables outside of a `range`")
    if parts[1][1] == ":=":
        scope.names[-1][name] = value
        return
    for frame in reversed(scope.names):
        if name in frame:
            frame[name] = value
            return
    raise TemplateError(f"{name} is not declared")


_NONE = object()


def _pipeline(parts: Sequence[Token], dot: Any, scope: _Scope, depth: int = 0) -> Any:
    if not parts or depth > _MAX_DEPTH:
        raise TemplateError("an empty action" if not parts else "brackets within brackets too deeply")
    value: Any = _NONE
    for command in _split(parts):
        value = _command(command, dot, scope, value, depth)
    return value


def _split(parts: Sequence[Token]) -> Iterator[list[Token]]:
    current: list[Token] = []
    inner = 0
    for token in parts:
        inner += (token[1] == "(") - (token[1] == ")") if token[0] == "mark" else 0
        if token[0] == "mark" and token[1] == "|" and not inner:
            yield current
            current = []
        else:
            current.append(token)
    yield current


def _command(parts: Sequence[Token], dot: Any, scope: _Scope, piped: Any, depth: int) -> Any:
    scope.step()
    if not parts:
        raise TemplateError("an empty command")
    kind, text, _ = parts[0]
    if kind == "word" and text not in ("true", "false", "nil"):
        function = FUNCTIONS.get(text)
        if function is None:
            raise TemplateError(f"the function {text!r} is not known here")
        return _called(text, function, _operands(parts[1:], dot, scope, depth), piped, scope)
    values = list(_operands(parts, dot, scope, depth))
    if len(values) != 1 or piped is not _NONE:
        raise TemplateError(f"{text!r} is given arguments, and is no function")
    return values[0]


def _called(name: str, function: Callable[..., Any], operands: Iterator[Any], piped: Any, scope: _Scope) -> Any:
    if name in ("and", "or"):  # what is not needed is not evaluated
        value: Any = _NONE
        for value in _chained(operands, piped):
            if truth(value) == (name == "or"):
                return value
        if value is _NONE:
            raise TemplateError(f"{name} without arguments")
        return value
    values = list(_chained(operands, piped))
    try:
        result = function(*values)
    except TemplateError:
        raise
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, ZeroDivisionError, OverflowError) as error:
        raise TemplateError(f"{name}: {str(error)[:200]}") from error
    if isinstance(result, str):
        _counted(result, scope)
    return result


def _chained(operands: Iterator[Any], piped: Any) -> Iterator[Any]:
    yield from operands
    if piped is not _NONE:
        yield piped


def _operands(parts: Sequence[Token], dot: Any, scope: _Scope, depth: int) -> Iterator[Any]:
    at = 0
    while at < len(parts):
        scope.step()
        kind, text, _ = parts[at]
        at += 1
        if kind == "mark" and text == "(":
            end = _closing(parts, at)
            value = _pipeline(parts[at:end], dot, scope, depth + 1)
            at = end + 1
        elif kind == "mark" and text == ".":
            value = dot
        elif kind == "field":
            value = _field(dot, text[1:], scope)
        elif kind == "variable":
            value = scope.root if text == "$" else _variable(text, scope)
        else:
            yield _literal(kind, text, scope)
            continue
        while at < len(parts) and parts[at][0] == "field" and not parts[at][2]:
            value = _field(value, parts[at][1][1:], scope)
            at += 1
        yield value


def _closing(parts: Sequence[Token], at: int) -> int:
    inner = 1
    while at < len(parts):
        if parts[at][0] == "mark":
            inner += (parts[at][1] == "(") - (parts[at][1] == ")")
        if not inner:
            return at
        at += 1
    raise TemplateError("a bracket that is not closed")


def _literal(kind: str, text: str, scope: _Scope) -> Any:
    if kind == "text":
        try:
            return json.loads(text)
        except ValueError as error:
            raise TemplateError(f"the text {text[:40]} cannot be read") from error
    if kind == "raw":
        return text[1:-1]
    if kind == "number":
        return float(text) if "." in text else int(text)
    if text in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[text]
    if kind == "word":  # a function without arguments, as an argument
        function = FUNCTIONS.get(text)
        if function is None:
            raise TemplateError(f"the function {text!r} is not known here")
        return _called(text, function, iter(()), _NONE, scope)
    raise TemplateError(f"{text!r} is not expected here")


def _variable(name: str, scope: _Scope) -> Any:
    for frame in reversed(scope.names):
        if name in frame:
            return frame[name]
    raise TemplateError(f"{name} is not declared")


def _field(value: Any, name: str, scope: _Scope) -> Any:
    if isinstance(value, Mapping):
        if name not in value and scope.missing_is_error:
            raise TemplateError(f"there is no {name!r} (missingkey=error)")
        return value.get(name)
    raise TemplateError(f"the field {name!r} of {'nothing' if value is None else printed(value)[:40]!r}")
