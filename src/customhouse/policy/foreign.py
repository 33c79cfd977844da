"""Rego that others wrote (Gatekeeper templates, conftest packages): what is asked of an engine, and read from text.

The embedded engine was measured against OPA on such policies. Where its parser goes another way, the text is set right
before it sees it (`normalised`): a line that begins with `(` or `[` is an expression of its own, and `head {…} {…}` is
two rules. What it answers otherwise than OPA, and cannot be set right, is `doubts`: such a policy goes to OPA, or is
refused with the reason. `network` is refused on every engine. Reads tokens only: text and comments do not count.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from customhouse.core.errors import PolicyError
from customhouse.policy.foreign_builtins import ARITY, REFUSED

MAX_SOURCE = 512 * 1024
"""Characters of one module; etcd holds no object of more than 1.5 MiB, and a template is one."""
WRAPPED = "customhouse_call"
"""The namespace of built-ins that say "undefined" where the embedded engine would end the evaluation."""

_KEYWORDS = frozenset(
    ["package", "import", "as", "default", "else", "if", "in", "some", "every", "contains", "not", "with"]
)
_TOKEN = re.compile(
    r"(?P<newline>\n\s*)|(?P<comment>\#[^\n]*)|(?P<raw>`[^`]*`)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)'
    r"|(?P<mark>:=|==|!=|<=|>=|\S)",
)
_IMPORTS = frozenset(
    {"rego.v1", "future.keywords", *(f"future.keywords.{name}" for name in ("in", "if", "every", "contains"))}
)
_COMPARISONS = frozenset(("=", "==", "!=", "<", ">", "<=", ">=", "in"))
_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


@dataclass(frozen=True, slots=True)
class Program:
    """Modules of one language version, by name. `v0` is Rego before OPA 1.0."""

    modules: Mapping[str, str]
    v0: bool


class ForeignEngine(Protocol):
    """An engine for Rego of either version in which a built-in's error is undefined, as in Gatekeeper and conftest."""

    name: str

    def ask(
        self, program: Program, data: Mapping[str, Any], documents: Sequence[Any], queries: Sequence[str]
    ) -> list[list[Any]]:
        """For each document, the JSON value of each query in order; UNDEFINED where it has none.

        Raises PolicyError for a program that does not compile, or that the engine could not answer for.
        """


class Undefined:
    """What a query without a value has; false in a condition."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


class Token(NamedTuple):
    """One token; `start` and `end` are offsets, `fresh` says that it is the first of its line."""

    kind: str
    text: str
    start: int
    end: int
    line: int
    fresh: bool


@functools.lru_cache(maxsize=512)
def tokens_of(source: str, name: str) -> tuple[Token, ...]:
    """The tokens of a module without comments. Raises PolicyError with the line: too long, an open text."""
    if len(source) > MAX_SOURCE:
        raise PolicyError(f"the module has {len(source)} characters; at most {MAX_SOURCE} are read", where=name)
    line, fresh, found = 1 + source[: len(source) - len(source.lstrip())].count("\n"), True, []
    for match in _TOKEN.finditer(source, len(source) - len(source.lstrip())):
        kind, text = match.lastgroup or "mark", match[0]
        if kind == "newline":
            fresh = True
            line += text.count("\n")
        elif kind != "comment":
            if kind == "mark" and text in ('"', "`"):
                raise PolicyError("a text that does not end", where=f"{name}:{line}")
            found.append(Token(kind, text, *match.span(), line, fresh))
            fresh = False
            if kind == "raw":
                line += text.count("\n")
    return tuple(found)


def package_of(source: str, name: str) -> tuple[str, ...]:
    """The path of the module's package. Raises PolicyError when it does not start with one."""
    tokens = tokens_of(source, name)
    if len(tokens) < 2 or tokens[0].text != "package" or tokens[1].kind != "name":
        raise PolicyError("the module does not start with its package", where=f"{name}:1")
    return tuple(_path(tokens, 1)[0])


@functools.lru_cache(maxsize=512)
def rules_of(source: str, name: str) -> frozenset[str]:
    """The first names of all rules that a module has."""
    tokens = tokens_of(source, name)
    return frozenset(tokens[_named(tokens, index)].text for index in _rule_starts(tokens))


