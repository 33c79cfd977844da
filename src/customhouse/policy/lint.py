"""Lint of Rego: what a bundle may call. Allowlist first: a built-in is refused until both engines are known to agree.

`with` outside tests, `not { … }` and `walk` are refused too, as are numbers with fractions and patterns that the
engines read in two ways: OPA's conformance cases and differential tests show where the embedded engine answers
otherwise. Reads tokens, not text: comments and strings do not count, and `http["send"]` is `http.send` (to OPA they are
one term).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from customhouse.core.errors import PolicyError
from customhouse.policy.lint_patterns import pattern_problem

TEST_SUFFIX = "_test.rego"
MAX_DEPTH = 64
_BUILT_INS = """
abs round count max min product sum sort
array.concat array.reverse array.slice intersection union
object.filter object.get object.keys object.remove object.subset object.union object.union_n
concat contains endswith format_int indexof lower replace split sprintf startswith substring
strings.any_prefix_match strings.any_suffix_match strings.count strings.reverse
trim trim_left trim_prefix trim_right trim_space trim_suffix upper
regex.match
is_array is_boolean is_null is_number is_object is_set is_string type_name
to_number base64.decode base64.encode crypto.sha256 hex.encode time.parse_rfc3339_ns
bits.and bits.or glob.match net.cidr_contains numbers.range
"""
ALLOWED = frozenset(_BUILT_INS.split())
"""Built-ins that have no side effect, need no clock, network or chance, and are the same in both engines.

