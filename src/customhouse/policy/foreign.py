"""Rego that others wrote (Gatekeeper templates, conftest packages): what is asked of an engine, and read from text.

The embedded engine was measured against OPA on such policies. Where its parser goes another way, the text is set right
before it sees it (`normalised`): a line that begins with `(` or `[` is an expression of its own, and `head {…} {…}` is
two rules. What it answers otherwise than OPA, and cannot be set right, is `doubts`: such a policy goes to OPA, or is
refused with the reason. `network` is refused on every engine. Reads tokens only: text and comments do not count.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from customhouse.core.errors import PolicyError
from customhouse.policy.foreign_builtins import ARITY, REFUSED
from customhouse.policy.foreign_negation import negations_defined
from customhouse.policy.foreign_tokens import (
    CLOSE,
    KEYWORDS,
    OPEN,
    Token,
    Tokens,
    arguments_at,
    edited,
    ends_term,
    path_at,
    tokens_of,
)

WRAPPED = "customhouse_call"
"""The namespace of built-ins that say "undefined" where the embedded engine would end the evaluation."""

_IMPORTS = frozenset(
    {"rego.v1", "future.keywords", *(f"future.keywords.{name}" for name in ("in", "if", "every", "contains"))}
)


class Program(NamedTuple):
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


class EndedError(PolicyError):
    """An engine was ended before it answered: it took too long, or too much memory. No other engine is asked then."""


class Undefined:
    """What a query without a value has; false in a condition."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


def package_of(source: str, name: str) -> tuple[str, ...]:
    """The path of the module's package. Raises PolicyError when it does not start with one."""
    tokens = tokens_of(source, name)
    if len(tokens) < 2 or tokens[0].text != "package" or tokens[1].kind != "name":
        raise PolicyError("the module does not start with its package", where=f"{name}:1")
    return tuple(path_at(tokens, 1)[0])


@functools.lru_cache(maxsize=512)
def rules_of(source: str, name: str) -> frozenset[str]:
    """The first names of all rules that a module has."""
    tokens = tokens_of(source, name)
    return frozenset(tokens[_named(tokens, index)].text for index in tokens.starts)


def data_references(source: str, name: str) -> Iterator[tuple[str, int]]:
    """`data.NAME` (and an import of it) with its line; NAME is empty for the whole of `data`, or a computed part."""
    tokens = tokens_of(source, name) if "data" in source else ()
    for index, token in enumerate(tokens):
        if token.text != "data" or token.kind != "name" or (index and tokens[index - 1].text == "."):
            continue
        path, _ = path_at(tokens, index)
        yield (path[1] if len(path) > 1 else ""), token.line


def normalised(source: str, name: str, *, v0: bool) -> str:
    """The module as the embedded engine has to be given it to read what OPA reads."""
    tokens = tokens_of(source, name)
    edits = [
        *_separated(tokens),
        *(_unchained(tokens, source) if v0 else ()),
        *(_renamings(tokens, "re_match", "regex.match") if "re_match" in source else ()),
    ]
    found = edited(source, edits)
    if "contains" in found:
        found = edited(found, list(_heads_defined(tokens_of(found, name), found)))
    return negations_defined(found, tokens_of(found, name)) if "not" in found else found


def renamed(source: str, name: str, called: str, other: str) -> str:
    """The module with calls of one built-in as calls of another function."""
    return edited(source, list(_renamings(tokens_of(source, name), called, other)))


def _renamings(tokens: Tokens, called: str, other: str) -> Iterator[tuple[int, int, str]]:
    for found, first, opening in _calls(tokens):
        if found == called:
            yield tokens[first].start, tokens[opening - 1].end, other


def tolerant(source: str, name: str, spared: frozenset[str] = frozenset()) -> str:
    """The module with each built-in called so that its error is "undefined", as in OPA: `f(x)` → `wrapped.f(x)[0]`.

    `spared` are left as they are. Raises PolicyError where a call binds its result by a last argument.
    """
    tokens = tokens_of(source, name)
    edits: list[tuple[int, int, str]] = []
    for called, first, opening in _calls(tokens):
        if ARITY.get(called, 0) <= 0 or called in spared:
            continue
        closing, count = arguments_at(tokens, opening)
        if count != ARITY[called]:
            raise PolicyError(f"{called} has {count} arguments", where=f"{name}:{tokens[first].line}")
        start, end = tokens[first].start, tokens[opening].start
        edits.append((start, end, f"{WRAPPED}.{called.replace('.', '_')}"))
        edits.append((tokens[closing].end, tokens[closing].end, "[0]"))
    return edited(source, edits)


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
        imports = _odd_imports(tokens) if "import" in program.modules[name] else ()
        for line, reason in (*_odd_words(tokens), *imports, *_default_functions(tokens)):
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
            path = path_at(tokens, index + 1)[0]
            if path[0] not in ("data", "input") and ".".join(path) not in _IMPORTS:
                yield token.line, f"import {'.'.join(path)}"


