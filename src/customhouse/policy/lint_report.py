"""`policy lint`: everything that is wrong or doubtful in modules, as findings with a place, instead of the first error.

An error is what would shut the gate, judge nothing or mean two things; a warning is what a reader should look at.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from customhouse.core.errors import PolicyError
from customhouse.core.ports import PolicyEngine
from customhouse.policy.bundle import MAX_MODULE_BYTES, Bundle, RuleDoc, load_bundle
from customhouse.policy.lint import (
    TEST_SUFFIX,
    Token,
    calls_at,
    check_recursion,
    module_problems,
    package_of,
    path_at,
    tokens_of,
)
from customhouse.policy.lint_rules import Rule, rules_of

RULES = "customhouse.rules"
MAX_COUNT = 10_000
"""How far a rule may count: ten thousand steps are some milliseconds."""
_PROBE = "customhouse_lint"
_PLACE = re.compile(r"-->\s*(?P<file>\S+?):(?P<line>\d+):(?P<column>\d+)|(?P<opa>[^\s:]+\.rego):(?P<row>\d+):")
_METADATA = re.compile(r"^# METADATA[ \t]*\n(?:#.*\n)+", re.MULTILINE)
_WHERE = re.compile(r"(?P<file>.*?):(?P<line>\d+)(?::(?P<column>\d+))?")


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One complaint. `rule` starts with `lint-`, `severity` is `error` or `warning`, places are from 1 (0: none)."""

    rule: str
    severity: str
    file: str
    line: int
    column: int
    message: str
    fix: str

    @property
    def where(self) -> str:
        """file:line:column, as far as it is known."""
        return ":".join([self.file, *(str(part) for part in (self.line, self.column) if part)])

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "fix": self.fix,
        }


def lint_files(files: Mapping[str, bytes], engine: PolicyEngine, base: Bundle | None = None) -> tuple[LintFinding, ...]:
    """Every finding about `files` (path → content), sorted by place. `base` is the bundle that they would join.

    Nothing is raised for what is wrong in the files; PolicyError comes only from an engine that cannot be reached.
    """
    found: list[LintFinding] = []
    # 1. What can be read at all, file by file.
    own: dict[str, str] = {}
    for name in sorted(files):
        if not name.endswith(".rego"):
            continue
        try:
            own[name] = _source(name, files[name])
        except PolicyError as problem:
            found.append(_of_error("lint-unreadable", problem))
    others = {} if base is None else {**base.modules, **base.tests}
    whole = {**others, **own}
    packages = frozenset(package_of(source, name) for name, source in whole.items())
    # 2. What the modules call and how they are written.
    rules: list[Rule] = []
    for name, source in own.items():
        try:
            rules += rules_of(name, source, packages)
            test = name.endswith(TEST_SUFFIX)
            found += [
                _of_error("lint-call", item) for item in module_problems(name, source, packages=packages, test=test)
            ]
            found += [] if test else list(_ranges(name, source))
        except PolicyError as problem:
            found.append(_of_error("lint-syntax", problem))
    found += [_v0(rule) for rule in rules if rule.v0 is not None]
    # 3. How the rules stand to one another.
    found += _taken(own, others)
    found += _conflicts(rules)
    found += _recursion(whole)
    found += _silent(own)
    found += _reachability(
        rules, [rule for name, source in others.items() for rule in rules_of(name, source, packages)]
    )
    # 4. What they say of themselves.
    found += _metadata(own, others, rules)
    # 5. Whether the engine takes them; not asked where it could not, or where it would run out of stack.
    if not any(item.severity == "error" for item in found):
        found += _compiled(files, engine, base)
    return tuple(sorted(found, key=lambda item: (item.file, item.line, item.column, item.rule, item.message)))


def _source(name: str, content: bytes) -> str:
    if len(content) > MAX_MODULE_BYTES:
        raise PolicyError(f"{len(content)} bytes; a file of a bundle has at most {MAX_MODULE_BYTES}", where=name)
    try:
        source = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError("not UTF-8", where=name) from error
    package_of(source, name)
    return source


def _of_error(rule: str, problem: PolicyError) -> LintFinding:
    found = _WHERE.fullmatch(problem.where)
    if found is None:
        return LintFinding(rule, "error", problem.where, 0, 0, problem.message, problem.hint)
    column = int(found["column"] or 0)
    return LintFinding(rule, "error", found["file"], int(found["line"]), column, problem.message, problem.hint)


def _at(rule: Rule, lint: str, severity: str, message: str, fix: str) -> LintFinding:
    return LintFinding(lint, severity, rule.file, rule.line, rule.column, message, fix)


def _v0(rule: Rule) -> LintFinding:
    token = rule.v0
    assert token is not None  # noqa: S101 - the caller filters; narrows the type for mypy
    head = f"{rule.name} contains … if {{" if rule.kind == "object" else f"{rule.name} if {{"
    return LintFinding(
        "lint-rego-v0",
        "error",
        rule.file,
        token.line,
        token.column,
        f"{rule.name} is written in Rego v0: a body without `if`",
        f"write `{head}` (`opa fmt --v0-v1` rewrites a whole file)",
    )


