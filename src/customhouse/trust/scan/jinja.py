"""Jinja templates of chat models: text for a template engine that may be unsandboxed, so its reach is judged.

Own tokens, since templates use tags (`generation`, `break`) that a plain parser refuses, and so that the verdict does
not change with an installed version. A template may read what it is given; it may not walk into Python's objects.
"""

from __future__ import annotations

import re
from itertools import accumulate

from customhouse.trust.scan.inspection import Inspection
from customhouse.trust.scan.words import words

_OPEN = re.compile(r"\{\{|\{%|\{#")
_END_RAW = re.compile(r"\{%[-+]?\s{0,80}endraw\s{0,80}[-+]?%\}")
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_TOKEN = re.compile(
    r"""(?P<text>'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")|(?P<name>[^\W\d]\w*)|(?P<number>\d[\w.]*)"""
    r"""|(?P<space>\s+)|(?P<sign>[^\s\w'"])""",
    re.DOTALL,
)
_DUNDER = re.compile(r"__\w+__|^__\w|\w__$")
_INTERNAL = words(
    """mro func_globals func_code gi_frame gi_code cr_frame cr_code ag_frame ag_code f_globals f_locals f_builtins
    f_back tb_frame tb_next co_code im_func im_self im_class popen subprocess builtins globals_ _module load_module
    subclasses environ"""
)
_OBJECTS = words(
    """lipsum cycler joiner self config request url_for get_flashed_messages g session current_app handler
    application"""
)
_PIECE = re.compile(r"^__+\w*$|^\w*__+$")
_LONGEST_NAME = 24
"""Letters of the longest name that pieces of are looked for on their own."""
_JOINING = frozenset("~+*%,[]|")
_COLON = ("sign", ":")
_COUNTING = words("length index find count int")
_MAKING = words("join replace reverse format upper lower string")
_BY_NAME = words("selectattr rejectattr groupby")
_WORDS = words("in if else elif and or not is set return for")
_TAGS = frozenset({"include", "import", "extends", "from"})
_MAX_TEMPLATE = 1 << 20