def _default_functions(tokens: Tokens) -> Iterator[tuple[int, str]]:
    for index in tokens.starts:
        named = _named(tokens, index)
        after = path_at(tokens, named)[1]
        if named != index and after < len(tokens) and tokens[after].text == "(":
            yield tokens[index].line, "a default for a function"


def _calls(tokens: Tokens) -> Iterator[tuple[str, int, int]]:
    """Calls of what the module neither defines nor imports: the dotted name, its first token, its parenthesis."""
    own = {tokens[_named(tokens, index)].text for index in tokens.starts} | _imported(tokens)
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind != "name" or (index and tokens[index - 1].text == "." and not token.fresh):
            index += 1
            continue
        path, after = path_at(tokens, index)
        adjacent = after < len(tokens) and tokens[after].text == "(" and tokens[after].start == tokens[after - 1].end
        if adjacent and path[0] not in own and path[0] not in ("data", "input") and ".".join(path) not in KEYWORDS:
            yield ".".join(path), index, after
        index = after


def _imported(tokens: Sequence[Token]) -> set[str]:
    names = set()
    for index, token in enumerate(tokens):
        if token.text != "import" or not token.fresh or index + 1 >= len(tokens):
            continue
        path, after = path_at(tokens, index + 1)
        renamed = after + 1 < len(tokens) and tokens[after].text == "as"
        if path[0] in ("data", "input"):
            names.add(tokens[after + 1].text if renamed else path[-1])
    return names


def _named(tokens: Sequence[Token], index: int) -> int:
    """The token of a rule's name: behind `default`, if there is one."""
    return index + 1 if tokens[index].text == "default" and index + 1 < len(tokens) else index


def _separated(tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """A `;` before a line of a body that begins with `(` or `[`: the engine would read a call, or an index."""
    enclosing: list[list[Any]] = []
    for index, token in enumerate(tokens):
        if token.kind != "mark":
            continue
        if token.text in ("(", "[") and token.fresh and enclosing and index and ends_term(tokens[index - 1]):
            bracket, in_body = enclosing[-1]
            if bracket == "{" or in_body:
                yield token.start, token.start, ";"
        if token.text in OPEN:
            enclosing.append([token.text, False])
        elif token.text in CLOSE and enclosing:
            enclosing.pop()
        elif token.text == "|" and enclosing:
            enclosing[-1][1] = True


def _heads_defined(tokens: Tokens, source: str) -> Iterator[tuple[int, int, str]]:
    """`s contains f(x) if { … }` → `s contains h if { …; h := f(x) }`.

    The engine would end the set at the first x for which the head has no value. Lines within such a rule may be told
    too low, by as many as its head has.
    """
    for number, (start, end) in enumerate(pairwise([*tokens.starts, len(tokens)])):
        _, after = path_at(tokens, _named(tokens, start))
        if after >= end or tokens[after].text != "contains":
            continue
        conditions = [at for at in range(after, end) if tokens[at].text == "if" and tokens[at].kind == "name"]
        if not conditions or conditions[0] - after <= 2 or conditions[0] + 1 >= end:
            continue  # no body, or a head that is a variable
        first, last, body = tokens[after + 1], tokens[conditions[0] - 1], conditions[0] + 1
        name = f"customhouse_head{number}"
        added = f"; {name} := {source[first.start : last.end]}"
        yield first.start, last.end, name
        if tokens[body].text == "{":
            closing, _ = arguments_at(tokens, body)
            yield tokens[closing - 1].end, tokens[closing - 1].end, added
        else:
            yield tokens[body].start, tokens[body].start, "{ "
            yield tokens[end - 1].end, tokens[end - 1].end, f"{added} }}"


def _unchained(tokens: Tokens, source: str) -> Iterator[tuple[int, int, str]]:
    """`head { a } { b }` is two rules in Rego v0; the engine reads the second body as an else."""
    if not any(before.text == "}" and token.text == "{" for before, token in pairwise(tokens)):
        return
    for start, end in pairwise([*tokens.starts, len(tokens)]):
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
            depth += (token.text in OPEN) - (token.text in CLOSE)
