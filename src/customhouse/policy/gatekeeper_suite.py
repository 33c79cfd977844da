"""Gatekeeper's own tests: `Suite` files (test.gatekeeper.sh/v1alpha1), run as `gator verify` runs them.

A test names a template and a constraint; each case an object (or an AdmissionReview), an inventory, and assertions on
the violations. What cannot be run has failed, with the reason: nothing passes for want of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from customhouse.core.errors import CustomhouseError, PolicyError
from customhouse.core.verdicts import Point
from customhouse.policy.constraints import SchemaError, parse_constraint
from customhouse.policy.foreign import ForeignEngine, Program
from customhouse.policy.gatekeeper import Gatekeeper, Policies
from customhouse.policy.gatekeeper_cel import CelEngine
from customhouse.policy.gatekeeper_review import Review, inventory_of, review_of_object, review_of_request
from customhouse.policy.gatekeeper_template import Document, Template, parse_template

GROUP = "test.gatekeeper.sh"
_SUITE_KEYS = frozenset({"apiVersion", "kind", "metadata", "tests", "skip"})
_TEST_KEYS = frozenset({"name", "template", "constraint", "cases", "invalid", "skip"})
_CASE_KEYS = frozenset({"name", "object", "inventory", "assertions", "skip"})
_ASSERTION_KEYS = frozenset({"violations", "message"})
_MATCHES = Program({"message": "package message\n\nr := regex.match(input.pattern, input.text)\n"}, v0=False)

_NO_TEXT = frozenset(r"\.+*?()|[]{}^$")
"""A regular expression without these is a text to look for, to every engine."""

ReadDocuments = Callable[[str], Sequence[Document]]
"""The documents of a file that a suite names, relative to the suite."""


class _Suite:
    """What all tests of a suite have in common; a template is read once for all of them."""

    def __init__(
        self, name: str, where: str, read: ReadDocuments, engine: ForeignEngine, cel: CelEngine | None
    ) -> None:
        self.name, self.where, self.read, self.engine, self.cel = name, where, read, engine, cel
        self._templates: dict[str, Template] = {}

    def template(self, test: Mapping[str, Any]) -> Template:
        """Of a test. Raises PolicyError for one that cannot be read."""
        path = test.get("template")
        if not isinstance(path, str) or path not in self._templates:
            template = parse_template(_one(test, "template", self.where, self.read))
            self._templates[str(path)] = template
            return template
        return self._templates[path]


class Failure(NamedTuple):
    """What did not pass; `case` is empty where the whole test could not be run."""

    suite: str
    test: str
    case: str
    reason: str
    undecided: bool
    """Whether no verdict could be had, against a verdict other than the wanted one."""


@dataclass(slots=True)
class SuiteRun:
    """How many tests and cases ran and passed, and what failed."""

    tests: int = 0
    cases: int = 0
    passed: int = 0
    skipped: int = 0
    failed: list[Failure] = field(default_factory=list)


def is_suite(document: Document) -> bool:
    """Whether the document is a Suite."""
    return document.group == GROUP and document.kind == "Suite"


def run_suite(
    suite: Document, name: str, read: ReadDocuments, engine: ForeignEngine, cel: CelEngine | None = None
) -> SuiteRun:
    """Run one suite; `name` is how it is called in failures. Raises PolicyError for one that is malformed."""
    _known(suite.value, _SUITE_KEYS, suite.where)
    tests = _listed(suite.value, "tests", suite.where)
    run, at = SuiteRun(), _Suite(name, suite.where, read, engine, cel)
    if suite.value.get("skip"):
        run.skipped += len(tests)
        return run
    for test in tests:
        _known(test, _TEST_KEYS, suite.where)
        if test.get("skip"):
            run.skipped += 1
            continue
        _run_test(run, test, at)
    return run


def _run_test(run: SuiteRun, test: Mapping[str, Any], at: _Suite) -> None:
    run.tests += 1
    title = str(test.get("name", ""))
    cases = _listed(test, "cases", at.where)
    for case in cases:
        _known(case, _CASE_KEYS, at.where)
    try:
        gatekeeper = _gatekeeper(test, at)
    except CustomhouseError as error:
        if test.get("invalid") and isinstance(error, SchemaError):
            return
        run.cases += len(cases)
        run.failed.append(Failure(at.name, title, "", str(error), undecided=not isinstance(error, SchemaError)))
        return
    if test.get("invalid"):
        reason = "the constraint was expected not to fit its template's schema, and fits"
        run.failed.append(Failure(at.name, title, "", reason, undecided=False))
        return
    for case in cases:
        if case.get("skip"):
            run.skipped += 1
            continue
        run.cases += 1
        try:
            reason = _run_case(case, gatekeeper, at)
        except CustomhouseError as error:
            run.failed.append(Failure(at.name, title, str(case.get("name", "")), str(error), undecided=True))
            continue
        if reason:
            run.failed.append(Failure(at.name, title, str(case.get("name", "")), reason, undecided=False))
        else:
            run.passed += 1


def _gatekeeper(test: Mapping[str, Any], at: _Suite) -> Gatekeeper:
    template = at.template(test)
    constraint = parse_constraint(_one(test, "constraint", at.where, at.read), template)
    gatekeeper = Gatekeeper(Policies({template.kind: template}, (constraint,)), at.engine, at.cel)
    if not test.get("cases"):
        gatekeeper.check()  # a case would compile it
    return gatekeeper


def _run_case(case: Mapping[str, Any], gatekeeper: Gatekeeper, at: _Suite) -> str:
    """Empty when all assertions hold, else the first that does not."""
    assertions = _listed(case, "assertions", at.where)
    if not assertions:
        raise PolicyError("a case has at least one assertion", where=at.where)
    subject = _one(case, "object", at.where, at.read)
    inventory = [
        document.value
        for path in _listed(case, "inventory", at.where, texts=True)
        for document in _read(path, at.where, at.read)
    ]
    if subject.kind == "AdmissionReview" and subject.group == "admission.k8s.io":
        request = subject.value.get("request")
        if not isinstance(request, Mapping):
            raise PolicyError("the AdmissionReview has no request", where=subject.where)
        review: Review = review_of_request(request)
    else:
        review = review_of_object(subject.value)
    violations = gatekeeper.judge([review], inventory_of(inventory), Point.GATE)[0]
    messages = [violation.message for violation in violations]
    for assertion in assertions:
        _known(assertion, _ASSERTION_KEYS, at.where)
        if reason := _unmet(assertion, messages, at.where, at.engine):
            return reason
    return ""


def _unmet(assertion: Mapping[str, Any], messages: Sequence[str], where: str, engine: ForeignEngine) -> str:
    pattern = assertion.get("message")
    matching = len(messages) if pattern is None else _count(str(pattern), messages, where, engine)
    wanted = assertion.get("violations", "yes")
    if isinstance(wanted, bool):  # YAML 1.1 reads yes and no so
        wanted = "yes" if wanted else "no"
    if isinstance(wanted, str) and wanted.isdecimal():
        raise PolicyError(f"violations is the text {wanted!r}", where=where, hint="a number, yes or no")
    if not (wanted in ("yes", "no") or (isinstance(wanted, int) and wanted >= 0)):
        raise PolicyError(f"violations is {wanted!r}", where=where, hint='a number that is not negative, "yes" or "no"')
    met = matching > 0 if wanted == "yes" else matching == 0 if wanted == "no" else matching == wanted
    if met:
        return ""
    about = f" that match {pattern!r}" if pattern is not None else ""
    amount = {"yes": "at least one", "no": "none"}.get(str(wanted), f"exactly {wanted}")
    return f"{matching} violations{about}, wanted {amount}; messages: {list(messages)}"


def _count(pattern: str, messages: Sequence[str], where: str, engine: ForeignEngine) -> int:
    """How many messages a regular expression (RE2, as the engine has it) matches."""
    if _NO_TEXT.isdisjoint(pattern):
        return sum(pattern in message for message in messages)
    documents = [{"pattern": pattern, "text": message} for message in ("", *messages)]
    answers = [row[0] for row in engine.ask(_MATCHES, {}, documents, ["data.message.r"])]
    if any(not isinstance(answer, bool) for answer in answers):
        raise PolicyError(f"the regular expression {pattern!r} cannot be read", where=where)
    return sum(answers[1:])


def _one(value: Mapping[str, Any], key: str, where: str, read: ReadDocuments) -> Document:
    path = value.get(key)
    if not isinstance(path, str) or not path:
        raise PolicyError(f"{key} is missing", where=where)
    documents = _read(path, where, read)
    if len(documents) != 1:
        raise PolicyError(f"{path} holds {len(documents)} objects, wanted one", where=where)
    return documents[0]


def _read(path: str, where: str, read: ReadDocuments) -> Sequence[Document]:
    documents = read(path)
    if not documents:
        raise PolicyError(f"{path} holds no object", where=where)
    return documents


def _listed(value: Mapping[str, Any], key: str, where: str, *, texts: bool = False) -> list[Any]:
    found = value.get(key) or []
    kind = str if texts else Mapping
    if not isinstance(found, list) or not all(isinstance(item, kind) for item in found):
        raise PolicyError(f"{key} has to be a list of {'texts' if texts else 'mappings'}", where=where)
    return found


def _known(value: Mapping[str, Any], keys: frozenset[str], where: str) -> None:
    """An unknown key is a test that does not test what its writer thinks."""
    if extra := sorted(set(value) - keys):
        raise PolicyError(f"the key {extra[0]!r} is not known here", where=where, hint=", ".join(sorted(keys)))
