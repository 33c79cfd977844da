"""The rules of a module as tokens tell them: names, kinds, and what each refers to. No engine is needed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from customhouse.policy.lint import Token, calls_at, imports_of, package_of, path_at, starts_rule, tokens_of

_SKIPPED = frozenset({"package", "import"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One definition. `kind` is `complete`, `set`, `object`, `function` or `default`; `value` its tokens as text.

    `references` are dotted paths without `data.` (`customhouse.lib.pods`); those of the same package have its name.
    `conditional`: it has a body. `v0`: the token where a body starts that Rego v1 wants an `if` before.
    """

    package: str
    name: str
    kind: str
    arity: int
    file: str
    line: int
    column: int
    value: str
    conditional: bool
    references: frozenset[str]
    texts: frozenset[str]
    """The strings in it, as written: among them the ids of its findings."""
    v0: Token | None = None

    @property
    def where(self) -> str:
        """file:line:column."""
        return f"{self.file}:{self.line}:{self.column}"


def rules_of(name: str, source: str, packages: frozenset[str]) -> tuple[Rule, ...]:
    """The rules of a module, in order of place. Raises PolicyError for what cannot be read."""
    tokens = tokens_of(source, name)
    package, aliases = package_of(source, name), imports_of(tokens, name, packages)
    starts = [index for index in _starts(tokens) if tokens[index].text not in _SKIPPED]
    heads = {".".join(path_at(tokens, _head(tokens, index))[0]) for index in starts}
    ends = [*starts, len(tokens)][1:]
    return tuple(
        _rule(name, package, tokens[start:end], aliases, heads) for start, end in zip(starts, ends, strict=True)
    )


def _starts(tokens: Sequence[Token]) -> Iterator[int]:
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token.text in ("{", "(", "[")) - (token.text in ("}", ")", "]"))
        if token.kind == "name" and starts_rule(tokens, index, depth):
            yield index


def _head(tokens: Sequence[Token], index: int) -> int:
    return index + 1 if tokens[index].text == "default" and index + 1 < len(tokens) else index


def _rule(file: str, package: str, tokens: Sequence[Token], aliases: Mapping[str, str], heads: set[str]) -> Rule:
    at = _head(tokens, 0)
    path, after = path_at(tokens, at)
    arity, bound, kind, v0 = 0, set[str](), "complete", None
    if calls_at(tokens, after):
        kind = "function"
        closing = _closing(tokens, after)
        arguments = tokens[after + 1 : closing]
        arity = _parts(arguments)
        bound |= {token.text for token in arguments if token.kind == "name"}
        after = closing + 1
    following = tokens[after].text if after < len(tokens) else ""
    if following == "contains":
        kind = "set"
    elif following == "[" and kind == "complete":
        kind = "object"
        after = _closing(tokens, after) + 1
        following = tokens[after].text if after < len(tokens) else ""
    if following == "{":
        v0 = tokens[after]
    if tokens[0].text == "default":
        kind = "default"
    texts = [token.text for token in tokens[after:]]
    until = texts.index("if") if "if" in texts else len(texts)
    bound |= _bound(tokens[after:])
    return Rule(
        package=package,
        name=".".join(path),
        kind=kind,
        arity=arity,
        file=file,
        line=tokens[0].line,
        column=tokens[0].column,
        value=" ".join(texts[:until]),
        conditional="if" in texts or v0 is not None,
        references=frozenset(_references(tokens[at + 1 :], package, aliases, heads, bound)),
        texts=frozenset(token.text.strip('"`') for token in tokens if token.kind in ("string", "raw")),
        v0=v0,
    )


def _closing(tokens: Sequence[Token], index: int) -> int:
    """The index of what closes the bracket at `index`; the last one where nothing does."""
    depth = 0
    for place in range(index, len(tokens)):
        depth += (tokens[place].text in ("{", "(", "[")) - (tokens[place].text in ("}", ")", "]"))
        if depth == 0:
            return place
    return len(tokens) - 1


def _parts(tokens: Sequence[Token]) -> int:
    depth, commas = 0, 0
    for token in tokens:
        depth += (token.text in ("{", "(", "[")) - (token.text in ("}", ")", "]"))
        commas += token.text == "," and depth == 0
    return commas + 1 if tokens else 0


def _bound(tokens: Sequence[Token]) -> set[str]:
    """Names that a body binds for itself: with `:=`, or by `some … in` and `every … in`."""
    found: set[str] = set()
    for index, token in enumerate(tokens):
        if token.kind != "name":
            continue
        if [item.text for item in tokens[index + 1 : index + 3]] == [":", "="]:
            found.add(token.text)
        if token.text in ("some", "every"):
            for item in tokens[index + 1 :]:
                if item.text in ("in", "{") or item.line > token.line + 3:
                    break
                if item.kind == "name":
                    found.add(item.text)
    return found


def _references(
    tokens: Sequence[Token], package: str, aliases: Mapping[str, str], heads: set[str], bound: set[str]
) -> Iterator[str]:
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind != "name" or (index > 0 and tokens[index - 1].text == "."):
            index += 1
            continue
        path, after = path_at(tokens, index)
        called = calls_at(tokens, after)
        if path[0] == "data":
            yield ".".join(path[1:])
        elif path[0] in aliases and path[0] not in bound:
            yield ".".join([aliases[path[0]], *path[1:]])
        elif path[0] in heads and (called or path[0] not in bound):
            yield f"{package}.{path[0]}"
        elif (dotted := ".".join(path)) in heads:
            yield f"{package}.{dotted}"
        index = after
