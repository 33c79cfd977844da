"""Negations as OPA's compiler reads them, written so that the embedded engine reads them the same way.

`not f(x.y)` → `l := x.y; not f(l)`: to OPA an operand without a value ends the body, negated or not. OPA's compiler
moves what is computed inside a negated expression before it; the engine does not, and takes "no value" for "not true".
A bare `not x.y` stays, and a reference in an equality: there both mean "no value, or false". Lines stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, pairwise

from customhouse.policy.foreign_tokens import CLOSE, OPEN, Token, arguments_at, ends_term, path_at

_COMPARISONS = frozenset(("=", "==", "!=", "<", ">", "<=", ">=", "in"))
_ENDS = frozenset(("else", "with"))


def negations_defined(source: str, tokens: Sequence[Token]) -> str:
    """The module with what negated expressions compute moved before them."""
    if not tokens:
        return source
    names = (f"customhouse_operand{number}" for number in count(1))
    written = _written(source, tokens, 0, len(tokens), names)
    return source[: tokens[0].start] + written + source[tokens[-1].end :]


def _written(source: str, tokens: Sequence[Token], start: int, end: int, names: Iterator[str]) -> str:
    """The text of `tokens[start:end]`, its negations rewritten."""
    if start >= end:
        return ""
    parts, at, position = [], start, tokens[start].start
    while at < end:
        if tokens[at].text != "not" or tokens[at].kind != "name" or at + 1 >= end:
            at += 1
            continue
        last = min(_expression_end(tokens, at + 1, _ENDS), end)
        after, replaced = last, ""
        if last < end and tokens[last].text == "with":
            # What a test replaces is replaced in the operands too.
            after = min(_expression_end(tokens, last, frozenset({"else"})), end)
            replaced = f" {source[tokens[last].start : tokens[after - 1].end]}"
        parts += [source[position : tokens[at].start], _negation(source, tokens, (at, last), names, replaced)]
        position, at = tokens[after - 1].end, after
    return "".join([*parts, source[position : tokens[end - 1].end]])


def _negation(source: str, tokens: Sequence[Token], place: tuple[int, int], names: Iterator[str], replaced: str) -> str:
    """The text of one negation, from `not` to before the end; `replaced` is its `with …`."""
    at, last = place
    moved, parts, position = [], [], tokens[at].start
    for first, after in _operands(tokens, at + 1, last):
        if after - first == 1 and tokens[first].kind != "mark":
            continue  # a variable or a plain value
        operand, name = _written(source, tokens, first, after, names), next(names)
        moved.append(f"{name} := {operand}{replaced}; ")
        parts += [source[position : tokens[first].start], name]
        position = tokens[after - 1].end
    whole = "".join([*moved, *parts, source[position : tokens[last - 1].end], replaced])
    # `if not …` has no braces around its one expression.
    return f"{{ {whole} }}" if moved and at and tokens[at - 1].text == "if" else whole


def _expression_end(tokens: Sequence[Token], index: int, ends: frozenset[str]) -> int:
    """The index after the expression that starts here: a line ends it, `;`, `ends`, or the bracket that holds it."""
    depth = 0
    for at in range(index, len(tokens)):
        token = tokens[at]
        if token.kind == "mark" and token.text in CLOSE:
            depth -= 1
            if depth < 0:
                return at
        elif depth == 0 and at > index and (token.text == ";" or token.text in ends or _begins(tokens, at)):
            return at
        elif token.kind == "mark" and token.text in OPEN:
            depth += 1
    return len(tokens)


def _begins(tokens: Sequence[Token], at: int) -> bool:
    """Whether an expression begins at a token: the first of its line, after a term that ended."""
    token = tokens[at]
    goes_on = token.text in _COMPARISONS or (token.kind == "mark" and token.text in "+-*/%&|.")
    return token.fresh and ends_term(tokens[at - 1]) and not goes_on


def _operands(tokens: Sequence[Token], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Index ranges of what a negated expression computes, in order: operands, arguments, or all of it."""
    depth = 0
    for at in range(start, end):
        token = tokens[at]
        if token.kind == "mark":
            depth += (token.text in OPEN) - (token.text in CLOSE)
        if depth == 0 and at > start and token.text in _COMPARISONS:
            for first, after in ((start, at), (at + 1, end)):
                # An equality takes a reference as it is: without a value it is not equal.
                if token.text in ("==", "=") and _is_reference(tokens, first, after):
                    yield from _computed(tokens, first, after)
                else:
                    yield first, after
            return
    if _is_reference(tokens, start, end):
        yield from _computed(tokens, start, end)
        return
    if tokens[start].kind == "name":
        _, opening = path_at(tokens, start)
        if opening < end and tokens[opening].text == "(" and arguments_at(tokens, opening)[0] + 1 == end:
            if end > opening + 2:
                yield from _split(tokens, opening + 1, end - 1)
            return
    yield start, end


def _is_reference(tokens: Sequence[Token], start: int, end: int) -> bool:
    """Whether the tokens are a name, followed by nothing but `.name` and `[…]`."""
    at = start + 1
    while at < end:
        if tokens[at].text == "[":
            at = arguments_at(tokens, at)[0] + 1
        elif tokens[at].text == "." and at + 1 < end and tokens[at + 1].kind == "name":
            at += 2
        else:
            return False
    return tokens[start].kind == "name"


def _computed(tokens: Sequence[Token], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What computes a part of a reference is moved too: `not data.all[object.name]`."""
    at = start
    while at < end:
        if tokens[at].kind == "mark" and tokens[at].text == "[":
            closing, _ = arguments_at(tokens, at)
            yield at + 1, closing
            at = closing
        at += 1


def _split(tokens: Sequence[Token], start: int, end: int) -> Iterator[tuple[int, int]]:
    depth, commas = 0, [start - 1]
    for at in range(start, end):
        if tokens[at].kind == "mark":
            depth += (tokens[at].text in OPEN) - (tokens[at].text in CLOSE)
            if depth == 0 and tokens[at].text == ",":
                commas.append(at)
    for before, after in pairwise([*commas, end]):
        yield before + 1, after
