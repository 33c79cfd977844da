"""Packages of conftest, unchanged: `deny`, `violation` and `warn` rules (also `deny_…`), and `exception`.

As conftest 0.71 reads them: the rules of a package are found by name; each is asked alone; a rule whose suffix an
`exception` names is passed over. Stricter in one thing: a rule that has a value and no set of messages passes there,
and cannot be decided here. Modules are Rego v1, or v0 where they do not compile as v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customhouse.core.errors import PolicyError
from customhouse.policy.foreign import (
    UNDEFINED,
    EndedError,
    ForeignEngine,
    Program,
    data_references,
    package_of,
    rules_of,
)

DEFAULT_NAMESPACE = "main"
MAX_MESSAGES = 1000
_WARNING = re.compile(r"warn(_[a-zA-Z0-9]+)*")
_FAILURE = re.compile(r"(deny|violation)(_[a-zA-Z0-9]+)*")
_PREFIX = re.compile(r"^(violation_)?(deny_)?(warn_)?")


@dataclass(frozen=True, slots=True)
class Conftest:
    """Policies of one folder. `rules` maps each namespace to the rules that conftest would ask."""

    program: Program
    rules: Mapping[str, tuple[str, ...]]
    excepting: frozenset[str] = frozenset()
    data: Mapping[str, Any] = field(default_factory=dict)
    knows_files: bool = False

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that have a rule to ask."""
        return tuple(sorted(self.rules))


@dataclass(frozen=True, slots=True)
class Message:
    """What one rule says of one document. `warning` False: a failure."""

    namespace: str
    rule: str
    text: str
    warning: bool
    details: Mapping[str, Any] = field(default_factory=dict)


def load_conftest(modules: Mapping[str, str], engine: ForeignEngine, data: Mapping[str, Any] | None = None) -> Conftest:
    """Policies from Rego files by name, compiled. Raises PolicyError with file and line; tests are left out."""
    sources = {name: text for name, text in modules.items() if not name.endswith("_test.rego")}
    if not sources:
        raise PolicyError("there is no policy", hint="*.rego files with a package and deny, violation or warn rules")
    rules: dict[str, set[str]] = {}
    excepting = set()
    knows_files = False
    for name, text in sources.items():
        namespace = ".".join(package_of(text, name))
        found = rules_of(text, name)
        asked = {rule for rule in found if _FAILURE.fullmatch(rule) or _WARNING.fullmatch(rule)}
        if asked:
            rules.setdefault(namespace, set()).update(asked)
        if "exception" in found:
            excepting.add(namespace)
        knows_files = knows_files or any(reference in ("conftest", "") for reference, _ in data_references(text, name))
    return Conftest(
        program=_compiled(sources, engine),
        rules={namespace: tuple(sorted(names)) for namespace, names in rules.items()},
        excepting=frozenset(excepting),
        data=data or {},
        knows_files=knows_files,
    )


def judge_documents(
    policies: Conftest,
    documents: Sequence[tuple[str, Any]],
    engine: ForeignEngine,
    namespaces: Iterable[str] = (DEFAULT_NAMESPACE,),
) -> list[tuple[Message, ...]]:
    """The messages about each document (`(file, value)`), in the order of namespaces, rules and texts.

    Raises PolicyError: could not decide; also for a namespace without a rule.
    """
    chosen = tuple(dict.fromkeys(namespaces))
    for namespace in chosen:
        if namespace not in policies.rules:
            known = ", ".join(policies.namespaces) or "none"
            raise PolicyError(
                f"the namespace {namespace} has no deny, violation or warn rule", hint=f"there is: {known}"
            )
    asked = [(namespace, rule) for namespace in chosen for rule in policies.rules[namespace]]
    excepting = [namespace for namespace in chosen if namespace in policies.excepting]
    queries = [f"data.{namespace}.{rule}" for namespace, rule in asked]
    queries += [f"data.{namespace}.exception" for namespace in excepting]
    result = []
    try:
        rows = list(_rows(policies, documents, engine, queries))
    except EndedError as error:
        raise _placed(error, policies.program) from error
    for row in rows:
        excepted = {namespace: _excepted(row[len(asked) + at]) for at, namespace in enumerate(excepting)}
        messages: list[Message] = []
        for (namespace, rule), answer in zip(asked, row, strict=False):
            if _PREFIX.sub("", rule) not in excepted.get(namespace, ()):
                messages += _messages(namespace, rule, answer)
        if len(messages) > MAX_MESSAGES:
            raise PolicyError(f"more than {MAX_MESSAGES} messages about one document")
        result.append(tuple(messages))
    return result


def combined(documents: Sequence[tuple[str, Any]]) -> list[dict[str, Any]]:
    """What `--combine` gives to the rules: all documents at once, each with its file."""
    return [{"path": path, "contents": value} for path, value in sorted(documents, key=lambda item: item[0])]


def _compiled(sources: Mapping[str, str], engine: ForeignEngine) -> Program:
    name, text = min(sources.items())
    query = "data." + ".".join(package_of(text, name)) + "." + min(rules_of(text, name) or {"deny"})
    problem: PolicyError | None = None
    for v0 in (False, True):
        program = Program(sources, v0=v0)
        try:
            engine.ask(program, {}, [{}], [query])
        except EndedError as error:
            raise _placed(error, program) from error
        except PolicyError as error:
            # A module of before OPA 1.0 is told what is wrong with it in its own language.
            problem = error if problem is None or "keyword is required" in problem.message else problem
            continue
        return program
    raise problem or PolicyError("the policies do not compile")


def _placed(error: EndedError, program: Program) -> EndedError:
    """Which rule it was nobody knows; the first module says which folder."""
    return EndedError(error.message, where=error.where or min(program.modules), hint=error.hint)


def _rows(
    policies: Conftest, documents: Sequence[tuple[str, Any]], engine: ForeignEngine, queries: Sequence[str]
) -> Iterable[list[Any]]:
    if not policies.knows_files:
        return engine.ask(policies.program, policies.data, [value for _, value in documents], queries)
    rows = []
    for path, value in documents:
        folder, _, name = path.rpartition("/")
        data = {**policies.data, "conftest": {"file": {"name": name, "dir": folder or "."}}}
        rows += engine.ask(policies.program, data, [value], queries)
    return rows


def _messages(namespace: str, rule: str, answer: Any) -> list[Message]:
    if answer is UNDEFINED:
        return []
    where = f"data.{namespace}.{rule}"
    if not isinstance(answer, list):
        raise PolicyError(f"{where} is no set of messages", hint="`deny contains msg if …`, or `deny[msg] { … }`")
    warning = _WARNING.fullmatch(rule) is not None
    messages = []
    for item in answer:
        text = item.get("msg") if isinstance(item, Mapping) else item
        if not isinstance(text, str):
            raise PolicyError(f"{where} has a message that is neither a text nor an object with a text as msg")
        details = {key: value for key, value in item.items() if key != "msg"} if isinstance(item, Mapping) else {}
        messages.append(Message(namespace, rule, text, warning, details))
    return sorted(messages, key=lambda message: message.text)


def _excepted(answer: Any) -> frozenset[str]:
    """The names in `exception[_][_]`."""
    if answer is UNDEFINED:
        return frozenset()
    outer = answer.values() if isinstance(answer, Mapping) else answer if isinstance(answer, list) else ()
    found: set[str] = set()
    for item in outer:
        inner = item.values() if isinstance(item, Mapping) else item if isinstance(item, list) else ()
        found.update(name for name in inner if isinstance(name, str))
    return frozenset(found)