def data_references(source: str, name: str) -> Iterator[tuple[str, int]]:
    """`data.NAME` (and an import of it) with its line; NAME is empty for the whole of `data`, or a computed part."""
    tokens = tokens_of(source, name)
    for index, token in enumerate(tokens):
        if token.text != "data" or token.kind != "name" or (index and tokens[index - 1].text == "."):
            continue
        path, _ = _path(tokens, index)
        yield (path[1] if len(path) > 1 else ""), token.line


def normalised(source: str, name: str, *, v0: bool) -> str:
    """The module as the embedded engine has to be given it to read what OPA reads."""
    tokens = tokens_of(source, name)
    renamed = [
        (tokens[at].start, tokens[at].end, "regex.match") for called, at, _ in _calls(tokens) if called == "re_match"
    ]
    edits = [*_separated(tokens), *(_unchained(tokens, source) if v0 else ()), *renamed]
    found = _edited(source, edits)
    return _edited(found, list(_defined(tokens_of(found, name), found))) if "not" in found else found


def tolerant(source: str, name: str, spared: frozenset[str] = frozenset()) -> str:
    """The module with each built-in called so that its error is "undefined", as in OPA: `f(x)` → `wrapped.f(x)[0]`.

    `spared` are left as they are. Raises PolicyError where a call binds its result by a last argument.
    """
    tokens = tokens_of(source, name)
    edits: list[tuple[int, int, str]] = []
    for called, first, opening in _calls(tokens):
        if ARITY.get(called, 0) <= 0 or called in spared:
            continue
        closing, count = _arguments(tokens, opening)
        if count != ARITY[called]:
            raise PolicyError(f"{called} has {count} arguments", where=f"{name}:{tokens[first].line}")
        start, end = tokens[first].start, tokens[opening].start
        edits.append((start, end, f"{WRAPPED}.{called.replace('.', '_')}"))
        edits.append((tokens[closing].end, tokens[closing].end, "[0]"))
    return _edited(source, edits)


def called_builtins(program: Program) -> dict[str, str]:
    """The built-ins that a program calls, each with the first place (`module:line`)."""
    found: dict[str, str] = {}
    for name in sorted(program.modules):
        for called, line in _called(program.modules[name], name):
            found.setdefault(called, f"{name}:{line}")
    return found


@functools.lru_cache(maxsize=512)
def _called(source: str, name: str) -> tuple[tuple[str, int], ...]:
    tokens = tokens_of(source, name)
    return tuple((called, tokens[first].line) for called, first, _ in _calls(tokens))


def check_network(program: Program) -> None:
    """Refuse, on every engine, what reaches out of the evaluation. Raises PolicyError with the place."""
    for called, where in called_builtins(program).items():
        if called in REFUSED:
            raise PolicyError(f"the built-in {called} is refused: {REFUSED[called]}", where=where)


def doubts(program: Program) -> str:
    """Why the embedded engine may answer otherwise than OPA, with the place; empty when nothing speaks for it."""
    for called, where in called_builtins(program).items():
        if called not in ARITY:
            return f"{where}: the built-in {called} is not known to be the same in the embedded engine"
    for name in sorted(program.modules):
        tokens = tokens_of(program.modules[name], name)
        for line, reason in (*_odd_words(tokens), *_odd_imports(tokens), *_default_functions(tokens)):
            return f"{name}:{line}: {reason}"
    return ""


