"""The embedded Rego engine (regorus, Rust) behind `core.ports.PolicyEngine`.

What keeps a hang from holding the gate open: nothing is decided until `evaluate` returns, so a hang is a shut gate;
and it is made unlikely, since Rego has no recursion, inputs are bounded (1 MiB, texts of 64 KiB, checked again here),
modules are bounded and linted (no network, no clock, none of the built-ins that are slow on hostile text), and the
engine's regular expressions are linear. A panic of the engine is a BaseException in Python; it becomes a PolicyError.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from customhouse._kit.canonical import canonical_json
from customhouse.core.errors import PolicyError
from customhouse.policy.bundle import QUERY, builtin_bundle
from customhouse.policy.engine_input import input_bytes
from customhouse.policy.lint import check_modules

_CACHED = 8
_STACK = "\n\nStack backtrace:"
_BOUND = "exceeded maximum instruction limit"
_IMPORTED = re.compile(r"(?<![\w.])lib\.(?=\w+\b(?!\())")


class RegorusEngine:
    """Compiled bundles are kept per thread (the engine's values belong to one thread), the last eight of them.

    Modules are linted before they are compiled, whoever made the bundle: the engine answers an unknown or refused
    built-in with "no findings". `lint=False` is for the conformance cases of OPA.
    """

    name = "regorus"

    def __init__(self, *, lint: bool = True, compile_packaged: bool = False) -> None:
        """`compile_packaged`: run the packaged rules on the engine's virtual machine, for those who judge thousands.

        It gives the same findings (tests hold that over the given manifests) in a third of the time, and takes some
        hundred milliseconds to make; rules of a project's own are always interpreted.
        """
        self._lint = lint
        self._compile_packaged = compile_packaged
        self._local = threading.local()

    def evaluate(
        self, modules: Mapping[str, str], data: Mapping[str, Any], document: Mapping[str, Any], query: str
    ) -> Any:
        """The JSON value of the rule `query`; sets are sorted lists. Raises PolicyError, never gives a part."""
        text = input_bytes(document)
        engine = self._compiled(modules, data)
        try:
            answer = engine(text.decode(), query)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # After a panic the engine's state is unknown: it is not used again.
            self._cache().clear()
            said = _as_written(modules, data) if self._lint and ".rego:" in str(error) else None
            raise said or _failure("the policies could not be evaluated", error) from error
        if answer == "<undefined>":
            raise PolicyError(f"{query} is undefined", hint="the bundle has to define it as a set")
        return answer

    def cover(
        self, modules: Mapping[str, str], data: Mapping[str, Any], asked: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> tuple[list[Any], Mapping[str, tuple[frozenset[int], frozenset[int]]]]:
        """The value of each query with its input, and file → (lines evaluated by any, by none). Raises PolicyError."""
        if self._lint:
            check_modules(modules)
        engine = _compile(modules, data, exactly=self._lint)
        try:
            engine.set_enable_coverage(True)
            answers = []
            for query, document in asked:
                engine.set_input_json(canonical_json(document).decode())
                answers.append(json.loads(engine.eval_rule_as_json(query)))
            report = json.loads(engine.get_coverage_report_as_json())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            raise _failure("the policies could not be evaluated", error) from error
        if "<undefined>" in answers:
            raise PolicyError(f"{asked[answers.index('<undefined>')][0]} is undefined")
        files = {
            item["path"]: (frozenset(item["covered"]), frozenset(item["not_covered"]))
            for item in report["files"]
            if item["path"] in modules
        }
        return answers, files

    def _cache(self) -> OrderedDict[bytes, Any]:
        if not hasattr(self._local, "cache"):
            self._local.cache = OrderedDict()
        cache: OrderedDict[bytes, Any] = self._local.cache
        return cache

    def _named(self, modules: Mapping[str, str], data: Mapping[str, Any]) -> bytes:
        """The key of a bundle; for the one that was asked for last it is not worked out again."""
        last = getattr(self._local, "last", None)
        if last is not None and last[0] is modules and last[1] is data:
            known: bytes = last[2]
            return known
        key = _key(modules, data)
        if isinstance(modules, MappingProxyType) and isinstance(data, MappingProxyType):
            self._local.last = (modules, data, key)
        return key

    def _compiled(self, modules: Mapping[str, str], data: Mapping[str, Any]) -> Any:
        key = self._named(modules, data)
        cache = self._cache()
        if key in cache:
            cache.move_to_end(key)
            return cache[key]
        # The packaged bundle is linted by a test; at the start of a gate that would be a third of the rules' time.
        packaged = dict(modules) == dict(builtin_bundle().modules)
        if self._lint and not packaged:
            check_modules(modules)
        engine: Any = _Interpreted(_compile(modules, data, exactly=self._lint and not packaged))
        if packaged and self._compile_packaged:
            engine = _Machine(modules, data, engine)
        cache[key] = engine
        while len(cache) > _CACHED:
            cache.popitem(last=False)
        return engine


class _Interpreted:
    """The engine that walks the rules' syntax trees."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __call__(self, text: str, query: str) -> Any:
        self._engine.set_input_json(text)
        return json.loads(self._engine.eval_rule_as_json(query))


class _Machine:
    """The packaged rules as a program for the engine's virtual machine; other queries go to the interpreter."""

    def __init__(self, modules: Mapping[str, str], data: Mapping[str, Any], interpreted: _Interpreted) -> None:
        import regorus  # type: ignore[import-untyped]  # the wheel has no stubs

        text = canonical_json(data).decode()
        self._interpreted = interpreted
        self._machine = regorus.Rvm()
        try:
            program = regorus.Program.compile_from_modules(text, called_by_path(modules), [QUERY])
            self._machine.load_program(program)
            self._machine.set_data_json(text)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            raise _failure("the policies do not compile", error) from error

    def __call__(self, text: str, query: str) -> Any:
        if query != QUERY:
            return self._interpreted(text, query)
        import orjson

        self._machine.set_input_json(text)
        try:
            # The packaged rules count in micro-units of money: what they answer has no number beyond 64 bits.
            return orjson.loads(self._machine.execute())
        except (KeyboardInterrupt, SystemExit):
            raise
        except Exception as error:
            # The machine stops after 25,000 instructions, some forty containers; the interpreter knows no such bound.
            if _BOUND not in str(error):
                raise
            return self._interpreted(text, query)


def called_by_path(modules: Mapping[str, str]) -> list[tuple[str, str]]:
    """The packaged modules, sorted, with every rule of `lib` that is no function named by its whole path.

    Such a rule the machine calls; one that is named by an import it looks up in all of data, which takes ten times as
    long, some hundred times a decision.
    """
    return [(name, _IMPORTED.sub("data.customhouse.lib.", modules[name])) for name in sorted(modules)]


def _compile(modules: Mapping[str, str], data: Mapping[str, Any], *, exactly: bool) -> Any:
    """`exactly`: modules that are not packaged are set right for the engine, as are the built-ins that they call."""
    import regorus

    engine = regorus.Engine()
    engine.set_gather_prints(True)
    calls: Mapping[str, tuple[int, Any]] = {}
    modules_as_written = modules
    if exactly:
        from customhouse.policy.adapters.exactly import prepared  # of no use to a gate with the packaged rules

        builtin = builtin_bundle()
        modules, calls = prepared(modules, {**builtin.modules, **builtin.tests})
    try:
        for name, (count, function) in calls.items():
            engine.add_extension(name, count, function)
        for name in sorted(modules):
            engine.add_policy(name, modules[name])
        if data:
            engine.add_data_json(canonical_json(data).decode())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        said = _as_written(modules_as_written, data) if exactly else None
        raise said or _failure("the policies do not compile", error) from error
    return engine


def _as_written(modules: Mapping[str, str], data: Mapping[str, Any]) -> PolicyError | None:
    """What the engine says of modules as they are in their files: what is set right for it has other columns."""
    try:
        engine = _compile(modules, data, exactly=False)
        engine.eval_rule_as_json(QUERY)  # it reads rules to their end when it is first asked
    except PolicyError as error:
        return error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the engine panics with a class of its own
        return _failure("the policies do not compile", error) if ".rego:" in str(error) else None
    return None


def _failure(what: str, error: BaseException) -> PolicyError:
    text = " ".join(str(error).partition(_STACK)[0].split())
    if len(text) > 2000:  # the engine quotes the whole line, and says what is wrong after it
        text = f"{text[:500]} … {text[-1000:]}"
    return PolicyError(f"{what}: {text or type(error).__name__}")


def _key(modules: Mapping[str, str], data: Mapping[str, Any]) -> bytes:
    hasher = hashlib.sha256()
    for name in sorted(modules):
        for part in (name.encode(), modules[name].encode()):
            hasher.update(len(part).to_bytes(8, "big"))
            hasher.update(part)
    hasher.update(canonical_json(data) if data else b"")
    return hasher.digest()
