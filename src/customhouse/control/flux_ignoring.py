"""What a GitRepository makes of a repository before Flux renders it: files that it leaves out, or has from elsewhere.

`spec.ignore` and files called `.sourceignore` keep files out of what Flux renders. Where that is a file that is judged,
Flux applies something else than was judged: without the kustomization.yaml of a folder it applies all manifests in it;
without a manifest it deletes what that declared. So such a rule is refused, and one that keeps out no manifest is none.

1. The rules: of the `.sourceignore` files from the root on, then those of the object; the last one that matches counts.
2. The files: below the folder that is rendered; of a chart all of them, else manifests and kustomizations.
3. The patterns are those of gitignore as go-git reads them. Where a pattern has a class (`[a-z]`) more is taken for
   left out than is, and never less.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from customhouse.control.folders import files_below
from customhouse.control.rendering_kustomize import NAMES
from customhouse.control.rendering_owned import joined, listed, mapping, refused
from customhouse.core.errors import DeclarationError
from customhouse.core.resource import Declaration

IGNORE = ".sourceignore"
_CI = (".circleci", ".drone.yml", ".github", ".gitlab-ci.yml", ".travis.yml")
ASIDE = frozenset({*_CI, ".flux.yaml", ".git", ".goreleaser.yml", ".sops.yaml"})
"""What Flux leaves out of a source by itself (fluxcd/pkg, sourceignore), and so is not judged; all else hidden it
applies. A rule that takes such a file in again is refused."""
_MANIFESTS = (".yaml", ".yml", ".json")
_MOST_BYTES, _MOST_RULES = 65_536, 1_000
_ANY, _STAR, _NONE = "?", "*", "\\/"
"""No name has a slash, so that the last one fits nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: what it names, below which folder, and whether it takes in what others leave out."""

    domain: tuple[str, ...]
    parts: tuple[tuple[str, ...] | None, ...]
    """Each part of the path as single characters, `?` and `*` (escaped ones as two); None for `**`, () for none."""
    includes: bool
    only_folders: bool
    text: str


def whole(item: Declaration, named: Declaration | None, path: str, files: Mapping[str, bytes], *, chart: bool) -> None:
    """That Flux renders what is judged: nothing below `path` is left out or comes from elsewhere.

    `item` is the Kustomization or HelmRelease, `named` its GitRepository where that is declared. Raises
    DeclarationError, at the field or the line.
    """
    spec = {} if named is None or named.ref.kind != "GitRepository" else mapping(named.manifest.get("spec"))
    if named is not None:
        _nothing_else(named, spec, path)
    # 1
    rules = list(_of_files(path, files))
    if named is not None and isinstance(spec.get("ignore"), str):
        rules += _rules(spec["ignore"], (), str(named.locate("/spec/ignore")))
    if not rules:
        return
    # 2
    for name in files_below(files, path):
        base = posixpath.basename(name)
        if not chart and base.endswith(_MANIFESTS) and (found := _takes_in(rules, name)) is not None:
            rule, where = found
            raise DeclarationError(
                f"{rule.text[:200]!r} takes {name} into what Flux renders for {item.ref}, and it is not judged",
                where=where,
                hint="name the manifest otherwise: what Flux leaves out by itself is left out here",
            )
        if (chart or base.endswith(_MANIFESTS) or base in NAMES) and (found := _leaves_out(rules, name)) is not None:
            rule, where = found
            raise DeclarationError(
                f"{rule.text[:200]!r} keeps {name} out of what Flux renders for {item.ref}, and it is judged",
                where=where,
                hint="take the file out of the repository, or narrow the pattern to what is no manifest",
            )


def _nothing_else(named: Declaration, spec: Mapping[str, Any], path: str) -> None:
    if listed(spec.get("include")):
        raise refused(named, "/spec/include", "what it takes in from other repositories is not judged", "copy it here")
    if spec.get("recurseSubmodules") is True:
        raise refused(named, "/spec/recurseSubmodules", "submodules are not judged", "copy what they hold here")
    sparse = [str(one).strip("/").removeprefix("./") for one in listed(spec.get("sparseCheckout"))]
    if sparse and not any(one in ("", ".", path) or path.startswith(f"{one}/") for one in sparse):
        raise refused(
            named, "/spec/sparseCheckout", f"it does not take in all of {path or 'the root'}", "add the folder"
        )


def _of_files(path: str, files: Mapping[str, bytes]) -> Iterator[tuple[Rule, str]]:
    parts = [part for part in path.split("/") if part]
    above = ["/".join(parts[:count]) for count in range(len(parts))]
    names = [joined(folder, IGNORE) for folder in above]
    below = (name for name in files_below(files, path) if posixpath.basename(name) == IGNORE)
    names += sorted(below, key=lambda name: name.count("/"))
    for name in names:
        if name in files:
            domain = tuple(posixpath.dirname(name).split("/")) if "/" in name else ()
            if len(files[name]) > _MOST_BYTES:
                raise DeclarationError(f"it has more than {_MOST_BYTES} bytes", where=f"{name}:1:1")
            yield from _rules(files[name].decode("utf-8", "replace"), domain, name)


def _rules(text: str, domain: tuple[str, ...], where: str) -> Iterator[tuple[Rule, str]]:
    """With the place of each line; of a field, the field's."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if len(lines) > _MOST_RULES or len(text) > _MOST_BYTES:
        raise DeclarationError(f"more than {_MOST_RULES} patterns", where=where)
    for number, line in enumerate(lines, start=1):
        if not line.startswith("#") and line.strip():
            yield _rule(line, domain), (f"{where}:{number}:1" if posixpath.basename(where) == IGNORE else where)