def _odd_words(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    for token, following in pairwise(tokens):
        if token.kind == "mark" and token.text in ("$", "@"):
            yield token.line, f"the character {token.text}"
        elif token.kind == "name" and token.text == "with":
            yield token.line, "with"
        elif token.kind == "name" and token.text == "not" and following.text in ("{", "(", "not"):
            yield token.line, f"not {following.text} …"


def _odd_imports(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    for index, token in enumerate(tokens[:-1]):
        if token.text == "import" and token.fresh:
            path = _path(tokens, index + 1)[0]
            if path[0] not in ("data", "input") and ".".join(path) not in _IMPORTS:
                yield token.line, f"import {'.'.join(path)}"


def _default_functions(tokens: Sequence[Token]) -> Iterator[tuple[int, str]]:
    for index in _rule_starts(tokens):
        named = _named(tokens, index)
        after = _path(tokens, named)[1]
        if named != index and after < len(tokens) and tokens[after].text == "(":
            yield tokens[index].line, "a default for a function"


def _calls(tokens: Sequence[Token]) -> Iterator[tuple[str, int, int]]:
    """Calls of what the module neither defines nor imports: the dotted name, its first token, its parenthesis."""
    own = {tokens[_named(tokens, index)].text for index in _rule_starts(tokens)} | _imported(tokens)
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind != "name" or (index and tokens[index - 1].text == "." and not token.fresh):
            index += 1
            continue
        path, after = _path(tokens, index)
        adjacent = after < len(tokens) and tokens[after].text == "(" and tokens[after].start == tokens[after - 1].end
        if adjacent and path[0] not in own and path[0] not in ("data", "input") and ".".join(path) not in _KEYWORDS:
            yield ".".join(path), index, after
        index = after


def _imported(tokens: Sequence[Token]) -> set[str]:
    names = set()
    for index, token in enumerate(tokens):
        if token.text != "import" or not token.fresh or index + 1 >= len(tokens):
            continue
        path, after = _path(tokens, index + 1)
        renamed = after + 1 < len(tokens) and tokens[after].text == "as"
        if path[0] in ("data", "input"):
            names.add(tokens[after + 1].text if renamed else path[-1])
    return names


def _path(tokens: Sequence[Token], index: int) -> tuple[list[str], int]:
    """The dotted path that starts at a name, `["text"]` included; and the index after it."""
    path = [tokens[index].text]
    index += 1
    while index + 1 < len(tokens):
        following = tokens[index + 1]
        if tokens[index].text == "." and following.kind == "name":
            path.append(following.text)
            index += 2
        elif (
            tokens[index].text == "["
            and tokens[index].start == tokens[index - 1].end
            and following.kind in ("string", "raw")
            and index + 2 < len(tokens)
            and tokens[index + 2].text == "]"
        ):
            path.append(_text(following))
            index += 3
        else:
            break
    return path, index


def _text(token: Token) -> str:
    if token.kind == "raw":
        return token.text[1:-1]
    try:
        return str(json.loads(token.text))
    except ValueError:
        return token.text


def _arguments(tokens: Sequence[Token], opening: int) -> tuple[int, int]:
    """The closing parenthesis of a call, and how many arguments it has."""
    depth, commas, bars = 0, 0, False
    for index in range(opening, len(tokens)):
        text = tokens[index].text if tokens[index].kind == "mark" else ""
        if text in _OPEN:
            depth += 1
        elif text in _CLOSE:
            depth -= 1
            if depth == 0:
                return index, 0 if index == opening + 1 else commas + 1
        elif text == "," and depth == 1 and not bars:
            commas += 1
    return len(tokens) - 1, -1


def _ends_term(token: Token) -> bool:
    if token.kind == "mark":
        return token.text in _CLOSE
    return token.kind != "name" or token.text not in _KEYWORDS


def _rule_starts(tokens: Sequence[Token]) -> Iterator[int]:
    """Where each rule starts: a name that begins a line outside all brackets, after something that ended."""
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == "mark":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        elif depth == 0 and token.kind == "name" and index and _starts(tokens, index):
            yield index


def _starts(tokens: Sequence[Token], index: int) -> bool:
    token, before = tokens[index], tokens[index - 1]
    if token.text in _KEYWORDS and token.text != "default":
        return False
    return (token.fresh and _ends_term(before)) or (before.text == "}" and before.kind == "mark")


def _named(tokens: Sequence[Token], index: int) -> int:
    """The token of a rule's name: behind `default`, if there is one."""
    return index + 1 if tokens[index].text == "default" and index + 1 < len(tokens) else index


def _separated(tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """A `;` before a line of a body that begins with `(` or `[`: the engine would read a call, or an index."""
    enclosing: list[list[Any]] = []
    for index, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if token.text in ("(", "[") and token.fresh and enclosing and index and _ends_term(tokens[index - 1]):
            bracket, in_body = enclosing[-1]
            if bracket == "{" or in_body:
                yield token.start, token.start, ";"
        if token.text in _OPEN:
            enclosing.append([token.text, False])
        elif token.text in _CLOSE and enclosing:
            enclosing.pop()
        elif token.text == "|" and enclosing:
            enclosing[-1][1] = True


def _unchained(tokens: Sequence[Token], source: str) -> Iterator[tuple[int, int, str]]:
    """`head { a } { b }` is two rules in Rego v0; the engine reads the second body as an else."""
    starts = [*_rule_starts(tokens), len(tokens)]
    for start, end in pairwise(starts):
        rule = tokens[start:end]
        if any(token.text == "else" and token.kind == "name" for token in rule):
            continue
        head = ""
        depth = 0
        for index, token in enumerate(rule):
            if token.kind != "mark":
                continue
            body = token.text == "{" and depth == 0 and index and rule[index - 1].text not in ("=", ":=")
            if body and not head:
                head = " ".join(source[rule[0].start : token.start].split())
            elif body and rule[index - 1].text == "}":
                yield token.start, token.start, f"\n{head} "
            depth += (token.text in _OPEN) - (token.text in _CLOSE)


def _defined(tokens: Sequence[Token], source: str) -> Iterator[tuple[int, int, str]]:
    """`not f(x.y)` → `l := x.y; not f(l)`: to OPA an operand without a value ends the body, negated or not.

    OPA's compiler moves the operands of a negated call or comparison before it; the engine does not, and would take
    "no value" for "not true". A bare `not x.y` stays: there both mean "no value, or false".
    """
    count = 0
    for index, token in enumerate(tokens):
        if token.text != "not" or token.kind != "name" or index + 1 >= len(tokens):
            continue
        last = _expression_end(tokens, index + 1)
        moved = []
        for first, after in _operands(tokens, index + 1, last):
            if after - first == 1 and tokens[first].kind != "mark":
                continue  # a variable or a plain value
            count += 1
            start, end = tokens[first].start, tokens[after - 1].end
            moved.append(f"customhouse_operand{count} := {source[start:end]}; ")
            yield start, end, f"customhouse_operand{count}"
        if moved:
            yield token.start, token.start, "".join(moved)


def _expression_end(tokens: Sequence[Token], index: int) -> int:
    """The index after the expression that starts here: a line ends it, `;`, or the bracket that holds it."""
    depth = 0
    for at in range(index, len(tokens)):
        token = tokens[at]
        if token.kind == "mark" and token.text in _CLOSE:
            depth -= 1
            if depth < 0:
                return at
        elif (depth == 0 and at > index and token.fresh and _ends_term(tokens[at - 1]) and not _goes_on(token)) or (
            depth == 0 and token.text == ";"
        ):
            return at
        elif token.kind == "mark" and token.text in _OPEN:
            depth += 1
    return len(tokens)


def _goes_on(token: Token) -> bool:
    return token.text in _COMPARISONS or (token.kind == "mark" and token.text in "+-*/%&|.")


def _operands(tokens: Sequence[Token], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Index ranges of the operands of a comparison, or of the arguments of a call, between two indexes."""
    depth = 0
    for at in range(start, end):
        token = tokens[at]
        if token.kind == "mark":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth == 0 and at > start and token.text in _COMPARISONS:
            for first, after in ((start, at), (at + 1, end)):
                # An equality takes a reference as it is: without a value it is not equal.
                if token.text in ("==", "=") and _is_reference(tokens, first, after):
                    yield from _computed(tokens, first, after)
                else:
                    yield first, after
            return
    _, opening = _path(tokens, start)
    if tokens[start].kind == "name" and opening < end and tokens[opening].text == "(":
        closing, _ = _arguments(tokens, opening)
        if closing + 1 == end and closing > opening + 1:
            yield from _split(tokens, opening + 1, closing)
    elif tokens[start].kind == "name":
        yield from _computed(tokens, start, end)


def _is_reference(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether the tokens are a name, followed by nothing but `.name` and `[…]`."""
    at = start + 1
    while at < end:
        if tokens[at].text == "[":
            at = _arguments(tokens, at)[0] + 1
        elif tokens[at].text == "." and tokens[at + 1].kind == "name":
            at += 2
        else:
            return False
    return tokens[start].kind == "name"


def _computed(tokens: Sequence[Token], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What computes a part of a reference is moved too: `not data.all[object.name]`."""
    at = start
    while at < end:
        if tokens[at].kind == "mark" and tokens[at].text == "[":
            closing, _ = _arguments(tokens, at)
            yield at + 1, closing
            at = closing
        at += 1


def _split(tokens: Sequence[Token], start: int, end: int) -> Iterator[tuple[int, int]]:
    depth, first = 0, start
    for at in range(start, end):
        if tokens[at].kind == "mark":
            depth += (tokens[at].text in _OPEN) - (tokens[at].text in _CLOSE)
        if depth == 0 and tokens[at].text == ",":
            yield first, at
            first = at + 1
    yield first, end


def _edited(source: str, edits: Sequence[tuple[int, int, str]]) -> str:
    parts, position = [], 0
    for start, end, text in sorted(edits):
        parts += [source[position:start], text]
        position = end
    return "".join([*parts, source[position:]])
