"""The embedded Rego engine for policies of others (Rego v0 and v1), made to answer as OPA does or to say that it can't.

1. What it may answer otherwise is refused before it runs (`policy.foreign.doubts`).
2. The text is set right for its parser (`normalised`), and `OWN` built-ins replace those of it that differ.
3. It ends an evaluation at a built-in's error, where OPA goes on with "undefined": then the same question is asked
   again with every built-in wrapped (`tolerant`). What still fails is a PolicyError, never a part of an answer.

Engines are compiled once and kept per thread (its values belong to one thread); data is added to a copy.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from customhouse.core.errors import PolicyError
from customhouse.policy.adapters.foreign_calls import OWN
from customhouse.policy.engine_input import input_bytes
from customhouse.policy.foreign import UNDEFINED, WRAPPED, Program, called_builtins, doubts, normalised, tolerant
from customhouse.policy.foreign_builtins import ARITY
from customhouse.policy.foreign_tokens import CLOSE, OPEN, tokens_of
from customhouse.policy.lint import MAX_DEPTH, check_recursion_of
from customhouse.policy.lint import Token as LintToken

MAX_INPUT = 4 * 1024 * 1024
"""Bytes of JSON of one document: etcd holds 1.5 MiB, a review holds the object twice."""
MAX_DATA = 64 * 1024 * 1024
"""Bytes of JSON of what is looked up: all objects of a cluster, for whatever policy looks something up."""
_Key = tuple[bool, tuple[tuple[str, str], ...]]
_CACHED = 256
_FILLED = 16
_STACK = "\n\nStack backtrace:"
_NEVER_FAIL = "print trace time.now_ns is_array is_boolean is_null is_number is_object is_set is_string type_name"
_NEVER = frozenset(_NEVER_FAIL.split())
_OF_COLLECTIONS = "count max min sort union intersection object.keys object.union array.concat"
_COLLECTING = _NEVER | frozenset(_OF_COLLECTIONS.split())
"""What is given collections: a set of objects cannot be handed to a function of ours, so these are wrapped last."""
_PATIENCE = (None, _COLLECTING, _NEVER)


class EmbeddedForeign:
    """`ForeignEngine` on regorus. Raises PolicyError where OPA has to be asked."""

    name = "embedded"

    def __init__(self) -> None:
        # Now, so that forks of this process find it loaded.
        import regorus  # type: ignore[import-untyped] # noqa: F401 - the wheel has no stubs

        self._local = threading.local()

    def ask(
        self, program: Program, data: Mapping[str, Any], documents: Sequence[Any], queries: Sequence[str]
    ) -> list[list[Any]]:
        """See `policy.foreign.ForeignEngine`."""
        texts = [_json(document) for document in documents]
        # With their data, once for all documents: an inventory is as large as they are together.
        engines: dict[int, Any] = {}
        return [self._patiently(program, data, text, queries, engines) for text in texts]

    def _patiently(
        self,
        program: Program,
        data: Mapping[str, Any],
        text: str,
        queries: Sequence[str],
        engines: dict[int, Any],
    ) -> list[Any]:
        for patience in range(len(_PATIENCE)):
            if patience not in engines:
                engines[patience] = self._engine(program, data, patience)
            try:
                return _ask(engines[patience], text, queries)
            except PolicyError:
                # After an error the engine's state is not known.
                del engines[patience]
                self._cache().pop((_key(program), patience), None)
                self._filled().pop((_key(program), patience), None)
                if patience + 1 == len(_PATIENCE):
                    raise
        raise AssertionError("unreachable: the last attempt answers or raises")

    def _cache(self) -> OrderedDict[tuple[_Key, int], Any]:
        if not hasattr(self._local, "cache"):
            self._local.cache = OrderedDict()
        cache: OrderedDict[tuple[_Key, int], Any] = self._local.cache
        return cache

    def _filled(self) -> OrderedDict[tuple[_Key, int], tuple[Mapping[str, Any], Any]]:
        """Engines with their data, which is compared by identity: nobody changes it after it was given."""
        if not hasattr(self._local, "filled"):
            self._local.filled = OrderedDict()
        filled: OrderedDict[tuple[_Key, int], tuple[Mapping[str, Any], Any]] = self._local.filled
        return filled

    def _engine(self, program: Program, data: Mapping[str, Any], patience: int) -> Any:
        key, cache = (_key(program), patience), self._cache()
        if key not in cache:
            # The engine looks for neither depth nor recursion: it would run out of stack, and end the process.
            check_recursion_of({name: _shallow(source, name) for name, source in program.modules.items()})
            if reason := doubts(program):
                raise PolicyError(f"the embedded engine is not asked: {reason}")
            cache[key] = _compile(program, _PATIENCE[patience])
            while len(cache) > _CACHED:
                cache.popitem(last=False)
        cache.move_to_end(key)
        if not data:
            return cache[key]
        # An inventory stays the same for many questions, and takes longer to read than they do.
        kept = self._filled().get(key)
        if kept is not None and kept[0].keys() == data.keys() and all(kept[0][name] is data[name] for name in data):
            return kept[1]
        engine = cache[key].clone()
        with _Guard("the data cannot be read"):
            engine.add_data_json(_json(data, MAX_DATA))
        self._filled()[key] = (data, engine)
        while len(self._filled()) > _FILLED:
            self._filled().popitem(last=False)
        return engine


def _shallow(source: str, name: str) -> Sequence[LintToken]:
    """The tokens. Raises PolicyError for brackets so deep that the engine reads for minutes."""
    tokens = tokens_of(source, name)
    depth = 0
    for token in tokens:
        if token.kind == "mark":
            if token.text in OPEN:
                depth += 1
                if depth > MAX_DEPTH:
                    raise PolicyError(f"brackets nested more than {MAX_DEPTH} deep", where=f"{name}:{token.line}")
            elif token.text in CLOSE:
                depth -= 1
    # They have all that the lint asks of a token.
    return cast("Sequence[LintToken]", tokens)


class _Guard:
    """Errors of the engine, panics included, as PolicyError."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, (KeyboardInterrupt, SystemExit, PolicyError)):
            return
        text = " ".join(str(error).partition(_STACK)[0].split())
        if len(text) > 1500:
            text = f"{text[:500]} … {text[-900:]}"
        raise PolicyError(f"{self._what}: {text or type(error).__name__}") from error