Some are answered by functions of our own where a project's rules call them (`policy.adapters.exactly`); a test asks
both engines about each with hostile arguments."""
REFUSED = {
    "http.send": "it opens a network connection while judging",
    "net.lookup_ip_addr": "it opens a network connection while judging",
    "opa.runtime": "it reads the environment of the engine, secrets included",
    "time.now_ns": "rules call no clock: use input.as_of",
    "rand.intn": "a decision may not depend on chance",
    "uuid.rfc4122": "a decision may not depend on chance",
    "units.parse": "a hostile text takes the embedded engine seconds; facts carry quantities as integers",
    "units.parse_bytes": "a hostile text takes the embedded engine seconds; facts carry quantities as integers",
    "floor": "the engines differ below zero; round, or (x - x % y) / y, is the same in both",
    "ceil": "the engines differ below zero; round, or (x - x % y) / y, is the same in both",
    "regex.is_valid": "each engine has patterns that the other one does not read",
    "regex.split": "the engines differ where a pattern matches nothing; split takes a text",
    "semver.compare": "the engines differ on a leading v; compare the numbers between the dots",
    "semver.is_valid": "the engines differ on a leading v",
    "json.is_valid": "the engines differ on numbers beyond 64 bits",
    "json.marshal": "the engines write numbers and < > & in different ways",
    "json.unmarshal": "the engines differ on numbers beyond 64 bits; to_number reads a number",
    "base64.is_valid": "the engines differ on what is no text",
    "walk": "the embedded engine visits arrays in another order",
    "trace": "it writes while judging",
    "print": "it writes while judging",
    "rego.parse_module": "it reads other policies",
    "io.jwt.decode_verify": "it reads the clock",
}
_IMPORTS = frozenset(
    {"rego.v1", "future.keywords", *(f"future.keywords.{name}" for name in ("in", "if", "every", "contains"))}
)
_RESERVED = "package import as default else if in some every contains not with null true false set"
_KEYWORDS = frozenset(_RESERVED.split())
_OPENING, _CLOSING = ("{", "(", "["), ("}", ")", "]")
_GOES_ON = frozenset(["if", "contains", "in", "not", "with", "as", "some", "every", "else", *":=!<>,|&+-*/%."])
"""After these at the end of a line, the next one belongs to the same rule."""
_PUNCTUATION = frozenset("{}[]()<>=!:;,.|&+-*/%")
_NEGATED_NEVER = frozenset(["{", "(", "not", "some", "every"])
_MAX_NUMBER = 2**53 - 1
_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+)|(?P<newline>\n)|(?P<comment>\#[^\n]*)|(?P<raw>`[^`]*`)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>\d[\w.]*)|(?P<other>.)',
)


class Token(NamedTuple):
    """One token with its place, line and column counted from 1."""

    kind: str
    text: str
    line: int
    column: int


def package_of(source: str, name: str) -> str:
    """The package of a module. Raises PolicyError when it names none."""
    return _package(tokens_of(source, name), name)


def _package(tokens: Sequence[Token], name: str) -> str:
    if not tokens or tokens[0].text != "package":
        raise PolicyError("the module does not start with its package", where=f"{name}:1")
    path, _ = path_at(tokens, 1)
    return ".".join(path)


def check_modules(modules: Mapping[str, str]) -> None:
    """Lint all modules of a bundle; `*_test.rego` as tests. Raises PolicyError for the first that is refused."""
    packages = frozenset(package_of(source, name) for name, source in modules.items())
    for name, source in modules.items():
        check_module(name, source, packages=packages, test=name.endswith(TEST_SUFFIX))
    check_recursion(modules)


def check_module(name: str, source: str, *, packages: frozenset[str], test: bool) -> None:
    """Refuse a module that calls what is not allowed. `packages` are those of the bundle.

    Raises PolicyError with file, line and column. Test modules may also call `time.now_ns` and the like by `with`.
    """
    for problem in module_problems(name, source, packages=packages, test=test):
        raise problem


def module_problems(name: str, source: str, *, packages: frozenset[str], test: bool) -> Iterator[PolicyError]:
    """Everything for which `check_module` would refuse a module, in order of place. Raises what stops reading it."""
    tokens = tokens_of(source, name)
    aliases, functions = imports_of(tokens, name, packages), _functions(tokens)
    if not test:
        yield from _keyword_problems(tokens, name)
        yield from _pattern_problems(tokens, name)
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind != "name" or (token.text in _KEYWORDS and not calls_at(tokens, index + 1)):
            index += 1
            continue
        path, after = path_at(tokens, index)
        dotted = ".".join(path)
        where = f"{name}:{token.line}:{token.column}"
        if dotted in REFUSED and not test and dotted not in functions:
            yield PolicyError(f"the built-in {dotted} is refused: {REFUSED[dotted]}", where=where)
            index = after
            continue
        known = (
            dotted in ALLOWED or path[0] in aliases or path[0] == "data" or dotted in functions or dotted in _KEYWORDS
        )
        if calls_at(tokens, after) and not known:
            yield PolicyError(
                f"{dotted} is no built-in that both engines are known to treat alike",
                where=where,
                hint="use one of those that `customhouse explain lint` lists, or a function of your own",
            )
        index = after


def check_recursion(modules: Mapping[str, str]) -> None:
    """Refuse functions that call themselves, also by way of others. Raises PolicyError at the function.

    Rego has no recursion, and the embedded engine does not look before it runs out of stack: the process ends.
    """
    check_recursion_of({name: tokens_of(source, name) for name, source in modules.items()})


def check_recursion_of(modules: Mapping[str, Sequence[Token]]) -> None:
    """As `check_recursion`, for modules whose tokens are there already."""
    defined: dict[tuple[str, str], tuple[str, Token]] = {}
    calls: dict[tuple[str, str], set[tuple[str, str]]] = {}
    packages = frozenset(_package(tokens, name) for name, tokens in modules.items())
    for name, tokens in modules.items():
        _gather_calls(name, tokens, packages, defined, calls)
    for start, (name, token) in defined.items():
        seen, left = set(), list(calls.get(start, ()))
        while left:
            callee = left.pop()
            if callee == start:
                where = f"{name}:{token.line}:{token.column}"
                raise PolicyError(f"the function {token.text} calls itself", where=where, hint="Rego has no recursion")
            if callee not in seen:
                seen.add(callee)
                left.extend(calls.get(callee, ()))


def _gather_calls(
    name: str,
    tokens: Sequence[Token],
    packages: frozenset[str],
    defined: dict[tuple[str, str], tuple[str, Token]],
    calls: dict[tuple[str, str], set[tuple[str, str]]],
) -> None:
    package, targets = _package(tokens, name), imports_of(tokens, name, packages)
    current: tuple[str, str] | None = None
    index, depth = 0, 0
    while index < len(tokens):
        token = tokens[index]
        depth += (token.text in _OPENING) - (token.text in _CLOSING)
        if token.kind != "name":
            index += 1
            continue
        path, after = path_at(tokens, index)
        called = calls_at(tokens, after)
        if starts_rule(tokens, index, depth):
            current = (package, ".".join(path)) if called else None
            if current is not None:
                defined.setdefault(current, (name, token))
        elif called and current is not None:
            calls.setdefault(current, set()).add(_callee(path, package, targets))
        index = after


def starts_rule(tokens: Sequence[Token], index: int, depth: int) -> bool:
    """Whether a rule starts at a name: it starts its line outside all brackets, and goes on with nothing before it."""
    token = tokens[index]
    if depth != 0 or token.text == "else" or (index > 0 and tokens[index - 1].line == token.line):
        return False
    return index == 0 or tokens[index - 1].text not in _GOES_ON


def _callee(path: list[str], package: str, targets: Mapping[str, str]) -> tuple[str, str]:
    """Package and name of what a call names."""
    if path[0] == "data":
        return ".".join(path[1:-1]), path[-1]
    if path[0] in targets:
        whole = [*targets[path[0]].split("."), *path[1:]]
        return ".".join(whole[:-1]), whole[-1]
    return package, ".".join(path)


def _keyword_problems(tokens: Sequence[Token], name: str) -> Iterator[PolicyError]:
    """What the embedded engine is known to answer otherwise than OPA (its conformance cases say so)."""
    for token, following in pairwise(tokens):
        where = f"{name}:{token.line}:{token.column}"
        if token.text == "with" and token.kind == "name":
            yield PolicyError("with is for tests", where=where, hint="a rule judges the input that it is given")
        if token.text == "not" and following.text in _NEGATED_NEVER:
            said = "not { … } is refused" if following.text == "{" else f"not {following.text} … is refused"
            yield PolicyError(said, where=where, hint="negate a rule or a function of its own")
        if token.kind == "number" and not (token.text.isdecimal() and int(token.text) <= _MAX_NUMBER):
            yield PolicyError(
                f"the number {token.text[:40]} is refused: the engines compute with fractions and beyond 53 bits in "
                "different ways",
                where=where,
                hint="use whole numbers: per mille, milli, micro-units",
            )


def _pattern_problems(tokens: Sequence[Token], name: str) -> Iterator[PolicyError]:
    """Patterns of `regex.match` that are no text, or that Go and Rust read in two ways."""
    for index, token in enumerate(tokens):
        path, after = path_at(tokens, index) if token.text == "regex" else ([], index)
        if path != ["regex", "match"] or not calls_at(tokens, after) or after + 2 >= len(tokens):
            continue
        given, following = tokens[after + 1], tokens[after + 2]
        where = f"{name}:{given.line}:{given.column}"
        if given.kind not in ("raw", "string") or following.text != ",":
            yield PolicyError("the pattern of regex.match is no text", where=where, hint="write it where it is used")
        elif reason := pattern_problem(_string(given)):
            yield PolicyError(f"the pattern {given.text[:80]} is refused: {reason}", where=where)


def calls_at(tokens: Sequence[Token], index: int) -> bool:
    """Whether what ends before `index` is called there: a `(` follows it directly."""
    if index >= len(tokens) or tokens[index].text != "(":
        return False
    left = tokens[index - 1]
    return left.line == tokens[index].line and left.column + len(left.text) == tokens[index].column


def path_at(tokens: Sequence[Token], index: int) -> tuple[list[str], int]:
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
            and following.kind in ("string", "raw")
            and index + 2 < len(tokens)
            and tokens[index + 2].text == "]"
        ):
            path.append(_string(following))
            index += 3
        else:
            break
    return path, index


def _string(token: Token) -> str:
    if token.kind == "raw":
        return token.text[1:-1]
    try:
        return str(json.loads(token.text))
    except ValueError:
        return token.text


def imports_of(tokens: Sequence[Token], name: str, packages: frozenset[str]) -> dict[str, str]:
    """Names that imports of `packages` bind → what they stand for, without `data.`.

    Raises PolicyError: only `rego.v1`, `data.…` of this bundle and `input.…` may be imported.
    """
    aliases: dict[str, str] = {}
    for index, token in enumerate(tokens):
        # An import starts its line; inside a rule the word would be a syntax error anyway.
        if token.text != "import" or token.column != 1:
            continue
        path, after = path_at(tokens, index + 1)
        alias = path[-1]
        if after + 1 < len(tokens) and tokens[after].text == "as":
            alias = tokens[after + 1].text
        if path[0] not in ("data", "input") and ".".join(path) not in _IMPORTS:
            raise PolicyError(f"cannot import {'.'.join(path)}", where=f"{name}:{token.line}:{token.column}")
        if path[0] == "data":
            target = ".".join(path[1:])
            if not any(package == target or package.startswith(f"{target}.") for package in packages):
                continue  # bundle data: cannot be called
            aliases[alias] = target
    return aliases


def _functions(tokens: Sequence[Token]) -> set[str]:
    """Functions that the module defines: a name at the start of a line, directly followed by `(`."""
    return {
        token.text
        for index, token in enumerate(tokens)
        if token.kind == "name" and token.column == 1 and token.text not in _KEYWORDS and calls_at(tokens, index + 1)
    }


@lru_cache(maxsize=128)
def tokens_of(source: str, name: str) -> Sequence[Token]:
    """The tokens of a module, comments and white space left out. Raises PolicyError for what no module may hold."""
    return tuple(_tokens(source, name))


def _tokens(source: str, name: str) -> Iterator[Token]:
    line, start, depth = 1, 0, 0
    for match in _TOKEN.finditer(source):
        kind, text = match.lastgroup or "other", match[0]
        if kind == "other" and text in ('"', "`"):
            raise PolicyError("a text that does not end", where=f"{name}:{line}:{match.start() - start + 1}")
        if kind == "other" and text not in _PUNCTUATION:
            # `$"…{call()}…"` hides calls in a text, and only OPA knows it.
            raise PolicyError(f"the character {text!r} is refused", where=f"{name}:{line}:{match.start() - start + 1}")
        depth += (text in _OPENING) - (text in _CLOSING)
        if depth > MAX_DEPTH:
            # The embedded engine reads each level anew, and some thousands of them take it minutes.
            place = f"{name}:{line}:{match.start() - start + 1}"
            raise PolicyError(f"brackets nested more than {MAX_DEPTH} deep", where=place)
        if kind not in ("space", "comment", "newline"):
            yield Token(kind, text, line, match.start() - start + 1)
        line += text.count("\n")
        if "\n" in text:
            start = match.start() + text.rindex("\n") + 1