def _taken(own: Mapping[str, str], others: Mapping[str, str]) -> Iterator[LintFinding]:
    taken = {package_of(source, name) for name, source in others.items()}
    for name, source in own.items():
        package = package_of(source, name)
        if package in taken:
            fix = f"write rules in a package {RULES}.NAME of your own; waive a built-in rule instead"
            yield LintFinding("lint-package-taken", "error", name, 1, 1, f"the package {package} is built in", fix)


def _conflicts(rules: Sequence[Rule]) -> Iterator[LintFinding]:
    """What is one name to two meanings: OPA refuses some of these, the embedded engine takes the first it finds."""
    named: dict[tuple[str, str], list[Rule]] = defaultdict(list)
    for rule in rules:
        named[rule.package, rule.name].append(rule)
    for same in named.values():
        first = same[0]
        defaults = [rule for rule in same if rule.kind == "default"]
        for rule in defaults[1:]:
            message = f"{rule.name} has two defaults; the first is at {defaults[0].where}"
            yield _at(rule, "lint-conflict", "error", message, "keep one of them")
        made = [rule for rule in same if rule.kind != "default"]
        for rule in made[1:]:
            if (rule.kind, rule.arity) != (made[0].kind, made[0].arity):
                message = f"{rule.name} is a {_kind(rule)} here and a {_kind(made[0])} at {made[0].where}"
                yield _at(rule, "lint-conflict", "error", message, "give one of them another name")
        if first.name.partition(".")[0] == "internal":
            # `x in y` is a call of internal.member_2 to OPA, and a rule of that name hides it: nothing compiles.
            yield _at(first, "lint-conflict", "error", "internal is a name of OPA's own", "call it something else")
        constant = [rule for rule in made if rule.kind == "complete" and not rule.conditional]
        for rule in constant[1:]:
            if rule.value != constant[0].value:
                message = f"{rule.name} is always {rule.value.lstrip(':= ')} here, and another value at {first.where}"
                yield _at(rule, "lint-conflict", "error", message[:300], "two values of one name shut the gate")


def _kind(rule: Rule) -> str:
    return f"function of {rule.arity} arguments" if rule.kind == "function" else f"{rule.kind} rule"


def _recursion(modules: Mapping[str, str]) -> Iterator[LintFinding]:
    try:
        check_recursion(modules)
    except PolicyError as problem:
        yield _of_error("lint-recursion", problem)


def _ranges(name: str, source: str) -> Iterator[LintFinding]:
    """`numbers.range` over what an input says is how a small input keeps an engine busy for minutes."""
    tokens = tokens_of(source, name)
    for index, token in enumerate(tokens):
        if token.text != "numbers" or token.kind != "name":
            continue
        path, after = path_at(tokens, index)
        if path != ["numbers", "range"] or not calls_at(tokens, after):
            continue
        given = _argument_names(tokens, after)
        large = _largest_number(tokens, after)
        if large > MAX_COUNT:
            message = f"numbers.range counts to {large}, which keeps the gate busy"
            yield LintFinding("lint-unbounded-range", "error", name, token.line, token.column, message, "count less")
        if not given:
            continue
        severity = "error" if "input" in given else "warning"
        yield LintFinding(
            "lint-unbounded-range",
            severity,
            name,
            token.line,
            token.column,
            f"numbers.range counts up to {', '.join(sorted(given))}, which nothing bounds",
            "give it numbers, or check a constant upper bound first and count over a list of that length",
        )


def _argument_names(tokens: Sequence[Token], opening: int) -> set[str]:
    depth, names, index = 0, set(), opening
    while index < len(tokens):
        token = tokens[index]
        depth += (token.text in ("{", "(", "[")) - (token.text in ("}", ")", "]"))
        if depth == 0:
            break
        if token.kind == "name":
            path, after = path_at(tokens, index)
            names.add(path[0])
            index = after
        else:
            index += 1
    return names


def _largest_number(tokens: Sequence[Token], opening: int) -> int:
    depth, largest = 0, 0
    for token in tokens[opening:]:
        depth += (token.text in ("{", "(", "[")) - (token.text in ("}", ")", "]"))
        if depth == 0:
            break
        if token.kind == "number":
            try:
                largest = max(largest, int(float(token.text)))
            except (ValueError, OverflowError):
                largest = MAX_COUNT + 1
    return largest


def _silent(own: Mapping[str, str]) -> Iterator[LintFinding]:
    """Packages that a reader would think judge something."""
    modules = {name: source for name, source in own.items() if not name.endswith(TEST_SUFFIX)}
    packages = {name: package_of(source, name) for name, source in modules.items()}
    asking: set[str] = set()
    for name, source in modules.items():
        with suppress(PolicyError):  # said as lint-syntax
            asking |= {rule.package for rule in rules_of(name, source, frozenset()) if rule.name == "findings"}
    said: set[str] = set()
    for name, package in packages.items():
        if package.startswith(f"{RULES}.") and package not in asking and package not in said:
            said.add(package)
            message = f"the package {package} has no set `findings`: none of its rules is asked"
            fix = "write `findings contains … if { … }`"
            yield LintFinding("lint-never-judged", "error", name, 1, 1, message, fix)