def _compile(program: Program, spared: frozenset[str] | None) -> Any:
    """`spared` None: as it is written; else with all built-ins wrapped but these."""
    import regorus

    engine = regorus.Engine()
    engine.set_rego_v0(program.v0)
    engine.set_gather_prints(True)
    called = called_builtins(program)
    for name in OWN.keys() & called:
        engine.add_extension(name, *OWN[name])
    if spared is not None:
        for name, count in ARITY.items():
            if count > 0 and name not in spared and name in called:
                engine.add_extension(f"{WRAPPED}.{name.replace('.', '_')}", count, _wrapped(regorus, name, count))
    for name in sorted(program.modules):
        source = normalised(program.modules[name], name, v0=program.v0)
        with _Guard("the policies do not compile"):
            engine.add_policy(name, source if spared is None else tolerant(source, name, spared))
    return engine


def _wrapped(regorus: Any, name: str, count: int) -> Callable[..., list[Any]]:
    """The built-in as a function that gives a list of its value, empty where it has none."""
    if name in OWN:
        return partial(_attempt, OWN[name][1])
    arguments = ", ".join(f"input[{index}]" for index in range(count))
    alone = regorus.Engine()
    alone.add_policy("call", f"package call\n\nvalue := [answer | answer := {_native(name)}({arguments})]\n")

    def native(*values: Any) -> list[Any]:
        alone.set_input(list(values))
        try:
            answer: list[Any] = alone.eval_rule("data.call.value")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic is one; in OPA this call is undefined
            return []
        return answer

    return native


def _native(name: str) -> str:
    return "regex.match" if name == "re_match" else name


def _attempt(call: Callable[..., Any], *values: Any) -> list[Any]:
    try:
        return [call(*values)]
    except (ValueError, ArithmeticError):
        return []


def _ask(engine: Any, text: str, queries: Sequence[str]) -> list[Any]:
    with _Guard("the policies could not be evaluated"):
        engine.set_input_json(text)
        answers = [json.loads(engine.eval_rule_as_json(query)) for query in queries]
        engine.take_prints()
    return [UNDEFINED if answer == "<undefined>" else answer for answer in answers]


def _json(document: Any, limit: int = MAX_INPUT) -> str:
    return input_bytes(document, limit).decode()


def _key(program: Program) -> _Key:
    """The texts themselves: Python keeps their hashes, and compares one text with itself at once."""
    return program.v0, tuple(sorted(program.modules.items()))
