"""Tokens of Rego of either version, with their offsets: what reads and edits policies of others stands on them."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from customhouse.core.errors import PolicyError

MAX_SOURCE = 512 * 1024
"""Characters of one module; etcd holds no object of more than 1.5 MiB, and a template is one."""
KEYWORDS = frozenset(
    ["package", "import", "as", "default", "else", "if", "in", "some", "every", "contains", "not", "with"]
)
_TOKEN = re.compile(
    r"(?P<newline>\n\s*)|(?P<comment>\#[^\n]*)|(?P<raw>`[^`]*`)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>\d[\w.]*(?:(?<=[eE])[+-]\d+)?)'
    r"|(?P<mark>:=|==|!=|<=|>=|\S)",
)
OPEN, CLOSE = frozenset("([{"), frozenset(")]}")


class Token(NamedTuple):
    """One token; `start` and `end` are offsets, the column counts from 1, `fresh`: it is the first of its line."""

    kind: str
    text: str
    start: int
    end: int
    line: int
    fresh: bool
    column: int


class Tokens(tuple[Token, ...]):
    """The tokens of a module, with what is asked of them many times."""

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """Where each rule starts: a name that begins a line outside all brackets, after something that ended."""
        found, depth = [], 0
        for index, token in enumerate(self):
            if token.kind == "mark":
                if token.text in OPEN:
                    depth += 1
                elif token.text in CLOSE:
                    depth -= 1
            elif depth == 0 and token.kind == "name" and index and self._begins(token, self[index - 1]):
                found.append(index)
        return tuple(found)

    @staticmethod
    def _begins(token: Token, before: Token) -> bool:
        if token.text in KEYWORDS and token.text != "default":
            return False
        return (token.fresh and ends_term(before)) or (before.text == "}" and before.kind == "mark")


@functools.lru_cache(maxsize=512)
def tokens_of(source: str, name: str) -> Tokens:
    """The tokens of a module without comments. Raises PolicyError with the line: too long, an open text."""
    if len(source) > MAX_SOURCE:
        raise PolicyError(f"the module has {len(source)} characters; at most {MAX_SOURCE} are read", where=name)
    first = len(source) - len(source.lstrip())
    line, fresh, found, ended = 1 + source.count("\n", 0, first), True, [], source.rfind("\n", 0, first)
    for match in _TOKEN.finditer(source, first):
        kind, text = match.lastgroup or "mark", match[0]
        if kind == "newline":
            fresh = True
            line += text.count("\n")
            ended = match.start() + text.rindex("\n")
        elif kind != "comment":
            if kind == "mark" and text in ('"', "`"):
                raise PolicyError("a text that does not end", where=f"{name}:{line}")
            start, end = match.span()
            found.append(Token(kind, text, start, end, line, fresh, start - ended))
            fresh = False
            if kind == "raw" and "\n" in text:
                line += text.count("\n")
                ended = start + text.rindex("\n")
    return Tokens(found)


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


def arguments_at(tokens: Sequence[Token], opening: int) -> tuple[int, int]:
    """The closing parenthesis of a call, and how many arguments it has."""
    depth, commas, bars = 0, 0, False
    for index in range(opening, len(tokens)):
        text = tokens[index].text if tokens[index].kind == "mark" else ""
        if text in OPEN:
            depth += 1
        elif text in CLOSE:
            depth -= 1
            if depth == 0:
                return index, 0 if index == opening + 1 else commas + 1
        elif text == "," and depth == 1 and not bars:
            commas += 1
    return len(tokens) - 1, -1


def ends_term(token: Token) -> bool:
    """Whether a term may end with a token."""
    if token.kind == "mark":
        return token.text in CLOSE
    return token.kind != "name" or token.text not in KEYWORDS


def edited(source: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """The text with each range replaced; ranges do not overlap."""
    parts, position = [], 0
    for start, end, text in sorted(edits):
        parts += [source[position:start], text]
        position = end
    return "".join([*parts, source[position:]])
