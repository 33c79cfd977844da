"""The quick way to the values of a plain manifest: line by line, for the part of YAML that manifests are written in.

Whatever is not understood to the last character makes the answer None, and then the whole reader decides
(`yaml_nodes`, `yaml_values`): anchors, tags, merges, directives, tabs, carriage returns, odd keys, nested flow style.
The quick way never has an opinion of its own: it gives what the whole reader gives, or nothing. Places are not kept;
who wants one reads the file again with marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from customhouse.control.yaml_limits import LIMITS, Limits
from customhouse.control.yaml_scalars import Json, plain_value

# What libyaml takes for a line break besides \n, or does not take at all; tabs only where they are content.
# Said by what is odd: a class of nearly all characters takes ten times as long to compile.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_KEY = re.compile(r"\.?[A-Za-z_][A-Za-z0-9_./$-]*")
_QUOTED_KEY = re.compile(r"(?:\"([^\"\\\t]*)\"|'([^'\t]*)'):(?: +(.*))?")
# A plain scalar on one line in block context: its first character is no indicator, and no ": ", no " #", no tab.
_PLAIN = re.compile(r"(?:[^\x00-#%-')*,\-:>?@\[\]`{|}\x7f]|-(?=[^ ]))(?:[^\t:#]|:(?=[^ ])|(?<=[^ ])#)*(?<![ :])")
_MORE = re.compile(r"(?!#)(?:[^\t:#]|:(?=[^ ])|(?<=[^ ])#)*(?<![ :])")
_DOUBLE = re.compile(r"\"((?:[^\"\\\t]|\\[^\t])*)\"(?: +#.*)?")
_DOUBLE_OPEN = re.compile(r"(?:[^\"\\\t]|\\[^\t])*\\?")
_DOUBLE_END = re.compile(r"((?:[^\"\\\t]|\\[^\t])*)\"(?: +#.*)?")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "/": "/", " ": " ", "0": "\0"}
_SINGLE = re.compile(r"'((?:[^'\t]|'')*)'(?: +#.*)?")
_SINGLE_OPEN = re.compile(r"'((?:[^'\t]|'')*)")
_SINGLE_END = re.compile(r"((?:[^'\t]|'')*)'(?: +#.*)?")
_BLOCK = re.compile(r"([|>])([-+]?)")
_ITEM = r"(?:\"[^\"\\\t]*\"|'[^'\t]*'|[A-Za-z0-9_./$-]*[A-Za-z0-9_/$])"
_FLOW_LIST = re.compile(rf"\[ *(?:{_ITEM} *(?:, *{_ITEM} *)*)?\]")
_FLOW_KEY = r"[A-Za-z_][A-Za-z0-9_./$-]*"
_FLOW_MAP = re.compile(rf"\{{ *(?:{_FLOW_KEY}: +{_ITEM} *(?:, *{_FLOW_KEY}: +{_ITEM} *)*)?\}}")
_ITEMS = re.compile(_ITEM)
_PAIRS = re.compile(rf"({_FLOW_KEY}): +({_ITEM})")

_DEPTH = 60
_CONTINUED = 32 * 1024
"""Characters of a plain scalar over several lines: it is put together anew with each, which must not become long."""
_MEMORY = 100_000
"""Distinct keys and scalars that are remembered; manifests repeat a few thousand."""


class _NotUnderstood(Exception):  # noqa: N818 - no error: the whole reader is asked
    pass


class QuickDocument(NamedTuple):
    """The mapping of one document and the place of its first key, as the whole reader would tell it."""

    value: dict[str, Json]
    line: int
    column: int


def quick_documents(text: str, limits: Limits = LIMITS) -> list[QuickDocument] | None:
    """The documents of a YAML file, or None when the whole reader has to say what they are, or what is wrong."""
    if _ODD.search(text) is not None:
        return None
    try:
        return _Lines(text, limits).documents()
    except _NotUnderstood:
        return None


_keys: dict[str, str] = {}
"""Each key to the one text that all mappings share: a large file repeats few of them ten thousand times."""
_scalars: dict[str, Json] = {}
_NO = object()


def _key(text: str) -> str:
    """A key as the whole reader takes it: text, and nothing else. Remembered, since there are few."""
    if text not in _keys:
        if _KEY.fullmatch(text) is None or not isinstance(plain_value(text), str):
            raise _NotUnderstood
        if len(_keys) > _MEMORY:
            _keys.clear()
        _keys[text] = text
    return _keys[text]


def _plain(text: str) -> Json:
    """An unquoted scalar on one line."""
    found = _scalars.get(text, _NO)
    if found is not _NO:
        return found  # type: ignore[return-value]  # what is not _NO was put there below
    if _PLAIN.fullmatch(text) is None:
        cut = text.find(" #")
        if cut <= 0:
            raise _NotUnderstood
        return _plain(text[:cut].rstrip(" "))
    try:
        value = plain_value(text)
    except ValueError:
        raise _NotUnderstood from None
    if len(text) <= 80:
        if len(_scalars) > _MEMORY:
            _scalars.clear()
        _scalars[text] = value
    return value


def _item(text: str) -> Json:
    if text[0] in "\"'":
        return text[1:-1]
    if text[0] == "-" and len(text) > 1 and text[1] == "-":
        raise _NotUnderstood
    try:
        return plain_value(text)
    except ValueError:
        raise _NotUnderstood from None


def _flow(text: str) -> tuple[Json, int]:
    """A list or mapping in brackets on one line that holds scalars only; and how many nodes that is."""
    if text == "[]":
        return [], 0
    if text == "{}":
        return {}, 0
    if text == "[{}]":
        return [{}], 1
    if _FLOW_LIST.fullmatch(text) is not None:
        items = _ITEMS.findall(text)
        return [_item(item) for item in items], len(items)
    if _FLOW_MAP.fullmatch(text) is not None:
        pairs = _PAIRS.findall(text)
        found: dict[str, Json] = {_key(key): _item(item) for key, item in pairs}
        if len(found) == len(pairs):
            return found, 2 * len(pairs)
    raise _NotUnderstood


class _Lines:
    """One pass over the lines with a stack of open collections.

    `indent` is the column of the innermost one: its keys, or its dashes, begin there. A collection that is opened by
    the next line is `pending`: until then its value is null.
    """

    def __init__(self, text: str, limits: Limits) -> None:
        self._lines = text.split("\n")
        self._whole = text.endswith("\n")
        self._limits = limits
        self._length = len(text)
        self._at = 0
        self._nodes = 0
        self._spelled = 0
        self._start()

    def _start(self) -> None:
        self._stack: list[tuple[int, Any, int]] = []
        self._indent = -1
        self._top: Any = None
        self._path = 0
        self._pending: tuple[Any, Any] | None = None
        self._scalar: tuple[Any, Any, str] | None = None
        self._root: dict[str, Json] | None = None

    def documents(self) -> list[QuickDocument]:
        """All documents that are mappings; those without content are left out."""
        found: list[QuickDocument] = []
        begin = (1, 1)
        lines, blank = self._lines, 0
        while self._at < len(lines):
            line = lines[self._at]
            self._at += 1
            body = line.lstrip(" ")
            if not body:
                blank += 1
                continue
            first = body[0]
            if first == "#":
                self._scalar = None
                continue
            column = len(line) - len(body)
            if column == 0 and first in "-.%" and (line.startswith(("---", "...", "%"))):
                if line.rstrip(" ") != "---" and not line.startswith("--- #"):
                    raise _NotUnderstood
                if self._root is not None:
                    found.append(QuickDocument(self._root, *begin))
                self._start()
                blank = 0
                continue
            if self._root is None:
                begin = (self._at, column + 1)
                self._root = {}
                self._open(self._root, column, 0)
                self._nodes += 1
                if first == "-":
                    raise _NotUnderstood
            self._line(body, first, column, blank)
            blank = 0
        if self._root is not None:
            found.append(QuickDocument(self._root, *begin))
        # Every value is charged for the pointer to it and for its text; this is never less than what the reader counts.
        if self._spelled + 3 * self._length + 8 * self._nodes > self._limits.characters:
            raise _NotUnderstood
        if self._nodes > self._limits.nodes:
            raise _NotUnderstood
        return found

    def _open(self, collection: Any, column: int, path: int) -> None:
        self._stack.append((self._indent, self._top, self._path))
        if len(self._stack) > min(_DEPTH, self._limits.depth - 4):
            raise _NotUnderstood
        self._indent, self._top, self._path = column, collection, path

    def _line(self, body: str, first: str, column: int, blank: int) -> None:
        dash = first == "-" and (len(body) == 1 or body[1] == " ")
        pending = self._pending
        if pending is not None:
            self._pending = None
            if column > self._indent or (dash and column == self._indent and type(self._top) is dict):
                self._open_pending(pending, column, dash)
        elif column > self._indent:
            self._continued(body, blank)
            return
        self._scalar = None
        while column < self._indent:
            self._indent, self._top, self._path = self._stack.pop()
        if column == self._indent and not dash and type(self._top) is list:
            # A list may stand at the column of the key that it belongs to; the next key ends it.
            self._indent, self._top, self._path = self._stack.pop()
        if column != self._indent or self._top is None:
            raise _NotUnderstood
        if dash:
            self._dash(body, column)
        else:
            self._pair(body, first)

    def _open_pending(self, pending: tuple[Any, Any], column: int, dash: bool) -> None:
        holder, key = pending
        collection: Any = [] if dash else {}
        holder[key] = collection
        self._open(collection, column, self._path + (2 * len(key) + 1 if type(key) is str else 8))

    def _continued(self, body: str, blank: int) -> None:
        """A line that goes on with the plain scalar of the line before."""
        if self._scalar is None or _MORE.fullmatch(body := body.rstrip(" ")) is None:
            raise _NotUnderstood
        holder, key, text = self._scalar
        if len(text) > _CONTINUED:
            raise _NotUnderstood
        text += ("\n" * blank if blank else " ") + body
        holder[key] = text
        self._scalar = (holder, key, text)

    def _dash(self, body: str, column: int) -> None:
        while True:
            items = self._top
            if type(items) is not list:
                raise _NotUnderstood
            rest = body[1:].lstrip(" ")
            self._nodes += 1
            self._spelled += self._path
            if not rest:
                items.append(None)
                self._pending = (items, len(items) - 1)
                return
            column += len(body) - len(rest)
            first = rest[0]
            if first == "-" and (len(rest) == 1 or rest[1] == " "):
                inner: list[Json] = []
                items.append(inner)
                self._open(inner, column, self._path + 8)
                body = rest
                continue
            if ": " in rest or rest[-1] == ":" or first in "\"'":
                if first in "\"'" and _QUOTED_KEY.fullmatch(rest) is None:
                    items.append(None)
                    self._value(items, len(items) - 1, rest)
                    return
                if first not in "\"'[{|>" and self._is_key(rest):
                    members: dict[str, Json] = {}
                    items.append(members)
                    self._open(members, column, self._path + 8)
                    self._pair(rest, first)
                    return
            items.append(None)
            self._value(items, len(items) - 1, rest)
            return

    def _is_key(self, rest: str) -> bool:
        if ": " not in rest and rest[-1] == ":":
            return True
        cut = rest.find(": ")
        comment = rest.find(" #")
        return cut >= 0 and (comment < 0 or cut < comment)

    def _pair(self, body: str, first: str) -> None:
        members = self._top
        if type(members) is not dict:
            raise _NotUnderstood
        if first in "\"'":
            match = _QUOTED_KEY.fullmatch(body)
            if match is None:
                raise _NotUnderstood
            key, value = match[1] if match[1] is not None else match[2], match[3] or ""
        else:
            name, colon, value = body.partition(": ")
            if not colon:
                name = body.rstrip(" ")
                if name[-1] != ":":
                    raise _NotUnderstood
                name = name[:-1]
            key = _keys.get(name) or _key(name)
        if key in members:
            raise _NotUnderstood
        self._nodes += 2
        self._spelled += self._path
        value = value.strip(" ")
        if not value:
            members[key] = None
            self._pending = (members, key)
            return
        found = _scalars.get(value, _NO)
        if found is not _NO:
            members[key] = found
            self._scalar = (members, key, value)
        else:
            self._value(members, key, value)

    def _value(self, holder: Any, key: Any, text: str) -> None:
        first = text[0]
        text = text.rstrip(" ")
        if first == '"':
            holder[key] = self._double(text)
        elif first == "'":
            holder[key] = self._single(text)
        elif first in "[{":
            holder[key], nodes = _flow(text)
            self._nodes += nodes
            self._spelled += nodes * (self._path + 8)
        elif first in "|>":
            match = _BLOCK.fullmatch(text)
            if match is None:
                raise _NotUnderstood
            holder[key] = self._block(match[1] == "|", match[2])
        else:
            holder[key] = _plain(text)
            # After a comment the scalar is at its end.
            self._scalar = (holder, key, text) if " #" not in text else None

    def _double(self, text: str) -> str:
        match = _DOUBLE.fullmatch(text)
        if match is not None:
            return _unescaped(match[1])
        # A space that is escaped at the end of a line is content, and was stripped.
        stripped = self._lines[self._at - 1].endswith(" ") and _ends_in_backslash(text)
        if stripped or _DOUBLE_OPEN.fullmatch(text, 1) is None:
            raise _NotUnderstood
        # Over several lines: as in single quotes, and a backslash at the end of a line takes the line break away.
        parts = [text[1:]]
        blank = 0
        for body in self._quoted_lines():
            if not body:
                blank += 1
                continue
            if _ends_in_backslash(parts[-1]):
                if blank:
                    raise _NotUnderstood
                parts[-1] = parts[-1][:-1]
            else:
                parts.append("\n" * blank if blank else " ")
            blank = 0
            end = _DOUBLE_END.fullmatch(body)
            if end is not None:
                parts.append(end[1])
                return "".join(map(_unescaped, parts))
            if _DOUBLE_OPEN.fullmatch(body) is None:
                raise _NotUnderstood
            parts.append(body)
        raise _NotUnderstood

    def _quoted_lines(self) -> Iterator[str]:
        """The lines below a quote that is open, without the spaces around them."""
        while self._at < len(self._lines):
            line = self._lines[self._at]
            self._at += 1
            body = line.strip(" ")
            if body and line[0] != " ":
                raise _NotUnderstood  # a document's end, it may be; libyaml takes any other place in a line
            if line.endswith(" ") and _ends_in_backslash(body):
                raise _NotUnderstood
            yield body

    def _single(self, text: str) -> str:
        match = _SINGLE.fullmatch(text)
        if match is not None:
            return match[1].replace("''", "'")
        match = _SINGLE_OPEN.fullmatch(text)
        if match is None:
            raise _NotUnderstood
        # Over several lines: line breaks fold into spaces, empty lines stay line breaks.
        parts = [match[1].rstrip(" ")]
        blank = 0
        for body in self._quoted_lines():
            if not body:
                blank += 1
                continue
            parts.append("\n" * blank if blank else " ")
            blank = 0
            end = _SINGLE_END.fullmatch(body)
            if end is not None:
                parts.append(end[1])
                return "".join(parts).replace("''", "'")
            if _SINGLE_OPEN.fullmatch("'" + body) is None:
                raise _NotUnderstood
            parts.append(body)
        raise _NotUnderstood

    def _block(self, literal: bool, chomping: str) -> str:
        lines, first = self._lines, self._lines[self._at] if self._at < len(self._lines) else ""
        # 1. How far it is indented: as its first line. Empty ones, and those that begin with empty lines or with a tab,
        # are left to the whole reader.
        indent = len(first) - len(first.lstrip(" "))
        if indent <= self._indent or indent == len(first) or first[indent] == "\t":
            raise _NotUnderstood
        # 2. Its lines.
        prefix = " " * indent
        content: list[str] = []
        while self._at < len(lines):
            line = lines[self._at]
            if line.startswith(prefix):
                content.append(line[indent:])
            elif not line.lstrip(" "):
                content.append("")
            elif len(line) - len(line.lstrip(" ")) > self._indent:
                raise _NotUnderstood
            else:
                break
            self._at += 1
        if self._at >= len(lines):
            if not self._whole:
                raise _NotUnderstood
            content.pop()  # what stands after the last line break is no line
        if not literal and any(line and not line.strip(" ") for line in content):
            raise _NotUnderstood  # spaces that are content: a fold around them is a matter of its own
        # 3. Its end.
        trailing = 0
        while content and not content[-1]:
            content.pop()
            trailing += 1
        text = "\n".join(content) if literal else _folded(content)
        if chomping == "-":
            return text
        return text + "\n" * (trailing + 1 if chomping == "+" else 1)


def quoted_value_at(pair: str) -> int:
    """Where the value begins in a line whose key is in quotes, and that has one."""
    match = _QUOTED_KEY.fullmatch(pair)
    if match is None:
        raise _NotUnderstood
    return match.start(3)


def _ends_in_backslash(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_escaped, text) if "\\" in text else text


def _escaped(escape: re.Match[str]) -> str:
    if escape[1] is not None:
        code = int(escape[1], 16)
        if 0xD800 <= code <= 0xDFFF:
            raise _NotUnderstood
        return chr(code)
    if escape[2] not in _ESCAPED:
        raise _NotUnderstood
    return _ESCAPED[escape[2]]


def _folded(content: list[str]) -> str:
    parts: list[str] = []
    blank = 0
    for number, line in enumerate(content):
        if not line:
            blank += 1
            continue
        if line[0] in " \t":
            raise _NotUnderstood  # lines that are indented more are not folded
        if number:
            parts.append("\n" * blank if blank else " ")
        blank = 0
        parts.append(line)
    return "".join(parts)