def _reachability(own: Sequence[Rule], others: Sequence[Rule]) -> Iterator[LintFinding]:
    """Rules that nothing leads to from the entry point: written, reviewed, and never judged with."""
    rules = [rule for rule in (*own, *others) if not rule.file.endswith(TEST_SUFFIX)]
    known: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        known[f"{rule.package}.{rule.name}"].append(rule)
    for rule in own:
        if rule.name == "findings" and rule.package.startswith(f"{RULES}.") and "." in rule.package[len(RULES) + 1 :]:
            message = f"{rule.package} is too deep: only packages {RULES}.NAME take part, so nothing asks this rule"
            yield _at(rule, "lint-never-judged", "error", message, f"call the package {RULES}.NAME")
    mine = frozenset(own)
    topics = {rule.package for rule in own if rule.package.startswith(f"{RULES}.") and not _test(rule)}
    left = [name for name in known if name.startswith(f"{RULES}.") and name.endswith(".findings")]
    left += [name for name in known if name == "customhouse.findings"]
    seen: set[str] = set()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        for rule in known[name]:
            for reference in rule.references:
                left += _leads_to(reference, known)
    for name, same in known.items():
        rule = same[0]
        if name in seen or rule not in mine or (rule.package in topics and f"{rule.package}.findings" not in known):
            continue
        message = f"{rule.name} is reached from no `findings`: nothing asks for it"
        yield _at(
            rule, "lint-unreachable", "warning", message, f"use it, remove it, or move it to {RULES}.NAME.findings"
        )


def _test(rule: Rule) -> bool:
    return rule.file.endswith(TEST_SUFFIX)


def _leads_to(reference: str, known: Mapping[str, Iterable[Rule]]) -> Iterator[str]:
    """The rules that a dotted path may mean: itself, one that it reads a part of, or all below it."""
    parts = reference.split(".")
    for size in range(len(parts), 0, -1):
        if (name := ".".join(parts[:size])) in known:
            yield name
            return
    yield from (name for name in known if name.startswith(f"{reference}."))


def _metadata(own: Mapping[str, str], others: Mapping[str, str], rules: Sequence[Rule]) -> Iterator[LintFinding]:
    seen = {doc.id: f"{doc.file}:{doc.line}" for doc in _docs(others)}
    described: set[tuple[str, int]] = set()
    for name, source in own.items():
        if name.endswith(TEST_SUFFIX):
            continue
        described |= {(name, source.count("\n", 0, match.end()) + 1) for match in _METADATA.finditer(source)}
        try:
            docs = _docs({name: source})
        except PolicyError as problem:
            yield _of_error("lint-metadata", problem)
            continue
        for doc in docs:
            if doc.id in seen:
                message = f"the rule id {doc.id} is there twice; the first is at {seen[doc.id]}"
                yield LintFinding("lint-id-twice", "error", name, doc.line, 1, message, "give one of them another id")
            seen.setdefault(doc.id, f"{name}:{doc.line}")
    for rule in rules:
        wanted = rule.name == "findings" and rule.package.startswith(f"{RULES}.") and rule.kind != "default"
        # A second body of a rule that is described above needs no block of its own.
        if wanted and not _test(rule) and (rule.file, rule.line) not in described and not rule.texts & seen.keys():
            fix = "write a block `# METADATA` right above: title, description, custom: id, category, severity, fix"
            yield _at(rule, "lint-no-metadata", "warning", "nobody can explain this rule: it has no METADATA", fix)


def _docs(modules: Mapping[str, str]) -> tuple[RuleDoc, ...]:
    return Bundle(modules, {}, "", "").rules


def _compiled(files: Mapping[str, bytes], engine: PolicyEngine, base: Bundle | None) -> Iterator[LintFinding]:
    try:
        bundle = load_bundle(files, base=base)
        # 5a. The engine reads every module before it answers the first question, and asks no rule that has no part in
        # it; `findings` itself would need Facts.
        probe = {f"{_PROBE}.rego": f"package {_PROBE}\n\nok := true\n"}
        engine.evaluate({**bundle.modules, **probe}, bundle.data, {}, f"data.{_PROBE}.ok")
        tests = {**bundle.modules, **bundle.tests, f"{_PROBE}{TEST_SUFFIX}": probe[f"{_PROBE}.rego"]}
        engine.evaluate(tests, bundle.data, {}, f"data.{_PROBE}.ok")
    except PolicyError as problem:
        found = _PLACE.search(problem.message)
        if found is None:
            yield _of_error("lint-syntax", problem)
            return
        text = problem.message.rpartition("error: ")[2]
        file, line = (found["file"], found["line"]) if found["file"] else (found["opa"], found["row"])
        column = int(found["column"] or 0)
        yield LintFinding("lint-syntax", "error", file, int(line), column, f"{engine.name}: {text}", "")