def _rule(line: str, domain: tuple[str, ...]) -> Rule:
    """3. As go-git's ParsePattern."""
    includes = line.startswith("!")
    text = line[1:] if includes else line
    text = text if text.endswith("\\ ") else text.rstrip(" ")
    only_folders = text.endswith("/")
    text = text[:-1] if only_folders else text
    parts = tuple(None if part == "**" else _tokens(part, exact=includes) for part in text.split("/"))
    return Rule(domain, parts, includes, only_folders, line)


def _tokens(part: str, *, exact: bool) -> tuple[str, ...]:
    """Of filepath.Match: a class counts as any character, or where it must not match too much (`exact`) as none."""
    if exact and "**" in part:
        return (_NONE,)
    found: list[str] = []
    rest = iter(part)
    for one in rest:
        if one == "\\":
            found.append("\\" + next(rest, "\\"))
        elif one == "[":
            for inner in rest:
                if inner == "]":
                    break
            found.append(_NONE if exact else _ANY)
        else:
            found.append(one)
    return tuple(found)


def _leaves_out(rules: Sequence[tuple[Rule, str]], name: str) -> tuple[Rule, str] | None:
    parts = tuple(name.split("/"))
    for rule, where in reversed(rules):
        if _matches(rule, parts):
            return None if rule.includes else (rule, where)
    return None


def _takes_in(rules: Sequence[tuple[Rule, str]], name: str) -> tuple[Rule, str] | None:
    """The rule that may take in again what Flux leaves out by itself; one with a class may always."""
    if ASIDE.isdisjoint(name.split("/")):
        return None
    parts = tuple(name.split("/"))
    return next((one for one in rules if one[0].includes and ("[" in one[0].text or _matches(one[0], parts))), None)


def _matches(rule: Rule, path: tuple[str, ...]) -> bool:
    size = len(rule.domain)
    if len(path) <= size or path[:size] != rule.domain:
        return False
    path = path[size:]
    if len(rule.parts) > 1:
        # After `**` the first name that fits is taken: one that fits too early could hide the one that does.
        vague = None in rule.parts and "[" in rule.text
        return not rule.includes if vague else _matches_path(rule, path)
    (part,) = rule.parts
    # The last part of a path is the file's own name, which a pattern for folders does not mean.
    names = path[:-1] if rule.only_folders else path
    return any(part is None or _fits(part, name) for name in names)


def _matches_path(rule: Rule, path: tuple[str, ...]) -> bool:
    matched = anywhere = False
    for number, part in enumerate(rule.parts):
        if part == ():
            anywhere = False
        elif part is None:
            if number == len(rule.parts) - 1:
                break
            anywhere = True
        elif not path:
            return False
        elif anywhere:
            anywhere = False
            at = next((index for index, name in enumerate(path) if _fits(part, name)), None)
            # As go-git has it: where nothing fits, what was found before still counts, and no name is left.
            matched, path = (False, ()) if at is None else (True, path[at + 1 :])
        elif _fits(part, path[0]):
            matched, path = True, path[1:]
        else:
            return False
    return matched and not (rule.only_folders and not path)


def _fits(tokens: tuple[str, ...], name: str) -> bool:
    """Whether a name has the form, in time of the product of both at most."""
    at = mark = 0
    star = -1
    while mark < len(name):
        token = tokens[at] if at < len(tokens) else ""
        if token == _STAR:
            star, after, at = at, mark, at + 1
        elif token == _ANY or token.removeprefix("\\") == name[mark]:
            at, mark = at + 1, mark + 1
        elif star >= 0:
            after += 1
            at, mark = star + 1, after
        else:
            return False
    return all(token == _STAR for token in tokens[at:])
