"""Which engine answers for a policy of others: the embedded one where it is right, else OPA, else nobody."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from customhouse.core.errors import PolicyError
from customhouse.policy.foreign import EndedError, ForeignEngine, Program, check_network

_REMEMBERED = 1024


class RightEngine:
    """Asks the embedded engine first and OPA for what it cannot answer. One of the two may be None, not both."""

    name = "auto"

    def __init__(self, embedded: ForeignEngine | None, exact: ForeignEngine | None) -> None:
        self._embedded = embedded
        self._exact = exact
        self._checked: OrderedDict[int, Program] = OrderedDict()

    def ask(
        self, program: Program, data: Mapping[str, Any], documents: Sequence[Any], queries: Sequence[str]
    ) -> list[list[Any]]:
        """See `policy.foreign.ForeignEngine`. What reaches out of the evaluation is refused on every engine."""
        self._check(program)
        if not documents or not queries:
            return [[] for _ in documents]
        if self._embedded is not None:
            try:
                return self._embedded.ask(program, data, documents, queries)
            except EndedError:
                raise
            except PolicyError as error:
                if self._exact is None:
                    raise PolicyError(
                        error.message, where=error.where, hint="OPA may be able to: install `opa` (`make parts`)"
                    ) from error
        if self._exact is None:
            raise PolicyError("there is no engine", hint="install `opa` (`make parts`)")
        return self._exact.ask(program, data, documents, queries)

    def _check(self, program: Program) -> None:
        """Once a program: it is asked for each object, and never changes."""
        if self._checked.get(id(program)) is program:
            return
        check_network(program)
        self._checked[id(program)] = program
        while len(self._checked) > _REMEMBERED:
            self._checked.popitem(last=False)
