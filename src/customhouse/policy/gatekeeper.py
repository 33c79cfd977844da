"""Gatekeeper's policies, unchanged: templates and constraints in, violations out.

1. Which constraints hold at this point, and are about this object (`gatekeeper_match`). Where that cannot be told, the
   object is rejected with the reason, as Gatekeeper does.
2. Their templates are asked, each once for all objects and constraints of it.
3. A violation carries what the constraint does about it: deny, warn, dryrun.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from customhouse.core.errors import PolicyError
from customhouse.core.verdicts import Point
from customhouse.policy.constraints import GROUP, Constraint, parse_constraint
from customhouse.policy.foreign import UNDEFINED, ForeignEngine
from customhouse.policy.gatekeeper_cel import CelEngine
from customhouse.policy.gatekeeper_match import MatchError, matches
from customhouse.policy.gatekeeper_review import Review
from customhouse.policy.gatekeeper_template import Document, Template, is_template, parse_template

MAX_VIOLATIONS = 1000
MAX_MESSAGE = 16 * 1024


class Violation(NamedTuple):
    """One message of one constraint about one review; `action` is deny, warn or dryrun."""

    constraint: Constraint
    message: str
    action: str


@dataclass(frozen=True, slots=True)
class Policies:
    """Templates by kind and their constraints."""

    templates: Mapping[str, Template] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()


def load_policies(documents: Sequence[Document]) -> Policies:
    """Templates and constraints among documents; other objects are passed over.

    Raises PolicyError with file and line: a broken one, one that is there twice, a constraint without its template.
    """
    templates: dict[str, Template] = {}
    for document in documents:
        if is_template(document):
            template = parse_template(document)
            if template.kind in templates:
                raise PolicyError(
                    f"a second template for {template.kind} (first at {templates[template.kind].where})",
                    where=document.where,
                )
            templates[template.kind] = template
    constraints: dict[tuple[str, str], Constraint] = {}
    for document in documents:
        if document.group != GROUP:
            continue
        if document.kind not in templates:
            known = ", ".join(sorted(templates)[:10]) or "none"
            raise PolicyError(
                f"no template declares the kind {document.kind}", where=document.where, hint=f"declared: {known}"
            )
        constraint = parse_constraint(document, templates[document.kind])
        key = (constraint.kind, constraint.name)
        if key in constraints:
            raise PolicyError(
                f"a second {constraint.kind}/{constraint.name} (first at {constraints[key].where})",
                where=document.where,
            )
        constraints[key] = constraint
    return Policies(templates, tuple(constraints.values()))


class Gatekeeper:
    """Judges reviews with one set of policies. `cel` is for templates that have no Rego."""

    def __init__(self, policies: Policies, engine: ForeignEngine, cel: CelEngine | None = None) -> None:
        self._policies = policies
        self._engine = engine
        self._cel = cel

    def check(self) -> None:
        """Compile every template. Raises PolicyError with file and line."""
        for template in self._policies.templates.values():
            if template.program is None:
                self._ask_cel(template, {}, {})
            else:
                self._ask(template, {}, [{"review": {}, "parameters": {}}])

    def judge(
        self, reviews: Sequence[Review], inventory: Mapping[str, Any] | None, point: Point
    ) -> list[tuple[Violation, ...]]:
        """The violations of each review, by constraint and message. `inventory` None: what else there is is not known.

        Raises PolicyError: could not decide; also where a template looks up what is not known.
        """
        found: list[list[Violation]] = [[] for _ in reviews]
        asked: dict[str, list[tuple[int, Constraint, str]]] = {}
        # 1. Who is meant.
        for constraint in self._policies.constraints:
            action = constraint.action(point)
            if action is None:
                continue
            template = self._policies.templates[constraint.kind]
            for index, review in enumerate(reviews):
                if point is Point.ADMISSION and not _operates(template, review.operation):
                    continue
                try:
                    meant = any(matches(constraint.match, subject) for subject in review.subjects)
                except MatchError as error:
                    found[index].append(Violation(constraint, f"unable to match constraints: {error}", action))
                    continue
                if meant:
                    asked.setdefault(constraint.kind, []).append((index, constraint, action))
        # 2. What is wrong.
        for kind, pairs in asked.items():
            template = self._policies.templates[kind]
            if template.referential and inventory is None:
                raise PolicyError(
                    f"{kind} looks up other objects (data.inventory), and which there are is not known here",
                    where=template.where,
                    hint="give the webhook the repository (--repo), or scope the constraint to gator.gatekeeper.sh "
                    "and audit.gatekeeper.sh",
                )
            if template.program is None:
                for index, constraint, action in pairs:
                    told = self._ask_cel(template, reviews[index].document, constraint.document)
                    found[index] += [Violation(constraint, message, action) for message in told]
                continue
            data = {"inventory": inventory} if template.referential and inventory else {}
            documents = [
                {"review": reviews[index].document, "parameters": constraint.parameters}
                for index, constraint, _ in pairs
            ]
            answers = self._ask(template, data, documents)
            for (index, constraint, action), messages in zip(pairs, answers, strict=True):
                found[index] += [Violation(constraint, message, action) for message in messages]
        return [tuple(sorted(items, key=_order)) for items in found]

    def _ask(
        self, template: Template, data: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]
    ) -> list[list[str]]:
        assert template.program is not None  # noqa: S101 - asked by whoever calls
        try:
            rows = self._engine.ask(template.program, data, documents, [template.query])
        except PolicyError as error:
            where = error.where or template.where
            # Of the same kind: whoever asks again by halves waits for an engine that was ended a few times only.
            raise type(error)(f"{template.kind}: {error.message}", where=where, hint=error.hint) from error
        return [_messages(row[0], template) for row in rows]

    def _ask_cel(self, template: Template, review: Mapping[str, Any], constraint: Mapping[str, Any]) -> list[str]:
        if self._cel is None:
            raise PolicyError(
                f"{template.kind} is written in CEL alone, and there is no engine for it here",
                where=template.where,
                hint="pip install 'customhouse[cel]', or give the template its Rego too",
            )
        found = self._cel.violations(template, review, constraint)
        return [message[:MAX_MESSAGE] for message in found[:MAX_VIOLATIONS]]


def _messages(answer: Any, template: Template) -> list[str]:
    if answer is UNDEFINED:
        return []
    if not isinstance(answer, list):
        raise PolicyError(f"{template.kind}: violation is no set", where=template.where)
    if len(answer) > MAX_VIOLATIONS:
        raise PolicyError(f"{template.kind}: more than {MAX_VIOLATIONS} violations", where=template.where)
    messages = []
    for item in answer:
        message = item.get("msg") if isinstance(item, Mapping) else None
        if not isinstance(message, str):
            raise PolicyError(
                f"{template.kind}: a violation without a text as msg",
                where=template.where,
                hint='violation[{"msg": …}]',
            )
        messages.append(message[:MAX_MESSAGE])
    return messages


def _operates(template: Template, operation: str) -> bool:
    # Gatekeeper's webhook is sent deletions only where somebody asked for them; here that is the template.
    if not template.operations:
        return operation not in ("DELETE", "CONNECT")
    return operation in template.operations or "*" in template.operations


def _order(violation: Violation) -> tuple[str, str, str]:
    return violation.constraint.kind, violation.constraint.name, violation.message