def inspect_template(text: str, look: Inspection, where: str) -> None:
    """Judge one template; `where` names it in the findings."""
    if len(text) > _MAX_TEMPLATE:
        look.unscannable("template-size", f"{where}: a template of {len(text)} characters")
        return
    look.spend(1 + len(text) // 16)
    position = 0
    computed = _Computed()
    while match := _OPEN.search(text, position):
        if match[0] == "{#":
            position = text.find("#}", match.end()) + 2
            if position < 2:
                look.unscannable("template-broken", f"{where}: a comment that does not end; mend the template")
                return
            continue
        tokens, position = _tokens(text, match.end(), "}}" if match[0] == "{{" else "%}")
        if position < 0:
            look.unscannable("template-broken", f"{where}: a block that does not end; mend the template")
        problem = _problem(tokens, statement=match[0] == "{%") or computed.problem(tokens)
        if problem is not None:
            severe, message = problem
            (look.malicious if severe else look.suspicious)("template-injection", f"{where}: {message}")
        if position < 0 or (problem is not None and problem[0]):
            return
        if match[0] == "{%" and tokens and tokens[0] == ("name", "raw"):
            end = _END_RAW.search(text, position)
            position = end.end() if end else len(text)


def _tokens(text: str, start: int, closing: str) -> tuple[list[tuple[str, str]], int]:
    """(kind, text) of each token of a block and where the block ends; -1 when it does not (Jinja refuses it then).

    As Jinja's lexer has it: a closing mark counts only outside of strings and with all brackets closed. Anything
    looser would let text hide code, or code pass for text.
    """
    tokens: list[tuple[str, str]] = []
    open_brackets: list[str] = []
    position = start
    while position < len(text):
        if not open_brackets and text.startswith(closing, position):
            return [token for token in tokens if token[1] not in ("-", "+") or token is not tokens[0]], position + 2
        match = _TOKEN.match(text, position)
        if match is None:
            return tokens, -1
        position = match.end()
        kind, value = match.lastgroup or "", match[0]
        if kind == "space":
            continue
        if value in ("(", "[", "{"):
            open_brackets.append(value)
        elif value in _BRACKETS and (not open_brackets or open_brackets.pop() != _BRACKETS[value]):
            return tokens, -1
        tokens.append((kind, value))
    return tokens, -1


def _problem(tokens: list[tuple[str, str]], *, statement: bool) -> tuple[bool, str] | None:
    """(malicious, what) of one `{{ }}` or `{% %}`; None when it only reads what it is given."""
    first = next((text for kind, text in tokens if kind == "name"), "")
    if statement and first in _TAGS:
        return True, f"loads another template ({first})"
    softer: tuple[bool, str] | None = None
    for index, (kind, text) in enumerate(tokens):
        before = tokens[index - 1][1] if index else ""
        after = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        judged = {"name": _name, "text": _literal}.get(kind, _nothing)(text, before, after)
        if judged is not None and judged[0]:
            return judged
        softer = softer or judged
    return softer


def _nothing(_text: str, _before: str, _after: str) -> None:
    return None


def _name(text: str, before: str, after: str) -> tuple[bool, str] | None:
    if _DUNDER.search(text) or text in _INTERNAL:
        return True, f"walks into Python's objects ({text[:40]})"
    if before == "|" and text == "attr":
        return True, "reads attributes by computed names (attr)"
    if before == "." and (text.startswith("_") or (text == "system" and after == "(")):
        return True, f"reads a private attribute ({text[:40]})"
    if text in _OBJECTS and before != "." and after in (".", "[", "|", "("):
        return False, f"uses {text}, a way into the host's objects"
    if before == "." and text in ("format", "format_map"):
        return False, "formats text, which can read attributes"
    return None


def _literal(text: str, before: str, after: str) -> tuple[bool, str] | None:
    value = _unescaped(text[1:-1])
    if _DUNDER.fullmatch(value) or value in ("os", "popen", "subclasses"):
        return True, f"names a Python internal in text ({value[:40]!r})"
    if value != text[1:-1] and _DUNDER.search(value):
        return True, f"hides a Python internal in escapes ({value[:40]!r})"
    joined = bool({before, after} & _JOINING) or before.startswith(("'", '"')) or after.startswith(("'", '"'))
    if _PIECE.search(value) and (joined or len(value) <= _LONGEST_NAME):
        return False, f"puts a name together ({value[:40]!r})"
    if value == "_" and "*" in (before, after):
        return False, "puts a name together (underscores)"
    return None


class _Computed:
    """Names that a template gives to texts it puts together, and attributes that it reads by such a text.

    `x[a ~ b]` reads any attribute of x, and no piece need look like its name.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._read: set[str] = set()
        """Names that something was read by: in a loop, what is computed below is read above."""

    def problem(self, tokens: list[tuple[str, str]]) -> tuple[bool, str] | None:
        """Look at one block: what it reads by a computed name, then what it computes."""
        joins = list(accumulate((_joins(tokens, index) for index in range(len(tokens))), initial=0))
        counts = list(accumulate((text in _COUNTING for _, text in tokens), initial=0))
        read: set[str] = set()
        named: set[str] = set()
        for start, end in _subscripts(tokens):
            if joins[end] > joins[start]:
                return False, "reads by a name that is put together"
            if end - start in (1, 3) and tokens[end - 1][0] == "name" and tokens[start + 1 : end - 1][:1] != [_COLON]:
                read.add(tokens[end - 1][1])
        for index, (kind, text) in enumerate(tokens):
            follows = [text for _, text in tokens[index + 1 : index + 2]]
            argument = tokens[index + 2 : index + 3]
            by_name = (text == "attribute" and follows == ["="]) or (text in _BY_NAME and follows == ["("])
            if by_name and argument and argument[0][0] != "text":
                return False, f"reads attributes by computed names ({text})"
            last = len(tokens) == index + 2 and tokens[index + 1][1] in self._names
            if not last and (joins[-1] == joins[index + 1] or counts[-1] > counts[index + 1]):
                continue  # what follows puts no text together, or counts its letters
            if text == "=" and index and tokens[index - 1][0] == "name":
                named.add(tokens[index - 1][1])
            if kind == "name" and text == "in" and tokens[0][1] == "for":
                named.update(text for kind, text in tokens[1:index] if kind == "name")
                break
        if len(tokens) >= 2 and tokens[0][1] == "set" and all(text != "=" for _, text in tokens):
            named.add(tokens[1][1])  # all up to endset
        both = named & self._read | read & self._names | named & read
        self._names |= named
        self._read |= read
        return (False, f"reads by a name that is put together ({min(both)[:40]})") if both else None


def _subscripts(tokens: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Where in the tokens something is read by `[…]`: from behind the bracket to its end. A list is none."""
    found: list[tuple[int, int]] = []
    waiting: list[tuple[str, int]] = []
    for index, (_, text) in enumerate(tokens):
        if text in ("(", "[", "{"):
            before = tokens[index - 1] if index else ("sign", "")
            reads = text == "[" and before[1] not in _WORDS and (before[0] in ("name", "text") or before[1] in ")]}")
            waiting.append((text if not reads else "read", index + 1))
        elif text in _BRACKETS and waiting:
            kind, start = waiting.pop()
            if kind == "read":
                found.append((start, index))
    return found


def _joins(tokens: list[tuple[str, str]], index: int) -> bool:
    """Whether a token puts texts together: `~`, a second literal in a row, operators, filters, slices of literals."""
    kind, text = tokens[index]
    before = tokens[index - 1] if index else ("", "")
    after = tokens[index + 1] if index + 1 < len(tokens) else ("", "")
    if kind == "text":
        return before[0] == "text" or after[1] == "[" or bool({before[1], after[1]} & {"%", "+", "*"})
    if kind == "name":
        return before[1] in ("|", ".") and text in _MAKING
    return text == "~"


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return text.encode("ascii", "backslashreplace").decode("unicode_escape")
    except (UnicodeDecodeError, ValueError):
        return text
