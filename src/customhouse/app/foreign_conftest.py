"""`customhouse policy verify --conftest`: files under the packages of a folder, as `conftest test` judges them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customhouse._kit import progress
from customhouse._kit.forks import ForkEndedError, ForkError, in_order, workers
from customhouse.app.foreign import conftest_of
from customhouse.app.foreign_files import LIMIT_S, SUFFIXES, documents_of, engine, files_below, read_file
from customhouse.app.settings import Settings
from customhouse.core.errors import PolicyError, UsageError
from customhouse.policy.conftest import DEFAULT_NAMESPACE, Conftest, Message, combined, judge_documents
from customhouse.policy.foreign import ForeignEngine

_LOOPS = "a rule that takes so long loops, or looks at everything for everything: make it end sooner"
SLICE = 200
"""Files that are read and judged at a time."""


@dataclass(frozen=True, slots=True)
class Tested:
    """The messages about one document; `where` is its place, or `Combined`."""

    where: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class ConftestRun:
    """What was tested in which namespaces."""

    namespaces: tuple[str, ...]
    tested: tuple[Tested, ...]

    @property
    def failed(self) -> bool:
        """Whether a rule that denies said something."""
        return any(not message.warning for item in self.tested for message in item.messages)

    def to_json(self) -> dict[str, Any]:
        """`{"documents","failures","warnings","failed":[{"file","namespace","rule","message"}],"warned":[…]}`."""
        rows = [
            (
                message.warning,
                {"file": item.where, "namespace": message.namespace, "rule": message.rule, "message": message.text},
            )
            for item in self.tested
            for message in item.messages
        ]
        failed, warned = ([row for warning, row in rows if warning is wanted] for wanted in (False, True))
        return {
            "documents": len(self.tested),
            "namespaces": list(self.namespaces),
            "failures": len(failed),
            "warnings": len(warned),
            "failed": failed,
            "warned": warned,
        }


def judge_files(
    settings: Settings,
    folder: str,
    paths: Sequence[str],
    *,
    namespaces: Sequence[str] = (),
    every: bool = False,
    combine: bool = False,
    processes: int | None = None,
) -> ConftestRun:
    """Judge each document of the files. `namespaces` empty: main; `every`: all that have rules.

    Many files are judged slice by slice, so that no more than some of them are held at a time, and by `processes`
    (None: as many as are of use); what is said does not depend on how many. Raises UsageError for a folder or a path
    that is not there, PolicyError for what cannot be judged.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"there is no folder {folder}")
    files = {shown: read_file(path, shown) for shown, path in files_below([folder], (".rego", ".json", *SUFFIXES))}
    asked = engine(settings)
    policies = _loaded(files, folder, asked)
    chosen = policies.namespaces if every else tuple(namespaces) or (DEFAULT_NAMESPACE,)
    named = list(files_below(paths, (".json", *SUFFIXES)))
    if combine:
        tested = _together(policies, named, asked, chosen, folder)
    else:

        def judged(part: Sequence[tuple[str, Path]]) -> list[Any]:
            return [_row(item) for item in _slice(policies, part, asked, chosen)]

        parts = [named[start : start + SLICE] for start in range(0, len(named), SLICE)]
        count = workers() if processes is None else processes
        try:
            rows: list[Any] = []
            for number, answer in enumerate(in_order(judged, parts, count, limit_s=LIMIT_S)):
                progress.tell("judging files", min(number * SLICE, len(named)), len(named))
                rows += answer
            tested = tuple(map(_tested, rows))
        except ForkEndedError as error:
            about = f"{parts[error.place][0][0]} and the {len(parts[error.place]) - 1} files after it"
            raise PolicyError(f"{about} could not be judged: {error}", where=folder, hint=_LOOPS) from error
        except ForkError as error:
            raise PolicyError(f"the files could not be judged: {error}") from error
    if not tested:
        raise UsageError(f"there is no document at {', '.join(paths)}")
    return ConftestRun(chosen, tested)


def _loaded(files: Mapping[str, bytes], folder: str, asked: ForeignEngine) -> Conftest:
    """The policies, compiled; first in a process that may be ended: compiling asks a rule, which may loop."""

    def tried(given: Mapping[str, bytes]) -> bool:
        conftest_of(given, asked)
        return True

    try:
        list(in_order(tried, [files], 1, limit_s=LIMIT_S))
    except ForkError as error:
        raise PolicyError(f"the policies could not be loaded: {error}", where=folder, hint=_LOOPS) from error
    return conftest_of(files, asked)


def _slice(
    policies: Conftest, part: Sequence[tuple[str, Path]], asked: ForeignEngine, chosen: Sequence[str]
) -> Iterator[Tested]:
    documents = [(shown, document) for shown, path in part for document in documents_of(read_file(path, shown), shown)]
    found = judge_documents(policies, [(shown, document.value) for shown, document in documents], asked, chosen)
    for (_, document), messages in zip(documents, found, strict=True):
        yield Tested(document.where, messages)


def _together(
    policies: Conftest, named: Sequence[tuple[str, Path]], asked: ForeignEngine, chosen: Sequence[str], folder: str
) -> tuple[Tested, ...]:
    documents = [
        (shown, document.value) for shown, path in named for document in documents_of(read_file(path, shown), shown)
    ]
    if not documents:
        return ()

    def judged(given: Sequence[dict[str, Any]]) -> list[Any]:
        (found,) = judge_documents(policies, [("Combined", given)], asked, chosen)
        return _row(Tested("Combined", found))

    try:
        return tuple(map(_tested, in_order(judged, [combined(documents)], 1, limit_s=LIMIT_S)))
    except ForkError as error:
        raise PolicyError(f"the files could not be judged: {error}", where=folder, hint=_LOOPS) from error


def _row(item: Tested) -> list[Any]:
    """What a process that shares the work hands over."""
    return [
        item.where,
        [[said.namespace, said.rule, said.text, said.warning, dict(said.details)] for said in item.messages],
    ]


def _tested(row: Sequence[Any]) -> Tested:
    where, messages = row
    return Tested(where, tuple(Message(*said) for said in messages))
