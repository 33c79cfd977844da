"""What a Jsonnet file imports, found before the program runs: an import may name any file of the machine.

Imports take a literal text and nothing that is computed (jsonnet.org/ref/spec.html, "Import"), so a scan of the tokens
finds them all. A file that this scan cannot follow is refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from customhouse.core.errors import DeclarationError

MAX_FILES = 2_000
_CODE = (".jsonnet", ".libsonnet")
# In this order: what may hold the word `import` without importing comes first.
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<block>\|\|\|-?[ \t]*\n(?P<indent>[ \t]+).*?\n(?!(?P=indent)|[ \t]*\n)[ \t]*\|\|\|)
    |(?P<verbatim>@"(?:[^"]|"")*"|@'(?:[^']|'')*')
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<open>["']|/\*|\|\|\|)""",
    re.DOTALL | re.VERBOSE,
)
_IMPORTS = frozenset({"import", "importstr", "importbin"})


def imports_of(main: str, files: Mapping[str, bytes], libraries: Sequence[str] = ()) -> tuple[str, ...]:
    """The main file and everything that it imports, by path in the tree.

    `libraries` are the folders that are searched after the importing file's own. Raises DeclarationError (where =
    `file:line:column`) for a file that is not there, one outside the tree, and an import that cannot be followed.
    """
    if main not in files:
        raise DeclarationError(
            "there is no such file in this tree", where=main, hint="correct `render` in customhouse.yaml"
        )
    found = {main: None}
    waiting = [main]
    while waiting:
        path = waiting.pop()
        if not path.endswith(_CODE) and path != main:
            continue
        data = files[path]
        for name, start in _imports(path, data):
            place = _resolved(path, name, files, libraries)
            if place is None:
                raise DeclarationError(
                    f"{name[:200]!r} is not a file of this tree",
                    where=_place(path, data.decode("utf-8", "replace"), start),
                    hint="commit it, or name its folder under `libraries` of the entry in customhouse.yaml",
                )
            if place not in found:
                found[place] = None
                waiting.append(place)
        if len(found) > MAX_FILES:
            raise DeclarationError(f"it imports more than {MAX_FILES} files", where=main)
    return tuple(found)


def imports_anything(code: str) -> bool:
    """Whether a piece of Jsonnet might import; one that cannot be read might."""
    try:
        found = any(match["word"] in _IMPORTS or match["open"] for match in _TOKEN.finditer(code))
    except RecursionError:
        return True
    return found


def _imports(path: str, data: bytes) -> Iterator[tuple[str, int]]:
    text = data.decode("utf-8", "replace")
    importing = ""
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "comment":
            continue
        if match["open"]:
            raise DeclarationError("a text or comment that does not end", where=_place(path, text, match.start()))
        if importing:
            token = match[0]
            if match["text"] is None or "\\" in token:
                raise DeclarationError(
                    f"this {importing} cannot be followed",
                    where=_place(path, text, match.start()),
                    hint='write a plain literal: import "lib.libsonnet"',
                )
            yield token[1:-1], match.start()
            importing = ""
        elif match["word"] in _IMPORTS:
            importing = match["word"]


def _place(path: str, text: str, start: int) -> str:
    """Counted for errors alone: to count for each token is the square of the file's length."""
    return f"{path}:{text.count(chr(10), 0, start) + 1}:{start - text.rfind(chr(10), 0, start)}"


def _resolved(path: str, name: str, files: Mapping[str, bytes], libraries: Sequence[str]) -> str | None:
    if not name.startswith("/") and "://" not in name:
        for folder in (posixpath.dirname(path), *reversed(libraries)):
            place = posixpath.normpath(posixpath.join(folder, name))
            if place in files:
                return place
    return None
